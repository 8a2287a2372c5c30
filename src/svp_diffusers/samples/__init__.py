"""Portraits, speech and a head's motion to try things with: of our own making, CC0-1.0.

Two portraits are rendered, two are drawn, and the voices are espeak-ng's; `make.py` made the files.
svp-tiny was not trained on any of these people, voices and lines.
"""

from pathlib import Path

_FOLDER = Path(__file__).parent

PORTRAITS = tuple(_FOLDER / f"portrait_{number}.png" for number in range(1, 5))
"""Four people, 256x256 pixels, in the first pose of `HEAD_MOTION`: two rendered, two drawn."""

PORTRAIT_KEYPOINTS = tuple(path.with_suffix(".npy") for path in PORTRAITS)
"""The 8 head keypoints of each, (8, 2) in pixels of the picture."""

SPEECH = tuple(_FOLDER / f"speech_{number}.wav" for number in range(1, 3))
"""Two lines by two voices, 16 kHz, about 3 and 2 seconds."""

HEAD_MOTION = _FOLDER / "head_motion.npy"
"""Head keypoints (frames, 8, 2) of the first portrait while it says the first line, 25 fps."""
