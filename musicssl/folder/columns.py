"""Columns that stand beside embeddings in a table: of the manifest, and of the user's CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musicssl.folder.metadata import Match, Metadata
from musicssl.folder.parts import unicode_key, unicode_text
from musicssl.folder.records import Record, digest, read_at, read_places

# Names and kinds of columns, in their order; the user's own stand before the last one.
OWN = ("source", "path", "duration", "sample_rate", "start", "end", "time", "embedding")
_LARGEST = 2**53  # up to which a float holds every integer


class Columns:
    """What is known of each result; it holds two numbers a file, not the records.

    Parameters
    ----------
    paths
        The manifests; of records of one file the last counts.
    metadata
        The user's own columns.
    """

    def __init__(self, paths: Sequence[Path], metadata: Metadata | None) -> None:
        self.paths = paths
        self.has_parts = False
        self._places: dict[int, tuple[int, int]] = {}
        sources: dict[int, str] = {}
        for i, path in enumerate(paths):
            for start, record in read_places(path):
                if record["status"] == "ok":
                    key = digest(unicode_key(record["source"]))
                    self._places[key] = (i, start)
                    self.has_parts |= "start" in record
                    if metadata is not None:
                        sources[key] = record["source"]
        self.match = None if metadata is None else Match(metadata, sources.values())

    def of(self, key: str) -> Record:
        """Return what the manifest says of a result, by its name in the table."""
        record: Record | None = None
        if (place := self._places.get(digest(key))) is not None:
            record = read_at(self.paths[place[0]], place[1])
        record = record or {}
        path, rate = record.get("path"), _number(record.get("sample_rate"))
        found: Record = {
            "source": key,
            "path": unicode_text(path) if isinstance(path, str) else None,
        }
        found["sample_rate"] = None if rate is None else int(rate)
        return found | {name: _number(record.get(name)) for name in ("duration", "start", "end")}


def _number(value: Any) -> float | None:
    """Return a number of a manifest, which people edit, None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < _LARGEST else None
