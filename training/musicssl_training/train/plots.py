"""Pictures of a run, drawn from its log alone."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError
from musicssl_training.train.metrics import (
    LOG,
    Curves,
    mean_cosines,
    normalized_losses,
    read_log,
    select_group,
    smoothed,
    speed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

WIDTH, DPI = 9.0, 100  # inches, dots an inch
TOP, BOTTOM, LEFT, MARGIN = 0.7, 0.55, 0.8, 0.16  # inches around what is drawn
HEIGHTS, LEAST = {1: 3.9, 2: 2.6}, 1.75  # inches of a panel, by how many there are; of more
LETTER = 0.08  # inches that a letter of a label takes
LINE = 0.155  # inches between two labels
# what eyes that see fewer colours tell apart too (Okabe and Ito, "Color Universal Design", 2008)
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000", "#D55E00", "#56B4E9")
GREY = "#666666"
RAW = 1000  # values at most of a curve that are shown as they are
SMALL = 1000.0  # times less than the greatest, below which a weight leaves the picture
FAR = 2.0  # times its start, beyond which a loss leaves the picture
WRITTEN = 18  # workers at most whose cosines are written as numbers
WEAK = 0.3  # the least cosine that is ever given the darkest colour
SLOPE = 60  # degrees, of names below a matrix
STYLE = {
    "agg.path.chunksize": 10_000,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.grid": True,
    "axes.edgecolor": GREY,
    "figure.dpi": DPI,
    "font.size": 9,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
}


def draw(folder: Path, out: Path | None = None) -> list[Path]:
    """Draw a run's losses, weights, gradients' cosines and downstream scores, those there are.

    Losses and weights of a worker stand in the same panel and have the same colour.

    Parameters
    ----------
    folder
        Of the run.
    out
        Where the pictures go; by default ``folder/plots``.

    Returns
    -------
    list of Path
        The pictures, 900 pixels wide: ``losses.png``, ``weights.png``, ``cosines.png``,
        ``probes.png``.

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
    out.mkdir(parents=True, exist_ok=True)
    done = []
    with matplotlib.style.context(["default", STYLE]):
        for name, figure in {
            "losses": _losses(losses, curves),
            "weights": _weights(curves),
            "cosines": _cosines(curves, list(losses)),
            "probes": _probes(curves),
        }.items():
            if figure is not None:
                done.append(out / f"{name}.png")
                figure.savefig(done[-1])
    return done


def _losses(losses: Curves, curves: Curves) -> "Figure":
    now, (steps, hours) = speed(curves), curves["hours"]
    about = f"{hours[-1]:,.{'0f' if hours[-1] > 10 else '2g'}} h heard in {steps[-1]:,} steps"
    if math.isfinite(now.hours):
        about += f", lately {now.hours:,.0f} h an hour, {now.waiting:.0%} of it waiting for data"
    lines = smoothed(losses)
    low, high = _range(lines)
    limits = (min(0.0, low), min(FAR, max(1.1, high)))
    figure, panels = _panels("Losses of the workers", about, "loss / loss before learning", lines)
    return _fill(figure, panels, lines, curves, limits, behind=losses)


def _weights(curves: Curves) -> "Figure | None":
    weights = select_group(curves, "weight")
    if not weights:
        return None
    from matplotlib.ticker import LogLocator, NullLocator

    lines = smoothed(weights)
    low, high = _range(lines)
    wide = low > 0 and high / low > 10
    low = max(low, high / SMALL) if wide else low
    limits = (low / 1.2, high * 1.2) if wide else (min(0.0, 1.1 * low), max(0.1, 1.1 * high))
    label = "weight, on a log scale" if wide else "weight"
    about = "of their gradients at the encoder's output"
    figure, panels = _panels("Weights of the workers", about, label, lines)
    if wide:
        panels[0].set_yscale("log")
        panels[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 100 * low else (1,)))
        panels[0].yaxis.set_major_formatter("{x:g}")
        panels[0].yaxis.set_minor_locator(NullLocator())
    return _fill(figure, panels, lines, curves, limits, behind=weights)


def _probes(curves: Curves) -> "Figure | None":
    probes = select_group(curves, "probe")
    if not probes:
        return None
    low, high = _range(probes)
    margin = 0.05 * max(high - low, 0.1)
    about = "of probes of the frozen encoder, each by its task's own metric"
    figure, panels = _panels("Downstream scores", about, "score", probes)
    return _fill(figure, panels, probes, curves, (low - margin, high + margin))


def _range(curves: Curves) -> tuple[float, float]:
    """Return the least and the greatest value of all curves."""
    everything = np.concatenate([values for _, values in curves.values()])
    return float(np.nanmin(everything)), float(np.nanmax(everything))


def _panels(
    title: str, about: str, label: str, lines: Curves
) -> tuple["Figure", "NDArray[np.object_]"]:
    """Return panels below each other, one for as many curves as there are colours."""
    from matplotlib.figure import Figure

    count = math.ceil(len(lines) / len(COLOURS))
    size = HEIGHTS.get(count, LEAST) * count
    height = TOP + size + BOTTOM
    right = LETTER * (max(map(len, lines)) + 5) + 0.25
    figure = Figure(figsize=(WIDTH, height))
    grid = {
        "left": LEFT / WIDTH,
        "right": 1 - right / WIDTH,
        "bottom": BOTTOM / height,
        "top": 1 - TOP / height,
        "hspace": 0.12,
    }
    panels = figure.subplots(count, sharex=True, sharey=True, squeeze=False, gridspec_kw=grid)[:, 0]
    _head(figure, title, about)
    middle = (BOTTOM + size / 2) / height
    figure.text(MARGIN / WIDTH, middle, label, rotation=90, va="center", color=GREY)
    panels[-1].set_xlabel("hours of audio heard", color=GREY)
    return figure, panels


