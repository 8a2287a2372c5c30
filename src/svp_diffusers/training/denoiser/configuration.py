"""The options of training stages 2 (images) and 3 (video)."""

from dataclasses import dataclass, replace

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.pipelines.guidance_svp import GUIDANCE_SCALES
from svp_diffusers.pipelines.numbers_svp import MOST_SCALE
from svp_diffusers.training.loop.configuration import LoopConfiguration, require

VALIDATION_FRAMES = 16
"""Consecutive frames of a clip that validation looks at."""


@dataclass(frozen=True, kw_only=True)
class DenoisingConfiguration(LoopConfiguration):
    """What both stages have in common; every default is our choice, the paper gives none.

    Data:
        data: dataset of cached clips (`svp data cache`), with the encoders of `pipeline`.
        pipeline: folder, Hub id or "svp-tiny": the pipeline whose weights training starts from.
        clips_per_batch, frames_per_clip: of a global batch.
        reference: the frame that shows the person is the clip's own reference picture where the
            dataset has one, else a frame of another clip of the same person, in another emotion if
            there is one, else of the clip itself: a reference in the clip's own style gives it
            away, and the style input is never learned.

    Objective: squared error of the scheduler's target (velocity, noise, or the sample).
        face_weight, mouth_weight, eye_weight: of latents in the face, and there at the mouth and at
            eyes and brows; the background has 1.
        loss_weighting: "none" weighs all timesteps alike; "min-snr" by min(SNR, 5), which for
            velocities goes to zero at high noise, where audio and style act.
        timestep_power: timesteps are drawn as `1000 * u ** power`; below 1 prefers high noise.
        shared_noise: share of the noise's variance that the frames of a clip have in common; see
            the pipeline.
        expression_encoder: folder of a frozen `ExpressionEncoder` of latents, for the sync loss.
        sync_weight: of the sync loss: the error of the expression that is read from the predicted
            clean latents, and of the one that a linear layer, used in training only, reads from the
            audio tokens. Without the first a small model takes long to learn lips; without the
            second new audio tokens, which are noise to the net, are made all alike before it does.

    Guidance: how often a clip loses a condition, so that each has a guidance scale of its own.
        reference_dropout, audio_dropout, style_dropout, head_dropout: that one alone. A
            style_dropout of 1 trains a model without style: what style adds is set to zero, and
            stays so, for a style adapter to be trained later.
        joint_dropout: all of them.

    Memory:
        gradient_checkpointing: of all networks that train.
        weights_dtype: "float32" or "bfloat16", of all weights, trained ones and AdamW's moments
            included. bfloat16 takes half the memory of float32 weights and rounds small updates
            away: it is for dry runs, LoRA (whose own weights stay float32) and where memory leaves
            no choice; else use `mixed_precision`.
        lora_rank: above 0, train only low-rank updates of the UNet's attention (LoRA) of that rank.
        lora_alpha: of peft's `LoraConfig`, by default the rank.
        lora_dropout: of peft's `LoraConfig`.
        lora_target_modules: names of the UNet's layers that are updated, as peft matches them, with
            commas between.

    validation_clips: clips of the validation split that are judged every `validate_every` steps;
        its first clip is then sampled too, and shown in the folder `validation`.
    hub_model_id: repository that what was trained is pushed to, as by `--push-to-hub`.
    """

    data: str
    pipeline: str
    clips_per_batch: int = 16
    frames_per_clip: int = 1
    face_weight: float = 1.7
    mouth_weight: float = 5.0
    eye_weight: float = 2.0
    loss_weighting: str = "none"
    timestep_power: float = 0.75
    shared_noise: float = 0.0
    expression_encoder: str | None = None
    sync_weight: float = 0.5
    reference_dropout: float = 0.03
    audio_dropout: float = 0.05
    style_dropout: float = 0.05
    head_dropout: float = 0.03
    joint_dropout: float = 0.07
    gradient_checkpointing: bool = False
    weights_dtype: str = "float32"
    lora_rank: int = 0
    lora_alpha: int | None = None
    lora_dropout: float = 0.0
    lora_target_modules: str = "to_q,to_k,to_v,to_out.0"
    validation_clips: int = 16
    hub_model_id: str | None = None
    learning_rate: float = 1e-4

    @property
    def result(self) -> str:
        """The folder of `output_dir` that what was trained is saved in."""
        return "lora" if self.lora_rank else "pipeline"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("clips_per_batch", "frames_per_clip", "validation_clips"):
            require(getattr(self, name) >= 1, f"{name} must be 1 or more")
        for name in ("face_weight", "mouth_weight", "eye_weight", "timestep_power"):
            require(getattr(self, name) > 0, f"{name} must be above 0")
        for name in (
            *("reference_dropout", "audio_dropout", "style_dropout", "head_dropout"),
            *("joint_dropout", "shared_noise"),
        ):
            require(0 <= getattr(self, name) <= 1, f"{name} must be from 0 to 1")
        for name in ("sync_weight", "lora_rank"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more")
        require(
            self.style_dropout < 1 or self.lora_rank == 0,
            "style_dropout 1 is of a model without style, and no LoRA: leave lora_rank away",
        )
        require(self.lora_alpha is None or self.lora_alpha > 0, "lora_alpha must be above 0")
        require(0 <= self.lora_dropout < 1, "lora_dropout must be in [0, 1)")
        if self.hub_model_id is not None:
            try:
                validate_repo_id(self.hub_model_id)
            except HFValidationError as error:
                raise ConfigurationError(f"hub_model_id: {error}") from error
        require(
            self.weights_dtype in ("float32", "bfloat16"),
            "weights_dtype must be float32 or bfloat16",
        )
        require(
            self.loss_weighting in ("none", "min-snr"), "loss_weighting must be none or min-snr"
        )


@dataclass(frozen=True, kw_only=True)
class ImageTrainingConfiguration(DenoisingConfiguration):
    """Options of `svp train image`: frames by themselves, without the motion modules."""


@dataclass(frozen=True, kw_only=True)
class VideoTrainingConfiguration(DenoisingConfiguration):
    """Options of `svp train video`: consecutive frames.

    parts: "motion" trains the motion modules and the audio and style attention; "all" everything.
    """

    frames_per_clip: int = 12
    clips_per_batch: int = 4
    shared_noise: float = 1.0
    parts: str = "motion"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.parts in ("motion", "all"), "parts must be motion or all")


