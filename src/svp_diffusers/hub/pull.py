"""Pulling a repository: what must not be there is refused, what was damaged is not kept."""

import hashlib
import shutil
from pathlib import Path

import torch
from huggingface_hub import HfApi, scan_cache_dir, snapshot_download

from svp_diffusers.checkpoints.loading import SVP_TINY, load_pipeline
from svp_diffusers.errors import CheckpointError, OutputError
from svp_diffusers.hub.client import hub_errors
from svp_diffusers.hub.contents import check_contents, check_names
from svp_diffusers.media.output import atomic_folder, check_output


def pull_repository(
    repo_id: str,
    output: Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Path:
    """Download what `push_folder` pushes, and check it; none of its code is run.

    "svp-tiny" is copied from this package, with the code that a checkpoint carries.

    Args:
        repo_id: "owner/name", or "svp-tiny".
        output: folder to put it in, which keeps its other files; by default the cache of the Hub.
        revision: branch, tag or commit.
        token: of the Hub; by default the one of `hf auth login`.

    Returns:
        The folder.

    Raises:
        CheckpointError: if it is not there, holds what it must not, or arrived damaged; what was
            downloaded of it is deleted.
        OutputError: if it cannot be written.
    """
    if repo_id == "svp-tiny":
        return _copy_svp_tiny(output)
    with hub_errors(f"{repo_id} cannot be pulled"):
        info = HfApi(token=token).model_info(repo_id, revision=revision, files_metadata=True)
        siblings = info.siblings or []
        names = [sibling.rfilename for sibling in siblings]
        check_names(names, repo_id)
        partial = None
        if output is not None:  # under this name a download that was cut off goes on
            check_output(output / "model_index.json")
            partial = output.absolute().parent / f".partial-{output.absolute().name}-{info.sha}"
        folder = Path(snapshot_download(repo_id, revision=info.sha, local_dir=partial, token=token))
    try:
        for sibling in siblings:
            if sibling.lfs is not None and _hash(folder / sibling.rfilename) != sibling.lfs.sha256:
                raise CheckpointError(
                    f"{sibling.rfilename!r} of {repo_id} does not have the hash that the Hub "
                    "gives: it was damaged or replaced on the way, and was deleted. Pull again."
                )
        check_contents(folder, names)
    except CheckpointError:
        if partial is not None:
            shutil.rmtree(partial)
        else:
            _delete_from_cache(info.sha)
        raise
    if output is None or partial is None:
        return folder
    _move(partial, names, output)
    return output


def _copy_svp_tiny(output: Path | None) -> Path:
    """Save it anew, with its code, in float32: what is stored in half precision, transformers would
    keep so for whoever loads it without this package."""
    if output is None:
        raise OutputError("svp-tiny is a part of this package: name a folder for a copy (-o)")
    if output.exists():
        raise OutputError(f"{output} exists already; name another folder for the copy of svp-tiny")
    pipeline = load_pipeline(SVP_TINY, torch.device("cpu"), "float32")
    with atomic_folder(output) as temporary:
        pipeline.save_pretrained(temporary)
        for path in SVP_TINY.rglob("*.md"):
            shutil.copyfile(path, temporary / path.relative_to(SVP_TINY))
    return output


def _move(partial: Path, names: list[str], output: Path) -> None:
    """Put what was downloaded where it belongs."""
    shutil.rmtree(partial / ".cache", ignore_errors=True)  # of the client
    try:
        if not output.exists():
            partial.rename(output)
            return
        for name in names:
            (output / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / name).replace(output / name)
        shutil.rmtree(partial)
    except OSError as error:
        raise OutputError(f"{output} cannot be written: {error.strerror or error}") from error


def _delete_from_cache(revision: str | None) -> None:
    if revision is not None:
        scan_cache_dir().delete_revisions(revision).execute()


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
