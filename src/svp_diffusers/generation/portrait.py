"""The portrait as the pipeline sees it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from svp_diffusers.errors import FaceError
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.media.faces import (
    FaceDetector,
    InsightFaceDetector,
    crop_around_face,
    face_from_bbox,
    select_face,
)
from svp_diffusers.media.keypoints import read_keypoints

POINTS = {"head8": 8, "v3": 3}  # keypoints of each layout that has some


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
        image: (size, size) RGB.
        keypoints: (points, 2) in pixels of `image`, or None if nobody said where they are.
        face: left, top, right, bottom of the face's box as shares of `image`, where it is shown to
            the model and known.
    """

    image: Image.Image
    keypoints: NDArray[np.float32] | None
    face: tuple[float, ...] | None = None


def prepare_portrait(
    request: GenerationRequest,
    picture: Image.Image,
    size: int,
    layout: str,
    detector: FaceDetector | None,
) -> Portrait:
    """Cut the portrait out of the picture: around the face if one is known, else its middle.

    Raises:
        FaceError: if there is no face, not that one, or its box or keypoints do not fit.
    """
    given = None
    if request.portrait_keypoints is not None:
        check_layout(layout)
        given = read_keypoints(request.portrait_keypoints, POINTS[layout])[0]
        inside = (given >= 0).all() and (given <= picture.size).all()
        if not inside:
            raise FaceError(
                f"{request.portrait_keypoints} has points outside the {picture.width}x"
                f"{picture.height} picture; give pixels of the picture."
            )
    if request.bbox is not None:
        face = face_from_bbox(request.bbox, *picture.size)
    elif request.detect_face or request.face_index is not None:
        found = (detector or InsightFaceDetector()).detect(picture)
        face = select_face(found, request.face_index)
        if layout in POINTS and given is None:
            given = face.get_keypoints(layout)
    else:
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        middle = (left, top, left + side, top + side)
        image = picture.resize((size, size), Image.Resampling.LANCZOS, box=middle)
        corner = np.array([left, top], dtype=np.float32)
        return Portrait(image, None if given is None else (given - corner) * size / side)
    crop = crop_around_face(picture, face.bbox, size)
    if layout == "face":
        corners = crop.map_points(face.bbox.reshape(2, 2)) / size
        return Portrait(crop.image, None, tuple(map(float, corners.flatten())))
    return Portrait(crop.image, None if given is None else crop.map_points(given))
