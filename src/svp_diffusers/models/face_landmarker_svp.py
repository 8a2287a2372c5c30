"""Google's Face Landmarker in plain PyTorch: two face detectors, a mesh and 52 coefficients.

    picture -> detectors -> rectangles -> mesh (478 landmarks) -> coefficients
                                                               -> head pose

The networks are those of MediaPipe (Apache-2.0): BlazeFace for faces near the camera (arXiv
1907.05047) and its full-range successor, the attention-free Face Mesh V2 (1907.06724), and an MLP
mixer from landmarks to coefficients (2309.05782). What surrounds them follows MediaPipe 1.2.

Pictures are (n, 3, height, width) in [-1, 1]. Points are x, y in pixels of the picture, where a
whole number is the centre of a pixel. Left and right are the picture's, but for the coefficients,
whose names mean the subject's.

This file is self-contained, because a checkpoint on the Hub carries it beside its weights.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

__all__ = ["FaceLandmarker", "ModelMixin"]  # diffusers looks for `ModelMixin` there

# Lids of the eye at the left of the picture (the subject's right one) and of the other.
LEFT_LIDS = [33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246]
RIGHT_LIDS = [263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466]
OUTER_CORNERS = [33, 263]  # of the eyes
HEAD8 = [127, 234, 454, 356, 168, 197]  # temples and ears from left to right, bridge of the nose
NOSE = [1, 4]
# The landmarks that the coefficients are read from: eyes, brows, nose, mouth, oval and irises.
# fmt: off
BLENDSHAPE_LANDMARKS = [
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65,
    66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136,
    144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172,
    173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283,
    284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324,
    332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385,
    386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, *range(468, 478),
]
# fmt: on
LANDMARKS = 478
MESH_VERTICES = 468  # landmarks but the irises: those of the canonical mesh

MARGIN = 1.5  # the mesh sees a face's box enlarged by that
MAXIMUM_OVERLAP = 0.3  # intersection over union, beyond which two boxes are one face
SMALL_FACE = 0.25  # of the picture's longer side; our choice: the short range loses faces below .15
FIELD_OF_VIEW = 63.0  # degrees, vertical; the camera that MediaPipe takes the picture to be from
DETECTION_THRESHOLD = 0.3  # least score, for faces whose presence is looked at afterwards
PRESENCE_THRESHOLD = 0.5  # MediaPipe's least presence of a face in a rectangle


@dataclass(frozen=True)
class FaceDetections:
    """The k faces that a detector found in one picture, the largest first.

    boxes: (k, 4) left, top, right, bottom in pixels, from the brows to the chin
    keypoints: (k, 6, 2) pixels: eyes, nose, mouth and ears, the left of the picture first
    scores: (k,) in [0, 1]
    """

    boxes: Tensor
    keypoints: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, index: int | slice | Tensor) -> "FaceDetections":
        """Some of the faces; an index that is a slice, numbers or a mask."""
        return FaceDetections(self.boxes[index], self.keypoints[index], self.scores[index])

    def rectangles(self) -> Tensor:
        """What the mesh should see of each face: (k, 5), see `FaceLandmarker.forward`."""
        corners, other = self.boxes[:, :2], self.boxes[:, 2:]
        return _rectangles((corners + other) / 2, MARGIN * (other - corners), self.keypoints[:, :2])


@dataclass(frozen=True)
class FaceLandmarks:
    """n faces.

    landmarks: (n, 478, 3) x, y in pixels of the picture; z grows away from the camera, in about the
        same unit, from the centre of the head
    presence: (n,) in [0, 1], how surely there is a face in the rectangle
    blendshapes: (n, 52) in [0, 1], in the order of the model's `coefficient_names`
    pose: (n, 4, 4) from the canonical head (cm; x to the right of the picture, y up, z to the
        camera) to the camera's space of the same axes; a rotation times a scale of about 1, and a
        translation
    """

    landmarks: Tensor
    presence: Tensor
    blendshapes: Tensor
    pose: Tensor

    def __len__(self) -> int:
        return len(self.landmarks)

    def __getitem__(self, index: slice | Tensor) -> "FaceLandmarks":
        """Some of the faces; an index that is a slice, numbers or a mask."""
        return FaceLandmarks(*(getattr(self, field.name)[index] for field in fields(self)))

    def boxes(self) -> Tensor:
        """(n, 4) left, top, right, bottom of the landmarks in pixels: hairline to chin."""
        points = self.landmarks[..., :2]
        return torch.cat([points.amin(1), points.amax(1)], dim=-1)

    def rectangles(self) -> Tensor:
        """What the mesh should see of each face in the next frame, or a second time: (n, 5)."""
        corners, other = self.boxes().chunk(2, dim=-1)
        side = MARGIN * (other - corners).amax(-1, keepdim=True)
        eyes = self.landmarks[:, OUTER_CORNERS, :2]
        return _rectangles((corners + other) / 2, side.expand(-1, 2), eyes)

    def head_keypoints(self, layout: str = "head8") -> Tensor:
        """The points that move with the head: (n, 8, 2), or (n, 3, 2) with the layout "v3".

        Raises `ValueError` for another layout.
        """
        points = self.landmarks[..., :2]
        eyes = torch.stack([points[:, LEFT_LIDS].mean(1), points[:, RIGHT_LIDS].mean(1)], dim=1)
        if layout == "head8":
            return torch.cat([points[:, HEAD8], eyes], dim=1)
        if layout == "v3":
            return torch.cat([eyes, points[:, NOSE].mean(1, keepdim=True)], dim=1)
        raise ValueError(f'the layout must be "head8" or "v3", got {layout!r}.')


class FaceLandmarker(ModelMixin, ConfigMixin):
    """Finds faces, their landmarks, expressions and poses.

    The networks run in the dtype of their weights, on their device; coordinates are computed in the
    dtype of the rectangles. Landmarks, coefficients and pose are differentiable to the pixels.

    Args:
        coefficient_names: of the 52 outputs. The network gives the first 51; for the last,
            `tongueOut`, it has nothing, which is 0.
        expression_space: the space in which those names are.
    """

    # They take the dtype of their weights for that of their input.
    _skip_layerwise_casting_patterns: ClassVar = ["blendshapes"]

    @register_to_config
    def __init__(
        self, coefficient_names: tuple[str, ...], expression_space: str = "arkit52"
    ) -> None:
        super().__init__()
        self.short_range_detector = ShortRangeDetector()
        self.full_range_detector = FullRangeDetector()
        self.mesh = MeshNetwork()
        self.blendshapes = BlendshapeNetwork()
        self.canonical_mesh: Tensor
        self.procrustes_weights: Tensor
        self.register_buffer("canonical_mesh", torch.zeros(MESH_VERTICES, 3))  # cm
        self.register_buffer("procrustes_weights", torch.zeros(MESH_VERTICES))

    @apply_forward_hook
    @torch.no_grad()
    def detect(self, images: Tensor, threshold: float = 0.5) -> list[FaceDetections]:
        """Find the faces of each picture.

        The short-range detector looks first. Where it finds nothing, or a face that is small, under
        a quarter of the picture's longer side, the full-range one says where the faces are, from
        about 1/25 of the longer side on, and the first adds what the other has not seen.

        Args:
            images: (n, 3, height, width) in [-1, 1].
            threshold: the least score.

        Returns:
            n detections; those of a picture without a face have length 0.

        Raises:
            ValueError: the pictures have another shape, or are not floating-point.
        """
        _check_images(images)
        size = max(images.shape[-2:])
        detections = self._detect(self.short_range_detector, images, threshold)
        unsure = [
            index
            for index, found in enumerate(detections)
            if len(found) == 0 or _widths(found.boxes).amin() < SMALL_FACE * size
        ]
        if unsure:
            more = self._detect(self.full_range_detector, images[unsure], threshold)
            for index, found in zip(unsure, more, strict=True):
                detections[index] = _add_detections(found, detections[index])
        return [found[_widths(found.boxes).argsort(descending=True)] for found in detections]

    @apply_forward_hook
    @torch.no_grad()
    def find_landmarks(self, image: Tensor) -> tuple["FaceLandmarks", Tensor]:
        """Find all faces of one picture with their landmarks, the largest first.

        A detector may be asked for more than MediaPipe's surest half, since what it only took for a
        face is not present in the rectangle that it gives (our choice).

        Args:
            image: (1, 3, height, width) in [-1, 1].

        Returns:
            n faces, of which there may be none, and the scores (n,) of their detection.

        Raises:
            ValueError: as `detect`.
        """
        found = self.detect(image, DETECTION_THRESHOLD)[0]
        faces = self(image.expand(len(found), -1, -1, -1), found.rectangles())
        present = faces.presence >= PRESENCE_THRESHOLD
        # The landmarks say better than a detector where to look.
        rectangles, scores = faces[present].rectangles(), found.scores[present]
        faces = self(image.expand(len(rectangles), -1, -1, -1), rectangles)
        corners, others = faces.boxes().chunk(2, dim=-1)
        order = (others - corners).prod(-1).argsort(descending=True)
        return faces[order], scores[order]

    def _detect(
        self, detector: "ShortRangeDetector | FullRangeDetector", images: Tensor, threshold: float
    ) -> list[FaceDetections]:
        height, width = images.shape[-2:]
        side = max(height, width)
        # float16 does not even count the pixels of a large picture.
        images = images.to(torch.promote_types(images.dtype, torch.float32))
        crops = _fit_square(images, detector.size, detector.smoothed)
        logits, boxes, keypoints = (out.to(images) for out in detector(crops.to(self.dtype)))
        corner = images.new_tensor([(width - side) / 2, (height - side) / 2])
        candidates = FaceDetections(
            boxes * side + corner.repeat(2), keypoints * side + corner, logits.sigmoid()
        )
        return [
            _suppress(candidates[index][candidates.scores[index] >= threshold])
            for index in range(len(images))
        ]

    def forward(self, images: Tensor, rectangles: Tensor) -> FaceLandmarks:
        """Find the landmarks of one face in each picture.

        Args:
            images: (n, 3, height, width) in [-1, 1]. For several faces of one picture, `expand` it.
            rectangles: (n, 5) centre x, centre y, width, height in pixels and the angle in radians
                by which it is turned clockwise: those of `FaceDetections` or of `FaceLandmarks`.

        Raises:
            ValueError: the pictures or the rectangles have another shape, or the pictures are not
                floating-point.
        """
        _check_images(images)
        if rectangles.shape != (len(images), 5):
            raise ValueError(
                f"`rectangles` must be ({len(images)}, 5), one for each picture, "
                f"got {tuple(rectangles.shape)}."
            )
        crops = crop(images, rectangles, MeshNetwork.size, "border")
        return self.read_crops(crops, rectangles, *images.shape[-2:])

    @apply_forward_hook
    def read_crops(
        self, crops: Tensor, rectangles: Tensor, height: int, width: int
    ) -> FaceLandmarks:
        """What `forward` finds in pictures of one size, of which only the rectangles are at hand.

        Args:
            crops: (n, 3, 256, 256) in [-1, 1], as `crop` cuts them.
            rectangles: (n, 5) where they were in the pictures.
            height: of the pictures, in pixels.
            width: likewise.
        """
        points, presence = self.mesh(((crops + 1) / 2).to(self.dtype))
        landmarks = _from_crop(points.to(rectangles) / MeshNetwork.size, rectangles)
        coefficients = self.blendshapes(landmarks[:, BLENDSHAPE_LANDMARKS, :2]).to(rectangles)
        return FaceLandmarks(
            landmarks=landmarks,
            presence=presence.to(rectangles).sigmoid(),
            # The first is "neutral", which is no coefficient of ARKit; the last is `tongueOut`.
            blendshapes=F.pad(coefficients[:, 1:], (0, 1)),
            pose=self.estimate_pose(landmarks, height, width),
        )

    def estimate_pose(self, landmarks: Tensor, height: int, width: int) -> Tensor:
        """The pose (n, 4, 4) that lays the canonical mesh over landmarks (n, 478, 3).

        A weighted Procrustes fit, as MediaPipe's `geometry_pipeline`: the scale of the face gives
        its distance from a camera of 63 degrees, the distance the perspective that is then undone.
        Fitted to the scale of a flat picture first and to that of the unprojected points second.
        """
        near_height = 2 * torch.tan(torch.deg2rad(landmarks.new_tensor(FIELD_OF_VIEW)) / 2)
        # The picture on a plane at distance 1, y up; z is still relative.
        points = landmarks[:, :MESH_VERTICES] - landmarks.new_tensor([width / 2, height / 2, 0])
        points = points * landmarks.new_tensor([1, -1, 1]) * (near_height / height)
        depth = points[..., 2:] - landmarks[..., 2].mean(-1)[:, None, None] * near_height / height
        scale = self._fit_canonical_mesh(_towards_camera(points))[:, :3, 0].norm(dim=-1)
        first = _unproject(points, depth, scale)
        scale = scale * self._fit_canonical_mesh(first)[:, :3, 0].norm(dim=-1)
        return self._fit_canonical_mesh(_unproject(points, depth, scale))

    def _fit_canonical_mesh(self, points: Tensor) -> Tensor:
        """The similarity (n, 4, 4) of the least weighted squares to points (n, 468, 3)."""
        weights = self.procrustes_weights.to(points)[:, None]
        weights = weights / weights.sum()
        source = self.canonical_mesh.to(points)
        source_mean, mean = (weights * source).sum(0), (weights * points).sum(1)
        source = source - source_mean
        centred = points - mean[:, None]
        u, _, vh = torch.linalg.svd(centred.mT @ (weights * source))
        sign = torch.ones_like(mean)
        sign[:, 2] = torch.linalg.det(u @ vh).sign()
        rotation = (u * sign[:, None]) @ vh
        aligned = source @ rotation.mT
        scale = (weights * aligned * centred).sum((1, 2)) / (weights * source.square()).sum()
        linear = scale[:, None, None] * rotation
        pose = torch.eye(4, device=points.device, dtype=points.dtype).repeat(len(points), 1, 1)
        pose[:, :3, :3] = linear
        pose[:, :3, 3] = mean - linear @ source_mean
        return pose


def _check_images(images: Tensor) -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            "pictures must be floating-point (n, 3, height, width) in [-1, 1], "
            f"got {images.dtype} {tuple(images.shape)}."
        )


def crop(images: Tensor, rectangles: Tensor, size: int, padding_mode: str) -> Tensor:
    """Cut turned rectangles (n, 5) of (n, c, height, width), bilinear: (n, c, size, size).

    What lies outside the picture is 0 ("zeros") or the nearest pixel ("border"). Computed in the
    dtype of the rectangles.
    """
    height, width = images.shape[-2:]
    # grid_sample's -1 and 1 are the outer edges of the outermost pixels.
    extent = rectangles.new_tensor([width, height])
    centre, sides, angle = rectangles.split((2, 2, 1), dim=-1)
    cos, sin = angle.cos(), angle.sin()
    steps = torch.arange(size, device=rectangles.device, dtype=rectangles.dtype) / size - 0.5
    right = steps[:, None] * (torch.cat([cos, sin], -1) * 2 * sides[:, :1] / extent)[:, None]
    down = steps[:, None] * (torch.cat([-sin, cos], -1) * 2 * sides[:, 1:] / extent)[:, None]
    origin = (2 * centre + 1) / extent - 1
    return F.grid_sample(
        images.to(rectangles.dtype),
        (origin[:, None] + down)[:, :, None] + right[:, None],
        padding_mode=padding_mode,
        align_corners=False,
    )


def _fit_square(images: Tensor, size: int, smoothed: bool) -> Tensor:
    """Whole pictures in the middle of a black square (n, 3, size, size), all in [-1, 1]."""
    if smoothed:
        scale = size / max(images.shape[-2:])
        fitted = [max(1, round(scale * side)) for side in images.shape[-2:]]
        images = F.interpolate(images, fitted, mode="bilinear", antialias=True)
    height, width = images.shape[-2:]
    side = max(height, width)
    square = images.new_tensor([width / 2, height / 2, side, side, 0]).expand(len(images), 5)
    return crop(images + 1, square, size, "zeros") - 1


def _from_crop(points: Tensor, rectangles: Tensor) -> Tensor:
    """Points (n, k, 2 or 3), 0..1 of a rectangle's sides, as pixels of the picture.

    A depth is a share of the rectangle's width.
    """
    centre, sides, angle = rectangles[:, None].split((2, 2, 1), dim=-1)
    x, y = ((points[..., :2] - 0.5) * sides).split(1, dim=-1)
    cos, sin = angle.cos(), angle.sin()
    turned = torch.cat([cos * x - sin * y, sin * x + cos * y], dim=-1) + centre
    return torch.cat([turned, points[..., 2:] * sides[..., :1]], dim=-1)


def _rectangles(centres: Tensor, sides: Tensor, eyes: Tensor) -> Tensor:
    """Rectangles (n, 5) whose angle makes the line through both eyes (n, 2, 2) level."""
    x, y = (eyes[:, 1] - eyes[:, 0]).unbind(-1)
    return torch.cat([centres, sides, torch.atan2(y, x)[:, None]], dim=-1)


def _towards_camera(points: Tensor) -> Tensor:
    return points * points.new_tensor([1, 1, -1])


def _unproject(points: Tensor, depth: Tensor, scale: Tensor) -> Tensor:
    """Points of the plane at distance 1 where they lie in space, if a face is of that scale."""
    distance = (depth + 1) / scale[:, None, None]
    return torch.cat([points[..., :2] * distance, -distance], dim=-1)


def _widths(boxes: Tensor) -> Tensor:
    return boxes[:, 2] - boxes[:, 0]


def _overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of boxes (j, 4) and others (k, 4): (j, k)."""
    corner = torch.maximum(boxes[:, None, :2], others[:, :2])
    inner = (torch.minimum(boxes[:, None, 2:], others[:, 2:]) - corner).clamp(min=0).prod(-1)
    area, other = ((b[:, 2:] - b[:, :2]).prod(-1) for b in (boxes, others))
    return inner / (area[:, None] + other - inner)


