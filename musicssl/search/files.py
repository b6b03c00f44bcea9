"""An index on disk: plain numpy arrays, which are memory-mapped, and a description in JSON."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.atomic import atomic_write, atomic_write_text
from musicssl.errors import OutputError
from musicssl.folder.paths import looked_at, reason, writing
from musicssl.search.neighbors import SEARCHERS, Searcher
from musicssl.search.standardize import Standardizer

FORMAT = 1
ABOUT = "index.json"
_ARRAYS = ("units", "lengths", "center", "scale")


@dataclass(frozen=True, eq=False)
class Stored:
    """All that an index is made of."""

    units: NDArray[np.float32]  # (n, dim), standardized, of length 1
    lengths: NDArray[np.float32]  # (n,), before that
    standardizer: Standardizer
    names: list[str]
    paths: list[str]
    space: str
    settings: dict[str, Any]


def write_index(folder: Path, stored: Stored, searcher: Searcher | None) -> None:
    """Write an index; until all of it is there, its description says that it is unfinished.

    Raises
    ------
    OutputError
        If the folder holds something else or cannot be written to.
    """
    arrays: dict[str, NDArray[Any]] = {
        "units": stored.units,
        "lengths": stored.lengths,
        "center": stored.standardizer.center,
        "scale": stored.standardizer.scale,
    }
    about = {
        "format": FORMAT,
        "space": stored.space,
        "settings": stored.settings,
        "names": stored.names,
        "paths": stored.paths,
    }
    with writing(folder):
        if folder.is_dir() and any(folder.iterdir()) and not _is_index(folder):
            raise OutputError(
                f"{folder} holds something else than an index; choose another folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_text(folder / ABOUT, json.dumps({"format": FORMAT, "space": None}))
        for kind in SEARCHERS.values():
            if kind.suffix is not None:
                (folder / f"graph{kind.suffix}").unlink(missing_ok=True)
        for name, array in arrays.items():  # new files: the old one may be mapped to memory
            with atomic_write(folder / f"{name}.npy") as file:
                np.save(file, array)
        if searcher is not None and searcher.suffix is not None:
            searcher.save(folder / f"graph{searcher.suffix}")
        atomic_write_text(folder / ABOUT, json.dumps(about))


def read_index(folder: Path) -> Stored:
    """Read an index; its vectors stay on disk until they are needed.

    Raises
    ------
    OutputError
        If there is none, or it is damaged.
    """
    if looked_at(folder / ABOUT) is None:
        raise OutputError(f"{folder} holds no index: there is no {ABOUT} in it.")
    try:
        about = json.loads((folder / ABOUT).read_bytes())
        _check_finished(about)
        found = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        _check(found, about)
    except Exception as error:  # whatever damage does to numpy and json
        raise OutputError(f"the index in {folder} cannot be read ({reason(error)}).") from error
    return Stored(
        found["units"],
        np.asarray(found["lengths"]),
        Standardizer(np.array(found["center"]), np.array(found["scale"])),
        about["names"],
        about["paths"],
        about["space"],
        about["settings"],
    )


def _is_index(folder: Path) -> bool:
    """Tell whether a folder's description is of an index, finished or not."""
    try:
        about = json.loads((folder / ABOUT).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return False
    return isinstance(about, dict) and {"format", "space"} <= about.keys()


def _check_finished(about: dict[str, Any]) -> None:
    """Raise a ValueError if an index was not written to its end."""
    if about.get("format") == FORMAT and about.get("space", "") is None:
        raise ValueError("saving it came to no end: save it again")


def _check(found: dict[str, NDArray[Any]], about: dict[str, Any]) -> None:
    """Raise a ValueError if the parts of an index do not fit each other."""
    if about.get("format") != FORMAT:
        raise ValueError(f"format {about.get('format')!r}; this version reads {FORMAT}")
    n, dim = found["units"].shape
    shapes = {"units": (n, dim), "lengths": (n,), "center": (dim,), "scale": (dim,)}
    for name, shape in shapes.items():
        if found[name].shape != shape or found[name].dtype.kind != "f":
            raise ValueError(f"{name}.npy holds {found[name].dtype} {found[name].shape}")
        # the vectors, which may be many, are looked at where they are compared
        if name != "units" and not np.isfinite(found[name]).all():
            raise ValueError(f"{name}.npy holds NaN or infinity")
    for name in ("names", "paths"):
        texts = about[name]
        if len(texts) != n or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{n} vectors, but not as many {name}")
    if not isinstance(about["space"], str) or not isinstance(about["settings"], dict):
        raise ValueError("its space is not told")
