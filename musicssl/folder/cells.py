"""Cells of the user's own columns, read as numbers where all of a column is numbers."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from musicssl.tables import NUMBERED

_KINDS: tuple[type, ...] = (int, float, str)


class Kinds:
    """The kind of each column, the first of int, float and str that all its cells are."""

    def __init__(self, rows: Iterable[Mapping[str, str | None]] = ()) -> None:
        self._left: dict[str, tuple[type, ...]] = {}
        self._known: set[str] = set()  # columns with any content
        for row in rows:
            self.add(row)

    def add(self, row: Mapping[str, str | None]) -> None:
        """Take note of one more row; cells without content fit everything."""
        for name, cell in row.items():
            left = self._left.setdefault(name, _KINDS)
            if cell:
                self._known.add(name)
                self._left[name] = tuple(kind for kind in left if _fits(cell, kind))

    def of(self) -> dict[str, type]:
        """Return the columns' kinds; str where there is no content."""
        return {name: left[0] if name in self._known else str for name, left in self._left.items()}


def typed(row: Mapping[str, str | None], kinds: Mapping[str, type]) -> dict[str, Any]:
    """Return a row's cells as what their columns hold, without those that have no content."""
    return {name: kinds[name](cell) for name, cell in row.items() if cell and name in kinds}


def _fits(cell: str, kind: type) -> bool:
    if kind is str:
        return True
    if NUMBERED.match(cell):
        return False
    try:
        value = kind(cell)
    except ValueError:
        return False
    return -(2**63) <= value < 2**63 if kind is int else math.isfinite(value)
