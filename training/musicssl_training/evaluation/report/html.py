"""The report as one HTML page without scripts or external files."""

from datetime import datetime
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from musicssl_training.evaluation.embedders.baselines import BASELINES
from musicssl_training.evaluation.protocol.finetune import FINE_TUNED
from musicssl_training.evaluation.protocol.labels import Labels
from musicssl_training.evaluation.protocol.metrics import MEAN, metric_label, metric_title
from musicssl_training.evaluation.protocol.scoring import Result
from musicssl_training.evaluation.report import figures
from musicssl_training.evaluation.report.results import Map, Report
from musicssl_training.evaluation.report.tables import (
    SUPERVISED,
    columns,
    probes_and_regimes,
    rows,
)
from musicssl_training.evaluation.tasks import TASKS, Task

MAIN = ("linear", "100%")
MAX_CLASSES = 30  # rows of a table of single classes


def render_page(report: Report) -> str:
    """Return the page."""
    env = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined
    )
    env.filters |= {
        "percent": figures.percent,
        "label": metric_label,
        "title": metric_title,
        "model": display_name,
        "anchor": _anchor,
    }
    files = resources.files(__package__)
    template = env.from_string(files.joinpath("template.html.jinja").read_text("utf-8"))
    return template.render(
        report=report,
        style=Markup(files.joinpath("style.css").read_text("utf-8")),
        date=_readable_date(report.date),
        seeds=len(report.results[0].seeds) if report.results else 0,
        fine_tuned=any(r.probe == FINE_TUNED for r in report.results),
        models=_models(report),
        metrics=list(dict.fromkeys(r.metric for r in report.results)),
        tables=[(*kind, rows(report, *kind)) for kind in probes_and_regimes(report)],
        columns=lambda rows: sort_models(columns(rows)),
        main=MAIN,
        sections=[_make_section(report, task) for task in _tasks(report)],
        seconds=_probing_seconds(report),
        mean=MEAN,
        parts=[(name, _parts_text(facts)) for name, facts in report.partitions.items()],
        splits=list(dict.fromkeys((r.task, r.split) for r in report.results)),
    )


def _parts_text(facts: dict[str, str]) -> str:
    """Return what a collection's parts have in common."""
    shared = f"; in both parts: {facts['shared']}" if facts["shared"] else ""
    return f"{facts['hash']} (separated: {facts['separated'] or 'recordings'}{shared})"


def display_name(model: str) -> str:
    """Return a model's name for readers: "random=x" becomes "x, random weights"."""
    kind, _, pattern = model.partition("=")
    if kind == "random" and pattern:
        return f"{pattern}, random weights"
    return "random weights" if model == "random" else model


def sort_models(names: list[str]) -> list[str]:
    """Return models with the user's first, then random weights and hand-crafted baselines."""

    def key(name: str) -> int:
        kinds = (name.startswith("random"), name in BASELINES, name == SUPERVISED)
        return max((i + 1 for i, true in enumerate(kinds) if true), default=0)

    return sorted(names, key=key)


def _make_section(report: Report, task: str) -> dict[str, Any]:
    """Return what the page says of one task, by its leading metric.

    ``main`` has one result per model, of the linear probe with all labels if there is one.
    """
    models = _models(report)
    lead = next(r for r in report.results if r.task == task).metric
    found = [r for r in report.results if r.task == task and r.metric == lead]
    full = [r for r in found if r.regime == MAIN[1]]
    main = [r for r in full if r.probe == MAIN[0]] or full or found
    main = sorted(main, key=lambda r: models.index(r.model))
    key = (task, main[0].probe, main[0].regime, lead)
    maps = sorted((m for m in report.maps if m.task == task), key=lambda m: models.index(m.model))
    labels = [label for m in maps for label in m.labels]
    colors, legend = figures.color_labels(labels) if maps else ({}, {})
    return {
        "task": task,
        "facts": _facts(found[0], lead),
        "lead": lead,
        "main": main,
        "figures": _score_figures(full, found, models),
        "probes": list(dict.fromkeys(r.probe for r in full)),
        "differences": [
            d for d in report.differences if (d.task, d.probe, d.regime, d.metric) == key
        ],
        "classes": [] if task == MEAN else _classes(main[0]),
        "matrices": [(r.model, figures.confusion_matrix(r)) for r in main if r.confusion],
        "maps": [(m.model, figures.scatter(m, colors)) for m in maps],
        "n_mapped": len(maps[0].items) if maps else 0,
        "legend": legend,
    }


def _score_figures(
    full: list[Result], found: list[Result], models: list[str]
) -> list[tuple[str, Markup]]:
    """Return figures of scores with their captions."""
    names = {model: display_name(model) for model in models}
    title = metric_title(found[0].metric)
    out = []
    if full:
        caption = f"{title[0].upper()}{title[1:]}, in percent; all labels; dashed: chance"
        out.append((caption, figures.intervals(full, models, names)))
    linear = [r for r in found if r.probe == MAIN[0]]
    if len({r.regime for r in linear}) > 1:
        caption = "The linear probe with fewer labels; dashed: chance"
        out.append((caption, figures.efficiency(linear, models, names)))
    return out


def _classes(result: Result) -> list[str]:
    """Return the classes to list: of many, the most frequent, where their numbers are known."""
    names = list(result.per_class)
    if len(names) < 2:
        return []
    if len(names) <= MAX_CLASSES or not result.confusion:
        return names
    counts = [sum(row) for row in result.confusion]  # in the order of the names
    top = sorted(range(len(names)), key=lambda i: -counts[i])[:MAX_CLASSES]
    return [names[i] for i in sorted(top)]


def _facts(first: Result, lead: str) -> str:
    if first.task == MEAN:
        names = ", ".join(first.per_class)
        return f"The mean of {len(first.per_class)} tasks, each counting alike: {names}."
    task = TASKS.get(first.task)
    one, several = task.kind.noun if task else Labels.noun
    n = len(first.classes)
    return (
        f"{_source(task)}{first.n_items:,} items in {first.n_groups:,} groups "
        f"tested; {n} {one if n == 1 else several}; leading metric: {metric_title(lead)}; "
        f"split {first.split}."
    )


def _source(task: Task | None) -> str:
    if task is None:
        return ""
    groups = f"no {' and '.join(task.groups)} on both sides; " if task.groups else ""
    return f"{task.collection}; labels {', '.join(task.labels)}; {groups}"


def _tasks(report: Report) -> list[str]:
    return list(dict.fromkeys(r.task for r in report.results))


def _models(report: Report) -> list[str]:
    measured: list[Result | Map] = [*report.results, *report.maps]
    return sort_models(list(dict.fromkeys(each.model for each in measured)))


def _probing_seconds(report: Report) -> dict[tuple[str, str], float]:
    """Return the time for probing by task and model."""
    spent = {(r.task, r.model, r.probe, r.regime): r.seconds for r in report.results}
    total: dict[tuple[str, str], float] = {}
    for (task, model, *_), seconds in spent.items():
        total[task, model] = total.get((task, model), 0.0) + seconds
    return total


def _readable_date(text: str) -> str:
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{date.day} {date:%B %Y, %H:%M %Z}"


def _anchor(name: str) -> str:
    return "task-" + "".join(c if c.isalnum() else "-" for c in name.lower())
