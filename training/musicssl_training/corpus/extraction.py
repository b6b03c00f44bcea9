"""Writing the wanted files of a source into a folder: whole, or not at all."""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from musicssl_training.corpus.errors import ArchiveError
from musicssl_training.corpus.members import UNREADABLE, Member, Members, Refused, zip_members
from musicssl_training.corpus.patterns import INSIDE, expand_braces, matcher
from musicssl_training.corpus.recipe import FolderSource, SourceSpec

log = logging.getLogger(__name__)
MAX_FILE = 2 * 2**30  # bytes of one file
MAX_ARCHIVE = 8 * 2**30  # bytes of an archive inside of a source
MAX_SOURCE = 16 * 2**30  # bytes of all wanted files of a source
BLOCK = 2**20
# what the name of an archive's member may be to blame for, and the disk is not
NAMES = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EINVAL, errno.EILSEQ)
UNREACHABLE = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.EIO)  # files of a folder
MUSIC, EVIDENCE = "music", "evidence"


@dataclass(frozen=True)
class Taken:
    """A file of a source as it was written."""

    path: str
    sha256: str
    size: int


@dataclass
class Loot:
    """What was taken from a source, and what was not, with the reason, by path."""

    files: list[Taken] = field(default_factory=list)
    evidence: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    mixed: list[str] = field(default_factory=list)  # of the files, those that are sums of stems


class Wanted:
    """Which paths of a source are music, evidence, or archives that hold some."""

    def __init__(self, spec: SourceSpec) -> None:
        index = (spec.index,) if isinstance(spec, FolderSource) and spec.index else ()
        self._include, self._evidence = matcher(spec.include), matcher(spec.evidence)
        self._index = index
        each = (one for pattern in spec.include for one in expand_braces(pattern))
        self._named = matcher(pattern for pattern in each if not pattern.endswith("*"))
        nested = [p for p in (*spec.include, *spec.evidence) if INSIDE in p]
        self._archives = matcher(pattern.partition(INSIDE)[0] for pattern in nested)
        self._exclude = [(matcher(rule.paths), rule.reason) for rule in spec.exclude]

    def music(self, path: str) -> bool:
        """Whether it is included, and perhaps excluded again."""
        return self._include(path) and not self.evidence(path)

    def evidence(self, path: str) -> bool:
        """Whether it states a licence, whatever else matches it."""
        return self._evidence(path) or path in self._index

    def named(self, path: str) -> bool:
        """Whether the recipe says what it is called: ``*.ogg`` does, ``songs/**`` does not."""
        return self._named(path)

    def archive(self, path: str) -> bool:
        """Whether a pattern looks into it."""
        return self._archives(path)

    def any(self, path: str) -> bool:
        """Whether the file itself must be read."""
        taken = self.music(path) and not self.excluded(path)
        return taken or self.evidence(path) or self.archive(path)

    def excluded(self, path: str) -> str:
        """Return why the recipe excludes it, if it does."""
        return next((reason for matches, reason in self._exclude if matches(path)), "")


def take(spec: SourceSpec, members: Members, into: Path, *, link: bool = False) -> Loot:
    """Write the wanted files of a source into ``into/music`` and ``into/evidence``.

    Parameters
    ----------
    spec
        The source.
    members
        Its files.
    into
        A folder.
    link
        Whether files of a folder get a second name there, where the disk is the same, and are not
        copied.

    Raises
    ------
    ArchiveError
        If the source is damaged or too large, or holds no music that is wanted.
    """
    wanted, loot = Wanted(spec), Loot()
    for member in _nested(members, wanted, into):
        path = member.path
        music, excluded = wanted.music(path), wanted.excluded(path)
        if music and excluded:
            loot.left_out[path] = excluded
        elif isinstance(member, Refused):
            if music or wanted.evidence(path):
                loot.left_out[path] = member.reason
        elif music or wanted.evidence(path):
            _write(member, into, loot, MUSIC if music else EVIDENCE, link)
    if not loot.files:
        beside = " but its evidence" if loot.evidence else ""
        raise ArchiveError(f"it holds none of {', '.join(spec.include)}{beside}.")
    return loot


def _nested(members: Members, wanted: Wanted, scratch: Path) -> Members:
    """Yield the members, and in place of the wanted archives those inside of them."""
    for member in members:
        if isinstance(member, Refused) or not wanted.archive(member.path):
            yield member
            continue
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=scratch) as spool, member.open() as packed:
            _copy(packed, spool.write, MAX_ARCHIVE, member.path)
            yield from zip_members(spool, member.path)


def _write(member: Member, into: Path, loot: Loot, kind: str, link: bool) -> None:
    """Write a member, or note why it cannot be written."""
    target = into / kind / member.path
    left = MAX_SOURCE - sum(file.size for file in loot.files)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if member.file is not None:
            digest, size = _duplicate(member.file, target, link)
        else:
            with target.open("xb") as out, member.open() as data:
                digest, size = _copy(data, out.write, min(MAX_FILE, left), member.path)
    except OSError as error:
        if error.errno in NAMES:
            loot.left_out[member.path] = f"cannot be written: {error.strerror}"
        elif member.file is not None and error.errno in UNREACHABLE:
            loot.missing[member.path] = f"cannot be read: {error.strerror}"
            target.unlink(missing_ok=True)  # the beginning, or a second name
        else:
            raise
        return
    if kind == MUSIC:
        loot.files.append(Taken(member.path, digest, size))
    else:
        loot.evidence.append(member.path)


def _copy(data: IO[bytes], write: Callable[[bytes], int], limit: int, path: str) -> tuple[str, int]:
    """Copy, and return the SHA-256 and the size."""
    digest, size = hashlib.sha256(), 0
    for block in _blocks(data, path):
        size += len(block)
        if size > limit:
            raise ArchiveError(f"{path} has more than {limit:,} bytes.")
        digest.update(block)
        write(block)
    return digest.hexdigest(), size


def _blocks(data: IO[bytes], path: str) -> Iterator[bytes]:
    """Yield what is read; an error there is the archive's, one of writing is the disk's."""
    while True:
        try:
            block = data.read(BLOCK)
        except ArchiveError:
            raise
        except UNREADABLE as error:
            raise ArchiveError(f"{path} is damaged: {error}.") from error
        if not block:
            return
        yield block


def _duplicate(file: Path, target: Path, link: bool) -> tuple[str, int]:
    """Copy a file, or give it a second name if that can be; return the SHA-256 and the size."""
    linked = False
    if link:
        with contextlib.suppress(OSError, NotImplementedError):  # another disk
            os.link(file, target, follow_symlinks=False)
            linked = True
    if not linked:
        with file.open("rb") as data, target.open("xb") as out:
            shutil.copyfileobj(data, out, BLOCK)
    with target.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest(), target.stat().st_size
