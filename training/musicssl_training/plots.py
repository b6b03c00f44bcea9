"""Pictures of a run, drawn from what it wrote down."""

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from musicssl_training.record import read_log

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curves = dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]
WIDTH, DPI = 9.0, 110  # inches, dots an inch
SMOOTH = 25  # points of a running mean, at most
LAST = 0.25  # share of the run that cosines are averaged over
# eight colours that the colour-blind can tell apart (Okabe and Ito, 2008); then other dashes
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
DASHES = ("-", "--", ":", "-.")


def draw(folder: Path, out: Path | None = None) -> list[Path]:
    """Draw losses, weights, gradients' cosines and probes of a run, as far as they were logged.

    Parameters
    ----------
    folder
        Of the run.
    out
        Where the pictures go; by default ``folder/plots``.

    Returns
    -------
    list of Path
        The pictures: ``losses.png``, ``weights.png``, ``cosines.png``, ``probes.png``.

    Raises
    ------
    ConfigError
        If the folder holds no log.
    """
    curves = read_log(folder)
    out = out or folder / "plots"
    out.mkdir(parents=True, exist_ok=True)
    hours = _hours(curves)
    pictures = {
        "losses": _lines(
            _members(curves, "loss", relative=True),
            hours,
            "How far the workers have come",
            "loss, relative to its first",
        ),
        "weights": _lines(
            _members(curves, "weight"), hours, "What each worker counts", "weight (mean 1)"
        ),
        "cosines": _matrix(curves),
        "probes": _lines(
            _members(curves, "probe"), hours, "What the embedding is worth", "score", smooth=False
        ),
    }
    done = []
    for name, figure in pictures.items():
        if figure is not None:
            file = out / f"{name}.png"
            figure.savefig(file, dpi=DPI)
            done.append(file)
    return done


def _hours(curves: Curves) -> dict[int, float]:
    """Return the hours of audio heard at each logged step."""
    steps, values = curves["hours"]
    return dict(zip(steps.tolist(), values.tolist(), strict=True))


def _members(
    curves: Curves, group: str, *, relative: bool = False
) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return the curves of a group by their short names, where they are more than gaps."""
    found = {}
    for key, (steps, values) in curves.items():
        if key.startswith(f"{group}/") and np.isfinite(values).any():
            if relative:
                first = values[np.isfinite(values) & (values > 0)][:5]
                values = values / (first.mean() if len(first) else 1.0)
            found[key.removeprefix(f"{group}/")] = (steps, values)
    return found


def _figure(height: float) -> "tuple[Figure, Any]":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _lines(
    curves: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]],
    hours: dict[int, float],
    title: str,
    label: str,
    *,
    smooth: bool = True,
) -> "Figure | None":
    """Draw curves against hours heard, each named at its end."""
    if not curves:
        return None
    figure, axes = _figure(max(4.5, 0.21 * len(curves) + 1.2))
    styles = itertools.product(DASHES, COLOURS)
    ends: list[tuple[str, float, str]] = []
    right = max(hours.values())
    for (name, (steps, values)), (dash, colour) in zip(curves.items(), styles, strict=False):
        known = np.isfinite(values)
        x, y = np.array([hours[int(step)] for step in steps])[known], values[known]
        if smooth and len(y) > SMOOTH:
            axes.plot(x, y, color=colour, alpha=0.12, linewidth=0.7)
        line = _running_mean(y) if smooth else y
        axes.plot(x, line, color=colour, linestyle=dash, linewidth=1.6)
        ends.append((name, float(line[-1]), colour))
    axes.set(title=title, xlabel="hours of audio heard", ylabel=label, xlim=(0, right))
    axes.grid(alpha=0.25, linewidth=0.6)
    lows = [value for _, value, _ in ends]
    everything = np.concatenate([_running_mean(v[np.isfinite(v)]) for _, v in curves.values()])
    low, high = min(everything.min(), *lows), np.quantile(everything, 0.995)
    margin = 0.04 * max(high - low, 1e-6)
    axes.set_ylim(low - margin, high + margin)
    _name(axes, ends, right)
    return figure


def _name(axes: Any, ends: list[tuple[str, float, str]], right: float) -> None:
    """Write the curves' names beside their ends, no two on one another."""
    low, high = axes.get_ylim()
    step = (high - low) / max(len(ends), 24) * 1.02
    ends = sorted(ends, key=lambda end: end[1])
    places: list[float] = []
    for i, (_, value, _) in enumerate(ends):
        room = high - step * (len(ends) - i - 0.5)
        place = min(max(value, low + step / 2), room)
        places.append(max(place, places[-1] + step) if places else place)
    for (name, value, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            xy=(right, min(max(value, low), high)),
            xytext=(1.03, (place - low) / (high - low)),
            textcoords="axes fraction",
            color=colour,
            fontsize=8,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "alpha": 0.5, "linewidth": 0.6},
        )


def _running_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return means over at most SMOOTH points up to each."""
    size = min(SMOOTH, max(1, len(values) // 4))
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - size)
    out: NDArray[np.float64] = (sums[ends] - sums[starts]) / (ends - starts)
    return out


def _matrix(curves: Curves) -> "Figure | None":
    """Draw the cosines between the workers' gradients, the mean over the run's last quarter."""
    names = [key.removeprefix("gradient/") for key in curves if key.startswith("gradient/")]
    if len(names) < 2:
        return None
    place = {name: i for i, name in enumerate(names)}
    cosines = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(cosines, 1)
    for i, j in itertools.combinations(range(len(names)), 2):
        curve = curves.get(f"cosine/{names[i]}-{names[j]}")
        if curve is not None:
            steps, values = curve
            late = values[steps >= steps[-1] * (1 - LAST)]
            cosines[place[names[i]], place[names[j]]] = np.nanmean(late)
            cosines[j, i] = cosines[i, j]
    off = cosines[~np.eye(len(names), dtype=bool)]
    limit = max(0.1, float(np.nanmax(np.abs(off), initial=0.1)))
    figure, axes = _figure(WIDTH * 0.82)
    image = axes.imshow(cosines, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_title("Do the workers pull the encoder the same way?")
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.7)
    bar.set_label("cosine between gradients at the encoder's output")
    if len(names) <= 18:
        for i, j in itertools.permutations(range(len(names)), 2):
            if np.isfinite(cosines[i, j]):
                dark = abs(cosines[i, j]) > 0.6 * limit
                text = f"{cosines[i, j]:.2f}".replace("0.", ".")
                colour = "white" if dark else "black"
                axes.text(j, i, text, ha="center", va="center", fontsize=6.5, color=colour)
    return figure
