"""Rendered people: who they are, their skin and what grows on it."""

from dataclasses import replace

import numpy as np
import pytest

from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.talkers.rendered.assets import HeadModel, load_head_model
from svp_diffusers.talkers.rendered.growth import grow_strands
from svp_diffusers.talkers.rendered.identity import BEARDS, HAIR_STYLES, Person, sample_person
from svp_diffusers.talkers.rendered.lashes import find_lash_grids
from svp_diffusers.talkers.rendered.skin import paint_skin
from svp_diffusers.talkers.rendered.strands import Strands


@pytest.fixture(scope="module")
def head() -> HeadModel:
    return load_head_model()


@pytest.fixture(scope="module")
def people() -> list[Person]:
    return [sample_person(seed) for seed in range(400)]


def grow(person: Person, head: HeadModel) -> tuple[Strands, ...]:
    return grow_strands(person, head, head.shape(person.shape_weights))


def test_a_seed_is_a_person_and_another_seed_is_another(people: list[Person]) -> None:
    assert sample_person(7) == people[7]
    assert len({person.shape_weights for person in people}) == len(people)


def test_people_are_of_every_kind(people: list[Person]) -> None:
    assert {person.hair_style for person in people} == set(HAIR_STYLES)
    assert {person.beard for person in people} == set(BEARDS)
    assert 0.4 < np.mean([person.masculinity > 0.5 for person in people]) < 0.6
    assert 0.06 < np.mean([person.glasses > 0 for person in people]) < 0.14
    melanin = np.array([person.melanin for person in people])
    assert all(np.mean((melanin >= low) & (melanin < low + 0.2)) > 0.05 for low in (0, 0.2, 0.6))
    ages = np.array([person.age for person in people])
    # 25 to 40, 40 to 55 and 55 to 80 years.
    assert all(
        np.mean((ages >= low) & (ages < high)) > 0.15
        for low, high in ((0, 0.23), (0.23, 0.46), (0.46, 0.85))
    )
    assert ages.max() <= 0.85


def test_the_old_are_greyer_than_the_young(people: list[Person]) -> None:
    young = [person.grey for person in people if person.age < 0.2]
    middle = [person.grey for person in people if 0.3 < person.age < 0.5]
    old = [person.grey for person in people if person.age > 0.6]

    assert np.mean(young) == 0 < np.mean(middle) < np.mean(old)


def test_everybody_holds_the_head_where_hair_and_light_expect_it(
    people: list[Person], head: HeadModel
) -> None:
    at_rest = head.vertices[head.left_eye].mean(0)
    for person in people[:20]:
        eye = head.shape(person.shape_weights)[head.left_eye].mean(0)
        np.testing.assert_allclose(eye, at_rest, atol=0.12)


def test_no_hair_hangs_into_the_face(people: list[Person], head: HeadModel) -> None:
    long_haired = [person for person in people if person.hair_style in ("bob", "long")]
    for person in long_haired[:6]:
        hair = next(strands for strands in grow(person, head) if strands.shadow)
        x, y, z = np.moveaxis(hair.points, -1, 0)
        assert not ((np.abs(x) < 0.5) & (y > 6.3) & (y < 7.4) & (z > 0.9)).any()


def test_lashes_close_with_the_lids(people: list[Person], head: HeadModel) -> None:
    assert [grid.shape for grid in find_lash_grids(head)] == [(13, 5), (12, 5)] * 2

    closed = head.expressions[
        [ARKIT_BLENDSHAPES.index(f"eyeBlink{side}") for side in ("Left", "Right")]
    ]
    person = replace(people[0], hair_style="bald", age=0.0, beard_length=0.0, glasses=0.0)
    _, *lashes = grow(person, head)
    for number, strands in enumerate(lashes):
        moved = closed.sum(0)[strands.anchors] * strands.anchor_weights[..., None]
        falls = moved.sum(2)[..., 1].mean()
        is_upper = number % 4 < 2
        assert falls < -0.04 if is_upper else abs(falls) < 0.03


def test_brows_and_beards_stay_on_the_skin(people: list[Person], head: HeadModel) -> None:
    person = next(
        person for person in people if person.beard == "full" and person.hair_style == "buzz"
    )
    vertices = head.shape(person.shape_weights)
    on_skin = [strands for strands in grow(person, head) if len(strands.anchors)]

    assert len(on_skin) == 10
    for strands in on_skin:
        np.testing.assert_allclose(strands.anchor_weights.sum(2), 1, atol=1e-5)
        skin = (vertices[strands.anchors] * strands.anchor_weights[..., None]).sum(2)
        roots = np.linalg.norm(strands.points[:, 0] - skin[:, 0], axis=1)
        assert roots.max() < 0.02


def test_skin_has_its_tone_and_the_lips_are_redder(people: list[Person], head: HeadModel) -> None:
    person = next(person for person in people if not person.statue and person.makeup == 0)
    texture = paint_skin(person, head)

    assert texture.shape == (*head.texture_shape, 4)
    assert texture[..., :3].min() > 0
    assert texture[..., :3].max() <= 0.95
    cheek = np.linalg.norm(head.texture_positions - (0.5, 6.9, 1.1), axis=-1) < 0.2
    np.testing.assert_allclose(texture[cheek][:, :3].mean(0), person.skin, rtol=0.35)
    red, green = texture[head.lips > 0.9][:, :2].mean(0)
    assert red / green > 1.15 * person.skin[0] / person.skin[1]


def test_the_skin_wrinkles_little_by_little(people: list[Person], head: HeadModel) -> None:
    person = next(person for person in people if not person.statue and person.melanin < 0.4)
    x, y, z = np.moveaxis(head.texture_positions, -1, 0)
    forehead = (np.abs(x) < 0.3) & (y > 7.65) & (y < 7.9) & (z > 0.8)

    def roughness(age: float) -> float:
        texture = paint_skin(replace(person, age=age, fringe=False), head)
        return float(np.log(texture[forehead][:, 1]).std())

    fresh, middle, worn = (roughness(age) for age in (0.0, 0.4, 0.8))
    assert fresh < middle < worn
    assert 0.2 < (middle - fresh) / (worn - fresh) < 0.9
