"""Tar files of music, such as the shards of WebDataset, which are never unpacked to a disk."""

import contextlib
import io
import lzma
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Self

from musicssl.audio.remote import retried
from musicssl.errors import AudioError
from musicssl.folder.ledger import FileStat
from musicssl.folder.listing import Item
from musicssl.folder.origin import Held, Member, Origin, RemoteFile
from musicssl.folder.paths import reason
from musicssl.folder.reading import Taken

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MOST_HELD = 2**28  # bytes of a member that comes by a stream and is in memory while it is decoded
_BLOCK = 2**22  # bytes read at once of a stream


def is_archive(item: Item) -> bool:
    """Tell whether an item is a tar, by its name."""
    return item.error is None and item.name.lower().endswith(_SUFFIXES)


class Archive:
    """The music in a tar, in its order.

    One that lies on a disk and is not compressed is not read but for its headers: its members are
    stretches of it. All others are streams, of which a member at a time is in memory.

    Parameters
    ----------
    item
        The tar; members have its part (offset, duration).
    extensions
        Of the members to take; the other files of WebDataset's samples are passed over.
    """

    def __init__(self, item: Item, extensions: frozenset[str]) -> None:
        self.item, self.extensions = item, extensions
        self.music: dict[str, int] = {}  # in it, by name, and its bytes; known at the end
        self.seen = item.seen()

    def members(
        self, passed_over: Counter[str], look: Callable[[Item], Taken | None]
    ) -> Iterator[Taken]:
        """Yield the members that `look` wants, ready to be opened at any time.

        Yields
        ------
        tuple of Item and FileStat
            Called ``shard.tar/member``.

        Raises
        ------
        AudioError
            Where the tar breaks off, after all that came before.
        """
        place = 0
        end = _End()
        try:
            with contextlib.ExitStack() as opened:
                tar = self._open(opened, end)
                for member in tar:
                    place = member.offset
                    item = self._item(tar, member, passed_over)
                    if item is None:
                        continue
                    taken = look(item)
                    ready = None if taken is None else self._held(tar, member, taken[0])
                    self.music[item.key.removeprefix(f"{self.item.key}/")] = member.size
                    if taken is not None and ready is not None:
                        yield ready, taken[1]
                place = tar.offset
        except AudioError:
            raise
        except (
            tarfile.TarError,
            EOFError,
            OSError,
            ValueError,
            zlib.error,
            lzma.LZMAError,
        ) as error:
            raise AudioError(self._broken(place, reason(error))) from error
        except Exception as error:  # of any package that fsspec uses
            raise AudioError(self._broken(place, f"{type(error).__name__}: {error}")) from error
        if not end.reached:
            raise AudioError(self._broken(place, end.why))

    def _broken(self, place: int, why: str) -> str:
        return (
            f"this tar is damaged or cut off at byte {place:,} ({why}); what comes before is used "
            f"({len(self.music):,} with music), what follows is not read."
        )

    def _open(self, opened: contextlib.ExitStack, end: "_End") -> tarfile.TarFile:
        origin = self.item.origin
        if origin is None and self.item.name.lower().endswith(".tar"):
            file: BinaryIO = opened.enter_context(self.item.path.open("rb"))
            mode = "r:"
        else:
            file = opened.enter_context(_stream(self.item.path, origin))
            mode = "r|*"
        made = tarfile.open(fileobj=file, mode=mode, tarinfo=end.tarinfo(), bufsize=_BLOCK)  # type: ignore[call-overload]  # noqa: SIM115
        tar: tarfile.TarFile = opened.enter_context(made)
        return tar

    def _item(
        self, tar: tarfile.TarFile, member: tarfile.TarInfo, passed_over: Counter[str]
    ) -> Item | None:
        """Return a member as an item, None for what is no music."""
        tar.members = []  # type: ignore[attr-defined]  # it keeps them all otherwise
        if not member.isreg():
            return None
        name = member.name.removeprefix("./").lstrip("/")
        last = PurePosixPath(name).name
        suffix = PurePosixPath(last).suffix.lower()
        if last.startswith("."):
            passed_over["hidden"] += 1
        elif suffix not in self.extensions or suffix == ".tar":
            passed_over[suffix or "without extension"] += 1
        elif name in self.music:
            passed_over["repeated in a tar"] += 1
        else:
            return self.member(name, member.size)
        return None

    def member(self, name: str, size: int) -> Item:
        """Return a member that cannot be opened yet."""
        where = f"{self.item.name}/{name}"
        seen = FileStat(size, self.seen.mtime_ns, etag=self.seen.etag)
        return self.item._replace(
            key=f"{self.item.key}/{name}",
            path=Path(where),
            given=False,
            where=where,
            origin=Held(b"", where, seen),
        )

    def _held(self, tar: tarfile.TarFile, member: tarfile.TarInfo, item: Item) -> Item:
        """Return an item that can be opened when the tar has gone on.

        Raises
        ------
        AudioError
            If the tar ends before the member does.
        """
        assert item.origin is not None
        name, seen = item.where, item.origin.seen
        if self.item.origin is None and isinstance(tar.fileobj, io.BufferedReader):
            if member.offset_data + member.size > self.seen.size:
                raise AudioError(self._broken(member.offset, "the file ends inside a member"))
            if not member.issparse():
                origin: Origin = Member(self.item.path, name, member.offset_data, seen)
                return item._replace(origin=origin)
        if member.size > MOST_HELD:
            return item._replace(
                error=f"has {member.size / 2**20:,.0f} MB; members of tar files that are "
                f"compressed or behind a URL are held in memory, so {MOST_HELD / 2**20:,.0f} MB "
                "at most."
            )
        file = tar.extractfile(member)
        assert file is not None
        data = file.read()
        if len(data) != member.size:
            raise AudioError(self._broken(member.offset, "the file ends inside a member"))
        return item._replace(origin=Held(data, name, seen))


class _End:
    """Whether a tar has come to its end, which `tarfile` does not tell from a damaged header."""

    def __init__(self) -> None:
        self.reached = False
        self.why = "it has no mark of its end"

    def tarinfo(self) -> type[tarfile.TarInfo]:
        """Return a kind of `TarInfo` that takes note of the end."""
        end = self

        class Noting(tarfile.TarInfo):
            @classmethod
            def frombuf(cls, buf: Any, encoding: str, errors: str) -> Self:
                try:
                    return super().frombuf(buf, encoding, errors)
                except tarfile.HeaderError as error:
                    end.reached = type(error).__name__ == "EOFHeaderError"
                    end.why = end.why if type(error).__name__ == "EmptyHeaderError" else str(error)
                    raise

        return Noting


@contextlib.contextmanager
def _stream(path: Path, origin: Origin | None) -> Iterator[BinaryIO]:
    """Open a file to be read from beginning to end."""
    if not isinstance(origin, RemoteFile):
        with path.open("rb") as file:
            yield file
        return

    def opened() -> Any:
        return origin.system.open(origin.path, "rb", block_size=_BLOCK)

    try:
        with retried(opened, origin.name) as file:
            yield _Retrying(file, origin.name)  # type: ignore[misc]  # all that tarfile needs
    except FileNotFoundError as error:
        raise AudioError(f"there is no such file ({origin.name}).") from error


class _Retrying:
    """A remote file that is read on where a connection was lost."""

    def __init__(self, file: Any, name: str) -> None:
        self._file, self._name, self._at = file, name, 0

    def read(self, size: int) -> bytes:
        def once() -> bytes:
            self._file.seek(self._at)
            data: bytes = self._file.read(size)
            return data

        data = retried(once, self._name)
        self._at += len(data)
        return data
