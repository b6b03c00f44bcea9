"""Tables of a report's scores, one row per task and metric, and their Markdown."""

from dataclasses import dataclass

from musicssl_training.evaluation.protocol.finetune import FINE_TUNED
from musicssl_training.evaluation.protocol.metrics import metric_label
from musicssl_training.evaluation.protocol.scoring import Result
from musicssl_training.evaluation.report.results import Report

SUPERVISED = "supervised"  # column: random weights, then trained on the task


@dataclass(frozen=True)
class Row:
    """One task's scores by one metric.

    Attributes
    ----------
    cells
        By model.
    best
        The model whose paired lead over every other has an interval above 0; "" if there is none.
    """

    task: str
    metric: str
    cells: dict[str, Result]
    best: str

    @property
    def chance(self) -> float:
        """Score of the best constant prediction."""
        return next(iter(self.cells.values())).chance


def rows(report: Report, probe: str = "linear", regime: str = "100%") -> list[Row]:
    """Return the rows for a probe and regime, in the order of the report."""
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


def probes_and_regimes(report: Report) -> list[tuple[str, str]]:
    """Return the pairs of probe and regime that were measured."""
    return list(dict.fromkeys((r.probe, r.regime) for r in report.results))


def columns(found: list[Row]) -> list[str]:
    """Return the models in some rows; the supervised baseline stands last."""
    names = list(dict.fromkeys(name for row in found for name in row.cells))
    return sorted(names, key=lambda name: name == SUPERVISED)


def table(report: Report, probe: str = "linear", regime: str = "100%") -> str:
    """Return scores in percent with 95 % intervals, as Markdown.

    The best of a row is bold if its paired lead over every other model has an interval above 0. The
    last row says what each model learned from.
    """
    found = rows(report, probe, regime)
    models = columns(found)
    lines = [
        _row(["task", "metric", "chance", *models]),
        _row(["---"] * 2 + ["---:"] * (len(models) + 1)),
    ]
    for row in found:
        texts = []
        for model in models:
            text = _cell(row.cells[model]) if model in row.cells else "-"
            texts.append(f"**{text}**" if model == row.best else text)
        lines.append(_row([row.task, row.metric, f"{100 * row.chance:.1f}", *texts]))
    told = [report.supervision.get(model, "") for model in models]
    if any(told):
        lines.append(
            _row(["*learned from*", "", "", *(f"*{text}*" if text else "" for text in told)])
        )
    return "\n".join(lines)


def tables(report: Report) -> str:
    """Return what one's own labels came to, a table for every probe, and what was not measured."""
    only = "" if report.part == "all" else f", {report.part} part"
    parts = [own_summary(report, task) for task in report.notes]
    parts += [
        f"## {probe}, {regime} of the labels{only}\n\n{table(report, probe, regime)}\n"
        for probe, regime in probes_and_regimes(report)
    ]
    if report.missing:
        gaps = "\n".join(f"- {gap['task']}: {gap['reason']}" for gap in report.missing)
        parts.append(f"## Not measured\n\n{gaps}\n")
    return "\n".join(parts)


def own_summary(report: Report, task: str) -> str:
    """Return what all probes reach on labels of one's own by the first metric, as Markdown."""
    notes = "\n".join(f"- {note}" for note in report.notes[task])
    leading = report.leading().get(task)
    if leading is None:
        return f"## {task}\n\n{notes}\n"
    pairs = [pair for pair in probes_and_regimes(report) if pair[1] == leading.regime]
    found = {probe: rows(report, probe, regime) for probe, regime in pairs}
    lines = {
        probe: row.cells
        for probe, some in found.items()
        for row in some
        if (row.task, row.metric) == (task, leading.metric)
    }
    models = list(dict.fromkeys(name for cells in lines.values() for name in cells))
    models = [name for name in models if name != SUPERVISED]
    table = [
        _row([metric_label(leading.metric), *models]),
        _row(["---", *["---:"] * len(models)]),
        _row(["chance", *[f"{100 * leading.chance:.1f}"] * len(models)]),
    ]
    for probe, cells in lines.items():
        table.append(_row([probe, *(_cell(cells[m]) if m in cells else "-" for m in models)]))
    size = f"{leading.n_items} recordings in {leading.n_groups} groups"
    return f"## {task}: {size}\n\n" + "\n".join(table) + f"\n\n{notes}\n"


def _leads(report: Report, best: Result, others: int) -> bool:
    """Return whether the paired lead of `best` over all others has an interval above 0."""
    key = (best.task, best.probe, best.regime, best.metric)
    sure = 0
    for d in report.differences:
        if (d.task, d.probe, d.regime, d.metric) == key:
            sure += (d.a == best.model and d.low > 0) or (d.b == best.model and d.high < 0)
    return sure == others


def _cell(result: Result) -> str:
    return f"{100 * result.score:.1f} [{100 * result.low:.1f}, {100 * result.high:.1f}]"


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
