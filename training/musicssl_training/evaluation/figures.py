"""Figures of a report as SVG: intervals, label efficiency, confusion, maps.

Colours are the classes ``m0``, ``m1``, ... of models, ``k0``, ... of named labels and ``s0``, ...
of ordered ones, which page.css knows for light and dark.
"""

from collections.abc import Sequence
from math import ceil, floor, log10

import numpy as np
from numpy.typing import NDArray

from musicssl_training.evaluation.markup import Markup, join, tag
from musicssl_training.evaluation.results import Map, Result

MODELS = 10  # colours of models, then again from the first
KINDS_OF_LABELS = 12  # colours of named labels; further ones are grey
SHADES = 8  # colours of ordered labels
WRITTEN = 15  # classes, with more the shares in a confusion matrix are not written
SHOWN = 0.005  # share of a row from which a cell is drawn
MARKS = {  # of probes, around (0, 0)
    "linear": "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0Z",
    "mlp": "M-3.6,-3.6h7.2v7.2h-7.2Z",
    "knn": "M0,-5L5,0L0,5L-5,0Z",
}
OTHER_MARK = "M0,-5L4.7,4H-4.7Z"


def intervals(results: Sequence[Result], models: Sequence[str]) -> Markup:
    """Return scores and their intervals: a row a model, a mark a probe."""
    probes = list(dict.fromkeys(r.probe for r in results))
    rows = [m for m in models if any(r.model == m for r in results)]
    width, step = 440, 15 * len(probes) + 8
    left = 24 + 7 * max(map(len, rows))
    height = step * len(rows) + 8
    chance = results[0].chance
    low, high = (
        f(v) for f, v in ((min, [r.low for r in results]), (max, [r.high for r in results]))
    )
    axis = _Axis(min(low, chance), high, left, left + width)
    parts = [_grid(axis, 4, height), _chance(axis.at(chance), 4, height)]
    for i, model in enumerate(rows):
        middle = 4 + step * (i + 0.5)
        parts.append(tag("text", model, x=left - 10, y=f"{middle + 4:.1f}", text_anchor="end"))
        for r in (r for r in results if r.model == model):
            y = middle + 15 * (probes.index(r.probe) - (len(probes) - 1) / 2)
            title = (
                f"{model}, {r.probe}: {100 * r.score:.1f} [{100 * r.low:.1f}, {100 * r.high:.1f}]"
            )
            bar = f"M{axis.at(r.low):.1f},{y:.1f}H{axis.at(r.high):.1f}"
            place = f"translate({axis.at(r.score):.1f},{y:.1f})"
            mark = tag("path", d=MARKS.get(r.probe, OTHER_MARK), transform=place, class_="mark")
            whisker = tag("path", d=bar, class_="line")
            inner = [tag("title", title), whisker, mark]
            parts.append(tag("g", *inner, class_=f"m{models.index(model) % MODELS}"))
    return _svg(left + width + 20, height + 26, parts, "scores and 95 % intervals")


def efficiency(results: Sequence[Result], models: Sequence[str], regimes: Sequence[str]) -> Markup:
    """Return scores over the amount of labels, one line a model."""
    left, width, height = 50, 420, 250
    axis = _Axis(
        min(results[0].chance, *(r.low for r in results)), max(r.high for r in results), height, 10
    )
    across = dict(
        zip(regimes, np.linspace(left + 40, left + width - 40, len(regimes)), strict=True)
    )
    parts = [
        tag("path", d=f"M{left},{axis.at(t):.1f}H{left + width}", class_="grid") for t in axis.ticks
    ]
    parts += [
        tag("text", _per_cent(t, axis), x=left - 8, y=f"{axis.at(t) + 4:.1f}", text_anchor="end")
        for t in axis.ticks
    ]
    y = axis.at(results[0].chance)
    parts.append(tag("path", d=f"M{left},{y:.1f}H{left + width}", class_="chance"))
    parts += [
        tag("text", regime, x=f"{x:.1f}", y=height + 22, text_anchor="middle")
        for regime, x in across.items()
    ]
    for i, model in enumerate(models):
        found = {r.regime: r for r in results if r.model == model}
        points = [
            (across[n] + 7 * (i - (len(models) - 1) / 2), found[n]) for n in regimes if n in found
        ]
        if not points:
            continue
        line = "M" + "L".join(f"{x:.1f},{axis.at(r.score):.1f}" for x, r in points)
        bars = "".join(f"M{x:.1f},{axis.at(r.low):.1f}V{axis.at(r.high):.1f}" for x, r in points)
        marks = "".join(f"M{x:.1f},{axis.at(r.score):.1f}h0" for x, r in points)
        inner = [tag("title", model), tag("path", d=line, class_="line")]
        inner += [tag("path", d=bars, class_="thin"), tag("path", d=marks, class_="dots")]
        parts.append(tag("g", *inner, class_=f"m{i % MODELS}"))
    return _svg(left + width + 10, height + 32, parts, "score over the share of labels")


