"""The options of training stage 1, the style encoder."""

from dataclasses import dataclass

from svp_diffusers.expression.track import EXPRESSION_SPACES
from svp_diffusers.training.loop.configuration import LoopConfiguration, require


@dataclass(frozen=True, kw_only=True)
class StyleTrainingConfiguration(LoopConfiguration):
    """Options of `svp train style`; every default is our choice, the paper gives none.

    Data:
        data: manifest (.csv, see `read_manifest`) or dataset of shards (see `ClipDataset`).
        data_root: folder of a manifest's paths; default: the manifest's own.
        expression_space: "bfm64" is the paper's, "arkit52" can be had from any video.
        expression_centring: "speaker" subtracts the speaker's average expression, because raw
            coefficients tell faces apart before they tell styles apart.
        audio_features: "log-mel-80" needs no weights; "wav2vec2" is the input of the pipeline.
        audio_encoder: folder or Hub id of the speech encoder of "wav2vec2".
        audio_dim: size of the audio features; 80 or the speech encoder's hidden size.

    Encoder: `style_dim`, `hidden_dim`, `num_layers`, `num_attention_heads`, `max_frames`, see
        `StyleEncoder`, whose defaults they are.

    Batches:
        classes_per_batch: (speaker, style) pairs in a global batch, balanced over both.
        windows_per_class: windows of each; 2 is the least that gives a positive.
        min_window, max_window: frames of a window, drawn uniformly: 1 to 5 s, so that one encoder
            serves short and long clips.
        expression_dropout, audio_dropout: how often a window with both loses one, so that either
            alone suffices later.
        expression_noise: standard deviation of Gaussian noise on coefficients, in units of their
            own standard deviation; keeps the encoder from knowing recordings by their digits.
        offset_noise, scale_noise, coefficient_dropout: coefficients that are read from pictures
            differ from true ones: those of a window are moved by an offset each (normal, in units
            of their standard deviation), stretched by a factor each (log-normal), and some are 0
            throughout.

    Objective:
        initial_temperature: of InfoNCE, learned from there (0.1 is usual for normalised vectors).
        min_temperature: its lower bound (0.01, CLIP's), below which the loss is a hard maximum.
        kl_weight: of KL to N(0, I), in nats of the whole vector; small, so that the prior can be
            sampled while styles stay apart.

    Optimisation: see `LoopConfiguration`. With `gradient_accumulation`, negatives come from one
        batch, not from all.
    """

    data: str
    data_root: str | None = None
    expression_space: str = "bfm64"
    expression_centring: str = "speaker"
    audio_features: str = "wav2vec2"
    audio_encoder: str | None = None
    audio_dim: int = 768
    style_dim: int = 128
    hidden_dim: int = 256
    num_layers: int = 3
    num_attention_heads: int = 8
    max_frames: int = 256
    classes_per_batch: int = 32
    windows_per_class: int = 2
    min_window: int = 25
    max_window: int = 125
    expression_dropout: float = 0.2
    audio_dropout: float = 0.2
    expression_noise: float = 0.1
    offset_noise: float = 0.0
    scale_noise: float = 0.0
    coefficient_dropout: float = 0.0
    initial_temperature: float = 0.1
    min_temperature: float = 0.01
    kl_weight: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.expression_space in EXPRESSION_SPACES,
            f"expression_space must be one of {', '.join(EXPRESSION_SPACES)}",
        )
        require(
            self.expression_centring in ("none", "speaker"),
            "expression_centring must be none or speaker",
        )
        require(self.windows_per_class >= 2, "windows_per_class below 2 leaves no positive")
        require(self.classes_per_batch >= 2, "classes_per_batch below 2 leaves no negative")
        require(
            5 <= self.min_window <= self.max_window <= self.max_frames,
            "5 <= min_window <= max_window <= max_frames must hold",
        )
        require(
            self.hidden_dim % (2 * self.num_attention_heads) == 0,
            "hidden_dim must be a multiple of 2 * num_attention_heads",
        )
        require(
            min(self.expression_dropout, self.audio_dropout) >= 0
            and self.expression_dropout + self.audio_dropout <= 1,
            "expression_dropout and audio_dropout must be 0 or more and at most 1 together",
        )
        require(
            0 < self.min_temperature <= self.initial_temperature,
            "0 < min_temperature <= initial_temperature must hold",
        )
        for name in ("expression_noise", "offset_noise", "scale_noise", "kl_weight"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more")
        require(0 <= self.coefficient_dropout < 1, "coefficient_dropout must be below 1")
