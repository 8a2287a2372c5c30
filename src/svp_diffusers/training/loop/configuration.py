"""The options that all stages of training have in common."""

from dataclasses import dataclass, fields

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.training.loop.optimizers import OPTIMIZERS

MIXED_PRECISION = ("no", "fp16", "bf16")
# By the end of an option's name, in this order; far beyond what is of use.
MOST = {
    "seed": 2**63 - 1,  # of PyTorch
    "layers": 1_000,
    "layers_per_block": 100,
    "num_blocks": 1_000,
    "dim": 2**15,
    "hidden_size": 2**15,
    "intermediate_size": 2**17,
    "channels": 2**15,
    "embeddings": 2**15,
    "rank": 2**15,
    "workers": 1_024,
    "batch_size": 2**20,
    "": 10**9,
}
LEAST_OF_PRODIGY = 0.1  # below, a learning rate is one meant for AdamW (our choice)
TRACKERS = ("tensorboard", "wandb")
LR_SCHEDULERS = (
    *("linear", "cosine", "cosine_with_restarts", "polynomial"),
    *("constant", "constant_with_warmup"),
)
"""Of `diffusers.optimization.get_scheduler`."""


def require(ok: bool, problem: str) -> None:
    """Raise `ConfigurationError` with `problem` unless `ok`."""
    if not ok:
        raise ConfigurationError(problem)


def check_size(name: str, value: object) -> None:
    """Raise `ConfigurationError` for a number that no training could take, by its option's name."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    most = next(most for ending, most in MOST.items() if name.endswith(ending))
    require(abs(value) <= most, f"{name} must be at most {most:,}, got {value}")  # NaN is not


@dataclass(frozen=True, kw_only=True)
class LoopConfiguration:
    """Options of the loop; every default is our choice, the paper gives none.

    output_dir: where checkpoints, metrics and the trained weights go.

    Optimiser:
        optimizer: "adamw"; "adamw8bit", whose moments take a quarter of the memory (bitsandbytes);
            "prodigy", which finds the step size, for a learning_rate of 1 (prodigyopt); or
            "schedule-free", whose weights are averages by themselves, for lr_scheduler "constant"
            and ema_decay 0 (schedulefree). All are AdamW at heart.
        lr_scheduler: a name of `diffusers.optimization.get_scheduler`; "cosine" warms up linearly
            and decays to zero.
        steps, learning_rate, warmup_steps, weight_decay, adam_beta2, max_grad_norm: usual values.
        gradient_accumulation: batches a step.
        ema_decay: of the moving average of the weights, which is what is kept; it warms up. 0
            keeps none, and the weights themselves.
        mixed_precision: "no", "fp16" or "bf16".
    seed: of initial weights, batches and noise.
    num_workers: processes that prepare batches; 0 does it in between.
    log_every, validate_every, checkpoint_every: steps; `validate_every` 0 is never.
    keep_checkpoints: how many, the newest.
    tracker: where metrics go too, "tensorboard" or "wandb" (extras of these names).
    """

    output_dir: str
    steps: int = 20000
    optimizer: str = "adamw"
    learning_rate: float = 3e-4
    lr_scheduler: str = "cosine"
    warmup_steps: int = 500
    weight_decay: float = 0.01
    adam_beta2: float = 0.999
    max_grad_norm: float = 1.0
    gradient_accumulation: int = 1
    ema_decay: float = 0.999
    mixed_precision: str = "no"
    seed: int = 0
    num_workers: int = 0
    log_every: int = 10
    validate_every: int = 0
    checkpoint_every: int = 500
    keep_checkpoints: int = 2
    tracker: str | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            check_size(field.name, getattr(self, field.name))
        require(
            self.mixed_precision in MIXED_PRECISION,
            f"mixed_precision must be one of {', '.join(MIXED_PRECISION)}",
        )
        require(
            self.tracker is None or self.tracker in TRACKERS,
            f"tracker must be one of {', '.join(TRACKERS)}",
        )
        require(
            self.lr_scheduler in LR_SCHEDULERS,
            f"lr_scheduler must be one of {', '.join(LR_SCHEDULERS)}",
        )
        require(self.optimizer in OPTIMIZERS, f"optimizer must be one of {', '.join(OPTIMIZERS)}")
        require(
            self.optimizer != "prodigy" or self.learning_rate >= LEAST_OF_PRODIGY,
            "prodigy finds the step size itself: learning_rate is a factor of it, set it to 1",
        )
        require(
            self.optimizer != "schedule-free"
            or (self.lr_scheduler == "constant" and not self.ema_decay),
            "schedule-free has no schedule, and averages the weights itself: set lr_scheduler to "
            "constant and ema_decay to 0",
        )
        for name in ("ema_decay", "adam_beta2"):
            require(0 <= getattr(self, name) < 1, f"{name} must be in [0, 1)")
        for name in (
            *("steps", "gradient_accumulation", "log_every", "checkpoint_every"),
            "keep_checkpoints",
        ):
            require(getattr(self, name) >= 1, f"{name} must be 1 or more")
        for name in ("weight_decay", "warmup_steps", "num_workers", "validate_every", "seed"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more")
        for name in ("learning_rate", "max_grad_norm"):
            require(getattr(self, name) > 0, f"{name} must be above 0")
