r"""Main effects and two-way interactions of a design, by least squares with seeds as blocks.

The model of a score is

.. math:: y = \mu + \sum_f \alpha_f + \sum_{f<g} \beta_{fg} + \gamma_{seed} + \varepsilon

with sum-to-zero codes, so that an effect is a level's distance from the mean of all levels of its
factor, each counting alike, however many cells it has. It is solved by numpy; intervals and tests
are those of the t and F distributions (scipy). In a balanced design its effects and intervals are
those of a mixed model whose seeds are random; with one factor of two levels they are a paired
t-test. Seeds may also disagree about a factor (runs of one encoder and one seed begin with the
same weights): where an F test finds such a disagreement at the level of 0.25, it is the error that
this factor is judged by (sometimes pooling; Bancroft and Han, "Inference based on conditional
specification", 1977), otherwise the residual is.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from musicssl_training.study.columns import (
    column_basis,
    count_independent,
    products,
    project_told,
    sum_codes,
)

Array = NDArray[np.float64]
Term = tuple[str, ...]  # a factor, or two
POOL = 0.25  # level at which seeds are found to disagree about a factor
SMALLEST_DF = 2  # of the residual, which interactions must leave
SEEN = 1e-6  # of a unit of a coefficient, up to which the cells determine it
ROUNDING = 1e-9  # points, below which a number is what floats leave of 0


@dataclass(frozen=True)
class Estimate:
    """A number with a 95 % interval; None where the design cannot tell it."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval does."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class Fit:
    """What the cells say of one score.

    Attributes
    ----------
    effects
        By factor and level: distance from the mean of the factor's levels.
    differences
        By factor and pair of levels: the first less the second.
    interactions
        By pair of factors and of levels: what the two effects do not explain.
    means
        By pair of factors and of levels: the expected score, the other factors' levels and the
        seeds counting alike.
    p
        By term: of the F test that nothing of it matters.
    deviation, df
        Residual standard deviation, and its degrees of freedom.
    """

    mean: Estimate
    effects: dict[str, dict[str, Estimate]]
    differences: dict[str, dict[tuple[str, str], Estimate]]
    interactions: dict[Term, dict[tuple[str, str], Estimate]]
    means: dict[Term, dict[tuple[str, str], Estimate]]
    p: dict[Term, float | None]
    deviation: float | None
    df: int


