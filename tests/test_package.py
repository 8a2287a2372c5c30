"""What a user meets first: the import, the command line, and what is installed with them."""

import configparser
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

import svp_diffusers

ROOT = Path(__file__).parents[1]


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def test_import_is_light() -> None:
    code = (
        "import sys, svp_diffusers; "
        "print([m for m in ('torch', 'diffusers', 'librosa', 'insightface') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    assert [name for name in svp_diffusers.__all__ if not hasattr(svp_diffusers, name)] == []


def test_the_oldest_set_holds_the_declared_minimum_of_every_dependency() -> None:
    setup = setup_cfg()
    declared = setup["options"]["install_requires"] + setup["options.extras_require"]["data"]
    minimums = [line.replace(">=", "==") for line in declared.split()]
    oldest = (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in oldest if not line.startswith("#")] == minimums


def test_every_file_that_is_not_code_is_packaged() -> None:
    package = ROOT / "src" / "svp_diffusers"
    patterns = setup_cfg()["options.package_data"]["svp_diffusers"].split()
    packaged = {path for pattern in patterns for path in package.glob(pattern) if path.is_file()}
    left_out = {
        path
        for path in package.rglob("*")
        if path.is_file()
        and path.suffix != ".py"
        and path.parent.name != "__pycache__"
        and path not in packaged
    }
    assert left_out == set()


def test_the_claimed_versions_of_python_are_those_of_the_test_matrix() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    claimed = [
        entry.split(" :: ")[-1]
        for entry in project["classifiers"]
        if entry.startswith("Programming Language :: Python :: 3.")
    ]
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    tested = yaml.safe_load(workflow)["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tested == claimed
    assert project["requires-python"] == f">={claimed[0]}"


def test_the_citation_names_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == svp_diffusers.__version__
