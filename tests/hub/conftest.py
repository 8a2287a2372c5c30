"""A loopback Hub, and clients of it in processes of their own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import TOKEN, LoopbackHub, serve

CLIENT = Path(__file__).with_name("client.py")


@pytest.fixture(scope="session")
def hub() -> Iterator[LoopbackHub]:
    with serve() as running:
        yield running


@pytest.fixture(scope="session")
def client_environment(
    hub: LoopbackHub, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, str]]:
    """The environment of a process that has never been on the Hub before."""

    def build(**variables: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        return {
            **kept,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path_factory.mktemp("huggingface")),
            "HF_TOKEN": TOKEN,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
            **variables,
        }

    return build


@pytest.fixture(scope="session")
def run_client(
    client_environment: Callable[..., dict[str, str]],
) -> Callable[..., list[Any]]:
    """Run tasks of `client.py` in a new process, and return their results."""

    def run(tasks: list[dict[str, Any]], package: bool, **variables: str) -> list[Any]:
        job = json.dumps({"package": package, "tasks": tasks})
        done = subprocess.run(
            [sys.executable, str(CLIENT), job],
            env=client_environment(**variables),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        results: list[Any] = json.loads(done.stdout.splitlines()[-1])
        return results

    return run


@pytest.fixture(scope="session")
def run_python(client_environment: Callable[..., dict[str, str]]) -> Callable[..., Any]:
    """Run code that sets `result` in a new process, which can import `client`; return it."""

    def run(code: str, folder: Path | None = None, **variables: str) -> Any:
        begin = (
            f"import json, sys, torch\nsys.path.insert(0, {str(CLIENT.parent)!r})\nimport client\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", f"{begin}{code}\nprint(json.dumps(result))"],
            cwd=folder,
            env=client_environment(**variables),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run
