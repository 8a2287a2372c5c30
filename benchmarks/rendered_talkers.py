"""Rendered talkers: processor time of a frame by hair style; what a landmarker reads of the rig.

python benchmarks/rendered_talkers.py speed --people 40
python benchmarks/rendered_talkers.py rig --people 12
"""

import argparse
import time
from collections import defaultdict

import numpy as np

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.media.landmarks import find_landmarks, load_face_landmarker
from svp_diffusers.talkers.geometry import HeadPose
from svp_diffusers.talkers.rendered.renderer import Renderer
from svp_diffusers.talkers.rendered.shot import sample_rendered_identity

FRAMES = 5
AMOUNT = 0.8
OPEN_JAW = 0.5
"""`mouthClose` closes the lips over an open jaw; on a closed one it has nothing to show."""


def measure_speed(people: int) -> None:
    """Print milliseconds of processor time a frame, by size and hair style."""
    rig = {"jawOpen": 0.4, "mouthSmileLeft": 0.3, "eyeBlinkLeft": 0.2}
    Renderer(sample_rendered_identity(0), 64).draw(rig, HeadPose())  # compiles
    for size in (128, 256):
        frames: dict[str, list[float]] = defaultdict(list)
        preparations = []
        for seed in range(people):
            identity = sample_rendered_identity(seed)
            start = time.process_time()
            renderer = Renderer(identity, size)
            ready = time.process_time()
            for number in range(FRAMES):
                renderer.draw(rig, HeadPose(yaw=0.1 * number - 0.2))
            preparations.append(ready - start)
            spent = (time.process_time() - ready) / FRAMES
            frames[identity.person.hair_style].append(1000 * spent)
        means = {style: np.mean(times) for style, times in frames.items()}
        every = [spent for times in frames.values() for spent in times]
        listed = ", ".join(f"{style} {mean:.0f}" for style, mean in sorted(means.items()))
        print(f"{size} px: {np.mean(every):.0f} ms in the mean; {listed}", end="; ")
        print(f"{np.mean(preparations):.2f} s once for a person")


def sweep_rig(people: int, size: int = 192) -> None:
    """Print what the face landmarker reads when one coefficient is raised from 0, most first."""
    landmarker = load_face_landmarker()
    read, pixels = defaultdict(list), defaultdict(list)
    for seed in range(300, 300 + people):
        renderer = Renderer(sample_rendered_identity(seed), size)

        def look(rig: dict[str, float], renderer: Renderer = renderer) -> tuple[np.ndarray, ...]:
            picture = renderer.draw(rig, HeadPose())
            found, _ = find_landmarks(picture, landmarker)
            return picture.astype(int), found.blendshapes[0].numpy()

        for name in ARKIT_BLENDSHAPES:
            base = {"jawOpen": OPEN_JAW} if name == "mouthClose" else {}
            raised = OPEN_JAW if name == "mouthClose" else AMOUNT
            (before, first), (after, second) = look(base), look({**base, name: raised})
            read[name].append(second - first)
            pixels[name].append((np.abs(after - before).max(2) > 12).sum())
    own = {name: np.mean(read[name], 0)[i] for i, name in enumerate(ARKIT_BLENDSHAPES)}
    print("| coefficient | read | pixels changed | what else is read |\n|---|---|---|---|")
    for name in sorted(own, key=lambda name: -own[name]):
        mean = np.mean(read[name], 0)
        others = [i for i in np.argsort(-np.abs(mean)) if ARKIT_BLENDSHAPES[i] != name][:2]
        said = ", ".join(
            f"`{ARKIT_BLENDSHAPES[i]}` {mean[i]:+.2f}" for i in others if abs(mean[i]) > 0.05
        )
        print(f"| `{name}` | {own[name]:+.2f} | {np.mean(pixels[name]):.0f} | {said} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("speed", "rig"))
    parser.add_argument("--people", type=int, default=12)
    arguments = parser.parse_args()
    {"speed": measure_speed, "rig": sweep_rig}[arguments.what](arguments.people)
