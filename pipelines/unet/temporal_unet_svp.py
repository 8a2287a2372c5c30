"""The denoising UNet of SVP: Stable Diffusion 1.5's, given portrait, audio, style and head.

The order inside every block is the paper's (section 3.2):

    self-attention -> reference -> audio -> style -> feed-forward -> temporal module

Everything but the reference and style attention is `diffusers.UNetMotionModel`. This file is
self-contained, because a checkpoint on the Hub carries it beside its weights.
"""

import inspect
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import (
    ModelMixin,
    MotionAdapter,
    Transformer2DModel,
    UNet2DConditionModel,
    UNetMotionModel,
)
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from diffusers.models.embeddings import ImageProjection, TimestepEmbedding
from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D, UNetMotionOutput
from diffusers.utils.peft_utils import apply_lora_scale
from torch import nn

__all__ = ["ModelMixin", "TemporalUNet"]  # diffusers looks for `ModelMixin` beside a component


def attend(
    attention: nn.Module, hidden_states: torch.Tensor, context: torch.Tensor
) -> torch.Tensor:
    """Let the frames of a clip attend to a context that they may share.

    Args:
        attention: an attention layer.
        hidden_states: (batch * frames, tokens, dim), the queries.
        context: (batch * frames, n, d) for a context a frame, (batch, n, d) for one a clip, or
            (1, n, d) for one for all. Frames that share a context are folded into its queries, so
            its keys and values are computed once.
    """
    folded = hidden_states.reshape(context.shape[0], -1, hidden_states.shape[-1])
    output: torch.Tensor = attention(folded, encoder_hidden_states=context)
    return output.reshape_as(hidden_states)


