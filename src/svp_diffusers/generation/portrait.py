"""The portrait as the pipeline sees it: the face found, cut out, and its head's keypoints."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.errors import FaceError
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.faces import (
    Face,
    FaceDetector,
    describe_face,
    face_from_bbox,
    select_face,
)
from svp_diffusers.media.keypoints import read_keypoints
from svp_diffusers.pipelines.head_svp import POINTS, FaceCrop, crop_around_face


def check_layout(layout: str) -> None:
    """Refuse keypoints where the checkpoint takes none.

    Raises:
        FaceError: if its guider is shown something else.
    """
    if layout not in POINTS:
        raise FaceError(
            f"This checkpoint's guider is shown the {layout}, not head keypoints: leave out "
            "--portrait-keypoints, --head-keypoints and --head-video."
        )


@dataclass(frozen=True)
class Portrait:
    """The picture that the pipeline sees, and where the head's keypoints are in it.

    Attributes:
        crop: the cut, RGB, (size, size) or as many times as large as the video's detail is, and
            where it lies in the whole picture.
        keypoints: (points, 2) in pixels of what is generated, or None if they are not known.
        face: left, top, right, bottom of the face's box as shares of the cut, where it is known.
        box: the same in pixels of the whole picture, (4,).
        others: boxes of the other faces that were found in the picture.
    """

    crop: FaceCrop
    keypoints: NDArray[np.float32] | None
    face: tuple[float, ...] | None = None
    box: NDArray[np.float32] | None = None
    others: tuple[NDArray[np.float32], ...] = ()


def prepare_portraits(
    request: GenerationRequest,
    faces: Sequence[int | None],
    picture: Image.Image,
    size: int,
    layout: str,
    detector: FaceDetector,
) -> list[Portrait]:
    """Cut portraits out of the picture: around their faces, or, if none is looked for, its middle.

    Warns of a face that is small, turned away or cut off, and of the choice among several.

    Args:
        request: what to make.
        faces: their numbers, 0 being the largest; None is the largest, with a warning if there are
            others.
        picture: RGB.
        size: of what is generated in pixels.
        layout: of the keypoints that the checkpoint takes.
        detector: of faces.

    Raises:
        FaceError: if there is no face, not that one, or its box or keypoints do not fit.
    """
    given = read_portrait_keypoints(request, picture, layout)
    scale = max(1, request.detail_scale or 0)
    if layout == "pose":  # which shows where everything is
        return [Portrait(*cut_middle(picture, size, None, scale))]
    if request.bbox is not None:
        found = [find_in_box(face_from_bbox(request.bbox, *picture.size), picture, detector)]
        chosen = found
    elif request.detect_face:
        found = detector.detect(picture)
        if not found:
            raise FaceError(
                f"no face was found in {request.image.name}: use a picture with a face seen from "
                "the front, say where it is with --bbox, or take the picture's middle as it is "
                "with --no-detect-face"
            )
        chosen = [select_face(found, number) for number in faces]
    else:
        return [Portrait(*cut_middle(picture, size, given, scale))]
    portraits = []
    for face in chosen:
        for problem in describe_face(face, *picture.size):
            warnings.warn(f"the face in {request.image.name} {problem}", stacklevel=2)
        crop = crop_around_face(picture, face.bbox, scale * size)
        box = crop.map_points(face.bbox.reshape(2, 2)).flatten() / crop.image.width
        corners = tuple(map(float, box))
        keypoints = face.get_keypoints(layout) if given is None and layout in POINTS else given
        placed = None if keypoints is None else crop.map_points(keypoints) / np.float32(scale)
        others = tuple(each.bbox for each in found if each is not face)
        portraits.append(Portrait(crop, placed, corners, face.bbox, others))
    return portraits


def read_portrait_keypoints(
    request: GenerationRequest, picture: Image.Image, layout: str
) -> NDArray[np.float32] | None:
    """The portrait's keypoints (points, 2) of a file, in pixels of the picture, if one is given.

    Raises:
        FaceError: points outside the picture, fractions of it instead of pixels, or points in
            another order.
    """
    if request.portrait_keypoints is None:
        return None
    check_layout(layout)
    given = read_keypoints(request.portrait_keypoints, POINTS[layout])[0]
    expected = (
        f"--portrait-keypoints expects {POINTS[layout]} points (x, y) in pixels of the "
        f"{picture.width}x{picture.height} picture"
    )
    if np.ptp(given, axis=0).max() <= 1:
        what = "values from 0 to 1" if given.max() < 2 else "all points in one place"
        raise FaceError(f"{request.portrait_keypoints} has {what}; {expected}")
    if not ((given >= 0).all() and (given <= picture.size).all()):
        raise FaceError(f"{request.portrait_keypoints} has points outside; {expected}")
    across, down = np.subtract(*given[[7, 6]] if layout == "head8" else given[[1, 0]])
    if across <= abs(down):
        raise FaceError(
            f"{request.portrait_keypoints} has eyes that are not side by side, the left of the "
            f"picture first; {expected}, see --help for their order"
        )
    return given


def find_in_box(box: Face, picture: Image.Image, detector: FaceDetector) -> Face:
    """The face that a box given by hand holds, with its keypoints if the detector sees it there."""
    left, top, right, bottom = (float(side) for side in box.bbox)
    margin = max(right - left, bottom - top) / 2
    corner = (max(0, int(left - margin)), max(0, int(top - margin)))
    other = (min(picture.width, int(right + margin)), min(picture.height, int(bottom + margin)))
    found = detector.detect(picture.crop((*corner, *other)))
    centre = np.array([(left + right) / 2, (top + bottom) / 2]) - corner
    inside = [
        face
        for face in found
        if (face.bbox[:2] <= centre).all() and (face.bbox[2:] >= centre).all()
    ]
    if not inside:
        warnings.warn(
            "no face is seen in the box that was given: the head's keypoints are not known",
            stacklevel=2,
        )
        return box
    seen = inside[0]
    offset = np.array(corner, dtype=np.float32)
    return Face(
        box.bbox,
        None if seen.keypoints is None else seen.keypoints + offset,
        seen.score,
        None if seen.v3_keypoints is None else seen.v3_keypoints + offset,
    )


def cut_middle(
    picture: Image.Image, size: int, keypoints: NDArray[np.float32] | None, scale: int = 1
) -> tuple[FaceCrop, NDArray[np.float32] | None]:
    """The largest square in the middle of the picture, `scale` times `size`, and the keypoints in
    it, in pixels of `size`."""
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    middle = (left, top, left + side, top + side)
    shape = (scale * size, scale * size)
    image = picture.resize(shape, Image.Resampling.LANCZOS, box=middle)
    crop = FaceCrop(image, left, top, scale * size / side)
    return crop, None if keypoints is None else crop.map_points(keypoints) / np.float32(scale)
