"""`DatasetRun`: one run of `embed_folder` whose results go into a data set."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Protocol

from musicssl.errors import OutputError
from musicssl.folder.dataset import FORMAT, PART_FILES, DatasetLedger, DatasetWriter
from musicssl.folder.expansion import Expansion
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item, Listing
from musicssl.folder.manifest import check_space
from musicssl.folder.output import Output, Row
from musicssl.folder.paths import TakenError, proper, reason
from musicssl.folder.places import Place, place_of
from musicssl.folder.planning import plan_threads
from musicssl.folder.provenance import describe_run
from musicssl.folder.reading import Taken
from musicssl.folder.records import GONE, Record
from musicssl.folder.space import differences
from musicssl.folder.summary import Interrupted, Summary
from musicssl.folder.threads import EmbedThreads
from musicssl.inference.options import Settings
from musicssl.model import MusicEncoder
from musicssl.pooling import POOLINGS
from musicssl.space import Space


@dataclass(eq=False, kw_only=True)
class DatasetRun:
    """One run into a data set, every choice made.

    Parts are the manifest too: stores cannot append to a file. Runs at the same time do no harm to
    each other; a file that both embed is there twice, and the last one counts.
    """

    listing: Listing
    out: str | Path
    model: MusicEncoder
    settings: Settings
    resampler: str
    mono: str
    overwrite: bool = False
    on_error: str = "skip"
    on_file: Callable[[Record], None] | None = None
    on_start: Callable[[str], None] | None = None
    offset: float = 0.0
    duration: float | None = None
    part_files: int = PART_FILES
    place: Place = field(init=False)
    space: Space = field(init=False)
    summary: Summary = field(init=False)
    writer: DatasetWriter = field(init=False)
    ledger: DatasetLedger = field(init=False)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    dry: bool = False

    def __post_init__(self) -> None:
        self.place = place_of(self.out)
        self.space = Space.of(self.model, self.settings, resampler=self.resampler, mono=self.mono)
        shown = self.place.name if isinstance(self.out, str) else self.out
        self.summary = Summary(out=shown, space=self.space.id, format=FORMAT)

    def prepare(self) -> None:
        """Make sure that the place is of this run's space, and find out what is there.

        Raises
        ------
        OutputError
            If it holds something else.
        """
        found = self._found()
        differs = [] if found is None else differences(found, self.space, FORMAT)
        if differs and (not self.overwrite or found is None or found["format"] != FORMAT):
            raise OutputError(
                f"{self.place.name} holds embeddings of {found and found['space']}: "
                f"{'; '.join(differs)}. They cannot be mixed; choose another place, or overwrite "
                "to remove a data set."
            )
        if self.overwrite and not self.dry:
            for name in [*self.place.names(), "space.json"]:
                self.place.remove(name)
            found = None
        self.ledger = DatasetLedger(self.place)
        if self.dry:
            return
        dim = self._dim()
        if found is None:
            model = self.model
            about = {"dim": dim, "frame_rate": model.frame_rate, "sample_rate": model.sample_rate}
            values = {"space": self.space.id, "format": FORMAT} | asdict(self.space) | about
            text = json.dumps(values, indent=2) + "\n"
            self.place.write("space.json", text.encode())
        about = describe_run(self.model, self.settings, self.space, self.space.id)
        self.writer = DatasetWriter(
            self.place,
            space=self.space.id,
            about=about,
            dim=dim,
            times=self.settings.level != "clip",
            part_files=self.part_files,
        )

    def _dim(self) -> int:
        factor = POOLINGS[self.settings.pooling].factor
        return self.model.encoder.dim * len(self.settings.layers) * factor

    def _found(self) -> dict[str, Any] | None:
        data = self.place.read("space.json")
        return None if data is None else check_space(data, f"{self.place.name}/space.json")

    def todo(self) -> Iterator[Taken]:
        """Yield what is not there yet, with what is known of it unread."""
        self.report_wrong()
        items = takewhile(
            lambda _: not self.stop.is_set(), self.listing.items(self.summary.passed_over)
        )
        yield from self.expansion().todo(items)

    def report_wrong(self) -> None:
        """Report what was given and is no file."""
        for name, error in self.listing.wrong:
            self.report({"source": name, "path": name, "status": "failed", "error": error})

    def expansion(self) -> Expansion:
        """Return what looks into tar files."""
        return Expansion(
            extensions=self.listing.extensions,
            passed_over=self.summary.passed_over,
            look=self.look,
            is_done=lambda item, seen: self.is_done(item.cut(self.offset, self.duration), seen),
            known=self.ledger.archive,
            note=self.note,
        )

    def note(self, record: Record) -> None:
        """Take note of a tar that was read to its end."""
        if not self.dry:
            self.writer.add(record)

    def look(self, item: Item) -> Taken | None:
        """Return an item with what is known of it unread, None if its result is there."""
        item = item.cut(self.offset, self.duration)
        seen = FileStat()
        try:
            seen = item.seen()
        except (OSError, ValueError) as error:
            item = item._replace(error=item.error or reason(error))
        if not self.is_done(item, seen):
            return item, seen
        self.report({"source": item.key, "path": item.name, "status": "skipped"})
        return None

    def is_done(self, item: Item, seen: FileStat) -> bool:
        """Tell whether a file's result is there."""
        return self.ledger.has({"source": item.key, **seen.facts, **item.part})

    def dry_run(self) -> Summary:
        """Count what there is to do, and write nothing."""
        self.dry = True
        self.prepare()
        for item, seen in self.todo():
            record = {"source": item.key, "path": item.name, "size": seen.size}
            self.report(record | {"mtime_ns": seen.mtime_ns, "status": "todo"})
        return self.summary

    def work(self, jobs: int | None, engine: "WorkEngine | None" = None) -> Summary:
        """Embed everything that is not there yet: in threads, or by an engine.

        Raises
        ------
        Interrupted
            In place of a KeyboardInterrupt.
        """
        started = time.perf_counter()
        try:
            if engine is None:
                self._threads(jobs).run()
            else:
                engine(self, jobs)
        except KeyboardInterrupt:
            self.summary.interrupted = True
        finally:
            self.writer.flush()
            self.summary.wall_seconds = round(time.perf_counter() - started, 3)
        if self.summary.interrupted:
            raise Interrupted(self.summary)
        return self.summary

    def _threads(self, jobs: int | None) -> EmbedThreads:
        output = _Collected(Path(self.place.name), self.space.id)

        def announce(record: Record) -> None:
            row = output.row()
            if record["status"] != GONE:
                self.writer.add(record, row)

        return plan_threads(
            self.todo(),
            listing=self.listing,
            model=self.model,
            jobs=jobs,
            on_start=self.on_start,
            settings=self.settings,
            resampler=self.resampler,
            mono=self.mono,
            output=output,
            announce=announce,
            report=self.report,
            stop=self.stop,
        )

    def report(self, record: Record) -> None:
        """Count what was done with a file, and tell it to whoever asked."""
        with self.lock:
            self.summary.count(record)
            if record["status"] == "failed" and self.on_error == "stop":
                self.stop.set()
            if self.on_file:
                self.on_file(record)


class WorkEngine(Protocol):
    """Something that does a run's work elsewhere than in threads of this process."""

    def __call__(self, run: DatasetRun, jobs: int | None) -> None:
        """Embed what `run` has to do, and give results to `run.writer` and `run.report`."""


class _Collected(Output):
    """Hands a thread's result from where it is made to where its record is written."""

    def __init__(self, out: Path, space: str) -> None:
        super().__init__(out, space)
        self._local = threading.local()

    def has(self, key: str) -> bool:
        return False

    def read_row(self, key: str) -> Row | None:
        return None

    def write(self, row: Row, announce: Callable[[], None]) -> None:
        self._local.row = row
        announce()

    def row(self) -> Row | None:
        """Return what this thread has written and not yet handed over."""
        row: Row | None = getattr(self._local, "row", None)
        self._local.row = None
        return row

    def drop(self, key: str) -> None:
        pass

    def target(self, key: str) -> Path:
        return self.out / proper(self.out, key)

    def clear(self, keys: object) -> None:
        raise TakenError("a data set is cleared as a whole.")
