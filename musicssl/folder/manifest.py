"""The space and the manifest of a folder of embeddings, and its lock."""

import contextlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from musicssl.atomic import atomic_write
from musicssl.errors import OutputError, shown
from musicssl.folder.digests import DigestMap
from musicssl.folder.paths import (
    SHARD,
    STATE,
    TakenError,
    make_folder,
    not_a_link,
    proper,
    put_aside,
    reason,
    remove,
    writing,
)
from musicssl.folder.records import (
    GONE,
    Record,
    digest,
    json_line,
    no_manifest,
    read_lines,
    read_places,
)
from musicssl.space import Space

try:
    import fcntl
except ImportError:  # Windows: two runs into one folder are not noticed there
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)


_OLDER: dict[str, Any] = {
    "mono": "mean",
    "window": None,
    "hop": None,
}  # what a space.json of an earlier version does not say
_TEXTS = ("space", "format", "model", "weights_sha256", "level", "pooling", "resampler", "mono")


def read_space(out: Path) -> dict[str, Any] | None:
    """Return what a folder's space.json says, None if there is none.

    Raises
    ------
    OutputError
        If it cannot be read, or says something else.
    """
    path = not_a_link(out / "space.json")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OutputError(f"{path} cannot be read ({reason(error)}).") from error
    return check_space(data, str(path))


def check_space(data: bytes, name: str) -> dict[str, Any]:
    """Return what the content of a space.json says.

    Raises
    ------
    OutputError
        If it says something else.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise OutputError(f"{name} cannot be read ({reason(error)}).") from error
    if wrong := _wrong(values):
        raise OutputError(f"{name} cannot be read ({wrong}).")
    return dict(_OLDER | values)


def _wrong(values: object) -> str | None:
    """Say why something is not what a space.json says."""
    if not isinstance(values, dict):
        return f"it holds {shown(values)}, not the description of a space"
    values = _OLDER | values
    if missing := [name for name in (*_TEXTS, "layers") if name not in values]:
        return f"it says no {', '.join(missing)}"
    for name in _TEXTS:
        if not isinstance(values[name], str):
            return f"its {name} is {shown(values[name])}, not a text"
    for name in ("window", "hop"):
        if not isinstance(values[name], (int, float, type(None))):
            return f"its {name} is {shown(values[name])}, not a number of seconds"
    layers = values["layers"]
    if not isinstance(layers, list) or not all(isinstance(layer, int) for layer in layers):
        return f"its layers are {shown(layers)}, not a list of integers"
    return None


def write_space(out: Path, space: Space, kind: str, extra: dict[str, Any], tag: str) -> None:
    """Write space.json, whole or not at all, unless there is one.

    Raises
    ------
    OutputError
        If that is not possible.
    """
    values = {"space": space.id, "format": kind} | asdict(space) | extra
    for name, default in _OLDER.items():
        if values[name] == default:
            del values[name]  # as ever
    part = not_a_link(out / STATE / f"space{tag}.part")
    with writing(out / "space.json"):
        part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        try:
            os.link(part, out / "space.json")
        except FileExistsError:  # another shard was first
            pass
        except OSError:  # a file system without hard links
            if not (out / "space.json").exists():
                part.replace(out / "space.json")
        part.unlink(missing_ok=True)


# One run at a time, or several shards


@contextlib.contextmanager
def lock_output(out: Path, tag: str) -> Iterator[None]:
    """Keep other runs out of `out`: every other one, or for a shard, all but other shards.

    Raises
    ------
    OutputError
        If the folder cannot be written to or another run is at work in it.
    """
    state = out / STATE
    with contextlib.ExitStack() as held:
        with writing(out):
            make_folder(not_a_link(state))
            names = {"lock": bool(tag)} | ({f"lock{tag}": False} if tag else {})
            for name, shared in names.items():
                file = held.enter_context(not_a_link(state / name).open("a"))
                if not _locked(file.fileno(), shared, out):
                    raise OutputError(f"another run is writing to {out}; wait for it or stop it.")
        yield


def forget_shards(out: Path) -> None:
    """Remove the locks of shards that are merged; only for the one run in a folder."""
    for path in (out / STATE).glob("lock-*"):
        if re.fullmatch(f"lock{SHARD}", path.name):
            remove(path)


def _locked(file: int, shared: bool, out: Path) -> bool:
    """Lock a file until it is closed or the process ends, however that happens."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        why = error.strerror or error
        log.warning("%s cannot be locked (%s): let no second run write to it.", out, why)
    return True


