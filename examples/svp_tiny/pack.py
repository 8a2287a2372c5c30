"""Pack cached clips small, to be carried to a machine with a GPU, and read them there.

    python pack.py packed --clips CACHED ... --pictures CACHED ... --frames FOLDER ...

CLIPS and PICTURES are what `svp data cache` wrote, of talkers and of mixed expressions; FRAMES is
what `svp data synth` wrote. Written are some frames of each clip, latents and speech in 8 bits, and
frames of each clip of FRAMES as they are: 37 kB a clip of 12 frames, 9 kB of 6 pictures, 8 kB a
frame. What it is for: `on_gpu.py`.
"""

import argparse
import io
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from svp_diffusers.checkpoints.loading import find_checkpoint
from svp_diffusers.data.frames import FrameBatch
from svp_diffusers.data.loader import ClipDataset
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.denoiser.batches import DenoisingBatches
from svp_diffusers.training.denoiser.configuration import ImageTrainingConfiguration
from svp_diffusers.training.denoiser.held_batches import hold_clips

CLIPS_PER_FILE = 200
SPLITS = ("train", "validation")
CHANNELS = {"latents": 2, "reference_latents": 1, "audio_windows": -1}
"""What is packed in 8 bits, and which of its axes has the channels."""


def shrink(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Round what is large to 255 steps over the range of each clip and channel, other values but
    keypoints to half precision."""
    packed = {}
    for name, value in values.items():
        if name not in CHANNELS:
            packed[name] = value if "keypoints" in name else value.half()
            continue
        rest = [axis for axis in range(1, value.ndim) if axis != CHANNELS[name] % value.ndim]
        scale = (value.abs().amax(rest, keepdim=True).float() / 127).clamp(min=1e-6)
        packed[name] = (value / scale).round().to(torch.int8)
        packed[f"{name}.scale"] = scale
    return packed


def unpack(packed: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Undo `shrink`, in half precision."""
    packed = {name: value.to(device) for name, value in packed.items()}
    return {
        name: (value * packed[f"{name}.scale"]).half() if name in CHANNELS else value.float()
        for name, value in packed.items()
        if not name.endswith(".scale")
    }


def pack_clips(root: str, name: str, output: Path, frames: int, checkpoint: str | None) -> None:
    """Write `frames` frames of every clip of a split of `root`, and what the denoiser is told."""
    pipeline = SVPTalkingHeadPipeline.from_pretrained(str(find_checkpoint(checkpoint)))
    configuration = ImageTrainingConfiguration(
        data=root, pipeline="", output_dir="", clips_per_batch=1
    )
    for split in SPLITS:
        batches = DenoisingBatches(
            ClipDataset(root, split),
            pipeline.style_encoder,
            configuration,
            pipeline.audio_projector.config.num_pad_frames,
            False,
        )
        held = hold_clips(batches, frames)
        _write(
            output,
            f"{split}-{name}",
            {each.name: getattr(held, each.name) for each in fields(held)},
        )


def pack_pictures(root: str, name: str, output: Path) -> None:
    """Write all latents of `root`, their expressions and references."""
    for split in SPLITS:
        clips = ClipDataset(root, split)
        read = [clips[index].decode() for index in range(len(clips))]
        values = {
            "latents": np.stack([clip.latents for clip in read]).astype(np.float32),
            "expression": np.stack([clip.expression for clip in read]),
            "reference_latents": np.stack([clip.reference_latents for clip in read]).astype(
                np.float32
            ),
        }
        packed = {member: torch.from_numpy(value) for member, value in values.items()}
        _write(output, f"pictures-{split}-{name}", packed)


def pack_frames(root: str, name: str, output: Path, number: int) -> None:
    """Write `number` frames of each clip of `root`, still compressed, and their head keypoints."""
    for split in SPLITS:
        clips = ClipDataset(root, split)
        files, keypoints = [], []
        for index, entry in enumerate(clips.entries):
            length = entry.header["frames"]
            frames = (index + np.arange(number) * length // number) % length
            members = clips[index].members
            files += [np.frombuffer(members[f"{frame:06d}.jpg"], np.uint8) for frame in frames]
            keypoints.append(clips.open_array(index, "head_keypoints").read_rows(frames))
        packed = {
            "bytes": torch.from_numpy(np.concatenate(files)),
            "sizes": torch.tensor([len(file) for file in files]),
            "head_keypoints": torch.from_numpy(np.concatenate(keypoints)).float(),
        }
        save_file(packed, output / f"frames-{split}-{name}-00000.safetensors")


def _write(output: Path, name: str, values: dict[str, Tensor]) -> None:
    packed = shrink(values)
    for start in range(0, len(values["latents"]), CLIPS_PER_FILE):
        part = slice(start, start + CLIPS_PER_FILE)
        path = output / f"{name}-{start:05d}.safetensors"
        save_file({key: value[part].contiguous() for key, value in packed.items()}, path)


def find_packed(folder: Path, name: str) -> list[Path]:
    """All files of one kind; ends the script where there are none."""
    paths = sorted(folder.rglob(f"{name}-*.safetensors"))
    if not paths:
        raise SystemExit(f"{folder} holds no {name}-*.safetensors: see `pack.py --help`")
    return paths


def read_packed(folder: Path, name: str, device: torch.device) -> dict[str, Tensor]:
    """All files of one kind, joined on `device`."""
    paths = find_packed(folder, name)
    parts = [unpack(load_file(path), device) for path in paths]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def read_frames(folder: Path, name: str) -> FrameBatch:
    """All frames of one kind, without their expressions."""
    pixels, keypoints = [], []
    for path in find_packed(folder, name):
        packed = load_file(path)
        data, end = packed["bytes"].numpy().tobytes(), 0
        for size in packed["sizes"].tolist():
            with Image.open(io.BytesIO(data[end : end + size])) as picture:
                pixels.append(np.asarray(picture.convert("RGB")))
            end += size
        keypoints.append(packed["head_keypoints"].numpy())
    return FrameBatch(np.stack(pixels), np.concatenate(keypoints), np.zeros((len(pixels), 0)))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    for kind in ("clips", "pictures", "frames"):
        parser.add_argument(f"--{kind}", nargs="*", default=[])
    parser.add_argument("--frames-per-clip", type=int, default=12)
    parser.add_argument("--frames-of-each", type=int, default=1, help="clip of FRAMES")
    parser.add_argument("--checkpoint", help="svp-tiny by default; whose styles and speech")
    options = parser.parse_args()
    if not (options.clips or options.pictures or options.frames):
        parser.error("name what to pack: --clips, --pictures or --frames")
    if options.output.exists():
        parser.error(f"{options.output} is there already: name another folder")
    options.output.mkdir(parents=True)
    for number, root in enumerate(options.clips):
        frames, checkpoint = options.frames_per_clip, options.checkpoint
        pack_clips(root, str(number), options.output, frames, checkpoint)
    for number, root in enumerate(options.pictures):
        pack_pictures(root, str(number), options.output)
    for number, root in enumerate(options.frames):
        pack_frames(root, str(number), options.output, options.frames_of_each)


if __name__ == "__main__":
    main()
