"""One run over a tree of files: what is there, what is to do, what was done."""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, islice
from pathlib import Path
from typing import Any

from musicssl import __version__
from musicssl.engine import Settings
from musicssl.errors import OutputError
from musicssl.folder.listing import Item, Listing
from musicssl.folder.manifest import (
    Manifest,
    Space,
    differences,
    digest,
    read_space,
    state,
    write_space,
)
from musicssl.folder.outputs import Output
from musicssl.folder.stores import FORMATS
from musicssl.folder.workers import Record, Workers
from musicssl.model import MusicEncoder
from musicssl.pooling import POOLINGS

_KEPT_FAILURES = 20
_GPU_JOBS = 8  # they take turns on it; more only decode


@dataclass(kw_only=True)
class Summary:
    """What a run of `embed_folder` did."""

    out: Path
    space: str = ""
    format: str = "npz"
    done: int = 0  # files embedded, or for a dry run, to be embedded
    skipped: int = 0  # files embedded by an earlier run
    failed: int = 0
    audio_seconds: float = 0.0
    wall_seconds: float = 0.0
    interrupted: bool = False
    failures: list[tuple[str, str]] = field(default_factory=list)  # the first: source, error

    @property
    def found(self) -> int:
        """How many files were looked at."""
        return self.done + self.skipped + self.failed

    @property
    def times_real_time(self) -> float:
        """Seconds of audio a second."""
        return self.audio_seconds / self.wall_seconds if self.wall_seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        extra = {"found": self.found, "times_real_time": round(self.times_real_time, 2)}
        named = [{"source": source, "error": error} for source, error in self.failures]
        return asdict(self) | extra | {"out": str(self.out), "failures": named}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after everything was put in order; `summary` says how far the run came."""

    def __init__(self, summary: Summary) -> None:
        super().__init__()
        self.summary = summary


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(eq=False)
class Run:
    """One call of `embed_folder`, every choice made."""

    listing: Listing
    out: Path
    space: Space
    kind: type[Output]
    format: str
    overwrite: bool
    on_error: str
    on_file: Callable[[Record], None] | None
    summary: Summary = field(init=False)
    manifest: Manifest = field(init=False)
    output: Output = field(init=False)
    done: dict[int, int] = field(default_factory=dict)  # see Manifest.done
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.tag = self.listing.shard.tag if self.listing.shard else ""
        self.summary = Summary(out=self.out, space=self.space.id, format=self.format)
        self.manifest = Manifest(self.out, self.tag)

    def settle(self, model: MusicEncoder, settings: Settings) -> None:
        """Make sure that the folder is of this run's space and format, and open it."""
        if (found := read_space(self.out)) and self._differs(found):
            there = FORMATS[found["format"]](self.out, found["space"])
            there.clear(self.manifest.keys())
            for path in self.manifest.all():
                path.unlink(missing_ok=True)
            (self.out / "space.json").unlink()  # last: killed before, the folder is as it was
        dim = model.encoder.dim * len(settings.layers) * POOLINGS[settings.pooling].factor
        about = {"dim": dim, "frame_rate": model.frame_rate, "sample_rate": model.sample_rate}
        write_space(self.out, self.space, self.format, about, self.tag)
        found = read_space(self.out)
        if found is None or self._differs(found):
            raise OutputError(f"another run has just begun to write to {self.out}.")
        self.summary.space = found["space"]
        self.output = self.kind(self.out, found["space"], self.tag)
        self.output.open()
        self.manifest.open(self.output.target)
        self.done = {} if self.overwrite else self.manifest.done(found["space"])

    def _differs(self, found: dict[str, Any]) -> bool:
        """Tell whether the folder holds something else, which only `overwrite` allows."""
        differs = differences(found, self.space, self.format)
        if differs and (self.tag or not self.overwrite):
            cure = (
                "run once without a shard and with overwrite"
                if self.tag and self.overwrite
                else "choose another folder, or overwrite to remove them"
            )
            raise OutputError(
                f"{self.out} holds embeddings of {found['space']}: {'; '.join(differs)}. "
                f"They cannot be mixed; {cure}."
            )
        return bool(differs)

    def look(self) -> Summary:
        """Say what there is to do, and write nothing."""
        found = read_space(self.out)
        fresh = found is None or self._differs(found) or self.overwrite
        if found and not fresh:
            self.output = self.kind(self.out, found["space"], self.tag)
            self.output.look()
            self.done = self.manifest.done(found["space"])
        for item, size, mtime_ns in self._todo():
            record = {"source": item.key, "path": str(item.path), "size": size}
            self._report(record | {"mtime_ns": mtime_ns, "status": "todo"})
        return self.summary

    def work(self, model: MusicEncoder, settings: Settings, jobs: int | None) -> Summary:
        """Embed everything that is not there yet."""
        started = time.perf_counter()
        finished = False
        try:
            self._workers(model, settings, jobs).run()
            finished = True
        except KeyboardInterrupt:
            self.summary.interrupted = True
            raise Interrupted(self.summary) from None
        finally:
            self.output.close(finished)
            self.manifest.close()
            self.summary.wall_seconds = round(time.perf_counter() - started, 3)
        return self.summary

    def _workers(self, model: MusicEncoder, settings: Settings, jobs: int | None) -> Workers:
        cpu = model.device.type == "cpu"
        cores = usable_cores()
        wanted = jobs or (cores if cpu else min(cores, _GPU_JOBS))
        todo = self._todo()
        first = list(islice(todo, wanted))  # fewer files than cores?
        jobs = max(1, len(first))
        todo = chain(first, todo)
        taking = threading.Lock()
        about = _about_run(model, settings, self.space, self.summary.space)

        def take() -> tuple[Item, int, int] | None:
            with taking:
                return next(todo, None)

        return Workers(
            model=model,
            settings=settings,
            resampler=self.space.resampler,
            output=self.output,
            take=take,
            announce=lambda record: self.manifest.add(record | about),
            report=self._report,
            stop=self.stop,
            jobs=jobs,
            threads=max(1, cores // jobs) if cpu else 1,
        )

    def _todo(self) -> Iterator[tuple[Item, int, int]]:
        """Yield what an earlier run has not done, with size and time of change."""
        for item in self.listing:
            size = mtime_ns = 0
            try:
                status = item.path.stat()
                size, mtime_ns = status.st_size, status.st_mtime_ns
            except OSError as error:
                item = item._replace(error=item.error or error.strerror or str(error))
            key = digest(item.key) if self.done else 0
            if self.done.get(key) == state(size, mtime_ns) and self.output.has(item.key):
                self._report({"source": item.key, "path": str(item.path), "status": "skipped"})
            else:
                yield item, size, mtime_ns

    def _report(self, record: Record) -> None:
        summary = self.summary
        with self.lock:
            if record["status"] == "skipped":
                summary.skipped += 1
            elif record["status"] == "failed":
                summary.failed += 1
                if len(summary.failures) < _KEPT_FAILURES:
                    summary.failures.append((record["source"], record["error"]))
                if self.on_error == "stop":
                    self.stop.set()
            else:
                summary.done += 1
                summary.audio_seconds += record.get("duration", 0.0)
            if self.on_file:
                self.on_file(record)


def _about_run(
    model: MusicEncoder, settings: Settings, space: Space, space_id: str
) -> dict[str, Any]:
    """Return what every line of the manifest says about the model and the settings."""
    versions = {"musicssl": __version__}
    for name in ("torch", space.resampler):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return {
        "space": space_id,
        "model": {
            "id": space.model,
            "revision": model.revision,
            "weights_sha256": space.weights_sha256,
        },
        "settings": {
            "level": space.level,
            "pooling": space.pooling,
            "layers": list(space.layers),
            "resampler": space.resampler,
            "device": str(model.device),
            "dtype": str(settings.dtype).removeprefix("torch."),
            "batch_seconds": settings.batch_seconds,
            "chunk_seconds": settings.chunk_seconds,
        },
        "versions": versions,
    }
