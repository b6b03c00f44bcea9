"""What trains and what tests, by groups; no group on both sides."""

import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicssl_training.evaluation.errors import LeakError
from musicssl_training.evaluation.labels import Labels

FOLDS = 5
SMALLEST_VALIDATION = 10  # items; with fewer, nothing can be chosen on them
PARTS = ("all", "development", "test")
Index = NDArray[np.int64]


class Split(NamedTuple):
    """Indices of items."""

    train: Index  # without the items for validation
    valid: Index  # may be empty
    test: Index


def check_leaks(split: Split, groups: NDArray[Any]) -> None:
    """Make sure that nothing that trains or chooses is heard in the test, nor chosen on.

    Raises
    ------
    LeakError
        Naming the group or the item.
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
                "what is measured would partly be memory."
            )


def fold_groups(groups: NDArray[Any], count: int, *key: int) -> list[Index]:
    """Return `count` parts of about equal size, each of whole groups, drawn by `key`.

    Groups in random order go one by one to the part that is smallest so far.
    """
    names, index, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count = min(count, len(names))
    part, filled = np.empty(len(names), np.int64), np.zeros(count)
    for group in np.random.default_rng(key).permutation(len(names)):
        part[group] = int(np.argmin(filled))
        filled[part[group]] += sizes[group]
    return [np.flatnonzero(part[index] == k) for k in range(count)]


def cross_validation(groups: NDArray[Any], seed: int, folds: int = FOLDS) -> Iterator[Split]:
    """Yield splits that test every group once; a fifth of the training groups validates.

    Yields
    ------
    Split
        One a fold.

    Raises
    ------
    LeakError
        If a group is on two sides.
    """
    everything = np.arange(len(groups))
    for number, test in enumerate(fold_groups(groups, folds, seed, 11)):
        yield hold_out(np.setdiff1d(everything, test), test, groups, seed, number)


def hold_out(train: Index, test: Index, groups: NDArray[Any], seed: int, number: int = 0) -> Split:
    """Return a split with a fifth of the training side's groups for validation.

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


def published(part: NDArray[Any], groups: NDArray[Any]) -> Split:
    """Return the split that a column of "train", "valid" and "test" says.

    Raises
    ------
    LeakError
        If a group is on two sides.
    """
    split = Split(*(np.flatnonzero(part == side) for side in ("train", "valid", "test")))
    check_leaks(split, groups)
    return split


def take_part(
    part: str, groups: NDArray[Any], sides: NDArray[Any] | None
) -> tuple[Index, NDArray[Any] | None]:
    """Return which items a part of a collection has, and their published sides.

    What is chosen on the development part can be reported on the test part: they share no group.

    Parameters
    ----------
    part
        "development" or "test": half of the groups each, or where there is a published split all
        but its test (which its validation side stands in for, if it has one) and the whole of it;
        or "all".
    groups
        Of the items.
    sides
        "train", "valid" or "test" of each item; None where no split is published.
    """
    everything = np.arange(len(groups))
    if part == "all" or (part == "test" and sides is not None):
        return everything, sides
    if sides is None:
        half = fold_groups(groups, 2, 29)[PARTS.index(part) - 1 :]
        return (half[0] if half else everything[:0]), None
    here = np.flatnonzero(sides != "test")
    if not (sides == "valid").any():
        return here, None
    return here, np.where(sides[here] == "valid", "test", "train")


def fewer(train: Index, labels: Labels, regime: str, seed: int) -> Index | None:
    """Return the part of the training items whose labels a regime may use.

    Parameters
    ----------
    regime
        "100%", "10%", "1%", ...: of the items, of every class alike and at least one; or
        "5-shot", ...: so many of each class.

    Returns
    -------
    numpy.ndarray or None
        None where there are not enough: fewer than one item a class, or ten items of no classes.
    """
    rng = np.random.default_rng([seed, 17])
    shuffled = rng.permutation(train)
    number = int(regime.rstrip("%").removesuffix("-shot"))
    if regime == "100%":
        return np.sort(shuffled)
    if labels.kind != "classes":
        count = round(len(train) * number / 100) if regime.endswith("%") else number
        return np.sort(shuffled[:count]) if count >= 10 else None
    y = labels.y[shuffled]
    kept = []
    for name in np.unique(y):
        members = shuffled[y == name]
        share = len(members) * number / 100 if regime.endswith("%") else number
        kept.append(members[: max(1, round(share))])
    found = np.sort(np.concatenate(kept))
    if regime.endswith("%") and len(found) > 2 * max(1, len(train) * number / 100):
        return None
    return found


def split_hash(ids: list[str], splits: list[list[Split]]) -> str:
    """Return a hash of who is where in all splits of all seeds, 12 digits."""
    digest = hashlib.sha256("\n".join(ids).encode())
    for seed in splits:
        for split in seed:
            for side in split:
                digest.update(len(side).to_bytes(8, "little") + side.astype("<i8").tobytes())
    return digest.hexdigest()[:12]
