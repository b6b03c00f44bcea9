"""Plots of a run, drawn from its log alone."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError
from musicssl_training.output import make_output_folder
from musicssl_training.train.curves import (
    mean_cosines,
    normalized_losses,
    select_group,
    smoothed,
    speed,
)
from musicssl_training.train.metrics import LOG, Curves, read_log

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

WIDTH, DPI = 9.0, 100  # inches, dots per inch
HEIGHTS, LEAST = {1: 4.6, 2: 2.9}, 1.95  # inches per panel, by how many there are; of more
# what eyes that see fewer colors tell apart too (Okabe and Ito, "Color Universal Design", 2008)
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000", "#D55E00", "#56B4E9")
GREY = "#666666"
RAW = 1000  # values at most of a curve that are shown as they are
SMALL = 1000.0  # times less than the greatest, below which a weight leaves the plot
FAR = 2.0  # times its start, beyond which a loss leaves the plot
WRITTEN = 18  # workers at most whose cosines are written as numbers
WEAK = 0.3  # the least cosine that is ever given the darkest color
SLOPE = 60  # degrees, of names below a matrix
STYLE = {
    "agg.path.chunksize": 10_000,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.edgecolor": GREY,
    "axes.labelcolor": GREY,
    "axes.titlelocation": "left",
    "figure.dpi": DPI,
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}
METRICS = {  # groups of the log that have a figure of their own: its title and what it shows
    "r2": ("Predicted variance", "R² of regressions in the batch; 0 is the mean, 1 all of it"),
    "accuracy": ("Retrieval in the batch", "share of excerpts whose partner is the nearest"),
    "probe": (
        "Downstream scores",
        "of probes of the frozen encoder, each by its task's own metric",
    ),
}


def draw(folder: Path, out: Path | None = None) -> list[Path]:
    """Draw a run's losses, weights, figures of merit, gradients' cosines and downstream scores.

    Parameters
    ----------
    folder
        Of the run.
    out
        Where the plots go; by default ``folder/plots``.

    Returns
    -------
    list of Path
        The plots, 900 pixels wide, of what there is: ``losses.png``, ``weights.png``, ``r2.png``,
        ``accuracy.png``, ``rank.png``, ``cosines.png``, ``probes.png``.

    Raises
    ------
    ConfigError
        If the folder holds no log, or one without losses.
    """
    curves = read_log(folder)
    losses = normalized_losses(curves)
    if not losses or "hours" not in curves:
        raise ConfigError(f"{folder / LOG} has no hours heard, or no losses: nothing to draw.")
    import matplotlib.style

    out = out or folder / "plots"
    make_output_folder(out)
    done = []
    with matplotlib.style.context(["default", STYLE]):
        figures = {"losses": _losses(losses, curves), "weights": _weights(curves)}
        figures |= {"r2": _metric("r2", curves), "accuracy": _metric("accuracy", curves)}
        figures |= {"rank": _rank(curves), "cosines": _cosines(curves, list(losses))}
        figures["probes"] = _metric("probe", curves)
        for name, figure in figures.items():
            if figure is not None:
                done.append(out / f"{name}.png")
                figure.savefig(done[-1])
    return done


def _losses(losses: Curves, curves: Curves) -> "Figure":
    now, (steps, hours) = speed(curves), curves["hours"]
    about = f"{hours[-1]:,.{'0f' if hours[-1] > 10 else '2g'}} h heard in {steps[-1]:,} steps"
    if math.isfinite(now.hours):
        about += f", lately {now.hours:,.0f} h per hour, {now.waiting:.0%} of it waiting for data"
    lines = smoothed(losses)
    low, high = _range(lines)
    limits = (min(0.0, low), min(FAR, max(1.1, high)))
    title, label = "Losses of the workers", "loss / loss before learning"
    return _plot(title, about, label, lines, curves, behind=losses, ylim=limits)


def _weights(curves: Curves) -> "Figure | None":
    weights = select_group(curves, "weight")
    if not weights:
        return None
    lines = smoothed(weights)
    low, high = _range(lines)
    scale: dict[str, Any] = {"ylim": (min(0.0, 1.1 * low), max(0.1, 1.1 * high))}
    if low > 0 and high / low > 10:
        scale = {"yscale": "log", "ylim": (max(low, high / SMALL) / 1.2, high * 1.2)}
    title, about = "Weights of the workers", "of their gradients at the encoder's output"
    return _plot(title, about, "weight", lines, curves, behind=weights, **scale)


def _metric(group: str, curves: Curves) -> "Figure | None":
    found = select_group(curves, group)
    if not found:
        return None
    title, about = METRICS[group]
    if group == "probe":  # rare, and exact
        low, high = _range(found)
        margin = 0.05 * max(high - low, 0.1)
        return _plot(title, about, "score", found, curves, ylim=(low - margin, high + margin))
    lines = smoothed(found)
    limits = (max(-0.5, min(0.0, _range(lines)[0])), 1.0)
    return _plot(title, about, group, lines, curves, behind=found, ylim=limits)


def _rank(curves: Curves) -> "Figure | None":
    if "effective_rank" not in curves or not np.isfinite(curves["effective_rank"][1]).any():
        return None
    found = {"effective rank": curves["effective_rank"]}
    about = "dimensions that the encoder's output uses, by the entropy of its singular values"
    lines = smoothed(found)
    limits = (0.0, 1.1 * _range(found)[1])
    return _plot("Effective rank", about, "dimensions", lines, curves, behind=found, ylim=limits)


def _range(curves: Curves) -> tuple[float, float]:
    """Return the least and the greatest value of all curves."""
    everything = np.concatenate([values for _, values in curves.values()])
    return float(np.nanmin(everything)), float(np.nanmax(everything))


def _plot(
    title: str,
    about: str,
    label: str,
    lines: Curves,
    curves: Curves,
    *,
    behind: Curves | None = None,
    **limits: Any,
) -> "Figure":
    """Draw curves against hours heard, over what they are means of, or as points.

    There are as many panels as colors do not suffice for; a legend beside each gives the last
    values, in the order in which the curves end.
    """
    from matplotlib.figure import Figure

    count = math.ceil(len(lines) / len(COLORS))
    height = HEIGHTS.get(count, LEAST) * count
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    panels = figure.subplots(count, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, names in zip(panels, np.array_split(list(lines), count), strict=True):
        ends = {}
        for name, color in zip(names, COLORS, strict=False):
            steps, values = lines[name]
            hours = np.interp(steps, *curves["hours"])
            if behind is None:
                (line,) = axes.plot(hours, values, "o-", color=color, markersize=4)
            else:
                thin = slice(None, None, math.ceil(len(values) / RAW))
                raw = behind[name][1][thin]
                axes.plot(hours[thin], raw, color=color, alpha=0.15, linewidth=0.5)
                (line,) = axes.plot(hours, values, color=color)
            ends[line] = float(values[np.isfinite(values)][-1]), name
        order = sorted(ends, key=lambda line: ends[line][0], reverse=True)
        texts = [f"{_number(value)}  {name}" for value, name in map(ends.__getitem__, order)]
        axes.legend(order, texts, loc="center left", bbox_to_anchor=(1, 0.5))
    panels[0].set(xlim=(0, curves["hours"][1].max()), **limits)
    if limits.get("yscale") == "log":
        panels[0].yaxis.set_major_formatter("{x:g}")
    figure.supylabel(label, color=GREY, fontsize=9)
    panels[-1].set_xlabel("hours of audio heard")
    _head(figure, panels[0], title, about)
    return figure


def _number(value: float) -> str:
    return f"{value:{'.2f' if abs(value) < 10 else ',.0f'}}"


def _head(figure: "Figure", axes: "Axes", title: str, about: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    axes.set_title(about, color=GREY, fontsize=9)


def _cosines(curves: Curves, names: list[str]) -> "Figure | None":
    """Draw the mean cosines between the workers' gradients, like beside like."""
    matrix, first, last = mean_cosines(curves, names)
    kept = np.flatnonzero(np.isfinite(matrix).any(axis=0))
    if not len(kept):
        return None
    order = kept[similar(matrix[np.ix_(kept, kept)])]
    matrix, names = matrix[np.ix_(order, order)], [names[i] for i in order]
    from matplotlib.figure import Figure

    side = min(6.0, 1.4 + 0.8 * len(names))  # of the matrix; names and the bar need the rest
    figure = Figure(figsize=(WIDTH, side + 2.2), layout="constrained")
    axes = figure.subplots()
    about = f"at the encoder's output, mean over steps {first:,} to {last:,}; like beside like"
    _cells(axes, matrix)
    axes.set_xticks(range(len(names)), names, rotation=SLOPE, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    _head(figure, axes, "Cosines between the workers' gradients", about)
    return figure


def _cells(axes: "Axes", matrix: Array) -> None:
    """Color the cells of a matrix of cosines, and write them where there is room."""
    limit = max(WEAK, math.ceil(10 * np.nanmax(np.abs(matrix))) / 10)
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.5, aspect=12)
    bar.set_label("cosine", color=GREY)
    axes.set_facecolor("#CCCCCC")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for spine in (*axes.spines.values(), bar.outline):
        spine.set_visible(False)
    if len(matrix) <= WRITTEN:
        size = min(9.0, 120 / len(matrix))
        for i, j in np.argwhere(np.isfinite(matrix)):
            color = "white" if abs(matrix[i, j]) > 0.6 * limit else "black"
            axes.text(
                j, i, short(matrix[i, j]), ha="center", va="center", color=color, fontsize=size
            )


def similar(matrix: Array) -> NDArray[np.int64]:
    """Return the order of a hierarchical clustering, by mean distances of 1 - cosine."""
    from scipy.cluster.hierarchy import leaves_list, linkage

    pairs = np.triu_indices(len(matrix), 1)
    order: NDArray[np.int64] = leaves_list(
        linkage(1 - np.nan_to_num(matrix[pairs]), "average", optimal_ordering=True)
    )
    return order


def short(cosine: float) -> str:
    """Return two decimals without a leading zero, and a 0 for what would have none."""
    text = f"{cosine:.2f}".replace("0.", ".").replace("-", "−")
    return "0" if text.strip("−") == ".00" else text
