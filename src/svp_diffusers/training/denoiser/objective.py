"""What the denoiser is trained for: the scheduler's target, and an expression that fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.training_utils import compute_snr
from peft import LoraConfig
from torch import Tensor, nn

from svp_diffusers.errors import ConfigurationError
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.measures.correlation import correlate
from svp_diffusers.measures.face_regions import weigh_face
from svp_diffusers.models.expression_encoder_svp import ExpressionEncoder
from svp_diffusers.models.temporal_unet_svp import (
    MotionModule,
    PortraitTransformerBlock,
    TemporalUNet,
)
from svp_diffusers.pipelines.guidance_svp import GUIDANCE_SCALES, embed_guidance
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.pipelines.style_adapter_svp import CONDITION_LAYER, get_style_weights
from svp_diffusers.training.denoiser.configuration import DenoisingConfiguration
from svp_diffusers.training.denoiser.head_pictures import draw_heads
from svp_diffusers.training.loop.loop import Objective

if TYPE_CHECKING:  # they read and write media, where training may have no PyAV
    from svp_diffusers.training.denoiser.clip_sampler import ClipSampler
    from svp_diffusers.training.loop.validation_video import ValidationVideo

MIN_SNR_GAMMA = 5.0
JAW_WEIGHT, LIPS_WEIGHT, UPPER_FACE_WEIGHT = 3.0, 1.5, 1.5
"""Of the sync loss. Brows, cheeks, nose and eyes, all that is left, tell styles such as contempt
and sadness apart; blinks have 1. (Our choice.)"""

TRAINED_NETWORKS = ("unet", "reference_unet", "head_guider", "audio_projector")
"""Of a pipeline."""

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


class DenoisingObjective(Objective):
    """The networks that see a clip, and the loss of their prediction.

    Args:
        pipeline: its `unet`, `reference_unet`, `head_guider` and `audio_projector` are trained, and
            its scheduler says how noise is added and what is predicted.
        configuration: of the stage.
        expression_encoder: frozen, of latents, for the sync loss.
        validation_batches: clips to judge on.
        sampler: of the clip that validations show, if they show one.

    Raises:
        ConfigurationError: the scheduler predicts what no loss is known for, or the expression
            encoder reads something else than the pipeline's latents.
    """

    sync_weights: Tensor
    audio_columns: Tensor | None = None

    def __init__(
        self,
        pipeline: SVPTalkingHeadPipeline,
        configuration: DenoisingConfiguration,
        expression_encoder: ExpressionEncoder | None,
        validation_batches: list[dict[str, Tensor]],
        sampler: ClipSampler | None = None,
    ) -> None:
        super().__init__()
        self.unet: TemporalUNet = pipeline.unet
        self.reference_unet = pipeline.reference_unet
        self.head_guider = pipeline.head_guider
        self.audio_projector = pipeline.audio_projector
        self.scheduler = pipeline.scheduler
        kind = self.scheduler.config.get("prediction_type")
        if kind not in PREDICTION_TYPES:
            raise ConfigurationError(
                f"the pipeline's {type(self.scheduler).__name__} predicts {kind}; train with a "
                f"scheduler that predicts one of {', '.join(PREDICTION_TYPES)}"
            )
        layout = self.head_guider.config.keypoint_layout
        if layout == "pose":
            raise ConfigurationError(
                "this pipeline is driven by pictures of poses, which clips do not have: start from "
                "`svp convert aniportrait`, whose head guider takes head keypoints"
            )
        self.scale_factor = pipeline.vae_scale_factor
        self.configuration = configuration
        self.expression_encoder = expression_encoder
        self.validation_batches = validation_batches
        self.sampler = sampler
        if expression_encoder is not None:
            read, made = expression_encoder.config.in_channels, self.unet.config.out_channels
            if read != made:
                raise ConfigurationError(
                    f"the expression encoder reads pictures of {read} channels, the pipeline's "
                    f"latents have {made}: name one that `svp train expression` trained with "
                    "`input: latents` of this pipeline's VAE"
                )
            expression_encoder.requires_grad_(False)
            names = expression_encoder.config.coefficient_names
            self.columns = [ARKIT_BLENDSHAPES.index(name) for name in names]
            self.register_buffer("sync_weights", weigh_coefficients(names), persistent=False)
            # Reads lips from audio tokens, in training only.
            self.lip_reader = nn.Linear(self.unet.config.cross_attention_dim, len(names))
            nn.init.zeros_(self.lip_reader.weight)
            nn.init.zeros_(self.lip_reader.bias)
        # A fifth faster on CPUs, where it was measured, and no slower on GPUs.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if configuration.gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
            self.reference_unet.enable_gradient_checkpointing()
        if configuration.lora_rank:
            self.requires_grad_(False)
            rank = configuration.lora_rank
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(configuration.seed)
                lora = LoraConfig(
                    r=rank,
                    lora_alpha=configuration.lora_alpha or rank,
                    lora_dropout=configuration.lora_dropout,
                    target_modules=configuration.lora_target_modules.split(","),
                )
                try:
                    self.unet.add_adapter(lora)
                except ValueError as error:  # peft lists what it looked for
                    raise ConfigurationError(f"lora_target_modules: {error}") from error

    def project_audio(self, batch: dict[str, Tensor]) -> Tensor:
        """Audio tokens (b * f, tokens, dim)."""
        windows = batch["audio_windows"].flatten(0, 1).to(self.audio_projector.dtype)
        tokens: Tensor = self.audio_projector(windows)
        return tokens

    def predict(
        self, batch: dict[str, Tensor], noisy: Tensor, timesteps: Tensor, tokens: Tensor
    ) -> Tensor:
        """Predict the scheduler's target for `noisy` (b, c, f, h, w) at `timesteps` (b,).

        A UNet that guidance was distilled into predicts without guidance: it is told scales of 1.
        """
        dtype, told = self.unet.dtype, None
        if self.unet.config.guidance_ranges is not None:
            told = embed_guidance(noisy.new_ones(1, len(GUIDANCE_SCALES))).to(dtype)
        conditions = self.give_conditions(batch, noisy, tokens)
        prediction: Tensor = self.unet(
            noisy.to(dtype), timesteps, **conditions, timestep_cond=told, return_dict=False
        )[0]
        return prediction

    def give_conditions(
        self, batch: dict[str, Tensor], noisy: Tensor, tokens: Tensor
    ) -> dict[str, Any]:
        """What the UNet is given beside the noisy latents and the timestep."""
        dtype, frames = self.unet.dtype, noisy.shape[2]
        keep = {
            name[5:]: value.to(dtype) for name, value in batch.items() if name.startswith("keep_")
        }
        reference = batch["reference_latents"].to(dtype)
        features = self.reference_unet(reference)
        heads = self._draw_heads(batch["head_keypoints"], noisy).to(dtype)
        own = None
        if self.head_guider.config.with_reference:
            own = self._draw_heads(batch["reference_keypoints"][:, None], noisy).to(dtype)
        head = self.head_guider(heads, own)
        return {
            "encoder_hidden_states": tokens
            * keep["audio"].repeat_interleave(frames)[:, None, None],
            "style": batch["style"].to(dtype),
            "style_mask": keep["style"],
            "reference_features": {
                name: feature * keep["reference"][:, None, None]
                for name, feature in features.items()
            },
            "reference_latents": reference * keep["reference"][:, None, None, None],
            "head_features": head * keep["head"][:, None, None, None, None],
        }

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`, and its parts `denoising` and, with an expression encoder, `sync` and `lips`."""
        latents, noise = batch["latents"], batch["noise"]
        number = self.scheduler.config.num_train_timesteps
        timesteps = (batch["timesteps"] * number).long()
        noisy = self.scheduler.add_noise(latents, noise, timesteps)
        tokens = self.project_audio(batch)
        prediction = self.predict(batch, noisy, timesteps, tokens).float()
        error = (prediction - self._target(latents, noise, timesteps)).square()
        weights = self._weigh_pixels(batch["head_keypoints"] / self.scale_factor, latents)
        per_clip = (weights * error).mean(dim=(1, 2, 3, 4))
        denoising = (self._weigh_timesteps(timesteps) * per_clip).mean()
        if self.expression_encoder is None:
            return {"loss": denoising}
        clean = self._clean(noisy, prediction, timesteps)
        true = batch["expression"][..., self.columns]
        sync = self._weigh_error(self._read_expression(clean, batch), true)
        heard = self.lip_reader(tokens.mean(dim=1).float()).unflatten(0, true.shape[:2])
        lips = self._weigh_error(heard, true)
        return {
            "loss": denoising + self.configuration.sync_weight * (sync + lips),
            "denoising": denoising.detach(),
            "sync": sync.detach(),
            "lips": lips.detach(),
        }

    def validate(self) -> dict[str, float]:
        """One-step predictions from pure noise: squared error of clean latents, and the mean over
        clips in which the jaw moves of the correlation of its opening, read from them, with the
        true one."""
        errors, correlations = [], []
        device = self.unet.device
        for batch in self.validation_batches:
            batch = {name: value.to(device) for name, value in batch.items()}
            number = self.scheduler.config.num_train_timesteps
            timesteps = torch.full((len(batch["latents"]),), number - 1, device=device)
            noisy = self.scheduler.add_noise(batch["latents"], batch["noise"], timesteps)
            tokens = self.project_audio(batch)
            prediction = self.predict(batch, noisy, timesteps, tokens).float()
            clean = self._clean(noisy, prediction, timesteps)
            errors.append(float((clean - batch["latents"]).square().mean()))
            if self.expression_encoder is not None:
                read = self._read_expression(clean, batch)[..., self._jaw()]
                true = batch["expression"][..., ARKIT_BLENDSHAPES.index("jawOpen")]
                found = correlate(read.float().cpu().numpy(), true.cpu().numpy())
                correlations.extend(found[~np.isnan(found)].tolist())
        metrics = {"validation_mse": sum(errors) / len(errors)}
        if correlations:
            metrics["validation_jaw"] = sum(correlations) / len(correlations)
        return metrics

    def keep_audio(self) -> None:
        """Leave what audio does to adaptive norms as it is now, whatever their layer learns."""
        if self.unet.condition_embedding is not None:
            columns = self.unet.config.cross_attention_dim
            weight = self.unet.get_parameter(CONDITION_LAYER)
            self.audio_columns = weight[:, :columns].detach().clone()

    @torch.no_grad()
    def after_step(self) -> None:
        """Put back the columns of `keep_audio`."""
        if self.audio_columns is not None:
            weight = self.unet.get_parameter(CONDITION_LAYER)
            kept = self.audio_columns.to(weight.device)
            weight[:, : kept.shape[1]] = kept

    def sample(self) -> ValidationVideo | None:
        """The clip of `sampler`."""
        return None if self.sampler is None else self.sampler.sample(self.unet.device)

    def _draw_heads(self, keypoints: Tensor, latents: Tensor) -> Tensor:
        """Pictures (b, 3, f, H, W) of keypoints (b, f, points, 2)."""
        height, width = (self.scale_factor * side for side in latents.shape[-2:])
        layout = self.head_guider.config.keypoint_layout
        return draw_heads(layout, keypoints, height, width).to(latents.device)

    def _target(self, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            velocity: Tensor = self.scheduler.get_velocity(latents, noise, timesteps)
            return velocity
        return latents if kind == "sample" else noise

    def _clean(self, noisy: Tensor, prediction: Tensor, timesteps: Tensor) -> Tensor:
        """The clean latents that a prediction stands for."""
        kind = self.scheduler.config.prediction_type
        if kind == "sample":
            return prediction
        product = self.scheduler.alphas_cumprod.to(noisy.device)[timesteps]
        product = product[:, None, None, None, None]
        if kind == "v_prediction":
            return product.sqrt() * noisy - (1 - product).sqrt() * prediction
        return (noisy - (1 - product).sqrt() * prediction) / product.sqrt()

    def _weigh_pixels(self, keypoints: Tensor, latents: Tensor) -> Tensor:
        """Weights (b, 1, f, h, w) of mean 1 in every clip."""
        if keypoints.shape[2] != 8:  # V-Express's three points do not tell where the mouth is
            return latents.new_ones(1)
        height, width = latents.shape[-2:]
        weights = weigh_face(
            keypoints.flatten(0, 1),
            height,
            width,
            face=self.configuration.face_weight,
            mouth=self.configuration.mouth_weight,
            eyes=self.configuration.eye_weight,
        )
        weights = weights.unflatten(0, keypoints.shape[:2]).transpose(1, 2)
        return weights / weights.mean(dim=(1, 2, 3, 4), keepdim=True)

    def _weigh_timesteps(self, timesteps: Tensor) -> Tensor:
        if self.configuration.loss_weighting == "none":
            return torch.ones_like(timesteps, dtype=torch.float32)
        snr = compute_snr(self.scheduler, timesteps)
        clamped = snr.clamp(max=MIN_SNR_GAMMA)
        kind = self.scheduler.config.prediction_type
        if kind == "v_prediction":
            return clamped / (snr + 1)
        return clamped if kind == "sample" else clamped / snr

    def _read_expression(self, clean: Tensor, batch: dict[str, Tensor]) -> Tensor:
        assert self.expression_encoder is not None
        frames, reference = clean.shape[2], None
        if self.expression_encoder.config.with_reference:
            reference = batch["reference_latents"].repeat_interleave(frames, dim=0)
        read: Tensor = self.expression_encoder(clean.transpose(1, 2).flatten(0, 1), reference)
        return read.unflatten(0, (clean.shape[0], frames))

    def _jaw(self) -> int:
        return self.columns.index(ARKIT_BLENDSHAPES.index("jawOpen"))

    def _weigh_error(self, read: Tensor, true: Tensor) -> Tensor:
        error = F.smooth_l1_loss(read, true, beta=0.1, reduction="none")
        return (error * self.sync_weights).mean()


def weigh_coefficients(names: list[str]) -> Tensor:
    """Weights of mean 1 of ARKit coefficients in the sync loss."""
    weights = [_weigh_coefficient(name) for name in names]
    return torch.tensor(weights) / (sum(weights) / len(weights))


def _weigh_coefficient(name: str) -> float:
    if name == "jawOpen":
        return JAW_WEIGHT
    if name.startswith("mouth"):
        return LIPS_WEIGHT
    return 1.0 if name.startswith("eyeBlink") else UPPER_FACE_WEIGHT


def select_motion_parts(unet: TemporalUNet) -> list[nn.Parameter]:
    """Weights of the motion modules, of the audio and style attention and of the adaptive norm."""
    parts: list[nn.Module | None] = [unet.style_projection, unet.condition_embedding]
    if unet.condition_embedding is not None:
        parts.append(unet.condition_in)
    for module in unet.modules():
        if isinstance(module, MotionModule):
            parts.append(module)
        elif isinstance(module, PortraitTransformerBlock):
            parts += [module.attn2, module.norm2, module.attn_style, module.norm_style]
            parts.append(module.modulation)
    return [weight for part in parts if part is not None for weight in part.parameters()]


def select_style_parts(unet: TemporalUNet) -> list[nn.Parameter]:
    """Weights of a style adapter; of adaptive norms the whole layer that style shares with audio,
    whose other columns `DenoisingObjective.keep_audio` leaves as they are."""
    names = get_style_weights(unet)
    return [weight for name, weight in unet.named_parameters() if name in names]


def leave_style_out(unet: TemporalUNet) -> None:
    """Set what style adds to zero, and freeze it; the layer that it shares with audio, whose own
    columns get no gradient, is trained on."""
    for name, weight in get_style_weights(unet).items():
        if ".to_out." in name or name == CONDITION_LAYER:
            weight.zero_()
        if name != CONDITION_LAYER:
            unet.get_parameter(name).requires_grad_(False)


def check_sync(configuration: DenoisingConfiguration, batch: dict[str, Tensor]) -> None:
    """Raise `ConfigurationError` for a sync loss on data without ARKit expressions."""
    if configuration.expression_encoder is not None and (
        "expression" not in batch or batch["expression"].shape[-1] != len(ARKIT_BLENDSHAPES)
    ):
        raise ConfigurationError(
            f"the sync loss needs ARKit expressions, which {configuration.data} lacks; leave "
            "expression_encoder away"
        )