def repeat_for_frames(tensor: torch.Tensor, batch_frames: int) -> torch.Tensor:
    """Give every frame its row of a tensor whose rows are of a frame, of a clip or of all."""
    return tensor.repeat_interleave(batch_frames // len(tensor), dim=0)


REGIONS = ("background", "face", "lips")  # of regional audio attention, in this order


class PortraitTransformerBlock(BasicTransformerBlock):
    """A transformer block with reference attention before, and style attention after, the audio's.

    Reference and style attention read the residual stream through norms of their own. The output
    projection of the style attention starts at zero: until it is trained, style changes nothing.
    So does the modulation of the last norm, which is there if `adaptive_dim` is given. Without a
    separate reference attention, the self-attention sees the reference feature beside its own.
    """

    def __init__(
        self,
        dim: int,
        num_attention_heads: int,
        attention_head_dim: int,
        cross_attention_dim: int,
        adaptive_dim: int | None,
        separate_reference: bool,
    ) -> None:
        super().__init__(
            dim, num_attention_heads, attention_head_dim, cross_attention_dim=cross_attention_dim
        )
        heads = {"heads": num_attention_heads, "dim_head": attention_head_dim}
        self.separate_reference = separate_reference
        if separate_reference:
            self.norm_reference = nn.LayerNorm(dim)
            self.attn_reference = Attention(query_dim=dim, **heads)
        self.norm_style = nn.LayerNorm(dim)
        self.attn_style = Attention(query_dim=dim, cross_attention_dim=cross_attention_dim, **heads)
        nn.init.zeros_(self.attn_style.to_out[0].weight)
        nn.init.zeros_(self.attn_style.to_out[0].bias)
        self.modulation: nn.Linear | None = None
        if adaptive_dim is not None:
            self.modulation = nn.Linear(adaptive_dim, 2 * dim)
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        timestep: torch.Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        class_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Apply the block to (batch * frames, tokens, dim).

        `encoder_hidden_states` are the audio tokens; `cross_attention_kwargs` holds `reference`
        (b, n, dim) or None, `style` (b or b * frames, n, cross_attention_dim), the three scales
        and, with modulation, `condition` (b * frames, adaptive_dim). No other argument of
        diffusers' signature is used.
        """
        assert encoder_hidden_states is not None
        assert cross_attention_kwargs is not None
        conditions = cross_attention_kwargs
        reference = conditions["reference"]
        attentions = [
            (self.attn2, self.norm2, encoder_hidden_states, "audio"),
            (self.attn_style, self.norm_style, conditions["style"], "style"),
        ]
        normed = self.norm1(hidden_states)
        if self.separate_reference:
            attentions.insert(0, (self.attn_reference, self.norm_reference, reference, "reference"))
            reference = None
        if reference is not None:
            reference = repeat_for_frames(reference, len(normed))
            reference = torch.cat([normed, reference], dim=1)  # (b * frames, tokens + n, dim)
        hidden_states = hidden_states + self.attn1(normed, encoder_hidden_states=reference)
        for attention, norm, context, scale in attentions:
            update = attend(attention, norm(hidden_states), context)
            hidden_states = hidden_states + conditions[f"{scale}_attention_scale"] * update
        normed = self.norm3(hidden_states)
        if self.modulation is not None:
            scale, shift = self.modulation(conditions["condition"])[:, None].chunk(2, dim=-1)
            normed = normed * (1 + scale) + shift
        return hidden_states + self.ff(normed)


class RegionalAudio(NamedTuple):
    """The audio of regional audio attention.

    Attributes:
        tokens: (batch * frames, n, regional_audio_dim).
        masks: one a resolution of the UNet's transformers, each (batch or 1, regions, height,
            width): how much background, face and lips change at a place, from 0.
        scales: factors on what the three regions add.
    """

    tokens: torch.Tensor
    masks: Sequence[torch.Tensor]
    scales: Sequence[float] = (1.0, 1.0, 1.0)


class RegionalAudioBlock(BasicTransformerBlock):
    """A transformer block whose attentions to the audio each change a region of the picture.

    (Hallo's: self-attention, then an attention to the audio a region, all from one norm, each
    masked and projected.) The projections start at zero.
    """

    def __init__(
        self, dim: int, num_attention_heads: int, attention_head_dim: int, audio_dim: int
    ) -> None:
        super().__init__(dim, num_attention_heads, attention_head_dim)
        self.norm2 = nn.LayerNorm(dim)
        self.attn_regions = nn.ModuleList(
            Attention(dim, audio_dim, heads=num_attention_heads, dim_head=attention_head_dim)
            for _ in REGIONS
        )
        projections = [nn.Linear(dim, dim) for _ in REGIONS]
        for projection in projections:
            nn.init.zeros_(projection.weight)
            nn.init.zeros_(projection.bias)
        self.proj_regions = nn.ModuleList(projections)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        encoder_hidden_states: torch.Tensor | None = None,
        encoder_attention_mask: torch.Tensor | None = None,
        timestep: torch.Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        class_labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Apply the block to (batch * frames, tokens, dim).

        `encoder_hidden_states` are the audio tokens (batch * frames, n, audio_dim);
        `cross_attention_kwargs` holds `masks` (batch * frames, regions, tokens) and `scales`, one a
        region. No other argument of diffusers' signature is used.
        """
        assert cross_attention_kwargs is not None
        masks, scales = cross_attention_kwargs["masks"], cross_attention_kwargs["scales"]
        hidden_states = hidden_states + self.attn1(self.norm1(hidden_states))
        normed = self.norm2(hidden_states)
        for region, scale in enumerate(scales):
            update = self.attn_regions[region](normed, encoder_hidden_states)
            update = self.proj_regions[region](update * masks[:, region, :, None])
            hidden_states = hidden_states + scale * update
        return hidden_states + self.ff(self.norm3(hidden_states))


