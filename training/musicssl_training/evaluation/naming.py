"""From what the command line names to whose embedding is measured."""

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from musicssl.errors import ConfigError, DependencyError
from musicssl.model import MusicEncoder, load_model
from musicssl_training.evaluation.baselines import BASELINES
from musicssl_training.evaluation.embedders import (
    ArrayEmbedder,
    BaselineEmbedder,
    Embedder,
    FunctionEmbedder,
    ModelEmbedder,
)

RANDOM = "random"


@dataclass(frozen=True)
class Spec:
    """What a text such as ``musicssl-small:layer=6,pooling=meanstd`` asks for."""

    name: str
    choices: dict[str, Any] = field(default_factory=dict)


def parse_spec(text: str) -> Spec:
    """Read ``NAME[:layer=...,pooling=...]``; layers are joined by ``+``, as in ``layer=2+5``.

    Raises
    ------
    ConfigError
        For a choice that does not exist.
    """
    name, colon, tail = text.rpartition(":")
    if not colon or "=" not in tail:
        return Spec(text)
    choices: dict[str, Any] = {}
    for part in tail.split(","):
        key, _, value = part.partition("=")
        if key not in ("layer", "pooling", "seed"):
            raise ConfigError(f"model {text!r}: {key!r} is none of layer, pooling, seed.")
        choices[key] = value
    try:
        if "layer" in choices and choices["layer"] not in ("all", "auto"):
            numbers = [int(n) for n in choices["layer"].split("+")]
            choices["layer"] = numbers
        if "seed" in choices:
            choices["seed"] = int(choices["seed"])
    except ValueError as error:
        raise ConfigError(
            f"model {text!r}: layer and seed are numbers, as in layer=2+5."
        ) from error
    return Spec(name, choices)


def make_embedder(text: str) -> Embedder:
    """Return whose embedding a text names.

    Parameters
    ----------
    text
        A key of `BASELINES`; a bundled model, checkpoint folder or Hugging Face repository, with
        ``:layer=6,pooling=meanstd`` behind it or not; ``random`` or ``random=MODEL`` for that
        model's architecture with random weights (``:seed=1``); ``module:function``; or a folder
        of arrays.

    Raises
    ------
    ConfigError
        If it names nothing.
    """
    if text in BASELINES:
        return BaselineEmbedder(text)
    spec = parse_spec(text)
    if spec.name == RANDOM or spec.name.startswith(f"{RANDOM}="):
        return _random(spec, text)
    if spec.name.count(":") == 1 and not spec.choices and not Path(spec.name).exists():
        return _function(spec.name)
    folder = Path(spec.name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        if spec.choices:
            raise ConfigError(f"{text!r}: {folder} holds no model, so nothing of it can be chosen.")
        return ArrayEmbedder(folder, folder.name)
    if "seed" in spec.choices:
        raise ConfigError(f"{text!r}: only random weights have a seed.")
    model = load_model(spec.name)
    tail = text[len(spec.name) :]
    return ModelEmbedder(model, folder.name + tail, **spec.choices)


def _random(spec: Spec, text: str) -> Embedder:
    """Return a model's architecture with random weights; the global random state stays."""
    choices = dict(spec.choices)
    seed = choices.pop("seed", 1)
    _, _, name = spec.name.partition("=")
    pattern = load_model(name or None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MusicEncoder(pattern.config).to(pattern.device)
    model.model_id = f"{RANDOM}-seed{seed}"
    return ModelEmbedder(model.requires_grad_(False).eval(), text, **choices)


def _function(text: str) -> Embedder:
    module, _, name = text.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise DependencyError(f"model {text!r}: there is no module {error.name!r} here.") from error
    except AttributeError as error:
        raise ConfigError(f"model {text!r}: module {module!r} has no {name!r}.") from error
    if not callable(function):
        raise ConfigError(f"model {text!r}: {name!r} cannot be called.")
    return FunctionEmbedder(function, text)
