"""What a user asks of `svp lip-sync`, whose options are the fields; see `GenerationRequest`."""

from dataclasses import dataclass, field
from pathlib import Path

from svp_diffusers.generation.request import (
    DIFFUSION,
    MACHINE,
    OUTPUT_FLAGS,
    SIGN,
    SIGN_KEY,
    parse_bbox,
)

FACE = "Face"


@dataclass(frozen=True)
class LipSyncRequest:
    """A video whose lips are to say other speech; the arguments and options of `svp lip-sync`."""

    video: Path = field(metadata={"help": "Video of the person, played forth and back if short."})
    audio: Path = field(metadata={"help": "Speech, in any file that has sound."})
    output: Path = field(metadata={"help": "The video to write, .mp4.", "flags": OUTPUT_FLAGS})
    model: str = field(
        metadata={
            "help": "Folder or Hub id of a checkpoint, made by `svp convert latentsync`.",
            "flags": ("--model",),
        }
    )
    face_index: int | None = field(
        default=None,
        metadata={"help": "Which face of the first frame; 0 is the largest.", "panel": FACE},
    )
    bbox: tuple[float, float, float, float] | None = field(
        default=None,
        metadata={
            "help": "The face by hand: left,top,right,bottom in pixels of the first frame.",
            "panel": FACE,
            "parse": parse_bbox,
        },
    )
    mask: Path | None = field(
        default=None,
        metadata={
            "help": "Picture of the aligned face, white where it is kept and black where it is "
            "painted anew. Default: a lower face of our shape.",
            "panel": FACE,
        },
    )
    steps: int | None = field(
        default=None, metadata={"help": "Default: the checkpoint's.", "panel": DIFFUSION}
    )
    guidance_scale: float | None = field(
        default=None, metadata={"help": "On the speech; 1 is none.", "panel": DIFFUSION}
    )
    seed: int = field(default=0, metadata={"help": "Of the noise.", "panel": DIFFUSION})
    device: str | None = field(
        default=None, metadata={"help": "cpu, cuda, mps. Default: the best.", "panel": MACHINE}
    )
    dtype: str = field(
        default="float32",
        metadata={"help": "float32, bfloat16 or float16.", "panel": MACHINE},
    )

    sign: Path | None = field(default=None, metadata=SIGN)
    sign_key: Path | None = field(default=None, metadata=SIGN_KEY)

    def files(self) -> dict[str, Path]:
        """The files that are read, by the role they play; the private key is not here."""
        files = {
            "video": self.video,
            "audio": self.audio,
            "mask": self.mask,
            "certificate": self.sign,
        }
        return {role: path for role, path in files.items() if path is not None}
