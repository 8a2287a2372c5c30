"""How well generated head motion matches that of people: amplitude, speed, spectrum and nods.

Every clip held out is generated from its speech, its style and its first pose; what is
compared are statistics, since no model can know which way somebody will turn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.signal import csd, welch

from svp_diffusers.checkpoints.loading import load_network
from svp_diffusers.models.head_motion_svp import HeadMotionModel
from svp_diffusers.talkers.performance import measure_loudness
from svp_diffusers.training.head_motion.performances import FPS, MotionClip

Poses = NDArray[np.float32]
OnProgress = Callable[[str, int, int], None]
"""Told of a task, how many are done, and how many there are."""

BANDS = ((0.0, 0.25), (0.25, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 4.0))
"""Hz."""
LEAST_SHARE = 0.02
"""Of a pose's power that a band must hold in people to be compared."""
NOD_BAND = (0.4, 2.0)
"""Hz; slower motion does not follow syllables."""
SEGMENT = 100
"""Frames of a segment of the spectra: 4 s."""
STILL = 0.1
"""Share of the median angular speed below which a head stands still."""


@dataclass(frozen=True)
class LongRun:
    """Five minutes in one piece.

    mean_shift: between the first and the last minute, of yaw, pitch and roll, over the amplitude.
    amplitude_ratio: of the last minute to the first.
    longest_still: seconds.
    """

    mean_shift: tuple[float, float, float]
    amplitude_ratio: float
    longest_still: float


@dataclass(frozen=True)
class HeadMotionReport:
    """Generated motion against that of people ("truth").

    Angles are yaw, pitch and roll; an amplitude is their root mean square distance from the
    clip's mean, radians; a speed is that of their changes, radians a second.

    amplitudes: (truth, generated) by emotion.
    amplitude_correlation: of those over the emotions.
    amplitude_ratio, speed_ratio: generated over truth, all clips.
    spectrum_ratios: of the amplitude in a band, generated over truth, by "pitch 0.5-1 Hz".
    nod_coherence: between pitch and loudness in `NOD_BAND`: truth, generated, and generated with
        the loudness of another clip.
    seed_distance: between two seeds, over the amplitude; independent motions have about 1.4.
    """

    clips: int
    amplitudes: dict[str, tuple[float, float]]
    amplitude_correlation: float
    amplitude_ratio: float
    speed_ratio: float
    spectrum_ratios: dict[str, float]
    nod_coherence: tuple[float, float, float]
    seed_distance: float
    long_run: LongRun


def load_head_motion(folder: Path) -> HeadMotionModel:
    """Load a model in single precision, whatever it is stored in.

    Raises:
        CheckpointError: the folder holds none, or its weights are not those of the model.
    """
    return load_network(HeadMotionModel, folder, "head motion model")


