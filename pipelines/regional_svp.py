"""Videos whose audio acts by regions of the face, and which are made clip after clip: Hallo's.

Each clip sees the last frames of the one before. A checkpoint on the Hub carries this file beside
its pipeline, which imports it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import torch
from diffusers import AutoencoderKL, ModelMixin
from PIL import Image
from torch.nn import functional as F

from .conditions_svp import Conditions
from .guidance_svp import GuidancePass
from .head_pictures_svp import HeadPictures, draw_face_rectangle, stack_head_pictures

MASK_SIZE = 64  # at which regions are blurred
FACE_BLUR, LIPS_BLUR = 51, 31  # sizes of the filters
# Where lips lie in the face's rectangle, twice as wide and high as they are: left, top, right,
# bottom. (Our choice, the median of six painted portraits; Hallo asks MediaPipe each time.)
LIPS = (0.2, 0.61, 0.8, 0.79)


class RegionalAudio(NamedTuple):
    """What `TemporalUNet` takes as `regional_audio`; see there."""

    tokens: torch.Tensor
    masks: tuple[torch.Tensor, ...]
    scales: tuple[float, float, float]


@dataclass(frozen=True)
class RegionalConditions(Conditions):
    """Conditions of one clip of Hallo.

    The reference features are those of six pictures: portrait and two earlier frames, for the
    prediction without conditions, then again for the one with them.
    """

    can_batch: ClassVar[bool] = False

    identity_tokens: torch.Tensor  # (2, tokens, dim): of no face, of this face
    masks: tuple[torch.Tensor, ...]  # of `make_region_masks`

    def cut(self, start: int, stop: int) -> Self:
        """Those of a span of frames; a style that changes ends with the speech, before the clip."""
        style = self.style
        if style.ndim == 2:
            style = style[torch.arange(self.num_frames).clamp(max=len(style) - 1)]
        return super(RegionalConditions, replace(self, style=style)).cut(start, stop)

    def give(self, shown: GuidancePass, scales: dict[str, float]) -> dict[str, Any]:
        """What the UNet is given in one pass of guidance."""
        tokens, frames = self.audio_tokens, self.num_frames
        half = 3 if shown.portrait else 0
        # The published attention repeats both portraits frame by frame, so that they alternate.
        portraits = [0 if (frames + frame) % 2 == 0 else 3 for frame in range(frames)]
        features = self.reference_features
        regions = RegionalAudio(
            tokens if shown.audio else torch.zeros_like(tokens),
            self.masks,
            (scales["audio_attention_scale"],) * 3,
        )
        return {
            "encoder_hidden_states": self.identity_tokens[half // 3][None],
            "style": self.style[None] if shown.style else None,
            "reference_features": {name: each[portraits] for name, each in features.items()}
            if shown.portrait
            else None,
            "context_features": {
                name: each[None, half + 1 : half + 3] for name, each in features.items()
            },
            "head_features": self.head_features if shown.portrait else None,
            "regional_audio": regions,
            **scales,
            "audio_attention_scale": 1.0,  # of the identity's attention, which takes its place
        }


def make_region_masks(
    face: torch.Tensor, lips: torch.Tensor, height: int, width: int, levels: int
) -> tuple[torch.Tensor, ...]:
    """How much background, face and lips change at each place.

    Args:
        face: its place, (height, width), 0 or 1.
        lips: theirs.
        height: of the latents.
        width: of the latents.
        levels: sizes of the UNet; each halves the one before.

    Returns:
        One mask a level, (1, 3, height, width) in [0, 1].
    """
    face, lips = _blur(face, FACE_BLUR), _blur(lips, LIPS_BLUR)
    regions = torch.stack([255 - face, (face - lips).clamp(min=0), lips]).byte().numpy()
    masks = []
    for level in range(levels):
        size = (max(1, width >> level), max(1, height >> level))
        pictures = [
            np.array(Image.fromarray(region).resize(size, Image.Resampling.BILINEAR))
            for region in regions
        ]
        masks.append(torch.from_numpy(np.stack(pictures)).float()[None] / 255)
    return tuple(masks)


def _blur(region: torch.Tensor, size: int) -> torch.Tensor:
    """A region at `MASK_SIZE`, blurred and stretched to whole numbers from 0 to 255.

    The filter is OpenCV's Gaussian of that size.
    """
    sigma = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    place = torch.arange(size) - (size - 1) / 2
    kernel = torch.exp(-(place**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum())[None, None, None]
    small = F.interpolate(region.float()[None, None], (MASK_SIZE, MASK_SIZE), mode="bilinear")
    padded = F.pad((small * 255).round(), [size // 2] * 4, mode="reflect")
    blurred = F.conv2d(F.conv2d(padded, kernel), kernel.transpose(2, 3))[0, 0].round()
    span = (blurred.max() - blurred.min()).clamp(min=1)
    return ((blurred - blurred.min()) / span * 255).floor()


def find_regions(picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Face and lips (height, width), 0 or 1, of a picture (3, height, width) of the face's place.

    A black picture says nothing, and then the face is where it usually is.
    """
    height, width = picture.shape[1:]
    face = (picture[0] > 0.5).float()
    if not face.any():
        face = draw_face_rectangle(height, width)[0, 0]
    rows, columns = (face.any(dim=dim).nonzero()[:, 0] for dim in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    tall, wide = int(rows[-1]) + 1 - top, int(columns[-1]) + 1 - left
    lips = torch.zeros_like(face)
    lips[
        top + round(LIPS[1] * tall) : top + round(LIPS[3] * tall),
        left + round(LIPS[0] * wide) : left + round(LIPS[2] * wide),
    ] = 1
    return face, lips


class RegionalMixin:
    """What a pipeline with the components named here does for a UNet of clips."""

    config: Any
    vae: AutoencoderKL
    unet: ModelMixin
    reference_unet: ModelMixin
    face_projector: ModelMixin | None
    decode_latents: Callable[..., Iterator[torch.Tensor]]
    _execution_device: torch.device

    @property
    def makes_clips(self) -> bool:
        """Whether videos are made clip after clip."""
        return bool(self.unet.config.get("num_context_frames"))

    def plan_clips(self, num_frames: int, context_length: int) -> list[tuple[int, int]]:
        """The spans of frames that are denoised one after another."""
        if not self.makes_clips:
            return [(0, num_frames)]
        return [(start, start + context_length) for start in range(0, num_frames, context_length)]

    def fill_clips(self, num_frames: int, context_length: int) -> int:
        """Frames that are made for so many: of whole clips, if there are clips."""
        return self.plan_clips(num_frames, context_length)[-1][1]

    def add_regions(
        self,
        conditions: Conditions,
        pictures: HeadPictures,
        face_embedding: torch.Tensor | np.ndarray | None,
    ) -> RegionalConditions:
        """Add the identity and the regions of the face, which stay where they are.

        Args:
            conditions: of a video.
            pictures: of the face's place; the first counts.
            face_embedding: of a face-recognition net, (embed_dim,); None is nobody's.
        """
        assert self.face_projector is not None
        assert conditions.head_features is not None
        null = torch.zeros(2, self.face_projector.config.embed_dim)
        if face_embedding is not None:
            null[1] = torch.as_tensor(face_embedding)
        device, dtype = self._execution_device, self.unet.dtype
        tokens = self.face_projector(null.to(device, self.face_projector.dtype)).to(dtype)
        height, width = conditions.reference_latents.shape[-2:]
        levels = len(self.unet.config.block_out_channels)
        regions = find_regions(stack_head_pictures(pictures[:1])[0])
        masks = make_region_masks(*regions, height, width, levels)
        return RegionalConditions(
            **{**vars(conditions), "head_features": conditions.head_features[:, :, :1]},
            identity_tokens=tokens,
            masks=tuple(mask.to(device, dtype) for mask in masks),
        )

    def start_clip(
        self, conditions: Conditions, latents: torch.Tensor, start: int, stop: int
    ) -> Conditions:
        """The conditions of a span of frames.

        Args:
            conditions: of the whole video.
            latents: of the whole video, (channels, frames, height, width), clean before `start`.
            start: first frame of the span.
            stop: frame after its last.
        """
        if not isinstance(conditions, RegionalConditions):
            return conditions
        number = self.unet.config.num_context_frames
        portrait = conditions.reference_latents
        earlier = portrait.expand(number, -1, -1, -1)
        if start:
            shown = list(self.decode_latents(latents[:, start - number : start]))
            pixels = (torch.cat(shown) * 2 - 1).to(self.vae.dtype)
            earlier = self.vae.encode(pixels).latent_dist.mode() * self.vae.config.scaling_factor
        pictures = torch.cat([portrait, earlier.to(portrait)])
        # The published net repeats the two identities over the six pictures in turn.
        tokens = conditions.identity_tokens.repeat(len(pictures), 1, 1)
        dtype = self.reference_unet.dtype
        features = self.reference_unet(pictures.repeat(2, 1, 1, 1).to(dtype), tokens.to(dtype))
        features = {name: each.to(portrait.dtype) for name, each in features.items()}
        return replace(conditions.cut(start, stop), reference_features=features)

    def check_face_embedding(self, face_embedding: torch.Tensor | np.ndarray | None) -> None:
        """Raise `ValueError` unless the checkpoint takes such an embedding."""
        if face_embedding is None:
            return
        if self.face_projector is None:
            raise ValueError("This checkpoint takes no `face_embedding`.")
        wanted = (self.face_projector.config.embed_dim,)
        is_finite = torch.as_tensor(face_embedding).isfinite().all()
        if tuple(face_embedding.shape) != wanted or not is_finite:
            raise ValueError(
                f"`face_embedding` must be finite and {wanted}, got {tuple(face_embedding.shape)}."
            )