@dataclass(frozen=True, kw_only=True)
class DistillationConfiguration(DenoisingConfiguration):
    """Options of `svp train distil`: guidance distilled into one prediction of the UNet.

    Frames are consecutive where the checkpoint's motion modules are enabled. Nothing is left out,
    and the timesteps are those of sampling, so that dropouts and `timestep_power` stay as they are.

    Each guidance scale is drawn evenly from 1 to its most; a joint one of 1, as it is by default,
    saves the teacher a prediction, and is the only one that the student then knows.
        most_guidance_scale: of all conditions.
        most_audio_guidance_scale: of the audio by itself.
        most_style_guidance_scale: of the style by itself.
    """

    frames_per_clip: int = 4
    reference_dropout: float = 0.0
    audio_dropout: float = 0.0
    style_dropout: float = 0.0
    head_dropout: float = 0.0
    joint_dropout: float = 0.0
    timestep_power: float = 1.0
    shared_noise: float = 1.0
    most_guidance_scale: float = 1.0
    most_audio_guidance_scale: float = 4.0
    most_style_guidance_scale: float = 4.0

    @property
    def guidance_ranges(self) -> dict[str, tuple[float, float]]:
        """The least and the most of each guidance scale, by its name in a call."""
        return {name: (1.0, getattr(self, f"most_{name}")) for name in GUIDANCE_SCALES}

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in GUIDANCE_SCALES:
            require(
                1 <= getattr(self, f"most_{name}") <= MOST_SCALE,
                f"most_{name} must be from 1 to {MOST_SCALE}",
            )
        for name in ("reference", "audio", "style", "head", "joint"):
            require(
                getattr(self, f"{name}_dropout") == 0,
                f"a distilled UNet is always shown everything: leave {name}_dropout away",
            )
        require(
            self.timestep_power == 1,
            "the timesteps are those of sampling: leave timestep_power away",
        )
        require(
            self.loss_weighting == "none",
            "the few timesteps of sampling weigh alike: leave loss_weighting away",
        )
        require(self.lora_rank == 0, "a distilled UNet is no LoRA: leave lora_rank away")
        require(
            self.expression_encoder is None,
            "only the teacher is learned from, not expressions: leave expression_encoder away",
        )


@dataclass(frozen=True, kw_only=True)
class StyleAdapterTrainingConfiguration(DenoisingConfiguration):
    """Options of `svp train style-adapter`: the style of a frozen checkpoint.

    Frames are consecutive where the checkpoint's motion modules are enabled. A frozen checkpoint
    has learned to do without portrait, audio and head, so that only the style is left out at times.

    style_encoder: folder or Hub id of a trained style encoder, or of a pipeline that has one, of
        as many numbers as the UNet takes; by default that of `pipeline`.
    """

    frames_per_clip: int = 12
    clips_per_batch: int = 4
    reference_dropout: float = 0.0
    audio_dropout: float = 0.0
    style_dropout: float = 0.1
    head_dropout: float = 0.0
    joint_dropout: float = 0.0
    style_encoder: str | None = None

    @property
    def result(self) -> str:
        """The folder of `output_dir` that the adapter is saved in."""
        return "style_adapter"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.style_dropout < 1, "style_dropout 1 would leave nothing to train")
        require(self.lora_rank == 0, "a style adapter is no LoRA: leave lora_rank away")


def for_validation(configuration: DenoisingConfiguration) -> DenoisingConfiguration:
    """The same options for judging: nothing left out, the same clips every time."""
    return replace(
        configuration,
        clips_per_batch=configuration.validation_clips,
        gradient_accumulation=1,
        frames_per_clip=VALIDATION_FRAMES,
        shared_noise=1.0,
        reference_dropout=0.0,
        audio_dropout=0.0,
        style_dropout=0.0,
        head_dropout=0.0,
        joint_dropout=0.0,
    )
