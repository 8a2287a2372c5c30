"""Frames as they are finished: those of a call where that is promised, live, in bounded memory."""

import copy
import gc
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from diffusers import EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from PIL import Image
from transformers import WhisperFeatureExtractor

from svp_diffusers import SVP_TINY, SVPTalkingHeadPipeline
from svp_diffusers.models.audio_projector_svp import StateTokens
from svp_diffusers.models.speech_states_svp import WhisperStates
from svp_diffusers.pipelines.sound_svp import StoredSound, prepare_waveform, resample_pieces
from svp_diffusers.pipelines.stream_svp import FinishedFrames
from svp_diffusers.samples import PORTRAITS

SIZE = 16
PORTRAIT = torch.rand(3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def speech(seconds: float, rate: int = 16000) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(round(seconds * rate))
    return (0.1 * noise).astype(np.float32)


def cut(waveform: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (waveform[start : start + size] for start in range(0, len(waveform), size))


def arguments(**changes: Any) -> dict[str, Any]:
    return {
        "image": PORTRAIT,
        "height": SIZE,
        "width": SIZE,
        "num_inference_steps": 1,
        "shared_noise": 0.5,
        "generator": torch.Generator().manual_seed(0),
        "output_type": "pt",
        **changes,
    }


def join(chunks: Iterator[FinishedFrames]) -> torch.Tensor:
    """All frames; they must come in order and without a gap."""
    frames: list[torch.Tensor] = []
    for chunk in chunks:
        assert chunk.first_frame == sum(map(len, frames))
        frames.append(chunk.frames)
    return torch.cat(frames)


@pytest.fixture(scope="module")
def still(tiny_pipeline: SVPTalkingHeadPipeline) -> SVPTalkingHeadPipeline:
    """Without motion modules."""
    unet = copy.deepcopy(tiny_pipeline.unet)
    unet.enable_motion_modules(False)
    changed = SVPTalkingHeadPipeline.from_pipe(tiny_pipeline, unet=unet)
    changed.set_progress_bar_config(disable=True)
    return changed


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("kind", ["array", "file", "pieces"])
def test_a_recording_gives_the_frames_of_a_call(
    still: SVPTalkingHeadPipeline, tmp_path: Path, kind: str, rate: int
) -> None:
    waveform = speech(2.3, rate)
    stereo = np.stack([waveform, -0.5 * waveform])
    audio: Any = stereo
    if kind == "file":
        audio = tmp_path / "speech.wav"
        soundfile.write(audio, stereo.T, rate, subtype="FLOAT")
    elif kind == "pieces":
        audio = StoredSound(lambda: (stereo[:, i : i + 999] for i in range(0, 10**6, 999)), rate)
    style = [(0.0, None), (1.0, None)]
    called = still(audio=stereo, style=style, sampling_rate=rate, **arguments())
    frames = join(still.stream(audio=audio, style=style, sampling_rate=rate, **arguments()))
    assert len(frames) == 58  # three windows, the last of 10
    assert torch.equal(frames, called.frames[0])


def test_so_does_a_long_one(still: SVPTalkingHeadPipeline) -> None:
    """Noise is drawn for 768 frames at once, speech normalised and encoded 30 s at a time."""
    waveform = speech(65) * np.linspace(0.1, 1, 65 * 16000, dtype=np.float32)
    options = {"fps": 15, "audio": waveform, "output_type": "latent", "guidance_scale": 1.0}
    called = still(**arguments(**options)).frames[0]
    latents = [chunk.frames for chunk in still.stream(**arguments(**options))]
    assert torch.equal(torch.cat(latents, dim=1), called)
    assert called.shape[1] == 975


@pytest.mark.parametrize("pictures", [1, 30])
def test_so_does_one_with_pictures_of_the_head(
    still: SVPTalkingHeadPipeline, pictures: int
) -> None:
    shown = torch.rand(pictures, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    options = {"audio": speech(1.2), "head_keypoints": shown, "guidance_scale": 1.0}
    called = still(**arguments(**options)).frames[0]
    assert len(called) == 30  # two windows
    frames = join(still.stream(**arguments(**options)))
    torch.testing.assert_close(frames, called, atol=1e-5, rtol=0)


def with_scheduler(pipeline: SVPTalkingHeadPipeline, kind: Any) -> SVPTalkingHeadPipeline:
    scheduler = kind.from_config(pipeline.scheduler.config)
    changed = SVPTalkingHeadPipeline.from_pipe(pipeline, scheduler=scheduler)
    changed.set_progress_bar_config(disable=True)
    return changed


def test_so_does_one_with_a_scheduler_of_large_noise(still: SVPTalkingHeadPipeline) -> None:
    pipeline = with_scheduler(still, EulerDiscreteScheduler)
    options = {"audio": speech(0.4), "num_inference_steps": 2}
    called = pipeline(**arguments(**options)).frames[0]
    assert torch.equal(join(pipeline.stream(**arguments(**options))), called)


def test_the_generator_decides_what_a_scheduler_adds(still: SVPTalkingHeadPipeline) -> None:
    pipeline = with_scheduler(still, EulerAncestralDiscreteScheduler)
    options = {"audio": speech(0.4), "num_inference_steps": 2}
    first, second = (join(pipeline.stream(**arguments(**options))) for _ in range(2))
    assert torch.equal(first, second)


def test_heads_that_move_by_themselves_move_as_in_a_call() -> None:
    pipeline = SVPTalkingHeadPipeline.from_pretrained(SVP_TINY)
    pipeline.set_progress_bar_config(disable=True)
    options = arguments(image=Image.open(PORTRAITS[0]), audio=speech(2.5), shared_noise=None)
    options |= {"height": None, "width": None, "output_type": "latent", "style": "happy"}
    called = pipeline(**options)
    options["generator"].manual_seed(0)
    chunks = list(pipeline.stream(**options))
    assert torch.equal(torch.cat([chunk.frames for chunk in chunks], dim=1), called.frames[0])
    assert torch.equal(chunks[-1].styles, called.styles[0])
    options["generator"] = None  # then all is drawn from PyTorch's own
    with torch.random.fork_rng():
        torch.manual_seed(0)
        called = pipeline(**options)
        torch.manual_seed(0)
        frames = [chunk.frames for chunk in pipeline.stream(**options)]
    assert torch.equal(torch.cat(frames, dim=1), called.frames[0])


def test_pieces_are_resampled_as_the_whole() -> None:
    for rate in (8000, 22050, 44100, 48000, 11025):
        waveform = speech(0.7, rate)
        whole = prepare_waveform(waveform, rate).numpy()
        for size in (40, 441, 1764, 10**5):
            pieces = list(resample_pieces(cut(waveform, size), rate, 16000))
            np.testing.assert_array_equal(np.concatenate(pieces), whole)


def test_a_live_frame_needs_a_fifth_of_a_second_of_sound_beyond_it(
    still: SVPTalkingHeadPipeline,
) -> None:
    """Pieces of 40 ms, as frames: each comes with the fifth piece after its own."""
    given: list[int] = []

    def microphone() -> Iterator[np.ndarray]:
        for piece in cut(speech(0.6), 640):
            given.append(len(given))
            yield piece

    heard = {}
    for chunk in still.stream(audio=microphone(), **arguments()):
        heard.update({chunk.first_frame + i: len(given) for i in range(len(chunk.frames))})
    assert [heard[frame] - 1 - frame for frame in range(10)] == [5] * 10
    assert sorted(heard) == list(range(15))  # those of the end are made when it has come


def test_live_frames_do_not_depend_on_how_the_sound_is_cut(
    still: SVPTalkingHeadPipeline,
) -> None:
    waveform = speech(1.3, 48000)
    frames = [
        join(still.stream(audio=cut(waveform, size), sampling_rate=48000, **arguments()))
        for size in (480, 1920, 10**6)
    ]
    assert [len(each) for each in frames] == [32] * 3
    for other in frames[1:]:  # but for the rounding of other batches
        torch.testing.assert_close(other, frames[0], atol=1e-4, rtol=0)


def test_live_speech_moves_the_lips(still: SVPTalkingHeadPipeline) -> None:
    spoken = join(still.stream(audio=cut(speech(1.0), 640), **arguments()))
    silent = join(still.stream(audio=cut(np.zeros(16000, np.float32), 640), **arguments()))
    called = still(audio=speech(1.0), **arguments(shared_noise=1.0)).frames[0]
    close = join(still.stream(audio=cut(speech(1.0), 640), **arguments(shared_noise=1.0)))
    assert (spoken - silent).abs().max() > 0.01
    assert close.shape == called.shape


def test_windows_with_motion_modules_hold_what_was_shown(
    tiny_pipeline: SVPTalkingHeadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[list[torch.Tensor]] = []
    pipeline = copy.copy(tiny_pipeline)
    denoise = pipeline._denoise_window

    def record(*args: Any) -> list[torch.Tensor]:
        windows.append(denoise(*args))
        return windows[-1]

    monkeypatch.setattr(pipeline, "_denoise_window", record)
    options = {"context_length": 12, "context_overlap": 4, "num_inference_steps": 3}
    chunks = list(pipeline.stream(audio=speech(1.2), **arguments(output_type="latent", **options)))
    assert [chunk.frames.shape[1] for chunk in chunks] == [12, 8, 8, 2]
    for before, after, shared in zip(windows, windows[1:], (4, 4, 10), strict=False):
        for shown, held in zip(before[1:], after[1:], strict=True):
            assert torch.equal(shown[:, -shared:], held[:, :shared])


def test_memory_does_not_grow(
    still: SVPTalkingHeadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is held of ten minutes, live and recorded, when nothing is denoised."""
    monkeypatch.setattr(still, "_denoise_window", lambda scheduler, noise, *rest: [noise])
    opened: list[Any] = []
    open_speech = still.open_speech

    def spy(*args: Any) -> Any:
        opened.append(open_speech(*args))
        return opened[-1]

    monkeypatch.setattr(still, "open_speech", spy)
    minute = speech(60)
    most = {
        "recorded": lambda it: it._embeddings._held[0].shape[0] + it.tokens._held[0].shape[0],
        "live": lambda it: len(it._waveform) + len(it._recent),
    }
    bounds = {"recorded": 60 * 50 + 2 * 256, "live": 4 * 16000}
    for name, audio in (
        ("recorded", StoredSound(lambda: [minute] * 3, 16000)),
        ("live", iter([each for _ in range(2) for each in cut(minute[: 16000 * 20], 3200)])),
    ):
        sizes = [
            most[name](opened[-1])
            for _ in still.stream(audio=audio, **arguments(output_type="latent"))
        ]
        assert max(sizes) <= bounds[name], name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"style": "from_audio"}, "all of the speech before the first frame"),
        ({"style": [(0.0, None), (1.0, "from_audio")]}, "all of the speech"),
        ({"head_keypoints": torch.zeros(5, 3, SIZE, SIZE)}, "not known before it comes"),
        ({"audio": iter([np.zeros((2, 2, 2))])}, "must be a waveform"),
        ({"audio": iter([np.full(9000, np.nan)])}, "NaN"),
        ({"audio": iter([np.zeros(10)])}, "at least 400"),
        ({"audio": np.zeros(10)}, "at least 400"),
        ({"audio": np.stack([speech(1), -speech(1)])}, "cancel each other"),
        ({"audio": "nowhere.wav"}, "cannot be read"),
        ({"audio": [speech(0.5)]}, "iterator of its pieces, as `iter"),
        ({"sampling_rate": 0}, "sampling rate"),
        ({"context_length": 99}, "context_length"),
        ({"output_type": "gif"}, "output_type"),
    ],
)
def test_a_bad_argument_is_named(
    still: SVPTalkingHeadPipeline, changes: dict[str, Any], said: str
) -> None:
    live = {"audio": iter([speech(0.5)])}
    with pytest.raises(ValueError, match=said):
        list(still.stream(**arguments(**{**live, **changes})))


def test_encoders_of_windows_stream_too(still: SVPTalkingHeadPipeline) -> None:
    """Whisper's cuts the windows of frames itself, here in one part."""
    encoder = WhisperStates(d_model=32, encoder_layers=1, encoder_attention_heads=2)
    pipeline = SVPTalkingHeadPipeline.from_pipe(
        still,
        audio_encoder=encoder.eval(),
        feature_extractor=WhisperFeatureExtractor(),
        audio_projector=StateTokens(num_states=2),
    )
    pipeline.set_progress_bar_config(disable=True)
    waveform = speech(1.3)
    called = pipeline(audio=waveform, **arguments())
    frames = join(pipeline.stream(audio=waveform, **arguments()))
    assert torch.equal(frames, called.frames[0])
    assert len(join(pipeline.stream(audio=cut(waveform, 1600), **arguments()))) == 32


def test_a_stream_takes_what_a_call_takes() -> None:
    """But for several videos, callbacks, given noise and a face by its embedding."""
    called = set(inspect.signature(SVPTalkingHeadPipeline.__call__).parameters)
    streamed = set(inspect.signature(SVPTalkingHeadPipeline.stream).parameters)
    assert called - streamed == {
        *("num_videos_per_style", "latents", "face_embedding", "return_dict"),
        *("callback_on_step_end", "callback_on_step_end_tensor_inputs"),
    }
    assert not streamed - called


@pytest.mark.parametrize("kind", ["live", "recorded"])
def test_who_leaves_a_stream_lets_go_of_its_sound_and_its_hooks(
    still: SVPTalkingHeadPipeline, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    ended: list[str] = []

    def give() -> Iterator[np.ndarray]:
        try:
            while len(ended) < 99:
                yield speech(1)
        finally:
            ended.append("sound")

    minute, recorded = speech(60), False

    def read() -> Iterator[np.ndarray]:
        nonlocal recorded
        measured, recorded = recorded, True
        return give() if measured else iter([minute])

    monkeypatch.setattr(still, "maybe_free_model_hooks", lambda: ended.append("hooks"))
    gc.disable()
    try:
        for _ in still.stream(
            audio=give() if kind == "live" else StoredSound(read, 16000),
            **arguments(output_type="latent", guidance_scale=1.0, fps=5),
        ):
            break
        assert sorted(ended) == ["hooks", "sound"]
    finally:
        gc.enable()


def test_a_microphone_that_fails_ends_the_stream_with_its_own_error(
    still: SVPTalkingHeadPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    freed: list[bool] = []
    monkeypatch.setattr(still, "maybe_free_model_hooks", lambda: freed.append(True))

    def microphone() -> Iterator[np.ndarray]:
        yield np.zeros(0)  # nothing yet
        yield speech(0.5)
        yield (2**15 * speech(0.1)).astype(np.int16)
        raise OSError("unplugged")

    stream = still.stream(audio=microphone(), **arguments(guidance_scale=1.0))
    shown = [next(stream), next(stream)]
    assert sum(len(part.frames) for part in shown) == 10  # of 0.6 s, 0.2 s of which are ahead
    with pytest.raises(OSError, match="unplugged"):
        next(stream)
    assert freed == [True]
