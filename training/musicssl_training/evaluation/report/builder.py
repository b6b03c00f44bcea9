"""Assembly of a report: results, paired differences between models, and means over tasks."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from musicssl_training.evaluation.protocol.bootstrap import interval
from musicssl_training.evaluation.protocol.metrics import MEAN
from musicssl_training.evaluation.protocol.scoring import Drawn
from musicssl_training.evaluation.report.results import Difference, Report


class ReportBuilder:
    """Adds results, and what follows from them, to a report.

    Parameters
    ----------
    report
        The report to extend.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        self._leading: dict[tuple[str, str], dict[str, dict[str, Drawn]]] = {}

    def add(self, results: Sequence[Drawn]) -> None:
        """Add one task's results with one probe and regime, and the differences between models."""
        self.report.results += [result for result, _ in results]
        for (a, draws_a), (b, draws_b) in itertools.combinations(results, 2):
            if a.metric != b.metric:
                continue
            low, high = interval(draws_a - draws_b)
            self.report.differences.append(
                Difference(
                    **{"a": a.model, "b": b.model, "task": a.task, "probe": a.probe},
                    regime=a.regime,
                    metric=a.metric,
                    difference=a.score - b.score,
                    low=low,
                    high=high,
                )
            )
        for result, draws in results:
            tasks = self._leading.setdefault((result.probe, result.regime), {})
            tasks.setdefault(result.task, {}).setdefault(result.model, (result, draws))

    def add_means(self) -> None:
        """Add the mean of the tasks' first metrics for every model with results on all tasks."""
        for tasks in list(self._leading.values()):
            models = next(iter(tasks.values()))
            if len(tasks) > 1:
                self.add(
                    [
                        mean_of([task[model] for task in tasks.values()])
                        for model in models
                        if all(model in task for task in tasks.values())
                    ]
                )


def mean_of(parts: Sequence[Drawn]) -> Drawn:
    """Return the unweighted mean of one model's scores on several tasks."""
    results = [result for result, _ in parts]
    draws = np.mean([draws for _, draws in parts], axis=0)
    low, high = interval(draws, highest=1.0)  # of every metric
    seeds = zip(*(result.seeds for result in results), strict=False)
    mean = replace(
        results[0],
        task=MEAN,
        metric=MEAN,
        score=float(np.mean([result.score for result in results])),
        low=low,
        high=high,
        seeds=[float(np.mean(seed)) for seed in seeds],
        chance=float(np.mean([result.chance for result in results])),
        n_items=sum(result.n_items for result in results),
        n_groups=sum(result.n_groups for result in results),
        split=hashlib.sha256("".join(r.split for r in results).encode()).hexdigest()[:12],
        seconds=sum(result.seconds for result in results),
        classes=[],
        confusion=[],
        per_class={result.task: result.score for result in results},
    )
    return mean, draws
