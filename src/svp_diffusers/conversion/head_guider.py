"""Published guiders, which all have the layers of diffusers' `ControlNetConditioningEmbedding`."""

import re

from svp_diffusers.conversion.state_dicts import StateDict, load_exactly, rename
from svp_diffusers.errors import CheckpointError
from svp_diffusers.models.head_guider_svp import HeadKeypointGuider


def convert_head_guider(
    weights: StateDict, source: str = "the keypoint guider", keypoint_layout: str = "v3"
) -> HeadKeypointGuider:
    """Convert a guider; every size is read off the weights.

    Args:
        weights: of V-Express's `v_kps_guider.bin`, EchoMimic's and Hallo's face locator or
            AnimateAnyone's `pose_guider.pth`.
        source: what the weights came from, for messages.
        keypoint_layout: of its input; see `HeadKeypointGuider`.

    Raises:
        CheckpointError: if the keys do not fit.
    """
    if "conv_in.weight" not in weights or "conv_out.weight" not in weights:
        raise CheckpointError(f"{source} has no conv_in or conv_out: it is not a keypoint guider.")
    first = weights["conv_in.weight"]
    downsamplers = [key for key in weights if re.fullmatch(r"blocks\.\d*[13579]\.weight", key)]
    downsamplers.sort(key=lambda key: int(key.split(".")[1]))
    model = HeadKeypointGuider(
        conditioning_embedding_channels=weights["conv_out.weight"].shape[0],
        conditioning_channels=first.shape[1],
        block_out_channels=(first.shape[0], *(weights[key].shape[0] for key in downsamplers)),
        keypoint_layout=keypoint_layout,
    )
    load_exactly(model, rename(weights, lambda key: f"embedding.{key}", source), source)
    return model.eval()
