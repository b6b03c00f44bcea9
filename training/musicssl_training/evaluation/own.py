"""Labels of one's own, of recordings that are in no published collection."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from musicssl.errors import ConfigError, pick
from musicssl_training.evaluation.datasets import COLLECTIONS, Clip, Collection, Column
from musicssl_training.evaluation.datasets.labeled import Item, read_labeled
from musicssl_training.evaluation.errors import DataError, LeakError
from musicssl_training.evaluation.leakage.copies import merge_duplicates
from musicssl_training.evaluation.protocol.labels import FEWEST, Multiclass, Multilabel, Regression
from musicssl_training.evaluation.protocol.metrics import MEAN
from musicssl_training.evaluation.tasks import CLASSES, TAGS, TASKS, Task

JOIN = "|"  # between the tags of a recording
MOST_RATINGS = 10  # different whole numbers that are taken for classes, such as 1 to 5
FEWEST_TAGGED = 5  # recordings of a tag that is measured
MOST_NAMED = 3
AUTO = "auto"
NAME = re.compile(r"[^\W_][\w .+-]{0,63}")


@dataclass(frozen=True)
class OwnTask:
    """Labels of one's own, ready to be predicted.

    Attributes
    ----------
    data
        The recordings; its name is the task's too.
    notes
        What was left out, and how the labels were read.
    """

    data: Collection
    task: Task
    notes: tuple[str, ...]


def read_own(name: str, place: Path, kind: str = AUTO) -> OwnTask:
    """Read a folder with a subfolder per class, or a table of paths, labels and groups.

    Parameters
    ----------
    name
        What to call it.
    place
        The folder or the table.
    kind
        "classes", "numbers" or "tags"; "auto" looks at the labels.

    Raises
    ------
    ConfigError
        If the name cannot be used, or there is no such kind.
    DataError
        If nothing can be measured on it.
    LeakError
        If a group, or copies of a recording, are on two sides of a split of one's own.
    """
    if name in COLLECTIONS or name in TASKS or name == MEAN or not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of labels of your own: it names something else, or is "
            "not of letters, digits, spaces and . + -."
        )
    pick(KINDS | {AUTO: _classes}, kind, "kind of labels")
    items, notes = read_labeled(place)
    items, endless = _finite(items) if kind in (AUTO, "numbers") else (items, [])
    items, spelled = _one_spelling(items)
    items, merged = merge_duplicates(items, name)
    _check_parts(place, items)
    notes += endless + spelled + merged
    if kind == AUTO:
        kind, why = guess_kind([item.label for item in items])
        notes.append(f"{why}; --labels {name}=KIND says otherwise.")
    if all(item.group == f"file {item.id}" for item in items):
        notes.append(
            "every recording is a group of its own: give the artist or album in a column 'group', "
            "or scores are too good where they are on both sides of a split."
        )
    if len(items) < FEWEST or len({item.group for item in items}) < 2:
        raise DataError(
            f"{place}: {len(items)} labeled recordings in {len({i.group for i in items})} groups; "
            f"at least {FEWEST} recordings and 2 groups are needed to train and to test."
        )
    columns, task, more = KINDS[kind](name, items)
    columns["group"] = np.array([item.group for item in items])
    if any(item.part for item in items):
        columns["part"] = np.array([item.part for item in items])
    clips = tuple(Clip(item.id, item.path) for item in items)
    return OwnTask(Collection(name, clips, columns), task, tuple(notes + more))


def guess_kind(labels: Sequence[str]) -> tuple[str, str]:
    """Return the kind of labels, and why."""
    if any(JOIN in label for label in labels):
        return "tags", f"read as tags, as some labels hold {JOIN!r}"
    different = {*labels}
    numbers = [_number(label) for label in different]
    if not all(number is not None for number in numbers):
        return "classes", f"read as {len(different)} classes"
    if len(different) <= MOST_RATINGS and all(float(label).is_integer() for label in different):
        return "classes", f"read as {len(different)} classes, which happen to be called by numbers"
    return "numbers", "read as numbers"


def _check_parts(place: Path, items: Sequence[Item]) -> None:
    """Raise a `LeakError` if a group is on two sides of a split of one's own."""
    known: dict[str, Item] = {}
    for item in items:
        first = known.setdefault(item.group, item)
        if item.part != first.part:
            raise LeakError(
                f"{place}: {first.id} has the part {first.part}, and {item.id} of the same group, "
                f"or a copy of it, {item.part}: the score would partly measure memorization. "
                "Give them one part."
            )


