"""Places of data sets: a folder on a disk, or one behind a URL, whose files appear whole."""

import contextlib
from pathlib import Path
from typing import Any, Protocol

from musicssl.atomic import atomic_write
from musicssl.audio.remote import filesystem, retried
from musicssl.audio.remote_errors import shown_url, told
from musicssl.errors import AudioError, OutputError
from musicssl.folder.paths import make_folder, not_a_link, reason, writing
from musicssl.source_names import is_url

PARTS = "parts"  # folder
# Stores in which an object appears whole when its upload ends. Elsewhere a file is renamed.
_WHOLE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "hf", "memory"}

_ARCHIVES = {"zip", "tar", "libarchive"}  # which can only be read


class Place(Protocol):
    """A folder of files that appear whole or not at all."""

    name: str  # for messages

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None if there is none."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file, in place of any earlier one."""

    def names(self) -> list[str]:
        """Return the parts' names, sorted."""

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""


class Disk:
    """A folder on a disk."""

    def __init__(self, out: Path) -> None:
        self.out, self.name = out, str(out)

    def read(self, name: str) -> bytes | None:
        try:
            return (self.out / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(f"{self.out / name} cannot be read ({reason(error)}).") from error

    def write(self, name: str, data: bytes) -> None:
        path = not_a_link(self.out / name)
        with writing(path):
            make_folder(path.parent)
            with atomic_write(path, durable=True) as file:
                file.write(data)

    def names(self) -> list[str]:
        found = (self.out / PARTS).glob("part-*.parquet")
        return sorted(f"{PARTS}/{path.name}" for path in found)

    def remove(self, name: str) -> None:
        with writing(self.out / name):
            (self.out / name).unlink(missing_ok=True)


class Store:
    """A place behind a URL, by fsspec."""

    def __init__(self, url: str) -> None:
        self.name = shown_url(url)
        self.url = url
        try:
            self.system, self.path = filesystem(url)
        except AudioError as error:
            raise OutputError(f"{self.name}: {error}") from error
        kinds = self.system.protocol
        kinds = {kinds} if isinstance(kinds, str) else {*kinds}
        self.whole = not _WHOLE.isdisjoint(kinds)
        self.archive = not _ARCHIVES.isdisjoint(kinds)

    def _asked(self, question: Any, name: str, what: str) -> Any:
        try:
            return retried(question, f"{self.name}/{name}")
        except FileNotFoundError:
            raise
        except NotImplementedError as error:
            raise OutputError(
                f"{self.name}: nothing can be written there; results go to a folder on a disk or "
                "into a bucket."
            ) from error
        except Exception as error:  # of any package that fsspec uses
            why = told(error, self.url)
            raise OutputError(f"{self.name}/{name} cannot be {what} ({why}).") from error

    def read(self, name: str) -> bytes | None:
        try:
            data: bytes = self._asked(
                lambda: self.system.cat_file(f"{self.path}/{name}"), name, "read"
            )
        except FileNotFoundError:
            return None
        return data

    def write(self, name: str, data: bytes) -> None:
        path = f"{self.path}/{name}"

        def put() -> None:
            if self.archive:
                raise NotImplementedError
            if self.whole:
                self.system.pipe_file(path, data)
                return
            self.system.makedirs(path.rpartition("/")[0], exist_ok=True)
            hidden = "{}/.{}".format(*path.rsplit("/", 1))
            self.system.pipe_file(hidden, data)
            self.system.mv(hidden, path)

        try:
            self._asked(put, name, "written")
        except FileNotFoundError as error:
            raise OutputError(
                f"{self.name}/{name} cannot be written: there is no such bucket or folder "
                f"({told(error, self.url)})."
            ) from error

    def names(self) -> list[str]:
        folder = f"{self.path}/{PARTS}"
        self.system.invalidate_cache()  # hf:// keeps listings, and others write here too
        try:
            found = self._asked(lambda: self.system.ls(folder, detail=False), PARTS, "listed")
        except FileNotFoundError:
            return []
        names = (str(path).rpartition("/")[2] for path in found)
        return sorted(
            f"{PARTS}/{n}" for n in names if n.startswith("part-") and n.endswith(".parquet")
        )

    def remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._asked(lambda: self.system.rm_file(f"{self.path}/{name}"), name, "removed")


def place_of(out: str | Path) -> Place:
    """Return the place that a path or a URL names."""
    return Store(out) if isinstance(out, str) and is_url(out) else Disk(Path(out))
