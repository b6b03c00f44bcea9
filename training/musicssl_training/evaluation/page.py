"""A report as one HTML page that needs nothing else: no network, no script."""

from importlib import resources

from musicssl_training.evaluation import figures
from musicssl_training.evaluation.markup import Markup, join, tag
from musicssl_training.evaluation.metrics import MEAN, title
from musicssl_training.evaluation.results import Map, Report, Result
from musicssl_training.evaluation.table import FINE_TUNED, Row, columns, kinds, rows
from musicssl_training.evaluation.tasks import TASKS

MAIN = ("linear", "100%")
LONGEST = 30  # classes of a table of single classes; of more, the least frequent are left out


def page(report: Report) -> str:
    """Return the page."""
    models = list(dict.fromkeys(r.model for r in report.results))
    tasks = list(dict.fromkeys(r.task for r in report.results))
    parts = [
        tag("h1", "What the embeddings are worth"),
        tag("p", f"musicssl-train evaluate, {report.date}", class_="soft"),
        _reading(report),
        _tables(report),
        tag("nav", *(tag("a", name, href=f"#{_anchor(name)}") for name in tasks)),
        *(_task(report, name, models) for name in tasks),
        _times(report, tasks, models),
        _provenance(report),
        _gaps(report),
    ]
    style = Markup(resources.files(__package__).joinpath("page.css").read_text("utf-8"))
    head = tag(
        "head",
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        tag("title", "Evaluation of music embeddings"),
        tag("style", style),
    )
    body = tag("body", join([Markup(part) for part in parts if part]))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _reading(report: Report) -> Markup:
    seeds = len(report.results[0].seeds) if report.results else 0
    tuned = any(r.probe == FINE_TUNED for r in report.results)
    return tag(
        "p",
        "Scores in per cent. Embeddings are frozen and standardised; small probes predict from "
        f"them; figures are means over {seeds} seeds of splits and probes. "
        f"{_part(report)}Small figures are 95 % bootstrap intervals over groups. Bold is "
        "the best of a row only where, for each other model, the paired interval of its lead "
        "excludes 0. Chance is the best constant answer.",
        " Fine-tuned is the whole encoder trained on the task, with one seed; supervised is the "
        "same from random weights."
        if tuned
        else "",
    )


def _part(report: Report) -> str:
    return "" if report.part == "all" else f"Only the {report.part} part of every collection. "


def _tables(report: Report) -> Markup:
    found = kinds(report)
    parts = []
    if MAIN in found:
        parts += [tag("h2", "Linear probe, all labels"), _table(rows(report, *MAIN))]
        names = dict.fromkeys(r.metric for r in report.results)
        metrics = "; ".join(f"{name}: {title(name)}" for name in names)
        parts.append(tag("p", f"{metrics}.", class_="soft"))
    for kind in found:
        if kind != MAIN:
            name = tag("summary", f"{kind[0]}, {kind[1]} of the labels")
            parts.append(tag("details", name, _table(rows(report, *kind))))
    return join(parts)


def _table(found: list[Row]) -> Markup:
    models = columns(found)
    names = (tag("th", name) for name in ("chance", *models))
    head = tag("tr", tag("th", "task"), tag("th", "metric", class_="text"), *names)
    lines = []
    for i, row in enumerate(found):
        again = i > 0 and found[i - 1].task == row.task
        name = "" if again else row.task
        metric = tag("td", row.metric, class_="text", title=title(row.metric))
        cells = [tag("td", name), metric, tag("td", f"{100 * row.chance:.1f}")]
        for model in models:
            cell = row.cells.get(model)
            best = {"class_": "best"} if model == row.best else {}
            cells.append(tag("td", *(_score(cell) if cell else ("–",)), **best))
        lines.append(tag("tr", *cells, **({"class_": "again"} if again else {})))
    return _wide(head, lines)


def _score(result: Result) -> tuple[str, Markup]:
    interval = f"{100 * result.low:.1f} – {100 * result.high:.1f}"
    return f"{100 * result.score:.1f}", tag("small", interval)