def _finite(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """Leave out labels such as nan and inf, if all others are numbers."""
    left_out = [item for item in items if _is_endless(item.label)]
    kept = [item for item in items if not _is_endless(item.label)]
    if not (left_out and kept) or any(_number(item.label) is None for item in kept):
        return list(items), []
    named = ", ".join(f"{item.id} ({item.label})" for item in left_out[:MOST_NAMED])
    more = f", and {len(left_out) - MOST_NAMED:,} more" if len(left_out) > MOST_NAMED else ""
    count = "1 file has" if len(left_out) == 1 else f"{len(left_out):,} files have"
    return kept, [f"left out: {count} no finite number for a label: {named}{more}."]


def _is_endless(label: str) -> bool:
    """Tell whether a label is read as a number, but as none that is finite."""
    try:
        return not np.isfinite(float(label))
    except ValueError:
        return False


def _by_case(names: Iterable[str]) -> list[str]:
    """Return a note on names that differ in case only, if there are any."""
    spellings: dict[str, list[str]] = {}
    for name in sorted(names):
        spellings.setdefault(name.casefold(), []).append(name)
    several = [" and ".join(map(repr, found)) for found in spellings.values() if len(found) > 1]
    if not several:
        return []
    more = f"; and {len(several) - MOST_NAMED:,} more" if len(several) > MOST_NAMED else ""
    return [f"told apart, but for case the same: {'; '.join(several[:MOST_NAMED])}{more}."]


def _one_spelling(items: Sequence[Item]) -> tuple[list[Item], list[str]]:
    """Give labels that are one number, such as 1 and 1.0, the shortest of their spellings."""
    spellings: dict[float, set[str]] = {}
    for label in {item.label for item in items}:
        if (value := _number(label)) is not None:
            spellings.setdefault(value, set()).add(label)
    to = {
        label: min(labels, key=lambda text: (len(text), text))
        for labels in spellings.values()
        for label in labels
    }
    changed = sorted(label for label, one in to.items() if label != one)
    notes = []
    if changed:
        pairs = ", ".join(f"{label} as {to[label]}" for label in changed[:MOST_NAMED])
        more = f" and {len(changed) - MOST_NAMED:,} more" if len(changed) > MOST_NAMED else ""
        notes.append(f"labels that are the same number are one: {pairs}{more}.")
    return [replace(item, label=to.get(item.label, item.label)) for item in items], notes


Columns = tuple[dict[str, Column], Task, list[str]]


def _classes(name: str, items: Sequence[Item]) -> Columns:
    """Return a column of classes."""
    counts = Counter(item.label for item in items)
    if len(counts) == 1:
        raise DataError(
            f"{name}: all {len(items)} recordings have the label {items[0].label!r}; there must be "
            "two classes at least, a folder each, to tell apart."
        )
    if len(counts) > len(items) / 2:
        raise DataError(
            f"{name}: {len(counts)} different labels in {len(items)} recordings are no classes, "
            f"such as {items[0].label!r}. Numbers with a decimal point are read as numbers, tags "
            f"are joined by {JOIN!r}."
        )
    groups = {label: {i.group for i in items if i.label == label} for label in counts}
    lonely = sorted(label for label, found in groups.items() if len(found) == 1)
    notes = _by_case(counts)
    if lonely:
        notes.append(
            f"{_listed(lonely)}: in one group only, so never trained on when it is tested; each "
            "recording of it counts as an error."
        )
    columns: dict[str, Column] = {"label": np.array([item.label for item in items])}
    return columns, Task(name, Multiclass, ("label",), ("group",), CLASSES), notes


def _numbers(name: str, items: Sequence[Item]) -> Columns:
    """Return a column of numbers."""
    values = [_number(item.label) for item in items]
    wrong = [item for item, value in zip(items, values, strict=True) if value is None]
    if wrong:
        raise DataError(
            f"{name}: {len(wrong)} labels are no finite numbers, such as {wrong[0].label!r} of "
            f"{wrong[0].id}. Decimals have a point."
        )
    if len({*values}) == 1:
        raise DataError(f"{name}: all recordings have the number {items[0].label}.")
    columns: dict[str, Column] = {"label": np.array(values, float)}
    return columns, Task(name, Regression, ("label",), ("group",), ("r2", "pearson_r")), []


def _tags(name: str, items: Sequence[Item]) -> Columns:
    """Return a column of 0 and 1 for each tag that enough recordings have, and some lack."""
    found = [{part.strip() for part in item.label.split(JOIN)} - {""} for item in items]
    counts = Counter(tag for tags in found for tag in tags)
    most = len(items) - FEWEST_TAGGED
    kept = sorted(tag for tag, count in counts.items() if FEWEST_TAGGED <= count <= most)
    rare = sorted(counts.keys() - kept)
    if not kept:
        raise DataError(
            f"{name}: no tag is on {FEWEST_TAGGED} recordings and missing on {FEWEST_TAGGED}; "
            f"there are {_listed(rare) or 'none'}."
        )
    notes = _by_case(counts)
    if rare:
        notes.append(
            f"left out: {_listed(rare)}: on fewer than {FEWEST_TAGGED} recordings, or nearly all."
        )
    columns: dict[str, Column] = {
        f"tag:{tag}": np.array([tag in tags for tags in found], float) for tag in kept
    }
    return columns, Task(name, Multilabel, ("tag:*",), ("group",), TAGS), notes


KINDS: dict[str, Callable[[str, Sequence[Item]], Columns]] = {
    "classes": _classes,
    "numbers": _numbers,
    "tags": _tags,
}


def _number(label: str) -> float | None:
    """Return a finite number, anything else as None."""
    try:
        value = float(label)
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def _listed(names: Sequence[str]) -> str:
    """Return the first few names."""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(repr, names[:MOST_NAMED])) + more
