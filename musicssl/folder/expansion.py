"""`Expansion`: items one by one, and in the place of each tar, what is in it."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from musicssl.errors import AudioError
from musicssl.folder.archives import Archive, is_archive
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.paths import TakenError, reason
from musicssl.folder.reading import Taken
from musicssl.folder.records import READ, Record


@dataclass(frozen=True, kw_only=True)
class Expansion:
    """Items one by one, and in the place of each tar, what is in it.

    Parameters
    ----------
    extensions
        Of the members to take.
    passed_over
        Counts the others.
    look
        Returns an item that is to be embedded with what is known of it, None for others.
    is_done
        Tells whether an item's result is there.
    known
        Returns what a manifest says of a tar under its name.
    note
        Takes what a manifest is to say of a tar that was read to its end, so that the next run
        need not read it to know what is in it.
    """

    extensions: frozenset[str]
    passed_over: Counter[str]
    look: Callable[[Item], Taken | None]
    is_done: Callable[[Item, FileStat], bool]
    known: Callable[[str], Record | None]
    note: Callable[[Record], None]

    def todo(self, items: Iterable[Item]) -> Iterator[Taken]:
        """Yield what is to be embedded."""
        for item in items:
            if is_archive(item):
                yield from self._expanded(item)
            elif (taken := self.look(item)) is not None:
                yield taken

    def opened(self, item: Item) -> Archive | Taken | None:
        """Return a tar to read; why it cannot be read; or None if all of it is embedded."""
        try:
            archive = Archive(item, self.extensions)
        except (OSError, AudioError) as error:
            return item._replace(error=reason(error)), FileStat()
        if (done := self.done(archive)) is None:
            return archive
        for member in done:
            self.look(member)
        return None

    def _expanded(self, item: Item) -> Iterator[Taken]:
        archive = self.opened(item)
        if not isinstance(archive, Archive):
            if archive is not None:
                yield archive
            return
        try:
            yield from archive.members(self.passed_over, self.look)
        except AudioError as error:
            yield item._replace(error=str(error)), archive.seen
        else:
            record = {"source": item.key, "path": item.name, **archive.seen.facts}
            self.note(record | {"status": READ, "members": archive.music})

    def done(self, archive: Archive) -> list[Item] | None:
        """Return a tar's members, if it is known that all are embedded."""
        record = self.known(archive.item.key)
        if record is None or any(record.get(k, v) != v for k, v in archive.seen.facts.items()):
            return None
        music = record.get("members")
        if not isinstance(music, dict):
            return None
        members = [archive.member(name, size) for name, size in music.items()]
        try:
            done = all(self.is_done(one, one.seen()) for one in members)
        except TakenError:
            done = False
        return members if done else None
