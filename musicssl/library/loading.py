"""`load_embeddings`: a folder that `musicssl-embed` wrote, as a matrix and a table."""

import logging
import math
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl import arguments
from musicssl.errors import ConfigError, OutputError, pick, shown
from musicssl.folder.cells import Kinds, typed
from musicssl.folder.columns import TOLD, listed_cells
from musicssl.folder.dataset import FORMAT as DATASET
from musicssl.folder.dataset import read_dataset
from musicssl.folder.formats import FORMATS
from musicssl.folder.keys import order
from musicssl.folder.manifest import Manifest, check_space, read_space
from musicssl.folder.metadata import Metadata
from musicssl.folder.output import Output, Row
from musicssl.folder.paths import looked_at
from musicssl.folder.per_file import Jsonl, Npz, read_npz
from musicssl.folder.places import Disk, Place, place_of
from musicssl.folder.records import Record
from musicssl.library.table import EmbeddingTable, joined, same_space, with_metadata
from musicssl.source_names import is_url

log = logging.getLogger(__name__)

PARTS = ("start", "end")  # columns too, in seconds, where results are of parts of files
_NAMED = 3  # files in a message


@arguments.strict
def load_embeddings(
    folder: str | Path | Sequence[str | Path],
    *,
    metadata: str | Path | None = None,
    on_error: str = "raise",
) -> EmbeddingTable:
    """Load the clip embeddings of a folder that `musicssl-embed` or `embed_folder` wrote.

    Parameters
    ----------
    folder
        In any of the formats, or the URL of a data set; or several, whose space must be the same.
    metadata
        A CSV of your own with a column "path" (or "source", "file", "name") and any others, which
        become `columns` of the table: None where a file has no row. Rows and files without each
        other are counted in a logged warning.
    on_error
        "raise", or "skip" results that are missing or damaged, which is logged.

    Returns
    -------
    EmbeddingTable
        Sorted by name. `values` is the matrix; `to_pandas` returns the table.

    Raises
    ------
    ConfigError
        If `folder` is no path and no list of paths, `on_error` is something else, or the CSV does
        not fit.
    DependencyError
        If the format needs a package that is missing.
    OutputError
        If the folder was not written by musicssl, holds frames, nothing, or more than one space,
        or cannot be read.

    Examples
    --------
    >>> import musicssl
    >>> table = musicssl.load_embeddings("embeddings")  # doctest: +SKIP
    >>> table.values.shape, table.sources[0]  # doctest: +SKIP
    ((12, 512), 'brass-ode-to-joy.ogg')
    """
    pick({"raise": 0, "skip": 0}, on_error, "on_error")
    taken = {"source", "path", *TOLD, *PARTS}
    users = None
    if metadata is not None:
        users = Metadata.read(arguments.path(metadata, "metadata"), taken=taken)
    table = _load_all(folder, on_error)
    return table if users is None else with_metadata(table, users)


def _load_all(folder: Any, on_error: str) -> EmbeddingTable:
    if isinstance(folder, str) and is_url(folder):
        return _load_remote(folder)
    if isinstance(folder, (str, os.PathLike)):
        return _load(arguments.path(folder, "folder"), on_error)
    if isinstance(folder, (bytes, dict)) or not isinstance(folder, Iterable):
        raise ConfigError(f"folder must be a path or several, got {shown(folder, kind=True)}.")
    folders = [
        one if isinstance(one, str) and is_url(one) else arguments.path(one, f"folder[{i}]")
        for i, one in enumerate(folder)
    ]
    if not folders:
        raise ConfigError("the list of folders is empty; expected at least one.")
    return joined([_load_all(one, on_error) for one in folders])


def _load(folder: Path, on_error: str) -> EmbeddingTable:
    settings = _settings(folder)
    if settings["format"] == DATASET:
        return _load_dataset(Disk(folder), settings)
    space, kind = settings["space"], pick(FORMATS, settings["format"], "format")
    records = {record["source"]: record for record in Manifest(folder).last() if _is_ok(record)}
    if not records:
        raise OutputError(f"{folder} holds no embeddings yet: its manifest lists none.")
    for record in records.values():
        same_space(space, record["space"], str(folder), shown(record["source"]))
    output = kind(folder, space, level="clip")
    rows: dict[str, NDArray[np.float32]] = {}
    wrong = []
    for key, values in _rows(output, records):
        if values is None or values.ndim != 1:
            wrong.append(key)
        else:
            rows[key] = values
    if wrong:
        _complain(folder, sorted(wrong, key=order), on_error)
    if not rows:
        raise OutputError(f"{folder}: not one of its results can be read.")
    return _table(str(folder), records, rows, settings)


def _table(
    name: str,
    records: dict[str, Record],
    rows: dict[str, NDArray[np.float32]],
    settings: dict[str, Any],
) -> EmbeddingTable:
    _same_size(name, rows)
    keys = sorted(rows, key=order)
    found = [records[key] for key in keys]
    names = [*TOLD, *(PARTS if any("start" in record for record in found) else ())]
    columns = {name: [_told(record, name) for record in found] for name in names}
    kinds = Kinds(map(listed_cells, found)).of()
    users = [typed(listed_cells(record), kinds) for record in found]
    columns |= {name: [row.get(name) for row in users] for name in kinds}
    revision = found[0].get("model")
    settings["revision"] = revision.get("revision") if isinstance(revision, dict) else None
    paths = [str(record.get("path", record["source"])) for record in found]
    return EmbeddingTable(
        np.stack([rows[key] for key in keys]), keys, paths, columns, settings["space"], settings
    )


