"""Plots of the report, drawn from the numbers that are saved beside them."""

from typing import Any

import numpy as np

from svp_diffusers.errors import MissingDependencyError
from svp_diffusers.evaluation.talking_head.lip_sync import JAW
from svp_diffusers.evaluation.talking_head.table import PartResult


def check_plots() -> None:
    """Check that plots can be drawn, before hours are spent on the numbers.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "plots need matplotlib: pip install 'svp-diffusers[plot]'"
        ) from error


def draw_plots(results: dict[str, PartResult]) -> dict[str, Any]:
    """One matplotlib figure for each part that has a plot, by file name."""
    check_plots()
    drawers = {
        "lip_sync": _plot_lip_sync,
        "style": _plot_style,
        "diversity": _plot_diversity,
        "interpolation": _plot_interpolation,
        "cost": _plot_cost,
    }
    return {
        f"plot_{part}": draw(results[part]) for part, draw in drawers.items() if part in results
    }


def _open_figure(width: float, height: float, rows: int, columns: int) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _plot_lip_sync(result: PartResult) -> Any:
    """Every clip's correlation, the correlation by lag, and the jaw of three clips over time."""
    details = result.details
    jaw, traces = details[JAW], details["traces"]
    figure, axes = _open_figure(11, 6.5, 2, 3)
    shares = {
        name: [value for value in each["correlation"] if not np.isnan(value)]
        for name, each in jaw.items()
    }
    axes[0, 0].boxplot(list(shares.values()), tick_labels=list(shares), whis=(0, 100))
    axes[0, 0].set_title("jaw: correlation of each clip")
    axes[0, 0].tick_params(axis="x", rotation=20)
    for name, each in jaw.items():
        if each["by lag"]:
            axes[0, 1].plot(details["lags"], each["by lag"], marker=".", label=name)
    axes[0, 1].set_xlabel("frames by which the lips are late")
    axes[0, 1].set_title("jaw: mean correlation by lag")
    if axes[0, 1].lines:  # clips shorter than the lags have none
        axes[0, 1].legend(fontsize="small")
    axes[0, 2].axis("off")
    for axis, (name, lines) in zip(axes[1], traces.items(), strict=False):
        for label, line in lines.items():
            axis.plot(line, label=label, linewidth=1)
        axis.set_title(name, fontsize="small")
        axis.set_xlabel("frame")
    axes[1, 0].set_ylabel("jaw opening")
    axes[1, 0].legend(fontsize="small")
    return figure


def _plot_style(result: PartResult) -> Any:
    """Which style was seen where which was requested, and the shifts from neutral."""
    details = result.details
    names = details["emotions"]
    figure, axes = _open_figure(12, 5.5, 1, 2)
    counts = np.array(details["requested by recognised"])
    axes[0, 0].imshow(counts, cmap="Blues")
    for (row, column), count in np.ndenumerate(counts):
        axes[0, 0].text(column, row, str(count), ha="center", va="center", fontsize="small")
    axes[0, 0].set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes[0, 0].set_yticks(range(len(names)), names)
    axes[0, 0].set_xlabel("recognised")
    axes[0, 0].set_ylabel("requested")
    for number, (emotion, shifts) in enumerate(details["shift from neutral"].items()):
        true = [each["true"] for each in shifts.values()]
        generated = [each["generated"] for each in shifts.values()]
        axes[0, 1].plot(true, generated, "o", color=f"C{number}", label=emotion, markersize=4)
    axes[0, 1].axline((0, 0), slope=1, color="grey", linewidth=0.8)
    axes[0, 1].set_xlabel("shift of the rig from neutral")
    axes[0, 1].set_ylabel("shift of the generated videos")
    axes[0, 1].set_title("coefficients that an emotion moves")
    axes[0, 1].legend(fontsize="small")
    return figure


def _plot_diversity(result: PartResult) -> Any:
    """The spread of every clip's performances."""
    figure, axes = _open_figure(6, 4, 1, 1)
    spread = result.details["spread"]
    labels = {"emotion": "styles of one emotion", "prior": "styles of the prior", "noise": "noise"}
    for column, name in enumerate(labels):
        axes[0, 0].plot([column] * len(spread[name]), spread[name], "o", alpha=0.6)
    axes[0, 0].set_xticks(range(len(labels)), list(labels.values()))
    axes[0, 0].set_ylabel("spread (ARKit units)")
    axes[0, 0].set_ylim(bottom=0)
    return figure


def _plot_interpolation(result: PartResult) -> Any:
    """How much of an emotion is seen along the way to it."""
    figure, axes = _open_figure(7, 4.5, 1, 1)
    for curve in result.details["curves"]:
        axes[0, 0].plot(
            result.details["weights"], curve["share"], marker=".", label=curve["emotion"]
        )
    axes[0, 0].set_xlabel("weight: 0 neutral, 1 emotion")
    axes[0, 0].set_ylabel("share of the rig's shift")
    axes[0, 0].legend(fontsize="small")
    return figure


def _plot_cost(result: PartResult) -> Any:
    """Seconds a second of video."""
    rows = [row for row in result.rows if row.measure.startswith("seconds a second")]
    figure, axes = _open_figure(8, 3.5, 1, 1)
    values = [row.generated.value for row in rows if row.generated is not None]
    axes[0, 0].barh([row.measure.partition(", ")[2] for row in rows], values)
    axes[0, 0].axvline(1, color="grey", linewidth=0.8)
    axes[0, 0].invert_yaxis()
    axes[0, 0].set_xlabel("seconds a second of video (left of the line: real time)")
    return figure
