"""Tables as text: in the encodings and with the separators that spreadsheets write."""

import codecs
import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from musicssl.errors import ConfigError

NUMBERED = re.compile(r"\s*[+-]?0\d|.*_")  # what numbers of catalogs have, such as 007
SEPARATORS = ",;\t"  # of those that are there equally often, the first


def read_text(file: Path, otherwise: str | None = None) -> str:
    """Return a text file's content: UTF-8, or UTF-16 with a mark.

    Parameters
    ----------
    file
        Which one.
    otherwise
        Encoding of what is neither; None refuses it.

    Raises
    ------
    ConfigError
        If it cannot be read, or is no such text.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror or error}).") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if otherwise is not None and encoding == "utf-8-sig":
            return data.decode(otherwise, "replace")
        raise ConfigError(f"{file} is no text in UTF-8 ({error.reason}).") from error


def number(cell: str, *, comma: bool) -> float:
    """Return a number, NaN for other text; what commas do not separate may have a decimal one."""
    try:
        return math.nan if "_" in cell else float(cell if comma else cell.replace(",", "."))
    except ValueError:
        return math.nan


def with_points(rows: Iterable[Mapping[str, str | None]]) -> list[dict[str, str | None]]:
    """Return rows with a decimal point for a comma in columns that then hold nothing but numbers.

    Parameters
    ----------
    rows
        Of a table whose cells something other than commas separates.
    """
    rows = list(rows)
    text = {
        name
        for row in rows
        for name, cell in row.items()
        if cell and (NUMBERED.match(cell) or not math.isfinite(number(cell, comma=False)))
    }
    return [
        {
            name: cell.replace(",", ".") if cell and name not in text else cell
            for name, cell in row.items()
        }
        for row in rows
    ]


def beyond(row: Sequence[str], n_columns: int) -> str | None:
    """Say that a row has more cells than columns; None if it has not, or they are empty."""
    if not any(cell.strip() for cell in row[n_columns:]):
        return None
    return f"the row has {len(row)} cells, and there are {n_columns} columns; is a quote missing?"


def table_reader(text: str) -> tuple[Any, str]:
    """Return a reader of a table's rows, and what separates their cells.

    That is the comma, unless there are more semicolons or tabs in the first line, or this line is
    Excel's ``sep=;``, which then is an empty row.
    """
    lines = io.StringIO(text, newline="")
    first = next((line for line in lines if line.strip()), "").strip("\r\n")
    if first[:-1].casefold() == "sep=" and first[-1] in SEPARATORS:
        text, delimiter = text.replace(first, "", 1), first[-1]
    else:
        delimiter = max(SEPARATORS, key=first.count)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True), delimiter
