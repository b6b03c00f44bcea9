"""The folder of a release, which appears whole or not at all."""

import contextlib
import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

from musicssl.checkpoint.files import read_config
from musicssl.checkpoint.names import CARD, CONFIG, TRAINING_INFO, WEIGHTS
from musicssl.errors import ModelError, OutputError
from musicssl.folder.paths import lexists, writing
from musicssl_training.output import make_output_folder
from musicssl_training.release.lineage import is_release

FILES = (CONFIG, WEIGHTS, TRAINING_INFO, CARD)


def check_place(out: Path, run: Path) -> None:
    """Refuse to write a release over anything but an earlier one.

    Parameters
    ----------
    out
        Its folder.
    run
        Folder of the run.

    Raises
    ------
    OutputError
        If `out` is a file, holds anything else, or is the run's own folder.
    """
    if not lexists(out):
        return
    if not out.is_dir():
        raise OutputError(f"{out} is no folder; OUT is the folder of the model.")
    if run.is_dir() and out.samefile(run):
        raise OutputError(f"{out} is the run itself; a release needs a folder of its own.")
    names = {path.name for path in out.iterdir()}
    if not names:
        return
    others = sorted(names - {*FILES})
    if others or not _holds_release(out):
        what = f"holds {others[0]}" if others else "holds files that no release has written"
        raise OutputError(
            f"{out} {what}; a release takes the place of nothing but an earlier one. Give another "
            "OUT, or move what is there."
        )


def _holds_release(folder: Path) -> bool:
    """Tell whether a release has written what is there."""
    try:
        read_config(folder)
    except ModelError:
        return False
    return (folder / WEIGHTS).is_file() and is_release(folder / TRAINING_INFO)


@contextlib.contextmanager
def growing(out: Path) -> Iterator[Path]:
    """Give a new folder beside `out`, whose place it takes when the block ends, and not before.

    If the block raises, `out` stays what it was and nothing is left beside it.

    Yields
    ------
    Path
        The new folder.

    Raises
    ------
    OutputError
        If it cannot be made, or put in place.
    """
    place = out.resolve()  # behind a link
    make_output_folder(place.parent)
    part = _free(place, "part")
    with writing(out):
        part.mkdir()
    try:
        yield part
        with writing(out):
            _put(part, place)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(part: Path, place: Path) -> None:
    """Move a folder to a place; what is there is removed once it has gone well."""
    former = _free(place, "former")
    there = place.exists()
    if there:
        place.rename(former)
    try:
        part.rename(place)
    except BaseException:
        if there:
            former.rename(place)
        raise
    shutil.rmtree(former, ignore_errors=True)


def _free(place: Path, what: str) -> Path:
    """Return a hidden name beside a place that nothing has, perhaps since a kill."""
    for n in itertools.count(1):
        found = place.with_name(f".{place.name}.{what}" + (f"-{n}" if n > 1 else ""))
        if not lexists(found):
            return found
    raise AssertionError
