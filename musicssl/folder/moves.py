"""Files that were moved or renamed, known again by their content, and files that are gone."""

import errno
import hashlib
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from musicssl.folder.digests import DigestMap
from musicssl.folder.ledger import FileStat, Ledger
from musicssl.folder.listing import Item, Listing
from musicssl.folder.origin import RemoteFile, content_etag, is_there
from musicssl.folder.paths import NO_SUCH, TakenError, lexists, reason
from musicssl.folder.records import Record, digest, read_places
from musicssl.source_names import is_url

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


def recognize(record: Record, item: Item, seen: FileStat) -> Record | None:
    """Return the record of a file that is embedded already, as it is to be from now on.

    Parameters
    ----------
    record
        What the manifest says under the file's name.
    item, seen
        The file, of which something is not as the record says.

    Returns
    -------
    dict or None
        None if the file has changed, so that it is to be embedded again.

    Raises
    ------
    TakenError
        If the record is of another file, which is still there.
    """
    if item.origin is not None:
        return _recognize_object(record, item, seen)
    owner = Path(str(record.get("path", item.path)))
    others = owner != item.path and _is_another(owner, item.path)
    fetched = is_url(record.get("path"))  # from where it was embedded before
    sized = record["size"] == seen.size and item.error is None and part_of(record) == item.part
    timed = sized and record["mtime_ns"] == seen.mtime_ns
    inode, ctime_ns = record.get("inode"), record.get("ctime_ns")
    content = record.get("content")
    if timed and (content is None or not others):
        # earlier versions noted less, and some file systems number their files anew
        known = ctime_ns in (None, seen.ctime_ns) and inode in (None, seen.inode)
    else:
        known = False
    if not known and (timed or (sized and (others or fetched))):
        known = content is not None and content == content_of(item.path, seen.size, seen.mtime_ns)
    if known:
        fleeting = ctime_ns == seen.ctime_ns and inode != seen.inode
        now = seen._replace(inode=None) if fleeting else seen
        return record | {"path": str(item.path), "mount": item.mount} | now.facts
    if others:
        raise TakenError(
            f"{item.key} is already the result of {owner}, which is still there. Give both paths "
            "in one run, or choose another folder; overwrite (--overwrite) replaces it."
        )
    return None


def _recognize_object(record: Record, item: Item, seen: FileStat) -> Record | None:
    """Do so for an object of a store: its etag is its content's, otherwise its time has to do."""
    etag = record.get("etag")
    same = record["size"] == seen.size and part_of(record) == item.part
    if etag is not None or seen.etag is not None:
        same = same and etag == seen.etag
    else:
        same = same and record["mtime_ns"] == seen.mtime_ns and record.get("path") == item.name
    if same:
        return record | {"path": item.name} | seen.facts
    path = str(record.get("path", item.name))
    if path != item.name and is_there(path):
        raise TakenError(
            f"{item.key} is already the result of {path}, which is still there. Give both in one "
            "run, or choose another folder; overwrite (--overwrite) replaces it."
        )
    return None


def part_of(record: Record) -> Record:
    """Return which part of its file a record is of, as `Item.part` says it."""
    return {name: record[name] for name in ("start", "end") if name in record}


def _is_another(path: Path, than: Path) -> bool:
    """Tell whether a path of the manifest is that of a file that is there, and another."""
    try:
        if not path.is_absolute():
            return False
        found = path.stat()
    except OSError as error:
        return error.errno not in NO_SUCH and error.errno != errno.ELOOP
    except ValueError:
        return False
    try:
        return stat.S_ISREG(found.st_mode) and not os.path.samestat(found, than.stat())
    except (OSError, ValueError):
        return True


class Moves:
    """Finds, for files that are new, results of files that are gone and had the same content."""

    def __init__(self, listing: Listing, space: str, ledger: Ledger) -> None:
        self.listing, self.ledger = listing, ledger
        self.sizes: set[int] = set()  # only files of these sizes are worth a hash
        self.places = DigestMap(1)  # by digest of the content, where its record stands
        for i, path in enumerate(ledger.paths):
            for start, record in read_places(path):
                content = record.get("content") or content_etag(
                    str(record.get("path")), record.get("etag")
                )
                if record["status"] == "ok" and record["space"] == space and content:
                    self.sizes.add(record["size"])
                    place = start * len(ledger.paths) + i
                    self.places.set(_known_as(content, part_of(record)), place)

    def find(self, item: Item, seen: FileStat) -> Record | None:
        """Return the record of the file that an item was before, if it was one."""
        if seen.size not in self.sizes:
            return None
        if item.origin is None:
            content = content_of(item.path, seen.size, seen.mtime_ns)
        elif isinstance(item.origin, RemoteFile):
            content = content_etag(item.name, seen.etag)
        else:
            return None
        known_as = _known_as(content, item.part)
        if not content or (found := self.places.get(known_as)) is None:
            return None
        (place,) = found
        record = self.ledger.read(place)
        if record is None or record["size"] != seen.size:
            return None
        if content not in (record.get("content"), content_etag(item.name, record.get("etag"))):
            return None
        if not self.ledger.counts(record["source"], place) or not self._is_gone(record):
            return None
        self.places.remove(known_as)  # of two files with it, only one was moved
        return record

    def _is_gone(self, record: Record) -> bool:
        """Tell whether a source is neither where it was nor where it would be now."""
        before = str(record.get("path"))
        now = self.listing.place_of(record["source"]) or before
        return not any(map(is_there, {before, now}))


def _known_as(content: object, part: Record) -> int:
    return digest(f"{content}{part or ''}")


class Pruning:
    """Tells which results are of sources that are gone for good.

    A disk that is not mounted looks like a folder that is empty or missing. So nothing counts
    as gone of a PATH without any music, below an empty folder or a link that leads nowhere, or on
    another disk than its PATH where that is not there.
    """

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.found_again: list[Record] = []  # as they are to be: the whole library has moved
        self.kept: dict[str, int] = {}  # why, and how many
        self._music: dict[Path, bool] = {}

    def gone(self, records: Iterator[Record]) -> Iterator[str]:
        """Yield the sources, of those that the paths cover, that are gone."""
        for record in records:
            try:
                path = Path(str(record["path"]))
                root = self.listing.roots.covering(path)
                if root is None:
                    self._find_again(record)
                elif path != root and not lexists(path):
                    if doubt := self._doubt(root, path, record):
                        self._keep(doubt)
                    else:
                        yield record["source"]
            except KeyError:
                self._keep("the manifest does not say where their files were")
            except (OSError, ValueError) as error:
                self._keep(reason(error))
        for doubt, count in self.kept.items():
            log.warning("%d result%s not pruned: %s", count, "s are" if count > 1 else " is", doubt)

    def _keep(self, why: str) -> None:
        self.kept[why] = self.kept.get(why, 0) + 1

    def _find_again(self, record: Record) -> None:
        """Note where a file is now that has the same name below another path."""
        located = self.listing.locate(record["source"])
        if lexists(Path(str(record["path"]))):  # it is another file's
            return
        if located and record["status"] == "ok" and lexists(located[1]):
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
        while above != root and not lexists(above):
            above = above.parent
        if above.is_file():
            return f"{above} holds them, and archives are not looked into; remove it if not."
        if not above.exists():
            return f"{above} is a link that leads nowhere; is a disk not mounted?"
        if above.is_dir() and not any(above.iterdir()):
            return f"{above} is empty; is a disk not mounted? Remove it if not."
        return None