def _fill(
    figure: "Figure",
    panels: "NDArray[np.object_]",
    lines: Curves,
    curves: Curves,
    limits: tuple[float, float],
    *,
    behind: Curves | None = None,
) -> "Figure":
    """Draw curves against hours heard, over what they are means of, or as points."""
    heard = {name: np.interp(steps, *curves["hours"]) for name, (steps, _) in lines.items()}
    panels[0].set(xlim=(0, max(hours[-1] for hours in heard.values())), ylim=limits)
    for axes, names in zip(panels, np.array_split(list(lines), len(panels)), strict=True):
        ends = []
        for name, colour in zip(names, COLOURS, strict=False):
            hours, values = heard[name], lines[name][1]
            if behind is None:
                axes.plot(hours, values, "o-", color=colour, markersize=4, clip_on=False)
            else:
                thin = slice(None, None, math.ceil(len(values) / RAW))
                raw = behind[name][1][thin]
                axes.plot(hours[thin], raw, color=colour, alpha=0.15, linewidth=0.5)
                axes.plot(hours, values, color=colour)
            ends.append((name, float(values[np.isfinite(values)][-1]), colour))
        _name(axes, ends)
    return figure


def _head(figure: "Figure", title: str, about: str) -> None:
    left, height = MARGIN / WIDTH, figure.get_figheight()
    figure.text(left, 1 - 0.27 / height, title, fontsize=12, weight="bold", va="center")
    figure.text(left, 1 - 0.5 / height, about, color=GREY, va="center")


def _name(axes: "Axes", ends: list[tuple[str, float, str]]) -> None:
    """Write last value and name beside the curves' ends, none upon another."""
    ends = sorted(ends, key=lambda end: end[1])
    low, high = axes.get_ylim()
    points = [(0.0, min(max(value, low), high)) for _, value, _ in ends]
    inside = axes.transAxes.inverted().transform(axes.transData.transform(points))[:, 1]
    places = spread(inside, LINE * DPI / axes.bbox.height)
    for (name, value, colour), at, place in zip(ends, inside, places, strict=True):
        x, y = [1.004, 1.025, 1.035], [at, place, place]
        where = axes.transAxes
        axes.plot(x, y, color=colour, linewidth=1.2, transform=where, clip_on=False)
        text = f"{value:{'.2f' if abs(value) < 10 else ',.0f'}}  {name}"
        axes.text(1.042, place, text, fontsize=8.5, va="center", transform=where)


def spread(places: Array, step: float) -> Array:
    """Return rising places at least `step` apart within 0 to 1, nearest to those wished for.

    Squares of the differences are least: with i times the step taken off the i-th, places only
    have to rise, which is isotonic regression, and its bounds may be put on afterwards.
    """
    from sklearn.isotonic import isotonic_regression

    steps = step * np.arange(len(places))
    room = max(0.0, 1 - step * len(places))
    found: Array = isotonic_regression(places - steps, y_min=step / 2, y_max=step / 2 + room)
    return found + steps


def _cosines(curves: Curves, names: list[str]) -> "Figure | None":
    """Draw the mean cosines between the workers' gradients, like beside like."""
    matrix, first, last = mean_cosines(curves, names)
    kept = np.flatnonzero(np.isfinite(matrix).any(axis=0))
    if not len(kept):
        return None
    order = kept[similar(matrix[np.ix_(kept, kept)])]
    matrix, names = matrix[np.ix_(order, order)], [names[i] for i in order]
    from matplotlib.figure import Figure

    letters = LETTER * max(map(len, names)) + 0.2
    side = min(WIDTH - letters - 1.4, 1.1 * len(names))
    below = math.sin(math.radians(SLOPE)) * letters + 0.15
    height = TOP + side + below
    figure = Figure(figsize=(WIDTH, height))
    about = f"at the encoder's output, mean over steps {first:,} to {last:,}; like beside like"
    _head(figure, "Cosines between the workers' gradients", about)
    width, tall = side / WIDTH, side / height
    axes = figure.add_axes((letters / WIDTH, below / height, width, tall))
    beside = (letters + side + 0.25) / WIDTH
    bar = figure.add_axes((beside, below / height + tall / 4, 0.16 / WIDTH, tall / 2))
    _cells(axes, bar, matrix)
    axes.set_xticks(range(len(names)), names, rotation=SLOPE, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    return figure


def _cells(axes: "Axes", bar: "Axes", matrix: Array) -> None:
    """Colour the cells of a matrix of cosines, and write them where there is room."""
    limit = max(WEAK, math.ceil(10 * np.nanmax(np.abs(matrix))) / 10)
    image = axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
    axes.figure.colorbar(image, cax=bar).set_label("cosine", color=GREY)
    axes.set_facecolor("#CCCCCC")
    axes.tick_params(length=0)
    for each in (axes, bar):
        each.grid(visible=False)
        each.spines[:].set_visible(False)
    if len(matrix) <= WRITTEN:
        for i, j in np.argwhere(np.isfinite(matrix)):
            colour = "white" if abs(matrix[i, j]) > 0.6 * limit else "black"
            axes.text(j, i, short(matrix[i, j]), ha="center", va="center", color=colour)


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
