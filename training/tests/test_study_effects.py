"""The statistics of a study, on designs whose effects are known."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from musicssl_training.study.main_effects import Design
from musicssl_training.study.summary import mark_front

FACTORS = {"a": ["a1", "a2", "a3"], "b": ["b1", "b2"], "c": ["c1", "c2", "c3", "c4"]}
SEEDS = ["0", "1", "2"]
A = {"a1": 1.0, "a2": -0.4, "a3": -0.6}
B = {"b1": 0.3, "b2": -0.3}
C = {"c1": 0.5, "c2": 0.0, "c3": -0.2, "c4": -0.3}
AB = dict(zip(itertools.product(A, B), [0.4, -0.4, -0.1, 0.1, -0.3, 0.3], strict=True))


def unbalanced() -> list[dict[str, str]]:
    """Two blocks: all of a and b with two levels of c; all of b and c with one level of a."""
    return [
        {"a": a, "b": b, "c": c, "seed": seed}
        for a, b, c, seed in itertools.product(*FACTORS.values(), SEEDS)
        if c in ("c1", "c2") or a == "a1"
    ]


def truth(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array([10 + A[r["a"]] + B[r["b"]] + C[r["c"]] + AB[r["a"], r["b"]] for r in rows])


def simulated(
    rows: list[dict[str, str]], mean: np.ndarray, disagree: float
) -> Iterator[np.ndarray]:
    """Yield scores with noise, an offset a seed, and seeds that disagree about a."""
    rng = np.random.default_rng(0)
    for _ in range(120):
        offset = dict(zip(SEEDS, rng.normal(size=3), strict=True))
        pairs = {pair: disagree * rng.normal() for pair in itertools.product(A, SEEDS)}
        shift = [offset[r["seed"]] + pairs[r["a"], r["seed"]] for r in rows]
        yield mean + np.array(shift) + 0.5 * rng.normal(size=len(rows))


def test_known_effects_of_an_unbalanced_design_are_found() -> None:
    rows = unbalanced()
    design = Design(FACTORS, rows)
    offset = np.array([{"0": 3.0, "1": -1.0, "2": 0.5}[row["seed"]] for row in rows])
    fit = design.fit(truth(rows) + offset)
    for name, effects in (("a", A), ("b", B), ("c", C)):
        found = {label: one.value for label, one in fit.effects[name].items()}
        assert found == pytest.approx(effects, abs=1e-9)
    found = {labels: one.value for labels, one in fit.interactions["a", "b"].items()}
    assert found == pytest.approx(AB, abs=1e-9)
    assert fit.differences["a"]["a1", "a3"].value == pytest.approx(1.6)
    assert fit.means["a", "b"]["a2", "b1"].value == pytest.approx(10 - 0.4 + 0.3 - 0.1 + 2.5 / 3)
    assert fit.mean.value == pytest.approx(10 + 2.5 / 3)


def test_a_pair_without_all_of_its_combinations_is_named_and_left_out() -> None:
    design = Design(FACTORS, unbalanced())
    assert design.pairs == [("a", "b"), ("b", "c")]
    assert design.left_out == {("a", "c"): "8 of 12 combinations have a cell"}


def test_levels_that_always_go_together_cannot_be_told_apart() -> None:
    rows = [{"a": a, "b": "b" + a[1], "seed": s} for a in ("a1", "a2") for s in SEEDS]
    fit = Design({"a": ["a1", "a2"], "b": ["b1", "b2"]}, rows).fit(np.arange(6.0))
    assert fit.effects["a"]["a1"].value is fit.effects["b"]["b2"].low is None
    assert fit.p["a",] is None
    assert fit.mean.value == pytest.approx(2.5)


def test_two_levels_and_seeds_are_a_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 5))
    rows = [{"a": a, "seed": str(s)} for a in ("x", "y") for s in range(5)]
    fit = Design({"a": ["x", "y"]}, rows).fit(np.concatenate([first, second]))
    expected = stats.ttest_rel(first, second)
    low, high = expected.confidence_interval(0.95)
    found = fit.differences["a"]["x", "y"]
    assert (found.value, found.low, found.high) == pytest.approx(
        ((first - second).mean(), low, high)
    )
    assert fit.p["a",] == pytest.approx(expected.pvalue)


def test_one_factor_without_seeds_is_an_analysis_of_variance() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=(3, 4))
    rows = [{"a": a, "b": str(i), "seed": "0"} for a in ("x", "y", "z") for i in range(4)]
    fit = Design({"a": ["x", "y", "z"]}, rows).fit(y.ravel())
    assert fit.p["a",] == pytest.approx(stats.f_oneway(*y).pvalue)


@pytest.mark.parametrize(("disagree", "least"), [(0.0, 0.92), (1.5, 0.88)])
def test_intervals_cover_the_truth(disagree: float, least: float) -> None:
    rows = unbalanced()
    design, covered = Design(FACTORS, rows), []
    pairs = []
    for y in simulated(rows, truth(rows), disagree):
        fit = design.fit(y)
        covered += [one.low <= A[label] <= one.high for label, one in fit.effects["a"].items()]
        pairs += [
            one.low <= AB[label] <= one.high for label, one in fit.interactions["a", "b"].items()
        ]
    assert np.mean(covered) > least  # of 95 %; with the residual alone 0.4 where seeds disagree
    assert np.mean(pairs) > 0.92
    if not disagree:
        assert np.mean(covered) < 0.985  # nor are they needlessly wide


def test_null_data_show_no_effects() -> None:
    rows = unbalanced()
    design = Design(FACTORS, rows)
    seen: list[bool] = []
    for y in simulated(rows, np.zeros(len(rows)), 0.0):
        fit = design.fit(y)
        seen += [p < 0.05 for p in fit.p.values() if p is not None]
    assert 0.02 < np.mean(seen) < 0.08  # 600 tests at 5 %


def test_one_run_a_combination_leaves_no_interval_but_effects() -> None:
    rows = [{"a": a, "b": b, "seed": "0"} for a in ("a1", "a2") for b in ("b1", "b2")]
    design = Design({"a": ["a1", "a2"], "b": ["b1", "b2"]}, rows)
    assert design.left_out == {("a", "b"): "too few cells to tell it from chance"}
    single = Design({"a": ["a1", "a2"]}, rows[::2]).fit(np.array([1.0, 3.0]))
    assert single.effects["a"]["a2"].value == pytest.approx(1.0)
    assert single.effects["a"]["a2"].low is single.p["a",] is None


def test_the_front_holds_what_nothing_cheaper_beats() -> None:
    found = [
        {"hours": hours, "scores": {"mean": {"mean": score}}}
        for hours, score in [(2.0, 60.0), (1.0, 50.0), (3.0, 59.0), (1.0, 49.0), (4.0, 61.0)]
    ]
    mark_front(found)
    assert [one["front"] for one in found] == [True, True, False, False, True]
