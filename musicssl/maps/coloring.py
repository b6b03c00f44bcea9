"""What the points of a map are colored by: folders, the manifest's columns, or the user's own."""

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musicssl.errors import ConfigError, nearest, shown
from musicssl.folder.metadata import Metadata
from musicssl.folder.metadata_match import Match
from musicssl.library import EmbeddingTable

GROUPS = 8  # colors that can be told apart
OTHER = "others"


def colorings(
    table: EmbeddingTable, columns: dict[str, list[Any]], first: str | None
) -> list[dict[str, Any]]:
    """Return what the page can color by, `first` in front.

    Raises
    ------
    ConfigError
        If there is no column `first`.
    """
    found = {"folder": folders(table.sources)}
    found |= {name: table.columns[name] for name in ("duration",) if name in table.columns}
    found |= columns
    if first is not None and first not in found:
        known = ", ".join(map(shown, found))
        raise ConfigError(
            f"there is no column {shown(first)}; choose from {known}.{nearest(first, found)}"
        )
    names = sorted(found, key=lambda name: name != first)
    return [coloring(name, found[name]) for name in names]


def folders(sources: Sequence[str]) -> list[str]:
    """Return the folder that tells most: the first one that is not the same for all."""
    parts = [source.split("/")[:-1] for source in sources]
    depth = 0
    while all(len(part) > depth for part in parts) and len({part[depth] for part in parts}) == 1:
        depth += 1
    return [part[depth] if len(part) > depth else "" for part in parts]


def coloring(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return a coloring: by a scale where most values are different numbers, else by groups."""
    numbers = [_number(value) for value in values]
    known = [number for number in numbers if number is not None]
    blank = sum(value in (None, "") for value in values)
    if known and len(known) == len(values) - blank and len(set(known)) > GROUPS:
        rounded = [None if x is None else _rounded(x) for x in numbers]
        low, high = _rounded(min(known)), _rounded(max(known))
        return {"name": name, "values": rounded, "low": low, "high": high}
    texts = ["" if value is None else str(value) for value in values]
    counts = Counter(texts)
    ranked = sorted(counts, key=lambda text: (-counts[text], text))
    several = len(ranked) > GROUPS
    labels = sorted(ranked[: GROUPS - 1]) if several else sorted(ranked)
    numbered = {text: i for i, text in enumerate(labels)}
    found: dict[str, Any] = {
        "name": name,
        "values": [numbered.get(text, len(labels)) for text in texts],
        "texts": texts,
        "labels": labels + [OTHER] * several,
    }
    sums = Counter(found["values"])
    return found | {
        "counts": [sums[i] for i in range(len(found["labels"]))],
        "other": len(labels) if several else None,
    }


def read_columns(file: Path, table: EmbeddingTable) -> dict[str, list[Any]]:
    """Return the columns of a CSV by the table's rows; files that it does not have are blank.

    Raises
    ------
    ConfigError
        If it cannot be read, has no column of files, or names none of the table's.
    """
    metadata = Metadata.read(file)
    match = Match(metadata, table.paths)
    files = zip(table.sources, table.paths, table.parts, strict=True)
    found = [match.find(*file) for file in files]
    if not any(name is not None for name in found):
        raise ConfigError(
            f"{file}: its column {shown(metadata.key)} names none of the embedded files, such as "
            f"{shown(table.sources[0])}."
        )
    return {
        column: [None if name is None else metadata.rows[name][column] for name in found]
        for column in metadata.names
    }


def _rounded(number: float) -> float:
    """Return a number to four digits; the largest ones would become infinite, and stay."""
    rounded = float(f"{number:.4g}")
    return rounded if math.isfinite(rounded) else number


def _number(value: Any) -> float | None:
    """Return a finite number, also one that is written as text."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None
