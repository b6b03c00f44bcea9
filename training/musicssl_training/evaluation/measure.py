"""One embedding on one task: predictions over seeds, scores, and re-drawn scores."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl_training.evaluation.intervals import CELLS, interval
from musicssl_training.evaluation.labels import Labels
from musicssl_training.evaluation.metrics import METRICS, chance, confusion
from musicssl_training.evaluation.probes import PROBES, Sides, standardise
from musicssl_training.evaluation.results import Result
from musicssl_training.evaluation.splits import (
    Split,
    check_leaks,
    cross_validation,
    fewer,
    hold_out,
    published,
    split_hash,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """A task made concrete.

    Attributes
    ----------
    splits
        For every seed the splits that together test `tested`.
    tested
        Indices of the items that are tested, the same for every seed.
    draws
        Bootstrap weights of these, (draws, tested).
    """

    name: str
    ids: list[str]
    labels: Labels
    groups: NDArray[np.str_]
    metrics: tuple[str, ...]
    splits: list[list[Split]]
    tested: NDArray[np.int64]
    draws: Array

    @property
    def hash(self) -> str:
        """Hash of the splits."""
        return split_hash(self.ids, self.splits)


def make_splits(groups: NDArray[Any], part: NDArray[Any] | None, seeds: int) -> list[list[Split]]:
    """Return the published split once a seed, or group-aware cross-validations.

    Raises
    ------
    LeakError
        If a group is on two sides.
    """
    if part is None:
        return [list(cross_validation(groups, seed)) for seed in range(seeds)]
    split = published(part, groups)
    if len(split.valid):
        return [[split]] * seeds
    return [[hold_out(split.train, split.test, groups, seed)] for seed in range(seeds)]


def predict(
    x: NDArray[np.float32], problem: Problem, probe: str, regime: str
) -> list[Array] | None:
    """Return the scores of the tested items, (tested, names), for every seed.

    None where there are too few labels for the regime.
    """
    out = []
    for seed, splits in enumerate(problem.splits):
        scores = np.zeros((len(x), len(problem.labels.names)))
        for number, whole in enumerate(splits):
            split: Split | None = whole
            if regime != "100%":
                split = _fewer(whole, problem, regime, seed, number)
            if split is None:
                return None
            check_leaks(split, problem.groups)
            train, valid, test = standardise(x[split.train], x[split.valid], x[split.test])
            take = problem.labels.take
            sides = Sides(train, valid, test, take(split.train), take(split.valid))
            found = PROBES[probe](sides, METRICS[problem.metrics[0]].exact, seed)
            scores[split.test] = alike(found) if problem.labels.kind == "tags" else found
        out.append(scores[problem.tested])
    return out


def alike(scores: Array) -> Array:
    """Standardise one fold's scores of tags, whose order alone counts.

    Probes of different folds are not calibrated alike, and areas under curves of their pooled
    scores would suffer from it [1]_.

    References
    ----------
    .. [1] Forman and Scholz, "Apples-to-apples in cross-validation studies", 2010.
    """
    out: Array = (scores - scores.mean(axis=0)) / (scores.std(axis=0) + 1e-9)
    return out


def _fewer(whole: Split, problem: Problem, regime: str, seed: int, number: int) -> Split | None:
    both = np.concatenate([whole.train, whole.valid])
    kept = fewer(both, problem.labels, regime, seed)
    return None if kept is None else hold_out(kept, whole.test, problem.groups, seed, number)


def measure(
    x: NDArray[np.float32], problem: Problem, model: str, probe: str, regime: str
) -> list[tuple[Result, Array]]:
    """Return a result and the re-drawn scores for every metric; empty for too few labels."""
    begin = time.perf_counter()
    found = predict(x, problem, probe, regime)
    if found is None:
        return []
    seconds = time.perf_counter() - begin
    return scored(found, problem, seconds, model=model, probe=probe, regime=regime)


def scored(
    found: Sequence[Array], problem: Problem, seconds: float, **names: str
) -> list[tuple[Result, Array]]:
    """Return a result and the re-drawn scores for every metric.

    Parameters
    ----------
    found
        The scores of the tested items, (tested, names), for every seed.
    seconds
        What they took.
    names
        `model`, `probe` and `regime` of the results.
    """
    truth = problem.labels.take(problem.tested)
    out = []
    for name in problem.metrics:
        metric = METRICS[name]
        seeds = [metric.exact(truth, scores) for scores in found]
        draws = redraw(truth, found, name, problem.draws)
        low, high = interval(draws)
        result = Result(
            **names,
            task=problem.name,
            metric=name,
            score=float(np.mean(seeds)),
            low=low,
            high=high,
            seeds=seeds,
            chance=chance(truth, name),
            n_items=len(truth),
            n_groups=len(np.unique(problem.groups[problem.tested])),
            split=problem.hash,
            seconds=round(seconds, 3),
            classes=list(truth.names),
            per_class=_per_class(truth, found, name),
            confusion=_confusion(truth, found),
        )
        out.append((result, draws))
    return out


def redraw(truth: Labels, found: Sequence[Array], metric: str, weights: Array) -> Array:
    """Return the score of every re-drawing, averaged over seeds, shape (draws,)."""
    step = max(1, CELLS // len(truth))
    parts = [weights[i : i + step] for i in range(0, len(weights), step)]
    each = [
        np.concatenate([METRICS[metric].weighted(truth, scores, part) for part in parts])
        for scores in found
    ]
    out: Array = np.mean(each, axis=0)
    return out


def _per_class(truth: Labels, found: Sequence[Array], metric: str) -> dict[str, float]:
    """Return every class's recall, or the metric of every value or tag."""
    if truth.kind == "classes":
        cells = np.mean([confusion(truth, scores)[0] for scores in found], axis=0)
        recall = np.diag(cells) / np.maximum(cells.sum(axis=1), 1)
        return {name: float(r) for name, r in zip(truth.names, recall, strict=True)}
    out = {}
    for i, name in enumerate(truth.names):
        one = Labels(truth.kind, truth.y[:, [i]], (name,))
        out[name] = float(np.mean([METRICS[metric].exact(one, s[:, [i]]) for s in found]))
    return out


def _confusion(truth: Labels, found: Sequence[Array]) -> list[list[float]]:
    if truth.kind != "classes":
        return []
    cells: Array = np.mean([confusion(truth, scores)[0] for scores in found], axis=0)
    return [[float(value) for value in row] for row in cells.round(2)]
