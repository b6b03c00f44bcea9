"""Copies among recordings of one's own: files of the same content, and other encodings of it."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from musicssl_training.evaluation.datasets.labeled import Item
from musicssl_training.evaluation.leakage.encodings import find_copies

MOST_NAMED = 3
Groups = list[list[int]]


def merge_duplicates(items: Sequence[Item], name: str = "") -> tuple[list[Item], list[str]]:
    """Put copies of a recording into one group, so that none is trained and tested on both.

    Parameters
    ----------
    items
        The recordings.
    name
        Of their collection, for the progress that is shown.

    Returns
    -------
    tuple of list of Item and list of str
        The items, each with a group, and notes on what was merged.
    """
    identical = _same_content(items)
    left_out = {i for _, *others in identical for i in others}
    heard = [i for i in range(len(items)) if i not in left_out]  # one of each
    found = find_copies([items[i].path for i in heard], name)
    encoded = [[heard[i] for i in group] for group in found]
    groups = _Groups(map(_group, items))
    for first, *others in identical + encoded:
        for other in others:
            groups.join(_group(items[first]), _group(items[other]))
    notes = _told(items, identical, "the same file twice", "the same file")
    notes += _told(
        items, encoded, "the same recording in other encodings", "encodings of one recording"
    )
    return [replace(item, group=groups.of(_group(item))) for item in items], notes


class _Groups:
    """Names of groups, some of which are joined."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parents = {name: name for name in names}

    def of(self, name: str) -> str:
        while (above := self._parents[name]) != name:
            name = above
        return name

    def join(self, one: str, other: str) -> None:
        self._parents[self.of(other)] = self.of(one)


def _group(item: Item) -> str:
    """Return an item's group; an item of none is its own, and no other's."""
    return f"group {item.group}" if item.group else f"file {item.id}"


def _told(items: Sequence[Item], same: Groups, what: str, torn: str) -> list[str]:
    """Return notes on recordings that are the same, and on those of them whose labels differ."""
    notes = []
    if same:
        named = _some(same, lambda group: " = ".join(items[i].id for i in group[:MOST_NAMED]))
        notes.append(f"{what}, kept on one side of every split: {named}.")
    if differing := [group for group in same if len({items[i].label for i in group}) > 1]:
        named = _some(differing, lambda group: items[group[0]].id)
        notes.append(f"{torn} with different labels: {named}.")
    return notes


def _some(groups: Groups, name: Callable[[list[int]], str]) -> str:
    """Return the names of the first few groups."""
    more = f", and {len(groups) - MOST_NAMED:,} more" if len(groups) > MOST_NAMED else ""
    return ", ".join(map(name, groups[:MOST_NAMED])) + more


def _same_content(items: Sequence[Item]) -> Groups:
    """Return the indices of items whose files are the same, byte for byte, together."""
    by_size: dict[int, list[int]] = {}
    for index, item in enumerate(items):
        by_size.setdefault(item.path.stat().st_size, []).append(index)
    same: dict[tuple[int, str], list[int]] = {}
    for size, indices in by_size.items():
        for index in indices if len(indices) > 1 else []:
            with items[index].path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            same.setdefault((size, digest), []).append(index)
    return [indices for indices in same.values() if len(indices) > 1]
