"""The report of a study as Markdown."""

import re
from typing import Any

from musicssl_training.study.config import SEED
from musicssl_training.study.report.words import describe, excludes_zero, interval, p_value, points
from musicssl_training.study.summary import MEAN

METHOD = (
    "Effects are distances from the mean of a factor's levels, in points of a hundred, with 95 % "
    "intervals: least squares (numpy) on main effects, the interactions below and seeds as blocks; "
    "intervals and tests by the t and F distributions (scipy). Where seeds disagree about a "
    "factor, that disagreement is its error."
)

ADDED = (
    "The score with a part less that without it, over all cells: once all are finished, each has "
    "about half of the other parts, and each of these as often with it as without."
)


def tables(report: dict[str, Any]) -> str:
    """Return the whole report."""
    cells = report["cells"]
    parts = [
        f"# {line(report['title'])}",
        report["about"],
        f"{cells['finished']} of {cells['planned']} cells, seeds {', '.join(report['seeds'])}, "
        f"{report['date']}.",
        "\n".join(f"- {note}" for note in report["notes"]),
        f"## Main effects\n\n{METHOD} Bold: the interval excludes 0.",
        *(
            _effects(report, name)
            for name in report["effects"][report["lead"]]["factors"]
            if name not in report["parts"]
        ),
        _parts(report),
        "## Interactions" if report["interactions"] or report["not_estimated"] else "",
        *(_interaction(one) for one in report["interactions"]),
        _not_estimated(report),
        "## Configurations",
        _configurations(report),
        _failures(report),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)  # names and titles are no HTML


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table whose first column is text."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    lines = [[line(text).replace("|", "\\|") for text in row] for row in (header, rule, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


def line(text: str) -> str:
    """Return text in one line, as a row or an item of a list must be."""
    return " ".join(text.split())


def _effects(report: dict[str, Any], factor: str) -> str:
    """Return one factor's effects on all tasks."""
    tasks = list(report["effects"])
    found = {task: report["effects"][task]["factors"][factor] for task in tasks}
    rows = [
        [level, *(_estimate(found[task]["levels"][level]) for task in tasks)]
        for level in found[tasks[0]]["levels"]
    ]
    rows.append(["p", *(p_value(found[task]["p"]) for task in tasks)])
    return f"### {line(factor)}\n\n{table([factor, *tasks], rows)}"


def _parts(report: dict[str, Any]) -> str:
    """Return what each part that is screened adds to all tasks."""
    if not report["parts"]:
        return ""
    tasks = list(report["effects"])
    rows = [
        [part, *(_estimate(report["effects"][task]["added"][part]) for task in tasks)]
        for part in report["parts"]
    ]
    return f"### What each part adds\n\n{ADDED}\n\n{table(['part', *tasks], rows)}"


def _interaction(found: dict[str, Any]) -> str:
    a, b = found["factors"]
    means = {tuple(one["levels"]): one for one in found["means"]}
    columns = list(dict.fromkeys(levels[1] for levels in means))
    rows = [
        [
            level,
            *(
                f"{points(means[level, one]['value'])} {interval(means[level, one], sign=False)}"
                for one in columns
            ),
        ]
        for level in dict.fromkeys(levels[0] for levels in means)
    ]
    head = (
        f"### {line(a)} × {line(b)}\n\nExpected scores; p of the interaction: {p_value(found['p'])}"
    )
    return f"{head}\n\n{table([a, *columns], rows)}"


def _not_estimated(report: dict[str, Any]) -> str:
    return "\n".join(
        line(
            f"- Not estimated, and taken as absent: {' × '.join(one['factors'])} ({one['reason']})."
        )
        for one in report["not_estimated"]
    )


def _configurations(report: dict[str, Any]) -> str:
    tasks = [task["name"] for task in report["tasks"]]
    header = [*report["factors"], *dict.fromkeys((*tasks, MEAN)), "deviation", SEED + "s"]
    header += [f"hours of {report['cost']}", "Pareto front"]
    rows = []
    for one in sorted(report["configurations"], key=lambda c: -c["scores"][MEAN]["mean"]):
        scores, lead = one["scores"], one["scores"][MEAN]
        rows.append(
            [
                *one["levels"].values(),
                *(points(scores[task]["mean"]) for task in dict.fromkeys((*tasks, MEAN))),
                points(lead["deviation"]),
                str(len(lead["seeds"])),
                f"{one['hours']:.3g}",
                "yes" if one["front"] else "",
            ]
        )
    return table(header, rows)


def _failures(report: dict[str, Any]) -> str:
    if not report["failures"]:
        return ""
    lines = "\n".join(
        line(f"- {describe(one['levels'], report['parts'])}: {one['error']}")
        for one in report["failures"]
    )
    return f"## Failed\n\n{lines}"


def _estimate(one: dict[str, Any]) -> str:
    text = f"{points(one['value'], sign=True)} {interval(one)}".strip()
    return f"**{text}**" if excludes_zero(one) else text
