"""Hair of the head: strands that grow from the scalp in the direction of the style."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from svp_diffusers.talkers.rendered.assets import CLOTH, SKIN, TORSO
from svp_diffusers.talkers.rendered.hair_colour import draw_hair_colours
from svp_diffusers.talkers.rendered.hairline import is_bald_on_top, measure_hairline
from svp_diffusers.talkers.rendered.identity import Person
from svp_diffusers.talkers.rendered.normals import compute_normals
from svp_diffusers.talkers.rendered.strands import Strands
from svp_diffusers.talkers.rendered.surface import Places, Surface, to_unit

_HEAD = np.array([0, 7.45, 0.3])
_KNOT = np.array([0, 7.95, -0.6])
"""Where hair that is tied together meets."""


@dataclass(frozen=True)
class _Cut:
    """Numbers of strands and of points of each, and the width at the root in dm."""

    strands: int
    points: int
    width: float


_CUTS = {
    "bald": _Cut(1600, 4, 0.016),
    "buzz": _Cut(3600, 4, 0.016),
    "short": _Cut(3800, 7, 0.024),
    "side": _Cut(3800, 7, 0.024),
    "curly": _Cut(4200, 8, 0.021),
    "afro": _Cut(4600, 7, 0.020),
    "bob": _Cut(3600, 11, 0.032),
    "long": _Cut(3800, 11, 0.033),
    "bun": _Cut(3200, 8, 0.026),
}


def grow_hair(generator: np.random.Generator, person: Person, surface: Surface) -> Strands | None:
    """The strands that can be seen when the head turns by half a radian; None for bald people."""
    style = person.hair_style
    if style == "bald" and not is_bald_on_top(person):
        return None
    cut = _CUTS[style]
    growth = _Growth(generator, person, surface, cut)
    points = growth.grow()
    layer, clump = growth.layer, growth.clump
    if style == "bun":
        ball = _tie_ball(generator, surface, cut.points)
        points = np.concatenate([points, ball])
        layer = np.concatenate([layer, np.ones(len(ball))])
        clump = np.concatenate([clump, generator.integers(0, 60, len(ball))])
    return _dress(generator, person, cut, points, layer, clump)


class _Growth:
    """One head of hair while it grows: `k` strands on their way."""

    def __init__(
        self, generator: np.random.Generator, person: Person, surface: Surface, cut: _Cut
    ) -> None:
        self.generator, self.person, self.cut = generator, person, cut
        inside = measure_hairline(surface.rest_centres, person)
        ragged = generator.normal(size=len(inside)) * generator.uniform(0.01, 0.05)
        self.parting = person.parting * (0.12 if person.hair_length < 0.3 else 1.0)
        # More where hair parts and at its edge, where it lets the scalp through.
        from_parting = (surface.rest_centres[:, 0] - self.parting) / 0.1
        density = 1 + 1.5 * np.exp(-(from_parting**2)) + 1.5 * (inside < 0.12)
        self.roots: Places = surface.scatter(
            generator, np.where(inside + ragged > 0, density, 0.0), cut.strands
        )
        self.layer = generator.random(cut.strands)
        """0 next to the head, 1 outside."""
        self.obstacle = _Obstacle(surface)
        leaders = self.roots.positions[: max(30, cut.strands // 16)]
        self.clump = cKDTree(leaders).query(self.roots.positions)[1]
        self.fringe = np.zeros(cut.strands, bool)
        if person.fringe and person.hair_style in ("bob", "long"):
            rest = self.roots.rest
            self.fringe = (rest[:, 2] > 0.85) & (np.abs(rest[:, 0]) < 0.52)
        self.combed_back = generator.uniform(0.5, 1.3)
        self.sweep = generator.uniform(-0.5, 0.5)
        self.lift = generator.uniform(0.3, 1.0)
        self.back = generator.random() < 0.4
        """Short hair is combed back rather than forward."""

    def grow(self) -> np.ndarray:
        """`(k, n, 3)` positions on the person."""
        style, n, count = self.person.hair_style, self.cut.points, self.cut.strands
        lengths = self._measure_lengths()
        step = lengths / (n - 1)
        normals = self.roots.normals
        direction = normals.copy()
        place = self.roots.positions.copy()
        points = np.zeros((count, n, 3))
        points[:, 0] = place - 0.01 * normals
        phase = self.generator.uniform(0, 6.28, self.clump.max() + 1)[self.clump]
        phase = phase + self.generator.normal(size=count) * 0.5
        wave = self.person.wave * (0.08 if style in ("bob", "long") else 0.03)
        curl = {"curly": 0.04 + 0.05 * self.person.wave, "afro": 0.03}.get(style, 0.0)
        gap = self._thickness() * (0.25 + self.layer)
        for j in range(1, n):
            t = j / (n - 1)
            wished = to_unit(self._flow(place, t))
            direction = to_unit(0.45 * direction + 0.55 * wished)
            place = place + direction * step[:, None]
            if style in ("bob", "long"):
                place = self._keep_off_face(place)
            if curl:
                turn = [
                    np.sin(phase + 9 * t),
                    np.cos(1.3 * phase + 8 * t),
                    np.sin(0.7 * phase + 9 * t),
                ]
                place = place + curl * np.stack(turn, 1)
            if wave and style in ("bob", "long", "side", "short"):
                swing = (4 + 4 * self.person.hair_volume) * t
                turn = [np.sin(phase + swing), np.zeros(count), np.cos(phase + swing)]
                place = place + wave * t * np.stack(turn, 1)
            place = self._lay(place, gap, t)
            points[:, j] = place
        return self._gather(points)

    def _measure_lengths(self) -> np.ndarray:
        style, rest = self.person.hair_style, self.roots.rest
        share = self.person.hair_length
        y = rest[:, 1]
        if style in ("buzz", "bald"):
            lengths = np.full(len(rest), 0.05 + 0.08 * share)
        elif style in ("short", "side"):
            lengths = np.full(len(rest), 0.25 + 0.3 * share)
            # Shorter at the sides and the nape, longer over the forehead.
            lengths *= np.interp(y, (7.3, 7.75), (0.35, 1.0))
            lengths *= np.where((y > 8.0) & (rest[:, 2] > 0.6), 1.0 + 0.4 * self.person.wave, 1)
        elif style == "curly":
            lengths = np.full(len(rest), 0.3 + 0.4 * share)
        elif style == "afro":
            lengths = np.full(len(rest), 0.25 + 0.5 * share)
        elif style == "bob":
            lengths = (y - (6.7 - 0.5 * share)) * 1.12 + 0.25
        elif style == "long":
            lengths = (y - (5.8 - 1.2 * share)) * 1.1 + 0.3
        else:
            lengths = np.linalg.norm(rest - _KNOT, axis=1) * 1.15
        fringe_end = 7.56 + 0.1 * self.person.hair_volume
        lengths = np.where(self.fringe, np.maximum(y - fringe_end, 0.12) * 1.15, lengths)
        spread = 1 + self.generator.normal(size=len(rest)) * 0.09
        return np.maximum(lengths * spread, 0.04)

    def _thickness(self) -> float:
        """How far the outer layer lies from the head."""
        style, volume = self.person.hair_style, self.person.hair_volume
        if style in ("bun", "buzz", "bald"):
            return 0.02
        return 0.05 if style in ("curly", "afro") else 0.035 + 0.08 * volume

    def _flow(self, place: np.ndarray, t: float) -> np.ndarray:
        """Where each strand wants to go, `(k, 3)`."""
        style, rest, normals = self.person.hair_style, self.roots.rest, self.roots.normals
        count = len(rest)
        side = np.sign(rest[:, 0] - self.parting + 1e-3)
        if style in ("buzz", "bald"):
            return normals + np.array([0, -0.2, -0.1])
        if style in ("curly", "afro"):
            frizz, fall = (0.5, 0.4) if style == "curly" else (0.9, 0.05)
            ragged = self.generator.normal(size=(count, 3)) * frizz
            return normals + ragged + np.array([0, -fall * t, 0])
        if style in ("short", "side"):
            across = 0.9 * side * (rest[:, 1] > 7.7) if style == "side" else self.sweep
            across = across * (1 - 0.6 * t) + 0.25 * np.sign(rest[:, 0]) * (style == "short")
            front = np.where(self.back, -0.6, 0.5 if style == "short" else 0.15)
            ahead = np.where(rest[:, 2] > 0.5, front, -0.5)
            # What stands off the top falls down at the sides.
            beside = np.clip((np.abs(place[:, 0]) - 0.35) / 0.3, 0, 1)
            down = (-0.15 if self.back else -0.35) - 1.1 * t * beside
            flow = np.stack([np.broadcast_to(across, count), down, ahead], 1)
            return normals * self.lift * (1 - t) + flow
        if style in ("bob", "long"):
            near_middle = np.clip((0.85 - np.abs(place[:, 0])) / 0.3, 0, 1)
            across = side * (1.3 * near_middle * (place[:, 1] > 7.75) + 0.05)
            down = np.where(place[:, 1] > 8.2, -0.55, -1.1)
            forwards = -(0.55 + self.combed_back * (1 - t) ** 2) * (place[:, 1] > 7.0) + 0.12 * (
                place[:, 1] < 6.6
            )
            ahead = np.where(rest[:, 2] > 0.3, forwards, -0.2)
            flow = np.stack([across, down, ahead], 1)
            flow[self.fringe] = np.array([0.15 * self.sweep, -1.2, 0.5])
            return normals * 0.35 * (1 - t) ** 3 + flow
        return 2 * (_KNOT - place) + 0.15 * normals

    def _keep_off_face(self, place: np.ndarray) -> np.ndarray:
        """No strand of a parting crosses the face."""
        rest_x = self.roots.rest[:, 0]
        parted = np.sign(rest_x - self.parting + 1e-3)
        side = np.where(np.abs(rest_x) > 0.05, np.sign(rest_x), parted)
        x, y, z = place.T
        least = 0.62 + 0.10 * self.layer
        in_face = (y < 8.02) & (z > 0.35) & ~self.fringe
        share = np.clip((8.02 - y) / 0.22, 0, 1)
        beside = side * x
        moved = side * (beside + (least - beside) * share)
        kept = place.copy()
        kept[:, 0] = np.where(in_face & (beside < least), moved, x)
        kept[:, 2] = np.where(in_face & (y < 7.6), np.minimum(z, 0.95 - 0.25 * (1 - self.layer)), z)
        return kept

    def _lay(self, place: np.ndarray, gap: np.ndarray, t: float) -> np.ndarray:
        """Push out of the head and shoulders, and pull what hangs back to them."""
        style = self.person.hair_style
        for _ in range(2):
            near, height, normal = self.obstacle.measure(place)
            out = np.maximum(0, gap * min(1, 0.3 + t) - height) * (near < 0.7)
            place = place + normal * out[:, None]
            if style in ("bob", "long", "bun", "buzz", "bald"):
                above_shoulders = np.clip((place[:, 1] - 6.6) / 0.5, 0, 1)
                back = np.maximum(0, height - 1.25 * gap) * 0.7 * above_shoulders
                place = place - normal * back[:, None]
            elif style in ("short", "side"):
                back = np.maximum(0, height - (2.5 if t > 0.5 else 3.5) * gap - 0.03) * 0.5
                place = place - normal * back[:, None]
        return place

    def _gather(self, points: np.ndarray) -> np.ndarray:
        """Draw the tips towards the first strand of their clump."""
        style = self.person.hair_style
        if style in ("buzz", "bald", "afro"):
            return points
        t = np.linspace(0, 1, points.shape[1])[None, :, None]
        leaders = points[self.clump]
        apart = np.linalg.norm(leaders[:, :1] - points[:, :1], axis=2, keepdims=True)
        strength = self.generator.uniform(0.1, 0.5) * (apart < 0.35)
        # A third of the hairs goes its own way, which breaks the clumps up.
        strength = strength * (self.generator.random((len(points), 1, 1)) > 0.35)
        gathered: np.ndarray = points + (leaders - points) * t**1.5 * strength
        return gathered


class _Obstacle:
    """Head and shoulders as points with normals."""

    def __init__(self, surface: Surface) -> None:
        model, vertices = surface.model, surface.vertices
        skin = model.vertices_of(SKIN)
        body = model.vertices_of(TORSO, CLOTH)
        quads = model.quads[np.isin(model.materials, (TORSO, CLOTH))]
        body_normals = compute_normals(vertices, quads)[body]
        self._positions = np.concatenate([vertices[skin], vertices[body]])
        self._normals = np.concatenate([surface.normals[skin], body_normals])
        self._tree = cKDTree(self._positions)

    def measure(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Distance `(k,)` of the nearest point, height `(k,)` over its plane, its normal."""
        distance, nearest = self._tree.query(points)
        normals = self._normals[nearest]
        height = ((points - self._positions[nearest]) * normals).sum(1)
        return distance, height, normals


