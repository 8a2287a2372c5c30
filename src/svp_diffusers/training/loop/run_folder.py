"""A training run on disk: its configuration, its metrics, and checkpoints that are whole or absent.

RUN/configuration.yaml  metrics.jsonl  checkpoint-00000500/  validation/step-000500.mp4  ...
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors import SafetensorError

from svp_diffusers.errors import CheckpointError, ConfigurationError, OutputError
from svp_diffusers.media.locking import WORK_PATIENCE_SECONDS, hold
from svp_diffusers.media.output import atomic_path
from svp_diffusers.training.loop.yaml_file import load_configuration, save_configuration

_SAVING = re.compile("inline_container|PytorchStreamWriter")
"""In what `torch.save` raises where it cannot write."""


class RunFolder:
    """One run. Making a new one in a folder that holds a run, or resuming none, is an error.

    A run that failed before its first checkpoint holds nothing: it is begun anew, with whatever
    configuration.

    Raises:
        ConfigurationError: the folder holds a run and `resume` is false, or the run was
            started with another configuration.
        CheckpointError: there is nothing to resume.
    """

    def __init__(self, path: str | Path, configuration: Any, resume: bool) -> None:
        self.path = Path(path)
        self.metrics = self.path / "metrics.jsonl"
        self._held = ExitStack()
        started = self.path / "configuration.yaml"
        if not resume and started.exists() and self.checkpoints():
            raise ConfigurationError(
                f"{self.path} holds a run already; resume it (--resume) or name another output_dir"
            )
        if resume and not started.exists():
            raise CheckpointError(f"{self.path} holds no run to resume")
        if resume and load_configuration(started, type(configuration)) != configuration:
            raise ConfigurationError(
                f"the configuration is not the one of {started}; a run is resumed with its own"
            )
        self._configuration = configuration

    def start(self, accelerator: Accelerator) -> None:
        """Create the folder and hold it; called once all processes have checked it.

        Raises:
            OutputError: another training writes into it, or it cannot be written.
        """
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            self.path.mkdir(parents=True, exist_ok=True)
            self._held.enter_context(hold(self.path, "run", patience=WORK_PATIENCE_SECONDS))
            if not self.checkpoints():
                self.metrics.unlink(missing_ok=True)
            with atomic_path(self.path / "configuration.yaml") as temporary:
                save_configuration(self._configuration, temporary)
        accelerator.wait_for_everyone()

    def release(self) -> None:
        """Let others write into the folder."""
        self._held.close()

    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted(self.path.glob("checkpoint-*"))

    def save(self, accelerator: Accelerator, step: int) -> None:
        """Save the state of all processes under a temporary name, then rename it.

        The newest `keep_checkpoints` are kept. A process killed at any moment leaves at most a
        folder `.partial`.

        Raises:
            OutputError: it cannot be written, as on a full disk; the older ones stay.
        """
        temporary = self.path / ".partial"
        if accelerator.is_main_process and temporary.exists():
            shutil.rmtree(temporary)
        accelerator.wait_for_everyone()
        try:
            with self._writing():
                accelerator.save_state(str(temporary))
        except OutputError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            temporary.rename(self.path / f"checkpoint-{step:08d}")
            for old in self.checkpoints()[: -self._configuration.keep_checkpoints]:
                shutil.rmtree(old)
        accelerator.wait_for_everyone()

    def load(self, accelerator: Accelerator) -> int:
        """Load the newest checkpoint and return its step; 0 and nothing if the run has none yet.

        Metrics of later steps, written before the run was interrupted, are dropped.
        """
        checkpoints = self.checkpoints()
        step = int(checkpoints[-1].name.removeprefix("checkpoint-")) if checkpoints else 0
        if checkpoints:
            accelerator.load_state(str(checkpoints[-1]))
        if accelerator.is_main_process and self.metrics.exists():
            lines = self.metrics.read_text().splitlines(keepends=True)
            with atomic_path(self.metrics) as temporary:
                temporary.write_text(
                    "".join(
                        line
                        for line in lines
                        if line.endswith("\n") and json.loads(line)["step"] <= step
                    )
                )
        accelerator.wait_for_everyone()
        return step

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Append one line to the metrics.

        Raises:
            OutputError: it cannot be written.
        """
        with self._writing(), self.metrics.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Raise what writing raises, a full disk's errors first of all, as `OutputError`."""
        try:
            yield
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            if isinstance(error, RuntimeError):
                if not _SAVING.search(str(error)):
                    raise
                reason = "a write failed; see whether there is space left"
            raise OutputError(f"{self.path} cannot be written: {reason}") from error


class DryRun(RunFolder):
    """A run that leaves nothing on disk."""

    def __init__(self) -> None:
        """Without a folder, hence without anything to check."""

    def start(self, accelerator: Accelerator) -> None:
        """Create no folder."""

    def release(self) -> None:
        """Hold nothing."""

    def save(self, accelerator: Accelerator, step: int) -> None:
        """Save nothing."""

    def load(self, accelerator: Accelerator) -> int:
        """Begin at the first step."""
        return 0

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Keep nothing."""
