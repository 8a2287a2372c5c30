"""Who is drawn: an `Identity` of smooth parameters, sampled so that no two people are the same."""

import colorsys
from dataclasses import dataclass

import numpy as np

from svp_diffusers.talkers.svg import Colour, mix

HAIR_STYLES = ("crop", "quiff", "side_part", "curls", "bob", "long", "bun", "shaved")
CLOTHES = ("crew_neck", "v_neck", "shirt", "turtleneck", "hoodie")
BEARDS = ("none", "stubble", "moustache", "full")

_SKIN = (
    (1.00, 0.90, 0.84),
    (0.98, 0.83, 0.73),
    (0.94, 0.75, 0.61),
    (0.86, 0.64, 0.47),
    (0.74, 0.50, 0.34),
    (0.58, 0.37, 0.24),
    (0.43, 0.27, 0.18),
    (0.32, 0.20, 0.14),
)
_HAIR = (
    (0.10, 0.08, 0.10),
    (0.20, 0.13, 0.11),
    (0.33, 0.20, 0.13),
    (0.47, 0.28, 0.16),
    (0.62, 0.30, 0.14),
    (0.76, 0.42, 0.18),
    (0.85, 0.65, 0.36),
    (0.94, 0.82, 0.58),
)
_SILVER = (0.80, 0.80, 0.84)
_IRIS = (
    (0.24, 0.13, 0.08),
    (0.40, 0.24, 0.11),
    (0.53, 0.40, 0.18),
    (0.35, 0.48, 0.26),
    (0.28, 0.50, 0.56),
    (0.27, 0.47, 0.72),
    (0.48, 0.56, 0.64),
)


@dataclass(frozen=True)
class Identity:
    """All that does not move. Lengths are canvas units (see `svg`) of a head seen at scale 1.

    Args:
        face_width: half width at the cheekbones.
        jaw_width: width of the jaw over that of the cheekbones.
        chin_width: width of the chin over that of the cheekbones.
        chin_height: from the eye line down to the chin.
        skull_height: from the eye line up to the top of the skull.
        eye_spacing: from the middle of the face to an eye's centre.
        eye_width: half width of an eye.
        eye_height: half height of an open eye.
        eye_tilt: rise of the outer corner.
        brow_height: from the eye line up to the brow.
        brow_thickness: half thickness at the inner end.
        brow_arch: rise of the brow's arch.
        nose_length: from the eye line down to the nose's base.
        nose_width: half width at the nostrils.
        mouth_height: from the eye line down to the mouth line.
        mouth_width: half width of the relaxed mouth.
        upper_lip: thickness of the upper lip.
        lower_lip: thickness of the lower lip.
        ear_size: half height of an ear.
        skin: colour.
        hair: colour, of brows and lashes too.
        iris: colour.
        lips: colour.
        cloth: colour.
        cloth_accent: colour of the details on the clothes.
        background: colour at the top.
        background_low: colour at the bottom.
        blush: opacity of the cheeks' colour, 0..1.
        freckles: 0 (none) to 1.
        hair_style: one of `HAIR_STYLES`.
        hair_volume: 0..1.
        hair_length: 0..1.
        hair_parting: -1 (image left) to 1.
        fringe: how far hair falls over the forehead, 0..1.
        beard: one of `BEARDS`.
        make_up: strength of lashes and lip colour, 0..1.
        clothes: one of `CLOTHES`.
        glasses: opacity of the frame, 0 means no glasses.
        glasses_roundness: 0 (rectangular) to 1 (round).
        glasses_colour: colour of the frame.
        light: direction of the light, -1 (image left) to 1 (image right).
        seed: pattern of curls, freckles and background.
    """

    face_width: float
    jaw_width: float
    chin_width: float
    chin_height: float
    skull_height: float
    eye_spacing: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    brow_height: float
    brow_thickness: float
    brow_arch: float
    nose_length: float
    nose_width: float
    mouth_height: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    ear_size: float
    skin: Colour
    hair: Colour
    iris: Colour
    lips: Colour
    cloth: Colour
    cloth_accent: Colour
    background: Colour
    background_low: Colour
    blush: float
    freckles: float
    hair_style: str
    hair_volume: float
    hair_length: float
    hair_parting: float
    fringe: float
    beard: str
    make_up: float
    clothes: str
    glasses: float
    glasses_roundness: float
    glasses_colour: Colour
    light: float
    seed: int


