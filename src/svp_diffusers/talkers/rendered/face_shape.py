"""The shape of a face: weights of the head model's targets, drawn so that people differ as they do.

Every head is MakeHuman's mean of its sex, age, ancestry and weight, and on top of it each pair of
opposite targets (wider, narrower) is drawn from a normal distribution, left and right together.
The means and spreads were set so that the landmarks of real pictures lie inside those of the
renders (our choice; `docs/rendered_talkers` has the table).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES

_OPPOSITES = (
    ("incr", "decr"),
    ("up", "down"),
    ("in", "out"),
    ("forward", "backward"),
    ("convex", "concave"),
    ("compress", "uncompress"),
)
_ANCESTRIES = ("african", "asian", "caucasian")
_OUTLINES = (
    "oval",
    "round",
    "square",
    "rectangular",
    "triangular",
    "invertedtriangular",
    "diamond",
)

_SPREAD = 0.23
_SPREADS = {
    "head/head-age-incr": 0.0,
    "head/head-angle-in": 0.15,
    "head/head-trans-up": 0.0,
    "head/head-trans-in": 0.0,
    "head/head-trans-forward": 0.0,
    "ears/ear-wing-incr": 0.3,
    "eyebrows/eyebrows-angle-up": 0.3,
    "eyebrows/eyebrows-trans-up": 0.3,
    "eyes/eye-trans-in": 0.15,
    "eyes/eye-trans-up": 0.15,
    "forehead/forehead-nubian-incr": 0.2,
    "mouth/mouth-angles-up": 0.40,
    "mouth/mouth-trans-up": 0.12,
    "mouth/mouth-trans-in": 0.06,
    "mouth/mouth-trans-forward": 0.12,
    "neck/measure-neck-height-incr": 0.15,
    "neck/neck-trans-up": 0.0,
    "neck/neck-trans-in": 0.0,
    "neck/neck-trans-forward": 0.0,
    "nose/nose-trans-up": 0.1,
    "nose/nose-trans-in": 0.05,
    "nose/nose-trans-forward": 0.1,
}
"""Standard deviations of the pairs, under the name of the side that counts as positive."""

_MEANS = {
    "chin/chin-height-incr": 0.12,
    "eyes/eye-height1-incr": 0.05,
    "eyes/eye-height2-incr": -0.05,
    "eyes/eye-height3-incr": -0.05,
    "eyes/eye-scale-incr": 0.30,
    "eyes/eye-trans-in": -0.22,
    "head/head-fat-incr": -0.08,
    "head/head-scale-vert-incr": 0.06,
    "mouth/mouth-angles-up": 0.40,
    "mouth/mouth-scale-horiz-incr": 0.35,
    "mouth/mouth-upperlip-height-incr": -0.20,
    "nose/nose-nostrils-width-incr": 0.20,
    "nose/nose-scale-horiz-incr": 0.22,
    "nose/nose-scale-vert-incr": -0.22,
}
_FEMININE = {
    "cheek/cheek-bones-incr": 0.15,
    "chin/chin-bones-incr": -0.30,
    "chin/chin-height-incr": -0.15,
    "chin/chin-width-incr": -0.50,
    "eyebrows/eyebrows-trans-up": 0.25,
    "eyes/eye-scale-incr": 0.15,
    "mouth/mouth-lowerlip-volume-incr": 0.15,
    "mouth/mouth-upperlip-volume-incr": 0.15,
    "neck/neck-scale-horiz-incr": -0.20,
    "nose/nose-scale-horiz-incr": -0.15,
    "nose/nose-volume-incr": -0.20,
    "nose/nose-width1-incr": -0.10,
    "nose/nose-width2-incr": -0.10,
}
"""Added to the means of a wholly feminine face."""


@dataclass(frozen=True)
class Physique:
    """What MakeHuman's macro targets describe.

    Args:
        masculinity: 0 feminine to 1 masculine.
        age: 0 (about 25 years) to 1 (about 90 years).
        ancestry: shares of African, Asian and European faces, sum 1.
        weight: -1 lean to 1 heavy.
        muscle: -1 to 1.
    """

    masculinity: float
    age: float
    ancestry: tuple[float, float, float]
    weight: float
    muscle: float


def draw_face_shape(
    generator: np.random.Generator, physique: Physique, target_names: Sequence[str]
) -> tuple[float, ...]:
    """Weights >= 0 of the targets of the shape, `target_names` without the 52 of the expression."""
    names = target_names[len(ARKIT_BLENDSHAPES) :]
    weights = dict.fromkeys(names, 0.0)
    weights.update(_weigh_macro_targets(physique))
    feminine = max(0.0, 1 - 2 * physique.masculinity)
    for name, pairs in _find_pairs(names).items():
        spread = _SPREADS.get(name, _SPREAD)
        mean = _MEANS.get(name, 0.0) + feminine * _FEMININE.get(name, 0.0)
        shared = float(np.clip(mean + spread * generator.normal(), -0.9, 0.9))
        for positive, negative in pairs:
            weight = shared + (0.03 * generator.normal() if spread else 0.0)
            weights[positive if weight > 0 else negative] += abs(weight)
    for outline in generator.choice(_OUTLINES, 2, replace=False):
        angular = outline in ("square", "rectangular") and physique.masculinity < 0.5
        weights[f"head/head-{outline}"] += generator.uniform(0, 0.35) * (0.4 if angular else 1)
    for name in names:
        if name.startswith("asym/asym-") and generator.random() < 0.4:
            weights[name] += abs(generator.normal()) * 0.12
    return tuple(float(weights[name]) for name in names)


def _weigh_macro_targets(physique: Physique) -> dict[str, float]:
    """MakeHuman's product rule."""
    sexes = {"female": 1 - physique.masculinity, "male": physique.masculinity}
    ages = {"young": 1 - physique.age, "old": physique.age}
    ancestries = dict(zip(_ANCESTRIES, physique.ancestry, strict=True))
    weights: dict[str, float] = {}
    for sex, age in product(sexes, ages):
        share = sexes[sex] * ages[age]
        for ancestry in ancestries:
            weights[f"macro/{ancestry}-{sex}-{age}"] = share * ancestries[ancestry]
        for muscle, of_muscle in _three_way(physique.muscle, "muscle").items():
            for weight, of_weight in _three_way(physique.weight, "weight").items():
                name = f"macro/universal-{sex}-{age}-{muscle}-{weight}"
                weights[name] = share * of_muscle * of_weight
    return weights


def _three_way(value: float, name: str) -> dict[str, float]:
    return {
        f"min{name}": max(0.0, -value),
        f"average{name}": 1 - abs(value),
        f"max{name}": max(0.0, value),
    }


def _find_pairs(names: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """(positive, negative) targets under the positive's name without its side of the face."""
    opposite_of = dict(_OPPOSITES)
    known = set(names)
    pairs: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        stem, _, direction = name.rpartition("-")
        negative = f"{stem}-{opposite_of.get(direction)}"
        if negative in known and not name.startswith(("macro/", "asym/")):
            key = name.replace("/l-", "/").replace("/r-", "/")
            pairs.setdefault(key, []).append((name, negative))
    return pairs
