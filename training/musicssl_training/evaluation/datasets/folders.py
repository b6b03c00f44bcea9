"""Loaders for folders with an items.csv: a column `path`; the others are labels and groups."""

from pathlib import Path

import numpy as np

from musicssl_training.evaluation.datasets.collection import Clip, Collection, Column
from musicssl_training.evaluation.datasets.table import check_part, read_table
from musicssl_training.evaluation.errors import DataError

EMOTIONS = (
    *("amazement", "solemnity", "tenderness", "nostalgia", "calmness"),
    *("power", "joyful_activation", "tension", "sadness"),
)
ADVICE = (
    "Expected a folder with items.csv, whose column 'path' starts there; see docs/evaluation.md."
)


def read_items(root: Path, name: str, advice: str = ADVICE) -> Collection:
    """Load a folder with items.csv; a column `part` is a published split.

    Raises
    ------
    DataError
        If there is no such file, or it has no column `path` or no rows, or a line does not make
        sense.
    """
    table = root / "items.csv"
    try:
        names, listed = read_table(table, ("path",), advice)
        rows = [(line, row) for line, row in listed if any(map(str.strip, row.values()))]
        if not rows:
            raise DataError(f"{table} has no rows. {advice}")
        for line, row in rows:
            if not row["path"].strip():
                raise DataError(f"{table}, line {line}: there is no path.")
            if "part" in row:
                row["part"] = check_part(row["part"].strip(), f"{table}, line {line}")
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    clips = tuple(
        Clip(row["path"], root / row["path"], listed=f"{table.name}, line {line}")
        for line, row in rows
    )
    columns: dict[str, Column] = {
        key: np.array([row.get(key, "") for _, row in rows])  # spreadsheets drop the last cells
        for key in names
        if key and key != "path"
    }
    return Collection(name, clips, columns, advice=advice)


def read_emotify(root: Path) -> Collection:
    """Load Emotify: genres, and the share of listeners who felt each of nine emotions.

    Columns ``felt:EMOTION`` are 1 where that share is above the median clip's.

    Raises
    ------
    DataError
        As `read_items`, or if a share is no number.
    """
    found = read_items(
        root, "emotify", "Emotify: Aljanaki, Wiering, Veltkamp, 2016; www2.projects.science.uu.nl."
    )
    for emotion in EMOTIONS:
        shares = found.numbers(emotion)
        found.columns[f"felt:{emotion}"] = (shares > np.median(shares)).astype(float)
    return found


def read_drum_machines(root: Path) -> Collection:
    """Load one-shot samples of drum machines."""
    return read_items(root, "drum_machines")


def read_orchestra_notes(root: Path) -> Collection:
    """Load single notes of orchestral instruments."""
    return read_items(root, "orchestra_notes", "Philharmonia Orchestra sound samples.")
