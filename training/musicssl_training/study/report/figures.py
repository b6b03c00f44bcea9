"""Figures of a study as SVG: effects, interactions, spread over seeds, and the Pareto front.

They are drawn as those of an evaluation, so one figure serves the light and the dark page.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from musicssl_training.evaluation.report.figures import (
    MODELS,
    STYLE,
    WIDTH,
    Canvas,
    color,
    score_axis,
    write_label,
)
from musicssl_training.study.report.words import LONGEST, describe, interval, label, points

ROW = 34  # px of a level
SHOWN = 24  # configurations in a figure of all
UNITS = {"seconds": 3600, "minutes": 60, "hours": 1}
CROWDED = 36  # characters, from which names under an axis are tilted


@mpl.rc_context(STYLE)
def effects(levels: dict[str, dict[str, Any]]) -> Markup:
    """Return effects with intervals: of levels, from their factor's mean, or what parts add."""
    known = {k: v for k, v in levels.items() if v["value"] is not None}
    canvas = Canvas(WIDTH, ROW * len(levels) + 30, left=14, right=14, bottom=26)
    ax = canvas.axes
    ends = [
        v[k] / 100 for v in known.values() for k in ("value", "low", "high") if v[k] is not None
    ]
    score_axis(ax, "x", [0.0, *ends])
    ax.set_ylim(ROW * len(levels), 0)
    ax.axvline(0, color=color("soft"), dashes=(4, 4), linewidth=0.8)
    for i, (name, one) in enumerate(levels.items()):
        y = ROW * i + 25
        write_label(ax, label(name) if name in known else f"{name}: cannot be told", y - 14)
        if name not in known:
            continue
        hue = color(f"m{i}" if len(levels) <= MODELS else "accent")
        drawn = ax.plot(
            [one["value"] / 100], [y], "o", color=hue, mec=color("ground"), markersize=7
        )
        if one["low"] is not None:
            ends = [one["low"] / 100, one["high"] / 100]
            drawn += ax.plot(ends, [y, y], color=hue, linewidth=1.5)
        canvas.add_tip(f"{name}: {points(one['value'])} {interval(one)}", *drawn)
    return canvas.to_svg("effects of the levels with 95 % intervals")


@mpl.rc_context(STYLE)
def interaction(found: dict[str, Any], factors: dict[str, list[str]]) -> Markup:
    """Return the expected scores of all pairs of two factors' levels, one line a level.

    The factor with more levels goes along the axis.
    """
    a, b = sorted(found["factors"], key=lambda name: -len(factors[name]))
    crowded = sum(map(len, factors[a])) > CROWDED
    canvas = Canvas(WIDTH, 260, left=38, right=10, bottom=70 if crowded else 26)
    ax = canvas.axes
    cells = {
        frozenset(zip(found["factors"], one["levels"], strict=True)): one for one in found["means"]
    }
    score_axis(
        ax,
        "y",
        [
            v / 100
            for one in found["means"]
            for v in (one["value"], one["low"], one["high"])
            if v is not None
        ],
    )
    ax.set_xlim(-0.5, len(factors[a]) - 0.5)
    ax.set_xticks(range(len(factors[a])), factors[a])
    if crowded:
        for text in ax.get_xticklabels():
            text.set(rotation=30, ha="right", rotation_mode="anchor")
    for i, level in enumerate(factors[b]):
        here = [cells[frozenset({(a, one), (b, level)})] for one in factors[a]]
        if any(one["value"] is None for one in here):
            continue
        shift = 0.5 * ((i + 0.5) / len(factors[b]) - 0.5)
        x = [k + shift for k in range(len(here))]
        hue = color(f"m{i % MODELS}")
        drawn: list[Any] = ax.plot(
            x, [one["value"] / 100 for one in here], "o-", color=hue, linewidth=1.5, markersize=4.5
        )
        if here[0]["low"] is not None:
            drawn.append(
                ax.vlines(
                    x,
                    [one["low"] / 100 for one in here],
                    [one["high"] / 100 for one in here],
                    hue,
                    linewidth=1,
                )
            )
        canvas.add_tip(f"{b}: {level}", *drawn)
    return canvas.to_svg(f"expected scores by {a} and {b}")


@mpl.rc_context(STYLE)
def front(
    configurations: list[dict[str, Any]],
    lead: str,
    hues: dict[str, int],
    by: str,
    cost: str,
    parts: Sequence[str] = (),
) -> Markup:
    """Return score against cost, a dot a configuration, and the Pareto front as a line."""
    canvas = Canvas(2 * WIDTH, 320, left=38, right=16, bottom=44)
    ax = canvas.axes
    score_axis(ax, "y", [one["scores"][lead]["mean"] / 100 for one in configurations])
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(axis="x", color=color("rule"), linewidth=0.8)
    # minutes if short: the page keeps two decimals
    unit, size = (
        ("minutes", 60) if max(one["hours"] for one in configurations) < 1 else ("hours", 1)
    )
    ax.set_xlabel(f"{unit} of {cost}", color=color("soft"))
    spent = [size * one["hours"] for one in configurations]
    ax.set_xlim(min(spent) / 1.25, max(spent) * 1.25)
    best = sorted((one for one in configurations if one["front"]), key=lambda one: one["hours"])
    ax.step(
        [size * one["hours"] for one in best],
        [one["scores"][lead]["mean"] / 100 for one in best],
        where="post",
        color=color("soft"),
        linewidth=1,
    )
    for one in configurations:
        hue = color(f"m{hues[one['levels'][by]] % MODELS}") if by else color("accent")
        edge = color("ink") if one["front"] else color("ground")
        at = [size * one["hours"]], [one["scores"][lead]["mean"] / 100]
        dot = ax.plot(*at, "o", color=hue, mec=edge, markersize=8)
        name = describe(one["levels"], parts)
        text = f"{name}: {points(at[1][0] * 100)}, {at[0][0]:.2g} {unit}"
        canvas.add_tip(text, *dot)
    return canvas.to_svg("score against training cost")


@mpl.rc_context(STYLE)
def spread(configurations: list[dict[str, Any]], lead: str, parts: Sequence[str] = ()) -> Markup:
    """Return the configurations, the best first: every seed a dot, and their mean a line."""
    ranked = sorted(configurations, key=lambda one: -one["scores"][lead]["mean"])[:SHOWN]
    canvas = Canvas(2 * WIDTH, ROW * len(ranked) + 30, left=14, right=14, bottom=26)
    ax = canvas.axes
    seeds = [list(one["scores"][lead]["seeds"].values()) for one in ranked]
    score_axis(ax, "x", [v / 100 for values in seeds for v in values])
    ax.set_ylim(ROW * len(ranked), 0)
    for i, (one, values) in enumerate(zip(ranked, seeds, strict=True)):
        y = ROW * i + 25
        name = describe(one["levels"], parts) or "all settings as given"
        write_label(ax, label(name, LONGEST * 2), y - 14)
        middle = one["scores"][lead]["mean"]
        ax.plot([middle / 100] * 2, [y - 6, y + 6], color=color("ink"), linewidth=1.5)
        dots = ax.plot(
            [v / 100 for v in values],
            [y] * len(values),
            "o",
            color=color("accent"),
            alpha=0.75,
            markersize=6,
        )
        canvas.add_tip(f"{points(middle)}; seeds: {', '.join(map(points, values))}", *dots)
    return canvas.to_svg("scores of all seeds by configuration")
