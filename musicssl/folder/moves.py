"""Files that were moved or renamed, known again by their content, and files that are gone."""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

from musicssl.folder.listing import Listing
from musicssl.folder.manifest import Manifest
from musicssl.folder.places import there
from musicssl.folder.records import Record, digest, read_at, read_places, state

log = logging.getLogger(__name__)


def content_of(path: Path, size: int, mtime_ns: int) -> str | None:
    """Return a hash of all of a file; None if it has changed meanwhile or cannot be read.

    Spots of it are not enough: stems of one song have one length, one header and silence at any
    spot. All of it takes 1 ms a MB, which is 1 to 3 % of what embedding takes.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        status = path.stat()
    except OSError:
        return None
    return found if (status.st_size, status.st_mtime_ns) == (size, mtime_ns) else None


class Moves:
    """Finds, for files that are new, results of files that are gone and had the same content."""

    def __init__(
        self, listing: Listing, manifest: Manifest, space: str, ledger: dict[int, int]
    ) -> None:
        self.listing, self.paths = listing, manifest.all()
        self.ledger = ledger
        self.sizes: set[int] = set()  # only files of these sizes are worth a hash
        self.places: dict[int, int] = {}  # by digest of the content, where its record stands
        for i, path in enumerate(self.paths):
            for start, record in read_places(path):
                content = record.get("content")
                if record["status"] == "ok" and record["space"] == space and content:
                    self.sizes.add(record["size"])
                    self.places[digest(str(content))] = start * len(self.paths) + i

    def find(self, path: Path, size: int, mtime_ns: int) -> Record | None:
        """Return the record of the file that `path` was before, if it was one."""
        if size not in self.sizes or not (content := content_of(path, size, mtime_ns)):
            return None
        if (place := self.places.get(digest(content))) is None:
            return None
        start, i = divmod(place, len(self.paths))
        record = read_at(self.paths[i], start)
        if record is None or record.get("content") != content or not self._counts(record):
            return None
        if not self._is_gone(record):
            return None
        del self.places[digest(content)]  # of two files with it, only one was moved
        return record

    def _counts(self, record: Record) -> bool:
        """Tell whether a record is its source's last: the result is what it says."""
        known = self.ledger.get(digest(record["source"]))
        return known == state(record["size"], record["mtime_ns"])

    def _is_gone(self, record: Record) -> bool:
        """Tell whether a source is neither where it was nor where it would be now."""
        located = self.listing.locate(record["source"])
        paths = [Path(str(record.get("path"))), *([located[1]] if located else [])]
        try:
            return not any(there(path) for path in paths)
        except (OSError, ValueError):
            return False


class Pruning:
    """Tells which results are of sources that are gone for good.

    A disk that is not mounted looks like a folder that is empty or missing. So nothing counts
    as gone of a PATH without any music, below an empty folder or a link that leads nowhere, or on
    another disk than its PATH where that is not there.
    """

    def __init__(self, listing: Listing) -> None:
        self.roots = [path for _, path in listing.roots]
        self.listing = listing
        self.found_again: list[Record] = []  # as they are to be: the whole library has moved
        self.kept: dict[str, int] = {}  # why, and how many
        self._music: dict[Path, bool] = {}

    def gone(self, records: Iterator[Record]) -> Iterator[str]:
        """Yield the sources, of those that the paths cover, that are gone."""
        for record in records:
            try:
                path = Path(str(record["path"]))
                root = next((root for root in self.roots if path.is_relative_to(root)), None)
                if root is None:
                    self._find_again(record)
                elif path != root and not there(path):
                    if doubt := self._doubt(root, path, record):
                        self.kept[doubt] = self.kept.get(doubt, 0) + 1
                    else:
                        yield record["source"]
            except (KeyError, OSError, ValueError) as error:
                self.kept[str(error)] = self.kept.get(str(error), 0) + 1
        for doubt, count in self.kept.items():
            log.warning("%d result%s not pruned: %s", count, "s are" if count > 1 else " is", doubt)

    def _find_again(self, record: Record) -> None:
        """Note where a file is now that has the same name below another path."""
        located = self.listing.locate(record["source"])
        if located and record["status"] == "ok" and there(located[1]):
            self.found_again.append(record | {"path": str(located[1])})

    def _doubt(self, root: Path, path: Path, record: Record) -> str | None:
        """Say why a file that is not there may be there another time."""
        if root not in self._music:
            self._music[root] = root.is_dir() and self.listing.holds_music(root)
        if not self._music[root]:
            return f"there is no music in {root}; is its disk mounted?"
        mount, key = record.get("mount"), record["source"]
        if isinstance(mount, str) and key.startswith(f"{mount}/"):
            disk = path.parents[key[len(mount) :].count("/") - 1]
            if not disk.exists() or disk.stat().st_dev == root.stat().st_dev:
                return f"they were on another disk, {disk}, which is not mounted."
        above = path.parent
        while above != root and not there(above):
            above = above.parent
        if not above.exists():
            return f"{above} is a link that leads nowhere; is a disk not mounted?"
        if above.is_dir() and not any(above.iterdir()):
            return f"{above} is empty; is a disk not mounted? Remove it if not."
        return None