@dataclass
class Design:
    """The cells' levels, as the columns of a linear model.

    Parameters
    ----------
    factors
        Levels of each factor that cells have, the seed not among them.
    rows
        Levels of each cell.
    block
        Name of the factor of repetitions.

    Attributes
    ----------
    pairs
        Interactions in the model: those of which every combination has a cell, as long as degrees
        of freedom are left.
    left_out
        The other pairs, and why; in the model they are taken as absent.
    """

    factors: dict[str, list[str]]
    rows: Sequence[dict[str, str]]
    block: str = "seed"
    pairs: list[Term] = field(init=False, default_factory=list)
    left_out: dict[Term, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.blocks = list(dict.fromkeys(row[self.block] for row in self.rows))
        levels = self.factors | {self.block: self.blocks}
        self._codes = {
            name: sum_codes(len(labels))[[labels.index(row[name]) for row in self.rows]]
            for name, labels in levels.items()
        }
        self._groups: dict[Term, Array] = {(): np.ones((len(self.rows), 1))}
        for name in levels:
            self._groups[name,] = self._codes[name]
        self._add_pairs()
        self._bases: dict[frozenset[Term], Array] = {}
        self._x = np.hstack([*self._groups.values()])
        starts = np.cumsum([0, *(group.shape[1] for group in self._groups.values())])
        self._at = {
            term: slice(int(a), int(b))
            for term, a, b in zip(self._groups, starts[:-1], starts[1:], strict=True)
        }
        self._inverse = np.linalg.pinv(self._x)
        self._seen = project_told(self._x)
        self.df = len(self.rows) - count_independent([self._x])

    def _add_pairs(self) -> None:
        """Take interactions into the model, or note why not."""
        found: dict[Term, Array] = {}
        for a, b in itertools.combinations(self.factors, 2):
            cells = len(self.factors[a]) * len(self.factors[b])
            there = len({(row[a], row[b]) for row in self.rows})
            if there < cells:
                self.left_out[a, b] = f"{there} of {cells} combinations have a cell"
            elif 1 not in (len(self.factors[a]), len(self.factors[b])):
                found[a, b] = products(self._codes[a], self._codes[b])
        told, rank = self._told(found), count_independent([*self._groups.values()])
        for pair, columns in found.items():
            if pair not in told:
                self.left_out[pair] = "it cannot be told from other terms"
            elif len(self.rows) - rank - columns.shape[1] < SMALLEST_DF:
                self.left_out[pair] = "too few cells to tell it from chance"
            else:
                self._groups[pair] = columns
                self.pairs.append(pair)
                rank += columns.shape[1]

    def _told(self, found: dict[Term, Array]) -> set[Term]:
        """Return the interactions that none of the others, all together, can be mistaken for."""
        start = sum(group.shape[1] for group in self._groups.values())
        seen = project_told(np.hstack([*self._groups.values(), *found.values()]))
        told = set()
        for pair, columns in found.items():
            place = slice(start, start := start + columns.shape[1])
            if np.abs(seen[place] - np.eye(len(seen))[place]).max() < SEEN:
                told.add(pair)
        return told

    def fit(self, y: Array) -> Fit:
        """Return the effects on a score of every cell."""
        solved = _Solution(self, y)
        effects: dict[str, dict[str, Estimate]] = {}
        differences: dict[str, dict[tuple[str, str], Estimate]] = {}
        for name, labels in self.factors.items():
            parts = {label: self.contrast((name,), code) for label, code in self.codes(name)}
            effects[name] = {label: solved.estimate(c, name) for label, c in parts.items()}
            differences[name] = {
                (a, b): solved.estimate(parts[a] - parts[b], name)
                for a, b in itertools.combinations(labels, 2)
            }
        interactions: dict[Term, dict[tuple[str, str], Estimate]] = {}
        means: dict[Term, dict[tuple[str, str], Estimate]] = {}
        for pair in self.pairs:
            interactions[pair], means[pair] = self._fit_pair(pair, solved)
        tested = [(name,) for name in self.factors] + self.pairs
        variance = solved.variance
        return Fit(
            mean=solved.estimate(self.contrast((), np.ones(1))),
            effects=effects,
            differences=differences,
            interactions=interactions,
            means=means,
            p={term: solved.test(term) for term in tested},
            deviation=None if variance is None else float(np.sqrt(variance)),
            df=self.df,
        )

    def _fit_pair(self, pair: Term, solved: "_Solution") -> tuple[dict[Any, Estimate], ...]:
        a, b = pair
        effects: dict[tuple[str, str], Estimate] = {}
        means: dict[tuple[str, str], Estimate] = {}
        for (la, ca), (lb, cb) in itertools.product(self.codes(a), self.codes(b)):
            joint = self.contrast(pair, np.outer(ca, cb).ravel())
            alone = self.contrast((a,), ca) + self.contrast((b,), cb)
            effects[la, lb] = solved.estimate(joint)
            means[la, lb] = solved.estimate(self.contrast((), np.ones(1)) + alone + joint)
        return effects, means

    def codes(self, name: str) -> list[tuple[str, Array]]:
        """Return each level of a factor with its row of codes."""
        labels = self.factors[name]
        return list(zip(labels, sum_codes(len(labels)), strict=True))

    def contrast(self, term: Term, values: Array) -> Array:
        """Return a vector over all columns that has `values` at those of a term."""
        c = np.zeros(self._x.shape[1])
        c[self._at[term]] = values
        return c

    def is_estimable(self, c: Array) -> bool:
        """Return whether the cells determine a combination of the model's terms."""
        return bool(np.abs(c @ self._seen - c).max(initial=0.0) < SEEN)

    def basis(self, without: Term | None = None, disagreeing: str = "") -> Array:
        """Return an orthonormal basis of the columns: less a term, or with a factor by seeds."""
        key = frozenset([without or ("*",), (f"+{disagreeing}",)])
        if key not in self._bases:
            parts = [group for term, group in self._groups.items() if term != without]
            if disagreeing:
                parts.append(products(self._codes[disagreeing], self._codes[self.block]))
            self._bases[key] = column_basis(np.hstack(parts))
        return self._bases[key]


class _Solution:
    """The least squares of one score."""

    def __init__(self, design: Design, y: Array) -> None:
        self.design, self.y = design, y
        self.rss = self._rss(design.basis())
        self.variance = self.rss / design.df if design.df > 0 else None
        self.coefficients = design._inverse @ y
        self._errors: dict[str, tuple[float, int]] = {}

    def _rss(self, basis: Array) -> float:
        rest = self.y - basis @ (basis.T @ self.y)
        return float(rest @ rest) if np.abs(rest).max() > ROUNDING else 0.0

    def error(self, factor: str) -> tuple[float, int] | None:
        """Return the variance that a factor is judged by, and its degrees of freedom."""
        if self.variance is None:
            return None
        if not factor:
            return self.variance, self.design.df
        if factor not in self._errors:
            self._errors[factor] = self._disagreement(factor) or (self.variance, self.design.df)
        return self._errors[factor]

    def _disagreement(self, factor: str) -> tuple[float, int] | None:
        """Return the seeds' disagreement about a factor, where there is one."""
        basis = self.design.basis(disagreeing=factor)
        extra = basis.shape[1] - self.design.basis().shape[1]
        rest = len(self.y) - basis.shape[1]
        if extra < 1 or rest < 1:
            return None
        rss = self._rss(basis)
        between, within = (self.rss - rss) / extra, rss / rest
        if within <= 0 or stats.f.sf(between / within, extra, rest) > POOL:
            return None
        return between, extra

    def estimate(self, c: Array, factor: str = "") -> Estimate:
        """Return a combination of coefficients, with an interval if there is an error."""
        if not self.design.is_estimable(c):
            return Estimate()
        value = float(c @ self.coefficients)
        value = value if abs(value) > ROUNDING else 0.0
        error = self.error(factor)
        if error is None:
            return Estimate(value)
        variance, df = error
        length = float(np.sum((c @ self.design._inverse) ** 2))
        half = float(stats.t.ppf(0.975, df) * np.sqrt(variance * length))
        return Estimate(value, value - half, value + half)

    def test(self, term: Term) -> float | None:
        """Return the p value of an F test that a term is absent."""
        without = self.design.basis(without=term)
        df = self.design.basis().shape[1] - without.shape[1]
        error = self.error(term[0] if len(term) == 1 else "")
        if df < 1 or error is None or error[0] <= 0:
            return None
        mean_square = (self._rss(without) - self.rss) / df
        return float(stats.f.sf(mean_square / error[0], df, error[1]))
