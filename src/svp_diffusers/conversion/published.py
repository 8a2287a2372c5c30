"""Published weight files on the Hub: listed with their sizes, then fetched to its cache."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download

from svp_diffusers.errors import CheckpointError

GIGABYTE = 1e9


@dataclass(frozen=True)
class Published:
    """Files of one repository.

    Attributes:
        repository: its id.
        revision: a commit, a tag or a branch. Those pinned here are commits that the Hub's own
            pages name; none was ever fetched.
        files: path in the repository of each file that a conversion needs, by our name for it.
        licence: of the weights, in a sentence.
    """

    repository: str
    revision: str
    files: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""

    def advice(self) -> str:
        """What to fetch by hand where the Hub cannot be reached."""
        address = f"https://huggingface.co/{self.repository}/tree/{self.revision}"
        return f"fetch {', '.join(self.files.values())} from {address} and give them by hand"


def list_files(published: Published) -> tuple[str, dict[str, int]]:
    """Ask the Hub for the files.

    Returns:
        The commit that the revision stands for, and the size in bytes of each file, by its path.

    Raises:
        CheckpointError: if the Hub or the repository cannot be reached, or a file is not there.
    """
    try:
        info = HfApi().model_info(
            published.repository, revision=published.revision, files_metadata=True
        )
    except Exception as error:  # the client's errors have no class in common
        raise CheckpointError(
            f"{published.repository} at {published.revision} cannot be listed "
            f"({_first_line(error)}). Check the name and your connection, try another --revision "
            f"(main), or {published.advice()}."
        ) from error
    sizes = {each.rfilename: int(each.size or 0) for each in info.siblings or []}
    missing = [path for path in published.files.values() if path not in sizes]
    if missing:
        raise CheckpointError(
            f"{published.repository} at {published.revision} has no {', '.join(missing)}; it has "
            f"{', '.join(sorted(sizes)[:8])}. Give another commit as --revision, or the files by "
            "hand."
        )
    return str(info.sha), {path: sizes[path] for path in published.files.values()}


def describe_files(published: Published, sizes: Mapping[str, int]) -> str:
    """The list that a user sees before a download: files, sizes and licence."""
    lines = [f"  {size / GIGABYTE:8.3f} GB  {path}" for path, size in sizes.items()]
    total = sum(sizes.values()) / GIGABYTE
    return "\n".join(
        [
            f"{published.repository} at {published.revision}:",
            *lines,
            f"  {total:8.3f} GB in all; what the cache has is not downloaded again.",
            f"Licence: {published.licence}",
        ]
    )


def fetch_files(published: Published, commit: str) -> dict[str, Path]:
    """Download the files to the Hub's cache, where an interrupted download resumes.

    Args:
        published: what to fetch.
        commit: of `list_files`.

    Returns:
        The path of each file, by our name for it.

    Raises:
        CheckpointError: if one cannot be fetched.
    """
    paths = {}
    for name, path in published.files.items():
        try:
            paths[name] = Path(hf_hub_download(published.repository, path, revision=commit))
        except Exception as error:  # the client's errors have no class in common
            raise CheckpointError(
                f"{path} cannot be fetched from {published.repository} ({_first_line(error)}). Run "
                f"the same command again to resume, or {published.advice()}."
            ) from error
    return paths


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
