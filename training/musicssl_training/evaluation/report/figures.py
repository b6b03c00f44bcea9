"""Figures of a report as SVG: intervals, label efficiency, confusion matrices and maps.

matplotlib draws them with placeholder colors, which become CSS variables such as ``var(--ink)``:
so one figure serves the light and the dark page. Sizes are CSS pixels. No figure of scores is
wider than a phone, so that its text is never shrunk.
"""

import io
import re
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from musicssl_training.evaluation.protocol.regimes import Regime
from musicssl_training.evaluation.protocol.scoring import Result
from musicssl_training.evaluation.report.results import Map

MODELS = 10  # colors of models, then again from the first
LABEL_COLORS = 12  # for named labels; further ones are grey
SHADES = 8  # for ordered labels
WIDTH = 340  # of a figure of scores
WRITTEN = 15  # classes; with more, a confusion matrix has no numbers
SHOWN = 0.005  # share of a row from which a cell is drawn
MARKERS = {"linear": "o", "mlp": "s", "knn": "D"}  # by probe
OTHER_MARKER = "^"
COLORS = (  # CSS variables; the position of a name is its placeholder color, ink black
    *("ink", "soft", "rule", "ground", "accent", "on-accent", "other"),
    *(f"m{i}" for i in range(MODELS)),
    *(f"k{i}" for i in range(LABEL_COLORS)),
    *(f"s{i}" for i in range(SHADES)),
)
STYLE: dict[Any, Any] = {
    "font.size": 9,  # pt: 12 px
    "text.parse_math": False,  # a dollar sign in a name is one
    "path.simplify": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "musicssl",  # the same figure is the same text
}
NOISE = re.compile(  # of what matplotlib writes: nothing that a figure inside a page needs
    r"<metadata>.*?</metadata>|<defs>\s*<(style|clipPath).*?</\1>\s*</defs>|<!--.*?-->"
    r'| clip-path="[^"]*"| id="(?!tip-|m[0-9a-f]{8})[^"]*"',
    re.DOTALL,
)


@mpl.rc_context(STYLE)
def intervals(results: Sequence[Result], models: Sequence[str], names: dict[str, str]) -> Markup:
    """Return scores with intervals: a block per model, a marker per probe."""
    probes = list(dict.fromkeys(r.probe for r in results))
    rows = [m for m in models if any(r.model == m for r in results)]
    step = 22 + 14 * len(probes)
    canvas = Canvas(WIDTH, step * len(rows) + 30, left=14, right=14, bottom=26)
    ax = canvas.axes
    chance = results[0].chance
    score_axis(ax, "x", [chance, *(v for r in results for v in (r.low, r.high))])
    ax.set_ylim(step * len(rows), 0)
    ax.axvline(chance, color=color("soft"), dashes=(4, 4), linewidth=0.8)
    for i, model in enumerate(rows):
        write_label(ax, names[model], step * i + 12)
        for r in (r for r in results if r.model == model):
            y = step * i + 26 + 14 * probes.index(r.probe)
            hue = color(f"m{models.index(model) % MODELS}")
            score, *bounds = map(percent, (r.score, r.low, r.high))
            text = f"{names[model]}, {r.probe}: {score} [{', '.join(bounds)}]"
            bar = ax.plot([r.low, r.high], [y, y], color=hue, linewidth=1.5)
            marker = MARKERS.get(r.probe, OTHER_MARKER)
            dot = ax.plot([r.score], [y], marker, color=hue, mec=color("ground"), markersize=7)
            canvas.add_tip(text, *bar, *dot)
    return canvas.to_svg("scores with 95 % intervals")