def _suppress(candidates: FaceDetections) -> FaceDetections:
    """One detection per face: the mean of all that overlap the best, weighted by their scores."""
    boxes, keypoints, scores = candidates.boxes, candidates.keypoints, candidates.scores
    order = scores.argsort(descending=True)
    overlapping = _overlaps(boxes, boxes) > MAXIMUM_OVERLAP
    faces = []
    while len(order):
        same = overlapping[order[0], order]
        same[0] = True
        group = order[same]
        weights = scores[group] / scores[group].sum()
        faces.append(
            (
                (weights[:, None] * boxes[group]).sum(0),
                (weights[:, None, None] * keypoints[group]).sum(0),
                scores[group[0]],
            )
        )
        order = order[~same]
    if not faces:
        return candidates
    return FaceDetections(*(torch.stack(parts) for parts in zip(*faces, strict=True)))


def _add_detections(sure: FaceDetections, more: FaceDetections) -> FaceDetections:
    """`sure`, and those of `more` that overlap none of them."""
    more = more[~(_overlaps(more.boxes, sure.boxes) > MAXIMUM_OVERLAP).any(1)]
    return FaceDetections(
        torch.cat([sure.boxes, more.boxes]),
        torch.cat([sure.keypoints, more.keypoints]),
        torch.cat([sure.scores, more.scores]),
    )


