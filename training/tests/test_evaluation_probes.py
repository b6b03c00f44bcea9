"""Metrics against the libraries; probes, splits and intervals against theory."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge

from musicssl_training.evaluation.datasets import Collection
from musicssl_training.evaluation.datasets.collection import Clip
from musicssl_training.evaluation.errors import DataError, LeakError
from musicssl_training.evaluation.protocol.bootstrap import calibrate, draw_groups, interval
from musicssl_training.evaluation.protocol.labels import (
    Labels,
    Multiclass,
    Multilabel,
    Regression,
)
from musicssl_training.evaluation.protocol.metrics import METRICS, chance
from musicssl_training.evaluation.protocol.probes import (
    PROBES,
    STRENGTHS,
    logistic_path,
    ridge_path,
    standardize,
)
from musicssl_training.evaluation.protocol.regimes import FULL, Regime
from musicssl_training.evaluation.protocol.scoring import (
    Result,
    TaskInstance,
    bootstrap_scores,
    measure,
    predict,
)
from musicssl_training.evaluation.protocol.splits import (
    Split,
    check_leaks,
    cross_validation,
    hold_out,
    make_splits,
    published_split,
    split_hash,
)
from musicssl_training.evaluation.protocol.tempo import Tempo
from musicssl_training.evaluation.report.builder import ReportBuilder
from musicssl_training.evaluation.report.results import Difference, Report
from musicssl_training.evaluation.report.tables import table
from musicssl_training.evaluation.tasks import TASKS

RNG = np.random.default_rng(0)
KINDS: dict[str, type[Labels]] = {
    "accuracy": Multiclass,
    "macro_f1": Multiclass,
    "pearson_r": Regression,
    "r2": Regression,
    "roc_auc": Multilabel,
    "average_precision": Multilabel,
    "mirex": Multiclass,
    "accuracy1": Tempo,
    "accuracy2": Tempo,
}
NAMES = {"mirex": ("A minor", "C major", "C minor", "G major")}


def labels_of(kind: type[Labels], n: int, names: tuple[str, ...] = ("a", "b", "c", "d")) -> Labels:
    rng = np.random.default_rng(n)
    if kind is Multiclass:
        return kind(rng.integers(len(names), size=n), names)
    if kind is Tempo:
        return tempi(2 ** rng.uniform(np.log2(40), np.log2(250), n))
    values = rng.standard_normal((n, len(names)))
    return kind(values if kind is Regression else (values > 0.5).astype(float), names)


def tempi(bpm: NDArray[Any]) -> Labels:
    """The labels of the tempo task."""
    clips = tuple(Clip(f"{i}.wav", Path()) for i in range(len(bpm)))
    return TASKS["tempo"].kind.read(Collection("rendered", clips, {"tempo": bpm}), ("tempo",))


def problem_of(
    labels: Labels, groups: NDArray[np.str_], metrics: tuple[str, ...], seeds: int = 2
) -> TaskInstance:
    ids = [str(i) for i in range(len(labels))]
    splits = make_splits(groups, None, range(seeds))
    return TaskInstance(
        "toy", ids, labels, groups, metrics, splits, np.arange(len(ids)), draw_groups(groups)
    )


@pytest.mark.parametrize("name", METRICS)
def test_weighted_is_exact_on_repeated_items(name: str) -> None:
    labels = labels_of(KINDS[name], 90, NAMES.get(name, ("a", "b", "c", "d")))
    scores = (labels.targets + RNG.standard_normal(labels.targets.shape)).round(1)  # with ties
    weights = RNG.integers(0, 4, (3, 90)).astype(float)
    for row, found in zip(weights, METRICS[name].weighted(labels, scores, weights), strict=True):
        index = np.repeat(np.arange(90), row.astype(int))
        assert found == pytest.approx(
            METRICS[name].exact(labels.take(index), scores[index]), abs=1e-6
        )


@pytest.mark.parametrize("name", METRICS)
def test_the_truth_scores_one_and_beats_chance(name: str) -> None:
    labels = labels_of(KINDS[name], 90, NAMES.get(name, ("a", "b", "c", "d")))
    assert METRICS[name].exact(labels, labels.targets) == pytest.approx(1)
    assert chance(labels, name) < 1


def test_mirex_and_tempo_by_hand() -> None:
    keys = Multiclass(np.array([0, 0, 0, 0]), ("C major", "G major", "A minor", "C minor"))
    assert METRICS["mirex"].exact(keys, np.eye(4)) == pytest.approx((1 + 0.5 + 0.3 + 0.2) / 4)
    found = tempi(np.array([100.0, 100 / 1.03, 100 / 1.06, 50.0, 299.0]))
    said = np.tile(tempi(np.array([100.0, 90.0])).targets[0], (5, 1))  # 100 of each
    assert METRICS["accuracy1"].exact(found, said) == pytest.approx(2 / 5)
    assert METRICS["accuracy2"].exact(found, said) == pytest.approx(4 / 5)
    assert chance(found, "accuracy1") == pytest.approx(2 / 5)
    assert chance(found, "accuracy2") == pytest.approx(4 / 5)


@pytest.mark.parametrize("bpm", [0.0, float("nan"), 20.0, 400.0])
def test_a_tempo_that_nobody_taps_is_no_label(bpm: float) -> None:
    clips = tuple(Clip(f"{i}.wav", Path()) for i in range(3))
    data = Collection("rendered", clips, {"tempo": np.array([60.0, bpm, 120.0])})
    assert TASKS["tempo"].kind.is_labeled(data, ("tempo",)).tolist() == [True, False, True]
    with pytest.raises(DataError, match=r"item '1\.wav' has no tempo from 30 to 300 BPM"):
        Tempo.read(data, ("tempo",))


def test_what_is_learned_of_one_tempo_helps_with_its_neighbors() -> None:
    """Of a tempo that no training item has, unordered classes would know nothing."""
    rng = np.random.default_rng(1)
    bpm = np.repeat(2 ** rng.permutation(np.linspace(np.log2(40), np.log2(250), 40)), 4)
    away = np.log2(bpm)[:, None] - np.linspace(5, 8.2, 24)
    x = (np.exp(-0.5 * (away / 0.15) ** 2) + 0.02 * rng.normal(size=away.shape)).astype(np.float32)
    problem = problem_of(tempi(bpm), bpm.astype(str), ("accuracy1",), 1)
    ((result, _),) = measure(x, problem, "bumps", "linear", FULL)
    assert result.score > 0.9  # 0.42 with unordered classes
    assert result.chance < 0.06


@pytest.mark.parametrize("items", [60, 20])  # more than dimensions, and fewer
def test_linear_probes_are_those_of_scikit_learn(items: int) -> None:
    x, new = RNG.standard_normal((items, 30)), RNG.standard_normal((50, 30))
    labels = labels_of(Multiclass, items)
    for c, predict_ours in zip(
        STRENGTHS,
        logistic_path(x, labels.targets, STRENGTHS, multinomial=True),
        strict=True,
    ):
        reference = LogisticRegression(C=c, tol=1e-8, max_iter=1000).fit(x, labels.y)
        ours, theirs = predict_ours(new), reference.decision_function(new)
        ours, theirs = (z - z.mean(axis=1, keepdims=True) for z in (ours, theirs))
        np.testing.assert_allclose(ours, theirs, atol=0.02 * np.abs(theirs).max())
    numbers = labels_of(Regression, items)
    (ridge,) = ridge_path(x, numbers.y, (10.0,))
    np.testing.assert_allclose(ridge(new), Ridge(10.0).fit(x, numbers.y).predict(new), atol=1e-8)


def test_an_svd_that_does_not_converge_stops_no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:  # as gesdd does now and then at low rank
        raise np.linalg.LinAlgError("SVD did not converge")

    x, new = RNG.standard_normal((20, 30)), RNG.standard_normal((50, 30))
    x[:, 20:] = new[:, 20:] = 0
    classes, numbers = labels_of(Multiclass, 20), labels_of(Regression, 20)
    (before,) = ridge_path(x, numbers.y, (10.0,))
    monkeypatch.setattr(np.linalg, "svd", fail)
    (ridge,) = ridge_path(x, numbers.y, (10.0,))
    np.testing.assert_allclose(ridge(new), before(new), atol=1e-8)
    (rule,) = logistic_path(x, classes.targets, (1.0,), multinomial=True)
    assert (rule(x).argmax(axis=1) == classes.y).mean() > 0.9


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("kind", [Multiclass, Regression, Multilabel, Tempo])
def test_a_perfect_embedding_scores_one_and_seeds_repeat_bit_for_bit(
    probe: str, kind: type[Labels]
) -> None:
    groups = np.repeat(np.arange(20), 12).astype(str)
    labels = labels_of(kind, 240)
    metric = {
        Multiclass: "accuracy",
        Regression: "pearson_r",
        Multilabel: "roc_auc",
        Tempo: "accuracy1",
    }[kind]
    problem = problem_of(labels, groups, (metric,), 1)
    fair = [("mlp", Regression), ("mlp", Tempo)]
    x = 3 * labels.targets.astype(np.float32)
    ((result, draws),) = measure(x, problem, "perfect", probe, FULL)
    assert result.score > (0.9 if probe == "knn" or (probe, kind) in fair else 0.99)
    again = predict(x, problem, probe, FULL)
    assert again is not None
    plain = bootstrap_scores(labels, again, metric, problem.draws)
    np.testing.assert_array_equal(
        draws, calibrate(plain, result.score, tested=20, trained=20, size=12)
    )


@pytest.mark.parametrize("probe", PROBES)
def test_shuffled_labels_fall_to_chance(probe: str) -> None:
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(40), 10).astype(str)
    labels = Multiclass(rng.integers(4, size=400), ("a", "b", "c", "d"))
    x = rng.standard_normal((400, 16)).astype(np.float32)
    ((result, _),) = measure(x, problem_of(labels, groups, ("accuracy",)), "noise", probe, FULL)
    assert abs(result.score - 0.25) < 0.07
    assert result.low < 0.27
    assert result.high > 0.23


def test_a_leak_is_caught_and_named() -> None:
    groups = np.array(["Bach", "Bach", "Cage", "Dowland"])
    with pytest.raises(LeakError, match="group 'Bach' is in both training and test"):
        check_leaks(Split(np.array([0]), np.array([3]), np.array([1, 2])), groups)
    with pytest.raises(LeakError, match=r"'Bach'.*validation and test"):
        published_split(np.array(["valid", "test", "train", "train"]), groups)
    with pytest.raises(LeakError, match="item 2 is in both"):
        check_leaks(Split(np.array([2]), np.array([3]), np.array([2])), groups)


def test_a_leak_that_would_flatter_is_caught_before_it_is_measured() -> None:
    groups = np.repeat(np.arange(10), 5).astype(str)
    labels = labels_of(Multiclass, 50)
    everything = np.arange(50)
    leaking = [[Split(everything[::2], everything[:0], everything[1::2])]]
    honest = problem_of(labels, groups, ("accuracy",))
    problem = TaskInstance(
        "toy", honest.ids, labels, groups, ("accuracy",), leaking, everything, honest.draws
    )
    with pytest.raises(LeakError, match="training and test, and 9 more"):
        predict(np.zeros((50, 2), np.float32), problem, "linear", FULL)


def test_cross_validation_tests_every_item_once_and_differs_by_seed() -> None:
    groups = RNG.integers(30, size=300).astype(str)
    splits = list(cross_validation(groups, 0))
    assert len(splits) == 5
    assert sorted(np.concatenate([s.test for s in splits])) == list(range(300))
    assert max(len(s.test) for s in splits) - min(len(s.test) for s in splits) < 20
    assert all(len(s.valid) >= 10 for s in splits)
    ids = [str(i) for i in range(300)]
    same = split_hash(ids, [splits])
    assert same == split_hash(ids, [list(cross_validation(groups, 0))])
    assert same != split_hash(ids, [list(cross_validation(groups, 1))])


def test_few_labels() -> None:
    labels = Multiclass(np.repeat([0, 1], [900, 100]), ("a", "b"))
    train = np.arange(1000)
    tenth = labels.subsample(train, Regime.parse("10%"), 0)
    assert tenth is not None
    assert list(np.bincount(labels.y[tenth])) == [90, 10]
    shots = labels.subsample(train, Regime.parse("5-shot"), 0)
    assert shots is not None
    assert list(np.bincount(labels.y[shots])) == [5, 5]
    many = Multiclass(np.arange(1000) % 100, tuple(str(i) for i in range(100)))
    assert many.subsample(train, Regime.parse("1%"), 0) is None  # ten items for a hundred classes
    few = labels_of(Regression, 300)
    assert few.subsample(np.arange(300), Regime.parse("1%"), 0) is None
    small = hold_out(np.arange(8), np.arange(8, 12), np.arange(12), 0)
    assert not len(small.valid)


def test_standardising_looks_at_nothing_but_the_training_items() -> None:
    train, test = standardize(np.array([[1.0, 5], [3, 5]]), np.array([[100.0, 9]]))
    np.testing.assert_allclose(train, [[-1, 0], [1, 0]])
    np.testing.assert_allclose(test, [[98, 0]])


def test_intervals_cover_the_truth() -> None:
    covered = 0
    for trial in range(200):
        rng = np.random.default_rng([trial, 3])
        groups = np.repeat(np.arange(40), 5)
        rate = rng.beta(3.5, 1.5, 40)  # of right answers, in each group; 0.7 on average
        right = rng.random(200) < np.repeat(rate, 5)
        weights = draw_groups(groups, 400, trial)
        low, high = interval(weights @ right / weights.sum(axis=1))
        covered += low <= 0.7 <= high
    assert 0.89 <= covered / 200 <= 0.99


def trial(seed: int, seeds: int = 1) -> list[Any]:
    """Results of two equally good embeddings of a new collection of 12 groups."""
    rng = np.random.default_rng([seed, 31])
    groups = np.repeat(np.arange(12), 12)
    y = rng.permutation(len(groups)) % 4
    problem = problem_of(Multiclass(y, tuple("abcd")), groups.astype(str), ("accuracy",), seeds)
    centers = 1.7 * np.eye(4, 24)[y]
    found = []
    for name in ("one", "two"):
        noise = rng.normal(size=(12, 24))[groups] + rng.normal(size=centers.shape)
        found += measure((centers + noise).astype(np.float32), problem, name, "knn", FULL)
    return found


def test_intervals_cover_what_new_music_to_train_and_test_on_would_give() -> None:
    """The bootstrap of test items alone covers 79 % here; see experiments/interval_coverage.py."""
    scores, differences = [], []
    for seed in range(100):
        builder = ReportBuilder(Report())
        builder.add(trial(seed))
        scores += [(r.score, r.low, r.high) for r in builder.report.results]
        differences += [(d.low, d.high) for d in builder.report.differences]
    score, low, high = np.array(scores).T
    truth = score.mean()
    assert 0.92 <= np.mean((low <= truth) & (truth <= high)) <= 0.985
    low, high = np.array(differences).T
    assert 0.92 <= np.mean((low <= 0) & (high >= 0)) <= 0.985


def test_calibrated_draws() -> None:
    draws = np.random.default_rng(0).normal(0.6, 0.01, 1000)  # biased: the score is 0.5

    def widened(tested: int, trained: int, size: float) -> Any:
        return calibrate(draws, 0.5, tested=tested, trained=trained, size=size)

    def factor(tested: int, trained: int, size: float) -> Any:
        return pytest.approx((widened(tested, trained, size).std() / draws.std()) ** 2, rel=1e-3)

    many = widened(10_000, 10_000, 1e6)
    assert many.mean() == pytest.approx(0.5)
    assert factor(10_000, 10_000, 1e6) == 2
    assert factor(10_000, 90_000, 1e6) == 1 + 1 / 9
    assert 1.2 < (widened(10_000, 10_000, 1).std() / draws.std()) ** 2 < 1.6  # single items
    assert factor(9, 9, 1e6) == 2 * (2.306 / 1.96) ** 2 * 9 / 8
    assert interval(many + 0.49, 0.0, 1.0)[1] == 1.0
    np.testing.assert_array_equal(widened(1, 5, 1), draws)


def test_numbers_of_folds_that_are_regularized_differently_still_correlate() -> None:
    """Chosen by r, the penalty shrinks some folds' predictions to nothing beside the others'."""
    scores = []
    for seed in range(12):
        rng = np.random.default_rng([seed, 37])
        groups = np.repeat(np.arange(30), 6)
        values = rng.normal(size=(30, 1))[groups] + 0.3 * rng.normal(size=(180, 1))
        noise = rng.normal(size=(30, 40))[groups] + rng.normal(size=(180, 40))
        x = values * np.linspace(-0.5, 0.5, 40) + noise
        problem = problem_of(Regression(values, ("a",)), groups.astype(str), ("pearson_r",), 1)
        ((result, _),) = measure(x.astype(np.float32), problem, "x", "linear", FULL)
        scores.append(result.score)
    assert np.mean(scores) > 0.5  # 0.37 if chosen by r


def test_groups_widen_the_interval_of_grouped_data() -> None:
    groups = np.repeat(np.arange(30), 20)
    right = np.repeat(np.arange(30) % 3 > 0, 20).astype(float)  # alike within a group

    def width(units: NDArray[np.int64]) -> float:
        weights = draw_groups(units)
        low, high = interval(weights @ right / weights.sum(axis=1))
        return high - low

    assert width(groups) > 3 * width(np.arange(600))


def test_bold_only_where_the_paired_interval_says_so() -> None:
    rest: dict[str, Any] = {"task": "t", "probe": "linear", "regime": "100%", "metric": "accuracy"}
    size: dict[str, Any] = {"n_items": 9, "n_groups": 3, "split": "", "seconds": 0.0, "seeds": []}
    report = Report(
        results=[
            Result(model=name, score=score, low=0, high=1, chance=0.1, **size, **rest)
            for name, score in (("a", 0.5), ("b", 0.7))
        ]
    )
    unsure = Difference(a="a", b="b", difference=-0.2, low=-0.4, high=0.01, **rest)
    report.differences.append(unsure)
    assert "**" not in table(report)
    report.differences[0] = replace(unsure, high=-0.01)
    assert "| 50.0 [0.0, 100.0] | **70.0 [0.0, 100.0]** |" in table(report)
