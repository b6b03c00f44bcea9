"""A report's scores in rows, a row a task and metric, and as Markdown."""

from dataclasses import dataclass

from musicssl_training.evaluation.results import Report, Result

SUPERVISED = "supervised"  # column: random weights, then trained on the task
FINE_TUNED = "fine-tuned"  # in the place of a probe


@dataclass(frozen=True)
class Row:
    """One task's scores by one metric.

    Attributes
    ----------
    cells
        By model.
    best
        The model that leads each other one by a paired interval above 0, or "".
    """

    task: str
    metric: str
    cells: dict[str, Result]
    best: str

    @property
    def chance(self) -> float:
        """Score of the best constant answer."""
        return next(iter(self.cells.values())).chance


def rows(report: Report, probe: str = "linear", regime: str = "100%") -> list[Row]:
    """Return the rows of a probe and regime, in the order of the report."""
    found: dict[tuple[str, str], dict[str, Result]] = {}
    for r in report.results:
        if (r.probe, r.regime) == (probe, regime):
            found.setdefault((r.task, r.metric), {})[r.model] = r
    out = []
    for (task, metric), cells in found.items():
        best = max(cells.values(), key=lambda r: r.score)
        sure = len(cells) > 1 and _leads(report, best, len(cells) - 1)
        if probe != FINE_TUNED:
            cells = cells | supervised(report, task, metric, regime)
        out.append(Row(task, metric, cells, best.model if sure else ""))
    return out


def supervised(report: Report, task: str, metric: str, regime: str) -> dict[str, Result]:
    """Return the score of the architecture trained on the task alone, if it was measured."""
    wanted = (task, metric, FINE_TUNED, regime)
    for r in report.results:
        if (r.task, r.metric, r.probe, r.regime) == wanted and r.model.startswith("random"):
            return {SUPERVISED: r}
    return {}


def kinds(report: Report) -> list[tuple[str, str]]:
    """Return the probes and regimes that there are."""
    return list(dict.fromkeys((r.probe, r.regime) for r in report.results))


def columns(found: list[Row]) -> list[str]:
    """Return the models of some rows; what is supervised stands last."""
    names = list(dict.fromkeys(name for row in found for name in row.cells))
    return sorted(names, key=lambda name: name == SUPERVISED)


def table(report: Report, probe: str = "linear", regime: str = "100%") -> str:
    """Return scores in per cent with their 95 % intervals as Markdown.

    The best of a row is bold where its lead over every other model has an interval above 0.
    """
    found = rows(report, probe, regime)
    models = columns(found)
    lines = [
        _line(["task", "metric", "chance", *models]),
        _line(["---"] * 2 + ["---:"] * (len(models) + 1)),
    ]
    for row in found:
        texts = []
        for model in models:
            text = _cell(row.cells[model]) if model in row.cells else "-"
            texts.append(f"**{text}**" if model == row.best else text)
        lines.append(_line([row.task, row.metric, f"{100 * row.chance:.1f}", *texts]))
    return "\n".join(lines)


def tables(report: Report) -> str:
    """Return a table for every probe and regime, and what is missing."""
    only = "" if report.part == "all" else f", {report.part} part"
    parts = [
        f"## {probe}, {regime} of the labels{only}\n\n{table(report, probe, regime)}\n"
        for probe, regime in kinds(report)
    ]
    if report.missing:
        gaps = "\n".join(f"- {gap['task']}: {gap['reason']}" for gap in report.missing)
        parts.append(f"## Not measured\n\n{gaps}\n")
    return "\n".join(parts)


def _leads(report: Report, best: Result, others: int) -> bool:
    """Return whether `best` leads each of that many others by a paired interval above 0."""
    key = (best.task, best.probe, best.regime, best.metric)
    sure = 0
    for d in report.differences:
        if (d.task, d.probe, d.regime, d.metric) == key:
            sure += (d.a == best.model and d.low > 0) or (d.b == best.model and d.high < 0)
    return sure == others


def _cell(result: Result) -> str:
    return f"{100 * result.score:.1f} [{100 * result.low:.1f}, {100 * result.high:.1f}]"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
