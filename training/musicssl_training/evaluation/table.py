"""A report as Markdown: a row a task, a column a model."""

from musicssl_training.evaluation.results import Report, Result


def table(report: Report, probe: str = "linear", regime: str = "100%") -> str:
    """Return scores in per cent with their 95 % intervals.

    The best of a row is bold where its lead over every other model has an interval above 0.
    """
    found = [r for r in report.results if (r.probe, r.regime) == (probe, regime)]
    models = list(dict.fromkeys(r.model for r in found))
    rows: dict[tuple[str, str], dict[str, Result]] = {}
    for result in found:
        rows.setdefault((result.task, result.metric), {})[result.model] = result
    lines = [
        _line(["task", "metric", "chance", *models]),
        _line(["---"] * 2 + ["---:"] * (len(models) + 1)),
    ]
    for (task, metric), cells in rows.items():
        best = max(cells.values(), key=lambda r: r.score)
        sure = len(cells) > 1 and _leads(report, best)
        texts = []
        for model in models:
            text = _cell(cells[model]) if model in cells else "-"
            texts.append(f"**{text}**" if sure and model == best.model else text)
        lines.append(_line([task, metric, f"{100 * best.chance:.1f}", *texts]))
    return "\n".join(lines)


def tables(report: Report) -> str:
    """Return a table for every probe and regime, and what is missing."""
    kinds = dict.fromkeys((r.probe, r.regime) for r in report.results)
    parts = [
        f"## {probe}, {regime} of the labels\n\n{table(report, probe, regime)}\n"
        for probe, regime in kinds
    ]
    if report.missing:
        gaps = "\n".join(f"- {gap['task']}: {gap['reason']}" for gap in report.missing)
        parts.append(f"## Not measured\n\n{gaps}\n")
    return "\n".join(parts)


def _leads(report: Report, best: Result) -> bool:
    """Return whether the paired interval of every lead of `best` is above 0."""
    key = (best.task, best.probe, best.regime, best.metric)
    for d in report.differences:
        if (d.task, d.probe, d.regime, d.metric) != key:
            continue
        if (d.a == best.model and d.low <= 0) or (d.b == best.model and d.high >= 0):
            return False
    return True


def _cell(result: Result) -> str:
    return f"{100 * result.score:.1f} [{100 * result.low:.1f}, {100 * result.high:.1f}]"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
