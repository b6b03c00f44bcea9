"""The music files under some paths, each with the name that its result will have."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from musicssl.errors import AudioError, ConfigError
from musicssl.folder.digests import DigestMap
from musicssl.folder.ledger import FileStat
from musicssl.folder.origin import Origin
from musicssl.folder.path_lists import ListedRoots, on_disk
from musicssl.folder.paths import STATE, holds_results, is_results_name
from musicssl.folder.records import digest
from musicssl.folder.roots import Roots
from musicssl.source_names import root_names

MOST_SHARDS = 1_000_000
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR})
_CLASH = (
    "an earlier file of the list has the name {} too: names are paths from the current folder or, "
    "outside it, from the root. Run in another folder, or embed this file into another output."
)


class Item(NamedTuple):
    """One file to embed."""

    key: str  # its name among the results, "/" between folders
    path: Path
    error: str | None = None  # why it cannot be read, where that is known already
    clash: bool = False  # its name is that of another file of the list
    given: bool = False  # by its own path, so that it is wanted whatever it is
    mount: str | None = None  # the folder, as a key, where another disk than its PATH's begins
    start: float | None = None  # seconds, of a part of the file; None: all of it
    end: float | None = None
    word: str = "start"  # how whoever chose the part calls its beginning
    columns: Mapping[str, str] = {}  # the user's own, of a list of segments
    origin: Origin | None = None  # of what is no file on a disk
    where: str = ""  # its name there, in place of the path

    @property
    def name(self) -> str:
        """Where it is, as the manifest says it."""
        return self.where or str(self.path)

    def seen(self) -> FileStat:
        """Return what is known of it unread.

        Raises
        ------
        OSError
            If it cannot be looked at.
        """
        if self.origin is not None:
            return self.origin.seen
        return FileStat() if self.where else FileStat.of(self.path.stat())

    @property
    def part(self) -> dict[str, float | None]:
        """Which part it is, as records say it; nothing for all of a file."""
        return {} if self.start is None else {"start": self.start, "end": self.end}

    @property
    def about(self) -> dict[str, Any]:
        """What records say of the part and of the user's own columns."""
        return self.part | ({"columns": dict(self.columns)} if self.columns else {})

    def cut(self, offset: float, duration: float | None) -> "Item":
        """Return the item of which only a part is to be heard, in seconds."""
        if not offset and duration is None:
            return self
        end = None if duration is None else offset + duration
        return self._replace(start=offset, end=end, word="offset")


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, from 1."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ConfigError(f"shard {self.index}/{self.count} does not exist; count from 1.")
        if self.count > MOST_SHARDS:
            raise ConfigError(f"{self.count} shards are too many; at most {MOST_SHARDS:,}.")

    @property
    def tag(self) -> str:
        """Part of file names, so that shards that run at once keep apart."""
        return f"-{self.index}-of-{self.count}"


