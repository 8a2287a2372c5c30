"""What may be in a repository: checked before a push, and after a pull."""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from diffusers.utils.dynamic_modules_utils import get_relative_imports
from safetensors import SafetensorError, safe_open

from svp_diffusers.checkpoints.json_files import read_model_index
from svp_diffusers.checkpoints.loading import check_components
from svp_diffusers.checkpoints.style_adapters import find_adapter
from svp_diffusers.errors import CheckpointError
from svp_diffusers.hub.code import code_files
from svp_diffusers.pipelines.checkpoint_svp import exists
from svp_diffusers.pipelines.modular_svp import describe_blocks
from svp_diffusers.pipelines.style_adapter_svp import ADAPTER_CONFIG, ADAPTER_WEIGHTS

PICKLES = {
    *(".bin", ".ckpt", ".cloudpickle", ".dill", ".h5", ".jbl", ".joblib", ".keras", ".mar"),
    *(".nemo", ".pdparams", ".pickle", ".pkl", ".pt", ".pt2", ".pth", ".t7"),
}
"""Suffixes of files that run code when they are loaded."""
PACKED = {".bz2", ".gz", ".tar", ".tgz", ".xz", ".zip", ".zst"}
MARKERS = {
    "model_index.json": "checkpoint",
    "pytorch_lora_weights.safetensors": "lora",
    "style.safetensors": "style",
    ADAPTER_WEIGHTS: "style-adapter",
}
DOCUMENTS = (ADAPTER_CONFIG, "README.md", "card.yaml", "evaluation.json", "training.yaml")
LICENCES = ("LICENSE", "NOTICE")
COMPONENT_SUFFIXES = (".json", ".md", ".model", ".py", ".safetensors", ".txt")
SAMPLE_SUFFIXES = (".flac", ".gif", ".jpg", ".mp3", ".mp4", ".png", ".wav", ".webm", ".webp")


def list_files(folder: Path) -> list[str]:
    """The files of a folder, relative to it; hidden ones (and unfinished ones) are left out.

    Raises:
        CheckpointError: if the folder is missing, or a file in it is a link to outside of it.
    """
    if not (exists(folder) and folder.is_dir()):
        raise CheckpointError(
            f"{str(folder)[:200]} is not a folder: give one of a checkpoint, a LoRA, a style "
            "adapter or a style, whose file is named style.safetensors."
        )
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise CheckpointError(f"{path} is a link to a file outside of {folder}; copy the file.")
    names = [path.relative_to(folder) for path in paths]
    return [
        name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)
    ]


def check_names(names: Iterable[str], where: str) -> str:
    """Check the names of the files of a repository, before any of them is read.

    Returns:
        "checkpoint", "lora", "style" or "style-adapter".

    Raises:
        CheckpointError: for a pickle, a path that leaves the folder, or none of the four kinds.
    """
    names = list(names)
    for name in names:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise CheckpointError(f"{where} has a file named {name!r}, which leaves its folder.")
        suffixes = [suffix.lower() for suffix in path.suffixes]
        while suffixes and suffixes[-1] in PACKED:  # as of weights.pth.tar
            suffixes.pop()
        if suffixes and suffixes[-1] in PICKLES:
            raise CheckpointError(
                f"{where} has {name!r}, a pickle, which can run any code when it is loaded. Save "
                "the weights as safetensors."
            )
    kinds = [kind for marker, kind in MARKERS.items() if marker in names]
    if not kinds:
        raise CheckpointError(
            f"{where} holds no checkpoint, LoRA, style or style adapter: it has none of "
            f"{', '.join(MARKERS)}."
        )
    return kinds[0]


def choose_parts(folder: Path, names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Tell the files of a checkpoint, LoRA, style or style adapter from what lies beside them.

    Parts are weights, configurations and code of components, the pipeline and its code, card and
    licences, styles (`styles/`), and pictures, sound and video of `samples/`; not their manifests.

    Returns:
        Those, and the others.

    Raises:
        CheckpointError: if `model_index.json` is damaged.
    """
    names = list(names)
    index = read_model_index(folder) if "model_index.json" in names else {}
    components = {name for name, entry in index.items() if isinstance(entry, list)}
    if ADAPTER_WEIGHTS in names:
        components.add("style_encoder")
    module = (index.get("_class_name") or [""])[0]
    code = {*code_files(), f"{module}.py"}
    if f"{module}.py" in names:
        code |= {f"{each}.py" for each in get_relative_imports(folder / f"{module}.py")}

    def is_part(name: str) -> bool:
        path = PurePosixPath(name)
        suffix = path.suffix.lower()
        if name in code:
            return True
        if len(path.parts) == 1:
            known = name in {*MARKERS, *DOCUMENTS, *describe_blocks()} or path.stem in LICENCES
            return known or name.endswith(".style.safetensors")
        if path.parts[0] in components:
            return suffix in COMPONENT_SUFFIXES or path.stem in LICENCES
        if path.parts[0] == "styles":
            return name.endswith(".style.safetensors")
        return path.parts[0] == "samples" and suffix in SAMPLE_SUFFIXES

    parts = [name for name in names if is_part(name)]
    return parts, [name for name in names if name not in parts]


def check_contents(folder: Path, names: Iterable[str]) -> None:
    """Check the files themselves: weights can be read, and no file names a place on this machine.

    Raises:
        CheckpointError: saying which file is wrong.
    """
    names = list(names)
    for name in names:
        if name.endswith(".safetensors"):
            try:
                with safe_open(folder / name, framework="pt") as file:
                    file.keys()
            except (SafetensorError, OSError) as error:
                raise CheckpointError(f"{folder / name} is damaged: {error}") from error
        if name.endswith(".json") and '"_name_or_path"' in (folder / name).read_text("utf-8"):
            raise CheckpointError(
                f"{folder / name} says where it was loaded from. Save the whole pipeline again "
                "with `save_pretrained`, which leaves that out."
            )
    if "model_index.json" in names:
        check_components(folder)
        _check_code(folder, names)
    if ADAPTER_WEIGHTS in names:
        find_adapter(folder)


def _check_code(folder: Path, names: list[str]) -> None:
    index = read_model_index(folder)
    for component, entry in {"": index.get("_class_name"), **index}.items():
        if component.startswith("_") or not entry or not isinstance(entry, list):
            continue
        library = str(entry[0])
        if library in ("None", "diffusers", "transformers"):
            continue
        where = f"names {entry} for {component or 'the pipeline'}"
        needed = f"{component}/{library}.py".lstrip("/")
        if library.isidentifier() and needed in names:
            where = f"names {needed}, which imports its sibling files"
            siblings = get_relative_imports(folder / needed)
            missing = [f"{component}/{each}.py".lstrip("/") for each in sorted(siblings)]
            missing = [name for name in missing if name not in names]
        else:
            missing = [needed]
        if missing:
            raise CheckpointError(
                f"{folder / 'model_index.json'} {where}, but there is no file {missing[0]}. Save "
                "the pipeline with `save_pretrained`."
            )
    if not isinstance(index.get("_class_name"), list):
        raise CheckpointError(
            f"{folder} lacks the code of its pipeline. Save the pipeline with `save_pretrained`."
        )
