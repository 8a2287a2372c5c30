"""Who is rendered: a `Person` drawn from a seed. All are adults."""

from dataclasses import dataclass

import numpy as np

from svp_diffusers.talkers.rendered.assets import load_head_model
from svp_diffusers.talkers.rendered.face_shape import Physique, draw_face_shape

HAIR_STYLES = ("bald", "buzz", "short", "side", "curly", "afro", "bob", "long", "bun")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")

Colour = tuple[float, float, float]
"""Linear RGB, 0..1."""

_SKIN = (
    (0.80, 0.56, 0.45),
    (0.72, 0.47, 0.35),
    (0.60, 0.36, 0.24),
    (0.44, 0.25, 0.155),
    (0.29, 0.15, 0.085),
    (0.15, 0.075, 0.045),
)
_MELANIN = ((0.78, 0.13), (0.33, 0.10), (0.18, 0.12))
"""Mean and standard deviation by the main ancestry."""

_HAIR = (
    (0.012, 0.009, 0.008),
    (0.030, 0.018, 0.011),
    (0.090, 0.045, 0.020),
    (0.220, 0.120, 0.050),
    (0.450, 0.280, 0.120),
    (0.220, 0.070, 0.022),
)
_DARK_HAIR = (0.60, 0.30, 0.10, 0.0, 0.0, 0.0)
_ANY_HAIR = (0.12, 0.25, 0.25, 0.17, 0.10, 0.11)
GREY_HAIR = np.array([0.35, 0.335, 0.315])

_IRIS = (
    (0.05, 0.022, 0.010),
    (0.09, 0.045, 0.018),
    (0.16, 0.10, 0.035),
    (0.13, 0.15, 0.06),
    (0.12, 0.20, 0.28),
    (0.22, 0.28, 0.32),
)
_DARK_IRIS = (0.65, 0.30, 0.05, 0.0, 0.0, 0.0)
_ANY_IRIS = (0.12, 0.20, 0.18, 0.15, 0.20, 0.15)

_LIPSTICK = ((0.45, 0.02, 0.03), (0.50, 0.12, 0.12), (0.30, 0.03, 0.06), (0.55, 0.20, 0.18))
_CLOTH = (
    (0.75, 0.74, 0.72),
    (0.03, 0.03, 0.035),
    (0.02, 0.03, 0.08),
    (0.22, 0.22, 0.23),
    (0.16, 0.02, 0.03),
    (0.45, 0.36, 0.25),
    (0.09, 0.10, 0.05),
    (0.08, 0.14, 0.25),
    (0.50, 0.10, 0.07),
    (0.04, 0.12, 0.10),
    (0.60, 0.50, 0.12),
    (0.35, 0.20, 0.30),
)
_FRAMES = (
    (0.010, 0.010, 0.012),
    (0.060, 0.025, 0.012),
    (0.350, 0.250, 0.100),
    (0.300, 0.300, 0.320),
    (0.250, 0.020, 0.020),
    (0.020, 0.030, 0.100),
)
_MEN = {"bald": 1.0, "buzz": 1.2, "short": 2.2, "side": 1.5, "curly": 0.9, "afro": 0.3, "long": 0.5}
_WOMEN = {
    "buzz": 0.1,
    "short": 0.5,
    "side": 0.5,
    "curly": 1.0,
    "afro": 0.4,
    "bob": 2.2,
    "long": 3.6,
    "bun": 1.1,
}


