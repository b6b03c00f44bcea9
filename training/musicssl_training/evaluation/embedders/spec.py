"""Parsing of MODEL arguments into embedders."""

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from musicssl.errors import ConfigError, DependencyError
from musicssl.model import MusicEncoder, load_model
from musicssl_training.evaluation.embedders.adapters import (
    ArrayEmbedder,
    BaselineEmbedder,
    FunctionEmbedder,
    ModelEmbedder,
)
from musicssl_training.evaluation.embedders.base import Embedder
from musicssl_training.evaluation.embedders.baselines import BASELINES
from musicssl_training.evaluation.embedders.supervision import UNTRAINED, model_supervision

RANDOM = "random"


@dataclass(frozen=True)
class ModelSpec:
    """A parsed MODEL argument, such as ``musicssl-small:layer=6,pooling=meanstd``."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


def parse_spec(text: str) -> ModelSpec:
    """Parse ``NAME[:layer=...,pooling=...]``; layers are joined by ``+``, as in ``layer=2+5``.

    Raises
    ------
    ConfigError
        For an unknown option.
    """
    name, colon, tail = text.rpartition(":")
    if not colon or "=" not in tail:
        return ModelSpec(text)
    options: dict[str, Any] = {}
    for part in tail.split(","):
        key, _, value = part.partition("=")
        if key not in ("layer", "pooling", "seed"):
            raise ConfigError(f"model {text!r}: {key!r} is none of layer, pooling, seed.")
        options[key] = value
    try:
        if "layer" in options and options["layer"] not in ("all", "auto"):
            options["layer"] = [int(n) for n in options["layer"].split("+")]
        if "seed" in options:
            options["seed"] = int(options["seed"])
    except ValueError as error:
        raise ConfigError(
            f"model {text!r}: layer and seed are numbers, as in layer=2+5."
        ) from error
    return ModelSpec(name, options)


def make_embedder(text: str) -> Embedder:
    """Return the embedder that a MODEL argument describes.

    Parameters
    ----------
    text
        A key of `BASELINES`; a bundled model, checkpoint folder or Hugging Face repository,
        optionally followed by ``:layer=6,pooling=meanstd``; ``random`` or ``random=MODEL`` for
        that model's architecture with random weights (``:seed=1``); ``module:function``; or a
        folder of arrays.

    Raises
    ------
    ConfigError
        If it matches none of these.
    """
    if text in BASELINES:
        return BaselineEmbedder(text)
    spec = parse_spec(text)
    if spec.name == RANDOM or spec.name.startswith(f"{RANDOM}="):
        return _random(spec, text)
    if spec.name.count(":") == 1 and not spec.options and not Path(spec.name).exists():
        return _function(spec.name)
    folder = Path(spec.name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        if spec.options:
            raise ConfigError(
                f"{text!r}: {folder} holds arrays, not a model, so it has no options."
            )
        return ArrayEmbedder(folder, folder.name)
    if "seed" in spec.options:
        raise ConfigError(f"{text!r}: only random weights take a seed.")
    model = load_model(spec.name)
    tail = text[len(spec.name) :]
    embedder = ModelEmbedder(model, folder.name + tail, **spec.options)
    embedder.supervision = model_supervision(spec.name)
    return embedder


def _random(spec: ModelSpec, text: str) -> Embedder:
    """Return a model's architecture with random weights; the global random state is unchanged."""
    options = dict(spec.options)
    seed = options.pop("seed", 1)
    _, _, name = spec.name.partition("=")
    pattern = load_model(name or None)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MusicEncoder(pattern.config).to(pattern.device)
    model.model_id = f"{RANDOM}-seed{seed}"
    embedder = ModelEmbedder(model.requires_grad_(False).eval(), text, **options)
    embedder.supervision = UNTRAINED
    return embedder


def _function(text: str) -> Embedder:
    module, _, name = text.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"model {text!r}: no module {error.name!r} is installed here."
        ) from error
    except AttributeError as error:
        raise ConfigError(f"model {text!r}: module {module!r} has no {name!r}.") from error
    if not callable(function):
        raise ConfigError(f"model {text!r}: {name!r} is not callable.")
    return FunctionEmbedder(function, text)
