"""The model behind the page: a checkpoint in memory, which makes one video at a time."""

import secrets
import shutil
import threading
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from svp_diffusers.app.form import Form, write_request
from svp_diffusers.app.live import LiveVideo
from svp_diffusers.app.style_map import StyleMap
from svp_diffusers.checkpoints.loading import find_checkpoint, name_checkpoint, select_device
from svp_diffusers.errors import SVPError
from svp_diffusers.generation.generate import Progress, load_checkpoint, make_video
from svp_diffusers.generation.preparation import prepare_video
from svp_diffusers.generation.streaming import has_independent_frames
from svp_diffusers.media.landmarks import LandmarkFaceDetector
from svp_diffusers.media.manifest import get_manifest_path
from svp_diffusers.style.storage import STYLE_SUFFIX


class CancelledError(Exception):
    """The user has stopped a video."""


@dataclass(frozen=True)
class Performance:
    """What was made.

    Attributes:
        video: the video, or the performances side by side.
        files: to download: every video and its manifest, and a style that was made for it.
        notes: warnings.
    """

    video: Path
    files: list[Path]
    notes: list[str]


class Performer:
    """A checkpoint that makes the videos of an app.

    Args:
        folder: where uploads lie, and videos are written: nothing else is read or written.
        model: folder or Hub id of a checkpoint; None is svp-tiny.
        device: None is the best there is.
        dtype: see `select_precision`.

    Raises:
        CheckpointError: there is no such checkpoint.
        ConfigurationError: there is no such device.
    """

    def __init__(
        self,
        folder: Path,
        model: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.model, self.device, self.dtype = model, device, dtype
        self.name = name_checkpoint(model)
        found = find_checkpoint(model)
        self.checkpoint = load_checkpoint(found, select_device(device), dtype)
        self.can_stream = has_independent_frames(found)
        encoder = self.checkpoint.pipeline.style_encoder
        self.styles = {**encoder.style_bank, "prior": encoder.prior()}
        self.map = StyleMap(encoder) if encoder.style_bank else None
        self.detector = LandmarkFaceDetector()
        self.watched: dict[str, LiveVideo] = {}
        """Videos that can be watched while they are made, by a name that cannot be guessed."""
        self._turn = threading.Lock()

    def perform(
        self,
        form: Form,
        on_progress: Progress = lambda task, done, total: None,
        is_cancelled: Callable[[], bool] = lambda: False,
        live: LiveVideo | None = None,
    ) -> Performance:
        """Make the video of a form.

        Where its frames are the same, a single performance is streamed: its frames are finished one
        after another, and it can be watched while it is made.

        Args:
            form: what was asked for.
            on_progress: called at every step.
            is_cancelled: asked at every step.
            live: where the video is shown while it is made.

        Raises:
            SVPError: of the kind that fits, without the place of any file; nothing is left behind.
            CancelledError: if it was.
        """
        folder = self.folder / f"performance-{secrets.token_hex(8)}"

        def report(task: str, done: int, total: int) -> None:
            if is_cancelled():
                raise CancelledError
            on_progress(task, done, total)

        with self._turn, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                folder.mkdir(parents=True)
                request = replace(
                    write_request(form, self.folder, folder, self.styles, self.map),
                    model=self.model,
                    device=self.device,
                    dtype=self.dtype,
                    stream=self.can_stream and form.performances == 1,
                )
                report("preparing", 0, 1)
                prepared = prepare_video(request, self.detector)
                with (
                    nullcontext(_ignore)
                    if live is None
                    else live.show(prepared.fps, prepared.voices.heard)
                ) as show:
                    outputs = make_video(prepared, self.checkpoint, report, show)
            except SVPError as error:
                shutil.rmtree(folder, ignore_errors=True)
                raise type(error)(self._without_places(str(error), folder)) from error
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        for path in folder.glob("[!t]*"):  # copies of what was uploaded
            if not path.name.endswith(STYLE_SUFFIX):
                path.unlink()
        files = [each for path in outputs for each in (path, get_manifest_path(path))]
        notes = [self._without_places(str(each.message), folder) for each in caught]
        return Performance(
            outputs[0], files + sorted(folder.glob(f"*{STYLE_SUFFIX}")), list(dict.fromkeys(notes))
        )

    def _without_places(self, message: str, folder: Path) -> str:
        return message.replace(f"{folder}/", "").replace(f"{self.folder}/", "")


def _ignore(frame: NDArray[np.uint8]) -> None:
    """Show a frame to nobody."""