class HalvingConv2d(nn.Conv2d):
    """A convolution of stride 2, padded as in TensorFlow: what is odd goes right and below."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, **kwargs: Any):
        super().__init__(in_channels, out_channels, kernel_size, stride=2, **kwargs)
        before = (kernel_size - 2) // 2
        self.margins = (before, kernel_size - 2 - before) * 2

    def forward(self, input: Tensor) -> Tensor:
        """(n, in_channels, h, w) to (n, out_channels, h / 2, w / 2)."""
        return super().forward(F.pad(input, self.margins))


def depthwise(channels: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 filter for each channel."""
    if stride == 2:
        return HalvingConv2d(channels, channels, 3, groups=channels)
    return nn.Conv2d(channels, channels, 3, padding=1, groups=channels)


class ResidualBlock(nn.Module):
    """Layers beside a shortcut, which is pooled and given channels of 0 where the layers do so."""

    def __init__(self, activation: nn.Module, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.activation = activation

    def forward(self, hidden: Tensor) -> Tensor:
        """Features (n, c, h, w) to those of the layers' shape."""
        residual = self.layers(hidden)
        if residual.shape[-1] < hidden.shape[-1]:
            hidden = F.max_pool2d(hidden, 2)
        if more := residual.shape[1] - hidden.shape[1]:
            hidden = F.pad(hidden, (0, 0, 0, 0, 0, more))
        activated: Tensor = self.activation(residual.add_(hidden))
        return activated


def blaze_block(in_channels: int, out_channels: int, stride: int = 1) -> ResidualBlock:
    """BlazeFace's single block."""
    return ResidualBlock(
        nn.ReLU(), depthwise(in_channels, stride), nn.Conv2d(in_channels, out_channels, 1)
    )


def double_blaze_layers(
    in_channels: int, inner: int, out_channels: int, stride: int = 1
) -> list[nn.Module]:
    """The layers of BlazeFace's double block, with few channels inside."""
    return [
        nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels),
        nn.Conv2d(in_channels, inner, 1),
        nn.ReLU(),
        depthwise(inner),
        nn.Conv2d(inner, out_channels, 1),
    ]


