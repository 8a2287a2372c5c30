"""The options of the training of an expression encoder."""

from dataclasses import dataclass

from svp_diffusers.training.loop.configuration import LoopConfiguration, require

INPUTS = ("frames", "latents")


@dataclass(frozen=True, kw_only=True)
class ExpressionTrainingConfiguration(LoopConfiguration):
    """Options of `svp train expression`; every default is our choice, the paper has no such net.

    Data:
        input: what the encoder reads. One of "latents" serves the sync loss of the denoiser, and
            reads them beside those of the clip's reference; one of "frames" measures what was
            generated, and no training may see it.
        data: dataset of shards in the space "arkit52", whose split "train" is trained on and
            "validation" validated on: with frames, or for "latents" also one cached as latents.
            Best of mixed expressions (`svp data synth --mix-expressions`).
        vae: folder of the VAE that encodes frames; needed for "latents" of a dataset with frames.
        latents: how many are read into memory, spread over the split, so that they are encoded
            once.
        validation_frames: spread over the validation split.
        batch_size: frames in a global batch.
        frames_per_clip: frames taken of each clip of a batch; opening a clip costs more than
            decoding a frame.

    Encoder: blocks of `base_channels`, twice, three times ... those, `num_blocks` of them, and
        `hidden_dim`, `patch_size`; see `ExpressionEncoder`.

    Augmentation, so that generated frames are read as well as drawn ones:
        noise: largest standard deviation of Gaussian noise on the input.
        blur, colour, shift: of frames only. The least share of the resolution that is kept, the
            largest change of brightness, contrast and tint, and of position and size.

    Objective: smooth L1, weighted by coefficient.
        jaw_weight, lips_weight: of the jaw's opening, and of the lips' width and rounding; what the
            audio drives.

    Optimisation: see `LoopConfiguration`.
    """

    input: str
    data: str
    vae: str | None = None
    latents: int = 8000
    validation_frames: int = 512
    batch_size: int = 32
    frames_per_clip: int = 4
    base_channels: int = 24
    num_blocks: int = 4
    hidden_dim: int = 192
    patch_size: int = 1
    noise: float = 0.06
    blur: float = 0.5
    colour: float = 0.1
    shift: float = 0.02
    jaw_weight: float = 3.0
    lips_weight: float = 1.5
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    log_every: int = 50
    validate_every: int = 250

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.input in INPUTS, f"input must be one of {', '.join(INPUTS)}")
        require(
            self.vae is None or self.input == "latents",
            "vae is for input latents; frames need none",
        )
        for name in (
            *("latents", "validation_frames", "batch_size", "frames_per_clip", "base_channels"),
            *("num_blocks", "hidden_dim", "patch_size"),
        ):
            require(getattr(self, name) >= 1, f"{name} must be 1 or more")
        require(self.base_channels % 8 == 0, "base_channels must be a multiple of 8")
        require(
            self.batch_size % self.frames_per_clip == 0,
            "batch_size must be a multiple of frames_per_clip",
        )
        require(self.noise >= 0, "noise must be 0 or more")
        require(0 < self.blur <= 1, "blur must be above 0 and at most 1")
        for name in ("colour", "shift"):
            require(0 <= getattr(self, name) < 1, f"{name} must be 0 or more and below 1")
        for name in ("jaw_weight", "lips_weight"):
            require(getattr(self, name) > 0, f"{name} must be above 0")
