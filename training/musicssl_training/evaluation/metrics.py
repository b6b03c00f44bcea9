"""Metrics: scikit-learn and mir_eval give the score, weighted forms of the same its bootstrap.

A metric's `exact` is the published definition, computed by the library. `weighted` computes the
same for many re-drawings at once, each a row of weights: how often every item was drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mir_eval
import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from musicssl_training.evaluation.labels import Labels

Array = NDArray[np.float64]
MEAN = "mean"  # in the place of a task and its metric
TEMPO_TOLERANCE = 0.04  # of the true tempo
OCTAVES = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)


@dataclass(frozen=True)
class Metric:
    """A score of predictions, larger is better.

    Attributes
    ----------
    title
        With its definition's source.
    exact
        Of labels and scores, shape (items, names).
    weighted
        Of labels, scores and weights (draws, items): shape (draws,).
    """

    title: str
    exact: Callable[[Labels, Array], float]
    weighted: Callable[[Labels, Array, Array], Array]


def confusion(labels: Labels, scores: Array, weights: Array | None = None) -> Array:
    """Return how often each class (row) was taken for each (column), (draws, classes, classes)."""
    n = len(labels.names)
    cells = np.eye(n * n, dtype=np.float32)[labels.y * n + scores.argmax(axis=1)]
    if weights is None:
        weights = np.ones((1, len(labels)))
    counts: Array = (weights.astype(np.float32) @ cells).reshape(-1, n, n).astype(np.float64)
    return counts


def _accuracy(labels: Labels, scores: Array) -> float:
    return float(sk.accuracy_score(labels.y, scores.argmax(axis=1)))


def _macro_f1(labels: Labels, scores: Array) -> float:
    there = np.unique(labels.y)
    return float(
        sk.f1_score(labels.y, scores.argmax(axis=1), average="macro", labels=there, zero_division=0)
    )


def _macro_f1_draws(labels: Labels, scores: Array, weights: Array) -> Array:
    cells = confusion(labels, scores, weights)
    hit = np.einsum("bii->bi", cells)
    true, guessed = cells.sum(axis=2), cells.sum(axis=1)
    f1 = 2 * hit / np.maximum(true + guessed, 1e-12)
    there = true > 0
    out: Array = (f1 * there).sum(axis=1) / there.sum(axis=1)
    return out


def _pairs(labels: Labels, value: Callable[[str, str], float]) -> Array:
    """Return what an estimate (column) is worth where a class (row) is true."""
    return np.array([[value(a, b) for b in labels.names] for a in labels.names])


def _by_pair(value: Callable[[str, str], float]) -> dict[str, Any]:
    """Return a metric that is a mean over items of the value of (truth, estimate)."""

    def exact(labels: Labels, scores: Array) -> float:
        found = zip(labels.y, scores.argmax(axis=1), strict=True)
        return float(np.mean([value(labels.names[a], labels.names[b]) for a, b in found]))

    def weighted(labels: Labels, scores: Array, weights: Array) -> Array:
        worth = _pairs(labels, value)[labels.y, scores.argmax(axis=1)]
        out: Array = weights @ worth / weights.sum(axis=1)
        return out

    return {"exact": exact, "weighted": weighted}


def _tempo(factors: tuple[float, ...]) -> Callable[[str, str], float]:
    def value(true: str, estimate: str) -> float:
        ratio = float(estimate) / float(true)
        return float(any(abs(ratio / f - 1) <= TEMPO_TOLERANCE for f in factors))

    return value


def _r(labels: Labels, scores: Array) -> float:
    found = []
    for a, b in zip(labels.targets.T, scores.T, strict=True):
        found.append(np.corrcoef(a, b)[0, 1] if a.std() > 1e-12 and b.std() > 1e-12 else 0.0)
    return float(np.mean(found))


def _moments(labels: Labels, scores: Array, weights: Array) -> tuple[Array, ...]:
    """Return weighted variances of truth and estimate, their covariance, and the mean error²."""
    a, b = labels.targets, scores
    a, b = a - a.mean(axis=0), b - a.mean(axis=0)
    w = weights / weights.sum(axis=1, keepdims=True)
    mean_a, mean_b = w @ a, w @ b
    return (
        w @ a**2 - mean_a**2,
        w @ b**2 - mean_b**2,
        w @ (a * b) - mean_a * mean_b,
        w @ (labels.targets - scores) ** 2,
    )


def _r_draws(labels: Labels, scores: Array, weights: Array) -> Array:
    b = scores - scores.mean(axis=0)
    var_a, var_b, cov, _ = _moments(labels, b, weights)
    size = np.sqrt(np.maximum(var_a, 0) * np.maximum(var_b, 0))
    r = np.where(size > 1e-12, cov / np.maximum(size, 1e-12), 0.0)
    out: Array = r.mean(axis=1)
    return out


def _r2(labels: Labels, scores: Array) -> float:
    return float(sk.r2_score(labels.targets, scores))


def _r2_draws(labels: Labels, scores: Array, weights: Array) -> Array:
    var, _, _, error = _moments(labels, scores, weights)
    out: Array = (1 - error / np.maximum(var, 1e-12)).mean(axis=1)
    return out


def _each_tag(function: Callable[[Array, Array], float]) -> Callable[[Labels, Array], float]:
    """Return the mean over tags; one that all items have, or none, does not count."""

    def exact(labels: Labels, scores: Array) -> float:
        pairs = zip(labels.targets.T, scores.T, strict=True)
        found = [function(a, b) for a, b in pairs if 0 < a.sum() < len(a)]
        return float(np.mean(found)) if found else 0.0

    return exact


def _curves(y: Array, scores: Array, weights: Array) -> tuple[Array, Array]:
    """Return true and false positives above each threshold, (draws, thresholds)."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    w = weights[:, order]
    true = np.cumsum(w * y[order], axis=1)[:, last]
    return true, np.cumsum(w, axis=1)[:, last] - true


