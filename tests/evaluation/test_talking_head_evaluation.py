"""The whole measurement, on painted talkers and models whose figures are known beforehand."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.configuration_utils import FrozenDict

from svp_diffusers.data.clips import encode_clip
from svp_diffusers.data.shards import ShardWriter
from svp_diffusers.errors import ConfigurationError, DatasetError
from svp_diffusers.evaluation.talking_head import cost
from svp_diffusers.evaluation.talking_head import evaluate as measurement
from svp_diffusers.evaluation.talking_head.clips import TrueClip, TrueClips
from svp_diffusers.evaluation.talking_head.evaluate import (
    PARTS,
    EvaluationSettings,
    Report,
    evaluate_videos,
)
from svp_diffusers.evaluation.talking_head.reading import EncoderReader, Reading
from svp_diffusers.evaluation.talking_head.report import write_report
from svp_diffusers.evaluation.talking_head.table import Aim, Row, format_table
from svp_diffusers.measures.intervals import Estimate
from svp_diffusers.pipelines.guidance_svp import plan_guidance
from svp_diffusers.pipelines.output_svp import SVPTalkingHeadPipelineOutput
from svp_diffusers.pipelines.pipeline_svp_talking_head import SVPTalkingHeadPipeline

from .painted import (
    EMOTIONS,
    Painter,
    SquareEncoder,
    make_clip,
    square_reader,
    write_dataset,
)

SETTINGS = EvaluationSettings(
    parts=PARTS[:-1], clips=12, style_clips=4, variation_clips=3, training_clips=18
)
JPEG = 0.02  # of the range 0..1: what the dataset's JPEGs and the rounding of pixels change


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_dataset(tmp_path_factory.mktemp("painted")))


def evaluate(painter: Painter, data: str, **changes: object) -> Report:
    settings = EvaluationSettings(**{**vars(SETTINGS), **changes})
    return evaluate_videos(painter, data, square_reader(), settings, lambda *progress: None)


def find(report: Report, start: str) -> Row:
    rows = [row for result in report.results.values() for row in result.rows]
    return next(row for row in rows if row.measure.startswith(start))


@pytest.fixture(scope="module")
def perfect(data: str) -> Report:
    return evaluate(Painter(), data)


def test_a_perfect_model_reaches_every_ceiling(perfect: Report) -> None:
    jaw = find(perfect, "jaw opening: correlation")
    assert jaw.generated.value == pytest.approx(1, abs=1e-3)
    assert jaw.true.value == pytest.approx(1, abs=1e-3)
    assert abs(jaw.control.value) < 0.2  # 12 clips of 20 independent frames
    assert find(perfect, "jaw opening: lag").generated.value == 0
    style = find(perfect, "requested style recovered")
    assert style.generated.value == 1
    assert style.true.value == style.reconstructed.value == 1
    assert style.control.value == 0
    assert find(perfect, "all emotions: shift").generated.value == pytest.approx(1, abs=JPEG)
    for emotion in ("happy", "sad"):
        effect = find(perfect, f"{emotion}: shift")
        assert effect.generated.value == pytest.approx(1, abs=3 * JPEG)
        assert effect.reconstructed.value == pytest.approx(1, abs=JPEG)
    for row in perfect.results["interpolation"].rows:
        assert row.generated.value == pytest.approx(1)
        assert row.aim.judge(row.generated) == "reached"
    assert find(perfect, "frame-to-frame").generated.value == pytest.approx(1, abs=0.1)


def test_portraits_are_compared_by_where_their_keypoints_come_from(perfect: Report) -> None:
    start = "PSNR around the eyes of a still head, keypoints"
    found, none = (
        find(perfect, f"{start} {source}").generated.value for source in ("found", "none")
    )
    assert found == pytest.approx(20 * math.log10(255), abs=1e-3)
    assert none == pytest.approx(20 * math.log10(255 / 16), abs=1e-3)


def test_only_coefficients_that_an_emotion_moves_are_its_effect(perfect: Report) -> None:
    moved = perfect.results["style"].details["shift from neutral"]
    assert {name: set(shifts) for name, shifts in moved.items()} == {
        name: set(EMOTIONS[name]) for name in ("happy", "sad")
    }
    assert moved["sad"]["browInnerUp"]["generated"] == pytest.approx(0.5, abs=JPEG)


def test_a_model_that_shows_half_of_a_style(data: str) -> None:
    report = evaluate(Painter(effect=0.5), data, parts=["style"])
    assert find(report, "all emotions").generated.value == pytest.approx(0.5, abs=JPEG)
    assert find(report, "all emotions").generated.people == 4


def test_a_model_that_is_deaf_to_style(data: str) -> None:
    report = evaluate(Painter(effect=0), data, parts=["style", "interpolation", "diversity"])
    assert find(report, "requested style").generated.value == pytest.approx(1 / 3)
    assert find(report, "all emotions").generated.value == pytest.approx(0, abs=1e-6)
    for row in report.results["interpolation"].rows:
        assert row.generated.value == 0
    for row in report.results["diversity"].rows:
        assert row.generated.value == 0


def test_spread_over_styles_and_over_noise_are_told_apart(data: str) -> None:
    report = evaluate(Painter(drawn=0.05), data, parts=["diversity"])
    emotion = find(report, "spread over styles drawn from the clip's emotion")
    # 3 clips x 4 samples x 52 coefficients: the deviation is known to about 6 %.
    assert emotion.generated.value == pytest.approx(0.05, rel=0.2)
    assert find(report, "spread over noise").generated.value == 0
    assert find(report, "temperature 0").generated.value == 0
    report = evaluate(Painter(noise=0.05), data, parts=["diversity"])
    assert find(report, "spread over noise").generated.value == pytest.approx(0.05, rel=0.2)
    assert find(report, "spread over styles").generated.value == 0


class DimPainter(Painter):
    """All that it makes, and its VAE gives back, has half the light."""

    def generate(self, *arguments: Any, **options: Any) -> np.ndarray:
        return super().generate(*arguments, **options) // 2

    def reconstruct(self, frames: np.ndarray) -> np.ndarray:
        return frames // 2


def test_styles_are_learned_from_what_the_vae_leaves_of_them(data: str) -> None:
    """So that a model is not blamed for what no video of its VAE can show."""
    report = evaluate(DimPainter(), data, parts=["style"], clips=6, style_clips=2)
    style = find(report, "requested style recovered")
    assert style.generated.value == style.reconstructed.value == 1
    assert 0 <= style.true.low < style.true.value < 1
    assert style.true.high <= 1  # a share


class MoodyPainter(Painter):
    """Shows the styles of some people only."""

    def generate(self, clip: TrueClip, *arguments: Any, **options: Any) -> np.ndarray:
        self.effect = float(clip.key not in ("test-0", "test-4"))
        return super().generate(clip, *arguments, **options)


def test_the_interval_of_a_share_ends_at_the_whole(data: str) -> None:
    style = find(evaluate(MoodyPainter(), data, parts=["style"], clips=3), "requested style")
    assert style.generated.value == pytest.approx((1 + 1 + 1 / 3 + 1 / 3) / 4)
    assert style.generated.high == 1
    assert (style.control.low, style.control.high) == (0, 1)


def test_models_are_measured_on_people_of_the_test_split_alone(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    painter = Painter()

    def note(clip: TrueClip, *arguments: Any, **options: Any) -> np.ndarray:
        made.append(clip.key)
        return Painter().generate(clip, *arguments, **options)

    monkeypatch.setattr(painter, "generate", note)
    seen = []
    monkeypatch.setattr(painter, "reconstruct", lambda frames: seen.append(len(frames)) or frames)
    evaluate(painter, data, clips=3, style_clips=2, variation_clips=1)
    assert {key.partition("-")[0] for key in made} == {"test"}
    assert len(seen) == 3 + 18  # test clips, and training clips that styles are learned from


def test_the_cost_is_that_of_a_clip_of_the_test_split(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed = []
    monkeypatch.setattr(measurement, "load_pipeline", lambda *arguments: None)
    monkeypatch.setattr(measurement, "Sampler", lambda *arguments: Painter())
    monkeypatch.setattr(
        measurement, "evaluate_cost", lambda checkpoint, clip, *rest: timed.append(clip.key)
    )
    settings = EvaluationSettings(**{**vars(SETTINGS), "parts": ["cost"]})
    measurement.evaluate_checkpoint(
        Path(), data, square_reader(), settings, torch.device("cpu"), "float32"
    )
    assert timed == ["test-0"]


def test_the_time_without_guidance_is_measured_without_it(
    data: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []

    class Pipeline:
        """A checkpoint that guides sound and style by itself."""

        config = FrozenDict(guidance_scale=1.0, audio_guidance_scale=2.0, style_guidance_scale=2.0)
        fill_guidance_scales = SVPTalkingHeadPipeline.fill_guidance_scales

        def set_progress_bar_config(self, **options: Any) -> None: ...

        def __call__(self, **options: Any) -> SVPTalkingHeadPipelineOutput:
            names = ("guidance_scale", "audio_guidance_scale", "style_guidance_scale")
            scales = self.fill_guidance_scales(*(options.get(name) for name in names))
            calls.append({**options, "passes": len(plan_guidance(*scales))})
            return SVPTalkingHeadPipelineOutput(frames=[torch.zeros(1)], styles=[], details=[None])

        def decode_latents(self, latents: torch.Tensor, detail: None) -> Iterator[torch.Tensor]:
            yield latents

    monkeypatch.setattr(cost, "load_pipeline", lambda *arguments: Pipeline())
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    options = {"audio_guidance_scale": 3.0}
    clip = TrueClips(data, "test", 1)[0]
    measured = cost.measure_cost(Path(), clip, options, torch.device("cpu"), "float32", 3)
    assert threads == [3]
    assert [len(runs) for runs in measured.seconds.values()] == [cost.RUNS] * 6
    timed = [(c["num_inference_steps"], c["passes"]) for c in calls if "num_inference_steps" in c]
    expected = [(steps, passes) for steps in (2, 4, 8) for passes in (1, 3)]
    assert timed == [each for each in expected for _ in range(cost.RUNS)]


def test_every_video_is_made_once(data: str) -> None:
    painter = Painter()
    evaluate(painter, data, parts=["lip_sync", "quality"])
    assert painter.videos == 2 * 12  # with the clip's own sound, and with another's


def test_what_the_pictures_lose(data: str) -> None:
    report = evaluate(Painter(noise=0.1), data, parts=["quality"])
    assert find(report, "PSNR (dB)").generated.value < 35
    assert find(report, "PSNR (dB)").reconstructed.value == float("inf")
    assert find(report, "PSNR lost").aim.judge(find(report, "PSNR lost").generated) == "undecided"
    assert find(report, "SSIM").reconstructed.value == 1
    frechet = find(report, "Frechet")
    assert frechet.reconstructed.value == pytest.approx(0, abs=1e-6)
    assert frechet.generated.value > 0.01


def test_the_report_is_written_whole(perfect: Report, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    folder = tmp_path / "report"
    written = write_report(perfect, {"checkpoint": "painted"}, folder)
    assert set(written) == set(folder.iterdir())
    table = (folder / "table.md").read_text()
    assert "checkpoint painted; seed 0; sampling: num_inference_steps 4." in table
    assert "| jaw opening: correlation with the truth | 1.000 [" in table
    assert "≥ 0.8: reached; control ≤ 0.15: reached" in table
    numbers = json.loads((folder / "report.json").read_text())
    assert numbers["settings"]["clips"] == 12
    assert len(numbers["details"]["lip_sync"]["jaw opening"]["generated"]["correlation"]) == 12
    assert {"samples.png", "styles.png", "plot_lip_sync.png"} <= {path.name for path in written}


def test_clips_are_spread_over_the_split_and_never_mix_splits(data: str) -> None:
    clips = TrueClips(data, "test", 3)
    assert [clips[number].key for number in range(3)] == ["test-0", "test-6", "test-11"]
    assert clips.emotions == ("neutral", "neutral", "sad")
    with pytest.raises(DatasetError, match="13 clips are requested"):
        TrueClips(data, "test", 13)
    with pytest.raises(ConfigurationError, match="at least one"):
        TrueClips(data, "test", 0)


def test_unknown_parts_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="choose parts among lip_sync, style"):
        EvaluationSettings(parts=["lips"])


@pytest.mark.parametrize(
    ("aim", "interval", "verdict"),
    [
        (Aim(low=0.8), (0.8, 0.9), "reached"),
        (Aim(low=0.8), (0.79, 0.9), "undecided"),
        (Aim(low=0.8), (0.6, 0.79), "not reached"),
        (Aim(high=3), (2, 3), "reached"),
        (Aim(high=3), (2, 3.1), "undecided"),
        (Aim(high=3), (3.1, 4), "not reached"),
        (Aim(-1, 1), (-1, 1), "reached"),
        (Aim(-1, 1), (0, 2), "undecided"),
        (Aim(0, 0), (0, 0), "reached"),
    ],
)
def test_an_aim_is_reached_only_by_the_whole_interval(
    aim: Aim, interval: tuple[float, float], verdict: str
) -> None:
    assert aim.judge(Estimate(sum(interval) / 2, *interval, 16, 64)) == verdict


def test_aims_and_numbers_of_people_and_clips_are_in_the_table() -> None:
    figure = Estimate(0.82, 0.75, 0.89, 16, 64)
    row = Row("lip_sync", "jaw", generated=figure, aim=Aim(low=0.8), control_aim=Aim(high=0.15))
    assert format_table([row]).splitlines()[-1] == (
        "| jaw | 0.820 [0.750, 0.890] |  |  |  "
        "| ≥ 0.8: undecided; control ≤ 0.15: not measured | 16 | 64 |"
    )
    assert (str(Aim(-1, 1)), str(Aim(0, 0))) == ("-1 to 1", "0")


def test_clips_of_one_person_are_not_taken_as_independent(data: str) -> None:
    clips = TrueClips(data, "test", 12)
    assert len(set(clips.people)) == 12
    assert clips[3].person == clips.people[3] == "person-3"


def test_clips_of_one_look(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        for index in range(6):
            clip = make_clip(index)
            metadata = {**clip.metadata, **({"look": "rendered"} if index in (1, 4) else {})}
            writer.write(encode_clip(replace(clip, metadata=metadata)))
    drawn, rendered = (
        TrueClips(str(tmp_path), "test", None, look) for look in ("drawn", "rendered")
    )
    assert [drawn[number].key for number in range(len(drawn))] == [
        f"test-{index}" for index in (0, 2, 3, 5)
    ]
    assert [rendered[number].key for number in range(len(rendered))] == ["test-1", "test-4"]
    assert rendered.emotions == ("happy", "happy")
    with pytest.raises(DatasetError, match=r"3 clips are requested, .* has 2 rendered ones"):
        TrueClips(str(tmp_path), "test", 3, "rendered")
    with pytest.raises(ConfigurationError, match="look must be one of drawn, rendered; got 'oil'"):
        EvaluationSettings(look="oil")


def test_one_look_is_evaluated(tmp_path: Path) -> None:
    with ShardWriter(tmp_path) as writer:
        for split, look in product(("train", "test"), ("drawn", "rendered")):
            for index in range(6):
                clip = make_clip(index + 6 * (look == "rendered"), split)
                metadata = {**clip.metadata, "look": look, "identity": f"{look}-{index}"}
                writer.write(encode_clip(replace(clip, metadata=metadata)))
    few = {"clips": 6, "style_clips": 6, "variation_clips": 6, "training_clips": 6}
    report = evaluate(Painter(), str(tmp_path), look="rendered", **few)
    assert set(report.results["quality"].details["pictures"]) == {
        f"test-{index}" for index in range(6, 12)
    }
    with pytest.raises(DatasetError, match=r"7 clips are requested, .* has 6 rendered ones"):
        evaluate(Painter(), str(tmp_path), look="rendered", **few | {"clips": 7})
    for name, split in (
        ("style_clips", "test"),
        ("variation_clips", "test"),
        ("training_clips", "train"),
    ):
        with pytest.raises(DatasetError, match=f"split '{split}'"):
            evaluate(Painter(), str(tmp_path), look="rendered", **few | {name: 7})


def test_frames_without_a_face_are_counted(data: str) -> None:
    class Blind(EncoderReader):
        """Finds a face in true frames only."""

        def read(self, frames: np.ndarray) -> Reading:
            found = float(any(np.array_equal(frames, clip) for clip in seen))
            return replace(super().read(frames), found=found)

    clips = TrueClips(data, "test", 12)
    seen = [clips[number].frames for number in range(12)]
    settings = EvaluationSettings(**{**vars(SETTINGS), "parts": ["quality"]})
    painter = Painter(noise=0.1)
    report = evaluate_videos(painter, data, Blind(SquareEncoder()), settings, lambda *told: None)
    found = find(report, "share of frames in which a face is found")
    assert found.true.value == 1
    assert found.reconstructed.value == 1  # this painter's are the true frames
    assert found.generated.value == 0
    assert found.aim.judge(found.generated) == "not reached"
    with pytest.raises(StopIteration):
        find(evaluate(painter, data, parts=["quality"]), "share of frames")
