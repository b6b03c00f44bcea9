"""Files that appear whole or not at all."""

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def atomic_write(
    path: Path, *, part: Path | None = None, durable: bool = False
) -> Iterator[BinaryIO]:
    """Open a file to write that takes the place of `path` when the block ends, and not before.

    If the block raises, `path` stays what it was and nothing is left beside it; if the process is
    killed, `part` is left.

    Parameters
    ----------
    path
        What is written; its folder exists.
    part
        Where the content grows, on the same file system, in place of what is there; by default a
        new hidden file beside `path`, one for each that writes it at the same time.
    durable
        Wait until the content is on the disk: otherwise a power cut soon after may leave the new
        name without content.

    Yields
    ------
    BinaryIO
        The open file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder, "a.txt")) as file:
    ...         _ = file.write(b"whole")
    ...     [path.name for path in Path(folder).iterdir()]
    ['a.txt']
    """
    file = _beside(path) if part is None else part.open("wb")
    part = Path(file.name)
    try:
        with file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            part.unlink(missing_ok=True)
        raise


def _beside(path: Path) -> BinaryIO:
    """Open a new file; what has its name already, perhaps since a kill, may be the user's."""
    for n in itertools.count(1):
        part = path.with_name(f".{path.name}.part" + (f"-{n}" if n > 1 else ""))
        with contextlib.suppress(FileExistsError):
            return part.open("xb")
    raise AssertionError


def atomic_write_text(path: Path, text: str, *, part: Path | None = None) -> None:
    """Write a text file in UTF-8, as `atomic_write` does."""
    with atomic_write(path, part=part) as file:
        file.write(text.encode("utf-8"))
