"""A model's name to the folder that its checkpoint stands in."""

import os
import re
import stat
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from musicssl.checkpoint.bundled import bundled_models
from musicssl.checkpoint.hub.messages import say_lacking
from musicssl.checkpoint.hub.repository import check_revision, open_repository
from musicssl.checkpoint.names import CONFIG, DEFAULT_MODEL, WEIGHTS
from musicssl.checkpoint.untrusted import printable
from musicssl.errors import ModelError, nearest, shown

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+", re.ASCII)


@dataclass(frozen=True)
class Checkpoint:
    """A folder with config.json and model.safetensors, and where it comes from."""

    folder: Path
    model_id: str
    revision: str | None  # of a repository: the commit


def find_checkpoint(
    model: str | Path | None = None,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Checkpoint:
    """Return the folder of a model, downloaded if need be.

    Parameters
    ----------
    model
        None for the bundled default, a bundled model's name, a checkpoint folder, or a repository
        ``owner/name``. A `Path` is always a folder.
    revision
        Branch, tag or commit of a repository. A whole commit hash that is cached needs no network.
    cache_dir, token, local_files_only, force_download
        As in `huggingface_hub.hf_hub_download`; the variables HF_HOME, HF_HUB_CACHE, HF_TOKEN,
        HF_ENDPOINT and HF_HUB_OFFLINE hold too.

    Returns
    -------
    Checkpoint
        Of a repository: both files of one commit, the weights compared with the Hub's SHA-256
        where the cache keeps that, and fetched again if they differed.

    Raises
    ------
    ModelError
        If there is no such model, or it cannot be fetched.
    """
    if model is not None and not isinstance(model, (str, Path)):
        raise ModelError(
            f"model must be a name, a folder or a repository, got {shown(model, kind=True)}."
        )
    name = DEFAULT_MODEL if model is None else str(model)
    bundled = None if isinstance(model, Path) else bundled_models().get(name)
    folder = bundled or Path(os.path.expanduser(name))  # noqa: PTH111
    if bundled or _is_file(folder / CONFIG):
        if revision is not None:
            raise ModelError(
                f"revision {shown(revision)} was given for {shown(name)}, which is "
                f"{'bundled' if bundled else 'a folder'}; only repositories have revisions."
            )
        check_folder(folder)
        return Checkpoint(folder, name if bundled else folder.resolve().name, None)
    if isinstance(model, Path) or not REPOSITORY.fullmatch(name):
        raise ModelError(_unknown(name, folder))
    repository = open_repository(
        name,
        cache_dir,
        token,
        local_files_only=local_files_only,
        force_download=force_download,
    )
    folder, commit = repository.fetch(check_revision(revision))
    return Checkpoint(folder, name, commit)


def check_folder(folder: Path) -> None:
    """Refuse a folder without the files of a checkpoint."""
    for file in (CONFIG, WEIGHTS):
        if not _is_file(folder / file):
            fault = _fault(folder / file)
            raise ModelError(fault or say_lacking(printable(folder), file, _names(folder)))


def _is_file(path: Path) -> bool:
    """Tell whether there is a file: not where that cannot be told."""
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def _fault(path: Path) -> str:
    """Return what is there instead of a file, or keeps us from telling; nothing if nothing is."""
    try:
        there = stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return ""
    except OSError as error:
        return f"{shown(str(path))} cannot be looked at: {error.strerror}."
    return "" if there else f"{shown(str(path))} is not a file."


def _unknown(name: str, folder: Path) -> str:
    """Say why `name` is no model."""
    if fault := _fault(folder / CONFIG):
        return fault
    if folder.is_file():
        return f"{shown(name)} is a file; give the checkpoint folder that it stands in."
    if folder.is_dir():
        return say_lacking(printable(name), CONFIG, _names(folder))
    models = list(bundled_models())
    names = ", ".join(models) or "none here"
    return (
        f"model {shown(name)} is unknown: expected a bundled model ({names}), a folder with "
        "config.json and model.safetensors, or a Hugging Face repository 'owner/name'."
        f"{nearest(name[:100], models)}"
    )


def _names(folder: Path) -> list[str]:
    """Return what a folder holds, for a message: some of it, if it is much."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in islice(entries, 1000)]
    except OSError:
        return []