class PortraitTransformer(Transformer2DModel):
    """A spatial transformer that hands its block the reference feature made at the same place.

    With regional audio, a transformer of `RegionalAudioBlock` follows. With context frames, their
    features are put before the frames of each clip, for the motion module that comes next.
    """

    def __init__(
        self,
        name: str,
        num_attention_heads: int,
        attention_head_dim: int,
        in_channels: int,
        cross_attention_dim: int,
        norm_num_groups: int,
        use_linear_projection: bool,
        adaptive_dim: int | None,
        separate_reference: bool,
        regional_audio_dim: int | None,
        regional_audio_width: int,
        num_context_frames: int,
    ) -> None:
        super().__init__(
            num_attention_heads,
            attention_head_dim,
            in_channels=in_channels,
            cross_attention_dim=cross_attention_dim,
            norm_num_groups=norm_num_groups,
            use_linear_projection=use_linear_projection,
        )
        self.name = name
        self.dim = num_attention_heads * attention_head_dim
        self.separate_reference = separate_reference
        self.num_context_frames = num_context_frames
        block = PortraitTransformerBlock(
            self.dim,
            num_attention_heads,
            attention_head_dim,
            cross_attention_dim,
            adaptive_dim,
            separate_reference,
        )
        self.transformer_blocks = nn.ModuleList([block])
        self.audio: Transformer2DModel | None = None
        if regional_audio_dim is not None:
            heads = (num_attention_heads, regional_audio_width // num_attention_heads)
            self.audio = Transformer2DModel(
                *heads, in_channels=in_channels, norm_num_groups=norm_num_groups
            )
            self.audio.transformer_blocks = nn.ModuleList(
                [RegionalAudioBlock(regional_audio_width, *heads, regional_audio_dim)]
            )

    def forward(
        self,
        hidden_states: torch.Tensor,
        *,
        cross_attention_kwargs: dict[str, Any],
        return_dict: bool,
        **kwargs: Any,
    ) -> tuple[torch.Tensor]:
        """Apply the transformers to (batch * frames, channels, height, width).

        Returns:
            (batch * (context frames + frames), channels, height, width).
        """
        conditions = dict(cross_attention_kwargs)
        features = conditions.pop("reference_features")
        regional, context = conditions.pop("regional_audio"), conditions.pop("context_features")
        num_frames = conditions.pop("num_frames")
        conditions["reference"] = None if features is None else features[self.name]
        if features is None and self.separate_reference:
            # Attention over zeros gives its output bias, whatever the number of tokens.
            conditions["reference"] = hidden_states.new_zeros(1, 1, self.dim)
        (output,) = super().forward(
            hidden_states, cross_attention_kwargs=conditions, return_dict=False, **kwargs
        )
        if self.audio is not None:
            masks = next(each for each in regional.masks if each.shape[2:] == output.shape[2:])
            masks = repeat_for_frames(masks, len(output)).flatten(
                2
            )  # (b * frames, regions, tokens)
            masked = {"masks": masks, "scales": regional.scales}
            (output,) = self.audio(
                output, regional.tokens, cross_attention_kwargs=masked, return_dict=False
            )
        if self.num_context_frames:
            earlier = context[self.name].transpose(2, 3)  # (batch or 1, context, channels, tokens)
            earlier = earlier.unflatten(3, output.shape[2:])
            clips = output.unflatten(0, (-1, num_frames))
            earlier = repeat_for_frames(earlier, len(clips))
            output = torch.cat([earlier, clips], dim=1).flatten(0, 1)
        return (output,)


class PerFrameGroupNorm(nn.GroupNorm):
    """Group norm with the statistics of one frame, as AnimateDiff and V-Express were trained.

    The stock motion module takes them over all frames of a clip together.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Normalise (batch, channels, frames, height, width), each frame by itself."""
        frames = hidden_states.transpose(1, 2)  # (batch, frames, channels, height, width)
        normed = super().forward(frames.flatten(0, 1))
        return normed.unflatten(0, frames.shape[:2]).transpose(1, 2)


def is_convolution_norm(path: str, module: nn.Module) -> bool:
    """Tell the group norms of ResNets and of the output from those of transformers."""
    return isinstance(module, nn.GroupNorm) and (".resnets." in path or path == "conv_norm_out")


class ClipGroupNorm(nn.GroupNorm):
    """Group norm with the statistics of one whole clip, as LatentSync was trained."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Normalise the frames of one clip (frames, channels, height, width) together."""
        clip = hidden_states.transpose(0, 1)[None]  # (1, channels, frames, height, width)
        return super().forward(clip)[0].transpose(0, 1)


class MotionModule(AnimateDiffTransformer3D):
    """AnimateDiff's temporal transformer, with a per-frame norm and gradient checkpointing.

    Context frames, which come before the frames of each clip, are read and then dropped.
    """

    def __init__(
        self,
        num_attention_heads: int,
        attention_head_dim: int,
        in_channels: int,
        norm_num_groups: int,
        max_seq_length: int,
        num_context_frames: int,
    ) -> None:
        super().__init__(
            num_attention_heads,
            attention_head_dim,
            in_channels=in_channels,
            norm_num_groups=norm_num_groups,
            positional_embeddings="sinusoidal",
            num_positional_embeddings=max_seq_length,
        )
        self.norm = PerFrameGroupNorm(norm_num_groups, in_channels, eps=1e-6)
        self.num_context_frames = num_context_frames
        self.gradient_checkpointing = False
        self.enabled = True

    def forward(
        self,
        hidden_states: torch.Tensor,
        encoder_hidden_states: None = None,
        timestep: None = None,
        class_labels: None = None,
        num_frames: int = 1,
        cross_attention_kwargs: None = None,
    ) -> torch.Tensor:
        """Mix the `num_frames` of each clip; the other arguments are unused.

        Args:
            hidden_states: (batch * (context frames + frames), channels, height, width).
            num_frames: of a clip, without the context.

        Returns:
            (batch * frames, channels, height, width).
        """
        num_frames = self.num_context_frames + num_frames
        output = hidden_states
        arguments = (hidden_states, None, None, None, num_frames)
        if self.enabled and torch.is_grad_enabled() and self.gradient_checkpointing:
            output = self._gradient_checkpointing_func(super().forward, *arguments)
        elif self.enabled:
            output = super().forward(*arguments)
        if self.num_context_frames:
            clips = output.unflatten(0, (-1, num_frames))
            output = clips[:, self.num_context_frames :].flatten(0, 1)
        return output


class HeadConditionedConv(nn.Conv2d):
    """`conv_in`, plus the head features, which come as further channels of its input."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (n, in_channels [+ out_channels], h, w) to (n, out_channels, h, w)."""
        sample = super().forward(hidden_states[:, : self.in_channels])
        if hidden_states.shape[1] == self.in_channels:
            return sample
        return sample + hidden_states[:, self.in_channels :]


class TemporalUNet(UNetMotionModel):
    """Predicts the noise (or velocity) of a clip of latents from audio, style, portrait and head.

    Args:
        style_dim: size of a style vector (our choice: 128).
        num_style_tokens: tokens a style vector is projected to (our choice: 4).
        reference_channels: channels of the portrait's latents that are concatenated to the noisy
            ones, beside the reference attention; 0 is the paper's. (Our choice: a net of a few
            million weights learns the portrait far sooner so.)
        reference_skip: add the noisy latents and the portrait's, each weighted by what the timestep
            says, to the prediction, so that the net learns what differs from the portrait; needs
            `reference_channels` equal to `out_channels`. (Our choice, for the same reason.)
        adaptive_norm: let audio and style also scale and shift the norm before every feed-forward
            layer, as DiT's conditions do, and shift the output of `conv_in`; the paper does not.
            (Our choice, for the same reason.)
        motion_modules_enabled: whether the motion modules are used; a checkpoint that was not
            trained on clips saves their time.
        reference_attention: "separate", the paper's attention to the reference features, or "self":
            the self-attention sees them beside its own keys and values, as in AnimateAnyone, and
            without a reference it is plain self-attention.
        clip_group_norm: let the group norms of the ResNets and of the output take their statistics
            over all frames of a clip, as in LatentSync; then a batch is one clip.
        regional_audio_dim: size of the audio tokens of regional audio attention (Hallo's): a
            transformer after every spatial one, with an attention to the audio for the background,
            the face and the lips. None is without; then the audio is in `encoder_hidden_states`.
        num_context_frames: earlier frames whose reference features the motion modules see before
            the clip (Hallo's), in blocks with attention.
        motion_norm_num_groups: groups of the motion modules' norms, if not `norm_num_groups`.
        guidance_ranges: of a net that guidance was distilled into: the least and the most of each
            guidance scale that it was trained for, by name. It is told the scales, embedded to
            `time_cond_proj_dim` numbers, and one prediction is the guided one.

    All other arguments are those of `diffusers.UNetMotionModel`, with the values of Stable
    Diffusion 1.5 as defaults. Only one transformer layer a block is supported.

    Raises:
        ValueError: if a transformer has more than one layer a block, the portrait's latents do not
            fit a `reference_skip`, or there is no such `reference_attention`.
    """

    _repeated_blocks: ClassVar = ["PortraitTransformerBlock", "RegionalAudioBlock", "MotionModule"]
    _no_split_modules: ClassVar = [*_repeated_blocks, "ResnetBlock2D"]
    # It takes the dtype of its weights for that of its input.
    _skip_layerwise_casting_patterns: ClassVar = ["style_projection"]

    @register_to_config
    def __init__(
        self,
        style_dim: int = 128,
        num_style_tokens: int = 4,
        reference_channels: int = 0,
        reference_skip: bool = False,
        adaptive_norm: bool = False,
        motion_modules_enabled: bool = True,
        reference_attention: str = "separate",
        clip_group_norm: bool = False,
        regional_audio_dim: int | None = None,
        num_context_frames: int = 0,
        motion_norm_num_groups: int | None = None,
        guidance_ranges: dict[str, tuple[float, float]] | None = None,
        sample_size: int | None = 64,
        in_channels: int = 4,
        out_channels: int = 4,
        down_block_types: tuple[str, ...] = (
            "CrossAttnDownBlockMotion",
            "CrossAttnDownBlockMotion",
            "CrossAttnDownBlockMotion",
            "DownBlockMotion",
        ),
        up_block_types: tuple[str, ...] = (
            "UpBlockMotion",
            "CrossAttnUpBlockMotion",
            "CrossAttnUpBlockMotion",
            "CrossAttnUpBlockMotion",
        ),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        layers_per_block: int | tuple[int, ...] = 2,
        downsample_padding: int = 1,
        mid_block_scale_factor: float = 1,
        act_fn: str = "silu",
        norm_num_groups: int = 32,
        norm_eps: float = 1e-5,
        cross_attention_dim: int = 768,
        transformer_layers_per_block: int = 1,
        reverse_transformer_layers_per_block: int | None = None,
        temporal_transformer_layers_per_block: int = 1,
        reverse_temporal_transformer_layers_per_block: int | None = None,
        transformer_layers_per_mid_block: int | None = None,
        temporal_transformer_layers_per_mid_block: int = 1,
        use_linear_projection: bool = False,
        num_attention_heads: int | tuple[int, ...] = 8,
        motion_max_seq_length: int = 32,
        motion_num_attention_heads: int | tuple[int, ...] = 8,
        reverse_motion_num_attention_heads: int | tuple[int, ...] | None = None,
        use_motion_mid_block: bool = True,
        mid_block_layers: int = 1,
        encoder_hid_dim: int | None = None,
        encoder_hid_dim_type: str | None = None,
        addition_embed_type: str | None = None,
        addition_time_embed_dim: int | None = None,
        projection_class_embeddings_input_dim: int | None = None,
        time_cond_proj_dim: int | None = None,
    ) -> None:
        parent = inspect.signature(UNetMotionModel.__init__).parameters
        super().__init__(**{name: self.config[name] for name in parent if name in self.config})
        self.style_projection = ImageProjection(
            image_embed_dim=style_dim,
            cross_attention_dim=cross_attention_dim,
            num_image_text_embeds=num_style_tokens,
        )
        adaptive_dim = block_out_channels[0] * 4 if adaptive_norm else None  # that of the timestep
        self.condition_embedding: TimestepEmbedding | None = None
        if adaptive_dim is not None:
            self.condition_embedding = TimestepEmbedding(
                2 * cross_attention_dim, adaptive_dim, post_act_fn="silu"
            )
            self.condition_in = nn.Linear(adaptive_dim, block_out_channels[0])
            nn.init.zeros_(self.condition_in.weight)
            nn.init.zeros_(self.condition_in.bias)
        self.skip_weights: nn.Linear | None = None
        if reference_skip:
            if reference_channels != out_channels:
                raise ValueError(
                    f"reference_skip needs reference_channels {reference_channels} to be "
                    f"out_channels {out_channels}."
                )
            self.skip_weights = nn.Linear(block_out_channels[0] * 4, 2 * out_channels)
            nn.init.zeros_(self.skip_weights.weight)
            nn.init.zeros_(self.skip_weights.bias)
        self.conv_in = HeadConditionedConv(
            in_channels + reference_channels, block_out_channels[0], 3, padding=1
        )
        if reference_attention not in ("separate", "self"):
            raise ValueError(f"`reference_attention` is separate or self: {reference_attention!r}.")
        modules = dict(self.named_modules())
        for path, module in modules.items():
            if isinstance(module, Transformer2DModel):
                if len(module.transformer_blocks) != 1:
                    raise ValueError(
                        f"{path} has {len(module.transformer_blocks)} transformer layers, but a "
                        "TemporalUNet takes one reference feature, hence one layer, a block."
                    )
                replacement: nn.Module = PortraitTransformer(
                    name=path,
                    num_attention_heads=module.config.num_attention_heads,
                    attention_head_dim=module.config.attention_head_dim,
                    in_channels=module.config.in_channels,
                    cross_attention_dim=cross_attention_dim,
                    norm_num_groups=module.config.norm_num_groups,
                    use_linear_projection=use_linear_projection,
                    adaptive_dim=adaptive_dim,
                    separate_reference=reference_attention == "separate",
                    regional_audio_dim=regional_audio_dim,
                    regional_audio_width=self._regional_audio_width(path),
                    # Where no motion module follows, nothing would take the context off again.
                    num_context_frames=num_context_frames
                    if path.replace("attentions", "motion_modules") in modules
                    else 0,
                )
            elif isinstance(module, AnimateDiffTransformer3D):
                replacement = MotionModule(
                    num_attention_heads=module.num_attention_heads,
                    attention_head_dim=module.attention_head_dim,
                    in_channels=module.in_channels,
                    norm_num_groups=motion_norm_num_groups or module.norm.num_groups,
                    max_seq_length=motion_max_seq_length,
                    num_context_frames=num_context_frames
                    if path.replace("motion_modules", "attentions") in modules
                    else 0,
                )
            elif clip_group_norm and is_convolution_norm(path, module):
                replacement = ClipGroupNorm(module.num_groups, module.num_channels, module.eps)
            else:
                continue
            self.set_submodule(path, replacement)
        self.enable_motion_modules(motion_modules_enabled)

    def _regional_audio_width(self, path: str) -> int:
        """Inner width of the audio transformer after a spatial one: what its layer takes in."""
        sizes = self.config.block_out_channels
        part, *numbers = [piece for piece in path.split(".") if piece != "attentions"]
        if part == "mid_block":
            return int(sizes[-1])
        block, layer = map(int, numbers)
        if part == "down_blocks":
            return int(sizes[block] if layer else sizes[max(0, block - 1)])
        return int(sizes[::-1][min(block + 1, len(sizes) - 1)])

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load as diffusers does, but refuse a checkpoint that lacks some of our weights.

        Raises:
            ValueError: for, e.g., an AnimateDiff UNet; start from it with `from_unet2d`.
        """
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        missing = [name for name, weight in model.named_parameters() if weight.is_meta]
        if missing:
            raise ValueError(
                f"The checkpoint lacks {len(missing)} weights of {cls.__name__}, the first being "
                f"{missing[0]}. To start from Stable Diffusion use `from_unet2d`."
            )
        return loaded

    @classmethod
    def from_unet2d(
        cls,
        unet: UNet2DConditionModel,
        motion_adapter: MotionAdapter | None = None,
        load_weights: bool = True,
        **config: Any,
    ) -> "TemporalUNet":
        """Start from Stable Diffusion 1.5 and, if given, an AnimateDiff motion adapter.

        New layers change nothing at first (our choice, so that training starts from the image
        prior): the style attention, the audio attention and, without an adapter, the motion modules
        have zero output weights. The reference attention starts as a copy of the self-attention.

        Args:
            unet: a 2-D UNet.
            motion_adapter: its blocks must fit those of `unet`.
            load_weights: copy weights, else only the configuration.
            config: `style_dim`, `num_style_tokens` and other fields to set.

        Raises:
            ValueError: if the adapter does not fit, or a weight of `unet` has no place here.
        """
        base = UNetMotionModel.from_unet2d(unet, motion_adapter, load_weights=load_weights)
        inherited = {key: base.config[key] for key in base.config if not key.startswith("_")}
        model: TemporalUNet = cls.from_config({**inherited, **config})
        if not load_weights:
            return model
        weights = base.state_dict()
        reference = model.conv_in.weight[:, base.config.in_channels :].detach()
        weights["conv_in.weight"] = torch.cat(
            [weights["conv_in.weight"], torch.zeros_like(reference)], dim=1
        )
        missing, unexpected = model.load_state_dict(weights, strict=False)
        ours = [
            *("attn_reference", "norm_reference", "attn_style", "norm_style", "style_projection"),
            *("modulation", "condition_embedding", "condition_in", "skip_weights", ".audio."),
        ]
        unknown = [key for key in missing if not any(part in key for part in ours)] + unexpected
        if unknown:
            raise ValueError(f"The 2-D UNet does not fit TemporalUNet; differing keys: {unknown}")
        for module in model.modules():
            if isinstance(module, PortraitTransformerBlock) and module.separate_reference:
                module.norm_reference.load_state_dict(module.norm1.state_dict())
                module.attn_reference.load_state_dict(module.attn1.state_dict())
        if motion_adapter is None:
            model.silence_motion()
        model.silence_audio()
        return model.to(unet.dtype)

    def silence_audio(self) -> None:
        """Make the audio add nothing at first, as befits new weights (our choice).

        What audio tokens of new weights add is noise. A net that starts with it learns first to
        make all tokens alike, and the audio is then ignored for long.
        """
        for module in self.modules():
            if isinstance(module, PortraitTransformerBlock):
                nn.init.zeros_(module.attn2.to_out[0].weight)
        if self.condition_embedding is not None:
            audio_columns = self.config.cross_attention_dim
            nn.init.zeros_(self.condition_embedding.linear_1.weight[:, :audio_columns])

    def silence_motion(self) -> None:
        """Make the motion modules add nothing, until they are trained."""
        for module in self.modules():
            if isinstance(module, MotionModule):
                nn.init.zeros_(module.proj_out.weight)
                nn.init.zeros_(module.proj_out.bias)

    def enable_motion_modules(self, enabled: bool = True) -> None:
        """Switch the motion modules on or off: without them every frame is predicted by itself."""
        self.register_to_config(motion_modules_enabled=enabled)
        for module in self.modules():
            if isinstance(module, MotionModule):
                module.enabled = enabled

    def fuse_qkv_projections(self) -> None:
        """Refuse: diffusers' fused processors would drop the reference and style attention.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("TemporalUNet does not support fused QKV projections.")

    def set_attention_backend(self, backend: str) -> None:
        """Refuse what would do nothing: attention is PyTorch's `scaled_dot_product_attention`.

        Raises:
            ValueError: for another backend than "native".
        """
        if backend != "native":
            raise ValueError(
                f'the attention backend {backend!r} would do nothing: only "native" is used here; '
                "`torch.nn.attention.sdpa_kernel` chooses among PyTorch's kernels."
            )

    @apply_lora_scale("cross_attention_kwargs")
    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float | int,
        encoder_hidden_states: torch.Tensor,
        style: torch.Tensor | None = None,
        reference_features: dict[str, torch.Tensor] | None = None,
        head_features: torch.Tensor | None = None,
        reference_latents: torch.Tensor | None = None,
        style_mask: torch.Tensor | None = None,
        reference_attention_scale: float = 1.0,
        audio_attention_scale: float = 1.0,
        style_attention_scale: float = 1.0,
        context_features: dict[str, torch.Tensor] | None = None,
        regional_audio: RegionalAudio | None = None,
        timestep_cond: torch.Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> UNetMotionOutput | tuple[torch.Tensor]:
        """Predict for a clip of noisy latents.

        A condition that is None is the null condition of guidance: attention over zeros.

        Args:
            sample: (batch, channels, frames, height, width); frames <= `motion_max_seq_length`.
            timestep: of the diffusion, a number or (batch,).
            encoder_hidden_states: audio tokens (batch * frames, tokens, cross_attention_dim); where
                the audio is regional, or there is none, tokens of the portrait, of as many rows as
                frames, clips, or one.
            style: (batch, style_dim), or (batch, frames, style_dim) for a style that changes.
            reference_features: of `ReferenceUNet`, each (rows, tokens, dim); as many rows as
                frames, clips, or one.
            head_features: of `HeadKeypointGuider`, (batch, block_out_channels[0], frames, height,
                width), added after `conv_in`.
            reference_latents: (batch or 1, reference_channels, height, width), of the portrait, or
                (batch or 1, reference_channels, frames, height, width), of a picture a frame.
            style_mask: (batch,), 0 where a clip has no style; used in training.
            reference_attention_scale: factor on the reference attention's output.
            audio_attention_scale: factor on the audio attention's output.
            style_attention_scale: factor on the style attention's output.
            context_features: of `ReferenceUNet`, of the `num_context_frames` pictures before the
                clip, each (batch or 1, num_context_frames, tokens, dim).
            regional_audio: tokens, masks and scales where `regional_audio_dim` is set.
            timestep_cond: (batch or 1, time_cond_proj_dim), the guidance scales, embedded, of a net
                that guidance was distilled into.
            cross_attention_kwargs: `scale`, a factor on the LoRAs; nothing else is used.
            return_dict: return a `UNetMotionOutput` rather than a tuple.

        Returns:
            The prediction, shaped as `sample`.

        Raises:
            ValueError: if what an option of the config needs is not given.
        """
        batch, _, frames = sample.shape[:3]
        if self.config.clip_group_norm and batch != 1:
            raise ValueError(f"With clip_group_norm a batch is one clip; got {batch}.")
        if self.config.regional_audio_dim and regional_audio is None:
            raise ValueError("A net with regional_audio_dim needs `regional_audio`.")
        if self.config.num_context_frames and context_features is None:
            raise ValueError("A net with num_context_frames needs `context_features`.")
        if (self.config.guidance_ranges is None) != (timestep_cond is None):
            raise ValueError("A net with guidance_ranges, and no other, needs `timestep_cond`.")
        if self.config.reference_attention == "self" and reference_attention_scale != 1:
            raise ValueError("Reference features in the self-attention have no scale of their own.")
        if style is None:
            style_tokens = sample.new_zeros(1, 1, self.config.cross_attention_dim)
        else:
            style_tokens = self.style_projection(style.reshape(-1, style.shape[-1]))
            if style_mask is not None:
                repeats = len(style_tokens) // batch
                style_tokens = style_tokens * style_mask.repeat_interleave(repeats)[:, None, None]
        channels = [sample]
        if self.config.reference_channels:
            size = (batch, self.config.reference_channels, frames, *sample.shape[3:])
            if reference_latents is None:
                channels.append(sample.new_zeros(size))
            elif reference_latents.ndim == 4:
                channels.append(reference_latents[:, :, None].expand(size))
            else:
                channels.append(reference_latents.expand(size))
        condition = None
        if self.condition_embedding is not None:
            audio = audio_attention_scale * encoder_hidden_states.mean(dim=1)
            pooled = style_attention_scale * style_tokens.mean(dim=1)
            # One style for all, one a clip, or one a frame.
            pooled = pooled.repeat_interleave(len(audio) // len(pooled), dim=0)
            condition = self.condition_embedding(torch.cat([audio, pooled], dim=1))
            shift = self.condition_in(condition).unflatten(0, (batch, frames)).transpose(1, 2)
            shift = shift[..., None, None].expand(-1, -1, -1, *sample.shape[3:])
            head_features = shift if head_features is None else head_features + shift
        if head_features is not None:
            channels.append(head_features)
        prediction: torch.Tensor = super().forward(
            torch.cat(channels, dim=1),
            timestep,
            encoder_hidden_states,
            timestep_cond,
            cross_attention_kwargs={
                "condition": condition,
                "style": style_tokens,
                "reference_features": reference_features,
                "context_features": context_features,
                "regional_audio": regional_audio,
                "num_frames": frames,
                "reference_attention_scale": reference_attention_scale,
                "audio_attention_scale": audio_attention_scale,
                "style_attention_scale": style_attention_scale,
            },
            return_dict=False,
        )[0]
        if self.skip_weights is not None:
            skipped = self._weigh_skip(channels[0], channels[1], timestep, timestep_cond)
            prediction = prediction + skipped
        return UNetMotionOutput(prediction) if return_dict else (prediction,)

    def _weigh_skip(
        self,
        sample: torch.Tensor,
        reference: torch.Tensor,
        timestep: torch.Tensor | float | int,
        timestep_cond: torch.Tensor | None,
    ) -> torch.Tensor:
        """Weighted sum of noisy and portrait latents, each (batch, channels, frames, h, w)."""
        timesteps = torch.as_tensor(timestep, device=sample.device).expand(len(sample))
        waves = self.time_proj(timesteps).to(sample.dtype)
        embedding = self.time_embedding(waves, timestep_cond)
        assert self.skip_weights is not None
        weights: torch.Tensor = self.skip_weights(F.silu(embedding))
        own, portrait = weights[:, :, None, None, None].chunk(2, dim=1)
        return own * sample + portrait * reference
