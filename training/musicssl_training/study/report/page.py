"""The report of a study as one HTML page without scripts or external files."""

from datetime import datetime
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from musicssl_training.evaluation.report.figures import MODELS
from musicssl_training.study.report import figures
from musicssl_training.study.report.tables import ADDED, METHOD
from musicssl_training.study.report.words import describe, excludes_zero, interval, p_text, points
from musicssl_training.study.summary import MEAN

EVALUATION = "musicssl_training.evaluation.report"  # whose style the page has
STRONGEST = 0.45  # opacity of the largest effect's background


def render_page(report: dict[str, Any]) -> str:
    """Return the page of what `summarize` found."""
    env = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    env.filters |= {"points": points, "interval": interval, "p": p_text, "sure": excludes_zero}
    env.filters["date"] = lambda text: f"{datetime.fromisoformat(text):%-d %B %Y, %H:%M %Z}"
    template = env.from_string(_read(__package__, "template.html.jinja"))
    style = _read(EVALUATION, "style.css") + _read(__package__, "study.css")
    lead = report["effects"][report["lead"]]["factors"]
    parts, added = report["parts"], report["effects"][report["lead"]]["added"]
    whole = {name: found for name, found in lead.items() if name not in parts}
    few = [name for name in whole if len(report["factors"][name]) <= MODELS]
    by = next(iter(few), "")  # there are no more colors
    return template.render(
        report=report,
        style=Markup(style),
        method=METHOD,
        mean=MEAN,
        lead=report["lead"],
        tasks=[task["name"] for task in report["tasks"]],
        main=[
            (name, found["p"], figures.effects(found["levels"])) for name, found in whole.items()
        ],
        added=figures.effects(added) if added else "",
        added_words=ADDED,
        describe=lambda levels: describe(levels, parts),
        interactions=[
            (one, _lines(one, report), figures.interaction(one, report["factors"]))
            for one in report["interactions"]
        ],
        shade=_shades(report),
        by=by,
        front=figures.front(
            report["configurations"],
            MEAN,
            {label: i for i, label in enumerate(report["factors"].get(by, []))},
            by,
            report["cost"],
            parts,
        ),
        spread=figures.spread(report["configurations"], MEAN, parts),
        n_spread=figures.SHOWN,
        ranked=sorted(report["configurations"], key=lambda c: -c["scores"][MEAN]["mean"]),
    )


def _read(package: str, name: str) -> str:
    return resources.files(package).joinpath(name).read_text("utf-8")


def _lines(one: dict[str, Any], report: dict[str, Any]) -> tuple[str, list[str]]:
    """Return the factor whose levels are the figure's lines, and these."""
    _, factor = sorted(one["factors"], key=lambda name: -len(report["factors"][name]))
    return factor, report["factors"][factor]


def _shades(report: dict[str, Any]) -> Any:
    """Return what gives an effect's background: blue above, orange below its factor's mean."""
    values = [
        abs(one["value"])
        for task in report["effects"].values()
        for one in (
            *(one for factor in task["factors"].values() for one in factor["levels"].values()),
            *task["added"].values(),
        )
        if one["value"] is not None
    ]
    largest = max(values, default=0.0) or 1.0

    def shade(one: dict[str, Any]) -> str:
        if one["value"] is None:
            return "transparent"
        share = 100 * STRONGEST * abs(one["value"]) / largest
        hue = "m0" if one["value"] > 0 else "m1"
        return f"color-mix(in srgb, var(--{hue}) {share:.0f}%, transparent)"

    return shade
