"""A drawing: an SVG document written shape by shape, and its pixels by ThorVG (extra `data`).

Coordinates are canvas units, x to the right and y down; the picture shows the square `VIEW` of
them. Colours are `(red, green, blue)` in 0..1. ThorVG was chosen among the renderers that install
as a wheel without any system library: it draws what resvg draws in a sixth of the time.
"""

from collections.abc import Sequence
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np

from svp_diffusers.errors import MissingDependencyError

Colour = tuple[float, float, float]
Point = Sequence[float] | np.ndarray
Stop = tuple[float, Colour, float]
"""A gradient stop: position 0..1, colour, opacity 0..1."""

VIEW = (9.0, 6.5, 82.0)
"""What the picture shows: left, top and extent of a square, in canvas units."""


def mix(first: Colour, second: Colour, weight: float) -> Colour:
    """Blend two colours; weight 0 is the first, 1 the second."""
    a, b = first, second
    return (
        a[0] + (b[0] - a[0]) * weight,
        a[1] + (b[1] - a[1]) * weight,
        a[2] + (b[2] - a[2]) * weight,
    )


def lighten(colour: Colour, amount: float) -> Colour:
    """Blend with white."""
    return mix(colour, (1.0, 1.0, 1.0), amount)


def darken(colour: Colour, amount: float) -> Colour:
    """Blend with a dark tone of the same hue, which stays livelier than black."""
    return mix(
        colour, (colour[0] ** 2 * 0.35, colour[1] ** 2 * 0.25, colour[2] ** 2 * 0.35), amount
    )


@lru_cache(maxsize=4096)
def format_colour(colour: Colour) -> str:
    """Hexadecimal notation."""
    red, green, blue = (min(255, max(0, round(255 * value))) for value in colour)
    return f"#{red:02x}{green:02x}{blue:02x}"


def smooth_closed(points: np.ndarray) -> str:
    """SVG path of a closed smooth curve through `(n, 2)` points (Catmull-Rom)."""
    return _spline(np.concatenate([points[-1:], points, points[:2]])) + "Z"


def smooth_open(points: np.ndarray) -> str:
    """SVG path of an open smooth curve through `(n, 2)` points (Catmull-Rom)."""
    before, after = 2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1]
    return _spline(np.concatenate([before, points, after]))


def join_curves(first: np.ndarray, second: np.ndarray) -> str:
    """SVG path of the area between two open smooth curves, with corners where they meet.

    Args:
        first: `(n, 2)` points from one corner to the other.
        second: `(m, 2)` points from that corner back to the first.
    """
    return smooth_open(first) + "L" + smooth_open(second)[1:] + "Z"


def polygon(points: np.ndarray) -> str:
    """SVG path of a closed polygon with `(n, 2)` corners."""
    return "M" + "L".join(f"{x:.3f} {y:.3f}" for x, y in points.tolist()) + "Z"


def scalloped(points: np.ndarray) -> str:
    """SVG path of a closed contour of round bumps through `(n, 2)` clockwise points."""
    corners = np.concatenate([points, points[:1]])
    arcs = "".join(
        f"A{0.56 * width:.3f} {0.56 * width:.3f} 0 0 1 {x:.3f} {y:.3f}"
        for (x, y), width in zip(
            corners[1:], np.linalg.norm(np.diff(corners, axis=0), axis=1), strict=True
        )
    )
    return f"M{corners[0, 0]:.3f} {corners[0, 1]:.3f}{arcs}Z"


def _spline(points: np.ndarray) -> str:
    """Cubic curves through all points but the first and the last, which only give directions."""
    tangents = (points[2:] - points[:-2]) / 6
    through = points[1:-1]
    controls = np.concatenate(
        [through[:-1] + tangents[:-1], through[1:] - tangents[1:], through[1:]], axis=1
    )
    # One format for the whole curve is several times faster than one a number.
    path = "M%.3f %.3f" + "C%.3f %.3f %.3f %.3f %.3f %.3f" * len(controls)
    return path % (*through[0].tolist(), *controls.ravel().tolist())