@dataclass(frozen=True)
class Person:
    """All that does not move. Colours are linear albedo, lengths decimetres.

    Args:
        seed: what the person was drawn from; skin and strands take their patterns from it.
        shape_weights: of the head model's targets without the 52 of the expression.
        masculinity: 0 feminine to 1 masculine.
        age: 0 (about 25 years) to 0.85 (about 80).
        melanin: 0 the lightest skin to 1 the darkest.
        skin: mean colour.
        hair: colour without the grey.
        grey: share of grey hairs.
        iris: colour.
        iris_radius: angle seen from the eyeball's centre, radians.
        gloss: factor of the skin's highlights.
        roughness: of the skin, 0..1.
        freckles: 0 none to 1.
        makeup: strength, 0..1.
        lipstick: colour that `makeup` mixes in.
        hair_style: one of `HAIR_STYLES`.
        hair_length: within the style, 0..1.
        hair_volume: 0..1.
        wave: 0 straight to 1 wavy.
        parting: place of the parting, -0.5 to 0.5.
        fringe: whether hair falls over the forehead.
        recession: of the hairline at the temples, 0..1.
        brow_height: above the usual place.
        brow_thickness: half thickness at the inner end.
        brow_arch: 0..1.
        brow_density: 0..1.
        beard: one of `BEARDS`.
        beard_density: 0..1.
        beard_length: of its hairs, 0 where they only shade the skin.
        glasses: half thickness of the frame, 0 for none.
        glasses_squareness: exponent of the rims' superellipse, 2 is an ellipse.
        glasses_colour: of the frame.
        cloth: colour.
        cloth_accent: colour of the stripes.
        stripes: per dm, 0 for none.
        neckline: height of the collar.
        neck_radius: radius of the collar.
        v_neck: depth of a V-neck, 0 for none.
        statue: whether everything is of one stone.
    """

    seed: int
    shape_weights: tuple[float, ...]
    masculinity: float
    age: float
    melanin: float
    skin: Colour
    hair: Colour
    grey: float
    iris: Colour
    iris_radius: float
    gloss: float
    roughness: float
    freckles: float
    makeup: float
    lipstick: Colour
    hair_style: str
    hair_length: float
    hair_volume: float
    wave: float
    parting: float
    fringe: bool
    recession: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    brow_density: float
    beard: str
    beard_density: float
    beard_length: float
    glasses: float
    glasses_squareness: float
    glasses_colour: Colour
    cloth: Colour
    cloth_accent: Colour
    stripes: float
    neckline: float
    neck_radius: float
    v_neck: float
    statue: bool


def sample_person(seed: int) -> Person:
    """Draw a person. Equal seeds give equal people; different seeds never do."""
    generator = np.random.default_rng([seed, 0x9E0])
    male = bool(generator.random() < 0.5)
    physique = _sample_physique(generator, male)
    age = physique.age
    shape = draw_face_shape(generator, physique, load_head_model().target_names)

    main_ancestry = int(np.argmax(physique.ancestry))
    mean, spread = _MELANIN[main_ancestry]
    melanin = float(np.clip(generator.normal(mean, spread), 0, 1))
    skin = _along(_SKIN, melanin) * generator.normal(1, 0.04, 3)
    dark = melanin > 0.5 or main_ancestry == 1
    hair = _pick(generator, _HAIR, _DARK_HAIR if dark else _ANY_HAIR) * generator.uniform(0.8, 1.25)
    iris = _pick(generator, _IRIS, _DARK_IRIS if dark else _ANY_IRIS) * generator.uniform(0.8, 1.2)
    cloth = _pick(generator, _CLOTH) * generator.uniform(0.6, 1.3)
    cloth = np.clip(cloth * np.exp(generator.normal(size=3) * 0.12), 0.01, 0.8)
    beard = _sample_beard(generator) if male else "none"
    bearded = beard in ("moustache", "goatee", "full")
    style = _sample_hair_style(generator, male, physique)
    statue = bool(generator.random() < 0.03)
    if statue:
        skin = np.array([0.42, 0.41, 0.39]) * generator.uniform(0.5, 1.5)
        hair, iris, beard, bearded = skin * 0.9, skin * 0.8, "none", False
    return Person(
        seed=seed,
        shape_weights=shape,
        masculinity=physique.masculinity,
        age=age,
        melanin=0.2 if statue else melanin,
        skin=_colour(skin),
        hair=_colour(hair),
        grey=0.0 if statue else _sample_grey(generator, male, age),
        iris=_colour(iris),
        iris_radius=float(generator.normal(0.475, 0.015)),
        gloss=float(generator.uniform(0.45, 1.1)) * (0.5 if statue else 1.0),
        roughness=float(generator.uniform(0.46, 0.60)),
        freckles=_sometimes(generator, 0.35, 0.2, 1.0) * (melanin < 0.5) * (not statue),
        makeup=float(np.clip(generator.normal(0.3, 0.35), 0, 1)) * (not male) * (not statue),
        lipstick=_colour(_pick(generator, _LIPSTICK)),
        hair_style=style,
        hair_length=float(generator.uniform()),
        hair_volume=float(generator.uniform()),
        wave=float(generator.uniform()),
        parting=float(generator.choice((-1, 1)) * generator.uniform(0, 0.5)),
        fringe=bool(generator.random() < 0.35),
        recession=float(np.clip(generator.normal(0.1 + 0.7 * age, 0.3), 0, 1)) if male else 0.0,
        brow_height=float(generator.normal(0, 0.015)),
        brow_thickness=float(generator.uniform(0.016, 0.028)) * (0.95 if male else 0.6),
        brow_arch=float(generator.beta(2, 2)) * (0.6 if male else 1.0),
        brow_density=float(generator.uniform(0.35, 1.0)) * (1.0 if male else 0.8),
        beard=beard,
        beard_density=float(generator.uniform(0.3, 1.0)) if beard != "none" else 0.0,
        beard_length=float(generator.choice((0.03, 0.05, 0.08, 0.12))) if bearded else 0.0,
        glasses=_sometimes(generator, 0.10, 0.008, 0.020) * (not statue),
        glasses_squareness=float(generator.uniform(2, 4.5)),
        glasses_colour=_colour(_pick(generator, _FRAMES)),
        cloth=_colour(cloth),
        cloth_accent=_colour(np.clip(cloth * generator.uniform(0.3, 1.6), 0, 0.9)),
        stripes=float(generator.choice((0, 0, 0, 6, 10))),
        neckline=float(generator.uniform(5.72, 6.1)),
        neck_radius=float(generator.uniform(0.62, 0.95 if male else 1.0)),
        v_neck=_sometimes(generator, 0.5, 0.3, 1.3),
        statue=statue,
    )


