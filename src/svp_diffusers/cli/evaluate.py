"""`svp evaluate ...`: measure what was trained."""

from pathlib import Path
from typing import Annotated

import typer

from svp_diffusers.cli.printing import say

app = typer.Typer(help="Measure what was trained.", no_args_is_help=True)


@app.callback()
def callback() -> None:
    """Measure what was trained."""


@app.command()
def style(
    data: Annotated[str, typer.Option(help="Manifest (.csv) or dataset of shards.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Report to write, .json.")],
    model: Annotated[
        str | None,
        typer.Option(help="Style encoder, or pipeline that has one. Default: svp-tiny."),
    ] = None,
    data_root: Annotated[str | None, typer.Option(help="Folder of the manifest's paths.")] = None,
    split: Annotated[str, typer.Option(help="Of a dataset of shards.")] = "test",
    speaker: Annotated[
        list[str] | None, typer.Option(help="Ask about this speaker's windows only; repeatable.")
    ] = None,
    audio_encoder: Annotated[
        str | None, typer.Option(help="Speech encoder, for wav2vec2 styles.")
    ] = None,
) -> None:
    """Retrieval, identity leakage and calibration of a style encoder, beside two baselines."""
    import json
    from dataclasses import asdict

    from svp_diffusers.checkpoints.loading import load_style_encoder
    from svp_diffusers.data.style_clips import center_speakers, read_style_clips
    from svp_diffusers.evaluation.style_encoder.evaluate import evaluate_style, format_report
    from svp_diffusers.media.output import atomic_path, check_output
    from svp_diffusers.speech.features import load_audio_features

    check_output(output)
    encoder = load_style_encoder(model)
    config = encoder.config
    features = load_audio_features(config.audio_features, audio_encoder)
    clips = read_style_clips(data, data_root, config.expression_space, features, split)
    if config.expression_centring == "speaker":
        clips = center_speakers(clips)
    report = evaluate_style(encoder, clips, speaker or ())
    with atomic_path(output) as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=1) + "\n")
    say(format_report(report))


@app.command()
def tiny(
    data: Annotated[str, typer.Option(help="Dataset of procedural talkers, with pictures.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the report.")],
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id of a checkpoint. Default: svp-tiny."),
    ] = None,
    expression_encoder: Annotated[
        Path | None,
        typer.Option(
            help="Reads the videos; of `svp train expression`, on pixels. Default: the package's "
            "face landmarker."
        ),
    ] = None,
    parts: Annotated[
        str | None,
        typer.Option(
            help="Some of lip_sync,style,diversity,interpolation,quality,portrait,cost. "
            "Default: all."
        ),
    ] = None,
    clips: Annotated[int, typer.Option(help="Of the test split, for lips and quality.")] = 64,
    style_clips: Annotated[
        int, typer.Option(help="Of the test split, each made in every style.")
    ] = 16,
    variation_clips: Annotated[
        int, typer.Option(help="Of the test split, for diversity and interpolation.")
    ] = 16,
    training_clips: Annotated[
        int, typer.Option(help="Of the train split, that define each style's expressions.")
    ] = 256,
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps. Default: the checkpoint's.")
    ] = None,
    guidance_scale: Annotated[
        float | None, typer.Option(help="On all conditions. Default: the checkpoint's.")
    ] = None,
    audio_guidance_scale: Annotated[
        float | None, typer.Option(help="On the audio by itself.")
    ] = None,
    style_guidance_scale: Annotated[
        float | None, typer.Option(help="On the style by itself.")
    ] = None,
    style_temperature: Annotated[
        float | None, typer.Option(help="0 is the style's mean. Default: the checkpoint's.")
    ] = None,
    look: Annotated[
        str | None, typer.Option(help="Of all clips: drawn or rendered. Default: all.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of styles and noise.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, mps. Default: the best.")] = None,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
) -> None:
    """Lips, styles, diversity, pictures and cost of a checkpoint, against known truth."""
    from svp_diffusers.checkpoints.loading import find_checkpoint, select_device
    from svp_diffusers.cli.progress import show_progress
    from svp_diffusers.evaluation.talking_head.evaluate import (
        PARTS,
        EvaluationSettings,
        evaluate_checkpoint,
    )
    from svp_diffusers.evaluation.talking_head.plots import check_plots
    from svp_diffusers.evaluation.talking_head.reading import load_expression_reader
    from svp_diffusers.evaluation.talking_head.report import TABLE, format_report, write_report
    from svp_diffusers.media.manifest import hash_folder
    from svp_diffusers.media.output import check_output

    options = {
        "num_inference_steps": steps,
        "guidance_scale": guidance_scale,
        "audio_guidance_scale": audio_guidance_scale,
        "style_guidance_scale": style_guidance_scale,
        "style_temperature": style_temperature,
    }
    settings = EvaluationSettings(
        parts=PARTS if parts is None else parts.split(","),
        clips=clips,
        style_clips=style_clips,
        variation_clips=variation_clips,
        training_clips=training_clips,
        look=look,
        seed=seed,
        options={name: value for name, value in options.items() if value is not None},
    )
    check_output(output / TABLE)
    check_plots()
    where = select_device(device)
    reader = load_expression_reader(expression_encoder, where)
    folder = find_checkpoint(model)
    with show_progress() as on_progress:
        report = evaluate_checkpoint(folder, data, reader, settings, where, dtype, on_progress)
    sources = {
        "checkpoint": hash_folder(folder)[:16],
        "read by": f"expression encoder {hash_folder(expression_encoder)[:16]}"
        if expression_encoder
        else "the face landmarker",
        "device": str(where),
        "dtype": dtype,
    }
    paths = write_report(report, sources, output)
    say(format_report(report, sources))
    for path in paths:
        say(path)


@app.command()
def head_motion(
    head_motion_model: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Of a head motion model.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id of the pipeline it is for. Default: svp-tiny."),
    ] = None,
    utterances: Annotated[int, typer.Option(help="Of talkers that no training has seen.")] = 64,
    takes: Annotated[int, typer.Option(help="Performances of each.")] = 5,
    seconds: Annotated[float, typer.Option(help="Length of each.")] = 12.0,
    seed: Annotated[int, typer.Option(help="Of performances and motion.")] = 2,
) -> None:
    """Amplitude, speed, spectrum and nods of generated head motion, against known truth."""
    from svp_diffusers.cli.progress import show_progress
    from svp_diffusers.evaluation.head_motion import (
        evaluate_head_motion,
        format_report,
        load_head_motion,
    )
    from svp_diffusers.media.numbers import MOST_SECONDS, check_option, check_options
    from svp_diffusers.training.head_motion.performances import PerformanceEncoder, perform_clips

    check_options(seed=seed)
    check_option("utterances", utterances, 1, 10**6, whole=True)
    check_option("takes", takes, 1, 10**4, whole=True)
    check_option("seconds", seconds, 1, MOST_SECONDS)
    loaded = load_head_motion(head_motion_model)
    encoder = PerformanceEncoder(model)
    with show_progress() as on_progress:
        clips = perform_clips(encoder, "test", utterances, takes, seconds, seed, on_progress)
        report = evaluate_head_motion(loaded, clips, seed, on_progress=on_progress)
    say(format_report(report))
