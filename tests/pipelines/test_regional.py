"""What a UNet of clips, Hallo's, is given with and without its conditions."""

import torch

from svp_diffusers.pipelines.guidance_svp import GuidancePass
from svp_diffusers.pipelines.regional_svp import RegionalConditions, find_regions

FRAMES = 4
SCALES = {
    "reference_attention_scale": 1.0,
    "audio_attention_scale": 0.6,
    "style_attention_scale": 0.7,
}


def make_conditions() -> RegionalConditions:
    """Of the features of the six pictures, each is its number; so are the two identities."""
    numbers = torch.arange(6.0)[:, None, None]
    return RegionalConditions(
        audio_tokens=torch.ones(FRAMES, 1, 1),
        style=torch.ones(1),
        reference_latents=torch.zeros(1, 1, 1, 1),
        reference_features={"block": numbers},
        head_features=torch.ones(1, 1, 1, 1, 1),
        identity_tokens=torch.arange(2.0)[:, None, None],
        masks=(torch.ones(1, 3, 1, 1),),
    )


def test_without_conditions_it_knows_nobody_hears_nothing_and_sees_the_earlier_frames() -> None:
    given = make_conditions().give(GuidancePass(1.0, False, False, False), SCALES)
    assert given["encoder_hidden_states"].item() == 0  # of no face
    assert given["style"] is given["reference_features"] is given["head_features"] is None
    assert not given["regional_audio"].tokens.any()
    assert given["context_features"]["block"].flatten().tolist() == [1, 2]


def test_with_conditions_it_knows_the_face_and_hears_by_regions() -> None:
    given = make_conditions().give(GuidancePass(1.0, True, True, True), SCALES)
    assert given["encoder_hidden_states"].item() == 1
    assert given["style"].item() == 1
    assert given["head_features"] is not None
    # Portraits without and with conditions in turn, as in the published net.
    assert given["reference_features"]["block"].flatten().tolist() == [0, 3, 0, 3]
    assert given["context_features"]["block"].flatten().tolist() == [4, 5]
    assert given["regional_audio"].tokens.all()
    assert given["regional_audio"].scales == (0.6, 0.6, 0.6)
    assert given["audio_attention_scale"] == 1  # of the identity's attention
    assert given["style_attention_scale"] == 0.7


def test_lips_are_in_the_lower_middle_of_the_face() -> None:
    picture = torch.zeros(3, 128, 128)
    picture[:, 10:110, 20:120] = 1
    face, lips = find_regions(picture)
    assert torch.equal(face, picture[0])
    expected = torch.zeros(128, 128)
    expected[10 + 61 : 10 + 79, 20 + 20 : 20 + 80] = 1
    assert torch.equal(lips, expected)
