"""The portrait's own detail for SVP: what its VAE loses, put back where a frame agrees with it.

A frame is the picture that the VAE would make of the portrait, but where something moved: there,
and at the mouth, it is left as it is. Detail is taken from where it lies in the portrait, and from
where the head has moved it. Frames may come out larger than they were generated, and in no colours
but the portrait's: one without colour stays so. Everything here is our choice. A checkpoint on the
Hub carries this file beside its pipeline, which imports it.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch.nn import functional as F

MOST_DETAIL = 8
"""The largest factor of the size."""
AGREEMENT = 0.04
"""Standard deviation of a difference, in [0, 1], up to which a frame agrees with the portrait."""
BLUR = 3 / 256
"""Radius of the square that is averaged for it, as a share of the frame's width."""
SMOOTH = 1 / 16
"""Size of what counts as light and colour and not as detail, likewise."""
HEAD = 2.4
"""Reach of what moves with the head, from below the eyes, in distances of the eyes."""
HEAD_CENTRE = 0.3
"""How far below the eyes its centre lies, likewise."""
MOUTH = (0.52, 0.36)
"""Half axes of the ellipse of the mouth, across and down, in distances of the eyes: what a portrait
has there would hold the lips where they were."""
MOUTH_CENTRE = 1.02
"""How far below the eyes its centre lies, likewise."""
SURENESS = 4
"""Power of the agreement with which one of the two places is preferred."""
LUMA = (0.2126, 0.7152, 0.0722)
"""Of red, green and blue in the light of a pixel."""
COLOUR_MARGIN = 1 / 255
"""How far beyond the portrait's own a frame's colours may lie, in [0, 1]."""
LEAST = 1e-6  # of what each counts, where a frame agrees with neither


class _Seen(NamedTuple):
    """The portrait as it lies in frames: see `PortraitDetail`, with a first dimension of frames or
    one; how likely each place shows it, and 0 at its mouth, (n or 1, 1, height, width)."""

    reconstruction: torch.Tensor
    light: torch.Tensor
    fine: torch.Tensor
    likely: torch.Tensor
    silent: torch.Tensor


@dataclass(frozen=True)
class PortraitDetail:
    """What the VAE loses of a portrait; made by `measure_detail`.

    reconstruction: what the VAE gives back, (3, height, width) in [0, 1]
    light: what it lacks of light and colour, smooth, likewise
    fine: what it lacks besides, (3, scale * height, scale * width)
    keypoints: of the head in the portrait, (8, 2) in pixels of `reconstruction`, if they are known
    colours: least and most of its red and its blue over its light, (2, 2)
    """

    reconstruction: torch.Tensor
    light: torch.Tensor
    fine: torch.Tensor
    keypoints: torch.Tensor | None
    colours: torch.Tensor

    def restore(self, frames: torch.Tensor, keypoints: torch.Tensor | None) -> torch.Tensor:
        """Put the detail into frames.

        Args:
            frames: (n, 3, height, width) in [0, 1], on the device of the detail.
            keypoints: of the head in the frames, (n, 8, 2) in their pixels; None of a still head.

        Returns:
            (n, 3, scale * height, scale * width) in [0, 1], float32.
        """
        frames, size = frames.float(), self.fine.shape[1:]
        seen = [self._see_still(frames)]
        if keypoints is not None and self.keypoints is not None:
            moved = self._see_moved(self.keypoints, keypoints.to(self.keypoints), frames)
            silent = seen[0].silent * moved.silent
            seen = [seen[0]._replace(likely=1 - moved.likely, silent=silent), moved]
        amounts = [_agree(frames, each.reconstruction) * each.silent for each in seen]
        shares = [
            each.likely * amount**SURENESS + LEAST
            for each, amount in zip(seen, amounts, strict=True)
        ]
        whole = torch.stack(shares).sum(dim=0)
        light = torch.zeros_like(frames)
        result = F.interpolate(frames, size, mode="bicubic", align_corners=False)
        for each, amount, share in zip(seen, amounts, shares, strict=True):
            light = light + _smooth(share / whole) * each.light
            weight = share / whole * amount
            result = result + F.interpolate(weight, size, mode="bilinear") * each.fine
        result = result + F.interpolate(light, size, mode="bilinear")
        return _limit_colours(result, *self.colours).clamp(0, 1)

    def _see_still(self, frames: torch.Tensor) -> _Seen:
        """Where it lies in the portrait."""
        everywhere = silent = frames.new_ones(1, 1, *frames.shape[2:])
        if self.keypoints is not None:
            silent = 1 - _find_mouth(self.keypoints[None], frames.shape[2:])
        return _Seen(
            self.reconstruction[None], self.light[None], self.fine[None], everywhere, silent
        )

    def _see_moved(
        self, portrait: torch.Tensor, keypoints: torch.Tensor, frames: torch.Tensor
    ) -> _Seen:
        """Where the head has moved it."""
        size = frames.shape[2:]
        moves = _find_moves(portrait, keypoints)
        grid = _make_grid(moves, size, size)
        inside = (grid.abs() <= 1).all(dim=3)[:, None]
        return _Seen(
            _move(self.reconstruction, grid),
            _move(self.light, grid),
            _move(self.fine, _make_grid(moves, size, self.fine.shape[1:])),
            _reach(keypoints, size) * inside,
            1 - _find_mouth(keypoints, size),
        )


