"""The report as one HTML page without scripts or external files."""

from dataclasses import dataclass, field
from datetime import datetime
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from musicssl_training.evaluation.embedders.baselines import BASELINES
from musicssl_training.evaluation.protocol.finetune import FINE_TUNED
from musicssl_training.evaluation.protocol.metrics import MEAN, metric_label, metric_title
from musicssl_training.evaluation.protocol.scoring import Result
from musicssl_training.evaluation.report import figures
from musicssl_training.evaluation.report.results import Difference, Map, Report
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
        "percent": lambda score: f"{100 * score:.1f}",
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
        tables=[_Table(report, *kind) for kind in probes_and_regimes(report)],
        main=MAIN,
        sections=[_make_section(report, task) for task in _tasks(report)],
        seconds=_probing_seconds(report),
        mean=MEAN,
        splits=list(dict.fromkeys((r.task, r.split) for r in report.results)),
    )


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


class _Table:
    """Scores of all tasks with one probe and regime."""

    def __init__(self, report: Report, probe: str, regime: str) -> None:
        self.probe, self.regime = probe, regime
        self.rows = rows(report, probe, regime)
        self.models = sort_models(columns(self.rows))

    @property
    def is_main(self) -> bool:
        return (self.probe, self.regime) == MAIN


@dataclass
class _Section:
    """One task's results with its leading metric.

    Attributes
    ----------
    main
        One result per model, with the linear probe and all labels if there is one.
    svgs
        Figures of scores: title and SVG.
    classes
        Names of the classes, tags or targets in the table of single ones.
    """

    task: str
    facts: str
    main: list[Result]
    svgs: list[tuple[str, Markup]]
    probes: list[str]
    differences: list[Difference]
    classes: list[str]
    matrices: list[tuple[str, Markup]]
    maps: list[tuple[str, Markup]] = field(default_factory=list)
    legend: dict[str, str] = field(default_factory=dict)
    n_mapped: int = 0

    @property
    def classes_title(self) -> str:
        """What the table of single classes shows."""
        what = "recall" if self.main[0].confusion else metric_label(self.main[0].metric)
        total = len(self.main[0].per_class)
        rest = f", the {len(self.classes)} most frequent of {total}"
        return f"Every class: {what}{rest if len(self.classes) < total else ''}"


def _make_section(report: Report, task: str) -> _Section:
    models = _models(report)
    lead = next(r for r in report.results if r.task == task).metric
    found = [r for r in report.results if r.task == task and r.metric == lead]
    full = [r for r in found if r.regime == "100%"]
    main = [r for r in full if r.probe == MAIN[0]] or full or found
    main = sorted(main, key=lambda r: models.index(r.model))
    key = (task, main[0].probe, main[0].regime, lead)
    section = _Section(
        task=task,
        facts=_facts(found[0], lead),
        main=main,
        svgs=_score_figures(found, models),
        probes=list(dict.fromkeys(r.probe for r in full)),
        differences=[d for d in report.differences if (d.task, d.probe, d.regime, d.metric) == key],
        classes=[] if task == MEAN else _classes(main[0]),
        matrices=[(r.model, Markup(figures.confusion_matrix(r))) for r in main if r.confusion],
    )
    maps = [m for m in report.maps if m.task == task]
    if maps:
        _add_maps(section, sorted(maps, key=lambda m: models.index(m.model)))
    return section


def _add_maps(section: _Section, maps: list[Map]) -> None:
    colors, section.legend = figures.color_labels([label for m in maps for label in m.labels])
    section.maps = [(m.model, Markup(figures.scatter(m, colors))) for m in maps]
    section.n_mapped = len(maps[0].items)


def _score_figures(found: list[Result], models: list[str]) -> list[tuple[str, Markup]]:
    names = {model: display_name(model) for model in models}
    title = metric_title(found[0].metric)
    out = []
    full = [r for r in found if r.regime == "100%"]
    if full:
        svg = figures.intervals(full, models, names)
        caption = f"{title[0].upper()}{title[1:]}, in percent; all labels; dashed: chance"
        out.append((caption, Markup(svg)))
    linear = [r for r in found if r.probe == "linear"]
    if len({r.regime for r in linear}) > 1:
        svg = figures.efficiency(linear, models, names)
        out.append(("The linear probe with fewer labels; dashed: chance", Markup(svg)))
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
    kind = "column" if not first.confusion else "class"
    plural = {"class": "classes", "column": "columns"}[kind]
    n = len(first.classes)
    return (
        f"{_source(TASKS.get(first.task))}{first.n_items:,} items in {first.n_groups:,} groups "
        f"tested; {n} {kind if n == 1 else plural}; leading metric: {metric_title(lead)}; "
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
