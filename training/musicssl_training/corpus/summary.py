"""What became of a recipe, and the tables that say so."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from musicssl.atomic import atomic_write_text
from musicssl_training.corpus.extraction import MUSIC
from musicssl_training.corpus.listing import Row
from musicssl_training.data.packed import Packed

INDEX, LEFT_OUT = "index.csv", "left-out.csv"
COLUMNS = ("path", "source", "licence", "evidence", "artist", "title", "duration_s", "sha256")
TABLES = {INDEX: COLUMNS, LEFT_OUT: ("source", "path", "reason")}  # with their columns


@dataclass
class Summary:
    """What became of a recipe.

    Attributes
    ----------
    rows
        The recordings of the corpus.
    left_out
        ``(source, path, reason)`` of those left out on purpose.
    missing
        The same of sources (with an empty path) and recordings that could not be had.
    packed
        What became of the pack; None: none was made.
    """

    rows: list[Row] = field(default_factory=list)
    left_out: list[tuple[str, str, str]] = field(default_factory=list)
    missing: list[tuple[str, str, str]] = field(default_factory=list)
    packed: Packed | None = None

    @property
    def complete(self) -> bool:
        """Whether all that the recipe lists is there, but for what was left out on purpose."""
        return not self.missing and (self.packed is None or not self.packed.left_out)

    def named(self, source: str) -> set[str]:
        """Return the paths of a source that are left out or missing already."""
        return {path for name, path, _ in self.left_out + self.missing if name == source}

    def hours(self, column: str) -> dict[str, float]:
        """Return the hours by source or licence, the most first."""
        seconds: Counter[str] = Counter()
        for row in self.rows:
            seconds[row[column]] += row["seconds"]
        return {name: total / 3600 for name, total in seconds.most_common()}


def write_tables(out: Path, summary: Summary) -> None:
    """Write the index and what was left out: whole or not at all.

    Bytes of a name that are not UTF-8 are written as escapes.
    """
    rows = [[row.get(column, "") for column in COLUMNS] for row in summary.rows]
    _write_csv(out / INDEX, [[f"{MUSIC}/{row[0]}", *row[1:]] for row in rows])
    _write_csv(out / LEFT_OUT, summary.missing + summary.left_out)


def _write_csv(file: Path, rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([TABLES[file.name], *rows])
    atomic_write_text(file, text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8"))