# The manifest


class Manifest:
    """manifest.jsonl: one line a file, the last one counts; any thread may add to it."""

    def __init__(self, out: Path, tag: str = "") -> None:
        self.out = out
        self.path = out / f"manifest{tag}.jsonl"
        self._lock = threading.Lock()
        self._file: int | None = None

    def all(self) -> list[Path]:
        """Return this folder's manifests, those of shards last."""
        ours = re.compile(rf"manifest{SHARD}\.jsonl")
        shards = [path for path in self.out.glob("manifest-*") if ours.fullmatch(path.name)]
        return [self.out / "manifest.jsonl", *sorted(shards)]

    def listed(self) -> bool:
        """Tell whether any manifest here has a record of ours."""
        return any(True for path in self.all() if path.is_file() for _ in read_lines(path))

    def open(self, target: Callable[[str], Path]) -> None:
        """Start writing; the only run in a folder takes over what shards have written.

        `target` says where the result for a source will be.

        Raises
        ------
        OutputError
            If that is not possible.
        """
        flags = os.O_APPEND | os.O_CREAT | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        if self.path.is_file() and no_manifest(self.path):
            put_aside(self.path)
        with writing(self.path):
            self._file = os.open(not_a_link(self.path), flags, 0o666)
            self._write(b"\n")  # ends a line that a killed run left half written
        if self.path.name == "manifest.jsonl":
            for path in self.all()[1:]:
                if not no_manifest(path):
                    self._take_over(path, target)

    def _take_over(self, path: Path, target: Callable[[str], Path]) -> None:
        for record in read_lines(path):
            if "output" in record:
                try:
                    proper(self.out, record["source"])
                    output = target(record["source"]).relative_to(self.out)
                except TakenError as error:
                    log.warning("%s: passed over: %s", path, error)
                    continue
                record["output"] = output.as_posix()
            self.add(record)
        with writing(path):
            remove(path)

    def last(self) -> Iterator[Record]:
        """Yield each source's record that counts."""
        where = DigestMap(2)
        paths = self.all()
        for i, path in enumerate(paths):
            for start, record in read_places(path):
                where.set(digest(record["source"]), i, start)
        for i, path in enumerate(paths):
            for start, record in read_places(path):
                if where.get(digest(record["source"])) == (i, start) and record["status"] != GONE:
                    yield record

    def keys(self) -> Iterator[str]:
        """Yield the source of every result of every manifest."""
        for record in self.last():
            if record["status"] == "ok":
                yield record["source"]

    def add(self, record: Record) -> None:
        """Append a line.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        assert self._file is not None
        with self._lock, writing(self.path):
            self._write(json_line(record))

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        while data:  # a disk that fills up takes a part first
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        """Leave one line a file.

        Raises
        ------
        OutputError
            If that cannot be written; all lines are there then, though not one a file.
        """
        if self._file is None:
            return
        os.close(self._file)
        self._file = None
        last = DigestMap(1)
        for start, record in read_places(self.path):
            last.set(digest(record["source"]), start)
        part = self.out / STATE / f"{self.path.name}.part"
        with writing(self.path), atomic_write(self.path, part=not_a_link(part)) as file:
            for start, record in read_places(self.path):
                if last.get(digest(record["source"])) == (start,) and record["status"] != GONE:
                    file.write(json_line(record))
