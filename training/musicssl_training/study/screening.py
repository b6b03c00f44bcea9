r"""Designs that tell what many parts do from few cells, each part in half of them.

With all parts but one, an effect is the difference of two cells. Here every cell serves every
effect: half of the cells have a part and half do not, and of each two parts, both, either one and
neither are there equally often. So says a Hadamard matrix, :math:`H^T H = n I`, of Paley's
construction [1]_; of order 12 it is the design of Plackett and Burman [2]_. Every cell also has
its mirror, in which just the other parts are there (folding over [3]_), so that no effect is
mistaken for what two parts do together.

References
----------
.. [1] Paley, "On orthogonal matrices", 1933.
.. [2] Plackett and Burman, "The design of optimum multifactorial experiments", 1946.
.. [3] Box and Wilson, "On the experimental attainment of optimum conditions", 1951.
"""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError, shown
from musicssl_training.study.design import Combination, Factor, Level, make_cell
from musicssl_training.study.keys import APART

ON, OFF = "on", "off"
PRIMES = (3, 7, 11, 19, 23, 31, 43)  # those of the form 4 m - 1: one more is a matrix's order


def read_screen(values: Any) -> tuple[Factor, ...]:
    """Return the factors of ``[screen]``, each of which is on or off.

    Parameters
    ----------
    values
        By name, what it adds where it is on: a table of lists by dotted keys of settings.

    Raises
    ------
    ConfigError
        If they are not, or are too many.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"study.screen must be a table of parts, got {shown(values)}.")
    if len(values) > PRIMES[-1]:
        raise ConfigError(
            f"study.screen has {len(values)} parts; at most {PRIMES[-1]} are allowed."
        )
    for name, added in values.items():
        if not name.strip():
            raise ConfigError(f"study.screen: a part needs a name, got {name!r}.")
        if not (isinstance(added, dict) and added):
            raise ConfigError(
                f"study.screen.{name} must say what it adds to which settings, as in "
                f'{{ workers = ["notes"] }}; got {shown(added)}.'
            )
        for key, items in added.items():
            if key.split(".")[0] in APART:
                raise ConfigError(
                    f"study.screen.{name}: {key} is no setting of a run; a part adds to those."
                )
            if not isinstance(items, list):
                raise ConfigError(
                    f"study.screen.{name}: {key} must be a list, whose items are added to that "
                    f'of the settings; got {shown(items)}. A dotted key stands in quotes: "a.b".'
                )
    return tuple(
        Factor(name, (Level(ON, {}, dict(added), part=True), Level(OFF, {}, part=True)))
        for name, added in values.items()
    )


def screening_runs(count: int) -> NDArray[np.bool_]:
    """Return which of some parts are there in each cell: (cells, count).

    Parameters
    ----------
    count
        Number of parts, at most `PRIMES[-1]`.

    Returns
    -------
    NDArray[np.bool_]
        Without repetitions; up to three parts all combinations, else up to 7 parts at most 16
        cells, up to 11 parts 24, up to 19 parts 40 and so on, the mirrors after the others. No
        cell of five parts or more is empty.
    """
    order = next(prime for prime in PRIMES if prime >= count)
    columns = _paley(order)[:, 1 : count + 1]
    columns[:, ::2] *= -1  # or one cell has all parts, and its mirror none
    rows = np.vstack([columns, -columns]) > 0
    return np.array(list(dict.fromkeys(map(tuple, rows))))


def screened(combinations: list[Combination], parts: tuple[Factor, ...]) -> list[Combination]:
    """Return every combination with every cell of the screening design."""
    if not parts:
        return combinations
    runs = [
        {part.name: part.levels[0 if on else 1] for part, on in zip(parts, row, strict=True)}
        for row in screening_runs(len(parts))
    ]
    return [levels | run for levels in combinations for run in runs]


def check_parts(
    combinations: list[Combination], parts: tuple[Factor, ...], tables: dict[str, Any]
) -> None:
    """Refuse a part that makes no difference to any cell, or none beside another part.

    Parameters
    ----------
    combinations, tables
        As for `make_cells`, which accepts them.
    parts
        The factors that are screened.

    Raises
    ------
    ConfigError
        If what a part adds is there without it, or another part adds the same or more.
    """
    runs = _Runs(combinations, tables)
    on = {part.name: part.levels[0] for part in parts}
    off = {part.name: part.levels[1] for part in parts}
    for part in on:
        if runs.are_alike({part: on[part]}, {part: off[part]}):
            raise ConfigError(
                f"study.screen.{part} changes no run: what it adds is there without it."
            )
    for part, other in itertools.permutations(on, 2):
        if runs.are_alike({part: on[part], other: on[other]}, {part: off[part]}):
            raise ConfigError(
                f"study.screen.{part} changes no run that has {other}, which adds the same or more."
            )
    for part, other in itertools.combinations(on, 2):
        with_part, with_other = (
            {part: on[part], other: off[other]},
            {part: off[part], other: on[other]},
        )
        if runs.are_alike(with_part, with_other):
            raise ConfigError(f"study.screen: {part} and {other} add the same.")


class _Runs:
    """What is trained with the levels of a combination, each found once."""

    def __init__(self, combinations: list[Combination], tables: dict[str, Any]) -> None:
        self.combinations, self.tables = combinations, tables
        self._known: dict[tuple[str, ...], str | None] = {}

    def are_alike(self, having: Combination, changed: Combination) -> bool:
        """Return whether no run that has some levels becomes another by changing them."""
        return all(
            self._run(levels) == self._run(levels | changed)
            for levels in self.combinations
            if all(levels[name] is level for name, level in having.items())
        )

    def _run(self, levels: Combination) -> str | None:
        """Return what is trained; None where that is not allowed."""
        key = tuple(level.label for level in levels.values())
        if key not in self._known:
            try:
                self._known[key] = make_cell(levels, self.tables).run
            except ConfigError:
                self._known[key] = None
        return self._known[key]


def _paley(prime: int) -> NDArray[np.int64]:
    """Return a Hadamard matrix of order ``prime + 1`` whose first column is constant."""
    squares = {i * i % prime for i in range(1, prime)}
    signs = np.array([1 if i in squares else -1 for i in range(prime)])  # -1 at 0: less identity
    matrix = np.ones((prime + 1, prime + 1), np.int64)
    places = np.arange(prime)
    matrix[1:, 1:] = signs[(places[None] - places[:, None]) % prime]
    return matrix