class Listing:
    """Files in a fixed order, found while it is iterated, which can be done again.

    Parameters
    ----------
    paths
        Files, which are taken whatever they are called, and folders, which are searched through
        all their subfolders, except hidden ones, for files with one of `extensions`.
    extensions
        With the dot; case makes no difference.
    listed
        Name results after the whole paths, relative to the current folder, or from the root
        for what lies outside it.
    shard
        Take every `count`-th file only.

    Raises
    ------
    AudioError
        If there is no such path (unless `listed`: then it is an item with an error).

    Notes
    -----
    Names: a single folder's files are named relative to it. Of several paths, a file has its
    name, and a folder's files begin with the folder's name; where two of these would be equal or
    one inside the other, both begin one parent folder earlier, until they differ. What
    lies in two of the paths is taken once.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        *,
        extensions: Collection[str],
        listed: bool = False,
        shard: Shard | None = None,
    ) -> None:
        self.extensions = frozenset(extension.lower() for extension in extensions)
        self.shard = shard
        self.listed = listed
        self.wrong: list[tuple[str, str]] = []  # what was given and is no file: name and error
        self.roots: Roots
        if listed:
            self.roots = ListedRoots(paths)
            return
        unique = list(dict.fromkeys(map(on_disk, paths)))
        kinds = {path: _kind(path) for path in unique}
        for path, (_, error) in kinds.items():
            if error is not None:
                missing = error == "no such file"
                raise AudioError(
                    f"no such file or folder: {path}" if missing else f"{path}: {error}."
                )
        folders = {path for path, (folder, _) in kinds.items() if folder}
        kept = [p for p in unique if not any(self._covers(f, p) for f in folders & {*p.parents})]
        single = len(kept) == 1 and kept[0] in folders
        self.roots = Roots(list(zip([""] if single else root_names(kept), kept, strict=True)))

    def __iter__(self) -> Iterator[Item]:
        return self.items(Counter())

    def items(self, passed_over: Counter[str]) -> Iterator[Item]:
        """Yield the files, and count by kind what is passed over in folders."""
        items = self._once(passed_over) if self.listed else self._all(passed_over)
        if self.shard is None:
            return items
        first, count = self.shard.index - 1, self.shard.count
        return (item for i, item in enumerate(items) if i % count == first)

    def locate(self, key: str) -> tuple[Path, Path] | None:
        """Return which of the paths covers a result's name, and where its source would be."""
        return self.roots.locate(key)

    def place_of(self, key: str) -> str | None:
        """Return where the source of a result would be, as an item's name says it."""
        located = self.locate(key)
        return None if located is None else str(located[1])

    def holds_music(self, root: Path) -> bool:
        """Tell whether there is any file to embed in one of the paths."""
        return any(item.error is None for item in self._root("", root, Counter()))

    def _all(self, passed_over: Counter[str]) -> Iterator[Item]:
        for name, path in self.roots:
            yield from self._root(name, path, passed_over)

    def _once(self, passed_over: Counter[str]) -> Iterator[Item]:
        """Yield what a list names, but nothing twice: it may name a folder and what is in it."""
        seen = DigestMap(1)
        for item in self._all(passed_over):
            key, name = digest(item.key), digest(item.name)
            if (before := seen.get(key)) is None:
                seen.set(key, name)
                yield item
            elif before != (name,):  # "/a.wav", and "a.wav" in the current folder
                yield item._replace(clash=True, error=_CLASH.format(item.key))

    def _root(self, name: str, path: Path, passed_over: Counter[str]) -> Iterator[Item]:
        folder, error = _kind(path)
        if folder:
            yield from self._walk(path, name, passed_over)
        else:
            yield Item(name, path, error, given=True)

    def _walk(self, root: Path, name: str, passed_over: Counter[str]) -> Iterator[Item]:
        """Yield a folder's files by name, going into folders where they stand in that order."""
        device: int | None = None
        above: list[_Folder] = []  # those being walked, each inside the one before
        inner: tuple[Path, str] | None = (root, name)
        while inner or above:
            if inner:
                folder = self._enter(*inner)
                if isinstance(folder, Item):
                    yield folder
                elif folder.identity not in {each.identity for each in above}:  # no circle
                    device = folder.identity[0] if device is None else device
                    if above and above[-1].mount:
                        folder.mount = above[-1].mount
                    elif folder.identity[0] != device:
                        folder.mount = folder.name
                    outer = above[-1].results if above else any(map(holds_results, root.parents))
                    folder.results = outer or holds_results(folder.path)
                    above.append(folder)
                inner = None
            elif entry := next(above[-1].entries, None):
                found = self._look(entry, above[-1], passed_over)
                if isinstance(found, Item):
                    yield found
                else:
                    inner = found
            else:
                above.pop()

    def _enter(self, path: Path, name: str) -> "_Folder | Item":
        try:
            status = path.stat()
            with os.scandir(path) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            return Item(name or path.name, path, error.strerror or str(error))
        return _Folder(path, name, (status.st_dev, status.st_ino), iter(entries))

    def _look(
        self, entry: "os.DirEntry[str]", folder: "_Folder", passed_over: Counter[str]
    ) -> "Item | tuple[Path, str] | None":
        """Return the file that an entry is, the path and name of the folder, or nothing."""
        key = f"{folder.name}/{entry.name}" if folder.name else entry.name
        path = folder.path / entry.name
        if entry.name.startswith("."):  # "._song.mp3" are macOS's notes beside each file
            if entry.name != STATE:
                cloud = entry.name.endswith(".icloud")
                passed_over["not downloaded (.icloud)" if cloud else "hidden"] += 1
            return None
        try:
            if entry.is_dir():
                return path, key
            if entry.is_file():
                if self._matches(entry.name):
                    return Item(key, path, mount=folder.mount)
                if not (folder.results and is_results_name(entry.name)):
                    passed_over[Path(entry.name).suffix.lower() or "without extension"] += 1
            else:
                passed_over["broken links" if entry.is_symlink() else "no files"] += 1
        except OSError as error:  # a link in a circle, or into a folder that may not be entered
            return Item(key, path, error.strerror or str(error))
        return None

    def _matches(self, name: str) -> bool:
        return Path(name).suffix.lower() in self.extensions

    def _covers(self, folder: Path, path: Path) -> bool:
        """Tell whether searching `folder` finds `path`, which lies somewhere inside."""
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        return not hidden and (_kind(path)[0] or self._matches(path.name))


@dataclass(eq=False)
class _Folder:
    """A folder that is being walked."""

    path: Path
    name: str
    identity: tuple[int, int]
    entries: "Iterator[os.DirEntry[str]]"
    mount: str | None = None
    results: bool = False  # of earlier runs are in it or in one above


def _kind(path: Path) -> tuple[bool, str | None]:
    """Tell whether a path is a folder, and what is wrong with it if it cannot be looked at."""
    if "\0" in str(path):
        return False, "no path has a NUL in it; is the list in UTF-16, or meant for --null?"
    try:
        return stat.S_ISDIR(path.stat().st_mode), None
    except OSError as error:
        absent = error.errno in _ABSENT
        return False, "no such file" if absent else error.strerror or str(error)
    except ValueError as error:  # not to be had as bytes
        return False, str(error)
