"""The same recording, whatever it was encoded with."""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError
from musicssl.library import EmbeddingTable

DISTANCE = 0.1  # root mean square over the values; docs/search.md says what it was set by
SECONDS = 1.0  # by which durations may differ: encoders add silence, players cut it
SILENT = 1e-3  # peak, -60 dB: below it there is nothing to tell recordings apart by
_BLOCK = 1024
_MOST = 1e9  # whose square is no trouble

Pairs = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]


class Duplicate(NamedTuple):
    """A recording that is there more than once."""

    row: int
    distance: float  # to the nearest of its group; 0 for the same
    identical: bool  # to another of the group, byte by byte


def find_duplicates(
    table: EmbeddingTable, *, distance: float = DISTANCE, seconds: float = SECONDS
) -> list[list[Duplicate]]:
    """Return groups of files that are encodings of one recording.

    Silent files are all alike, so that of these only identical ones are a group.

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
        If a limit is negative or no number, or the table is of several parts of files.
    """
    _refuse_parts(table)
    limits = []
    for name, value in (("distance", distance), ("seconds", seconds)):
        plain = value if isinstance(value, (int, float, np.number)) else np.nan
        if not 0 <= plain < np.inf:
            raise ConfigError(f"{name} must be a number of at least 0, got {value!r}.")
        limits.append(float(min(plain, _MOST)))
    contents = table.columns.get("content", [None] * len(table))
    quiet = is_silent(table)
    heard = np.flatnonzero(~quiet)
    parents, least = list(range(len(table))), np.full(len(table), np.inf)
    for ones, others, apart in _pairs(table.take(heard.tolist()), *limits):
        np.minimum.at(least, heard[ones], apart)
        np.minimum.at(least, heard[others], apart)
        for one, other in zip(heard[ones].tolist(), heard[others].tolist(), strict=True):
            parents[_root(parents, one)] = _root(parents, other)
    first: dict[str, int] = {}
    for row in np.flatnonzero(quiet).tolist():  # all alike, whatever they were to be
        if contents[row] and (other := first.setdefault(contents[row], row)) != row:
            parents[row] = other
            least[[row, other]] = 0.0
    groups: dict[int, list[int]] = {}
    for row in np.flatnonzero(np.isfinite(least)).tolist():
        groups.setdefault(_root(parents, row), []).append(row)
    out = []
    for rows in groups.values():
        same = Counter(contents[row] for row in rows if contents[row])
        out.append([Duplicate(r, float(least[r]), same[contents[r]] > 1) for r in rows])
    return sorted(out)


def _refuse_parts(table: EmbeddingTable) -> None:
    """Refuse parts of files, of which each would be taken for all of its file."""
    starts = table.columns.get("start", [])
    if len(set(starts)) > 1 or (any(s is not None for s in starts) and _repeats(table.paths)):
        raise ConfigError(
            "the embeddings are of parts of files, and only whole files, or the same part of "
            "each, are looked through for duplicates; embed those."
        )


def _repeats(paths: list[str]) -> bool:
    return len(set(paths)) < len(paths)


def is_silent(table: EmbeddingTable) -> NDArray[np.bool_]:
    """Tell which files are silent, as far as that is known: shape (files,)."""
    peaks = table.columns.get("peak", [None] * len(table))
    return np.array([peak is not None and peak < SILENT for peak in peaks], np.bool_)


def _pairs(table: EmbeddingTable, distance: float, seconds: float) -> Iterator[Pairs]:
    """Yield pairs of rows and their distances, comparing only what lasts as long."""
    known = table.columns.get("duration", [None] * len(table))
    durations = np.array([np.nan if d is None else d for d in known], np.float64)
    durations[np.isnan(durations)] = -1.0  # those that are not known among themselves
    order = np.argsort(durations, kind="stable")
    values, lasting = table.values[order], durations[order]
    squares = np.square(values, dtype=np.float64).sum(axis=1)
    limit = distance**2 * values.shape[1]
    for start in range(0, len(order), _BLOCK):
        stop = min(start + _BLOCK, len(order))
        end = int(np.searchsorted(lasting, lasting[stop - 1] + seconds, side="right"))
        for left in range(start, end, _BLOCK):
            right = min(left + _BLOCK, end)
            apart = (
                squares[start:stop, None]
                + squares[left:right]
                - 2.0 * _products(values[start:stop], values[left:right])
            )
            near = apart <= limit + 1e-3 * (squares[start:stop, None] + 1)  # rounded: checked below
            near &= np.abs(lasting[start:stop, None] - lasting[left:right]) <= seconds
            near &= np.arange(start, stop)[:, None] < np.arange(left, right)
            found = np.argwhere(near) + np.array([start, left])
            for i in range(0, len(found), _BLOCK):
                ones, others = found[i : i + _BLOCK].T
                exact = _distances(values[ones], values[others])
                good = exact <= distance
                yield order[ones[good]], order[others[good]], exact[good]


def _distances(ones: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the root mean square of the differences, row by row."""
    difference = ones.astype(np.float64) - others
    return np.asarray(np.sqrt(np.mean(np.square(difference), axis=1)))


def _products(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    return (one @ other.T).astype(np.float64)


def _root(parents: list[int], row: int) -> int:
    """Return what stands for a group, and shorten the way to it."""
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row
