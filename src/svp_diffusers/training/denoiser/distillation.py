"""What a distilled UNet is trained for: to predict at once what guidance makes of several.

The student is told the guidance scales (Meng et al., arXiv 2210.03142, whose first stage this is).
Noisy latents are where the student's own sampling gets, so that it learns to correct its own
errors; the styles are those of any clip, as the teacher needs no true frames. (Both: our choice.)
"""

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from numpy.random import Generator
from torch import Tensor

from svp_diffusers.models.temporal_unet_svp import TemporalUNet
from svp_diffusers.pipelines.guidance_svp import (
    GUIDANCE_DIM,
    GUIDANCE_SCALES,
    embed_guidance,
    limit_guidance,
)
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline
from svp_diffusers.training.denoiser.batches import DenoisingBatches
from svp_diffusers.training.denoiser.clip_sampler import ClipSampler
from svp_diffusers.training.denoiser.configuration import DistillationConfiguration
from svp_diffusers.training.denoiser.objective import DenoisingObjective


def make_student(
    teacher: TemporalUNet, guidance_ranges: dict[str, tuple[float, float]]
) -> TemporalUNet:
    """A UNet that is told guidance scales, and whatever they are predicts as its teacher does."""
    student: TemporalUNet = TemporalUNet.from_config(
        teacher.config, guidance_ranges=guidance_ranges, time_cond_proj_dim=GUIDANCE_DIM
    )
    projection = "time_embedding.cond_proj.weight"
    zeros = torch.zeros_like(student.get_parameter(projection), dtype=teacher.dtype)
    student.load_state_dict({**teacher.state_dict(), projection: zeros}, assign=True)
    return student.eval()


class DistillationBatches(DenoisingBatches):
    """Batches with `guidance_scales` (b, 3), in the order of `GUIDANCE_SCALES`, and any style."""

    configuration: DistillationConfiguration

    def _draw_row(self, index: int, generator: Generator) -> dict[str, Tensor]:
        row = super()._draw_row(index, generator)
        mean, std = self.read_style(int(generator.integers(len(self.dataset))))
        noise = torch.from_numpy(generator.standard_normal(len(mean), "float32"))
        ranges = self.configuration.guidance_ranges
        scales = [generator.uniform(*ranges[name]) for name in GUIDANCE_SCALES]
        return {**row, "style": mean + std * noise, "guidance_scales": torch.tensor(scales)}


