"""What is in a checkpoint, read off its configurations and the headers of its weight files."""

import math
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from svp_diffusers.checkpoints.json_files import (
    OPTIONAL_COMPONENTS,
    is_lip_sync,
    list_components,
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
        size: side of its videos in pixels, or of the faces that a lip-sync checkpoint paints.
        layout: of its head keypoints, "head8" or "v3"; None of a lip-sync checkpoint.
        style_dim: size of a style vector; 0 of a lip-sync checkpoint.
        styles: names in its style bank.
    """

    components: list[Component]
    size: int
    layout: str | None
    style_dim: int
    styles: list[str]


def describe_checkpoint(folder: Path) -> Description:
    """Describe a checkpoint without loading its weights.

    Raises:
        CheckpointError: if a configuration or a weight file is damaged.
    """
    index = read_model_index(folder)
    optional = [name for name in OPTIONAL_COMPONENTS if (index.get(name) or [None])[0]]
    names = [*list_components(index), *optional]
    components = [_describe(folder / name, index[name][1]) for name in names]
    size = 8 * read_config(folder, "unet")["sample_size"]
    if is_lip_sync(index):
        return Description(components, size, layout=None, style_dim=0, styles=[])
    style = read_config(folder, "style_encoder")
    return Description(
        components=components,
        size=size,
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
