"""`DatasetRun`: one run of `embed_folder` whose results go into a data set."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from musicssl.errors import OutputError
from musicssl.folder.dataset import FORMAT, PART_FILES, DatasetLedger, DatasetWriter
from musicssl.folder.folder_run import FolderRun
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.manifest import check_space
from musicssl.folder.output import Output, Row
from musicssl.folder.paths import TakenError, proper
from musicssl.folder.places import Place, place_of
from musicssl.folder.planning import plan_threads
from musicssl.folder.provenance import describe_run, describe_vectors, differences
from musicssl.folder.reading import Taken
from musicssl.folder.records import GONE, Record
from musicssl.folder.summary import Interrupted, Summary
from musicssl.folder.threads import EmbedThreads
from musicssl.inference.options import Settings
from musicssl.model import MusicEncoder
from musicssl.space import Space


@dataclass(eq=False, kw_only=True)
class DatasetRun(FolderRun):
    """One run into a data set, every choice made.

    Parts are the manifest too: stores cannot append to a file. Runs at the same time do no harm to
    each other; a file that both embed is there twice, and the last one counts.
    """

    out: str | Path
    model: MusicEncoder
    settings: Settings
    resampler: str
    mono: str
    part_files: int = PART_FILES
    place: Place = field(init=False)
    space: Space = field(init=False)
    writer: DatasetWriter = field(init=False)
    ledger: DatasetLedger = field(init=False)

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
        vectors = describe_vectors(self.model, self.settings)
        if found is None:
            values = {"space": self.space.id, "format": FORMAT} | asdict(self.space) | vectors
            text = json.dumps(values, indent=2) + "\n"
            self.place.write("space.json", text.encode())
        about = describe_run(self.model, self.settings, self.space, self.space.id)
        self.writer = DatasetWriter(
            self.place,
            space=self.space.id,
            about=about,
            dim=vectors["dim"],
            times=self.settings.level != "clip",
            part_files=self.part_files,
        )

    def _found(self) -> dict[str, Any] | None:
        data = self.place.read("space.json")
        return None if data is None else check_space(data, f"{self.place.name}/space.json")

    def note(self, record: Record) -> None:
        if not self.dry:
            self.writer.add(record)

    def known(self, key: str) -> Record | None:
        return self.ledger.archive(key)

    def look(self, item: Item) -> Taken | None:
        item, seen = self.unread(item)
        if not self.is_done(item, seen):
            return item, seen
        self.report({"source": item.key, "path": item.name, "status": "skipped"})
        return None

    def is_done(self, item: Item, seen: FileStat) -> bool:
        return self.ledger.has({"source": item.key, **seen.facts, **item.part})

    def dry_run(self) -> Summary:
        """Count what there is to do, and write nothing."""
        self.dry = True
        self.prepare()
        self.report_todo()
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