@mpl.rc_context(STYLE)
def efficiency(results: Sequence[Result], models: Sequence[str], names: dict[str, str]) -> Markup:
    """Return scores over the amount of labels, one line per model."""
    regimes = sorted({Regime.parse(r.regime) for r in results})
    canvas = Canvas(WIDTH, 260, left=38, right=10, bottom=26)
    ax = canvas.axes
    chance = results[0].chance
    score_axis(ax, "y", [chance, *(v for r in results for v in (r.low, r.high))])
    ax.set_xlim(-0.5, len(regimes) - 0.5)
    ax.set_xticks(range(len(regimes)), [str(regime) for regime in regimes])
    ax.axhline(chance, color=color("soft"), dashes=(4, 4), linewidth=0.8)
    for i, model in enumerate(models):
        found = {Regime.parse(r.regime): r for r in results if r.model == model}
        if not found:
            continue
        shift = 0.5 * ((i + 0.5) / len(models) - 0.5)  # beside each other, within half a step
        x = [k + shift for k, regime in enumerate(regimes) if regime in found]
        here = [found[regime] for regime in regimes if regime in found]
        hue = color(f"m{i % MODELS}")
        bars = ax.vlines(x, [r.low for r in here], [r.high for r in here], hue, linewidth=1)
        line = ax.plot(x, [r.score for r in here], "o-", color=hue, linewidth=1.5, markersize=4.5)
        canvas.add_tip(names[model], bars, *line)
    return canvas.to_svg("score over the amount of labels")