def _sample_physique(generator: np.random.Generator, male: bool) -> Physique:
    masculinity = generator.normal(0.9 if male else 0.08, 0.09)
    concentration = np.full(3, 0.5)
    concentration[generator.integers(3)] = 5
    african, asian, european = generator.dirichlet(concentration)
    return Physique(
        masculinity=float(np.clip(masculinity, 0, 1)),
        age=float(generator.beta(1.1, 1.8) * 0.85),
        ancestry=(float(african), float(asian), float(european)),
        weight=float(np.clip(generator.normal(0.0, 0.33), -0.8, 0.9)),
        muscle=float(np.clip(generator.normal(0, 0.3), -0.7, 0.8)),
    )


def _sample_grey(generator: np.random.Generator, male: bool, age: float) -> float:
    """Grey begins at 40 to 60 years, takes 20 to 35 to be complete, and is often dyed."""
    onset = generator.uniform(0.2, 0.55)
    grey = np.clip((age - onset) / generator.uniform(0.3, 0.55), 0, 1)
    dyed = generator.random() < (0.1 if male else 0.5)
    return 0.0 if dyed else float(grey)


def _sample_beard(generator: np.random.Generator) -> str:
    return str(generator.choice(BEARDS, p=(0.38, 0.27, 0.06, 0.09, 0.20)))


def _sample_hair_style(generator: np.random.Generator, male: bool, physique: Physique) -> str:
    african, asian, _ = physique.ancestry
    weights = dict(_MEN if male else _WOMEN)
    weights["afro"] *= 0.1 + 4 * african
    weights["curly"] *= 1.2 - asian
    if male:
        weights["bald"] *= 0.4 + 2 * physique.age
    shares = np.array([weights.get(style, 0.0) for style in HAIR_STYLES])
    return str(generator.choice(HAIR_STYLES, p=shares / shares.sum()))


def _sometimes(generator: np.random.Generator, chance: float, low: float, high: float) -> float:
    """A value between low and high, or more often 0."""
    value = float(generator.uniform(low, high))
    return value if generator.random() < chance else 0.0


def _pick(
    generator: np.random.Generator,
    palette: tuple[Colour, ...],
    shares: tuple[float, ...] | None = None,
) -> np.ndarray:
    return np.array(palette[generator.choice(len(palette), p=shares)])


def _along(palette: tuple[Colour, ...], position: float) -> np.ndarray:
    """The colour at 0 (the first) to 1 (the last)."""
    places = np.linspace(0, 1, len(palette))
    return np.array([np.interp(position, places, channel) for channel in np.array(palette).T])


def _colour(values: np.ndarray) -> Colour:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
