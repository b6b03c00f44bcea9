"""Tables of recordings, however a spreadsheet wrote them, with the numbers of their lines."""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from musicssl.errors import ConfigError, nearest, shown
from musicssl.tables import read_text, table_reader
from musicssl_training.evaluation.errors import DataError

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
}


class Table(NamedTuple):
    """The rows of a table, each with the number of the line that it begins on."""

    names: list[str]  # of the columns, in lower case
    rows: list[tuple[int, dict[str, str]]]  # those that end early lack their last columns


def read_table(table: Path, needed: Sequence[str], advice: str) -> Table:
    """Return the rows of a table that has the columns needed.

    Raises
    ------
    DataError
        If it cannot be read, lacks a column or has one twice, or a row has too many values.
    """
    text = _text(table, advice)
    first = next((line for line in text.splitlines() if line.strip()), "")
    if len(first) > csv.field_size_limit():
        raise DataError(f"{table}: the first line has {len(first):,} characters. {advice}")
    reader, _ = table_reader(text)
    rows: list[tuple[int, dict[str, str]]] = []
    begins = 1
    try:
        names = [name.strip().casefold() for name in next(filter(None, reader), [])]
        _check_columns(names, needed, first, table, advice)
        begins = reader.line_num + 1
        for row in reader:
            if len(row) > len(names) and any(row[len(names) :]):
                raise DataError(
                    f"{table}, line {begins}: {len(row)} values for {len(names)} columns. "
                    'A path or label that holds the delimiter stands in quotes: "a, b.mp3".'
                )
            rows.append((begins, dict(zip(names, row, strict=False))))
            begins = reader.line_num + 1
    except csv.Error as error:
        hint = 'Cells with quotes stand in quotes, with two for each: "5"" single".'
        if reader.line_num > begins:
            hint = "Does a quote on this line not end?"
        raise DataError(f"{table}, line {begins}: {error}. {hint}") from error
    return Table(names, rows)


def check_part(part: str, place: str) -> str:
    """Return the side of a published split, in one spelling.

    Parameters
    ----------
    part
        As it is written; "" for none.
    place
        Where that is, for messages.

    Raises
    ------
    DataError
        If there is no such side.
    """
    if part and part.casefold() not in SPLIT_NAMES:
        raise DataError(f"{place}: part {shown(part)} is none of {', '.join(SPLIT_NAMES)}.")
    return SPLIT_NAMES.get(part.casefold(), "")


def _text(table: Path, advice: str) -> str:
    if not table.is_file():
        reason = "it is a folder" if table.is_dir() else "no such file"
        raise DataError(f"{table} cannot be read ({reason}). {advice}")
    try:
        return read_text(table)
    except ConfigError as error:
        raise DataError(f"{error} Save it as CSV in UTF-8.") from error


def _check_columns(
    names: list[str], needed: Sequence[str], first: str, table: Path, advice: str
) -> None:
    """Raise a `DataError` unless the columns needed are there, and none twice."""
    for lacking in (name for name in needed if name not in names):
        raise DataError(
            f"{table}: the first line is {shown(first)}; there is no column {lacking!r}."
            f"{nearest(lacking, names)} {advice}"
        )
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    if twice:
        raise DataError(f"{table}: there are two columns {twice[0]!r}.")