@dataclass(frozen=True)
class VideoDetail:
    """The detail of a video.

    portrait: whose it is
    keypoints: of the head in each frame, (frames, 8, 2) in pixels of the frames that are generated;
        None if it is still, or they are not known
    """

    portrait: PortraitDetail
    keypoints: torch.Tensor | None

    def cut(self, start: int, stop: int) -> Self:
        """That of some frames."""
        keypoints = self.keypoints
        return type(self)(self.portrait, None if keypoints is None else keypoints[start:stop])

    def restore(self, frames: torch.Tensor) -> torch.Tensor:
        """Put it into all frames, see `PortraitDetail`."""
        return self.portrait.restore(frames, self.keypoints)


def measure_detail(
    portrait: torch.Tensor, reconstruction: torch.Tensor, keypoints: torch.Tensor | None
) -> PortraitDetail:
    """Find what a reconstruction lacks.

    Args:
        portrait: (3, scale * height, scale * width) in [0, 1].
        reconstruction: of the same, smaller, by the VAE: (3, height, width) in [0, 1].
        keypoints: of the head, (8, 2) in pixels of the reconstruction, if they are known.
    """
    portrait, given = portrait.float(), reconstruction.float().to(portrait.device)
    small = F.interpolate(portrait[None], given.shape[1:], mode="area")
    light = _smooth(small - given)
    enlarged = F.interpolate(given[None], portrait.shape[1:], mode="bicubic", align_corners=False)
    light_of_all = F.interpolate(light, portrait.shape[1:], mode="bilinear")
    fine = portrait - (enlarged + light_of_all)[0]
    points = None if keypoints is None else keypoints.to(portrait)
    colours = _find_colours(portrait[None])[1][0].flatten(1)
    colours = torch.stack(
        [colours.amin(dim=1) - COLOUR_MARGIN, colours.amax(dim=1) + COLOUR_MARGIN]
    )
    return PortraitDetail(given, light[0], fine, points, colours)


