"""The configuration of our UNets that fits a Stable Diffusion 1.5 UNet."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from diffusers import UNet2DConditionModel
from pydantic import Field

from svp_diffusers.errors import CheckpointError
from svp_diffusers.media.documents import Description, check_document, parse_json
from svp_diffusers.media.input import check_input
from svp_diffusers.models.temporal_unet_svp import TemporalUNet

# The UNet of Stable Diffusion 1.5, which published nets grew out of.
STABLE_DIFFUSION: Mapping[str, Any] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,  # the number of heads: see `temporal_unet_config`
}


_Channels = Annotated[int, Field(ge=1, le=2**15)]
_Few = Annotated[int, Field(ge=1, le=100)]


class _UNetConfiguration(Description):
    sample_size: Annotated[int, Field(ge=1, le=2**11)] | None = None
    in_channels: _Channels = 4
    out_channels: _Channels = 4
    down_block_types: Annotated[list[str], Field(min_length=1, max_length=16)]
    up_block_types: Annotated[list[str], Field(min_length=1, max_length=16)]
    block_out_channels: Annotated[list[_Channels], Field(min_length=1, max_length=16)]
    layers_per_block: _Few | Annotated[list[_Few], Field(max_length=16)] = 2
    cross_attention_dim: _Channels | list[_Channels] = 1280
    attention_head_dim: _Channels | list[_Channels] = 8
    num_attention_heads: _Channels | list[_Channels] | None = None


def find_unet_config(path: Path | None) -> Mapping[str, Any]:
    """The configuration that published nets grew out of: Stable Diffusion 1.5's if none is named.

    Raises:
        CheckpointError: see `read_unet_config`.
    """
    return STABLE_DIFFUSION if path is None else read_unet_config(path)


def read_unet_config(path: str | Path) -> dict[str, Any]:
    """Read the configuration of a 2-D UNet: its JSON file, its folder, or a pipeline's folder.

    Raises:
        CheckpointError: if there is no such file or it is not a 2-D UNet's.
    """
    path = Path(path)
    places = [path, path / "config.json", path / "unet" / "config.json"]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise CheckpointError(
            f"No UNet configuration at {path}: give the unet/config.json of Stable Diffusion "
            "1.5, or the folder that holds it."
        )
    try:
        config = parse_json(check_input(found).read_bytes())
        check_document(config, _UNetConfiguration)
    except (ValueError, OSError) as error:
        raise CheckpointError(
            f"{found} is not the configuration of a 2-D UNet ({error})."
        ) from error
    known = inspect.signature(UNet2DConditionModel.__init__).parameters
    return {key: value for key, value in config.items() if key in known}


def temporal_unet_config(unet_config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the configuration of a 2-D UNet into that of the `TemporalUNet` it grows into.

    The names of a published 3-D UNet's blocks are understood too.
    """
    known = inspect.signature(TemporalUNet.__init__).parameters
    config = {key: value for key, value in unet_config.items() if key in known}
    for key in ("down_block_types", "up_block_types"):
        config[key] = tuple(re.sub(r"[23]D$", "Motion", name) for name in unet_config[key])
    # diffusers 2-D UNets store the number of heads under the name of their size.
    config["num_attention_heads"] = (
        unet_config.get("num_attention_heads") or unet_config["attention_head_dim"]
    )
    return config
