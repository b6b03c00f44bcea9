"""Columns that stand beside embeddings in a table: of the manifest, and of the user's CSV."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from musicssl.folder.cells import Kinds, typed
from musicssl.folder.digests import DigestMap
from musicssl.folder.keys import unicode_key, unicode_text
from musicssl.folder.metadata import Metadata
from musicssl.folder.metadata_match import Match, Part
from musicssl.folder.records import Record, digest, read_at, read_places

# Names and kinds of columns, in their order; the user's own stand before the last one.
OWN = ("source", "path", "duration", "sample_rate", "start", "end", "time", "embedding")
# What else `load_embeddings` takes from manifests, and in which form.
TOLD: dict[str, type | tuple[type, ...]] = {
    "duration": (int, float),
    "sample_rate": (int, float),
    "channels": int,
    "truncated": bool,
    "damaged": int,
    "peak": (int, float),
    "content": str,
    "size": int,
}
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
        self._places = DigestMap(2)
        names: dict[int, str] = {}
        listed = Kinds()
        for i, path in enumerate(paths):
            for start, record in read_places(path):
                if record["status"] == "ok":
                    key = digest(unicode_key(record["source"]))
                    self._places.set(key, i, start)
                    self.has_parts |= "start" in record
                    listed.add(listed_cells(record))
                    if metadata is not None:
                        names[key] = _path_of(record)
        self.match = None if metadata is None else Match(metadata, names.values())
        own = {} if self.match is None else self.match.kinds
        self.kinds = {name: kind for name, kind in listed.of().items() if name not in own}

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
        found["listed"] = typed(listed_cells(record), self.kinds)
        return found | {name: _number(record.get(name)) for name in ("duration", "start", "end")}

    def users(self, key: str, about: Record, before: Mapping[str, Any]) -> dict[str, Any]:
        """Return the user's own columns of a result.

        Parameters
        ----------
        key
            Its name in the table.
        about
            What `of` returned.
        before
            What an earlier table has.
        """
        if self.match is not None:
            part: Part | None = None
            if about["start"] is not None:
                part = about["start"], about["end"]
            users = self.match.row(key, about["path"] or key, part)
        else:
            users = {name: cell for name, cell in before.items() if name not in self.kinds}
        listed: dict[str, Any] = about["listed"]
        return listed | users


def listed_cells(record: Record) -> dict[str, str]:
    """Return the columns that a list of segments gave a result."""
    columns = record.get("columns")
    if not isinstance(columns, dict):
        return {}
    return {
        name: cell
        for name, cell in columns.items()
        if isinstance(cell, str) and name not in {*OWN, *TOLD}
    }


def _path_of(record: Record) -> str:
    path = record.get("path")
    return path if isinstance(path, str) else str(record["source"])


def _number(value: Any) -> float | None:
    """Return a number of a manifest, which people edit, None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < _LARGEST else None
