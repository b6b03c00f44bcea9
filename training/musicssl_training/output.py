"""Folders that a command is told to write to."""

from pathlib import Path

from musicssl.folder.paths import make_folder, writing


def make_output_folder(folder: Path) -> None:
    """Make a folder and those above it, if they are not there yet.

    Raises
    ------
    OutputError
        If that cannot be: a file has the name, no permission, a full disk.
    """
    with writing(folder):
        make_folder(folder)