def _tag_draws(
    area: Callable[[Array, Array], Array],
) -> Callable[[Labels, Array, Array], Array]:
    def weighted(labels: Labels, scores: Array, weights: Array) -> Array:
        total, count = np.zeros(len(weights)), np.zeros(len(weights))
        for y, s in zip(labels.targets.T, scores.T, strict=True):
            true, false = _curves(y, s, weights)
            there = (true[:, -1] > 0) & (false[:, -1] > 0)
            total[there] += area(true[there], false[there])
            count += there
        return total / np.maximum(count, 1)

    return weighted


def _roc_area(true: Array, false: Array) -> Array:
    before = np.pad(true, ((0, 0), (1, 0)))
    steps = np.diff(false, axis=1, prepend=0)
    areas: Array = (steps * (before[:, 1:] + before[:, :-1]) / 2).sum(axis=1)
    return areas / (true[:, -1] * false[:, -1])


def _precision_area(true: Array, false: Array) -> Array:
    precision = true / np.maximum(true + false, 1e-12)
    areas: Array = (np.diff(true, axis=1, prepend=0) * precision).sum(axis=1)
    return areas / true[:, -1]


def _mirex(true: str, estimate: str) -> float:
    return float(mir_eval.key.weighted_score(true, estimate))


METRICS: dict[str, Metric] = {
    "accuracy": Metric(
        "share of right answers", _accuracy, _by_pair(lambda a, b: float(a == b))["weighted"]
    ),
    "macro_f1": Metric("F1, mean over classes", _macro_f1, _macro_f1_draws),
    "r": Metric("Pearson's r, mean over columns", _r, _r_draws),
    "r2": Metric("R², mean over columns", _r2, _r2_draws),
    "roc_auc": Metric(
        "ROC-AUC, mean over tags", _each_tag(sk.roc_auc_score), _tag_draws(_roc_area)
    ),
    "pr_auc": Metric(
        "average precision, mean over tags",
        _each_tag(sk.average_precision_score),
        _tag_draws(_precision_area),
    ),
    "mirex": Metric("MIREX weighted key score (mir_eval.key)", **_by_pair(_mirex)),
    "accuracy1": Metric(
        "tempo within 4 % (Gouyon et al., 2006, accuracy 1)", **_by_pair(_tempo((1.0,)))
    ),
    "accuracy2": Metric(
        "tempo, its double, half, triple or third within 4 % (Gouyon et al., 2006, accuracy 2)",
        **_by_pair(_tempo(OCTAVES)),
    ),
}


def title(metric: str) -> str:
    """Return what a metric is."""
    return "mean of each task's first metric" if metric == MEAN else METRICS[metric].title


def chance(labels: Labels, metric: str) -> float:
    """Return the score of the best constant answer: the largest class, or the mean."""
    if metric == "r":
        return 0.0
    best = labels.targets.mean(axis=0)
    if labels.kind == "classes" and metric in ("mirex", "accuracy1", "accuracy2"):
        rows = np.eye(len(labels.names))
        return max(METRICS[metric].exact(labels, np.tile(row, (len(labels), 1))) for row in rows)
    return METRICS[metric].exact(labels, np.tile(best, (len(labels), 1)))
