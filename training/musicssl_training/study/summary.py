"""Everything that a study's report says, as JSON-able values, from the results of its cells."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import mean, stdev
from typing import Any

import numpy as np

from musicssl_training.study.config import SEED, Study
from musicssl_training.study.folder import StudyFolder
from musicssl_training.study.main_effects import Design, Estimate, Fit
from musicssl_training.study.music import find_unlike
from musicssl_training.study.results import FORMAT
from musicssl_training.study.screening import OFF, ON

MEAN = "mean"  # of the tasks' first metrics, each counting alike
FEW_SEEDS = 3
Result = dict[str, Any]


def summarize(study: Study, folder: StudyFolder) -> dict[str, Any]:
    """Return what is known so far; scores and effects in points of a hundred."""
    found = [(cell, folder.result(cell)) for cell in study.cells]
    results = [result for _, result in found if result]
    failed = [(c, f) for c, result in found if not result and (f := folder.failure(c))]
    tasks = common_tasks(results)
    names = [*tasks, MEAN] if len(tasks) > 1 else tasks
    factors = {
        factor.name: [
            lv for lv in factor.labels if any(r["levels"][factor.name] == lv for r in results)
        ]
        for factor in study.factors
        if factor.name != SEED
    }
    varied = {name: labels for name, labels in factors.items() if len(labels) > 1}
    design = Design(varied, [r["levels"] for r in results], SEED)
    fits = {task: design.fit(np.array([score(r, task, tasks) for r in results])) for task in names}
    departures = {
        task: design.fit(np.array([score(r, task, tasks) - score(r, MEAN, tasks) for r in results]))
        for task in tasks
        if len(tasks) > 1
    }
    configurations = pool_seeds(results, tasks)
    mark_front(configurations)
    return {
        "format": FORMAT,
        "title": study.report.title,
        "about": study.report.about,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cells": {
            "planned": len(study.cells),
            "finished": len(results),
            "failed": len(failed),
        },
        "hours_heard": sorted({round(r["hours_heard"], 2) for r in results}),
        "steps": sorted({r["steps"] for r in results}),
        "seeds": design.blocks,
        "lead": names[-1],
        "factors": {name: list(labels) for name, labels in factors.items()},
        "parts": list(study.parts),
        "tasks": [_task(name, results) for name in tasks],
        "effects": {task: _effects(fit, study.parts) for task, fit in fits.items()},
        "departures": {task: _effects(fit, study.parts) for task, fit in departures.items()},
        "interactions": [_interaction(pair, fits, design) for pair in design.pairs],
        "not_estimated": _not_estimated(design, study.parts),
        "deviation": fits[names[-1]].deviation,
        "df": design.df,
        "cost": " or ".join(
            sorted({"one core" if _clock(r) == "cpu_seconds" else "one device" for r in results})
        ),
        "configurations": configurations,
        "failures": [{"levels": c.levels, "error": f["error"]} for c, f in failed],
        "made_by": _made_by(results),
        "notes": _notes(study, results, design, len(failed)),
    }


def common_tasks(results: Sequence[Result]) -> list[str]:
    """Return the tasks that every cell was measured on, in order."""
    return [task for task in results[0]["scores"] if all(task in r["scores"] for r in results)]


def score(result: Result, task: str, tasks: Sequence[str]) -> float:
    """Return a cell's score on a task, or the mean over `tasks`, in points of a hundred."""
    if task == MEAN:
        return mean(score(result, one, tasks) for one in tasks)
    return 100 * float(result["scores"][task]["score"])


def pool_seeds(results: Sequence[Result], tasks: Sequence[str]) -> list[dict[str, Any]]:
    """Return cells alike but for the seed together: their mean scores, spread and cost."""
    groups: dict[tuple[tuple[str, str], ...], list[Result]] = {}
    for result in results:
        key = tuple((k, v) for k, v in result["levels"].items() if k != SEED)
        groups.setdefault(key, []).append(result)
    return [_pool(dict(key), group, tasks) for key, group in groups.items()]


def _pool(levels: dict[str, str], group: Sequence[Result], tasks: Sequence[str]) -> dict[str, Any]:
    scores = {}
    for task in (*tasks, MEAN):
        values = [score(r, task, tasks) for r in group]
        scores[task] = {
            "mean": mean(values),
            "deviation": stdev(values) if len(values) > 1 else None,
            "seeds": {r["levels"][SEED]: v for r, v in zip(group, values, strict=True)},
        }
    return {
        "levels": levels,
        "scores": scores,
        "hours": mean(r[_clock(r)] for r in group) / 3600,
        "parameters": group[0]["parameters"],
        "steps": group[0]["steps"],
    }


