"""Metrics from scikit-learn and mir_eval, and vectorized versions for the bootstrap.

A metric's `exact` is the published definition, computed by the library. `weighted` computes the
same for many bootstrap draws at once, each a row of weights: how often every item was drawn. The
libraries have `sample_weight`, but take one row at a time: for 1,000 draws that is too slow.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mir_eval
import numpy as np
from numpy.typing import NDArray
from sklearn import metrics as sk

from musicssl_training.evaluation.protocol.labels import Labels, MetricFunction
from musicssl_training.evaluation.protocol.tempo import CENTERS, Tempo

Array = NDArray[np.float64]
MEAN = "mean"  # stands for a task and its metric
TEMPO_TOLERANCE = 0.04  # of the true tempo
OCTAVES = (1.0, 2.0, 1 / 2, 3.0, 1 / 3)


@dataclass(frozen=True)
class Metric:
    """A metric of predictions; larger is better.

    Attributes
    ----------
    label
        Short name for tables.
    title
        Definition, with its source.
    exact
        Score of labels and predictions (items, names).
    weighted
        Scores, shape (draws,), of labels, predictions and weights (draws, items).
    chance
        Score of the best constant prediction; None: that of the mean target.
    range
        Lowest and highest possible score.
    selection
        The metric by which hyper-parameters are chosen where this one leads; "": this one.
    """

    label: str
    title: str
    exact: MetricFunction
    weighted: Callable[[Labels, Array, Array], Array]
    chance: Callable[[Labels], float] | None = None
    range: tuple[float, float] = (0.0, 1.0)
    selection: str = ""


def _accuracy(labels: Labels, predictions: Array) -> float:
    return float(sk.accuracy_score(labels.y, predictions.argmax(axis=1)))


def _macro_f1(labels: Labels, predictions: Array) -> float:
    there = np.unique(labels.y)
    return float(
        sk.f1_score(
            labels.y, predictions.argmax(axis=1), average="macro", labels=there, zero_division=0
        )
    )


def _macro_f1_draws(labels: Labels, predictions: Array, weights: Array) -> Array:
    cells = labels.confusion(predictions, weights)
    hits = np.einsum("bii->bi", cells)
    true, predicted = cells.sum(axis=2), cells.sum(axis=1)
    f1 = 2 * hits / np.maximum(true + predicted, 1e-12)
    there = true > 0
    out: Array = (f1 * there).sum(axis=1) / there.sum(axis=1)
    return out


def _pair_values(labels: Labels, value: Callable[[str, str], float]) -> Array:
    """Return the value of estimating a class (column) where another (row) is true."""
    return np.array([[value(a, b) for b in labels.names] for a in labels.names])


def _mean_over_items(value: Callable[[str, str], float]) -> dict[str, Any]:
    """Return the functions of a metric that averages the value of (truth, estimate) over items."""

    def exact(labels: Labels, predictions: Array) -> float:
        found = zip(labels.y, predictions.argmax(axis=1), strict=True)
        return float(np.mean([value(labels.names[a], labels.names[b]) for a, b in found]))

    def weighted(labels: Labels, predictions: Array, weights: Array) -> Array:
        worth = _pair_values(labels, value)[labels.y, predictions.argmax(axis=1)]
        out: Array = weights @ worth / weights.sum(axis=1)
        return out

    def best_constant(labels: Labels) -> float:
        rows = np.eye(len(labels.names))
        return max(exact(labels, np.tile(row, (len(labels), 1))) for row in rows)

    return {"exact": exact, "weighted": weighted, "chance": best_constant}


def _tempo(*factors: float) -> dict[str, Any]:
    """Return the functions of a metric of tempi within 4 % of the truth, or of multiples of it."""

    def is_right(labels: Labels, estimate: Array) -> Array:
        ratio = 2 ** (estimate - labels.y)
        right = [np.abs(ratio / factor - 1) <= TEMPO_TOLERANCE for factor in factors]
        out: Array = np.any(right, axis=0).astype(np.float64)
        return out

    def exact(labels: Labels, predictions: Array) -> float:
        return float(is_right(labels, Tempo.estimate(predictions)).mean())

    def weighted(labels: Labels, predictions: Array, weights: Array) -> Array:
        right = is_right(labels, Tempo.estimate(predictions))
        out: Array = weights @ right / weights.sum(axis=1)
        return out

    def best_constant(labels: Labels) -> float:
        return max(float(is_right(labels, center).mean()) for center in CENTERS)

    return {"exact": exact, "weighted": weighted, "chance": best_constant}


def _r(labels: Labels, predictions: Array) -> float:
    found = []
    for a, b in zip(labels.targets.T, predictions.T, strict=True):
        found.append(np.corrcoef(a, b)[0, 1] if a.std() > 1e-12 and b.std() > 1e-12 else 0.0)
    return float(np.mean(found))


def _moments(labels: Labels, predictions: Array, weights: Array) -> tuple[Array, ...]:
    """Return weighted variances of truth and estimate, their covariance, and the mean error²."""
    a, b = labels.targets, predictions
    a, b = a - a.mean(axis=0), b - a.mean(axis=0)
    w = weights / weights.sum(axis=1, keepdims=True)
    mean_a, mean_b = w @ a, w @ b
    return (
        w @ a**2 - mean_a**2,
        w @ b**2 - mean_b**2,
        w @ (a * b) - mean_a * mean_b,
        w @ (labels.targets - predictions) ** 2,
    )


def _r_draws(labels: Labels, predictions: Array, weights: Array) -> Array:
    b = predictions - predictions.mean(axis=0)
    var_a, var_b, cov, _ = _moments(labels, b, weights)
    size = np.sqrt(np.maximum(var_a, 0) * np.maximum(var_b, 0))
    r = np.where(size > 1e-12, cov / np.maximum(size, 1e-12), 0.0)
    out: Array = r.mean(axis=1)
    return out


def _r2(labels: Labels, predictions: Array) -> float:
    return float(sk.r2_score(labels.targets, predictions))


def _r2_draws(labels: Labels, predictions: Array, weights: Array) -> Array:
    var, _, _, error = _moments(labels, predictions, weights)
    out: Array = (1 - error / np.maximum(var, 1e-12)).mean(axis=1)
    return out


def _mean_over_tags(function: Callable[[Array, Array], float]) -> MetricFunction:
    """Return the mean over tags, without those that all items have, or none."""

    def exact(labels: Labels, predictions: Array) -> float:
        pairs = zip(labels.targets.T, predictions.T, strict=True)
        found = [function(a, b) for a, b in pairs if 0 < a.sum() < len(a)]
        return float(np.mean(found)) if found else 0.0

    return exact


def _curves(y: Array, predictions: Array, weights: Array) -> tuple[Array, Array]:
    """Return true and false positives above each threshold, (draws, thresholds)."""
    order = np.argsort(-predictions, kind="stable")
    last = np.append(np.flatnonzero(np.diff(predictions[order])), len(order) - 1)
    w = weights[:, order]
    true = np.cumsum(w * y[order], axis=1)[:, last]
    return true, np.cumsum(w, axis=1)[:, last] - true


def _tag_draws(
    area: Callable[[Array, Array], Array],
) -> Callable[[Labels, Array, Array], Array]:
    def weighted(labels: Labels, predictions: Array, weights: Array) -> Array:
        total, count = np.zeros(len(weights)), np.zeros(len(weights))
        for y, s in zip(labels.targets.T, predictions.T, strict=True):
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
        "accuracy",
        "share of correct predictions",
        _accuracy,
        _mean_over_items(lambda a, b: float(a == b))["weighted"],
    ),
    "macro_f1": Metric("macro-F1", "F1, mean over classes", _macro_f1, _macro_f1_draws),
    "pearson_r": Metric(
        "Pearson r",
        "Pearson's r, mean over columns",
        _r,
        _r_draws,
        lambda _: 0.0,
        (-1.0, 1.0),
        # r does not see the size of predictions: folds regularized by it disagree in size, and
        # their pooled predictions correlate less than those of any fold
        selection="r2",
    ),
    "r2": Metric("R²", "R², mean over columns", _r2, _r2_draws, range=(-np.inf, 1.0)),
    "roc_auc": Metric(
        "ROC-AUC",
        "ROC-AUC, mean over tags",
        _mean_over_tags(sk.roc_auc_score),
        _tag_draws(_roc_area),
    ),
    "average_precision": Metric(
        "average precision",
        "average precision, mean over tags",
        _mean_over_tags(sk.average_precision_score),
        _tag_draws(_precision_area),
    ),
    "mirex": Metric(
        "MIREX score", "MIREX weighted key score (mir_eval.key)", **_mean_over_items(_mirex)
    ),
    "accuracy1": Metric(
        "accuracy 1",
        "tempo within 4 % (Gouyon et al., 2006, accuracy 1)",
        **_tempo(1.0),
    ),
    "accuracy2": Metric(
        "accuracy 2",
        "tempo, its double, half, triple or third within 4 % (Gouyon et al., 2006, accuracy 2)",
        **_tempo(*OCTAVES),
    ),
}


def metric_label(metric: str) -> str:
    """Return the short name of a metric for tables."""
    return METRICS[metric].label if metric in METRICS else metric


def metric_title(metric: str) -> str:
    """Return the definition of a metric."""
    return "mean of each task's first metric" if metric == MEAN else METRICS[metric].title


def chance(labels: Labels, metric: str) -> float:
    """Return the score of the best constant prediction: the largest class, or the mean."""
    constant = METRICS[metric].chance
    return constant(labels) if constant else _constant_mean(labels, METRICS[metric].exact)


def _constant_mean(labels: Labels, exact: MetricFunction) -> float:
    best = labels.targets.mean(axis=0)
    return exact(labels, np.tile(best, (len(labels), 1)))
