"""Loaders for folders with an items.csv: a column `path`; the others are labels and groups."""

from pathlib import Path

import numpy as np

from musicssl.errors import ConfigError
from musicssl_training.data.index import read_rows
from musicssl_training.evaluation.datasets.collection import Clip, Collection, Column
from musicssl_training.evaluation.errors import DataError

EMOTIONS = (
    *("amazement", "solemnity", "tenderness", "nostalgia", "calmness"),
    *("power", "joyful_activation", "tension", "sadness"),
)
ADVICE = (
    "Expected a folder with items.csv, whose column 'path' starts there; see docs/evaluation.md."
)


def read_items(root: Path, name: str, advice: str = ADVICE) -> Collection:
    """Load a folder with items.csv.

    Raises
    ------
    DataError
        If there is no such file, or it has no column `path` or no rows.
    """
    try:
        rows = read_rows(root / "items.csv", ["path"])
    except ConfigError as error:
        raise DataError(f"{name}: {error} {advice}") from error
    clips = tuple(Clip(row["path"], root / row["path"]) for row in rows)
    columns: dict[str, Column] = {
        key: np.array([row[key] for row in rows]) for key in rows[0] if key and key != "path"
    }
    return Collection(name, clips, columns, advice=advice)


def read_emotify(root: Path) -> Collection:
    """Load Emotify: genres, and the share of listeners who felt each of nine emotions.

    Columns ``felt:EMOTION`` are 1 where that share is above the median clip's.
    """
    found = read_items(
        root, "emotify", "Emotify: Aljanaki, Wiering, Veltkamp, 2016; www2.projects.science.uu.nl."
    )
    for emotion in EMOTIONS:
        shares = found.column(emotion).astype(float)
        found.columns[f"felt:{emotion}"] = (shares > np.median(shares)).astype(float)
    return found


def read_drum_machines(root: Path) -> Collection:
    """Load one-shot samples of drum machines."""
    return read_items(root, "drum_machines")


def read_orchestra_notes(root: Path) -> Collection:
    """Load single notes of orchestral instruments."""
    return read_items(root, "orchestra_notes", "Philharmonia Orchestra sound samples.")
