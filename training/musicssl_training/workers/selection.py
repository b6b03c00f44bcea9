"""Which workers a run has, and how each is set: from its settings to their configurations."""

import logging
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

from musicssl.config import from_dict, pick_named
from musicssl.errors import ConfigError, pick, shown
from musicssl_training.data.facts import NAME
from musicssl_training.workers.base import WorkerConfig
from musicssl_training.workers.table import BY_NAME, SELECTIONS, WORKERS
from musicssl_training.workers.teacher import PREFIX, DistillationConfig

log = logging.getLogger(__name__)
Entry = str | dict[str, Any]  # of the setting ``workers``

ALL_BUT = "all-but-"


def read_workers(values: Any, where: str = "config.workers") -> tuple[Entry, ...]:
    """Return the entries of the setting ``workers``, as TOML or JSON gives them.

    Raises
    ------
    ConfigError
        If they are not a list of names, and of tables that have one.
    """
    if not isinstance(values, (list, tuple)):
        raise ConfigError(f"{where} must be a list of names or tables, got {shown(values)}.")
    for i, entry in enumerate(values):
        name = entry.get("name") if isinstance(entry, dict) else entry
        if not isinstance(name, str):
            raise ConfigError(
                f"{where}[{i}] must be a name, or a table with a 'name', got {shown(entry)}."
            )
    return tuple(values)


