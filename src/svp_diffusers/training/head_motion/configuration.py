"""The options of training the head motion model."""

from dataclasses import dataclass

from svp_diffusers.training.loop.configuration import LoopConfiguration, require


@dataclass(frozen=True, kw_only=True)
class HeadMotionTrainingConfiguration(LoopConfiguration):
    """Options of `svp train head-motion`; every default is our choice.

    Data:
        checkpoint: folder or Hub id of the pipeline whose speech embeddings and styles the model
            receives; default: svp-tiny.
        data: dataset of shards with head keypoints, see `ClipDataset`. By default procedural
            talkers perform, undrawn:
        utterances: how many they say.
        seconds: length of each.
        takes: performances of each.
        validation_utterances: performances held out, one of each, of other speakers and sentences.

    Model: `hidden_dim`, `num_layers`, `num_attention_heads`, `window`, `context`, `lookahead`; see
        `HeadMotionModel`.

    Batches:
        batch_size: windows of a global batch.
        first_share: of windows that begin at the start; the others continue a window before.

    Optimisation: see `LoopConfiguration`.
    """

    checkpoint: str | None = None
    data: str | None = None
    utterances: int = 256
    seconds: float = 10.0
    takes: int = 8
    validation_utterances: int = 64
    hidden_dim: int = 64
    num_layers: int = 3
    num_attention_heads: int = 4
    window: int = 40
    context: int = 12
    lookahead: int = 8
    batch_size: int = 32
    first_share: float = 0.3
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    log_every: int = 50
    validate_every: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            *("utterances", "takes", "validation_utterances", "hidden_dim", "num_layers"),
            *("num_attention_heads", "lookahead", "batch_size"),
        ):
            require(getattr(self, name) >= 1, f"{name} must be 1 or more")
        require(
            self.hidden_dim % (2 * self.num_attention_heads) == 0,
            "hidden_dim must be a multiple of 2 * num_attention_heads",
        )
        require(
            self.context >= 3 and self.context + 2 * self.lookahead <= self.window,
            "context must be 3 or more, and context + 2 * lookahead at most window",
        )
        require(self.seconds >= 1, "seconds must be 1 or more")
        require(0 < self.first_share < 1, "first_share must be above 0 and below 1")