def double_blaze_block(in_channels: int, inner: int, out_channels: int) -> ResidualBlock:
    """BlazeFace's double block."""
    return ResidualBlock(nn.ReLU(), *double_blaze_layers(in_channels, inner, out_channels))


def mesh_block(in_channels: int, inner: int, out_channels: int, stride: int = 1) -> ResidualBlock:
    """The mesh's block, with few channels inside."""
    narrow = HalvingConv2d(in_channels, inner, 2) if stride == 2 else None
    return ResidualBlock(
        nn.PReLU(out_channels),
        narrow or nn.Conv2d(in_channels, inner, 1),
        nn.PReLU(inner),
        depthwise(inner),
        nn.Conv2d(inner, out_channels, 1),
    )


def _decode(regressions: Tensor, anchors: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Boxes (n, k, 4) and keypoints (n, k, 6, 2), 0..1 of the crop, of outputs (n, k, 16).

    The outputs are centre, size and keypoints in pixels of the crop, from an anchor (k, 2).
    """
    points = (regressions / size).unflatten(-1, (8, 2))
    centre, sides, keypoints = points.split((1, 1, 6), dim=-2)
    centre = centre + anchors[:, None]
    boxes = torch.cat([centre - sides / 2, centre + sides / 2], dim=-2).flatten(-2)
    return boxes, keypoints + anchors[:, None]


def _anchors(grid: int, per_cell: int, like: Tensor) -> Tensor:
    """The centres (grid * grid * per_cell, 2) of cells, 0..1, row by row."""
    centres = (torch.arange(grid, device=like.device, dtype=like.dtype) + 0.5) / grid
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1).repeat_interleave(per_cell, dim=0)


def _by_anchor(maps: Tensor, values: int) -> Tensor:
    """Maps (n, anchors of a cell * values, h, w) as (n, anchors, values)."""
    return maps.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, values))


class ShortRangeDetector(nn.Module):
    """BlazeFace for faces within about two metres: 896 anchors on grids of 16 and of 8."""

    size = 128
    smoothed = False  # as in MediaPipe, for its boxes

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(HalvingConv2d(3, 24, 5), nn.ReLU())
        self.fine = nn.Sequential(
            blaze_block(24, 24),
            blaze_block(24, 28),
            blaze_block(28, 32, stride=2),
            blaze_block(32, 36),
            blaze_block(36, 42),
            blaze_block(42, 48, stride=2),
            *(blaze_block(channels, channels + 8) for channels in range(48, 88, 8)),
        )
        self.coarse = nn.Sequential(
            blaze_block(88, 96, stride=2), *(blaze_block(96, 96) for _ in range(4))
        )
        self.fine_scores, self.coarse_scores = nn.Conv2d(88, 2, 1), nn.Conv2d(96, 6, 1)
        self.fine_boxes, self.coarse_boxes = nn.Conv2d(88, 2 * 16, 1), nn.Conv2d(96, 6 * 16, 1)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, 128, 128) in [-1, 1] to scores before the sigmoid (n, 896), boxes
        (n, 896, 4) and keypoints (n, 896, 6, 2), 0..1 of the picture."""
        fine = self.fine(self.stem(crops))
        coarse = self.coarse(fine)
        scores = [self.fine_scores(fine), self.coarse_scores(coarse)]
        boxes = [self.fine_boxes(fine), self.coarse_boxes(coarse)]
        anchors = torch.cat([_anchors(16, 2, crops), _anchors(8, 6, crops)])
        regressions = torch.cat([_by_anchor(maps, 16) for maps in boxes], dim=1)
        logits = torch.cat([_by_anchor(maps, 1) for maps in scores], dim=1)[..., 0]
        return logits, *_decode(regressions, anchors, self.size)


class Level(nn.Module):
    """Halves the resolution, and gives features of few channels for the way back up."""

    def __init__(
        self, in_channels: int, inner: int, channels: int, blocks: int, lateral_channels: int
    ) -> None:
        super().__init__()
        self.down = nn.Sequential(*double_blaze_layers(in_channels, inner, channels, 2), nn.ReLU())
        self.blocks = nn.Sequential(
            *(double_blaze_block(channels, inner, channels) for _ in range(blocks))
        )
        self.lateral = nn.Sequential(nn.Conv2d(channels, lateral_channels, 1), nn.ReLU())

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """(n, in_channels, h, w) to (n, channels, h / 2, w / 2) and (n, lateral_channels, ...)."""
        hidden = self.blocks(self.down(hidden))
        return hidden, self.lateral(hidden)


class UpsampledHead(nn.Module):
    """Values for each position of features, computed for squares of 2x2 positions at once."""

    def __init__(self, channels: int, values: int) -> None:
        super().__init__()
        self.values = values
        self.project = nn.Conv2d(channels, 4 * values, 1)
        self.pool = nn.Conv2d(4 * values, 4 * values, 3, stride=2, padding=1, groups=4 * values)

    def forward(self, hidden: Tensor) -> Tensor:
        """(n, channels, h, w) to (n, values, h, w)."""
        squares = self.pool(self.project(hidden)).unflatten(1, (4, self.values))
        return F.pixel_shuffle(squares.transpose(1, 2).flatten(1, 2), 2)


class FullRangeDetector(nn.Module):
    """BlazeFace for faces within about five metres: 2304 anchors on one grid of 48."""

    size = 192
    # MediaPipe's detector does not smooth. With it, faces below .1 are found more often.
    smoothed = True

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            *(double_blaze_block(32, 8, 32) for _ in range(2)),
        )
        self.levels = nn.ModuleList(
            [
                Level(32, 16, 64, blocks=2, lateral_channels=48),
                Level(64, 32, 128, blocks=2, lateral_channels=64),
                Level(128, 48, 192, blocks=2, lateral_channels=96),
                Level(192, 96, 384, blocks=3, lateral_channels=96),
            ]
        )
        self.joints = nn.ModuleList(
            [
                nn.Sequential(
                    *(double_blaze_block(96, 48, 96) for _ in range(2)),
                    nn.Conv2d(96, 64, 1),
                    nn.ReLU(),
                ),
                nn.Sequential(
                    *(double_blaze_block(64, 32, 64) for _ in range(2)),
                    nn.Conv2d(64, 48, 1),
                    nn.ReLU(),
                ),
                double_blaze_block(48, 24, 48),
            ]
        )
        self.scores = UpsampledHead(48, 1)
        self.boxes = UpsampledHead(48, 16)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pictures (n, 3, 192, 192) in [-1, 1] to scores before the sigmoid (n, 2304), boxes
        (n, 2304, 4) and keypoints (n, 2304, 6, 2), 0..1 of the picture."""
        hidden = self.stem(crops)
        laterals = []
        for level in self.levels:
            hidden, lateral = level(hidden)
            laterals.append(lateral)
        hidden = laterals.pop()
        for joint, lateral in zip(self.joints, reversed(laterals), strict=True):
            hidden = joint(lateral + F.interpolate(hidden, scale_factor=2, mode="bilinear"))
        logits = _by_anchor(self.scores(hidden), 1)[..., 0]
        regressions = _by_anchor(self.boxes(hidden), 16)
        return logits, *_decode(regressions, _anchors(48, 1, crops), self.size)


class MeshNetwork(nn.Module):
    """478 landmarks of the one face in a crop."""

    size = 256

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(HalvingConv2d(3, 16, 3), nn.PReLU(16))
        blocks = [mesh_block(16, 8, 16) for _ in range(4)]
        channels = 16
        for inner, out_channels in ((16, 32), (32, 64), (64, 128), (64, 128), (64, 128), (64, 128)):
            # The convolution that halves keeps half of the channels it will lead to, 64 at most.
            blocks.append(mesh_block(channels, inner, out_channels, stride=2))
            blocks += [mesh_block(out_channels, inner, out_channels) for _ in range(4)]
            channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.presence = nn.Conv2d(128, 1, 2)
        self.landmarks = nn.Conv2d(128, 3 * LANDMARKS, 2)

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Crops (n, 3, 256, 256) in [0, 1] to landmarks (n, 478, 3) in pixels of the crop, and the
        presence (n,) before the sigmoid."""
        hidden = self.blocks(self.stem(crops))
        points = self.landmarks(hidden).flatten(1).unflatten(1, (LANDMARKS, 3))
        return points, self.presence(hidden).flatten()


