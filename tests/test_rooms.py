"""The house's order: which rooms there are, who may import whom, and what each file may hold."""

import ast
import configparser
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "svp_diffusers"

# Bottom to top. A file imports from its own room and from the levels below its room's, no other.
LEVELS = (
    ("errors",),
    ("models", "pipelines"),
    ("media",),
    ("measures",),
    ("speech", "expression"),
    ("style",),
    ("checkpoints",),
    ("data",),
    ("talkers",),
    ("samples",),
    ("generation",),
    ("training.loop",),
    tuple(
        f"training.{stage}"
        for stage in ("style", "denoiser", "vae", "audio", "expression", "head_motion")
    ),
    ("training.svp_tiny",),
    ("conversion", "evaluation", "hub", "app"),
    ("cli",),
    ("__init__", "__main__"),
)
# What travels to the Hub inside a checkpoint, where the rest of the package is not installed.
TRAVELLING = ("models", "pipelines")

MOST_LINES = 400
LONGER_FILES = {
    "pipelines/pipeline_svp_talking_head.py": (680, "the steps of a call are one story"),
    "pipelines/pipeline_lip_sync.py": (490, "the steps of a call are one story"),
    "models/temporal_unet_svp.py": (830, "from a Hub id a component's code is one file"),
    "models/face_landmarker_svp.py": (740, "from a Hub id a component's code is one file"),
    "models/head_motion_svp.py": (430, "from a Hub id a component's code is one file"),
    "models/style_encoder_svp.py": (790, "from a Hub id a component's code is one file"),
}
NAMES_OF_NO_SUBJECT = {"common", "helpers", "misc", "util", "utils"}

# Where a module and the distribution that brings it differ by more than "_" and "-".
DISTRIBUTIONS = {
    "PIL": "pillow",
    "c2pa": "c2pa-python",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}


@dataclass(frozen=True)
class Import:
    """A module that a file imports, and the line that does."""

    file: str  # the importing module without the package's name: "media.audio"
    line: int
    module: str  # absolute and dotted, as far as a module goes: "svp_diffusers.errors"
    level: int  # the dots of a relative import
    delayed: bool  # in a function or under TYPE_CHECKING: not run when the file is imported

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


@cache
def files() -> dict[str, Path]:
    """All modules of the package, a folder's `__init__` under the folder's name."""
    found = {}
    for path in sorted((ROOT / "src" / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT / "src" / PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(name: str, path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    delayed = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.FunctionDef | ast.AsyncFunctionDef)
        or (isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test))
        for node in ast.walk(block)
    }
    package = [PACKAGE, *name.split(".")]
    if path.name != "__init__.py" or name == "__init__":
        package = package[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join(above + ([node.module] if node.module else []))
            inner = [f"{base}.{alias.name}" for alias in node.names]
            modules = [
                each if each.removeprefix(f"{PACKAGE}.") in files() else base for each in inner
            ]
        else:
            continue
        level = getattr(node, "level", 0)
        for module in dict.fromkeys(modules):
            yield Import(name, node.lineno, module, level, id(node) in delayed)


@cache
def imports() -> tuple[Import, ...]:
    return tuple(each for name, path in files().items() for each in imports_of(name, path))


def inside() -> list[tuple[Import, str]]:
    """The imports of our own modules, each with the module as `files` names it."""
    return [
        (each, each.module.removeprefix(PACKAGE).removeprefix(".") or "__init__")
        for each in imports()
        if each.module.split(".")[0] == PACKAGE
    ]


def room(name: str) -> str:
    parts = name.split(".")
    return ".".join(parts[: 2 if parts[0] == "training" else 1])


def circle_of(edges: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_every_file_is_in_a_declared_room_and_no_room_is_empty() -> None:
    declared = {name for level in LEVELS for name in level}
    found = {room(name) for name in files()} - {"training"}  # that folder holds rooms alone
    assert found == declared


def test_every_import_of_ours_leads_to_a_file() -> None:
    assert [str(each) for each, module in inside() if module not in files()] == []


def test_imports_run_downwards() -> None:
    height = {name: i for i, level in enumerate(LEVELS) for name in level}
    upwards = [
        str(each)
        for each, module in inside()
        if room(module) != room(each.file) and height[room(module)] >= height[room(each.file)]
    ]
    assert upwards == []


def test_no_files_import_each_other_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for each, module in inside():
        edges.setdefault(each.file, set()).add(module)
    assert circle_of(edges) == []


def test_what_travels_to_the_hub_imports_nothing_else_of_the_package() -> None:
    others = [
        str(each)
        for each, module in inside()
        if room(each.file) in TRAVELLING
        and not (each.level == 1 and room(each.file) == room(module) == "pipelines")
    ]
    assert others == [], (
        "a component is one file; the pipeline's siblings are `from .sibling import`"
    )


def test_commands_print_names_escaped() -> None:
    echoing = [
        path.name
        for path in (ROOT / "src" / PACKAGE / "cli").glob("*.py")
        if "typer.echo(" in path.read_text() and path.name != "printing.py"
    ]
    assert echoing == [], "use cli.printing.say"


def test_no_file_is_too_long_to_read_in_a_sitting() -> None:
    lines = {
        path.relative_to(ROOT / "src" / PACKAGE).as_posix(): path.read_bytes().count(b"\n")
        for path in files().values()
    }
    assert {name for name in LONGER_FILES if name not in lines} == set()
    too_long = {
        name: number
        for name, number in lines.items()
        if number > LONGER_FILES.get(name, (MOST_LINES, ""))[0]
    }
    assert too_long == {}


@pytest.mark.parametrize("folder", ["src", "tests", "benchmarks"])
def test_every_file_is_named_for_a_subject(folder: str) -> None:
    named = [
        path
        for path in (ROOT / folder).rglob("*.py")
        if NAMES_OF_NO_SUBJECT & set(path.relative_to(ROOT).with_suffix("").parts)
    ]
    assert named == []


@cache
def declared_distributions() -> tuple[set[str], set[str]]:
    """The distributions that every user has, and those of the extras of features."""
    setup = configparser.ConfigParser(delimiters=("=",))
    setup.read(ROOT / "setup.cfg", encoding="utf-8")

    def names(lines: str) -> set[str]:
        starts = (line.split(";")[0].strip() for line in lines.strip().splitlines())
        return {normal(start.split("[")[0].split(">")[0].split("=")[0]) for start in starts}

    extras = dict(setup["options.extras_require"])
    for of_developers in ("dev", "docs", "notebooks"):
        extras.pop(of_developers, None)
    always = names(setup["options"]["install_requires"])
    return always, set().union(*(names(lines) for lines in extras.values()))


def normal(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def third_party() -> list[tuple[Import, str]]:
    """The imports of other people's modules, each with its distribution."""
    outside = []
    for each in imports():
        top = each.module.split(".")[0]
        if top != PACKAGE and top not in sys.stdlib_module_names:
            outside.append((each, normal(DISTRIBUTIONS.get(top, top))))
    return outside


def test_every_third_party_import_is_a_declared_dependency() -> None:
    always, optional = declared_distributions()
    undeclared = [str(each) for each, name in third_party() if name not in always | optional]
    assert undeclared == []


def test_optional_packages_are_imported_where_they_are_used() -> None:
    always, _ = declared_distributions()
    at_import = [
        str(each) for each, name in third_party() if name not in always and not each.delayed
    ]
    assert at_import == [], "the package must import without any extra"
