"""`kept_model`: models that a process loads once."""

import os
from pathlib import Path

import torch

from musicssl import arguments, forking
from musicssl.checkpoint.bundled import bundled_models
from musicssl.checkpoint.names import CONFIG, DEFAULT_MODEL, WEIGHTS
from musicssl.model import MusicEncoder, load_model

Key = tuple[object, ...]
_models: dict[Key, tuple[Key, MusicEncoder]] = {}  # where from: in which state, and what
_loading = forking.Lock()


def kept_model(
    model: str | Path | None, revision: str | None, device: torch.device
) -> MusicEncoder:
    """Return a model loaded before in this process, loading it the first time."""
    if revision is not None:
        arguments.text(revision, "revision")
    source, state = _identify(model)
    key = (*source, revision, device)
    if (kept := _models.get(key)) and kept[0] == state:
        return kept[1]
    with _loading:
        if not (kept := _models.get(key)) or kept[0] != state:
            kept = _models[key] = state, load_model(model, revision=revision, device=device)
        return kept[1]


def _identify(model: str | Path | None) -> tuple[Key, Key]:
    """Return what a model's name stands for now, and the state that its files are in."""
    if model is None or (isinstance(model, str) and model in bundled_models()):
        return ("bundled", model or DEFAULT_MODEL), ()
    folder = Path(os.path.realpath(os.path.expanduser(model)))  # noqa: PTH111, of nobody's home
    try:
        files = [(folder / name).stat() for name in (CONFIG, WEIGHTS)]
    except OSError:  # no folder, or one that will be refused
        return ("elsewhere", model), ()
    return ("folder", folder), tuple((x.st_mtime_ns, x.st_size, x.st_ino) for x in files)