@mpl.rc_context(STYLE)
def confusion_matrix(result: Result) -> Markup:
    """Return a confusion matrix: rows are the truth, and sum to 1."""
    names = result.classes
    cells = np.asarray(result.confusion, float)
    shares = cells / np.maximum(cells.sum(axis=1, keepdims=True), 1e-9)
    written = len(names) <= WRITTEN
    size = 34 if written else max(5, 480 // len(names))
    longest = max(map(len, names))
    left, top, right = 12 + 7 * longest, 14 + 6 * longest, 20 + 4 * longest
    width, height = left + size * len(names) + right, top + size * len(names) + 6
    canvas = Canvas(width, height, left=left, top=top, right=right, bottom=6)
    ax = canvas.axes
    ax.set(xlim=(0, len(names)), ylim=(len(names), 0))
    n = len(names)
    ax.add_patch(Rectangle((0, 0), n, n, edgecolor=color("rule"), facecolor="none"))
    for i, j in np.argwhere(shares >= SHOWN):
        side = 1 - 1 / size
        share = float(shares[i, j])
        cell = ax.add_patch(Rectangle((j, i), side, side, facecolor=color("accent"), alpha=share))
        canvas.add_tip(f"{names[i]} taken for {names[j]}: {percent(share)} %", cell)
        if written:
            ink = color("on-accent" if share > 0.55 else "ink")
            ax.text(j + 0.5, i + 0.5, f"{100 * share:.0f}", color=ink, ha="center", va="center")
    every = -(-12 // size)  # only every so many names, where they would overlap
    where = np.arange(len(names))[::every] + 0.5
    ax.set_yticks(where, names[::every])
    ax.set_xticks(where, names[::every], rotation=55, ha="left", rotation_mode="anchor")
    ax.xaxis.tick_top()
    ax.tick_params(length=0, pad=4)
    return canvas.to_svg("confusion matrix")


@mpl.rc_context(STYLE)
def scatter(found: Map, colors: dict[str, str]) -> Markup:
    """Return a map's items as dots; `colors` names a color for each label."""
    xy = np.asarray(found.xy, float)
    middle = np.median(xy, axis=0)
    reach = np.quantile(np.abs(xy - middle).max(axis=1), 0.99) or 1.0
    places = np.clip((xy - middle) / reach, -1, 1)
    canvas = Canvas(220, 220, left=6, right=6, top=6, bottom=6)
    canvas.axes.set(xlim=(-1, 1), ylim=(-1, 1))
    canvas.axes.set_axis_off()
    names = np.array([colors[label] for label in found.labels])
    for name in sorted(set(names), key=lambda name: (name != "other", name)):  # grey lies below
        # One path of dots per color, each a line of almost no length with round ends: a fifth of
        # the text that a marker per item takes
        ends = np.repeat(places[names == name], 2, axis=0)
        ends[1::2, 0] += 1e-3
        dots = Path(ends, np.tile([Path.MOVETO, Path.LINETO], len(ends) // 2))
        line = {"edgecolor": color(name), "facecolor": "none", "capstyle": "round"}
        canvas.axes.add_patch(PathPatch(dots, linewidth=3, alpha=0.75, **line))
    return canvas.to_svg("items in two dimensions")


def color_labels(labels: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return a color for each label, and for the legend a text for each color."""
    names, counts = np.unique(np.array(labels), return_counts=True)
    try:
        numbers = names.astype(float)
    except ValueError:
        top = [str(names[i]) for i in np.argsort(-counts, kind="stable")[:LABEL_COLORS]]
        colors = {name: f"k{i}" for i, name in enumerate(sorted(top))}
        legend = {hue: name for name, hue in colors.items()}
        rest = [str(name) for name in names if name not in colors]
        if rest:
            legend["other"] = f"{len(rest)} others"
        return colors | dict.fromkeys(rest, "other"), legend
    return _shade_numbers(names, numbers)


def _shade_numbers(
    names: NDArray[np.str_], numbers: NDArray[np.float64]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return shades for numbers in order; with many numbers, neighbors share one."""
    parts = np.array_split(np.argsort(numbers), min(SHADES, len(names)))
    colors: dict[str, str] = {}
    legend: dict[str, str] = {}
    for i, part in enumerate(parts):
        shade = f"s{i * (SHADES - 1) // max(1, len(parts) - 1)}"
        colors |= {str(names[j]): shade for j in part}
        ends = f"{numbers[part[0]]:g}", f"{numbers[part[-1]]:g}"
        legend[shade] = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
    return colors, legend


def percent(score: float) -> str:
    """Return a score as text."""
    return f"{100 * score:.1f}"


def color(name: str) -> str:
    """Return the placeholder of a CSS variable."""
    return f"#{COLORS.index(name):06x}"


class Canvas:
    """A figure with one plot area, sized in CSS pixels."""

    def __init__(
        self, width: int, height: int, *, left: int, right: int, bottom: int, top: int = 4
    ) -> None:
        self.figure = Figure((width / 96, height / 96), facecolor="none")
        area = (left / width, bottom / height)
        size = ((width - left - right) / width, (height - bottom - top) / height)
        self.axes = self.figure.add_axes((*area, *size), facecolor="none")
        self.axes.spines[:].set_visible(False)
        self.axes.tick_params(length=0)
        self.axes.set(xticks=[], yticks=[])
        self._tips: list[str] = []

    def add_tip(self, text: str, *artists: Artist) -> None:
        """Show a text where the pointer rests on something drawn."""
        for artist in artists:
            artist.set_gid(f"tip-{len(self._tips)}")
        self._tips.append(text)

    def to_svg(self, label: str) -> Markup:
        """Return an SVG element that inherits fonts and colors from its page."""
        buffer = io.StringIO()
        self.figure.savefig(buffer, format="svg", metadata={"Date": None})
        svg = NOISE.sub("", buffer.getvalue().partition("<svg")[2])
        # fonts are the page's; older versions of matplotlib write one property, newer ones three
        svg = re.sub(r"\bfont: ([\d.]+px)[^;\"]*", r"font-size: \1", svg)
        svg = re.sub(r"; font-family: [^;\"]*", "", svg)
        svg = re.sub(r"(\d\.\d\d)\d+", r"\1", svg)  # finer than any screen
        svg = re.sub(r"#0000[0-9a-f]{2}", lambda m: f"var(--{COLORS[int(m[0][1:], 16)]})", svg)
        svg = re.sub(
            r'<g id="tip-(\d+)">',
            lambda m: f"<g><title>{escape(self._tips[int(m[1])])}</title>",
            svg,
        )
        return Markup(f'<svg role="img" aria-label="{escape(label)}"{svg.rstrip()}')


def score_axis(ax: Axes, which: Literal["x", "y"], values: Sequence[float]) -> None:
    """Set up an axis of scores in percent, with room for all values."""
    low, high = min(values), max(values)
    room = max(high - low, 0.02)
    axis = getattr(ax, f"{which}axis")
    ax.set(**{f"{which}lim": (low - 0.05 * room, high + 0.05 * room)})
    axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10)))
    decimals = int(np.diff(axis.get_majorticklocs()).min(initial=1.0) < 0.0099)
    axis.set_major_formatter(PercentFormatter(1, decimals, symbol=""))
    ax.grid(axis=which, color=color("rule"), linewidth=0.8)
    ax.set_axisbelow(True)


def write_label(ax: Axes, text: str, y: float) -> None:
    """Write at the left edge of the plot, in front of its lines."""
    ground = {"facecolor": color("ground"), "edgecolor": "none", "pad": 1}
    where = ax.get_yaxis_transform()
    ax.text(0, y, text, transform=where, va="center", bbox=ground, zorder=5)