def _load_dataset(place: Place, settings: dict[str, Any]) -> EmbeddingTable:
    """Load a data set, of each file the last result."""
    records: dict[str, Record] = {}
    rows: dict[str, NDArray[np.float32]] = {}
    for record, row in read_dataset(place):
        same_space(settings["space"], record["space"], place.name, shown(row.key))
        records[row.key], rows[row.key] = record, row.values
    if not rows:
        raise OutputError(f"{place.name} holds no embeddings yet: its parts list none.")
    return _table(place.name, records, rows, settings)


def _load_remote(url: str) -> EmbeddingTable:
    """Load a data set behind a URL."""
    place = place_of(url)
    data = place.read("space.json")
    if data is None:
        raise OutputError(
            f"{place.name} has no space.json, so musicssl-embed did not write it, or there is "
            f"nothing. To embed music there: musicssl-embed MUSIC -o {place.name}"
        )
    settings = check_space(data, f"{place.name}/space.json")
    if settings["format"] != DATASET:
        raise OutputError(
            f"{place.name} has the format {settings['format']}, which is read from disks; fetch it "
            "first."
        )
    _refuse_many(place.name, settings)
    return _load_dataset(place, settings)


def _settings(folder: Path) -> dict[str, Any]:
    """Return what a folder says of its embeddings; refuse what is none, or of frames."""
    state = looked_at(folder)
    if state is None or not stat.S_ISDIR(state.st_mode):
        what = "does not exist" if state is None else "is a file"
        raise OutputError(f"{folder} {what}; expected a folder that musicssl-embed wrote.")
    settings = read_space(folder)
    if settings is None:
        raise OutputError(
            f"{folder} has no space.json, so musicssl-embed did not write it. To embed "
            f"music there: musicssl-embed MUSIC -o {folder}"
        )
    _refuse_many(str(folder), settings)
    return settings


def _refuse_many(folder: str, settings: dict[str, Any]) -> None:
    """Refuse what has many vectors per file."""
    if settings["level"] != "clip":
        what, option = (
            ("frames", "level frame") if settings["level"] == "frame" else (("windows", "window"))
        )
        raise OutputError(
            f"{folder} holds {what}, many vectors per file; expected one per file. "
            f"Embed into another folder, without --{option}."
        )


def _told(record: Record, name: str) -> Any:
    """Return what a record says, None where that is in no form that it can have."""
    value, kind = record.get(name), TOLD.get(name, (int, float))
    good = isinstance(value, kind) and (type(value) is not bool or kind is bool)
    return value if good and (not isinstance(value, float) or math.isfinite(value)) else None


def _is_ok(record: Record) -> bool:
    return bool(record["status"] == "ok")


def _rows(output: Output, keys: Iterable[str]) -> Iterator[tuple[str, NDArray[np.float32] | None]]:
    """Yield each result, None where it is missing or damaged; files that say so, of one space."""
    if isinstance(output, Npz):
        for key in keys:
            yield key, _npz(output, key)
        return
    for key, row in output.rows(keys):
        if row is not None and isinstance(output, Jsonl):
            path = output.target(key)
            if not output.carries(key, path):
                raise OutputError(f"{path} is of another space than {output.space}.")
        yield key, None if row is None else _float32(row)


def _npz(output: Npz, key: str) -> NDArray[np.float32] | None:
    try:
        path = output.target(key)
        row, space = read_npz(path)
    except Exception as error:  # whatever damage does to zipfile and numpy
        log.debug("%s cannot be read", key, exc_info=error)
        return None
    same_space(output.space, space, str(output.out), str(path))
    return _float32(row)


def _float32(row: Row) -> NDArray[np.float32] | None:
    """Return a copy of the values, which keeps nothing else in memory; None for no numbers."""
    try:
        return np.array(row.values, np.float32)
    except (TypeError, ValueError):
        return None


def _complain(folder: Path, wrong: list[str], on_error: str) -> None:
    """Say which results are not there, as an error or as a warning."""
    names = ", ".join(shown(name) for name in wrong[:_NAMED])
    more = f" and {len(wrong) - _NAMED:,} more" if len(wrong) > _NAMED else ""
    text = f"{folder}: results are missing or damaged: {names}{more}."
    if on_error == "raise":
        raise OutputError(f"{text} Run musicssl-embed again to mend them, or pass on_error='skip'.")
    log.warning("%s", text)


def _same_size(folder: str, rows: dict[str, NDArray[np.float32]]) -> None:
    sizes = {values.shape for values in rows.values()}
    if len(sizes) > 1:
        sizes_text = ", ".join(str(size[0]) for size in sorted(sizes))
        raise OutputError(f"{folder} holds vectors of different sizes: {sizes_text} values.")
