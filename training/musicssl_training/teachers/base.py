"""The interface of a teacher, and where its weights lie."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError, DependencyError, ModelError, shown
from musicssl_training.data.facts import Facts

__all__ = ["Facts", "Teacher", "check_teacher", "package_file", "package_folder", "sha256_of"]


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


def check_teacher(teacher: Teacher) -> Facts:
    """Return a teacher's facts.

    Raises
    ------
    ConfigError
        If it does not say what it gives, or what it hears.
    """
    name = type(teacher).__name__
    facts, rate = getattr(teacher, "facts", None), getattr(teacher, "sample_rate", None)
    if not isinstance(facts, Facts):
        raise ConfigError(f"teacher {name}: facts must be a Facts, got {shown(facts, kind=True)}.")
    if not isinstance(rate, int) or rate < 1:
        raise ConfigError(
            f"teacher {name}: sample_rate must be a whole number of Hz, got {shown(rate)}."
        )
    return facts


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


def package_file(name: str, file: Path, sha256: str, install: str) -> Path:
    """Return where a file of a package lies that is the one which is known.

    Parameters
    ----------
    name
        Of the package.
    file
        Its place in the package.
    sha256
        Of the file.
    install
        The command that brings it.

    Raises
    ------
    DependencyError
        If the package is not installed.
    ModelError
        If there is no such file in it, or another one.
    """
    path = package_folder(name, install) / file
    if not path.is_file():
        raise ModelError(f"there is no file {path}: is it another version of {name}? {install}")
    found = sha256_of(path)
    if found != sha256:
        raise ModelError(
            f"{path} is not the file that this teacher reads (SHA-256 {found[:12]}, not "
            f"{sha256[:12]}): is it another version of {name}, or damaged? {install}"
        )
    return path


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file."""
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
