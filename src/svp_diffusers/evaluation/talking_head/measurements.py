"""What is kept of every clip: each is made once a condition, looked at, and forgotten."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from svp_diffusers.evaluation.talking_head.clips import TrueClip, TrueClips
from svp_diffusers.evaluation.talking_head.generation import Sampler
from svp_diffusers.evaluation.talking_head.reading import ExpressionReader, Reading
from svp_diffusers.evaluation.talking_head.sheets import Sheet
from svp_diffusers.measures.face_regions import locate_mouth
from svp_diffusers.measures.pictures import measure_motion, measure_psnr, measure_ssim

GENERATED, SHUFFLED, RECONSTRUCTED, TRUE = "generated", "shuffled", "reconstructed", "true"
"""The conditions: the clip generated, from another clip's sound, by the VAE alone, as it is."""

Progress = Callable[[str, int, int], None]
"""Told what is going on, how many of it are done, and how many there are."""


@dataclass(frozen=True)
class Pictures:
    """How far the frames of one clip are from the truth; dB, 0..1, dB, 0..1, and 0..1."""

    psnr: float
    ssim: float
    psnr_outside_mouth: float
    ssim_outside_mouth: float
    motion: float


@dataclass(frozen=True)
class Measurement:
    """One clip: rig coefficients `(f, n)`, and by condition what was read and measured."""

    key: str
    person: str
    emotion: str
    truth: NDArray[np.float64]
    readings: dict[str, Reading]
    pictures: dict[str, Pictures]


def measure_clips(
    sampler: Sampler,
    reader: ExpressionReader,
    clips: TrueClips,
    seed: int,
    sheet: Sheet,
    on_progress: Progress,
) -> list[Measurement]:
    """Generate every clip in the style of its emotion, once with its own sound and once with that
    of a clip half the set away, and read all of it.

    Args:
        sampler: makes the clips.
        reader: reads them.
        clips: what is made.
        seed: clip `i` is made from `seed + i`.
        sheet: is handed some of the frames.
        on_progress: called at every clip.
    """
    measured = []
    for number in range(len(clips)):
        clip = clips[number]
        other = clips[(number + max(1, len(clips) // 2)) % len(clips)]
        style, own_seed = clip.emotion, seed + number
        frames = {
            TRUE: clip.frames,
            RECONSTRUCTED: sampler.reconstruct(clip.frames),
            GENERATED: sampler.generate(clip, style, own_seed),
            SHUFFLED: sampler.generate(clip, style, own_seed, waveform=other.waveform),
        }
        measured.append(
            Measurement(
                clip.key,
                clip.person,
                clip.emotion,
                reader.select(clip.expression),
                {condition: reader.read(each) for condition, each in frames.items()},
                {
                    condition: compare_pictures(frames[condition], clip)
                    for condition in (TRUE, RECONSTRUCTED, GENERATED)
                },
            )
        )
        sheet.add(clip, frames[RECONSTRUCTED], frames[GENERATED])
        on_progress("clips", number + 1, len(clips))
    return measured


def compare_pictures(frames: NDArray[np.uint8], clip: TrueClip) -> Pictures:
    """Compare `(f, H, W, 3)` frames with those of the clip."""
    keypoints = torch.from_numpy(clip.head_keypoints)
    outside = ~locate_mouth(keypoints, *clip.frames.shape[1:3])[:, 0].numpy()
    everywhere = np.ones_like(outside)
    return Pictures(
        measure_psnr(frames, clip.frames, 255),
        measure_ssim(frames, clip.frames, everywhere),
        measure_psnr(frames[outside], clip.frames[outside], 255),
        measure_ssim(frames, clip.frames, outside),
        measure_motion(frames),
    )
