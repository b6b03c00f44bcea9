"""`FolderRun`: what one run of `embed_folder` is, wherever its results go."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import ClassVar

from musicssl.folder.expansion import Expansion
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item, Listing
from musicssl.folder.paths import reason
from musicssl.folder.reading import Taken
from musicssl.folder.records import Record
from musicssl.folder.summary import Summary


@dataclass(eq=False, kw_only=True)
class FolderRun(ABC):
    """What is listed, what of it is to be done, and who hears of what was done."""

    off: ClassVar[Record] = {}  # what reports say of failures that are not on a manifest

    listing: Listing
    overwrite: bool = False
    on_error: str = "skip"
    on_file: Callable[[Record], None] | None = None
    on_start: Callable[[str], None] | None = None
    offset: float = 0.0  # seconds, and so is duration: the part of each file
    duration: float | None = None
    summary: Summary = field(init=False)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    dry: bool = False

    @abstractmethod
    def look(self, item: Item) -> Taken | None:
        """Return an item with what is known of it unread, None if there is nothing to do."""

    @abstractmethod
    def is_done(self, item: Item, seen: FileStat) -> bool:
        """Tell whether a file's result is there."""

    @abstractmethod
    def note(self, record: Record) -> None:
        """Take note of a tar that was read to its end."""

    @abstractmethod
    def known(self, key: str) -> Record | None:
        """Return what earlier runs have noted of a tar."""

    def todo(self) -> Iterator[Taken]:
        """Yield what an earlier run has not done, with what is known of it unread."""
        items = takewhile(lambda _: not self.stop.is_set(), self.items())
        yield from self.expansion().todo(items)

    def items(self) -> Iterator[Item]:
        """Yield what is listed, and report what is wrong with the list."""
        for name, error in self.listing.wrong:
            self._report_wrong(name, name, error)
        for item in self.listing.items(self.summary.passed_over):
            if item.clash:  # the manifest and the results have the other file under this name
                self._report_wrong(item.key, item.name, item.error)
            else:
                yield item

    def expansion(self) -> Expansion:
        """Return what looks into tar files."""
        return Expansion(
            extensions=self.listing.extensions,
            passed_over=self.summary.passed_over,
            look=self.look,
            is_done=lambda item, seen: self.is_done(item.cut(self.offset, self.duration), seen),
            known=self.known,
            note=self.note,
        )

    def unread(self, item: Item) -> Taken:
        """Return an item's part, with what is known of it unread or why nothing is."""
        item, seen = item.cut(self.offset, self.duration), FileStat()
        try:
            seen = item.seen()
        except (OSError, ValueError) as error:
            item = item._replace(error=item.error or reason(error))
        return item, seen

    def report(self, record: Record) -> None:
        """Count what was done with a file, and tell it to whoever asked."""
        with self.lock:
            self.summary.count(record)
            if record["status"] == "failed" and self.on_error == "stop":
                self.stop.set()
            if self.on_file:
                self.on_file(record)

    def _report_wrong(self, key: str, name: str, error: str | None) -> None:
        failed = {"source": key, "path": name, "status": "failed", "error": error}
        self.report(failed | self.off)

    def report_todo(self) -> None:
        """Report what there is to do, where nothing is to be done."""
        for item, seen in self.todo():
            record = {"source": item.key, "path": item.name, "size": seen.size}
            self.report(record | {"mtime_ns": seen.mtime_ns, "status": "todo"})
