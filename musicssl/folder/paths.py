"""Paths in a folder of embeddings, and changes that respect what is not ours."""

import contextlib
import errno
import itertools
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath

from musicssl.errors import OutputError

log = logging.getLogger(__name__)

STATE = ".musicssl"  # subfolder for what is no result
SHARD = r"-\d+-of-\d+"  # how `Shard.tag` looks

# Trouble that every file would have: these stop a run. All others are one file's own.
_DISK = (
    *("ENOSPC", "EROFS", "EIO", "EDQUOT", "EFBIG", "ENODEV", "ENXIO", "ENOTCONN", "ENETDOWN"),
    *("ENETUNREACH", "EHOSTDOWN", "EMFILE", "ENFILE", "ENOMEM"),
)
DISK = frozenset(getattr(errno, name) for name in _DISK if hasattr(errno, name))
# Nothing can have such a name, so nothing is there.
NO_SUCH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ})


# A result's name is its source's with a suffix; these also are what stands beside results.
_RESULT = re.compile(
    rf".+\.[^.]+\.(npz|npy|jsonl)|manifest({SHARD})?_*\.jsonl|space\.json"
    rf"|embeddings({SHARD})?\.(parquet|h5)",
    re.DOTALL,
).fullmatch


class TakenError(OutputError):
    """One result cannot have its place; others can."""


def inside(out: Path, name: str) -> Path:
    """Return where a result called `name` lies in `out`.

    Raises
    ------
    TakenError
        If that is not inside `out`, or where the program keeps its own files.
    """
    return not_led_away(out, out / proper(out, name))


def proper(out: Path, name: str) -> str:
    """Return a name that may stand for something in `out`.

    Names come from sources and from manifests, which people share: this is the one place that
    decides whether a name may become a path.

    Raises
    ------
    TakenError
        If it leads elsewhere, or to where the program keeps its own files.
    """
    parts = name.split("/")
    wrong = "\0" in name or not {"", ".", ".."}.isdisjoint(parts)
    if os.name == "nt":
        wrong = wrong or "\\" in name or bool(PureWindowsPath(name).drive)
    with contextlib.suppress(UnicodeEncodeError):
        os.fsencode(name)
        if not wrong and parts[0].casefold() != STATE:
            return name
    raise TakenError(f"{name!r} is no name for a result in {out}.")


def not_led_away(out: Path, path: Path) -> Path:
    """Return `path` unless links on the way lead out of `out`.

    Raises
    ------
    TakenError
        If they do.
    """
    with contextlib.suppress(RuntimeError):  # links in a circle
        if path.parent == out or path.parent.resolve().is_relative_to(out.resolve()):
            return path
    raise TakenError(f"{path.parent} is a link that leads out of {out}; it is not followed.")


def not_a_link(path: Path) -> Path:
    """Return a path of the program's own, which must be no link: writing would go elsewhere.

    Raises
    ------
    OutputError
        If it is one, or nobody may look.
    """
    try:
        linked = path.is_symlink()
    except OSError as error:  # such as in a folder that may be listed but not entered
        raise OutputError(f"{path} cannot be looked at ({error.strerror}).") from error
    if linked:
        raise OutputError(f"{path} is a link; musicssl writes through none. Remove it first.")
    return path


def holds_results(folder: Path) -> bool:
    """Tell whether an earlier run has written its results into a folder."""
    if not os.path.isfile(folder / "space.json"):  # noqa: PTH113 - raises nothing
        return False
    return os.path.lexists(folder / STATE) or os.path.isfile(folder / "manifest.jsonl")  # noqa: PTH113


def is_results_name(name: str) -> bool:
    """Tell whether a file is called like what is written into a folder of results."""
    return _RESULT(name) is not None


def lexists(path: Path) -> bool:
    """Tell whether anything has this name, be it a link that leads nowhere."""
    try:
        path.lstat()
    except OSError as error:
        if error.errno in NO_SUCH:
            return False
        raise
    return True


def remove(path: Path) -> None:
    """Remove a file, if there is one."""
    try:
        path.unlink()
    except OSError as error:
        if error.errno not in NO_SUCH:
            raise


def remove_empty(folder: Path, top: Path) -> None:
    """Remove a folder and those above it up to `top`, which stays, as far as they are empty."""
    with contextlib.suppress(OSError):
        for each in itertools.takewhile(top.__ne__, (folder, *folder.parents)):
            each.rmdir()


def remove_own(folder: Path, ours: Callable[[str], object], *, deep: bool = False) -> None:
    """Remove a folder's files that have names of ours, and the folder if it is empty then.

    `deep` goes into subfolders. Links are not followed.
    """
    if folder.is_symlink():
        return
    entries: list[os.DirEntry[str]] = []
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        entries = list(found)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if deep:
                remove_own(Path(entry.path), ours)
        elif ours(entry.name):
            remove(Path(entry.path))
    with contextlib.suppress(OSError):
        folder.rmdir()


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, however deep: `Path.mkdir` calls itself for each."""
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(exist_ok=True)


def looked_at(path: Path) -> os.stat_result | None:
    """Return the state of what is at a path, None where nothing is or can be.

    Raises
    ------
    OutputError
        If that cannot be told: no permission, links in a circle.
    """
    try:
        return path.stat()
    except OSError as error:
        if error.errno in NO_SUCH:
            return None
        raise OutputError(f"{path} cannot be read ({reason(error)}).") from error


def put_aside(path: Path) -> None:
    """Rename what cannot be used, so that nothing is lost, and say so."""
    for n in itertools.count(1):
        new = path.with_name(f"{path.name}.aside" + (f"-{n}" if n > 1 else ""))
        if not lexists(new):
            break
    with writing(path):
        path.rename(new)
    log.warning("%s cannot be used and is put aside as %s.", path, new.name)


def reason(error: BaseException) -> str:
    """Return in a few words what is behind an error of the operating system or of a package."""
    text = (isinstance(error, OSError) and error.strerror) or str(error)
    for number in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EFBIG, errno.EISDIR):
        if os.strerror(number).casefold() in text.casefold():
            return os.strerror(number)
    return " ".join(text.split())[:200] or type(error).__name__


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name `path` in what the operating system refuses.

    Raises
    ------
    OutputError
        In place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write to {path}: {reason(error)}.") from error


@contextlib.contextmanager
def damage(path: Path) -> Iterator[None]:
    """Name the file in whatever its damage does to the package that reads it.

    Raises
    ------
    OutputError
        In place of any other error.
    """
    try:
        yield
    except OutputError:
        raise
    except Exception as error:
        raise OutputError(
            f"{path} is damaged ({reason(error)}); overwrite puts it aside and embeds all anew."
        ) from error
