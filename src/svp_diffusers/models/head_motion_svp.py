"""How a head moves while its owner speaks: a small diffusion model of head pose over time.

This file is self-contained, because a checkpoint on the Hub carries it beside its weights.

The paper has no such part; all of it is our choice. Motion is a curve, so that is what is sampled:
the control points ("knots", 10 a second) of a uniform cubic B-spline, relative to the pose at the
start. A curve can be read at any frame rate, has no jitter from frame to frame, and cannot jump
where windows meet. A transformer denoises windows of knots (v-prediction, a few DDIM steps), each
given the knots at the end of the window before. Diffusion rather than autoregression, since an
autoregressive model of a slow, smooth curve learns to repeat its last value: it freezes or drifts.
Every window also gets the pose at the start, which defines the head's rest position;
that is what holds it there for minutes.
"""

import math
from collections.abc import Callable, Iterator
from itertools import count

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, DDIMScheduler, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention import FeedForward
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor, nn

__all__ = ["HeadMotionModel", "ModelMixin"]  # diffusers looks for `ModelMixin` beside a component

EMBEDDINGS_PER_SECOND = 50
POSE_DIM = 6


class HeadMotionModel(ModelMixin, ConfigMixin):
    """Speech, speaking style and a starting pose to head motion.

    A pose is (yaw, pitch, roll, x, y, scale): radians, positive towards the picture's right, down
    and clockwise; shifts in picture widths to the right and in picture heights down; size, 1 being
    that of the portrait at rest.

    Args:
        audio_dim: size of a speech embedding of the checkpoint's audio encoder, 50 a second.
        style_dim: size of a style vector of the checkpoint's style encoder.
        hidden_dim, num_layers, num_attention_heads: of the transformer.
        embeddings_per_knot: a divisor of 50; 5 make 10 knots a second, enough for motion of up to
            about 4 Hz.
        window: knots that are denoised together.
        context: knots of a window that the window before has made.
        lookahead: knots at the end of a window that the next one makes again, which also
            receives the speech after them; the two are blended there.
        start_mean, start_std: of poses, (6,), in the units of a pose.
        motion_std: of poses relative to the one at the start, (6,).
    """

    @register_to_config
    def __init__(
        self,
        audio_dim: int,
        style_dim: int,
        hidden_dim: int = 64,
        num_layers: int = 3,
        num_attention_heads: int = 4,
        embeddings_per_knot: int = 5,
        window: int = 40,
        context: int = 12,
        lookahead: int = 8,
        start_mean: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
        start_std: tuple[float, ...] = (0.1, 0.08, 0.05, 0.015, 0.01, 0.02),
        motion_std: tuple[float, ...] = (0.1, 0.05, 0.04, 0.01, 0.01, 0.01),
    ) -> None:
        super().__init__()
        if EMBEDDINGS_PER_SECOND % embeddings_per_knot:
            raise ValueError(f"`embeddings_per_knot` {embeddings_per_knot} does not divide 50.")
        if context < 3 or lookahead < 1 or window < context + 2 * lookahead:
            raise ValueError(
                f"a window of {window} knots must hold {context} of context (3 or more) and twice "
                f"{lookahead} of lookahead (1 or more)."
            )
        self.audio_in = nn.Linear(audio_dim, hidden_dim)
        self.pose_in = nn.Linear(2 * POSE_DIM + 1, hidden_dim)
        self.position = nn.Parameter(0.02 * torch.randn(window, hidden_dim))
        self.time_features = Timesteps(hidden_dim, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time_in = TimestepEmbedding(hidden_dim, hidden_dim)
        self.style_in = nn.Linear(style_dim, hidden_dim)
        self.start_in = nn.Linear(POSE_DIM, hidden_dim)
        self.condition = nn.Sequential(
            nn.SiLU(),
            nn.Linear(hidden_dim, hidden_dim),
            nn.SiLU(),
            nn.Linear(hidden_dim, 6 * hidden_dim),
        )
        self.blocks = nn.ModuleList(
            MotionBlock(hidden_dim, num_attention_heads) for _ in range(num_layers)
        )
        self.norm_out = nn.LayerNorm(hidden_dim)
        self.pose_out = nn.Linear(hidden_dim, POSE_DIM)
        nn.init.zeros_(self.pose_out.weight)
        nn.init.zeros_(self.pose_out.bias)

    @property
    def knots_per_second(self) -> int:
        """Control points of the curve in a second."""
        return EMBEDDINGS_PER_SECOND // int(self.config.embeddings_per_knot)

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        audio: Tensor,
        style: Tensor,
        start_pose: Tensor,
        known: Tensor,
        known_mask: Tensor,
    ) -> Tensor:
        """Predict the velocity of noisy windows.

        Args:
            sample: noisy knots (batch, window, 6), relative to the start, over `motion_std`.
            timestep: (batch,).
            audio: embeddings (batch, window, audio_dim), the mean of those at each knot.
            style: (batch, style_dim).
            start_pose: (batch, 6).
            known: knots (batch, window, 6) that the window before has made, as `sample` without
                noise, elsewhere 0.
            known_mask: (batch, window), 1 where they are known and 0 elsewhere.

        Returns:
            (batch, window, 6).
        """
        dtype = self.dtype
        start = (start_pose - self._constant("start_mean", start_pose)) / self._constant(
            "start_std", start_pose
        )
        hidden = self.pose_in(torch.cat([sample, known, known_mask[..., None]], -1).to(dtype))
        hidden = hidden + self.audio_in(audio.to(dtype)) + self.position
        condition = self.time_in(self.time_features(timestep).to(dtype))
        condition = condition + self.start_in(start.to(dtype)) + self.style_in(style.to(dtype))
        # (batch, 6 * dim) -> six of (batch, 1, dim)
        modulation = self.condition(condition)[:, None].chunk(6, dim=-1)
        for block in self.blocks:
            hidden = block(hidden, modulation)
        velocity: Tensor = self.pose_out(self.norm_out(hidden))
        return velocity.to(sample.dtype)

    def make_scheduler(self) -> DDIMScheduler:
        """The noise that the network is trained for, and the steps that take it away."""
        return DDIMScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
            clip_sample=False,
        )

    @torch.no_grad()
    def generate(
        self,
        embeddings: Tensor,
        style: Tensor,
        start_pose: Tensor,
        num_frames: int,
        fps: float = 25.0,
        amplitude: float = 1.0,
        generator: torch.Generator | None = None,
        num_inference_steps: int = 20,
    ) -> Tensor:
        """Sample how the head moves; the memory needed does not grow with the length.

        Args:
            embeddings: (time, audio_dim), 50 a second, from the first frame on; silence follows.
            style: (style_dim,), or (num_frames, style_dim) for one that changes; a window has that
                of its middle.
            start_pose: (6,), the pose of the first frame; on the device of the network.
            num_frames: how many.
            fps: frames a second.
            amplitude: factor of all motion: 0 is still, 1 as people do.
            generator: makes the motion reproducible.
            num_inference_steps: of each window.

        Returns:
            Poses (num_frames, 6), float32; the first is `start_pose`.

        Raises:
            ValueError: wrong shapes, no frames, or a negative amplitude or frame rate.
        """
        self._check_inputs(embeddings, style, start_pose, num_frames, fps, amplitude)

        def hear(index: Tensor) -> Tensor:
            return embeddings[index.clamp(0, len(embeddings) - 1).to(embeddings.device)]

        def style_at(frame: int) -> Tensor:
            return style if style.ndim == 1 else style[min(frame, len(style) - 1)]

        pieces = self.generate_pieces(
            hear, style_at, start_pose, num_frames, fps, amplitude, generator, num_inference_steps
        )
        return torch.cat(list(pieces))

    @torch.no_grad()
    def generate_pieces(
        self,
        hear: Callable[[Tensor], Tensor],
        style_at: Callable[[int], Tensor],
        start_pose: Tensor,
        num_frames: int | None = None,
        fps: float = 25.0,
        amplitude: float = 1.0,
        generator: torch.Generator | None = None,
        num_inference_steps: int = 20,
    ) -> Iterator[Tensor]:
        """Sample how the head moves a few seconds at a time, as `generate` does it.

        Args:
            hear: called with numbers (n,) of embeddings, 50 a second, which may lie before the
                first and behind the last; gives embeddings (n, audio_dim).
            style_at: called with the number of a frame, also behind the last; gives (style_dim,).
            start_pose: (6,), the pose of the first frame; on the device of the network.
            num_frames: how many, or None for no end.
            fps: frames a second.
            amplitude: factor of all motion.
            generator: makes the motion reproducible.
            num_inference_steps: of each window.

        Yields:
            Poses (a few frames, 6), float32, one piece after another.
        """
        start_pose = start_pose.float()
        motion_std = self._constant("motion_std", start_pose)
        num_knots = None if num_frames is None else self._count_knots(num_frames, fps)
        done = 0  # frames
        for first, knots in self._sample_windows(
            hear, style_at, start_pose, num_knots, fps, generator, num_inference_steps
        ):
            # Frames that lie among these knots; the last of them needs two knots after it.
            frames = done + math.ceil(len(knots) * fps / self.knots_per_second) + 1
            frames = frames if num_frames is None else min(frames, num_frames)
            times = torch.arange(done, max(frames, done), dtype=torch.float64) / fps
            times = times * self.knots_per_second
            count = int(torch.searchsorted(times, first + len(knots) - 3, side="left"))
            motion = evaluate_spline(knots, times[:count] - first)
            yield start_pose + amplitude * motion_std * motion
            done += count

    def skip(
        self, num_frames: int, fps: float, generator: torch.Generator | None, device: torch.device
    ) -> None:
        """Draw from the generator what `generate` draws for so many frames on this device."""
        config = self.config
        kept, num_knots = config.window - config.lookahead, self._count_knots(num_frames, fps)
        further = max(0, math.ceil((num_knots - kept) / (kept - config.context)))
        for _ in range(1 + further):
            randn_tensor((1, config.window, POSE_DIM), generator, device, torch.float32)

    def _count_knots(self, num_frames: int, fps: float) -> int:
        """Knots that the curve of so many frames needs."""
        return int((num_frames - 1) / fps * self.knots_per_second) + 4

    def _sample_windows(
        self,
        hear: Callable[[Tensor], Tensor],
        style_at: Callable[[int], Tensor],
        start_pose: Tensor,
        num_knots: int | None,
        fps: float,
        generator: torch.Generator | None,
        num_inference_steps: int,
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield runs of knots (n, 6) with the number of their first; each begins with the last
        three of the run before, so that the curve is continuous.

        What a window has made beyond the knots that are kept is blended into the next one.
        """
        config = self.config
        context, kept = config.context, config.window - config.lookahead
        known = beyond = run_end = start_pose.new_zeros(0, POSE_DIM)
        for first in count(0, kept - context):
            audio = self._cut_audio(hear, first).to(known)
            middle = (first + config.window / 2) / self.knots_per_second
            window_style = style_at(int(middle * fps)).to(known)
            knots = self._denoise(
                audio, window_style, start_pose, known, generator, num_inference_steps
            )
            if first == 0:
                off = evaluate_spline(knots, knots.new_zeros(1))
                # The three knots that make the first frame are shifted alike, later ones less.
                knots[:3] -= off
                knots[3:context] -= (1 - ramp(context - 3, knots)) * off
            else:
                new = knots[context : context + config.lookahead]
                blended = beyond + ramp(config.lookahead, knots) * (new - beyond)
                knots = torch.cat([known, blended, knots[context + config.lookahead :]])
            is_last = num_knots is not None and first + kept >= num_knots
            run = torch.cat([run_end, knots[: kept if is_last else kept - context]])
            yield first - len(run_end), run
            if is_last:
                return
            known, beyond, run_end = knots[kept - context : kept], knots[kept:], run[-3:]

    def _denoise(
        self,
        audio: Tensor,
        style: Tensor,
        start_pose: Tensor,
        known: Tensor,
        generator: torch.Generator | None,
        num_inference_steps: int,
    ) -> Tensor:
        """One window of knots (window, 6), the first of which are to be those `known` (n, 6)."""
        window, device = self.config.window, start_pose.device
        scheduler = self.make_scheduler()
        scheduler.set_timesteps(num_inference_steps, device=device)
        padded = F.pad(known, (0, 0, 0, window - len(known)))[None]
        mask = (torch.arange(window, device=device) < len(known)).to(padded)[None]
        sample = randn_tensor((1, window, POSE_DIM), generator, device, torch.float32)
        for timestep in scheduler.timesteps:
            velocity = self(
                sample, timestep[None], audio[None], style[None], start_pose[None], padded, mask
            )
            sample = scheduler.step(velocity, timestep, sample).prev_sample
        return sample[0]

    def _cut_audio(self, hear: Callable[[Tensor], Tensor], first: int) -> Tensor:
        """Embeddings (window, audio_dim) from knot number `first` on."""
        per_knot, window = self.config.embeddings_per_knot, self.config.window
        # Knot 0 lies before the first frame, as a curve needs one there.
        heard = hear(torch.arange(per_knot * window) + per_knot * (first - 1))
        return heard.float().unflatten(0, (window, per_knot)).mean(1)

    def _constant(self, name: str, like: Tensor) -> Tensor:
        return torch.tensor(self.config[name], device=like.device, dtype=like.dtype)

    def _check_inputs(
        self,
        embeddings: Tensor,
        style: Tensor,
        start_pose: Tensor,
        num_frames: int,
        fps: float,
        amplitude: float,
    ) -> None:
        config = self.config
        if embeddings.ndim != 2 or not len(embeddings) or embeddings.shape[1] != config.audio_dim:
            raise ValueError(
                f"`embeddings` must be (time, {config.audio_dim}), got {tuple(embeddings.shape)}."
            )
        if tuple(style.shape) not in ((config.style_dim,), (num_frames, config.style_dim)):
            raise ValueError(
                f"`style` must be ({config.style_dim},) or ({num_frames}, {config.style_dim}), "
                f"got {tuple(style.shape)}."
            )
        if tuple(start_pose.shape) != (POSE_DIM,):
            raise ValueError(f"`start_pose` must be (6,), got {tuple(start_pose.shape)}.")
        if num_frames < 1 or not fps > 0 or not 0 <= amplitude < math.inf:
            raise ValueError(
                "`num_frames` must be 1 or more, `fps` above 0 and `amplitude` 0 or more, "
                f"got {num_frames}, {fps} and {amplitude}."
            )


class MotionBlock(nn.Module):
    """Self-attention and feed-forward, both modulated by the conditions (as in DiT and PixArt)."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.to_qkv = nn.Linear(dim, 3 * dim)
        self.to_out = nn.Linear(dim, dim)
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False, eps=1e-6)
        self.ff = FeedForward(dim, activation_fn="gelu-approximate")
        self.modulation = nn.Parameter(torch.tensor([0.0, 0.0, 1.0] * 2)[:, None].repeat(1, dim))

    def forward(self, hidden: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
        """(batch, n, dim), and six modulations (batch, 1, dim), to (batch, n, dim)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            own + shared for own, shared in zip(self.modulation, modulation, strict=True)
        )
        qkv = self.to_qkv(self.norm1(hidden) * (1 + scale1) + shift1)
        # (batch, n, 3 * dim) -> three of (batch, heads, n, dim / heads)
        query, key, value = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        hidden = hidden + gate1 * self.to_out(attended)
        fed: Tensor = self.ff(self.norm2(hidden) * (1 + scale2) + shift2)
        return hidden + gate2 * fed


def weigh_knots(fraction: Tensor) -> Tensor:
    """Weights (n, 4) of the four knots around `fraction` (n,), 0 at the second and 1 at the third:
    the uniform cubic B-spline."""
    t = fraction
    return (
        torch.stack(
            [
                (1 - t) ** 3,
                3 * t**3 - 6 * t**2 + 4,
                -3 * t**3 + 3 * t**2 + 3 * t + 1,
                t**3,
            ],
            dim=-1,
        )
        / 6
    )


def evaluate_spline(knots: Tensor, times: Tensor) -> Tensor:
    """Points (n, dim) of the curve with knots (m, dim) at `times` (n,).

    Times are in distances between knots, 0 at the second knot; they must lie in [0, m - 3).
    """
    index = times.floor().long()
    weights = weigh_knots((times - index).to(knots))
    return (weights[..., None] * knots[index[:, None] + torch.arange(4, device=index.device)]).sum(
        1
    )


def ramp(length: int, like: Tensor) -> Tensor:
    """A smooth rise from near 0 to near 1, (length, 1)."""
    t = torch.arange(1, length + 1, device=like.device, dtype=like.dtype) / (length + 1)
    return (t * t * (3 - 2 * t))[:, None]