def _wide(head: Markup, lines: list[Markup]) -> Markup:
    return tag("div", tag("table", tag("thead", head), tag("tbody", *lines)), class_="wide")


def _task(report: Report, name: str, models: list[str]) -> Markup:
    """Return a task's section."""
    lead = next(r for r in report.results if r.task == name).metric
    found = [r for r in report.results if r.task == name and r.metric == lead]
    full = [r for r in found if r.regime == "100%"]
    main = [r for r in full if r.probe == MAIN[0]] or full or found
    parts = [tag("h2", name, id=_anchor(name)), tag("p", _facts(found[0], lead), class_="soft")]
    drawn = [_intervals(full, models, lead)] if full else []
    drawn.append(_efficiency(found, models))
    parts += [_models(models), tag("div", *(part for part in drawn if part), class_="row")]
    parts += [_leads(report, main), _classes(main), _matrices(main)]
    parts.append(_maps([m for m in report.maps if m.task == name]))
    return tag("section", join([part for part in parts if part]))


def _facts(first: Result, lead: str) -> str:
    if first.task == MEAN:
        names = ", ".join(first.per_class)
        return f"The mean of {len(first.per_class)} tasks, each counting alike: {names}."
    task = TASKS.get(first.task)
    source = f"{task.collection}; labels {', '.join(task.labels)}; " if task else ""
    group = f"no {' and '.join(task.groups)} on both sides; " if task and task.groups else ""
    return (
        f"{source}{first.n_items:,} items tested in {first.n_groups:,} groups; {group}"
        f"{len(first.classes)} {'class' if first.confusion else 'column'}"
        f"{'es' if first.confusion else 's'}; leading metric: {title(lead)}; "
        f"split {first.split}."
    )


def _intervals(full: list[Result], models: list[str], lead: str) -> Markup:
    """Return the figure of all probes' scores with all labels, and what its marks mean."""
    items = []
    for name in dict.fromkeys(r.probe for r in full):
        mark = tag("path", d=figures.MARKS.get(name, figures.OTHER_MARK))
        items.append(tag("li", tag("svg", mark, viewBox="-6 -6 12 12"), name))
    text = tag("figcaption", f"{title(lead)}; all labels; dashed: chance")
    legend = tag("ul", *items, class_="legend")
    return tag("figure", text, figures.intervals(full, models), legend)


def _models(models: list[str]) -> Markup:
    items = [
        tag("li", tag("i", class_=f"m{i % figures.MODELS}"), name) for i, name in enumerate(models)
    ]
    return tag("ul", *items, class_="legend")


def _efficiency(found: list[Result], models: list[str]) -> Markup:
    """Return the curve over the amounts of labels, the fewest first."""
    linear = [r for r in found if r.probe == "linear"]
    regimes = sorted(
        dict.fromkeys(r.regime for r in linear),
        key=lambda n: (n.endswith("%"), int(n.rstrip("%").removesuffix("-shot"))),
    )
    if len(regimes) < 2:
        return Markup("")
    text = tag("figcaption", "The linear probe with fewer labels; dashed: chance")
    return tag("figure", text, figures.efficiency(linear, models, regimes))


def _leads(report: Report, main: list[Result]) -> Markup:
    """Return the paired differences between models."""
    first = main[0]
    key = (first.task, first.probe, first.regime, first.metric)
    lines = []
    for d in report.differences:
        if (d.task, d.probe, d.regime, d.metric) == key:
            sure = d.low > 0 or d.high < 0
            values = (f"{100 * d.difference:+.1f}", f"{100 * d.low:+.1f} to {100 * d.high:+.1f}")
            cells = [tag("td", f"{d.a} − {d.b}"), tag("td", values[0]), tag("td", values[1])]
            lines.append(tag("tr", *cells, tag("td", "yes" if sure else "no", class_="text")))
    if not lines:
        return Markup("")
    names = ("pair", "difference", "95 % interval", "excludes 0")
    head = tag("tr", *(tag("th", name) for name in names))
    name = f"Paired differences ({first.probe}, {first.regime} of the labels)"
    return tag("details", tag("summary", name), _wide(head, lines))


