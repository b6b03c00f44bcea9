"""Records: one line of JSON for each file that a run has looked at."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from musicssl.errors import OutputError

Record = dict[str, Any]
GONE = "gone"  # status of a source that is no longer there; such lines do not stay
READ = "read"  # status of a tar that was read to its end
_SHAPE: dict[str, type] = {"source": str, "status": str, "space": str, "size": int, "mtime_ns": int}


def json_line(values: Record) -> bytes:
    """Return one line of JSON; file names that are no Unicode come through `json.loads` again."""
    try:
        return (json.dumps(values, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(values) + "\n").encode()


def read_lines(path: Path) -> Iterator[Record]:
    """Yield a manifest's records, passing over what is none and what a kill left half written."""
    return (record for _, record in read_places(path))


def read_places(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield each record with the place in the file where it begins.

    Yields
    ------
    tuple
        The place, in bytes, and the record.

    Raises
    ------
    OutputError
        If the file cannot be read.
    """
    start = 0
    try:
        with path.open("rb") as file:
            for line in file:
                record = _record(line)
                if record is not None:
                    yield start, record
                start += len(line)
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror or error}).") from error


def _record(line: bytes) -> Record | None:
    """Return a line's record, None where it is something else."""
    try:
        record = json.loads(line)
        if not isinstance(record, dict):
            return None
        if not all(isinstance(record.get(name), kind) for name, kind in _SHAPE.items()):
            return None
        digest(record["source"])  # can it be the name of a file?
        return record
    except (ValueError, RecursionError):
        return None


def digest(text: str) -> int:
    """Return 64 bits for `text`: a million file names in memory would be a hundred times that."""
    data = text.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def no_manifest(path: Path) -> bool:
    """Tell whether a file holds something, but nothing of ours.

    Raises
    ------
    OutputError
        If it cannot be read.
    """
    try:
        if next(read_lines(path), None) is not None:
            return False
        with path.open("rb") as file:
            return any(line.strip() for line in file)
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({error.strerror or error}).") from error


def read_at(path: Path, start: int) -> Record | None:
    """Return the record that begins at a place that `read_places` has told."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(start)
        return _record(file.readline())
    return None