def matrix(result: Result) -> Markup:
    """Return a confusion matrix: rows are the truth, and sum to 1."""
    names = result.classes
    cells = np.asarray(result.confusion, float)
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1e-9)
    few = len(names) <= WRITTEN
    size = 34 if few else max(5, 480 // len(names))
    left, top = 10 + 7 * max(map(len, names)), 10 + 6 * max(map(len, names))
    parts = []
    for i, j in np.argwhere(shares >= SHOWN):
        x, y, share = left + size * j, top + size * i, shares[i, j]
        inner = [tag("title", f"{names[i]} taken for {names[j]}: {100 * share:.1f} %")]
        place = {"x": x, "y": y, "width": size - 1, "height": size - 1}
        inner.append(tag("rect", **place, fill_opacity=f"{share:.3f}", class_="cell"))
        if few:
            middle = {"x": f"{x + size / 2 - 0.5}", "y": f"{y + size / 2 + 4}"}
            shade = "cell-text strong" if share > 0.55 else "cell-text"
            inner.append(tag("text", f"{100 * share:.0f}", **middle, class_=shade))
        parts.append(tag("g", *inner))
    edge = f"M{left - 1},{top - 1}h{size * len(names)}v{size * len(names)}h-{size * len(names)}Z"
    parts.append(tag("path", d=edge, class_="grid"))
    every = max(1, -(-12 // size))
    for i, name in list(enumerate(names))[::every]:
        at = size * (i + 0.5) + 4
        parts.append(tag("text", name, x=left - 6, y=f"{top + at:.1f}", text_anchor="end"))
        turn = f"translate({left + at - 2:.1f},{top - 6}) rotate(-55)"
        parts.append(tag("text", name, transform=turn))
    return _svg(
        left + size * len(names) + 50, top + size * len(names) + 6, parts, "confusion matrix"
    )


def scatter(found: Map, colours: dict[str, str]) -> Markup:
    """Return a map's items as dots; `colours` names a class for each label."""
    xy = np.asarray(found.xy, float)
    middle = np.median(xy, axis=0)
    reach = np.quantile(np.abs(xy - middle).max(axis=1), 0.99) or 1.0
    places = np.clip((xy - middle) / reach, -1, 1) * [104, -104] + 110
    by_colour: dict[str, list[str]] = {}
    for label, (x, y) in zip(found.labels, places, strict=True):
        by_colour.setdefault(colours[label], []).append(f"M{x:.1f},{y:.1f}h0")
    ordered = sorted(by_colour.items(), key=lambda pair: pair[0] != "other")  # grey lies below
    parts = [tag("path", d="".join(dots), class_=f"dots {name}") for name, dots in ordered]
    return _svg(220, 220, parts, f"{found.model} in two dimensions")


def colour_labels(labels: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return a colour's class for each label, and for the legend a text for each class."""
    names, counts = np.unique(np.array(labels), return_counts=True)
    try:
        numbers = names.astype(float)
    except ValueError:
        top = [str(names[i]) for i in np.argsort(-counts, kind="stable")[:KINDS_OF_LABELS]]
        colours = {name: f"k{i}" for i, name in enumerate(sorted(top))}
        legend = {colour: name for name, colour in colours.items()}
        rest = [str(name) for name in names if name not in colours]
        if rest:
            legend["other"] = f"{len(rest)} others"
        return colours | dict.fromkeys(rest, "other"), legend
    return _shades(names, numbers)


def _shades(
    names: NDArray[np.str_], numbers: NDArray[np.float64]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return shades for numbers in order, neighbours together where there are many."""
    parts = np.array_split(np.argsort(numbers), min(SHADES, len(names)))
    colours: dict[str, str] = {}
    legend: dict[str, str] = {}
    for i, part in enumerate(parts):
        shade = f"s{i * (SHADES - 1) // max(1, len(parts) - 1)}"
        colours |= {str(names[j]): shade for j in part}
        ends = f"{numbers[part[0]]:g}", f"{numbers[part[-1]]:g}"
        legend[shade] = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
    return colours, legend


class _Axis:
    """A scale from scores to pixels with round ticks."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        room = max(high - low, 0.02)
        rough = room / 5
        power = 10 ** floor(log10(rough))
        self.step = next(power * k for k in (1, 2, 5, 10) if power * k >= rough * 0.999)
        self.low, self.high = low - 0.05 * room, high + 0.05 * room
        self.start, self.end = start, end
        first, last = ceil(self.low / self.step), floor(self.high / self.step)
        self.ticks = [i * self.step for i in range(first, last + 1)]

    def at(self, value: float) -> float:
        """Return where a score is."""
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


def _grid(axis: _Axis, top: float, bottom: float) -> Markup:
    lines = [tag("path", d=f"M{axis.at(t):.1f},{top}V{bottom}", class_="grid") for t in axis.ticks]
    texts = [
        tag("text", _per_cent(t, axis), x=f"{axis.at(t):.1f}", y=bottom + 18, text_anchor="middle")
        for t in axis.ticks
    ]
    return join([*lines, *texts])


def _per_cent(tick: float, axis: _Axis) -> str:
    return f"{100 * tick + 0.0:.{0 if axis.step >= 0.00999 else 1}f}"


def _chance(x: float, top: float, bottom: float) -> Markup:
    return tag("path", tag("title", "chance"), d=f"M{x:.1f},{top}V{bottom}", class_="chance")


def _svg(width: float, height: float, parts: list[Markup], what: str) -> Markup:
    size = {"width": f"{width:.0f}", "height": f"{height:.0f}"}
    size["viewBox"] = f"0 0 {size['width']} {size['height']}"
    named = {"role": "img", "aria_label": what, "xmlns": "http://www.w3.org/2000/svg"}
    return tag("svg", *parts, **size, **named)
