"""Scores of one embedding on one task: predictions over seeds, metrics and bootstrap intervals."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl_training.evaluation.errors import DataError
from musicssl_training.evaluation.protocol.bootstrap import (
    CELLS,
    DRAWS,
    calibrate,
    draw_groups,
    interval,
)
from musicssl_training.evaluation.protocol.labels import Labels, MetricFunction
from musicssl_training.evaluation.protocol.metrics import METRICS, chance
from musicssl_training.evaluation.protocol.probes import PROBES, ProbeData, standardize
from musicssl_training.evaluation.protocol.regimes import Regime
from musicssl_training.evaluation.protocol.splits import (
    Split,
    check_leaks,
    hold_out,
    make_splits,
    split_hash,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class TaskInstance:
    """A task with its data, splits and bootstrap draws.

    Attributes
    ----------
    splits
        For every seed, the splits that together test `tested`.
    tested
        Indices of the tested items, the same for every seed.
    draws
        Bootstrap weights of the tested items, (draws, tested).
    seeds
        Of the splits and probes; none: 0, 1, 2, ...
    """

    name: str
    ids: list[str]
    labels: Labels
    groups: NDArray[np.str_]
    metrics: tuple[str, ...]
    splits: list[list[Split]]
    tested: NDArray[np.int64]
    draws: Array
    seeds: tuple[int, ...] = ()

    @property
    def hash(self) -> str:
        """Hash of the splits."""
        return split_hash(self.ids, self.splits)

    @property
    def trained_groups(self) -> int:
        """Number of groups that are trained on, in all folds together."""
        used = [np.concatenate([s.train, s.valid]) for splits in self.splits for s in splits]
        return len(np.unique(self.groups[np.concatenate(used)]))

    @property
    def selection_metric(self) -> MetricFunction:
        """The first metric, or its substitute for choices; predictions that overflowed lose."""
        exact = METRICS[METRICS[self.metrics[0]].selection or self.metrics[0]].exact

        def finite(labels: Labels, predictions: Array) -> float:
            return exact(labels, predictions) if np.isfinite(predictions).all() else -np.inf

        return finite


@dataclass(frozen=True, kw_only=True)
class Result:
    """A score. `low` and `high` bound its 95 % interval; `seeds` holds single scores."""

    model: str
    task: str
    probe: str
    regime: str
    metric: str
    score: float
    low: float
    high: float
    seeds: list[float]
    chance: float
    n_items: int
    n_groups: int
    split: str
    seconds: float
    per_class: dict[str, float] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)
    confusion: list[list[float]] = field(default_factory=list)


Drawn = tuple[Result, Array]  # with its score for every bootstrap draw, (draws,)


def make_instance(
    name: str,
    metrics: tuple[str, ...],
    ids: list[str],
    labels: Labels,
    groups: NDArray[np.str_],
    sides: NDArray[Any] | None,
    seeds: Sequence[int],
    draws: int = DRAWS,
) -> TaskInstance:
    """Split a task's items, by published sides or else by groups, and draw its bootstrap.

    Raises
    ------
    DataError
        If there is nothing to train on or to test, or no class that is tested is trained on.
    LeakError
        If a group is on two sides.
    """
    if len(np.unique(groups)) < 2:
        raise DataError(
            f"all {len(groups)} items are in one group, {str(groups[0])!r}; none can be tested."
        )
    splits = make_splits(groups, sides, seeds)
    first = splits[0][0]
    tested = np.sort(np.concatenate([split.test for split in splits[0]]))
    if not len(tested) or not len(first.train):
        raise DataError(
            f"the published split has {len(first.train)} items in 'train', {len(first.valid)} in "
            f"'valid' and {len(tested)} in 'test': too few to train and to test."
        )
    unknown = labels.never_trained(itertools.chain(*splits))
    if unknown and all(labels.describe(item) in unknown for item in tested):
        raise DataError(
            f"no class that is tested is trained on, such as {unknown[0]!r}. Is each in one group "
            "only?"
        )
    weights = draw_groups(groups[tested], draws)
    return TaskInstance(name, ids, labels, groups, metrics, splits, tested, weights)


def predict(
    x: NDArray[np.float32], task: TaskInstance, probe: str, regime: Regime
) -> list[Array] | None:
    """Return predictions for the tested items, (tested, names), for every seed.

    None if there are too few labels for the regime.
    """
    out = []
    for seed, splits in zip(task.seeds or range(len(task.splits)), task.splits, strict=True):
        predictions = np.zeros((len(x), len(task.labels.names)))
        for number, full in enumerate(splits):
            split: Split | None = full
            if not regime.is_full:
                split = _reduce_labels(full, task, regime, seed, number)
            if split is None:
                return None
            check_leaks(split, task.groups)
            train, valid, test = standardize(x[split.train], x[split.valid], x[split.test])
            take = task.labels.take
            data = ProbeData(train, valid, test, take(split.train), take(split.valid))
            found = PROBES[probe](data, task.selection_metric, seed)
            predictions[split.test] = task.labels.standardize_fold(found)
        out.append(predictions[task.tested])
    return out


def _reduce_labels(
    full: Split, task: TaskInstance, regime: Regime, seed: int, number: int
) -> Split | None:
    """Return a split whose training and validation items are those that a regime allows."""
    kept = task.labels.subsample(np.concatenate([full.train, full.valid]), regime, seed)
    return None if kept is None else hold_out(kept, full.test, task.groups, seed, number)


def measure(
    x: NDArray[np.float32], task: TaskInstance, model: str, probe: str, regime: Regime
) -> list[Drawn]:
    """Return a result with bootstrap scores for every metric; empty if there are too few labels.

    Raises
    ------
    DataError
        If a prediction or a score is not finite.
    LeakError
        If a split shares a group.
    """
    begin = time.perf_counter()
    predictions = predict(x, task, probe, regime)
    if predictions is None:
        return []
    seconds = time.perf_counter() - begin
    return score_predictions(
        predictions, task, seconds, model=model, probe=probe, regime=str(regime)
    )


def score_predictions(
    predictions: Sequence[Array], task: TaskInstance, seconds: float, **names: str
) -> list[Drawn]:
    """Return a result with bootstrap scores for every metric.

    Parameters
    ----------
    predictions
        For the tested items, (tested, names), one array per seed.
    seconds
        Time that they took.
    names
        `model`, `probe` and `regime` of the results.

    Raises
    ------
    DataError
        If a prediction or a score is not finite.
    """
    if not all(np.isfinite(each).all() for each in predictions):
        raise DataError(f"{task.name}: {_named(names)}: the predictions are not finite.")
    truth = task.labels.take(task.tested)
    confusion = np.mean([truth.confusion(each)[0] for each in predictions], axis=0)
    _, sizes = np.unique(task.groups[task.tested], return_counts=True)
    n_groups = len(sizes)
    out = []
    for name in task.metrics:
        exact = METRICS[name].exact
        seeds = [exact(truth, each) for each in predictions]
        score = float(np.mean(seeds))
        plain = bootstrap_scores(truth, predictions, name, task.draws)
        if not (np.isfinite(seeds).all() and np.isfinite(plain).all()):
            raise DataError(f"{task.name}: {_named(names)}: {name} is not finite.")
        draws = calibrate(
            plain,
            score,
            tested=n_groups,
            trained=task.trained_groups,
            size=float((sizes**2).sum() / sizes.sum()),
        )
        low, high = interval(draws, *METRICS[name].range)
        result = Result(
            **names,
            task=task.name,
            metric=name,
            score=score,
            low=low,
            high=high,
            seeds=seeds,
            chance=chance(truth, name),
            n_items=len(truth),
            n_groups=n_groups,
            split=task.hash,
            seconds=round(seconds, 3),
            classes=list(truth.names),
            per_class=truth.per_class(predictions, exact),
            confusion=[[float(value) for value in row] for row in confusion.round(2)],
        )
        out.append((result, draws))
    return out


def _named(names: dict[str, str]) -> str:
    return f"{names['model']}, {names['probe']} probe, {names['regime']} of the labels"


def bootstrap_scores(
    truth: Labels, predictions: Sequence[Array], metric: str, weights: Array
) -> Array:
    """Return the score of every bootstrap draw, averaged over seeds, shape (draws,)."""
    step = max(1, CELLS // len(truth))
    parts = [weights[i : i + step] for i in range(0, len(weights), step)]
    weighted = METRICS[metric].weighted
    each = [np.concatenate([weighted(truth, one, part) for part in parts]) for one in predictions]
    out: Array = np.mean(each, axis=0)
    return out
