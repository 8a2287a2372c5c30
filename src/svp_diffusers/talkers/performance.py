"""A performance: what face and head do while they speak, frame by frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.talkers.geometry import HeadPose
from svp_diffusers.talkers.manner import Manner
from svp_diffusers.talkers.speech import SAMPLING_RATE, Phoneme
from svp_diffusers.talkers.visemes import LIP_COEFFICIENTS, blend_visemes

_BLINK_CLOSING, _BLINK_OPENING = 0.045, 0.085
"""Time constants of the lids, seconds."""


@dataclass(frozen=True)
class Performance:
    """`f` frames of a performance.

    Args:
        expression: `(f, 52)` float32 ARKit coefficients in 0..1, order of `ARKIT_BLENDSHAPES`.
        poses: `f` head poses.
    """

    expression: np.ndarray
    poses: tuple[HeadPose, ...]


def measure_loudness(waveform: np.ndarray, frames: int, fps: float) -> np.ndarray:
    """Loudness of each frame's sound, `(frames,)`, 0 (silence) to about 1 (loud syllables).

    The root mean square over the frame, relative to the 95th percentile of the recording.
    """
    edges = np.round(np.arange(frames + 1) / fps * SAMPLING_RATE).astype(int)
    energy = np.concatenate([[0.0], np.cumsum(waveform.astype(np.float64) ** 2)])
    inside = np.minimum(edges, len(waveform))
    power = (energy[inside[1:]] - energy[inside[:-1]]) / np.diff(edges)
    loudness = np.sqrt(np.maximum(power, 0))
    return loudness / max(float(np.percentile(loudness, 95)), 1e-6)


def perform(
    phonemes: Sequence[Phoneme],
    waveform: np.ndarray,
    manner: Manner,
    frames: int,
    fps: float,
    generator: np.random.Generator,
) -> Performance:
    """Act out speech in a manner.

    Args:
        phonemes: what is said and when.
        waveform: `(n,)` how it sounds, 16 kHz; loud syllables open the mouth wider and carry nods.
        manner: how it is said.
        frames: number of frames.
        fps: frames a second; frame `i` shows the moment `(i + 0.5) / fps`.
        generator: draws blinks, glances and drifts.
    """
    times = (np.arange(frames) + 0.5) / fps
    loudness = measure_loudness(waveform, frames, fps)
    emphasis = np.clip(gaussian_filter1d(loudness, 0.10 * fps), 0, 1.2)
    tracks = {name: np.zeros(frames) for name in ARKIT_BLENDSHAPES}
    _move_lips(tracks, phonemes, times, np.clip(loudness, 0, 1.2), manner)
    _hold_expression(tracks, emphasis, manner, fps, generator)
    _move_eyes(tracks, times, manner, fps, generator)
    expression = np.stack([tracks[name] for name in ARKIT_BLENDSHAPES], axis=1)
    poses = _move_head(emphasis, manner, fps, generator)
    return Performance(np.clip(expression, 0, 1).astype(np.float32), poses)


def _move_lips(
    tracks: dict[str, np.ndarray],
    phonemes: Sequence[Phoneme],
    times: np.ndarray,
    loudness: np.ndarray,
    manner: Manner,
) -> None:
    lips = blend_visemes(phonemes, times, manner.onset)
    for name, values in zip(LIP_COEFFICIENTS, lips.T, strict=True):
        for track in (name,) if name in tracks else (f"{name}Left", f"{name}Right"):
            tracks[track] += manner.articulation * values
    jaw = lips[:, LIP_COEFFICIENTS.index("jawOpen")]
    tracks["jawOpen"] = manner.opening * (0.70 + 0.20 * loudness) * jaw


def _hold_expression(
    tracks: dict[str, np.ndarray],
    emphasis: np.ndarray,
    manner: Manner,
    fps: float,
    generator: np.random.Generator,
) -> None:
    """Add the resting expression, which drifts slowly and gives way where speech needs the lips."""
    frames = len(emphasis)
    left, right = 1 + min(manner.lopsided, 0), 1 - max(manner.lopsided, 0)
    rounded = np.clip(tracks["mouthPucker"] + 0.7 * tracks["mouthFunnel"], 0, 1)
    free = 1 - 0.6 * rounded
    # Only "p", "b" and "m" press the lips together: nothing may hold them open then.
    closed = np.clip(2.0 * tracks["mouthPressLeft"], 0, 1)

    def hold(name: str, level: float, follow: np.ndarray | float = 1.0) -> None:
        drift = 1 + 0.18 * _drift(frames, 0.5 * fps, generator)
        for side, share in (("Left", left), ("Right", right)):
            tracks[f"{name}{side}"] += level * share * drift * follow

    hold("mouthSmile", manner.smile, free)
    hold("mouthFrown", manner.frown, free)
    hold("mouthStretch", manner.stretch, free)
    hold("mouthDimple", manner.dimple, free)
    hold("mouthPress", manner.press)
    hold("mouthUpperUp", manner.upper_lip, (0.4 + 0.6 * emphasis) * (1 - closed))
    hold("noseSneer", manner.sneer)
    hold("cheekSquint", manner.cheek)
    hold("eyeSquint", manner.squint)
    hold("eyeWide", manner.eye_wide)
    hold("browDown", manner.brow_down)
    hold("browOuterUp", manner.brow_outer)
    lift = manner.brow_emphasis * emphasis
    tracks["browInnerUp"] += manner.brow_inner * (1 + 0.18 * _drift(frames, 0.5 * fps, generator))
    tracks["browInnerUp"] += lift
    for side in ("Left", "Right"):
        tracks[f"browOuterUp{side}"] += lift


def _move_eyes(
    tracks: dict[str, np.ndarray],
    times: np.ndarray,
    manner: Manner,
    fps: float,
    generator: np.random.Generator,
) -> None:
    """Add blinks, and glances that jump and rest."""
    moment = generator.exponential(1 / max(manner.blink_rate, 0.02))
    while moment < times[-1] + 0.5:
        since = times - moment
        lid = np.where(
            since < 0,
            np.exp(-((since / _BLINK_CLOSING) ** 2)),
            np.exp(-((since / _BLINK_OPENING) ** 2)),
        )
        for side in ("Left", "Right"):
            tracks[f"eyeBlink{side}"] = np.maximum(tracks[f"eyeBlink{side}"], lid)
        moment += 0.35 + generator.exponential(1 / max(manner.blink_rate, 0.02))
    across, down = np.zeros(len(times)), np.full(len(times), manner.gaze_down)
    moment = 0.0
    while moment < times[-1]:
        away = generator.uniform() < 0.5
        target = generator.normal(size=2) * max(manner.gaze_wander, 0) * away
        across[times >= moment] = target[0]
        down[times >= moment] = manner.gaze_down + 0.6 * target[1]
        moment += generator.uniform(0.5, 1.8)
    across, down = (gaussian_filter1d(gaze, 0.02 * fps) for gaze in (across, down))
    # Positive looks to the image's right, which is out for the subject's left eye.
    for side, sign in (("Left", 1), ("Right", -1)):
        tracks[f"eyeLookOut{side}"] += np.maximum(sign * across, 0)
        tracks[f"eyeLookIn{side}"] += np.maximum(-sign * across, 0)
        tracks[f"eyeLookDown{side}"] += np.maximum(down, 0)
        tracks[f"eyeLookUp{side}"] += np.maximum(-down, 0)


def _move_head(
    emphasis: np.ndarray, manner: Manner, fps: float, generator: np.random.Generator
) -> tuple[HeadPose, ...]:
    """Slow sway plus nods that follow loud syllables, from a random resting pose."""
    frames = len(emphasis)
    slow = 0.8 * fps / max(manner.tempo, 0.2)
    beat = gaussian_filter1d(emphasis, 0.12 * fps) - emphasis.mean()
    start = generator.normal(size=6) * (0.07, 0.03, 0.02, 0.012, 0.008, 0.02)

    def sway(size: float) -> np.ndarray:
        return size * max(manner.sway, 0) * _drift(frames, slow, generator)

    yaw = np.clip(start[0] + sway(0.07), -0.35, 0.35)
    pitch = start[1] + manner.head_pitch + sway(0.03) + manner.nod * beat
    roll = start[2] + manner.head_roll + sway(0.025)
    x, y = start[3] + sway(0.008), start[4] + sway(0.005) + 0.1 * manner.nod * beat
    scale = 1 + start[5] + sway(0.008)
    columns = np.stack([yaw, np.clip(pitch, -0.3, 0.3), np.clip(roll, -0.3, 0.3), x, y, scale], 1)
    return tuple(HeadPose(*row) for row in columns.tolist())


def _drift(frames: int, width: float, generator: np.random.Generator) -> np.ndarray:
    """Smooth noise of unit variance whose correlation decays over `width` frames."""
    margin = int(4 * width) + 1
    noise = gaussian_filter1d(generator.normal(size=frames + 2 * margin), width)
    # A Gaussian filter of this width leaves 1 / (2 sqrt(pi) width) of the variance.
    return noise[margin:-margin] * np.sqrt(2 * np.sqrt(np.pi) * width)
