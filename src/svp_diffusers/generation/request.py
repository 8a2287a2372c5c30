"""What a user asks of `svp generate` and `svp style encode`.

The fields are the commands' options, and their metadata says what each means (see
`svp_diffusers.cli.options`). Nothing heavy is imported here, so that `--help` answers at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from svp_diffusers.errors import ConfigurationError

PORTRAIT, STYLE, HEAD = "Portrait", "Style", "Head motion"
DIFFUSION, MACHINE, SIGNATURE = "Diffusion", "Machine", "Signature"
OUTPUT_FLAGS = ("-o", "--output")
HEAD_KEYPOINTS_FPS = "25"
SIGN = {
    "help": "Sign the video by C2PA with a certificate, .pem: the signer's, then those that vouch "
    "for it. Needs the extra c2pa.",
    "panel": SIGNATURE,
}
SIGN_KEY = {
    "help": "The certificate's private key, .pem without a password.",
    "panel": SIGNATURE,
}


def parse_bbox(text: str) -> tuple[float, float, float, float]:
    """Read a face's box, "left,top,right,bottom" in pixels.

    Raises:
        ConfigurationError: if it is not four numbers.
    """
    try:
        left, top, right, bottom = (float(part) for part in text.split(","))
    except ValueError as error:
        raise ConfigurationError(
            f"--bbox must be left,top,right,bottom in pixels; got {text!r}."
        ) from error
    return left, top, right, bottom


def parse_speakers(texts: Sequence[str]) -> dict[int, Path]:
    """Read faces and what they say, "number:file".

    Raises:
        ConfigurationError: if one is something else, or a face is there twice.
    """
    speakers: dict[int, Path] = {}
    for text in texts:
        number, _, file = text.partition(":")
        if not number.strip().isdecimal() or not file:
            raise ConfigurationError(
                f"--speaker must be a face's number and a file, as in 0:anna.wav; got {text!r}."
            )
        if int(number) in speakers:
            raise ConfigurationError(f"--speaker says twice what face {int(number)} says.")
        speakers[int(number)] = Path(file)
    return speakers


@dataclass(frozen=True)
class GenerationRequest:
    """A video to make, and how; the arguments and options of `svp generate`."""

    image: Path = field(metadata={"help": "Picture of the portrait."})
    audio: Path | None = field(
        metadata={
            "help": "Speech, in any file that has sound. With --speaker it is only heard, and may "
            "be left out: then all speakers are.",
            "optional": True,
        }
    )
    output: Path = field(metadata={"help": "The video to write, .mp4.", "flags": OUTPUT_FLAGS})
    model: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub id of a checkpoint. Default: svp-tiny, small and soft."},
    )
    style: str | None = field(
        default=None,
        metadata={
            "help": "A name of the bank, from_audio, a style file, a clip, or a schedule such as "
            "0:neutral,2.5:happy. Default: drawn from the prior.",
            "panel": STYLE,
        },
    )
    style_temperature: float = field(
        default=1.0, metadata={"help": "0 is the style's mean.", "panel": STYLE}
    )
    style_adapter: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of a style adapter for the checkpoint, whose styles are "
            "then meant.",
            "panel": STYLE,
        },
    )
    style_adapter_scale: float = field(
        default=1.0,
        metadata={"help": "Factor on what the adapter adds; 0 is none.", "panel": STYLE},
    )
    num_styles: int = field(
        default=1,
        metadata={
            "help": "Performances of the line; several are also written side by side.",
            "panel": STYLE,
        },
    )
    detect_face: bool = field(
        default=True,
        metadata={
            "help": "Find the face and cut the portrait around it; else take the picture's middle.",
            "panel": PORTRAIT,
        },
    )
    face_index: int | None = field(
        default=None,
        metadata={"help": "Which face; 0 is the largest, 1 the next.", "panel": PORTRAIT},
    )
    bbox: tuple[float, float, float, float] | None = field(
        default=None,
        metadata={
            "help": "The face by hand: left,top,right,bottom in pixels.",
            "panel": PORTRAIT,
            "parse": parse_bbox,
        },
    )
    paste_back: bool = field(
        default=False,
        metadata={
            "help": "Put the animated face back into the whole picture, which stays as it is.",
            "panel": PORTRAIT,
        },
    )
    speakers: Mapping[int, Path] | None = field(
        default=None,
        metadata={
            "help": "A face, numbered as by --face-index, and what it says, 1:ben.wav; once for "
            "each face that speaks. The others stay as they are. With --paste-back.",
            "panel": PORTRAIT,
            "flags": ("--speaker",),
            "parse": parse_speakers,
            "repeated": True,
        },
    )
    portrait_keypoints: Path | None = field(
        default=None,
        metadata={
            "help": "The portrait's head keypoints by hand: .npy (8, 2), x and y in pixels of the "
            "picture: 4 on the edge of the face from left to right (jaw 0, 1, 15, 16 of the 68 "
            "landmarks), bridge of the nose 27, 28, centres of the left and right eye.",
            "panel": PORTRAIT,
        },
    )
    face_embedding: Path | None = field(
        default=None,
        metadata={
            "help": "Whose face it is: .npy (512,) of ArcFace, for a checkpoint converted from "
            "Hallo. Default: nobody's.",
            "panel": PORTRAIT,
        },
    )
    head_motion: str | None = field(
        default=None,
        metadata={
            "help": "generated, from speech and style, or still. Default: generated, where the "
            "checkpoint can and the portrait is near the front.",
            "panel": HEAD,
        },
    )
    head_motion_scale: float = field(
        default=1.0,
        metadata={"help": "Factor of the motion, generated or taken over.", "panel": HEAD},
    )
    head_video: Path | None = field(
        default=None, metadata={"help": "Take over the head's motion of a video.", "panel": HEAD}
    )
    head_keypoints: Path | None = field(
        default=None, metadata={"help": "Take over the motion of keypoints, .npy.", "panel": HEAD}
    )
    head_keypoints_fps: str = field(
        default=HEAD_KEYPOINTS_FPS,
        metadata={"help": "Frame rate of those keypoints.", "panel": HEAD},
    )
    pose_video: Path | None = field(
        default=None,
        metadata={
            "help": "A video of pose pictures in the portrait's framing, for a checkpoint that is "
            "driven by them (AnimateAnyone's). Both are cut to the square in their middle.",
            "panel": HEAD,
        },
    )
    seed: int = field(default=0, metadata={"help": "Of style and noise.", "panel": DIFFUSION})
    steps: int | None = field(
        default=None,
        metadata={"help": "Denoising steps. Default: the checkpoint's.", "panel": DIFFUSION},
    )
    size: int | None = field(
        default=None,
        metadata={
            "help": "Side in pixels of what is generated. Default: the checkpoint's.",
            "panel": DIFFUSION,
        },
    )
    detail_scale: int | None = field(
        default=None,
        metadata={
            "help": "How many times as large the video is, up to 8: the portrait's own detail is "
            "put back where a frame agrees with it. 0 shows what is generated as it is. Default: "
            "the checkpoint's.",
            "panel": PORTRAIT,
        },
    )
    fps: str | None = field(
        default=None,
        metadata={
            "help": "Frames a second: 25, 23.976, 30000/1001. Default: the checkpoint's.",
            "panel": DIFFUSION,
        },
    )
    guidance_scale: float | None = field(
        default=None,
        metadata={
            "help": "On all conditions; 1 is none. Default: the checkpoint's.",
            "panel": DIFFUSION,
        },
    )
    audio_guidance_scale: float | None = field(
        default=None, metadata={"help": "On the audio by itself.", "panel": DIFFUSION}
    )
    style_guidance_scale: float | None = field(
        default=None, metadata={"help": "On the style by itself.", "panel": DIFFUSION}
    )
    reference_attention_scale: float = field(
        default=1.0, metadata={"help": "Weight of the portrait.", "panel": DIFFUSION}
    )
    audio_attention_scale: float = field(
        default=1.0, metadata={"help": "Weight of the audio.", "panel": DIFFUSION}
    )
    style_attention_scale: float = field(
        default=1.0, metadata={"help": "Weight of the style.", "panel": DIFFUSION}
    )
    context_length: int | None = field(
        default=None,
        metadata={
            "help": "Frames denoised together. Default: the checkpoint's.",
            "panel": DIFFUSION,
        },
    )
    context_overlap: int | None = field(
        default=None,
        metadata={
            "help": "Frames that windows share. Default: the checkpoint's.",
            "panel": DIFFUSION,
        },
    )
    device: str | None = field(
        default=None, metadata={"help": "cpu, cuda, mps. Default: the best.", "panel": MACHINE}
    )
    dtype: str | None = field(
        default=None,
        metadata={
            "help": "float32, bfloat16 or float16; or mixed, which computes in bfloat16 with "
            "weights in float32. Default: mixed on processors that compute in bfloat16, else "
            "float32.",
            "panel": MACHINE,
        },
    )

    stream: bool = field(
        default=False,
        metadata={
            "help": "Write frames as they are finished, in memory that does not grow with the "
            "length. Speech of over 20 seconds is streamed by itself where the frames are the "
            "same: one performance by a checkpoint without motion modules, as svp-tiny is. With "
            "motion modules they differ: each window holds what it shares with the one before, "
            "and follows it. from_audio and --speaker cannot be streamed.",
            "panel": MACHINE,
        },
    )
    sign: Path | None = field(default=None, metadata=SIGN)
    sign_key: Path | None = field(default=None, metadata=SIGN_KEY)

    def files(self) -> dict[str, Path]:
        """The files that are read, by the role they play; without those of the style, and without
        the private key."""
        files = {
            "image": self.image,
            "audio": self.audio,
            "head_video": self.head_video,
            "head_keypoints": self.head_keypoints,
            "pose_video": self.pose_video,
            "portrait_keypoints": self.portrait_keypoints,
            "face_embedding": self.face_embedding,
            "certificate": self.sign,
        }
        files |= {f"speaker {face}": path for face, path in (self.speakers or {}).items()}
        return {role: path for role, path in files.items() if path is not None}


@dataclass(frozen=True)
class StyleRequest:
    """A style to take from a clip; the arguments and options of `svp style encode`."""

    clip: Path = field(metadata={"help": ".mat/.npz/.csv coefficients, video or audio."})
    output: Path = field(metadata={"help": "Where to write.", "flags": OUTPUT_FLAGS})
    model: str | None = field(
        default=None,
        metadata={
            "help": "Folder or Hub id of a style encoder, or of a pipeline that has one. Default: "
            "svp-tiny."
        },
    )
    audio: Path | None = field(default=None, metadata={"help": "Sound of a coefficient file."})
    fps: str | None = field(
        default=None, metadata={"help": "Frame rate of coefficients: 25 for .mat, 60 for .csv."}
    )
    voice_only: bool = field(default=False, metadata={"help": "Use a video's sound alone."})
    audio_encoder: str | None = field(
        default=None,
        metadata={"help": "Speech encoder, for wav2vec2 styles. Default: the checkpoint's own."},
    )
    speaker_clip: list[Path] | None = field(
        default=None,
        metadata={"help": "Coefficients of the speaker, for encoders with speaker centring."},
    )
    name: str | None = field(
        default=None, metadata={"help": "Name of the style; default: OUTPUT's."}
    )
