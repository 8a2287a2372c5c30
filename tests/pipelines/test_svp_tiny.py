"""svp-tiny, the checkpoint that ships with the package."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from svp_diffusers import SVP_TINY, SVPTalkingHeadPipeline
from svp_diffusers.checkpoints.loading import load_pipeline
from svp_diffusers.expression.arkit import ARKIT_BLENDSHAPES
from svp_diffusers.generation.demo import perform_sample
from svp_diffusers.generation.portrait import prepare_portraits
from svp_diffusers.generation.request import GenerationRequest
from svp_diffusers.hub.cards import CARDS, render_card
from svp_diffusers.measures.face_regions import locate_mouth
from svp_diffusers.media.audio import read_audio, to_mono
from svp_diffusers.media.face_track import follow_face
from svp_diffusers.media.keypoints import draw_head_keypoints
from svp_diffusers.media.landmarks import LandmarkFaceDetector, load_face_landmarker
from svp_diffusers.samples import PORTRAIT_KEYPOINTS, PORTRAITS, SPEECH
from svp_diffusers.talkers.manner import EMOTIONS

SIZE = 128
FRAME_SAMPLES = 640  # 16 kHz, 25 frames a second


@pytest.fixture(scope="module")
def svp_tiny() -> SVPTalkingHeadPipeline:
    pipeline = SVPTalkingHeadPipeline.from_pretrained(SVP_TINY, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_it_is_small_and_holds_no_code(svp_tiny: SVPTalkingHeadPipeline) -> None:
    files = [path for path in SVP_TINY.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors"}
    landmarker = [path for path in files if path.parent.name == "face_landmarker"]
    assert sum(path.stat().st_size for path in landmarker) < 5e6
    assert sum(path.stat().st_size for path in set(files) - set(landmarker)) < 40e6
    assert set(EMOTIONS) <= set(svp_tiny.style_encoder.style_bank)


def test_its_card_is_the_projects() -> None:
    assert (SVP_TINY / "README.md").read_text() == str(render_card(CARDS["svp-tiny"]))


def test_it_draws_the_person_of_the_portrait(svp_tiny: SVPTalkingHeadPipeline) -> None:
    """The head starts in the portrait's pose, so that pixels can be compared outside the mouth."""
    waveform = to_mono(read_audio(SPEECH[0]))[:6400]
    for person, path in enumerate(PORTRAITS):
        frames = perform_sample(svp_tiny, person, waveform, "neutral", seed=0)
        side = 2 * SIZE  # with the portrait's detail
        portrait = np.asarray(Image.open(path).resize((side, side), Image.Resampling.LANCZOS))
        error = (frames[0].astype(float) - portrait)[: side // 2] / 255
        # Noise gives 8 dB, the mean colour at most 12.8, another of these people 13.4.
        assert -10 * np.log10(np.square(error).mean()) > 18


def is_warned_of(pipeline: SVPTalkingHeadPipeline, path: Path) -> bool:
    picture = Image.open(path).convert("RGB")
    with torch.no_grad():
        given_back = pipeline.reconstruct_portrait(pipeline.encode_image(picture, SIZE, SIZE))
    return pipeline.measure_portrait(picture, given_back) < pipeline.config.min_portrait_psnr


def test_it_does_not_warn_of_people_drawn_like_its_own(svp_tiny: SVPTalkingHeadPipeline) -> None:
    assert not any(is_warned_of(svp_tiny, path) for path in PORTRAITS)


def test_it_warns_of_what_its_vae_does_not_know(
    svp_tiny: SVPTalkingHeadPipeline, tmp_path: Path
) -> None:
    stripes = np.indices((SIZE, SIZE)).sum(0)[..., None] % 4 // 2 * np.full(3, 255)
    Image.fromarray(stripes.astype(np.uint8)).save(tmp_path / "stripes.png")
    assert is_warned_of(svp_tiny, tmp_path / "stripes.png")


def test_it_does_not_warn_of_people_as_on_photographs(
    svp_tiny: SVPTalkingHeadPipeline, real_data: Path
) -> None:
    references = list((real_data / "clips").glob("*/reference.jpg"))
    assert len(references) == 5
    assert not any(is_warned_of(svp_tiny, path) for path in references)


def test_without_a_dtype_it_is_loaded_as_float32() -> None:
    pipeline = SVPTalkingHeadPipeline.from_pretrained(SVP_TINY)
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            assert {weight.dtype for weight in part.parameters()} == {torch.float32}, name


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return np.asarray(Image.open(PORTRAITS[1]).convert("RGB"))


def call(pipe: SVPTalkingHeadPipeline, image: object, **options: object) -> np.ndarray:
    return pipe(
        image,
        torch.zeros(3200),
        "neutral",
        generator=torch.Generator().manual_seed(0),
        detail_scale=0,
        output_type="np",
        **options,
    ).frames[0]


def decibels(frame: np.ndarray, portrait: np.ndarray) -> float:
    """Of the face alone, which a wrong pose destroys first."""
    half = np.asarray(Image.fromarray(portrait).resize((128, 128), Image.Resampling.LANCZOS)) / 255
    error = (frame - half)[35:105, 30:98]
    return float(-10 * np.log10((error**2).mean()))


def test_a_portrait_needs_no_keypoints(
    svp_tiny: SVPTalkingHeadPipeline, portrait: np.ndarray
) -> None:
    pipe = svp_tiny
    keypoints = np.load(PORTRAIT_KEYPOINTS[1])[None] / 2
    given = call(pipe, portrait, head_keypoints=draw_head_keypoints(keypoints, 128, 128))
    found = call(pipe, portrait)
    without = call(pipe, portrait, find_face=False)
    assert decibels(found[0], portrait) > decibels(given[0], portrait) - 3
    # It was trained without them now and then.
    assert decibels(without[0], portrait) > decibels(given[0], portrait) - 3
    # Inside a larger picture, the face is cut out.
    large = Image.new("RGB", (800, 500), (200, 190, 180))
    large.paste(Image.fromarray(portrait), (500, 150))
    crop, _ = pipe.find_head(large, 128, 128)
    assert decibels(call(pipe, large)[0], np.asarray(crop)) > decibels(given[0], portrait) - 3
    with pytest.raises(ValueError, match=r"No face was found.*find_face=False"):
        call(pipe, Image.new("RGB", (200, 200)))


@pytest.mark.parametrize("number", range(4))
def test_the_pipeline_and_the_command_see_the_same_head(
    svp_tiny: SVPTalkingHeadPipeline, number: int
) -> None:
    large = Image.new("RGB", (900, 700), (200, 190, 180))
    large.paste(Image.open(PORTRAITS[number]).convert("RGB"), (560, 210))
    crop, head = svp_tiny.find_head(large, SIZE, SIZE)
    request = GenerationRequest(Path("a.png"), Path("a.wav"), Path("v.mp4"))
    (portrait,) = prepare_portraits(request, [None], large, SIZE, "head8", LandmarkFaceDetector())
    assert crop == portrait.crop.image
    np.testing.assert_allclose(head.keypoints, portrait.keypoints, atol=1e-3)


def test_a_head_is_where_the_middle_of_a_high_video_shows_it(
    svp_tiny: SVPTalkingHeadPipeline, portrait: np.ndarray
) -> None:
    image = Image.fromarray(portrait)
    _, square = svp_tiny.find_head(image, 96, 96)
    _, high = svp_tiny.find_head(image, 96, 64)
    assert square.keypoints is not None
    np.testing.assert_allclose(high.keypoints, square.keypoints - [16, 0], atol=1e-3)


def perform(
    pipe: SVPTalkingHeadPipeline,
    person: int,
    style: str,
    seed: int,
    frames: int,
    temperature: float = 1.0,
) -> np.ndarray:
    """The first line of the samples by a head that is held still: (frames, 128, 128, 3) in 0..1."""
    speech = to_mono(read_audio(SPEECH[0]))[: frames * FRAME_SAMPLES]
    video: np.ndarray = pipe(
        Image.open(PORTRAITS[person]).convert("RGB"),
        speech,
        style,
        portrait_keypoints=[np.load(PORTRAIT_KEYPOINTS[person]) / 2],
        head_motion="still",
        style_temperature=temperature,
        detail_scale=0,
        generator=torch.Generator().manual_seed(seed),
        output_type="np",
    ).frames[0]
    return video


def test_it_makes_what_it_made_when_it_was_released(svp_tiny: SVPTalkingHeadPipeline) -> None:
    """Numbers to be replaced with its weights; 1e-3 is a hundred times what kernels differ by."""
    speech = to_mono(read_audio(SPEECH[0]))
    with torch.no_grad():
        heard = svp_tiny.encode_audio(torch.from_numpy(speech))
        style = svp_tiny.style_encoder(audio=heard[None])[0]
        poses = svp_tiny.head_motion.generate(
            heard, style.mean, torch.zeros(6), 50, 25.0, generator=torch.Generator().manual_seed(0)
        )
    for found, expected in (
        (heard[20], [-0.1248, -0.2846, -0.6005, -0.3866]),
        (style.mean, [-0.0317, 0.8625, -0.6565, 0.4204]),
        (style.std, [0.4210, 0.5051, 0.6387, 0.3272]),
        (poses[20], [-0.1012, 0.0674, 0.0619, 0.0075]),
        (poses[49], [-0.1237, 0.1207, 0.0932, 0.0023]),
    ):
        torch.testing.assert_close(found[:4], torch.tensor(expected), atol=1e-3, rtol=0)
    video = svp_tiny(
        Image.open(PORTRAITS[0]).convert("RGB"),
        speech[6400 : 6400 + 3 * FRAME_SAMPLES],
        "happy",
        portrait_keypoints=[np.load(PORTRAIT_KEYPOINTS[0]) / 2],
        detail_scale=0,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
    ).frames[0]
    brightness = [
        [0.7045, 0.5948, 0.4321, 0.5536],
        [0.7668, 0.5560, 0.6662, 0.5285],
        [0.7294, 0.6669, 0.6989, 0.6285],
        [0.6614, 0.5753, 0.6191, 0.6614],
    ]
    found = video[2].mean(axis=2).reshape(4, SIZE // 4, 4, SIZE // 4).mean(axis=(1, 3))
    np.testing.assert_allclose(found, brightness, atol=1e-3)


@pytest.mark.parametrize("person", [0, 2])  # rendered, and drawn
def test_the_mouth_opens_with_the_loudness_of_the_frames_own_sound(
    svp_tiny: SVPTalkingHeadPipeline, person: int
) -> None:
    """How far it is from its rest correlates with loudness, and less with the loudness of any other
    frame."""
    video = perform(svp_tiny, person, "neutral", seed=0, frames=25)
    keypoints = torch.from_numpy(np.load(PORTRAIT_KEYPOINTS[person])[None] / 2)
    mouth = locate_mouth(keypoints, SIZE, SIZE)[0, 0].numpy()
    opening = np.abs(video - video[:2].mean(axis=0))[:, mouth].mean(axis=(1, 2))
    speech = to_mono(read_audio(SPEECH[0]))[: 25 * FRAME_SAMPLES]
    loudness = np.square(speech.reshape(25, FRAME_SAMPLES)).mean(axis=1) ** 0.5
    assert loudness[:2].max() < 0.05 * loudness.max()  # it rests at first
    shifted = [np.corrcoef(opening, np.roll(loudness, shift))[0, 1] for shift in range(25)]
    assert shifted[0] > 0.6
    assert shifted[0] > max(shifted[1:]) + 0.05


def test_a_happy_face_smiles_more_than_a_neutral_one_whatever_the_noise(
    svp_tiny: SVPTalkingHeadPipeline,
) -> None:
    """At the style's mean, as the face landmarker reads it: 0.5 of 0 to 1, where five seeds differ
    by 0.1."""
    landmarker = load_face_landmarker()
    columns = [ARKIT_BLENDSHAPES.index(f"mouthSmile{side}") for side in ("Left", "Right")]

    def smile(style: str, seed: int) -> float:
        video = perform(svp_tiny, 2, style, seed, frames=3, temperature=0.0)
        frames = (255 * video).round().astype(np.uint8)
        track = follow_face(frames, Fraction(25), "video", landmarker)
        return float(track.blendshapes[:, columns].mean())

    neutral, happy = ([smile(style, seed) for seed in (0, 1)] for style in ("neutral", "happy"))
    noise = max(abs(np.subtract(*each)) for each in (neutral, happy))
    assert min(happy) - max(neutral) > max(0.1, 2 * noise)


@pytest.mark.parametrize(("dtype", "least"), [("float16", 35), ("bfloat16", 35)])
def test_half_precision_makes_the_same_video(
    svp_tiny: SVPTalkingHeadPipeline, portrait: np.ndarray, dtype: str, least: float
) -> None:
    half = load_pipeline(SVP_TINY, torch.device("cpu"), dtype)
    half.set_progress_bar_config(disable=True)
    difference = call(half, portrait) - call(svp_tiny, portrait)
    assert -10 * np.log10((difference**2).mean()) > least


def test_a_video_that_is_not_numbers_is_an_error(portrait: np.ndarray) -> None:
    """In float16 throughout, the reference UNet overflows."""
    pipe = SVPTalkingHeadPipeline.from_pretrained(SVP_TINY, dtype=torch.float16)
    pipe.set_progress_bar_config(disable=True)
    with pytest.raises(FloatingPointError, match=r"NaN or infinity.*use bfloat16 or float32"):
        call(pipe, portrait)
