"""Files that appear whole or not at all."""

import contextlib
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
        Where the content grows, on the same file system; by default a hidden file beside `path`.
        Processes that may write one `path` at the same time need one each.
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
    part = path.with_name(f".{path.name}.part") if part is None else part
    try:
        with part.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            part.unlink(missing_ok=True)
        raise


def atomic_write_text(path: Path, text: str, *, part: Path | None = None) -> None:
    """Write a text file in UTF-8, as `atomic_write` does."""
    with atomic_write(path, part=part) as file:
        file.write(text.encode("utf-8"))