def evaluate_head_motion(
    model: HeadMotionModel,
    clips: Sequence[MotionClip],
    seed: int = 0,
    long_seconds: float = 300.0,
    on_progress: OnProgress = lambda task, done, total: None,
) -> HeadMotionReport:
    """Compare generated motion with clips held out, of several emotions and all of one length.

    Args:
        model: on any device.
        clips: see `perform_clips`.
        seed: of the generated motion; the second seed is the next.
        long_seconds: of the long run.
        on_progress: called at each clip.
    """
    truth = [clip.poses for clip in clips]
    generated = []
    for index, clip in enumerate(clips):
        generated.append(generate(model, clip, [seed, index]))
        on_progress("motions", index + 1, len(clips))
    again = [generate(model, clip, [seed + 1, index]) for index, clip in enumerate(clips[:16])]
    loudness = [measure_loudness(c.waveform, len(c.poses), float(FPS)) for c in clips]
    amplitudes = _compare_amplitudes([clip.emotion for clip in clips], truth, generated)
    # The next clip but one is of another emotion and another speech.
    other = loudness[2 * len(clips) // 3 :] + loudness[: 2 * len(clips) // 3]
    distance = np.mean([_amplitude(b - a, 0) for a, b in zip(generated, again, strict=False)])
    return HeadMotionReport(
        clips=len(clips),
        amplitudes=amplitudes,
        amplitude_correlation=float(np.corrcoef(np.array(list(amplitudes.values())).T)[0, 1]),
        amplitude_ratio=_mean(_amplitude, generated) / _mean(_amplitude, truth),
        speed_ratio=_mean(_speed, generated) / _mean(_speed, truth),
        spectrum_ratios=_compare_spectra(truth, generated),
        nod_coherence=(
            measure_coherence(truth, loudness),
            measure_coherence(generated, loudness),
            measure_coherence(generated, other),
        ),
        seed_distance=float(distance / _mean(_amplitude, generated[:16])),
        long_run=measure_long_run(generate_long(model, clips, long_seconds, seed)),
    )


def generate(model: HeadMotionModel, clip: MotionClip, seed: Sequence[int]) -> Poses:
    """The motion `(frames, 6)` that a model makes of a clip's speech, style and first pose."""
    poses = model.generate(
        clip.embeddings,
        clip.style.mean,
        torch.from_numpy(clip.poses[0]),
        len(clip.poses),
        float(FPS),
        generator=_seed(seed),
    )
    moved: Poses = poses.cpu().numpy()
    return moved


def generate_long(
    model: HeadMotionModel, clips: Sequence[MotionClip], seconds: float, seed: int
) -> Poses:
    """Motion to the speech of clips of the first one's emotion one after another, `(frames, 6)`."""
    same = [clip for clip in clips if clip.emotion == clips[0].emotion]
    embeddings = torch.cat([clip.embeddings for clip in same])
    embeddings = embeddings.repeat(int(seconds * 50 / len(embeddings)) + 1, 1)
    frames = round(seconds * FPS)
    start = torch.from_numpy(clips[0].poses[0])
    poses = model.generate(
        embeddings, clips[0].style.mean, start, frames, float(FPS), generator=_seed([seed])
    )
    moved: Poses = poses.cpu().numpy()
    return moved


def measure_long_run(poses: Poses) -> LongRun:
    """Drift and stillness of one long motion: its first and last fifth are compared."""
    first, last = poses[: len(poses) // 5], poses[-(len(poses) // 5) :]
    shift = (last[:, :3].mean(axis=0) - first[:, :3].mean(axis=0)) / _amplitude(first)
    speeds = np.linalg.norm(np.diff(poses[:, :3], axis=0), axis=1)
    # Over a second, since every swing stops for a moment where it turns.
    speeds = np.sqrt(np.convolve(speeds**2, np.full(int(FPS), 1 / int(FPS)), mode="valid"))
    longest = run = 0
    for still in speeds < STILL * np.median(speeds):
        run = run + 1 if still else 0
        longest = max(longest, run)
    return LongRun(
        (float(shift[0]), float(shift[1]), float(shift[2])),
        _amplitude(last) / _amplitude(first),
        longest / float(FPS),
    )


def measure_coherence(motions: Sequence[Poses], loudness: Sequence[NDArray[np.floating]]) -> float:
    """Mean magnitude-squared coherence of pitch and loudness in `NOD_BAND`, 0 to 1, over all clips
    together, so that chance gives about one over the number of segments."""
    options = {"fs": float(FPS), "nperseg": SEGMENT}
    pairs = [(poses[:, 1], loud) for poses, loud in zip(motions, loudness, strict=True)]
    cross = np.mean([csd(pitch, loud, **options)[1] for pitch, loud in pairs], axis=0)
    own = np.mean([welch(pitch, **options)[1] for pitch, _ in pairs], axis=0)
    frequencies, theirs = welch(np.stack([loud for _, loud in pairs]), **options)
    inside = (frequencies >= NOD_BAND[0]) & (frequencies <= NOD_BAND[1])
    return float((np.abs(cross) ** 2 / (own * theirs.mean(axis=0)))[inside].mean())


def format_report(report: HeadMotionReport) -> str:
    """The figures as lines of text."""
    lines = [f"{report.clips} clips held out", "emotion      truth  generated (amplitude, degrees)"]
    for emotion, pair in report.amplitudes.items():
        lines.append(f"{emotion:<10} {np.degrees(pair[0]):7.2f} {np.degrees(pair[1]):10.2f}")
    lines.append(f"amplitude over the emotions: correlation {report.amplitude_correlation:.3f}")
    lines.append(f"amplitude, generated over truth: {report.amplitude_ratio:.3f}")
    lines.append(f"speed, generated over truth: {report.speed_ratio:.3f}")
    lines += [f"spectrum, {name}: {ratio:.3f}" for name, ratio in report.spectrum_ratios.items()]
    truth, generated, chance = report.nod_coherence
    lines.append(
        f"coherence of pitch with loudness: truth {truth:.3f}, generated {generated:.3f}, "
        f"with another clip's loudness {chance:.3f}"
    )
    lines.append(f"distance of two seeds over the amplitude: {report.seed_distance:.3f}")
    long = report.long_run
    shift = ", ".join(f"{value:+.2f}" for value in long.mean_shift)
    lines += [
        f"long run, last minute's mean less the first's, yaw, pitch, roll over amplitude: {shift}",
        f"long run, amplitude of the last minute over the first's: {long.amplitude_ratio:.3f}",
        f"long run, longest stillness: {long.longest_still:.1f} s",
    ]
    return "\n".join(lines)


def _seed(seed: Sequence[int]) -> torch.Generator:
    state = int(np.random.SeedSequence(list(seed)).generate_state(1)[0])
    return torch.Generator().manual_seed(state)


def _amplitude(poses: Poses, centre: float | None = None) -> float:
    angles = poses[:, :3]
    off = angles - (angles.mean(axis=0) if centre is None else centre)
    return float(np.sqrt(np.square(off).sum(axis=1).mean()))


def _speed(poses: Poses) -> float:
    changes = np.diff(poses[:, :3], axis=0) * float(FPS)
    return float(np.sqrt(np.square(changes).sum(axis=1).mean()))


def _mean(measure: Callable[[Poses], float], motions: Sequence[Poses]) -> float:
    return float(np.mean([measure(poses) for poses in motions]))


def _compare_amplitudes(
    emotions: Sequence[str], truth: Sequence[Poses], generated: Sequence[Poses]
) -> dict[str, tuple[float, float]]:
    return {
        emotion: (
            _mean(_amplitude, [p for e, p in zip(emotions, truth, strict=True) if e == emotion]),
            _mean(
                _amplitude, [p for e, p in zip(emotions, generated, strict=True) if e == emotion]
            ),
        )
        for emotion in sorted(set(emotions))
    }


def _compare_spectra(truth: Sequence[Poses], generated: Sequence[Poses]) -> dict[str, float]:
    ratios = {}
    for column, name in enumerate(("yaw", "pitch", "roll")):
        powers = []
        for motions in (truth, generated):
            signals = np.stack([poses[:, column] for poses in motions])
            # Segments of the whole clip: the slowest band is slower than 4 s.
            frequencies, power = welch(signals, float(FPS), nperseg=signals.shape[1])
            power = power.mean(axis=0)
            powers.append([power[(frequencies > a) & (frequencies <= b)].sum() for a, b in BANDS])
        people, made = np.array(powers)
        for (low, high), ours, theirs in zip(BANDS, made, people, strict=True):
            if theirs >= LEAST_SHARE * people.sum():
                ratios[f"{name} {low:g}-{high:g} Hz"] = float(np.sqrt(ours / theirs))
    return ratios