def resolve(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Return the names, in logs and checkpoints, of the workers that `entries` say.

    Each once and in order; see `worker_configs`.

    Examples
    --------
    >>> resolve(["score", "-beats", "contrast"])
    ('piano_roll', 'families', 'tempo', 'key', 'chord', 'contrast')
    """
    return tuple(worker_configs(entries))


def worker_configs(entries: Sequence[Entry], **defaults: Any) -> dict[str, WorkerConfig]:
    """Return the configurations of the workers that `entries` say, by their names in logs.

    Parameters
    ----------
    entries
        Names of workers and selections, and ``-name`` or ``all-but-name`` to leave one of either
        out: the former of what was named before it, the latter of all. A table has a name, and
        perhaps settings of that worker, also of one that a selection named. Short for a table
        is ``name:key=value,key=value``. One that predicts what a teacher says is called
        ``teacher:NAME``.
    defaults
        Settings for those workers that have them and no value of their own.

    Raises
    ------
    ConfigError
        For a name or setting that is unknown, or leaves out what was not there, or if nothing is
        left.

    Examples
    --------
    >>> found = worker_configs(["lim", {"name": "contrast", "temperature": 0.2}], hidden=64)
    >>> found["contrast"].temperature, found["lim"].hidden
    (0.2, 64)
    """
    chosen: dict[str, dict[str, Any]] = {}
    for entry in entries:
        settings = dict(entry) if isinstance(entry, dict) else {}
        name = settings.pop("name") if isinstance(entry, dict) else entry
        if name.startswith((ALL_BUT, "-")):
            _refuse(settings, name)
            _leave_out(chosen, name)
        elif settings:
            _choose(chosen, name, settings)
        else:
            for key, own in _members(name).items():
                chosen.setdefault(key, own)
    if not chosen:
        raise ConfigError(f"workers {list(entries)} leave none to learn from.")
    return {key: _config(key, own, defaults) for key, own in chosen.items()}


def _choose(chosen: dict[str, dict[str, Any]], name: str, settings: dict[str, Any]) -> None:
    """Add a worker with settings of its own, or give them to the one that is there."""
    if name in SELECTIONS:
        _refuse(settings, name)
    ((key, own),) = _members(name).items()
    key = settings.get("label") or key
    if not isinstance(key, str) or "." in key:
        raise ConfigError(f"workers: a label must be a name without dots, got {shown(key)}.")
    if len(chosen.get(key, {})) > 1:
        raise ConfigError(f"workers: {key!r} is set twice; give one of the two a 'label'.")
    chosen[key] = own | settings


def _refuse(settings: Mapping[str, Any], name: str) -> None:
    if settings:
        raise ConfigError(
            f"workers: {name!r} is no single worker and has no settings of its own, got "
            f"{', '.join(settings)}. Add a table for each worker."
        )


def _leave_out(chosen: dict[str, dict[str, Any]], name: str) -> None:
    """Leave out what was named before it, or what is not to be of all."""
    if name.startswith(ALL_BUT):
        for worker in WORKERS:
            if worker not in BY_NAME:
                chosen.setdefault(worker, {"name": worker})
    left_out = name.removeprefix(ALL_BUT) if name.startswith(ALL_BUT) else name[1:]
    for key in [left_out] if left_out in chosen else _members(left_out):
        if key in chosen:
            del chosen[key]
        elif not name.startswith(ALL_BUT):  # what is part of no selection is not there anyway
            raise ConfigError(
                f"workers: {name!r} leaves out {key!r}, which was not chosen before it. "
                f"Did you mean '{ALL_BUT}{left_out}'?"
            )


def _members(name: str) -> dict[str, dict[str, Any]]:
    """Return the workers of a selection, or the one of that name, and what its name sets."""
    if name in SELECTIONS:
        return {key: own for member in SELECTIONS[name] for key, own in _members(member).items()}
    if name.startswith(PREFIX):
        if not NAME.fullmatch(name.removeprefix(PREFIX)):
            raise ConfigError(
                f"workers: {name!r} names no teacher: names have small letters, digits, - and _ "
                "only. One of your own is called as its facts say, not as its module."
            )
        return {name: {"name": name}}
    plain, options = parse(name)
    return {name.replace(".", "_"): {"name": plain} | options}  # torch allows no dots in names


def layers_read(configs: Mapping[str, WorkerConfig], n_layers: int) -> dict[str, int]:
    """Return the layer that each worker reads, counted from 0.

    Parameters
    ----------
    configs
        From `worker_configs`.
    n_layers
        Of the encoder.

    Raises
    ------
    ConfigError
        If it has no such layer.

    Examples
    --------
    >>> layers_read(worker_configs(["chroma", "tempo:layer=6"]), 9)
    {'chroma': 8, 'tempo': 6}
    """
    for name, config in configs.items():
        if not -n_layers <= config.layer < n_layers:
            raise ConfigError(
                f"workers: layer of {name!r} must be {-n_layers} to {n_layers - 1}, as the encoder "
                f"has {n_layers} layer{'s' if n_layers > 1 else ''}, got {config.layer}."
            )
    return {name: config.layer % n_layers for name, config in configs.items()}


def check_layers(
    configs: Mapping[str, WorkerConfig], n_layers: int, layers: Sequence[int], setting: str
) -> None:
    """Make sure that layers exist, and log it if they lie above all that the workers read.

    Parameters
    ----------
    configs, n_layers
        As for `layers_read`.
    layers
        That are to be used; negative ones count from the last.
    setting
        That names them.

    Raises
    ------
    ConfigError
        If the encoder has no such layer, or not one that a worker reads.
    """
    last = max(layers_read(configs, n_layers).values())
    for layer in layers:
        if not -n_layers <= layer < n_layers:
            raise ConfigError(f"{setting} must be {-n_layers} to {n_layers - 1}, got {layer}.")
    above = [str(layer) for layer in layers if layer % n_layers > last]
    if above:
        log.warning(
            "%s %s is not trained by this run, whose workers read layers up to %d of 0 to %d.",
            setting,
            ", ".join(above),
            last,
            n_layers - 1,
        )


def parse(name: str) -> tuple[str, dict[str, Any]]:
    """Return a worker's plain name, and the settings behind it.

    Raises
    ------
    ConfigError
        If a name is unknown, or a value no number where one is needed.

    Examples
    --------
    >>> parse("mfcc:context=7,edges=keep")
    ('mfcc', {'context': 7, 'edges': 'keep'})
    """
    plain, _, text = name.partition(":")
    pick(dict.fromkeys([*WORKERS, *SELECTIONS]), plain, "worker or selection")
    options: dict[str, Any] = {}
    for pair in filter(None, text.split(",")):
        key, _, value = pair.partition("=")
        if plain in SELECTIONS:
            _refuse({key: value}, plain)
        kinds = typing.get_type_hints(WORKERS[plain][1])
        kind = pick(kinds, key, f"setting of worker {plain!r}")
        if kind not in (bool, int, float, str):
            raise ConfigError(f"workers: {name!r}: {key} needs a table in place of a name.")
        try:
            options[key] = {"true": True, "false": False}[value] if kind is bool else kind(value)
        except (KeyError, ValueError):
            wanted = "true or false" if kind is bool else "a number"
            raise ConfigError(
                f"workers: {name!r}: {key} must be {wanted}, got {value!r}."
            ) from None
    return plain, options


def _config(key: str, own: dict[str, Any], defaults: Mapping[str, Any]) -> WorkerConfig:
    """Return the configuration of one worker."""
    kinds = {name: kind for name, (_, kind) in WORKERS.items()}
    name = own["name"]
    kind: type[WorkerConfig] = DistillationConfig
    if not name.startswith(PREFIX):
        kind = pick_named(kinds, name, "workers.name")
    known = {field.name for field in fields(kind)}
    given = {setting: value for setting, value in defaults.items() if setting in known}
    return from_dict(kind, given | own, f"config.workers.{key}")