class Drawing:
    """An SVG document that grows back to front."""

    def __init__(self) -> None:
        self._definitions: list[str] = []
        self._elements: list[str] = []

    def add_linear_gradient(self, start: Point, end: Point, stops: Sequence[Stop]) -> str:
        """Define a gradient along a line; return the paint that refers to it."""
        (x1, y1), (x2, y2) = start, end
        line = f"x1='{x1:.3f}' y1='{y1:.3f}' x2='{x2:.3f}' y2='{y2:.3f}'"
        return self._define_gradient("linearGradient", line, stops)

    def add_radial_gradient(
        self,
        centre: Point,
        radii: Point,
        stops: Sequence[Stop],
    ) -> str:
        """Define a gradient over an upright ellipse; return the paint that refers to it."""
        (x, y), (across, down) = centre, radii
        place = f"translate({x:.3f} {y:.3f}) scale({across:.3f} {down:.3f})"
        return self._define_gradient(
            "radialGradient", f"cx='0' cy='0' r='1' gradientTransform='{place}'", stops
        )

    def _define_gradient(self, kind: str, place: str, stops: Sequence[Stop]) -> str:
        name = f"d{len(self._definitions)}"
        marks = "".join(
            f"<stop offset='{offset:.3f}' stop-color='{format_colour(colour)}' "
            f"stop-opacity='{opacity:.3f}'/>"
            for offset, colour, opacity in stops
        )
        self._definitions.append(
            f"<{kind} id='{name}' gradientUnits='userSpaceOnUse' {place}>{marks}</{kind}>"
        )
        return f"url(#{name})"

    def fill(self, path: str, paint: str | Colour, opacity: float = 1.0) -> None:
        """Fill a path with a colour or a gradient."""
        self._elements.append(
            f"<path d='{path}' fill='{_paint(paint)}' fill-opacity='{opacity:.3f}'/>"
        )

    def stroke(self, path: str, paint: str | Colour, width: float, opacity: float = 1.0) -> None:
        """Draw a path with a round pen `width` canvas units wide."""
        self._elements.append(
            f"<path d='{path}' fill='none' stroke='{_paint(paint)}' stroke-width='{width:.3f}' "
            f"stroke-linecap='round' stroke-linejoin='round' stroke-opacity='{opacity:.3f}'/>"
        )

    def glow(self, centre: Point, radii: Point, colour: Colour, opacity: float) -> None:
        """Add a soft elliptic spot that fades to nothing at `radii`."""
        stops = ((0, colour, opacity), (0.5, colour, 0.45 * opacity), (1, colour, 0))
        self.ellipse(centre, radii, self.add_radial_gradient(centre, radii, stops))

    def ellipse(
        self,
        centre: Point,
        radii: Point,
        paint: str | Colour,
        opacity: float = 1.0,
    ) -> None:
        """Fill an upright ellipse."""
        (x, y), (across, down) = centre, radii
        self._elements.append(
            f"<ellipse cx='{x:.3f}' cy='{y:.3f}' rx='{across:.3f}' ry='{down:.3f}' "
            f"fill='{_paint(paint)}' fill-opacity='{opacity:.3f}'/>"
        )

    def open_clip(self, path: str) -> None:
        """Show what follows inside `path` only, until `close_group`."""
        name = f"d{len(self._definitions)}"
        self._definitions.append(f"<clipPath id='{name}'><path d='{path}'/></clipPath>")
        self._elements.append(f"<g clip-path='url(#{name})'>")

    def open_transform(self, matrix: np.ndarray) -> None:
        """Move what follows by an affine map `(2, 3)`, until `close_group`."""
        (a, c, e), (b, d, f) = matrix.tolist()
        self._elements.append(
            f"<g transform='matrix({a:.5f} {b:.5f} {c:.5f} {d:.5f} {e:.4f} {f:.4f})'>"
        )

    def close_group(self) -> None:
        """End what `open_clip` or `open_transform` began."""
        self._elements.append("</g>")

    def write(self) -> str:
        """Write the SVG document."""
        left, top, extent = VIEW
        return (
            f"<svg xmlns='http://www.w3.org/2000/svg' "
            f"viewBox='{left:g} {top:g} {extent:g} {extent:g}'>"
            f"<defs>{''.join(self._definitions)}</defs>{''.join(self._elements)}</svg>"
        )


def _paint(paint: str | Colour) -> str:
    return paint if isinstance(paint, str) else format_colour(paint)


_THORVG = Lock()
"""ThorVG and its binding serve one thread at a time."""


def rasterise(document: str, size: int) -> np.ndarray:
    """Draw a square SVG document; return `(size, size, 3)` uint8 RGB.

    Raises:
        MissingDependencyError: the extra `data` is not installed.
    """
    with _THORVG:
        return _rasterise(document, size)


def _rasterise(document: str, size: int) -> np.ndarray:
    """Draw alone: the engine ends with this function's locals, and must not while another draws."""
    try:
        from thorvg_python.canvas.sw import SwCanvas
        from thorvg_python.engine import Engine
        from thorvg_python.paint.picture import Picture
    except ImportError as error:
        raise MissingDependencyError(
            "drawing portraits needs ThorVG: pip install 'svp-diffusers[data]'"
        ) from error
    engine = Engine(threads=0)
    canvas = SwCanvas(engine)
    canvas.set_target(size, size)
    picture = Picture(engine)
    # The binding keeps a type for every length it meets; spaces make that a handful of lengths.
    data = document.encode()
    data = data.ljust(-(-len(data) // 8192) * 8192)
    picture.load_data(data, "svg", None, copy=True)
    picture.set_size(size, size)
    canvas.add(picture)
    canvas.update()
    canvas.draw(True)
    canvas.sync()
    buffer: Any = canvas.buffer_arr
    pixels = np.frombuffer(buffer, np.uint8).reshape(size, size, 4)[..., :3].copy()
    canvas.destroy()
    return pixels