class DistillationObjective(DenoisingObjective):
    """The pipeline's UNet, which is a student of `make_student`, beside what it was at first.

    Arguments and errors are those of `DenoisingObjective`, without an expression encoder.
    """

    configuration: DistillationConfiguration
    steps: Tensor

    def __init__(
        self,
        pipeline: SVPTalkingHeadPipeline,
        configuration: DistillationConfiguration,
        validation_batches: list[dict[str, Tensor]],
        sampler: ClipSampler | None = None,
    ) -> None:
        super().__init__(pipeline, configuration, None, validation_batches, sampler)
        self.teacher = copy.deepcopy(self.unet).eval()
        self.requires_grad_(False)
        self.unet.requires_grad_(True)
        self.default_scales = [
            pipeline.config.guidance_scale if scale is None else scale
            for scale in pipeline.fill_guidance_scales()
        ]
        self.guidance_limit = pipeline.config.get("guidance_limit")
        self.default_steps = pipeline.config.num_inference_steps
        steps: list[tuple[int, int]] = []
        for number in (self.default_steps, 2 * self.default_steps):
            timesteps = self._list_timesteps(number)
            steps += pairwise([-1, *timesteps])
        # Each with the one before, -1 for none: of the checkpoint's number of steps and twice that.
        self.register_buffer("steps", torch.tensor(steps), persistent=False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`loss`: squared error of what the student says to what guidance makes of its teacher."""
        latents, noise, scales = batch["latents"], batch["noise"], batch["guidance_scales"]
        drawn = (batch["timesteps"] * len(self.steps)).long()
        earlier, timesteps = self.steps[drawn].unbind(1)
        with torch.no_grad():
            conditions = self.give_conditions(batch, latents, self.project_audio(batch))
            started = earlier < 0
            before = torch.where(started, timesteps, earlier)
            noisy = self.scheduler.add_noise(latents, noise, before)
            stepped = self.take_step(
                noisy, self.predict_at_once(noisy, before, conditions, scales), before, timesteps
            )
            noisy = torch.where(started[:, None, None, None, None], noisy, stepped)
            target = self.guide(noisy, timesteps, conditions, scales)
        prediction = self.predict_at_once(noisy, timesteps, conditions, scales)
        error = (prediction - target).square()
        weights = self._weigh_pixels(batch["head_keypoints"] / self.scale_factor, latents)
        return {"loss": (weights * error).mean()}

    def predict_at_once(
        self, noisy: Tensor, timesteps: Tensor, conditions: dict[str, Any], scales: Tensor
    ) -> Tensor:
        """The student's prediction for `noisy` (b, c, f, h, w) with guidance scales (b, 3)."""
        dtype = self.unet.dtype
        told = embed_guidance(scales).to(dtype)
        prediction: Tensor = self.unet(
            noisy.to(dtype), timesteps, **conditions, timestep_cond=told, return_dict=False
        )[0]
        return prediction.float()

    def guide(
        self, noisy: Tensor, timesteps: Tensor, conditions: dict[str, Any], scales: Tensor
    ) -> Tensor:
        """What guidance with scales (b, 3) makes of the teacher, as `plan_guidance` says, within
        the checkpoint's limit."""
        dtype, told = self.teacher.dtype, noisy.new_zeros(1, GUIDANCE_DIM).to(self.teacher.dtype)
        tokens = conditions["encoder_hidden_states"]
        portrait = {**conditions, "encoder_hidden_states": torch.zeros_like(tokens), "style": None}
        nothing = {
            **portrait,
            "reference_features": None,
            "reference_latents": None,
            "head_features": None,
        }
        shown = [nothing, portrait, {**conditions, "style": None}, conditions]
        if self.configuration.most_guidance_scale == 1:  # then its weight is 0
            shown = shown[1:]
        guided = torch.zeros_like(noisy)
        ends = scales.new_ones(len(scales), 1), scales.new_zeros(len(scales), 1)
        weights = torch.cat([ends[0], scales], dim=1) - torch.cat([scales, ends[1]], dim=1)
        for weight, given in zip(weights.T[-len(shown) :], shown, strict=True):
            (predicted,) = self.teacher(
                noisy.to(dtype), timesteps, **given, timestep_cond=told, return_dict=False
            )
            guided = guided + weight[:, None, None, None, None] * predicted.float()
        return limit_guidance(guided, predicted.float(), self.guidance_limit)

    def take_step(
        self, noisy: Tensor, prediction: Tensor, timesteps: Tensor, following: Tensor
    ) -> Tensor:
        """DDIM's step (arXiv 2010.02502), from `timesteps` (b,) to those that follow."""
        clean = self._clean(noisy, prediction, timesteps)
        product = self.scheduler.alphas_cumprod.to(noisy.device)[timesteps]
        product = product[:, None, None, None, None]
        noise = (noisy - product.sqrt() * clean) / (1 - product).sqrt()
        stepped: Tensor = self.scheduler.add_noise(clean, noise, following)
        return stepped

    def validate(self) -> dict[str, float]:
        """Clips sampled with the checkpoint's own steps and scales: squared error of the student's
        latents, and of the teacher's without guidance, to the teacher's with it; and of those of a
        student that is told scales of 1 to the teacher's without guidance: one that does not
        listen to the scales is far from it."""
        names = ("validation_mse", "validation_unguided_mse", "validation_told_1_mse")
        sums = dict.fromkeys(names, 0.0)
        for batch in self.validation_batches:
            batch = {name: value.to(self.unet.device) for name, value in batch.items()}
            noise, scales = batch["noise"], torch.ones_like(batch["guidance_scales"])
            conditions = self.give_conditions(batch, noise, self.project_audio(batch))
            wanted = scales.new_tensor(self.default_scales).expand_as(scales)
            guided, plain = (
                self._sample(self.guide, batch, conditions, each) for each in (wanted, scales)
            )
            student, told_1 = (
                self._sample(self.predict_at_once, batch, conditions, each)
                for each in (wanted, scales)
            )
            pairs = ((student, guided), (plain, guided), (told_1, plain))
            for name, (each, aim) in zip(names, pairs, strict=True):
                error = (each - aim).square().mean()
                sums[name] += float(error) / len(self.validation_batches)
        return sums

    def _sample(
        self,
        predict: Callable[[Tensor, Tensor, dict[str, Any], Tensor], Tensor],
        batch: dict[str, Tensor],
        conditions: dict[str, Any],
        scales: Tensor,
    ) -> Tensor:
        """Latents that are sampled with the checkpoint's number of steps."""
        timesteps = torch.tensor(self._list_timesteps(self.default_steps), device=scales.device)
        grid = timesteps[:, None].expand(-1, len(scales))
        noisy = self.scheduler.add_noise(batch["latents"], batch["noise"], grid[0])
        for now, following in pairwise(grid):
            noisy = self.take_step(noisy, predict(noisy, now, conditions, scales), now, following)
        return self._clean(noisy, predict(noisy, grid[-1], conditions, scales), grid[-1])

    def _list_timesteps(self, number: int) -> list[int]:
        scheduler = copy.deepcopy(self.scheduler)
        scheduler.set_timesteps(number)
        return [int(timestep) for timestep in scheduler.timesteps]
