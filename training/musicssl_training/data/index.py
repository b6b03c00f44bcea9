"""CSV indexes: one row per recording or score."""

import csv
import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from musicssl.errors import ConfigError


def read_rows(index: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows of an index, however a spreadsheet wrote it.

    Raises
    ------
    ConfigError
        If it cannot be read, has no rows, or lacks one of `columns`.
    """
    try:
        with index.open(encoding="utf-8-sig", newline="") as lines:
            rows: list[dict[str, Any]] = list(csv.DictReader(lines, restval=""))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{index} cannot be read: {error}.") from error
    for column in columns:
        if not rows or column not in rows[0]:
            raise ConfigError(f"{index} has no column {column!r} or no rows.")
    return rows


def leave_out(rows: Iterable[dict[str, Any]], patterns: Sequence[str]) -> list[dict[str, Any]]:
    """Return the rows that match none of the patterns, each like ``licence=*GPL*`` (case counts).

    Raises
    ------
    ConfigError
        If a pattern is not of that form, or a row has no such column.
    """
    kept = list(rows)
    for text in patterns:
        column, equals, pattern = text.partition("=")
        if not equals:
            raise ConfigError(f"--leave-out {text!r} is not COLUMN=PATTERN.")
        if any(column not in row for row in kept):
            raise ConfigError(f"--leave-out {text!r}: the index has no column {column!r}.")
        kept = [row for row in kept if not fnmatch.fnmatchcase(row[column], pattern)]
    return kept
