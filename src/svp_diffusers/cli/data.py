"""`svp data ...`: make, prepare, check and look at datasets."""

from pathlib import Path
from typing import Annotated

import typer

from svp_diffusers.cli.printing import say

app = typer.Typer(help="Datasets: make, prepare, check and look at them.", no_args_is_help=True)

Dataset = Annotated[Path, typer.Argument(help="Folder of a dataset.")]
OutputFolder = Annotated[Path, typer.Option("-o", "--output", help="Folder of the new dataset.")]


@app.command()
def synth(
    output: OutputFolder,
    clips: Annotated[int, typer.Option(help="Number of clips.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    size: Annotated[int, typer.Option(help="Height and width of the frames.")] = 128,
    fps: Annotated[str, typer.Option(help="Frame rate of the clips.")] = "25",
    seconds: Annotated[float, typer.Option(help="Length of a clip.")] = 4.0,
    look: Annotated[
        str, typer.Option(help="drawn, rendered, or mixed: every other person is rendered.")
    ] = "drawn",
    mix_expressions: Annotated[
        bool,
        typer.Option(
            "--mix-expressions",
            help="Every frame shows another mouth and face, whatever the sound: for `svp train "
            "expression`.",
        ),
    ] = False,
    workers: Annotated[int, typer.Option(help="Processes; the bytes stay the same.")] = 1,
) -> None:
    """Make a dataset of procedural talkers, about whom everything is known."""
    from svp_diffusers.media.frame_rate import parse_fps
    from svp_diffusers.talkers.synthesis import SynthesisSettings, synthesise_dataset

    settings = SynthesisSettings(
        seed=seed,
        size=size,
        fps=parse_fps(fps),
        seconds=seconds,
        look=look,
        mixed_expressions=mix_expressions,
    )
    for done, _ in enumerate(synthesise_dataset(output, clips, settings, workers), 1):
        if done % 50 == 0 or done == clips:
            say(f"{done} of {clips} clips", err=True)


@app.command()
def talker(
    output: Annotated[Path, typer.Option("-o", "--output", help="MP4 to write.")],
    text: Annotated[str | None, typer.Option(help="What is said; drawn by default.")] = None,
    emotion: Annotated[str, typer.Option(help="One of the eight emotions of MEAD.")] = "neutral",
    seed: Annotated[int, typer.Option(help="Who is drawn, who speaks, and how.")] = 0,
    size: Annotated[int, typer.Option(help="Height and width of the frames.")] = 256,
    fps: Annotated[str, typer.Option(help="Frame rate.")] = "25",
    seconds: Annotated[float, typer.Option(help="Length, when no text is given.")] = 10.0,
    look: Annotated[str, typer.Option(help="drawn or rendered.")] = "drawn",
) -> None:
    """Make one procedural talker as a video with sound."""
    from svp_diffusers.media.frame_rate import parse_fps
    from svp_diffusers.media.output import check_output
    from svp_diffusers.talkers.talker import film_talker

    check_output(output, ".mp4")
    film_talker(output, text, emotion, seed, size, parse_fps(fps), seconds, look)


@app.command()
def prepare(
    videos: Annotated[
        list[str], typer.Argument(help="Files, folders, globs, or @list.txt with one a line.")
    ],
    output: OutputFolder,
    metadata: Annotated[
        Path | None,
        typer.Option(help="CSV: file, and any of speaker, emotion, licence, consent, split ..."),
    ] = None,
    face_files: Annotated[
        str | None,
        typer.Option(
            help="Where the keypoints or boxes (.npy, a row for each frame) of a video lie, e.g. "
            "'{parent}/head_keypoints.npy'. Without it faces are detected."
        ),
    ] = None,
    expression_files: Annotated[
        str | None,
        typer.Option(help="Where the expression coefficients lie, e.g. '{parent}/{stem}.mat'."),
    ] = None,
    expressions: Annotated[
        bool, typer.Option(help="See the expressions of videos that have no file of them.")
    ] = True,
    size: Annotated[int, typer.Option(help="Height and width of the frames.")] = 512,
    fps: Annotated[str, typer.Option(help="Frame rate of the clips.")] = "25",
    minimum_seconds: Annotated[float, typer.Option(help="Refuse shorter shots.")] = 2.0,
    maximum_seconds: Annotated[float, typer.Option(help="Cut longer shots.")] = 10.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(help="Run on this Ray cluster instead: its address, 'auto' or 'local'."),
    ] = None,
) -> None:
    """Turn real video into training shards; report.html says what became of every input.

    Interrupted, it continues where it stopped when the same command is given again.
    """
    from svp_diffusers.data.preparation.faces import load_detector
    from svp_diffusers.data.preparation.report import summarize_outcomes
    from svp_diffusers.data.preparation.run import in_processes, on_ray
    from svp_diffusers.data.preparation.run import prepare as prepare_all
    from svp_diffusers.data.preparation.settings import PreparationSettings
    from svp_diffusers.data.preparation.sources import list_sources
    from svp_diffusers.media.frame_rate import parse_fps
    from svp_diffusers.media.output import check_output

    settings = PreparationSettings(
        size=size,
        fps=parse_fps(fps),
        minimum_seconds=minimum_seconds,
        maximum_seconds=maximum_seconds,
        estimate_expressions=expressions,
    )
    check_output(output / "index.json")
    sources = list_sources(videos, metadata, face_files, expression_files)
    make_detector = None
    if face_files is None:
        make_detector = load_detector
    outcomes = prepare_all(
        sources,
        output,
        settings,
        make_detector,
        in_processes(workers) if ray is None else on_ray(ray),
        lambda done, total: say(f"{done} of {total} files", err=True),
    )
    say(summarize_outcomes(outcomes))
    say(f"{output / 'report.html'} says what became of every file")


@app.command()
def verify(directory: Dataset) -> None:
    """Compare every shard with its checksum; exit status 1 if anything is amiss."""
    from svp_diffusers.data.shards import read_index
    from svp_diffusers.data.shards import verify as find_problems

    problems = find_problems(directory)
    for problem in problems:
        say(problem)
    if problems:
        raise typer.Exit(1)
    index = read_index(directory)
    say(f"{len(index.shards)} shards with {len(index.clips)} clips are as they were written")


@app.command()
def inspect(
    dataset: Annotated[str, typer.Argument(help="Folder, http(s):// or hf:// address.")],
    split: Annotated[str | None, typer.Option(help="train, validation or test only.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Draw a contact sheet into this PNG.")] = None,
) -> None:
    """Count clips and hours, by split, speaker and emotion; draw a contact sheet."""
    from svp_diffusers.data.inspection import draw_contact_sheet, summarize
    from svp_diffusers.data.loader import ClipDataset
    from svp_diffusers.media.output import atomic_path, check_output

    if sheet is not None:
        check_output(sheet, ".png")
    clips = ClipDataset(dataset, split)
    say(summarize(clips).describe())
    if sheet is not None:
        with atomic_path(sheet) as path:
            draw_contact_sheet(clips).save(path, "PNG")


@app.command()
def cache(
    dataset: Annotated[str, typer.Argument(help="Folder, http(s):// or hf:// address.")],
    output: OutputFolder,
    model: Annotated[
        str | None,
        typer.Option(
            help="Folder or Hub id of the pipeline whose encoders to use. Default: svp-tiny."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Frames encoded at once.")] = 8,
    clips: Annotated[
        int | None, typer.Option(min=1, help="Only as many, from the first on.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes, each with the encoders.")] = 1,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; default: the best.")] = None,
) -> None:
    """Encode frames, sound and styles once, for faster training."""
    from functools import partial

    from svp_diffusers.checkpoints.loading import find_checkpoint, select_device
    from svp_diffusers.data.cache import cache_dataset, load_encoders
    from svp_diffusers.data.loader import ClipDataset
    from svp_diffusers.media.output import check_output

    check_output(output / "index.json")
    place = select_device(device)
    cache_dataset(
        ClipDataset(dataset),
        output,
        partial(load_encoders, find_checkpoint(model), place),
        batch_size,
        clips,
        workers,
        lambda done, total: say(f"{done} of {total} clips", err=True),
    )
    say(f"{output}: the cached clips")