def _classes(main: list[Result]) -> Markup:
    """Return each class's recall, or each tag's or value's score."""
    what = "recall" if main[0].confusion else main[0].metric
    if main[0].task == MEAN:
        return Markup("")  # the tasks have sections of their own
    names = list(main[0].per_class)
    if len(names) < 2:
        return Markup("")
    shown = names[:LONGEST]
    head = tag("tr", tag("th", "class"), *(tag("th", r.model) for r in main))
    lines = []
    for name in shown:
        cells = [tag("td", name)]
        for r in main:
            share = 100 * r.per_class[name]
            style = f"--share: {max(share, 0):.1f}%"
            cells.append(tag("td", f"{share:.1f}", class_="share", style=style))
        lines.append(tag("tr", *cells))
    rest = f", the first {LONGEST} of {len(names)}" if len(names) > LONGEST else ""
    return tag("details", tag("summary", f"Every class: {what}{rest}"), _wide(head, lines))


def _matrices(main: list[Result]) -> Markup:
    found = [r for r in main if r.confusion]
    if not found:
        return Markup("")
    drawn = [tag("figure", tag("figcaption", r.model), figures.matrix(r)) for r in found]
    note = tag("p", "Rows are the truth, in per cent of the row.", class_="soft")
    name = tag("summary", "Confusion matrices")
    return tag("details", name, note, tag("div", *drawn, class_="row"))


def _maps(found: list[Map]) -> Markup:
    if not found:
        return Markup("")
    colours, legend = figures.colour_labels([label for m in found for label in m.labels])
    items = [tag("li", tag("i", class_=colour), text) for colour, text in legend.items()]
    drawn = [tag("figure", figures.scatter(m, colours), tag("figcaption", m.model)) for m in found]
    title = tag("h3", f"Maps of {len(found[0].items):,} items, coloured by label")
    parts = [title, tag("ul", *items, class_="legend"), tag("div", *drawn, class_="row maps")]
    return join(parts)


def _times(report: Report, tasks: list[str], models: list[str]) -> Markup:
    """Return the seconds of embedding and of probing."""
    spent: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for r in report.results:
        spent.setdefault((r.task, r.model), {})[r.probe, r.regime] = r.seconds
    head = tag("tr", tag("th", "seconds"), *(tag("th", name) for name in models))
    first = [tag("td", f"{report.embedding_seconds.get(m, 0):.0f}") for m in models]
    lines = [tag("tr", tag("td", "embedding, all collections"), *first)]
    for task in tasks:
        if task == MEAN:
            continue
        cells = [tag("td", f"{sum(spent.get((task, model), {}).values()):.0f}") for model in models]
        lines.append(tag("tr", tag("td", task), *cells))
    return join([tag("h2", "Times"), _wide(head, lines)])


def _provenance(report: Report) -> Markup:
    """Return which spaces, data, splits and versions the figures belong to."""
    splits = dict.fromkeys((r.task, r.split) for r in report.results)
    facts = [
        ("embedding space", list(report.spaces.items())),
        ("data", list(report.data.items())),
        ("split", list(splits)),
        ("version", list(report.versions.items())),
    ]
    lines = []
    for what, pairs in facts:
        for name, value in pairs:
            code = tag("td", tag("code", value), class_="long")
            lines.append(tag("tr", tag("td", what), tag("td", name, class_="text"), code))
    head = tag("tr", tag("th", "what"), *(tag("th", n, class_="text") for n in ("of", "hash")))
    return join([tag("h2", "What was measured"), _wide(head, lines)])


def _gaps(report: Report) -> Markup:
    if not report.missing:
        return Markup("")
    cells = [
        tag("tr", tag("td", gap["task"]), tag("td", gap["reason"], class_="long"))
        for gap in report.missing
    ]
    head = tag("tr", tag("th", "task"), tag("th", "reason", class_="text"))
    return join([tag("h2", "Not measured"), _wide(head, cells)])


def _anchor(name: str) -> str:
    return "task-" + "".join(c if c.isalnum() else "-" for c in name.lower())
