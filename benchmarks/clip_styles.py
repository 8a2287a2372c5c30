"""Do the styles of two clips make different videos, and by how much more than two seeds do?

Every portrait says the same in each style, with two seeds and a still head. Of each video the mean
of the 52 expression coefficients over time is read by the face landmarker. What is printed is the
mean distance of two videos that differ in style alone, and of two that differ in seed alone: in
noise, and at a temperature above 0 also in what is drawn from the style.

    python benchmarks/clip_styles.py SPEECH.wav --styles CLIP.style.safetensors --portraits PICTURE
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from svp_diffusers.checkpoints.loading import find_checkpoint, load_pipeline, load_style_encoder
from svp_diffusers.media.audio import read_audio, to_mono
from svp_diffusers.media.landmarks import load_face_landmarker, track_landmarks
from svp_diffusers.style.storage import find_style


def main() -> None:
    """Make the videos, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("speech", type=Path)
    parser.add_argument("--styles", nargs="+", required=True, help="two files or names, or more")
    parser.add_argument("--portraits", type=Path, nargs="+", required=True)
    parser.add_argument("--model", help="checkpoint; default: svp-tiny")
    parser.add_argument("--style-guidance", type=float, nargs="+", default=[2.0])
    parser.add_argument("--temperature", type=float, default=0.0, help="0: a style's mean")
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    folder = find_checkpoint(arguments.model)
    pipeline = load_pipeline(folder, torch.device("cpu"), "float32")
    pipeline.set_progress_bar_config(disable=True)
    landmarker = load_face_landmarker()
    encoder = load_style_encoder(folder)
    styles = [find_style(text, encoder) for text in arguments.styles]
    sound = to_mono(read_audio(arguments.speech))[: round(16_000 * arguments.seconds)]
    print("| portrait | style guidance | two styles | two seeds |")
    print("|---" * 4 + "|")
    for portrait in arguments.portraits:
        for scale in arguments.style_guidance:
            means = {}
            for number, style in enumerate(styles):
                for seed in (0, 1):
                    frames = pipeline(
                        Image.open(portrait),
                        sound,
                        style,
                        head_motion="still",
                        style_guidance_scale=scale,
                        style_temperature=arguments.temperature,
                        generator=torch.Generator().manual_seed(seed),
                        output_type="np",
                    ).frames[0]
                    faces = track_landmarks(
                        list((frames * 255).round().astype(np.uint8)), landmarker
                    )
                    seen = [face.blendshapes[0].numpy() for face in faces if face is not None]
                    means[number, seed] = np.mean(seen, axis=0)
            pairs = list(combinations(means, 2))
            apart = {
                what: np.mean(
                    [np.linalg.norm(means[a] - means[b]) for a, b in pairs if a[other] == b[other]]
                )
                for what, other in (("styles", 1), ("seeds", 0))
            }
            print(
                f"| {portrait.stem} | {scale:g} | {apart['styles']:.3f} | {apart['seeds']:.3f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