def sample_identity(seed: int) -> Identity:
    """Draw a person. Equal seeds give equal people; different seeds never do.

    One latent, `softness`, moves the proportions, hair styles, beards and make-up together, with
    noise around it, so that people look coherent and every mixture occurs. Our choice.
    """
    generator = np.random.default_rng([seed, 0x5EED])

    def around(low: float, high: float) -> float:
        return float(low + (high - low) * generator.beta(2.0, 2.0))

    softness = float(generator.uniform())

    def along(hard: float, soft: float, spread: float) -> float:
        return float(hard + (soft - hard) * softness + spread * generator.normal())

    tone = float(generator.uniform())
    skin = _along_palette(_SKIN, tone)
    skin = mix(skin, (1.0, 0.72, 0.45), float(generator.uniform(0, 0.10)))
    hair = _sample_hair(generator, tone)
    iris = _along_palette(_IRIS, float(generator.beta(1.0, 1.0 + 6.0 * tone)))
    make_up = float(np.clip(along(-0.3, 0.9, 0.2), 0, 1))
    natural_lips = mix(skin, (0.70, 0.22, 0.22), 0.42)
    lipstick = mix((0.80, 0.20, 0.26), (0.62, 0.16, 0.30), float(generator.uniform()))
    background, background_low, cloth, accent = _sample_scene(generator)
    bearded = softness < 0.45 and generator.uniform() < 0.6
    return Identity(
        face_width=around(19.8, 24.0),
        jaw_width=float(np.clip(along(0.90, 0.79, 0.045), 0.72, 0.99)),
        chin_width=float(np.clip(along(0.50, 0.36, 0.055), 0.28, 0.58)),
        chin_height=along(30.0, 28.0, 1.0),
        skull_height=around(24.5, 28.5),
        eye_spacing=around(9.1, 10.8),
        eye_width=float(np.clip(along(4.1, 4.8, 0.28), 3.7, 5.3)),
        eye_height=float(np.clip(along(2.5, 3.2, 0.26), 2.1, 3.7)),
        eye_tilt=float(np.clip(along(0.1, 0.7, 0.4), -0.5, 1.3)),
        brow_height=along(6.6, 7.6, 0.4),
        brow_thickness=float(np.clip(along(1.35, 0.75, 0.18), 0.5, 1.7)),
        brow_arch=float(np.clip(along(0.8, 1.7, 0.35), 0.3, 2.4)),
        nose_length=along(13.0, 11.8, 0.7),
        nose_width=float(np.clip(along(3.5, 2.9, 0.3) + 0.5 * tone, 2.4, 4.4)),
        mouth_height=along(19.4, 18.6, 0.4),
        mouth_width=around(7.2, 9.4),
        upper_lip=float(np.clip(along(1.05, 1.65, 0.2) + 0.35 * tone, 0.7, 2.1)),
        lower_lip=float(np.clip(along(1.5, 2.1, 0.2) + 0.4 * tone, 1.0, 2.5)),
        ear_size=around(4.3, 5.4),
        skin=skin,
        hair=hair,
        iris=iris,
        lips=mix(natural_lips, lipstick, 0.75 * make_up * float(generator.uniform(0.3, 1))),
        cloth=cloth,
        cloth_accent=accent,
        background=background,
        background_low=background_low,
        blush=around(0.12, 0.42),
        freckles=float(max(0.0, generator.uniform(-2.5, 1.0))) * float(tone < 0.45),
        hair_style=_sample_hair_style(generator, softness),
        hair_volume=float(generator.uniform()),
        hair_length=float(generator.uniform()),
        hair_parting=float(generator.choice((-1, 1)) * generator.uniform(0.25, 0.9)),
        fringe=float(generator.uniform()),
        beard=str(generator.choice(BEARDS[1:])) if bearded else "none",
        make_up=make_up,
        clothes=str(generator.choice(CLOTHES)),
        glasses=float(generator.uniform(0.8, 1.0)) if generator.uniform() < 0.28 else 0.0,
        glasses_roundness=float(generator.uniform()),
        glasses_colour=_along_palette(
            ((0.10, 0.10, 0.13), (0.35, 0.18, 0.10), (0.72, 0.52, 0.22), (0.62, 0.12, 0.20)),
            float(generator.uniform()),
        ),
        light=float(generator.choice((-1, 1)) * generator.uniform(0.5, 1.0)),
        seed=seed,
    )


def _along_palette(palette: tuple[Colour, ...], position: float) -> Colour:
    scaled = position * (len(palette) - 1)
    index = min(int(scaled), len(palette) - 2)
    return mix(palette[index], palette[index + 1], scaled - index)


def _sample_hair(generator: np.random.Generator, tone: float) -> Colour:
    natural = _along_palette(_HAIR, float(generator.beta(1.0, 1.0 + 4.0 * tone)))
    kind = generator.uniform()
    if kind < 0.10:
        return mix(natural, _SILVER, float(generator.uniform(0.6, 1.0)))
    if kind < 0.16:
        dyed = colorsys.hls_to_rgb(float(generator.uniform(0.45, 1.0)), 0.45, 0.45)
        return mix(natural, dyed, 0.75)
    return natural


def _sample_hair_style(generator: np.random.Generator, softness: float) -> str:
    weights = {
        "crop": 1.2 * (1 - softness),
        "quiff": 1.2 * (1 - softness),
        "side_part": 0.9 * (1 - softness) + 0.1,
        "curls": 0.6,
        "bob": 1.3 * softness,
        "long": 1.5 * softness + 0.05,
        "bun": 1.0 * softness,
        "shaved": 0.35 * (1 - softness),
    }
    share = np.array([weights[style] for style in HAIR_STYLES])
    return str(generator.choice(HAIR_STYLES, p=share / share.sum()))


def _sample_scene(generator: np.random.Generator) -> tuple[Colour, Colour, Colour, Colour]:
    hue = float(generator.uniform())
    background = colorsys.hls_to_rgb(hue, float(generator.uniform(0.70, 0.84)), 0.45)
    low = colorsys.hls_to_rgb((hue + 0.06) % 1, float(generator.uniform(0.48, 0.62)), 0.38)
    cloth_hue = (hue + float(generator.uniform(0.3, 0.7))) % 1
    lightness = float(generator.choice((0.22, 0.38, 0.52, 0.86), p=(0.3, 0.35, 0.2, 0.15)))
    cloth = colorsys.hls_to_rgb(cloth_hue, lightness, float(generator.uniform(0.25, 0.6)))
    accent = colorsys.hls_to_rgb((cloth_hue + 0.45) % 1, 0.9 if lightness < 0.6 else 0.4, 0.4)
    return background, low, cloth, accent
