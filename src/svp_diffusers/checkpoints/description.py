"""What is in a checkpoint, read off its configurations and the headers of its weight files."""

import math
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from svp_diffusers.checkpoints.json_files import (
    COMPONENTS,
    OPTIONAL_COMPONENTS,
    read_config,
    read_model_index,
)
from svp_diffusers.errors import CheckpointError


@dataclass(frozen=True)
class Component:
    """One component.

    Attributes:
        name: of its folder.
        class_name: of its class.
        parameters: how many numbers its weights have.
        dtypes: in which precision.
        bytes: of its weight files.
    """

    name: str
    class_name: str
    parameters: int
    dtypes: str
    bytes: int


@dataclass(frozen=True)
class Description:
    """A checkpoint.

    Attributes:
        components: in the order of the pipeline, of the optional ones those that are there.
        size: side of its videos in pixels.
        layout: of its head keypoints, "head8" or "v3".
        style_dim: size of a style vector.
        styles: names in its style bank.
    """

    components: list[Component]
    size: int
    layout: str
    style_dim: int
    styles: list[str]


def describe_checkpoint(folder: Path) -> Description:
    """Describe a checkpoint without loading its weights.

    Raises:
        CheckpointError: if a configuration or a weight file is damaged.
    """
    index = read_model_index(folder)
    style = read_config(folder, "style_encoder")
    there = [*COMPONENTS, *(name for name in OPTIONAL_COMPONENTS if (index.get(name) or [None])[0])]
    return Description(
        components=[_describe(folder / name, index[name][1]) for name in there],
        size=8 * read_config(folder, "unet")["sample_size"],
        layout=read_config(folder, "head_guider")["keypoint_layout"],
        style_dim=style["style_dim"],
        styles=list(style["style_names"]),
    )


def _describe(folder: Path, class_name: str) -> Component:
    files = sorted(folder.glob("*.safetensors"))
    parameters, dtypes = 0, set()
    for file in files:
        try:
            with safe_open(file, framework="pt") as weights:
                slices = [weights.get_slice(key) for key in weights.keys()]  # noqa: SIM118
                parameters += sum(math.prod(each.get_shape()) for each in slices)
                dtypes |= {each.get_dtype() for each in slices}
        except SafetensorError as error:
            raise CheckpointError(f"{file} is damaged ({error}); download it again.") from error
    return Component(
        folder.name,
        class_name,
        parameters,
        ", ".join(sorted(dtypes)),
        sum(file.stat().st_size for file in files),
    )
