"""The folder of a corpus: what in it this command has written, and may replace."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from musicssl.atomic import atomic_write_text
from musicssl.errors import OutputError
from musicssl_training.corpus.errors import UnavailableError
from musicssl_training.corpus.extraction import EVIDENCE, MUSIC
from musicssl_training.corpus.mix import MIX, WITHOUT, beside
from musicssl_training.corpus.summary import INDEX, LEFT_OUT, TABLES
from musicssl_training.data.index import read_rows

STATE = ".corpus"  # folder in OUT of what the next run goes on from
KINDS = (MUSIC, EVIDENCE)
MIXES = (MIX, WITHOUT.format("*"))  # patterns


def check_folder(out: Path) -> None:
    """Make sure that a folder is new, empty, or a corpus that this command has written.

    Raises
    ------
    OutputError
        If it is none of these.
    """
    if not os.path.lexists(out):
        return
    if not out.is_dir():
        raise OutputError(f"{out} is no folder.")
    state, names = out / STATE, sorted(entry.name for entry in out.iterdir())
    if names and (not state.is_dir() or state.is_symlink()):
        raise OutputError(
            f"{out} is neither empty nor a corpus that this command has written: it holds "
            f"{', '.join(names[:3])}{', ...' if names[3:] else ''}. Name a new folder."
        )
    for name, columns in TABLES.items():
        file = out / name
        if os.path.lexists(file) and not _begins(file, ",".join(columns)):
            raise OutputError(f"{file} was not written by this command: move it elsewhere.")


def _begins(file: Path, line: str) -> bool:
    """Tell whether a regular file has this first line."""
    if file.is_symlink() or not file.is_file():
        return False
    with file.open("rb") as data:
        return data.readline(1000).rstrip(b"\r\n") == line.encode()


def replace_source(out: Path, name: str, part: Path) -> None:
    """Put what was taken from a source, ``part/music`` and ``part/evidence``, in its place.

    What is written down beforehand are all files that are this command's, old and new: a run that
    is stopped anywhere leaves none that the next one does not know.

    Raises
    ------
    UnavailableError
        As `check_source`; nothing is replaced then.
    """
    check_source(out, name)
    new = {f"{kind}/{name}/{path}" for kind in KINDS for path in _files(part / kind)}
    _claim(out, name, claimed(out, name) | new)
    for kind in KINDS:
        if (out / kind / name).exists():
            shutil.rmtree(out / kind / name)
        if (part / kind).is_dir():
            (out / kind).mkdir(exist_ok=True)
            (part / kind).rename(out / kind / name)
    _claim(out, name, new)


def check_source(out: Path, name: str) -> None:
    """Make sure that the folders of a source hold nothing but what this command has written.

    Raises
    ------
    UnavailableError
        If they do, or a link, which leads elsewhere, stands in the place of one.
    """
    folders = [out / kind / name for kind in KINDS]
    for folder in folders:
        for place in (folder.parent, folder):
            if place.is_symlink():
                raise UnavailableError(f"{place} is a link; remove it.")
        if folder.exists() and not folder.is_dir():
            raise UnavailableError(f"{folder} is no folder; move it elsewhere.")
    there = {f"{kind}/{name}/{path}" for kind in KINDS for path in _files(out / kind / name)}
    if strange := sorted(there - claimed(out, name)) if there else []:
        raise UnavailableError(
            f"{len(strange)} files in its place were not written by this command, such as "
            f"{out / strange[0]}: move them elsewhere."
        )


def claimed(out: Path, name: str) -> set[str]:
    """Return the paths in OUT of all files of a source that this command has written."""
    try:
        return set(json.loads(_claims(out, name).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return set()


def claim_earlier(out: Path) -> None:
    """Write down which files are this command's in a corpus made before that was done.

    All at once, and first: the tables that tell of them are written anew by every run.
    """
    names = {place.name for kind in KINDS for place in (out / kind).glob("*") if place.is_dir()}
    for name in sorted(names):
        if not _claims(out, name).exists() and (paths := _told(out, name)):
            _claim(out, name, paths)


def _claims(out: Path, name: str) -> Path:
    return out / STATE / f"{name}.written"


def _claim(out: Path, name: str, paths: Iterable[str]) -> None:
    atomic_write_text(_claims(out, name), json.dumps(sorted(paths)))


def _told(out: Path, name: str) -> set[str]:
    """Return the files of a source of which the state, the tables and the mixes tell."""
    music, evidence = (f"{kind}/{name}/" for kind in KINDS)
    paths: set[str] = set()
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        said = json.loads((out / STATE / f"{name}.json").read_text(encoding="utf-8"))
        paths |= {music + file["path"] for file in said["files"]}
        paths |= {evidence + path for path in said["evidence"]}
    if (out / INDEX).is_file():
        rows = [row for row in read_rows(out / INDEX, ()) if row["path"].startswith(music)]
        paths |= {row["path"] for row in rows}
        stated = {row["evidence"] for row in rows}
        files = {evidence + path for path in _files(out / EVIDENCE / name)}
        paths |= {file for file in files if any(file in text for text in stated)}
    if (out / LEFT_OUT).is_file():
        rows = read_rows(out / LEFT_OUT, ())
        paths |= {music + row["path"] for row in rows if row["source"] == name}
    for mix in (mix for pattern in MIXES for mix in (out / MUSIC / name).rglob(pattern)):
        said_of = Path(beside(str(mix)))
        if said_of.is_file():  # and so the mix and its stems are ours
            stems = json.loads(said_of.read_text(encoding="utf-8"))
            ours = [mix, said_of, *(mix.parent / stem for stem in stems)]
            paths |= {file.relative_to(out).as_posix() for file in ours}
    return paths


def _files(folder: Path) -> set[str]:
    """Return the paths of all that is no folder in a folder; none if it is not there."""
    found = set()
    for place, folders, files in os.walk(folder):
        links = [name for name in folders if Path(place, name).is_symlink()]
        found |= {Path(place, name).relative_to(folder).as_posix() for name in (*files, *links)}
    return found