def _find_colours(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Light (n, 1, height, width) of pictures, and their red and blue over it, (n, 2, ...)."""
    shares = pictures.new_tensor(LUMA)[:, None, None]
    light = (shares * pictures).sum(dim=1, keepdim=True)
    return light, pictures[:, ::2] - light


def _limit_colours(pictures: torch.Tensor, least: torch.Tensor, most: torch.Tensor) -> torch.Tensor:
    """Keep red and blue over the light within (2,) each; the light stays."""
    light, colours = _find_colours(pictures)
    red, blue = colours.clamp(least[:, None, None], most[:, None, None]).split(1, dim=1)
    green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
    return light + torch.cat([red, green, blue], dim=1)


def _smooth(pictures: torch.Tensor) -> torch.Tensor:
    """What is smooth of pictures (n, channels, height, width)."""
    height, width = pictures.shape[2:]
    size = max(1, round(SMOOTH * width))
    small = (max(1, height // size), max(1, width // size))
    coarse = F.adaptive_avg_pool2d(pictures, small)
    return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def _agree(frames: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
    """How far frames agree with pictures, whatever the light: (n, 1, height, width) in [0, 1]."""
    difference = frames - pictures
    difference = difference - _smooth(difference)
    radius = max(1, round(BLUR * frames.shape[3]))
    error = difference.square().mean(dim=1, keepdim=True)
    error = F.avg_pool2d(error, 2 * radius + 1, 1, radius, count_include_pad=False)
    return torch.exp(-error / (2 * AGREEMENT**2))


def _find_moves(portrait: torch.Tensor, keypoints: torch.Tensor) -> torch.Tensor:
    """The affine maps (n, 2, 3) that take pixels of frames to those of the portrait.

    Args:
        portrait: its keypoints, (points, 2).
        keypoints: of the frames, (n, points, 2).
    """
    points = keypoints.double().cpu()  # few numbers, of which the solution must be exact
    ones = torch.ones_like(points[..., :1])
    target = portrait.double().cpu().expand(len(points), -1, -1)
    solved = torch.linalg.lstsq(torch.cat([points, ones], dim=2), target).solution
    return solved.transpose(1, 2).to(keypoints)


def _make_grid(moves: torch.Tensor, generated: torch.Size, size: torch.Size) -> torch.Tensor:
    """Where `grid_sample` finds each pixel of frames of a size, (n, height, width, 2).

    Args:
        moves: of `_find_moves`, in pixels of the frames that are generated.
        generated: height and width of these.
        size: height and width of the frames to fill.
    """
    height, width = size
    down = (torch.arange(height, device=moves.device) + 0.5) * generated[0] / height - 0.5
    across = (torch.arange(width, device=moves.device) + 0.5) * generated[1] / width - 0.5
    y, x = torch.meshgrid(down, across, indexing="ij")
    along_x, along_y, shift = moves[:, None, None].unbind(dim=4)
    # Not a product of matrices, which autocast would round.
    found = x[..., None].to(moves) * along_x + y[..., None].to(moves) * along_y + shift
    whole = found.new_tensor([generated[1], generated[0]])
    return (2 * found + 1) / whole - 1


def _move(picture: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """A picture (channels, height, width) as it is seen through a grid, (n, channels, ...)."""
    return F.grid_sample(
        picture.expand(len(grid), -1, -1, -1), grid, padding_mode="border", align_corners=False
    )


def _reach(keypoints: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """How far each place moves with the head, (n, 1, height, width) in [0, 1]."""
    across, down = _place(keypoints, size)
    return _fill(across / HEAD, (down - HEAD_CENTRE) / HEAD)


def _find_mouth(keypoints: torch.Tensor, size: torch.Size) -> torch.Tensor:
    """The place of the mouth, (n, 1, height, width) in [0, 1]."""
    across, down = _place(keypoints, size)
    return _fill(across / MOUTH[0], (down - MOUTH_CENTRE) / MOUTH[1])


def _place(keypoints: torch.Tensor, size: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
    """How far each place lies to the right of the middle of the eyes, and below it, as the head is
    held, in distances of the eyes: both (n, height, width)."""
    left, right = keypoints[:, 6], keypoints[:, 7]
    eyes = (right - left)[:, :, None, None]
    middle = ((left + right) / 2)[:, :, None, None]
    y = torch.arange(size[0], device=keypoints.device)[:, None] - middle[:, 1]
    x = torch.arange(size[1], device=keypoints.device) - middle[:, 0]
    unit = eyes.square().sum(dim=1).clamp(min=1e-6)  # of eyes in one point
    return (x * eyes[:, 0] + y * eyes[:, 1]) / unit, (y * eyes[:, 0] - x * eyes[:, 1]) / unit


def _fill(across: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """1 inside the circle of radius 1 and 0 outside, with a soft rim: (n, 1, height, width)."""
    return torch.exp(-(torch.hypot(across, down) ** 6))[:, None]