def _clock(result: Result) -> str:
    """Return what a cell's training cost is counted by: time of cores, or of an accelerator."""
    device = str(result.get("made_by", {}).get("device", "cpu"))
    return "cpu_seconds" if device.startswith("cpu") else "wall_seconds"


def mark_front(configurations: Sequence[dict[str, Any]]) -> None:
    """Set ``front`` where nothing cheaper is as good: the Pareto front of mean score and cost."""
    best = -math.inf
    for one in sorted(configurations, key=lambda c: (c["hours"], -c["scores"][MEAN]["mean"])):
        one["front"] = one["scores"][MEAN]["mean"] > best
        best = max(best, one["scores"][MEAN]["mean"])


def _task(name: str, results: Sequence[Result]) -> dict[str, Any]:
    first = results[0]["scores"][name]
    return {
        "name": name,
        "metric": first["metric"],
        "chance": 100 * first["chance"],
        "items": first["n_items"],
    }


def _effects(fit: Fit, parts: Sequence[str]) -> dict[str, Any]:
    return {
        "mean": asdict(fit.mean),
        "added": {
            name: asdict(fit.differences[name][ON, OFF] if name in fit.differences else Estimate())
            for name in parts
        },
        "factors": {
            name: {
                "p": fit.p[name,],
                "levels": {label: asdict(one) for label, one in levels.items()},
                "differences": [
                    {"first": a, "second": b} | asdict(one)
                    for (a, b), one in fit.differences[name].items()
                ],
            }
            for name, levels in fit.effects.items()
        },
    }


def _interaction(pair: tuple[str, ...], fits: dict[str, Fit], design: Design) -> dict[str, Any]:
    lead = list(fits.values())[-1]

    def rows(found: dict[tuple[str, str], Estimate]) -> list[dict[str, Any]]:
        return [{"levels": list(labels)} | asdict(one) for labels, one in found.items()]

    return {
        "factors": list(pair),
        "p": lead.p[pair],
        "p_by_task": {task: fit.p[pair] for task, fit in fits.items()},
        "effects": rows(lead.interactions[pair]),
        "means": rows(lead.means[pair]),
    }


def _not_estimated(design: Design, parts: Sequence[str]) -> list[dict[str, Any]]:
    """Return the pairs that are not in the model, and why; those of parts in one line."""
    found: list[dict[str, Any]] = []
    among: dict[str, int] = {}
    for pair, why in design.left_out.items():
        if set(pair) <= set(parts):
            among[why] = among.get(why, 0) + 1
        else:
            found.append({"factors": list(pair), "reason": why})
    for why, count in among.items():
        found.append({"factors": [f"pairs of parts, {count} of them"], "reason": why})
    return found


def _made_by(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return each code, machine and corpus that cells were made with, and how many."""
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        facts = {k: result.get(k) for k in ("made_by", "threads", "data")}
        found.setdefault(str(facts), facts | {"cells": 0})["cells"] += 1
    return list(found.values())


def _notes(study: Study, results: Sequence[Result], design: Design, failed: int) -> list[str]:
    """Return what a reader must know before believing a figure."""
    notes = []
    left = len(study.cells) - len(results)
    if left:
        what = f"{failed} of them failed" if failed else "the rest is still to run"
        notes.append(
            f"{len(results)} of {len(study.cells)} cells are finished; {what}. All figures may "
            "change."
        )
    seeds = len(design.blocks)
    if seeds < FEW_SEEDS:
        notes.append(
            f"{seeds} seed{'' if seeds == 1 else 's'}: what repeating a run changes is hardly known"
            + (", and is judged by what the model leaves unexplained." if design.df else ".")
        )
    if not design.df:
        notes.append("No degrees of freedom are left for an error: there are no intervals.")
    steps = _span([r["steps"] for r in results])
    hours = _span([round(r["hours_heard"], 2) for r in results])
    notes.append(
        f"Each cell heard {hours} h of audio ({steps} steps). What leads after so much may not "
        "lead after more."
    )
    notes.append(
        "Intervals are for other seeds on the same labeled music; other music would move the "
        "scores further."
    )
    within = {
        name
        for block in design.blocks
        for name in find_unlike([r for r in results if r["levels"][SEED] == block])
    }
    between = [name for name in find_unlike(results) if name not in within]
    if within:
        notes.append(
            f"Music of one name was not the same for all cells: {', '.join(sorted(within))}. Their "
            "scores cannot be compared."
        )
    if between:
        notes.append(
            f"Music of one name is another for each seed: {', '.join(between)}. Effects are "
            "differences within seeds, so they can be compared; means are of all seeds' music."
        )
    if len(_made_by(results)) > 1:
        notes.append(
            "The cells were made with different code, data, machines or threads; see below."
        )
    return notes


def _span(numbers: Sequence[float]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,g}" if low == high else f"{low:,g} to {high:,g}"
