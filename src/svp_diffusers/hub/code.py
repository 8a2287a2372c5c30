"""The code that a checkpoint carries beside its weights, and its copy at the top of the project.

`python -m svp_diffusers.hub.code pipelines` refreshes that copy, which is there for
`DiffusionPipeline.from_pretrained(..., custom_pipeline="pipelines")`.
"""

import sys
from pathlib import Path

from diffusers.utils.dynamic_modules_utils import get_relative_imports

PACKAGE = Path(__file__).parents[1]
PIPELINE = PACKAGE / "pipelines" / "pipeline_svp_talking_head.py"
COMPONENTS = {
    "audio_projector": "audio_projector_svp",
    "face_landmarker": "face_landmarker_svp",
    "face_projector": "face_projector_svp",
    "head_guider": "head_guider_svp",
    "head_motion": "head_motion_svp",
    "reference_unet": "reference_unet_svp",
    "style_encoder": "style_encoder_svp",
    "unet": "temporal_unet_svp",
    "vae": "autoencoder_svp",
}


def code_files() -> dict[str, Path]:
    """The path of each file in a checkpoint, and the file of this package that it is a copy of."""
    handler = PIPELINE.with_name("handler_svp.py")
    files = {"pipeline.py": PIPELINE, PIPELINE.name: PIPELINE, "handler.py": handler}
    for sibling in get_relative_imports(PIPELINE):
        files[f"{sibling}.py"] = PIPELINE.with_name(f"{sibling}.py")
    for component, module in COMPONENTS.items():
        files[f"{component}/{module}.py"] = PACKAGE / "models" / f"{module}.py"
    return files


def export_code(folder: Path) -> None:
    """Write the code into a folder, replacing what is there."""
    for name, source in code_files().items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())


if __name__ == "__main__":
    export_code(Path(sys.argv[1]))
