"""Faces aligned by brows and nose, as lip-sync nets see them: cut out of a frame, and put back."""

from dataclasses import dataclass
from math import floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from svp_diffusers.models.face_landmarker_svp import FaceLandmarks

# Of the landmarker's mesh. Left and right are those of the picture.
LEFT_BROW = (46, 53, 52, 65, 55, 70, 63, 105, 66, 107)
RIGHT_BROW = (276, 283, 282, 295, 285, 300, 293, 334, 296, 336)
LOWER_NOSE = (5, 4, 129, 358)  # bridge, tip and both wings

PROPORTIONS = (75.0, 100.0)
"""Width and height that the aligned face has before it is stretched to a square."""
PLACES = ((17.0, 20.0), (58.0, 20.0), (37.5, 40.0))
"""Where brows and nose lie in it: LatentSync's, as they are known to us; no file of it says so."""
OUTSIDE = (127, 127, 127)  # what is shown beyond the border of the frame
FEATHER = 0.03  # width, as a share of the face's side, in which what is painted fades in


def find_alignment_points(landmarks: FaceLandmarks) -> NDArray[np.float32]:
    """Left brow, right brow and nose of one face: (3, 2) pixels of the picture."""
    points = landmarks.landmarks[0, :, :2].float().cpu().numpy()
    means = [points[list(group)].mean(axis=0) for group in (LEFT_BROW, RIGHT_BROW, LOWER_NOSE)]
    return np.stack(means).astype(np.float32)


@dataclass(frozen=True)
class AlignedFace:
    """Where the aligned face of a frame lies.

    matrix: (2, 3) float64, from pixels of the frame to pixels of the aligned face; pixel i covers
        i to i + 1
    size: side of the aligned face in pixels
    """

    matrix: NDArray[np.float64]
    size: int

    @property
    def inverse(self) -> NDArray[np.float64]:
        """From pixels of the aligned face to those of the frame, (2, 3)."""
        linear = np.linalg.inv(self.matrix[:, :2])
        return np.column_stack([linear, -linear @ self.matrix[:, 2]])

    def cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The aligned face (size, size, 3) of a frame (height, width, 3)."""
        pixels_a_pixel = np.sqrt(abs(np.linalg.det(self.inverse[:, :2])))
        reduced = max(1, floor(pixels_a_pixel))  # first, since a warp skips pixels
        picture = Image.fromarray(frame).reduce(reduced)
        warped = picture.transform(
            (self.size, self.size),
            Image.Transform.AFFINE,
            tuple((self.inverse / reduced).ravel()),
            Image.Resampling.BICUBIC,
            fillcolor=OUTSIDE,
        )
        return np.asarray(warped)

    def paste(
        self, frame: NDArray[np.uint8], face: NDArray[np.uint8], weights: NDArray[np.float32]
    ) -> NDArray[np.uint8]:
        """Put a face back into its frame.

        Args:
            frame: (height, width, 3), left as it is.
            face: (size, size, 3).
            weights: (size, size) of `fade_in`; where they are 0, the frame stays as it is.

        Returns:
            The frame with that face.
        """
        side = self.size
        corners = np.array([[0, 0, 1], [side, 0, 1], [0, side, 1], [side, side, 1]]).T
        places = self.inverse @ corners
        left, top = np.floor(places.min(axis=1)).astype(int).clip(0)
        right, bottom = np.ceil(places.max(axis=1)).astype(int)
        height, width = frame.shape[:2]
        right, bottom = min(right, width), min(bottom, height)
        pasted = frame.copy()
        if right <= left or bottom <= top:
            return pasted
        moved = self.matrix.copy()
        moved[:, 2] += self.matrix[:, :2] @ (left, top)
        layers = [
            picture.transform(
                (right - left, bottom - top),
                Image.Transform.AFFINE,
                tuple(moved.ravel()),
                resampling,
            )
            for picture, resampling in (
                (Image.fromarray(face), Image.Resampling.BICUBIC),
                (Image.fromarray(weights), Image.Resampling.BILINEAR),
            )
        ]
        painted = np.asarray(layers[0], dtype=np.float32)
        share = np.asarray(layers[1], dtype=np.float32).clip(0, 1)[..., None]
        under = pasted[top:bottom, left:right]
        blended = under + share * (painted - under)
        pasted[top:bottom, left:right] = blended.clip(0, 255).round().astype(np.uint8)
        return pasted


def align_face(points: NDArray[np.floating], size: int) -> AlignedFace:
    """Align a face: a turn, a scale and a shift bring brows and nose nearest to their places, and
    the result is stretched to a square.

    Args:
        points: (3, 2) of `find_alignment_points`.
        size: side of the aligned face in pixels.
    """
    given, wanted = points.astype(np.float64), np.array(PLACES)
    centre, target = given.mean(axis=0), wanted.mean(axis=0)
    # Least squares over turns and scales, as multiplications of complex numbers.
    source = (given - centre) @ (1, 1j)
    factor = np.vdot(source, (wanted - target) @ (1, 1j)) / np.vdot(source, source)
    turned = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    stretched = np.diag([size / side for side in PROPORTIONS])
    linear = stretched @ turned
    return AlignedFace(np.column_stack([linear, stretched @ target - linear @ centre]), size)


def fade_in(mask: NDArray[np.floating]) -> NDArray[np.float32]:
    """Weights (size, size) with which a painted face is put back: 0 where the mask keeps the frame,
    rising inwards to 1.

    Args:
        mask: (size, size) in [0, 1], 1 where the frame is kept.
    """
    # A mask that reaches the border of the face ends there.
    painted = np.pad(mask < 0.5, 1)
    inwards = distance_transform_edt(painted)[1:-1, 1:-1]
    weights: NDArray[np.float32] = (inwards / max(1.0, FEATHER * len(mask))).clip(0, 1)
    return weights.astype(np.float32)
