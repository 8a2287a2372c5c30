"""`svp evaluate ...`: measure what was trained."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Measure what was trained.", no_args_is_help=True)


@app.callback()
def callback() -> None:
    """Measure what was trained."""


@app.command()
def style(
    checkpoint: Annotated[str, typer.Option(help="Style encoder, or pipeline that has one.")],
    data: Annotated[str, typer.Option(help="Manifest (.csv) or dataset of shards.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Report to write, .json.")],
    data_root: Annotated[str | None, typer.Option(help="Folder of the manifest's paths.")] = None,
    split: Annotated[str, typer.Option(help="Of a dataset of shards.")] = "test",
    speaker: Annotated[
        list[str] | None, typer.Option(help="Ask about this speaker's windows only; repeatable.")
    ] = None,
    audio_encoder: Annotated[
        str | None, typer.Option(help="Speech encoder, for styles that hear wav2vec2.")
    ] = None,
) -> None:
    """Retrieval, identity leakage and calibration of a style encoder, beside two baselines."""
    import json
    from dataclasses import asdict

    from svp_diffusers.data.style_clips import center_speakers, read_style_clips
    from svp_diffusers.evaluation.style import evaluate_style, format_report
    from svp_diffusers.media.output import atomic_path, check_output
    from svp_diffusers.style.audio_features import load_audio_features
    from svp_diffusers.style.encode import load_style_encoder

    check_output(output)
    encoder = load_style_encoder(checkpoint)
    config = encoder.config
    features = load_audio_features(config.audio_features, audio_encoder)
    clips = read_style_clips(data, data_root, config.expression_space, features, split)
    if config.expression_centring == "speaker":
        clips = center_speakers(clips)
    report = evaluate_style(encoder, clips, speaker or ())
    with atomic_path(output) as temporary:
        temporary.write_text(json.dumps(asdict(report), indent=1) + "\n")
    typer.echo(format_report(report))
