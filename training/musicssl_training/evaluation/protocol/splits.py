"""Group-aware train/validation/test splits.

scikit-learn's `StratifiedGroupKFold` shuffles only groups with equal class counts: with other seeds
it returns nearly the same folds (of nine instruments exactly the same), which would hide how much a
score depends on them. `GroupKFold` and `GroupShuffleSplit` balance the number of groups, not of
items. Hence this small greedy draw.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicssl_training.evaluation.errors import LeakError

FOLDS = 5
SMALLEST_VALIDATION = 10  # items; with fewer, no hyper-parameter is chosen
PARTS = ("all", "development", "test")
Index = NDArray[np.int64]


class Split(NamedTuple):
    """Indices of training, validation and test items."""

    train: Index  # without validation items
    valid: Index  # may be empty
    test: Index


def check_leaks(split: Split, groups: NDArray[Any]) -> None:
    """Make sure that no item and no group is on two sides of a split.

    Raises
    ------
    LeakError
        Otherwise; the message names the item or the group.
    """
    sides = {"training": split.train, "validation": split.valid, "test": split.test}
    for a, b in (("training", "test"), ("validation", "test"), ("training", "validation")):
        twice = np.intersect1d(sides[a], sides[b])
        if len(twice):
            raise LeakError(f"item {twice[0]} is in both {a} and {b}.")
        shared = np.intersect1d(groups[sides[a]], groups[sides[b]])
        if len(shared):
            raise LeakError(
                f"group {str(shared[0])!r} is in both {a} and {b}"
                f"{f', and {len(shared) - 1} more' if len(shared) > 1 else ''}: "
                "the score would partly measure memorization."
            )


def fold_groups(groups: NDArray[Any], count: int, *key: int) -> list[Index]:
    """Return `count` folds of about equal size, each of whole groups, seeded by `key`.

    Groups are assigned in random order, each to the fold that is smallest so far.
    """
    names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count = min(count, len(names))
    fold, filled = np.empty(len(names), np.int64), np.zeros(count)
    for group in np.random.default_rng(key).permutation(len(names)):
        fold[group] = int(np.argmin(filled))
        filled[fold[group]] += sizes[group]
    return [np.flatnonzero(fold[index] == k) for k in range(count)]


def cross_validation(groups: NDArray[Any], seed: int, folds: int = FOLDS) -> Iterator[Split]:
    """Yield group-aware folds; a fifth of the training groups is held out for validation.

    Yields
    ------
    Split
        One per fold.

    Raises
    ------
    LeakError
        If a group is on two sides.
    """
    everything = np.arange(len(groups))
    for number, test in enumerate(fold_groups(groups, folds, seed, 11)):
        yield hold_out(np.setdiff1d(everything, test), test, groups, seed, number)


def hold_out(train: Index, test: Index, groups: NDArray[Any], seed: int, number: int = 0) -> Split:
    """Return a split with a fifth of the training groups held out for validation.

    Raises
    ------
    LeakError
        If a group is on two sides.
    """
    parts = fold_groups(groups[train], FOLDS, seed, number, 13)
    held = parts[0] if len(parts) > 1 else np.empty(0, np.int64)
    if len(held) < SMALLEST_VALIDATION:
        held = held[:0]
    split = Split(np.delete(train, held), train[held], test)
    check_leaks(split, groups)
    return split


def published_split(part: NDArray[Any], groups: NDArray[Any]) -> Split:
    """Return the split given by a column of "train", "valid" and "test".

    Raises
    ------
    LeakError
        If a group is on two sides.
    """
    split = Split(*(np.flatnonzero(part == side) for side in ("train", "valid", "test")))
    check_leaks(split, groups)
    return split


def make_splits(
    groups: NDArray[Any], sides: NDArray[Any] | None, seeds: Sequence[int]
) -> list[list[Split]]:
    """Return, for every seed, the published split, or a group-aware cross-validation without one.

    Raises
    ------
    LeakError
        If a group is on two sides.
    """
    if sides is None:
        return [list(cross_validation(groups, seed)) for seed in seeds]
    split = published_split(sides, groups)
    if len(split.valid):
        return [[split]] * len(seeds)
    return [[hold_out(split.train, split.test, groups, seed)] for seed in seeds]


def split_hash(ids: list[str], splits: list[list[Split]]) -> str:
    """Return a hash of all splits of all seeds, 12 digits."""
    digest = hashlib.sha256("\n".join(ids).encode())
    for seed in splits:
        for split in seed:
            for side in split:
                digest.update(len(side).to_bytes(8, "little") + side.astype("<i8").tobytes())
    return digest.hexdigest()[:12]
