"""What a folder of embeddings says about itself: its space, its manifest, and who writes to it."""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from musicssl.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: two runs into one folder are not noticed there
    fcntl = None  # type: ignore[assignment]

STATE = ".musicssl"  # subfolder for what is no result


@dataclass(frozen=True, kw_only=True)
class Space:
    """All that decides whether two embeddings can be compared."""

    model: str
    weights_sha256: str
    level: str
    pooling: str
    layers: tuple[int, ...]
    resampler: str

    @property
    def id(self) -> str:
        """Short name, such as ``musicssl-small@3fa2b1c9/clip/meanstd/layers=2+5+8/soxr``."""
        name = self.model.rstrip("/").rpartition("/")[2]
        pooled = [self.level] if self.level == "frame" else [self.level, self.pooling]
        layers = "+".join(map(str, self.layers))
        return "/".join(
            [f"{name}@{self.weights_sha256[:8]}", *pooled, f"layers={layers}", self.resampler]
        )


def json_line(values: dict[str, Any]) -> bytes:
    """Return one line of JSON; file names that are no Unicode come through `json.loads` again."""
    try:
        return (json.dumps(values, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:
        return (json.dumps(values) + "\n").encode()


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield a JSON-lines file's entries, passing over what a killed run left half written."""
    try:
        with path.open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    yield json.loads(line)
    except FileNotFoundError:
        return


# The folder's space


def read_space(out: Path) -> dict[str, Any] | None:
    """Return what a folder's space.json says, None if there is none.

    Raises
    ------
    OutputError
        If it cannot be read.
    """
    try:
        values: dict[str, Any] = json.loads((out / "space.json").read_bytes())
        return {name: values[name] for name in ("space", "format", *Space.__annotations__)} | values
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{out / 'space.json'} cannot be read ({error}).") from error


def differences(found: dict[str, Any], space: Space, kind: str) -> list[str]:
    """Return, one phrase each, how a folder's space and format differ from those asked for."""
    asked = asdict(space) | {"layers": list(space.layers), "format": kind}
    return [
        f"{name} is {found[name]} there, {asked[name]} was asked for"
        for name in ("weights_sha256", "level", "pooling", "layers", "resampler", "format")
        if found[name] != asked[name]
    ]


def write_space(out: Path, space: Space, kind: str, extra: dict[str, Any], tag: str) -> None:
    """Write space.json, whole or not at all, unless there is one."""
    values = {"space": space.id, "format": kind} | asdict(space) | extra
    part = out / STATE / f"space{tag}.part"
    part.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    with contextlib.suppress(FileExistsError):  # another shard was first
        try:
            os.link(part, out / "space.json")
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            if not (out / "space.json").exists():
                part.replace(out / "space.json")
    part.unlink(missing_ok=True)


# One run at a time, or several shards


@contextlib.contextmanager
def hold(out: Path, tag: str) -> Iterator[None]:
    """Keep other runs out of `out`: every other one, or for a shard, all but other shards.

    Raises
    ------
    OutputError
        If the folder cannot be written to or another run is at work in it.
    """
    try:
        (out / STATE).mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            names = {"lock": bool(tag)} | ({f"lock{tag}": False} if tag else {})
            for name, shared in names.items():
                file = held.enter_context((out / STATE / name).open("a"))
                if not _locked(file.fileno(), shared):
                    raise OutputError(f"another run is writing to {out}; wait for it or stop it.")
            yield
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror or error}.") from error


def _locked(file: int, shared: bool) -> bool:
    """Lock a file until it is closed or the process ends, however that happens."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return True
    return True


# The manifest


def digest(text: str) -> int:
    """Return 64 bits for `text`: a million file names in memory would be a hundred times that."""
    data = text.encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


class Manifest:
    """manifest.jsonl: one line a file, the last one counts; any thread may add to it."""

    def __init__(self, out: Path, tag: str = "") -> None:
        self.out = out
        self.path = out / f"manifest{tag}.jsonl"
        self._lock = threading.Lock()
        self._file: int | None = None

    def all(self) -> list[Path]:
        """Return this folder's manifests, those of shards last."""
        return [self.out / "manifest.jsonl", *sorted(self.out.glob("manifest-*-of-*.jsonl"))]

    def open(self, target: Callable[[str], Path]) -> None:
        """Start writing; the only run in a folder takes over what shards have written.

        `target` says where the result for a source will be.
        """
        flags = os.O_APPEND | os.O_CREAT | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        self._file = os.open(self.path, flags, 0o666)
        os.write(self._file, b"\n")  # ends a line that a killed run left half written
        if self.path.name == "manifest.jsonl":
            for path in self.all()[1:]:
                for record in read_lines(path):
                    if "output" in record:
                        output = target(record["source"]).relative_to(self.out)
                        record["output"] = output.as_posix()
                    os.write(self._file, json_line(record))
                path.unlink()

    def done(self, space: str) -> dict[int, int]:
        """Return, by the digest of its key, the `state` of each file embedded in `space`."""
        found = {}
        for path in self.all():
            for record in read_lines(path):
                key = digest(record["source"])
                if record["status"] == "ok" and record["space"] == space:
                    found[key] = state(record["size"], record["mtime_ns"])
                else:
                    found.pop(key, None)
        return found

    def keys(self) -> Iterator[str]:
        """Yield the source of every line of every manifest."""
        for path in self.all():
            for record in read_lines(path):
                yield record["source"]

    def add(self, record: dict[str, Any]) -> None:
        """Append a line."""
        assert self._file is not None
        with self._lock:
            os.write(self._file, json_line(record))

    def close(self) -> None:
        """Leave one line a file."""
        if self._file is None:
            return
        os.close(self._file)
        self._file = None
        last = {digest(record["source"]): i for i, record in enumerate(read_lines(self.path))}
        part = self.out / STATE / f"{self.path.name}.part"
        with part.open("wb") as file:
            for i, record in enumerate(read_lines(self.path)):
                if last[digest(record["source"])] == i:
                    file.write(json_line(record))
        part.replace(self.path)


def state(size: int, mtime_ns: int) -> int:
    """Return 64 bits that change when a file does."""
    return digest(f"{size} {mtime_ns}")