class MixerBlock(nn.Module):
    """Mixes the 97 tokens, then the 64 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.token_norm = nn.LayerNorm(64, eps=1e-6, bias=False)
        self.tokens = nn.Sequential(nn.Linear(97, 384), nn.ReLU(), nn.Linear(384, 97))
        self.channel_norm = nn.LayerNorm(64, eps=1e-6, bias=False)
        self.channels = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 64))

    def forward(self, hidden: Tensor) -> Tensor:
        """(n, 97, 64) to the same."""
        hidden = hidden + self.tokens(self.token_norm(hidden).mT).mT
        mixed: Tensor = hidden + self.channels(self.channel_norm(hidden))
        return mixed


class BlendshapeNetwork(nn.Module):
    """An MLP mixer from landmarks to coefficients, which are read off one token of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.points_to_tokens = nn.Linear(len(BLENDSHAPE_LANDMARKS), 96)
        self.embedding = nn.Linear(2, 64)
        self.extra_token = nn.Embedding(1, 64)
        self.blocks = nn.Sequential(*(MixerBlock() for _ in range(4)))
        self.coefficients = nn.Linear(64, 52)

    def forward(self, points: Tensor) -> Tensor:
        """Points (n, 146, 2) in any unit, the picture upright, to (n, 52) in [0, 1]."""
        points = points - points.mean(1, keepdim=True)
        points = points / points.norm(dim=-1, keepdim=True).mean(1, keepdim=True) / 2
        points = points.to(self.embedding.weight.dtype)
        tokens = self.embedding(self.points_to_tokens(points.mT).mT)  # (n, 96, 64)
        extra = self.extra_token.weight.expand(len(points), 1, 64)
        hidden = self.blocks(torch.cat([extra, tokens], dim=1))
        coefficients: Tensor = self.coefficients(hidden[:, 0]).sigmoid()
        return coefficients
