"""Labeled recordings of one's own: a folder per class, or a table of paths and labels."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from musicssl.audio.formats import AUDIO_EXTENSIONS
from musicssl_training.evaluation.datasets.collection import MOST_NAMED, fault_of, first_few
from musicssl_training.evaluation.datasets.table import SPLIT_NAMES, check_part, read_table
from musicssl_training.evaluation.errors import DataError

TABLE = "labels.csv"  # that a folder may hold; without it, each of its subfolders is a class
NEEDED, OPTIONAL = ("path", "label"), ("group", "part")  # columns
ADVICE = (
    f"Give a folder with a subfolder per class, or with a {TABLE} whose first line is "
    "path,label or path,label,group; see docs/evaluation.md."
)


@dataclass(frozen=True)
class Item:
    """One labeled recording.

    Attributes
    ----------
    id
        Its path as it was given, with forward slashes, relative to the folder or table.
    label
        As it was written; tags are joined by "|".
    group
        Of what must not be trained and tested on both; "" if that is not known.
    part
        "train", "valid" or "test" of a split of one's own; "" if there is none.
    """

    id: str
    path: Path
    label: str
    group: str = ""
    part: str = ""


def read_labeled(place: Path) -> tuple[list[Item], list[str]]:
    """Return the labeled recordings of a folder or a table, and notes on what is left out.

    Raises
    ------
    DataError
        If there are none, or what is there contradicts itself.
    """
    place = Path(os.path.expanduser(place))  # noqa: PTH111 - of no such user, it stays
    if place.is_dir():
        table = place / TABLE
        items, notes = _read_table(table) if table.is_file() else _read_folders(place)
    elif place.is_file():
        items, notes = _read_table(place)
    else:
        raise DataError(f"{place}: there is no such folder or table. {ADVICE}")
    unlabeled = [item for item in items if not item.label]
    if unlabeled:
        notes.append(f"{_count(unlabeled, 'has', 'have')} no label: {_some(unlabeled)}")
    items, broken = _readable([item for item in items if item.label])
    if broken:
        told = first_few([f"{item.id} ({reason})" for item, reason in broken])
        text = f"{_count(broken)} cannot be read: {told}"
        if len(broken) > len(items):
            raise DataError(f"{place}: {text}. Are the paths right? {ADVICE}")
        notes.append(text)
    if not items:
        raise DataError(f"{place}: no recording has a label. {ADVICE}")
    return items, [f"left out: {note}." for note in notes]


def _read_folders(root: Path) -> tuple[list[Item], list[str]]:
    """Return the files in the subfolders of a folder, labeled by the subfolder they are in.

    Files that lie deeper are grouped by the folder next to the class: an artist, an album.

    Raises
    ------
    DataError
        If there are no such files, or the subfolders are a split's.
    """
    items, loose = [], 0
    for file in sorted(_files(root)):
        first, *between = file.relative_to(root).parent.parts or ("",)
        if not first:
            loose += 1
            continue
        group = normalize("NFC", between[0]) if between else ""
        name = file.relative_to(root).as_posix()
        items.append(Item(name, file, normalize("NFC", first), group))
    classes = {item.label for item in items}
    if not classes:
        tables = sorted(path.name for path in root.glob("*.csv"))
        hint = f" It holds {tables[0]}: call it {TABLE}, or give its own path." if tables else ""
        raise DataError(f"{root}: no subfolder holds a sound file.{hint} {ADVICE}")
    if {name.casefold() for name in classes} <= SPLIT_NAMES.keys() | {"val", "dev", "eval"}:
        raise DataError(
            f"{root}: its subfolders are {', '.join(sorted(classes))}: a split, not classes. Give "
            f"one of them, or a {TABLE} with the columns path, label and part."
        )
    return items, [f"{loose:,} files that are in no class's folder"] if loose else []


def _files(root: Path) -> Iterable[Path]:
    """Yield the sound files of a folder; hidden ones are none."""
    # links to folders are followed, except back to one that they are in
    above = {os.fspath(root): frozenset([os.path.realpath(root)])}
    for folder, folders, names in os.walk(root, followlinks=True):
        around = above.pop(folder)
        real = {
            name: os.path.realpath(os.path.join(folder, name))  # noqa: PTH118, as os.walk does
            for name in sorted(folders)
            if not name.startswith(".")
        }
        folders[:] = [name for name, place in real.items() if place not in around]
        above |= {os.path.join(folder, name): around | {real[name]} for name in folders}  # noqa: PTH118
        for name in names:
            if Path(name).suffix.lower() in AUDIO_EXTENSIONS and not name.startswith("."):
                yield Path(folder) / name


def _read_table(table: Path) -> tuple[list[Item], list[str]]:
    """Return the rows of a table, however a spreadsheet wrote it."""
    _, rows = read_table(table, NEEDED, ADVICE)
    lines: dict[str, int] = {}
    items = []
    for number, row in rows:
        path, *others = ((row.get(name) or "").strip() for name in NEEDED + OPTIONAL)
        label, group, part = (normalize("NFC", text) for text in others)
        if not any((path, label, group, part)):
            continue
        if not path:
            raise DataError(f"{table}, line {number}: there is no path.")
        side = check_part(part, f"{table}, line {number}")
        name = _spelled(table.parent, path)
        same = normalize("NFC", os.path.normpath(table.parent / name))
        if same in lines:
            raise DataError(
                f"{table}: {name!r} is on line {lines[same]} and on line {number}. Tags of one "
                "file are joined by '|', as in rock|live."
            )
        lines[same] = number
        items.append(Item(name, table.parent / name, label, group, side))
    if not items:
        raise DataError(f"{table}: there are no rows below the first line. {ADVICE}")
    if any(item.part for item in items):
        without = [item for item in items if not item.part]
        notes = [f"{_count(without, 'has', 'have')} no part: {_some(without)}"] if without else []
        return [item for item in items if item.part], notes
    return items, []


def _spelled(folder: Path, path: str) -> str:
    """Return a path as the disk spells it.

    Tables come from other machines: with "~", with backslashes, or with letters and accents put
    together otherwise than in the names of files (macOS has é as two characters).
    """
    if path.startswith("~"):
        path = os.path.expanduser(path)  # noqa: PTH111 - of a user that there is not, it stays
    slashes = path.replace("\\", "/")
    for name in (path, slashes, *(normalize(form, slashes) for form in ("NFC", "NFD"))):
        # os.path: a name too long for the file system is no error
        if os.path.exists(folder / name):  # noqa: PTH110
            return name
    return slashes


def _readable(items: list[Item]) -> tuple[list[Item], list[tuple[Item, str]]]:
    """Return the items whose files open as sound, and the others with the reasons."""
    good, broken = [], []
    for item in items:
        if reason := fault_of(item.path):
            broken.append((item, reason))
        else:
            good.append(item)
    return good, broken


def _count(items: list[Item] | list[tuple[Item, str]], one: str = "", several: str = "") -> str:
    """Return a number of files, with a verb if it is given."""
    text = "1 file" if len(items) == 1 else f"{len(items):,} files"
    verb = one if len(items) == 1 else several
    return f"{text} {verb}".strip()


def _some(items: list[Item]) -> str:
    """Return the names of the first few items."""
    more = f", and {len(items) - MOST_NAMED:,} more" if len(items) > MOST_NAMED else ""
    return ", ".join(item.id for item in items[:MOST_NAMED]) + more
