"""A checkpoint on drawn and rendered people of the test split, with their own sound, style, head.

Columns: PSNR to the true frames, of the video and of the VAE's reconstructions; the correlation of
the mouth's opening and width, read by the face landmarker, with those read from the true frames;
the opening with the sound of other clips; the frame-to-frame difference over the truth's.

    python benchmarks/looks.py DATASET --model svp-tiny --clips 10
"""

import argparse
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from real_pictures import Mouth, compare, read_mouth

from svp_diffusers.checkpoints.loading import find_checkpoint, load_pipeline
from svp_diffusers.data.clips import ClipSample
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.evaluation.talking_head.clips import select_look
from svp_diffusers.measures.pictures import measure_psnr
from svp_diffusers.media.landmarks import load_face_landmarker
from svp_diffusers.models.face_landmarker_svp import FaceLandmarker
from svp_diffusers.pipelines.head_pictures_svp import DrawnKeypoints
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.talkers.subject import LOOKS


@dataclass(frozen=True)
class Row:
    """What was measured of one clip."""

    psnr: float
    vae_psnr: float
    motion: float
    made: Mouth
    decoded: Mouth
    true: Mouth


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="dataset of both looks, `svp data synth --look mixed`")
    parser.add_argument("--model", help="checkpoint; default: svp-tiny")
    parser.add_argument("--clips", type=int, default=10, help="of each look")
    parser.add_argument("--plain", action="store_true", help="without the portrait's detail")
    arguments = parser.parse_args()
    folder = find_checkpoint(arguments.model)
    pipeline = load_pipeline(folder, torch.device("cpu"), "float32")
    pipeline.set_progress_bar_config(disable=True)
    print("| look | clips | PSNR | VAE | opening | VAE | other sound | width | motion |")
    print("|---" * 9 + "|")
    landmarker = load_face_landmarker()
    clips = ClipDataset(arguments.data, "test")
    for look in LOOKS:
        rows = [
            measure(pipeline, landmarker, clips[entry].decode(), 0 if arguments.plain else 1)
            for entry in select_look(clips, look)[: arguments.clips]
        ]
        others = [
            compare(a.made.opening, b.true.opening)
            for i, a in enumerate(rows)
            for j, b in enumerate(rows)
            if i != j
        ]
        values = [
            np.mean([row.psnr for row in rows]),
            np.mean([row.vae_psnr for row in rows]),
            np.nanmean([compare(row.made.opening, row.true.opening) for row in rows]),
            np.nanmean([compare(row.decoded.opening, row.true.opening) for row in rows]),
            np.nanmean(others),
            np.nanmean([compare(row.made.width, row.true.width) for row in rows]),
            np.mean([row.motion for row in rows]),
        ]
        cells = " | ".join(f"{value:.2f}" for value in values)
        print(f"| {look} | {len(rows)} | {cells} |", flush=True)


@torch.no_grad()
def measure(
    pipeline: SVPTalkingHeadPipeline,
    landmarker: FaceLandmarker,
    clip: ClipSample,
    detail_scale: int,
) -> Row:
    """Make a clip again and compare."""
    assert clip.frames is not None
    assert clip.reference is not None
    assert clip.head_keypoints is not None
    height, width = clip.frames.shape[1:3]
    style: Any = pipeline.style_encoder(expression=torch.from_numpy(clip.expression)[None])[0]
    frames = pipeline(
        clip.reference,
        clip.waveform,
        style.mean,
        head_keypoints=DrawnKeypoints(clip.head_keypoints, height, width),
        detail_scale=detail_scale,
        fps=clip.fps,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).frames[0]
    made = (255 * frames).round().astype(np.uint8)
    pixels = torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    latents = pipeline.vae.encode(pixels).latent_dist.mode()
    decoded = pipeline.vae.decode(latents).sample.clamp(-1, 1).permute(0, 2, 3, 1)
    decoded = (127.5 * (decoded + 1)).round().to(torch.uint8).numpy()
    return Row(
        psnr=float(measure_psnr(made, clip.frames, 255)),
        vae_psnr=float(measure_psnr(decoded, clip.frames, 255)),
        motion=measure_change(made) / measure_change(clip.frames),
        made=read_mouth(list(made), landmarker),
        decoded=read_mouth(list(decoded), landmarker),
        true=read_mouth(list(clip.frames), landmarker),
    )


def measure_change(frames: np.ndarray) -> float:
    """Mean absolute difference between neighbouring frames."""
    return float(np.abs(np.diff(frames.astype(int), axis=0)).mean())


if __name__ == "__main__":
    main()
