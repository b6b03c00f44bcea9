"""The same recording, whatever it was encoded with."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError
from musicssl.library import EmbeddingTable

DISTANCE = 0.1  # root mean square over the values; docs/search.md says what it was set by
SECONDS = 1.0  # by which durations may differ: encoders add silence, players cut it
_BLOCK = 1024


class Duplicate(NamedTuple):
    """A recording that is there more than once."""

    row: int
    distance: float  # to the nearest of its group; 0 for the same
    identical: bool  # to another of the group, byte by byte


def find_duplicates(
    table: EmbeddingTable, *, distance: float = DISTANCE, seconds: float = SECONDS
) -> list[list[Duplicate]]:
    """Return groups of files that are encodings of one recording.

    Parameters
    ----------
    table
        What `musicssl.load_embeddings` returned.
    distance
        Between two embeddings, at most: the root mean square of the differences of their values,
        each of which has a standard deviation of about 1 over all kinds of music.
    seconds
        By which the durations of two files may differ.

    Returns
    -------
    list of list of Duplicate
        In the order of the table. A file is in one group at most; within a group each is near
        some other one.

    Raises
    ------
    ConfigError
        If a limit is negative or no number.
    """
    for name, value in (("distance", distance), ("seconds", seconds)):
        if not isinstance(value, (int, float)) or not 0 <= value < np.inf:
            raise ConfigError(f"{name} must be a number of at least 0, got {value!r}.")
    near, parents = _pairs(table, distance, seconds), list(range(len(table)))
    least = np.full(len(table), np.inf)
    for one, other, apart in near:
        least[[one, other]] = np.minimum(least[[one, other]], apart)
        parents[_root(parents, one)] = _root(parents, other)
    groups: dict[int, list[int]] = {}
    for row in np.flatnonzero(np.isfinite(least)).tolist():
        groups.setdefault(_root(parents, row), []).append(row)
    contents = table.columns.get("content", [None] * len(table))
    out = []
    for rows in groups.values():
        same = [contents[row] for row in rows if contents[row]]
        out.append([Duplicate(r, float(least[r]), same.count(contents[r]) > 1) for r in rows])
    return sorted(out)


def _pairs(table: EmbeddingTable, distance: float, seconds: float) -> list[tuple[int, int, float]]:
    """Return pairs of rows and their distances, comparing only what lasts as long."""
    known = table.columns.get("duration", [None] * len(table))
    durations = np.array([np.nan if d is None else d for d in known], np.float64)
    durations[np.isnan(durations)] = -1.0  # those that are not known among themselves
    order = np.argsort(durations, kind="stable")
    values, lasting = table.values[order], durations[order]
    squares = np.square(values, dtype=np.float64).sum(axis=1)
    limit = distance**2 * values.shape[1]
    pairs = []
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        end = int(np.searchsorted(lasting, lasting[stop - 1] + seconds, side="right"))
        apart = (
            squares[start:stop, None]
            + squares[start:end]
            - 2.0 * _products(values[start:stop], values[start:end])
        )
        near = apart <= limit + 1e-3 * (squares[start:stop, None] + 1)  # rounded: checked below
        near &= np.abs(lasting[start:stop, None] - lasting[start:end]) <= seconds
        for i, j in np.argwhere(np.triu(near, 1)).tolist():
            one, other = values[start + i].astype(np.float64), values[start + j]
            exact = float(np.sqrt(np.mean(np.square(one - other))))
            if exact <= distance:
                pairs.append((int(order[start + i]), int(order[start + j]), exact))
    return pairs


def _products(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    return (one @ other.T).astype(np.float64)


def _root(parents: list[int], row: int) -> int:
    """Return what stands for a group, and shorten the way to it."""
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row
