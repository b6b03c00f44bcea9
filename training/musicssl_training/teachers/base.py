"""The interface of a teacher, and where its weights lie."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import DependencyError
from musicssl_training.data.teaching import Facts

__all__ = ["Facts", "Teacher", "package_folder", "sha256_of"]


class Teacher(ABC):
    """A model of somebody's that says something of music, which an encoder is to learn.

    Many threads ask it at a time.
    """

    facts: Facts
    sample_rate: int  # Hz, of what it hears

    @abstractmethod
    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        """Yield what it says of one recording, in parts of shape (steps, size).

        Parameters
        ----------
        blocks
            The recording, mono in [-1, 1], piece by piece at the teacher's sample rate: 10 s in
            each but the last.
        """


def package_folder(name: str, install: str) -> Path:
    """Return where a package lies, without importing it: its weights are all that is needed.

    Raises
    ------
    DependencyError
        If it is not installed; says to do `install`.
    """
    found = find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise DependencyError(f"this teacher's weights are in the package {name}: {install}")
    return Path(found.submodule_search_locations[0])


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
