"""Videos to be measured: a clip's reference and sound go in, in a style and from a seed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.data.cache import encode_frames
from svp_diffusers.errors import CheckpointError, DatasetError, StyleError
from svp_diffusers.evaluation.talking_head.clips import TrueClip
from svp_diffusers.media.keypoints import check_keypoints
from svp_diffusers.models.style_encoder_svp import StyleDistribution
from svp_diffusers.pipelines.head_pictures_svp import DrawnKeypoints
from svp_diffusers.pipelines.output_svp import SVPTalkingHeadPipelineOutput
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

ENCODE_FRAMES = 8  # frames the VAE encodes at once
STILL_FRAMES = 3  # of the clip's sound that a still head is made with
SAMPLING_RATE = 16000  # Hz, of the clips


@dataclass(frozen=True)
class StillHead:
    """The first frame of a still head, and what it was made from.

    Args:
        frame: `(H, W, 3)` uint8.
        portrait: `(H, W, 3)` uint8.
        keypoints: `(8, 2)`, the portrait's, in pixels.
    """

    frame: NDArray[np.uint8]
    portrait: NDArray[np.uint8]
    keypoints: NDArray[np.float32]


@dataclass(frozen=True)
class Sampler:
    """A pipeline with the options it is measured with.

    Args:
        pipeline: to be measured.
        options: arguments of its call; what is not given is the pipeline's own default.
    """

    pipeline: SVPTalkingHeadPipeline
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        layout = self.pipeline.head_guider.config.keypoint_layout
        if layout != "head8":
            raise CheckpointError(f"the clips have head8 keypoints, the checkpoint wants {layout}")
        self.pipeline.set_progress_bar_config(disable=True)

    @property
    def sampling(self) -> dict[str, Any]:
        """What the videos are made with: the checkpoint's defaults, and the options over them."""
        config = self.pipeline.config
        scales = ("guidance_scale", "audio_guidance_scale", "style_guidance_scale")
        filled = self.pipeline.fill_guidance_scales(*(self.options.get(name) for name in scales))
        own = {name: config[name] for name in ("num_inference_steps", "shared_noise")}
        own |= {"detail_scale": min(1, config.detail_scale)}  # measured at the size of the truth
        return own | dict(self.options) | dict(zip(scales, filled, strict=True))

    def get_style(self, name: str) -> StyleDistribution:
        """A style of the checkpoint's bank.

        Raises:
            StyleError: the bank does not have it.
        """
        try:
            style: StyleDistribution = self.pipeline.style_encoder.get_style(name)
        except ValueError as error:
            raise StyleError(f"styles are looked up by emotion: {error}") from error
        return style

    def generate(
        self,
        clip: TrueClip,
        style: str | torch.Tensor,
        seed: int,
        waveform: NDArray[np.float32] | None = None,
        temperature: float | None = None,
    ) -> NDArray[np.uint8]:
        """Generate a clip again: `(f, H, W, 3)`, as many frames as the clip has.

        Args:
            clip: gives the reference, the head's motion, and the sound.
            style: a name of the bank, or a style vector `(style_dim,)`.
            seed: of the style, if it is drawn, and then of the noise: one seed gives vectors of one
                size the same noise.
            waveform: in place of the clip's own, cut or padded with silence to its length.
            temperature: of the style, over the options'.

        Raises:
            DatasetError: the clip's sound is not as long as its frames.
        """
        arguments = call_arguments(clip) | dict(self.options)
        if waveform is not None:
            length = len(clip.waveform)
            arguments["audio"] = np.pad(waveform, (0, max(0, length - len(waveform))))[:length]
        if temperature is not None:
            arguments["style_temperature"] = temperature
        frames = self._call(**arguments, style=style, seed=seed)
        if len(frames) != len(clip.frames):
            raise DatasetError(
                f"clip {clip.key!r} has {len(clip.frames)} frames, and sound for {len(frames)}"
            )
        return frames

    def generate_still(self, clip: TrueClip, keypoints: str, seed: int) -> StillHead:
        """Animate the reference of a clip with its head still.

        Args:
            clip: gives the reference, the sound's beginning, and the style.
            keypoints: of the head: "true"; "found", with the portrait cut around the face, by the
                checkpoint's own landmarker; or "none".
            seed: of the style, then of the noise.

        Raises:
            ValueError: the landmarker finds no face.
        """
        height, width = clip.reference.shape[:2]
        portrait, points = Image.fromarray(clip.reference), clip.head_keypoints[0]
        if keypoints == "found":
            portrait, head = self.pipeline.find_head(portrait, height, width)
            assert head.keypoints is not None  # the guider is shown points
            points = head.keypoints.astype(np.float32)
        arguments = call_arguments(clip) | dict(self.options)
        del arguments["head_keypoints"]
        frames = self._call(
            **arguments
            | {
                "image": portrait,
                "audio": clip.waveform[: round(STILL_FRAMES * SAMPLING_RATE / clip.fps)],
            },
            style=clip.emotion,
            portrait_keypoints=None if keypoints == "none" else points,
            find_face=False,
            head_motion="still",
            seed=seed,
        )
        shown = np.asarray(portrait.resize((width, height), Image.Resampling.LANCZOS))
        return StillHead(frames[0], shown, points)

    def reconstruct(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What the VAE alone makes of `(f, H, W, 3)` frames: no video can be closer to them."""
        latents = torch.from_numpy(encode_frames(frames, self.pipeline.vae, ENCODE_FRAMES))
        return to_bytes(torch.cat(list(self.pipeline.decode_latents(latents.transpose(0, 1)))))

    def _call(self, seed: int, **arguments: Any) -> NDArray[np.uint8]:
        """The frames `(f, H, W, 3)` of a call, of the size of the truth."""
        made = self.pipeline(
            **{"detail_scale": self.sampling["detail_scale"]} | arguments,
            generator=torch.Generator().manual_seed(seed),
            output_type="pt",
        )
        assert isinstance(made, SVPTalkingHeadPipelineOutput)
        return to_bytes(made.frames[0])


def to_bytes(pixels: torch.Tensor) -> NDArray[np.uint8]:
    """Pixels (frames, 3, height, width) in [0, 1] as `(frames, height, width, 3)` uint8."""
    whole = (pixels.float() * 255).round().to(torch.uint8)
    return np.asarray(whole.permute(0, 2, 3, 1).cpu().numpy())


def call_arguments(clip: TrueClip) -> dict[str, Any]:
    """The arguments that the pipeline takes from a clip."""
    height, width = clip.frames.shape[1:3]
    return {
        "image": Image.fromarray(clip.reference),
        "audio": clip.waveform,
        "head_keypoints": DrawnKeypoints(check_keypoints(clip.head_keypoints), height, width),
        "height": height,
        "width": width,
        "fps": clip.fps,
    }
