"""Is the portrait kept: with the true head keypoints, with those that are found, and with none."""

import torch

from svp_diffusers.errors import DatasetError
from svp_diffusers.evaluation.talking_head.clips import TrueClips
from svp_diffusers.evaluation.talking_head.generation import Sampler
from svp_diffusers.evaluation.talking_head.measurements import Progress
from svp_diffusers.evaluation.talking_head.table import PartResult, Row
from svp_diffusers.measures.face_regions import locate_eyes
from svp_diffusers.measures.intervals import estimate_mean
from svp_diffusers.measures.pictures import measure_psnr


def evaluate_portraits(
    sampler: Sampler, clips: TrueClips, seed: int, on_progress: Progress
) -> PartResult:
    """PSNR around eyes and brows of a still head's first frame, whose mouth still rests, against
    the portrait.

    Keypoints are found where the checkpoint has a landmarker.

    Raises:
        DatasetError: it finds no face in a reference.
    """
    sources = ["true", "found", "none"] if sampler.pipeline.can_find_heads else ["true", "none"]
    kept: dict[str, list[float]] = {source: [] for source in sources}
    for number in range(len(clips)):
        clip = clips[number]
        for source, values in kept.items():
            try:
                still = sampler.generate_still(clip, source, seed + number)
            except ValueError as error:
                raise DatasetError(f"the reference of clip {clip.key!r}: {error}") from error
            keypoints = torch.from_numpy(still.keypoints)[None]
            eyes = locate_eyes(keypoints, *still.frame.shape[:2])[0, 0].numpy()
            values.append(measure_psnr(still.frame[eyes], still.portrait[eyes], 255))
        on_progress("portraits", number + 1, len(clips))
    rows = [
        Row(
            "portrait",
            f"PSNR around the eyes of a still head, keypoints {source} (dB)",
            generated=estimate_mean(values, clips.people),
        )
        for source, values in kept.items()
    ]
    return PartResult(rows, {"psnr": kept})
