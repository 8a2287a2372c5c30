"""Pulling a repository: what must not be there is refused, what was damaged is not kept."""

import hashlib
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

from svp_diffusers.errors import CheckpointError
from svp_diffusers.hub.client import hub_errors
from svp_diffusers.hub.contents import check_contents, check_names


def pull_repository(
    repo_id: str,
    output: Path | None = None,
    revision: str | None = None,
    token: str | None = None,
) -> Path:
    """Download what `push_folder` pushes, and check it; none of its code is run.

    Args:
        repo_id: "owner/name".
        output: folder to put it in; by default the cache of the Hub.
        revision: branch, tag or commit.
        token: of the Hub; by default the one of `hf auth login`.

    Returns:
        The folder.

    Raises:
        CheckpointError: if it is not there, holds what it must not, or arrived damaged; a damaged
            file is deleted.
    """
    with hub_errors(f"{repo_id} cannot be pulled"):
        info = HfApi(token=token).model_info(repo_id, revision=revision, files_metadata=True)
        siblings = info.siblings or []
        names = [sibling.rfilename for sibling in siblings]
        check_names(names, repo_id)
        folder = Path(snapshot_download(repo_id, revision=info.sha, local_dir=output, token=token))
    for sibling in siblings:
        path = folder / sibling.rfilename
        if sibling.lfs is not None and _hash(path) != sibling.lfs.sha256:
            path.resolve().unlink()
            path.unlink(missing_ok=True)
            raise CheckpointError(
                f"{sibling.rfilename} of {repo_id} does not have the hash that the Hub gives: it "
                "was damaged or replaced on the way, and was deleted. Pull again."
            )
    check_contents(folder, names)
    return folder


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