def _tie_ball(generator: np.random.Generator, surface: Surface, n: int) -> np.ndarray:
    """`(k, n, 3)` arcs around a knot of hair."""
    count = 700
    top = surface.vertices[surface.model.vertices_of(SKIN)][:, 1].max()
    behind = -0.35 if generator.random() < 0.5 else -0.1
    centre = np.array([0, min(generator.uniform(7.8, 8.5), top + 0.1), behind])
    outward = to_unit(generator.normal(size=(count, 3)))
    axes = generator.normal(size=3) + 0.6 * generator.normal(size=(count, 3))
    along = to_unit(np.cross(outward, axes))
    angle = np.linspace(-0.6, 0.6, n)[None, :, None]
    arcs = outward[:, None] * np.cos(angle) + along[:, None] * np.sin(angle)
    ball: np.ndarray = centre + generator.uniform(0.22, 0.36) * arcs
    return ball


def _dress(
    generator: np.random.Generator,
    person: Person,
    cut: _Cut,
    points: np.ndarray,
    layer: np.ndarray,
    clump: np.ndarray,
) -> Strands:
    """Widths, colours, normals and shade of strands; those never seen are left out."""
    count, n = points.shape[:2]
    t = np.linspace(0, 1, n)[None]
    widths = cut.width * (1 - 0.7 * t**2) * generator.uniform(0.6, 1.3, (count, 1))
    colours = draw_hair_colours(generator, person, count, person.grey)
    colours *= np.exp(0.12 * generator.normal(size=clump.max() + 1)[clump])[:, None]
    # Tips are bleached by the sun, roots are not.
    bleach = (1 + (0.25 if person.hair_style in ("bob", "long") else 0.0) * (t - 0.5))[..., None]
    centre = np.where(points[..., 1:2] > 7.2, _HEAD, points * (0, 1, 0) + np.array([0, 0, 0.2]))
    normals = to_unit(points - centre)
    ragged = to_unit(normals + 0.2 * generator.normal(size=(count, 1, 3)))
    occlusion = np.clip(0.45 + 0.55 * layer[:, None] * (0.6 + 0.4 * t), 0.25, 1)
    follow = np.ones((count, n))
    seen = np.zeros(count, bool)
    hanging = person.hair_style in ("bob", "long")
    for yaw in (-0.5, 0.0, 0.5):
        facing = (normals @ np.array([np.sin(yaw), 0.25, np.cos(yaw)])).max(1)
        seen |= facing > (-0.05 if hanging else 0.0)
    if hanging:
        x, y, z = np.moveaxis(points, -1, 0)
        follow = np.clip((y - 5.6) / 1.1, 0, 1)
        behind_neck = (y < 6.9) & (np.abs(x) < 0.75) & (z < 0.7)
        occlusion = occlusion * np.where(behind_neck, 0.55, 1)
        hidden = (z.max(1) < 0.15) & (np.abs(x).max(1) < 0.62) & (y[:, -1] < 6.9)
        seen &= ~(hidden & (layer < 0.5)) & ~_cross_face(points)
    return Strands(
        points=points[seen].astype(np.float32),
        widths=widths[seen].astype(np.float32),
        colours=np.clip(colours[:, None] * bleach, 0, 0.9)[seen].astype(np.float32),
        normals=ragged[seen].astype(np.float32),
        occlusion=occlusion[seen].astype(np.float32),
        follow=follow[seen].astype(np.float32),
        anchors=np.zeros((0, n, 3), np.int32),
        anchor_weights=np.zeros((0, n, 3), np.float32),
        shadow=True,
        # Curls scatter their highlights.
        gloss=0.35 if person.hair_style in ("curly", "afro") else 0.9,
    )


def _cross_face(points: np.ndarray) -> np.ndarray:
    """`(k,)` whether a strand hangs into the face below the brows."""
    x, y, z = np.moveaxis(points, -1, 0)
    inside: np.ndarray = (np.abs(x) < 0.54) & (y > 6.2) & (y < 7.46) & (z > 0.8)
    return np.any(inside, axis=1)
