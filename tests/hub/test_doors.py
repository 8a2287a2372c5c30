"""A checkpoint on the Hub opens through every door, with and without the package.

Frames are compared bit for bit: the same weights, code and generator leave no room for less.
"""

import functools
from collections.abc import Callable
from typing import Any

import pytest
from loopback import LoopbackHub

REMOTE_DOORS = ["remote", "custom_repo", "custom_folder"]
Saved = dict[str, Any]


@pytest.fixture(scope="session")
def saved(hub: LoopbackHub, run_client: Callable[..., list[Any]]) -> Callable[[str], Saved]:
    """Push a checkpoint in one of three ways; the frames that it made where it was pushed."""

    @functools.cache
    def push(by: str) -> Saved:
        repo = f"org/{by}"
        task: dict[str, Any] = {"push": {"repo_id": repo}, "styles": True}
        if by == "package":
            task |= {"do": "build"}
        else:
            push("package")
            action = "load" if by == "remote" else "fine_tune"
            task |= {"do": action, "door": "remote", "repo": "org/package"}
        result: Saved = run_client([task], package=by == "package")[0]
        return {"repo": repo, **result}

    return push


# Every process loads all of its doors; the diagonal shows each way of saving, and each process.
CELLS = [
    pytest.param(True, "package", marks=pytest.mark.slow),
    pytest.param(False, "package", marks=pytest.mark.slow),
    pytest.param(True, "remote", marks=pytest.mark.slow),
    pytest.param(False, "remote", marks=pytest.mark.slow),
    pytest.param(True, "fine_tuned", marks=pytest.mark.slow),
    pytest.param(False, "fine_tuned", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("package", "by"), CELLS)
def test_every_door_makes_the_same_frames(
    saved: Callable[[str], Saved], run_client: Callable[..., list[Any]], package: bool, by: str
) -> None:
    expected = saved(by)
    doors = [*REMOTE_DOORS, "own"] if package else REMOTE_DOORS
    tasks: list[dict[str, Any]] = [
        {"do": "load", "door": door, "repo": expected["repo"]} for door in doors
    ]
    tasks[0]["styles"] = True
    results = run_client(tasks, package=package)
    for door, result in zip(doors, results, strict=True):
        assert result["frames"] == expected["frames"], door
    assert results[0]["styles"] == expected["styles"]


@pytest.mark.slow
@pytest.mark.parametrize("by", ["package", "fine_tuned"])
def test_the_package_loads_where_remote_code_is_disabled(
    saved: Callable[[str], Saved], run_client: Callable[..., list[Any]], by: str
) -> None:
    expected = saved(by)
    tasks = [{"do": "load", "door": "own", "repo": expected["repo"]}]
    result = run_client(tasks, package=True, DIFFUSERS_DISABLE_REMOTE_CODE="true")[0]
    assert result["frames"] == expected["frames"]


@pytest.mark.slow
def test_styles_and_fine_tuning_change_the_video(saved: Callable[[str], Saved]) -> None:
    styles = saved("package")["styles"]
    assert len(set(styles.values())) == len(styles)
    assert saved("package")["frames"] != saved("fine_tuned")["frames"]


@pytest.mark.parametrize(
    "by", ["package", "remote", pytest.param("fine_tuned", marks=pytest.mark.slow)]
)
def test_no_path_of_the_machine_that_saved_it_leaks(
    saved: Callable[[str], Saved], hub: LoopbackHub, by: str
) -> None:
    saved(by)
    for name, data in hub.files(f"org/{by}").items():
        if name.endswith((".json", ".md")):
            assert b"/tmp" not in data, name
            assert b'"_name_or_path"' not in data, name


def test_saving_again_adds_and_loses_nothing(
    saved: Callable[[str], Saved], hub: LoopbackHub
) -> None:
    saved("package"), saved("remote")
    again, first = hub.files("org/remote"), hub.files("org/package")
    for name in ("README.md", "modular_model_index.json"):  # which name the repository
        assert b"org/remote" in again[name]
        again[name] = again[name].replace(b"org/remote", b"org/package")
    assert again == first
