"""`FolderJob`: one run of `embed_folder`, from what is there to what was done."""

import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from musicssl.errors import OutputError
from musicssl.folder.columns import Columns
from musicssl.folder.folder_run import FolderRun
from musicssl.folder.ledger import FileStat, Ledger
from musicssl.folder.listing import Item
from musicssl.folder.manifest import Manifest, forget_shards, read_space, write_space
from musicssl.folder.metadata import Metadata
from musicssl.folder.moves import Moves, Pruning, recognize
from musicssl.folder.output import Output
from musicssl.folder.paths import TakenError, writing
from musicssl.folder.planning import plan_threads
from musicssl.folder.preparation import Preparation
from musicssl.folder.provenance import describe_run, describe_vectors
from musicssl.folder.reading import Taken
from musicssl.folder.records import GONE, Record
from musicssl.folder.segments import SegmentListing
from musicssl.folder.summary import Interrupted, Summary
from musicssl.folder.threads import EmbedThreads
from musicssl.inference.options import Settings
from musicssl.model import MusicEncoder
from musicssl.space import Space


@dataclass(eq=False, kw_only=True)
class FolderJob(FolderRun):
    """One run whose results go into a folder on a disk, every choice made."""

    off: ClassVar[Record] = {"listed": False}

    out: Path
    space: Space
    kind: type[Output]
    format: str
    replace_foreign: bool
    prune: bool
    metadata: Metadata | None = None
    manifest: Manifest = field(init=False)
    output: Output = field(init=False)
    preparation: Preparation = field(init=False)
    ledger: Ledger = field(default_factory=Ledger)  # of what earlier runs have done
    gone: set[str] = field(default_factory=set)  # sources whose results this run takes away
    _moves: Moves | None = None

    def __post_init__(self) -> None:
        self.tag = self.listing.shard.tag if self.listing.shard else ""
        self.summary = Summary(out=self.out, space=self.space.id, format=self.format)
        self.manifest = Manifest(self.out, self.tag)
        self.preparation = Preparation(
            manifest=self.manifest,
            space=self.space,
            format=self.format,
            tag=self.tag,
            overwrite=self.overwrite,
            replace_foreign=self.replace_foreign,
        )

    def prepare_output(self, model: MusicEncoder, settings: Settings) -> None:
        """Make sure that the folder is of this run's space and format, and open it.

        Raises
        ------
        OutputError
            If it is not, and `overwrite` does not make it so.
        """
        strays = self.preparation.clear()
        about = describe_vectors(model, settings)
        write_space(self.out, self.space, self.format, about, self.tag)
        found = read_space(self.out)
        if found is None or self.preparation.differs(found):
            raise OutputError(f"another run has just begun to write to {self.out}.")
        self._open(found["space"])
        with writing(self.out):
            self.output.open()
            self.manifest.open(self.output.target)
            if strays:
                self.gone |= self.preparation.clear_strays(found["space"])
        self.ledger = Ledger(self.manifest.all(), found["space"])

    def _open(self, space: str) -> None:
        self.summary.space = space
        self.output = self.kind(self.out, space, self.tag, level=self.space.level)
        self.output.replace_foreign = self.replace_foreign
        self.output.mend = self.overwrite
        self.output.anew = self.metadata is not None
        self.output.columns = lambda: Columns(self.manifest.all(), self.metadata)
        self.output.listed = lambda key: key in self.ledger

    def dry_run(self) -> Summary:
        """Count what there is to do, and write nothing."""
        self.dry = True
        found = self.preparation.check()
        if found and not self.preparation.differs(found):
            self._open(found["space"])
            self.output.scan()
            self.ledger = Ledger(self.manifest.all(), found["space"])
        self.report_todo()
        if self.prune and self.ledger:
            self._prune()
        return self.summary

    def work(self, model: MusicEncoder, settings: Settings, jobs: int | None) -> Summary:
        """Embed everything that is not there yet.

        Raises
        ------
        Interrupted
            In place of a KeyboardInterrupt.
        """
        started = time.perf_counter()
        try:
            self._threads(model, settings, jobs).run()
            if self.prune and not (self.summary.failed and self.on_error == "stop"):
                self._prune()
        except BaseException as error:
            with contextlib.suppress(OutputError, OSError):  # the first error is the one to tell
                self._end(finished=False)
            self.summary.wall_seconds = round(time.perf_counter() - started, 3)
            if isinstance(error, KeyboardInterrupt):
                self.summary.interrupted = True
                raise Interrupted(self.summary) from None
            raise
        self._end(finished=True)
        self.summary.wall_seconds = round(time.perf_counter() - started, 3)
        return self.summary

    def _end(self, *, finished: bool) -> None:
        """Put results and manifest into their final form."""
        try:
            with writing(self.out):
                self.output.close(finished)
            if finished:
                for key in self.gone:
                    line = {"source": key, "status": GONE, "space": self.summary.space}
                    self.manifest.add(line | {"size": 0, "mtime_ns": 0})
        finally:
            self.manifest.close()
        if finished and not self.tag:
            with contextlib.suppress(OSError):
                forget_shards(self.out)

    def _threads(self, model: MusicEncoder, settings: Settings, jobs: int | None) -> EmbedThreads:
        about = describe_run(model, settings, self.space, self.summary.space)
        return plan_threads(
            self.todo(),
            listing=self.listing,
            model=model,
            jobs=jobs,
            on_start=self.on_start,
            settings=settings,
            resampler=self.space.resampler,
            mono=self.space.mono,
            output=self.output,
            announce=lambda record: self.manifest.add(record | about),
            report=self.report,
            stop=self.stop,
        )

    def note(self, record: Record) -> None:
        if not self.dry:
            self.manifest.add(record | {"space": self.summary.space})

    def known(self, key: str) -> Record | None:
        return self.ledger.archive(key)

    def look(self, item: Item) -> Taken | None:
        item, seen = self.unread(item)
        record: Record = {"source": item.key, "path": item.name}
        try:
            if self.is_done(item, seen):
                self.report(record | {"status": "skipped"})
            elif before := self._reuse(item, seen):
                self.report(record | {"status": "moved", "before": before})
            else:
                return item, seen
        except TakenError as error:  # not for the manifest, which has the other file
            self.report(record | {"status": "failed", "error": str(error)} | self.off)
        return None

    def is_done(self, item: Item, seen: FileStat) -> bool:
        """Tell whether a file's result is there; what has changed since is noted.

        Raises
        ------
        TakenError
            If that result is another file's.
        """
        if self.overwrite or item.key not in self.ledger:
            return False
        with writing(self.out):
            if not self.output.has(item.key):
                return False
        listed = isinstance(self.listing, SegmentListing)
        same = self.ledger.is_as_it_was(item.key, item.name, seen, item.part)
        if same and not listed:
            return True
        before = self.ledger.record(item.key)
        now = before if same else before and recognize(before, item, seen)
        if now and before and listed:
            now = _with_columns(now, item)
            self.output.anew |= now.get("columns") != before.get("columns")
        if now and now != before and not self.dry:
            self.manifest.add(now)
        return bool(now)

    def _reuse(self, item: Item, seen: FileStat) -> str | None:
        """Give a file that was moved the result that it had, and return its name before."""
        if self.tag or self.overwrite or not self.ledger or item.error:
            return None
        if self._moves is None:
            self._moves = Moves(self.listing, self.summary.space, self.ledger)
        found = self._moves.find(item, seen)
        if found is None or not self.output.has(found["source"]):
            return None
        before: str = found["source"]
        if not self.dry:
            row = self.output.read_row(before)
            try:
                output = self.output.target(item.key).relative_to(self.out).as_posix()
                record = _with_columns(found, item)
                record |= {"source": item.key, "path": item.name, "output": output}
                record |= seen.facts | {"mount": item.mount}
                if row is None:
                    return None
                row = row._replace(key=item.key)
                self.output.write(row, lambda: self.manifest.add(record))
                self.output.forget(before)
            except (TakenError, OSError):  # embedding it meets the same, and says so
                return None
        self.gone.add(before)
        return before

    def _prune(self) -> None:
        """Remove the results of sources that are gone."""
        pruning = Pruning(self.listing)
        for key in [key for key in pruning.gone(self.manifest.last()) if key not in self.gone]:
            with writing(self.out):
                if self.dry or self.output.forget(key):
                    self.gone.add(key)
                    self.summary.pruned += 1
        for record in [] if self.dry else pruning.found_again:
            self.manifest.add(record)


def _with_columns(record: Record, item: Item) -> Record:
    """Return a record with the user's own columns as they are listed now."""
    return {name: value for name, value in record.items() if name != "columns"} | item.about
