"""Dotted keys by which the levels of a study change the settings of its runs."""

import copy
from collections.abc import Sequence
from typing import Any

from musicssl.errors import ConfigError, MusicSSLError
from musicssl_training.train.config import read_config, write_config

APART = ("evaluate", "budget")  # tables that are not settings of a run; "evaluate.layer" is a key


def put(tables: dict[str, Any], key: str, value: Any) -> None:
    """Put a value at a dotted key that a level names.

    Raises
    ------
    ConfigError
        If the key leads through something that is no table, or would have no effect.
    """
    if key == "steps":
        raise ConfigError("'steps' follow from the budget and the batch: vary 'budget.hours'.")
    table, last = _table(tables, key)
    table[last] = copy.deepcopy(value)


def extend(tables: dict[str, Any], key: str, items: Sequence[Any]) -> None:
    """Add items to the list at a dotted key that a level names, or make one.

    Raises
    ------
    ConfigError
        If the key leads through something that is no table, to something that is no list, or to
        a list of which the settings say nothing though runs have one by default.
    """
    table, last = _table(tables, key)
    before = table[last] if last in table else _default(tables["settings"], key) or []
    if not isinstance(before, list):
        raise ConfigError(f"{key!r} is no list that could be added to, but {before!r}.")
    if before and last not in table:
        raise ConfigError(
            f"the settings lack {key!r}, to which a part adds; without the part it would be "
            f"{before!r}. Write it into [settings], if only {last} = []."
        )
    table[last] = [*before, *copy.deepcopy(list(items))]


def _table(values: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Return the table that a dotted key is in, made where it is missing, and its name there."""
    place = key if key.split(".")[0] in APART else f"settings.{key}"
    *path, last = place.split(".")
    for name in path:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"{key!r}: {name!r} is not a group of settings.")
    return values, last


def _default(settings: dict[str, Any], key: str) -> Any:
    """Return what a dotted key is where the settings lack it; None if there is no such key."""
    tables = {k: v for k, v in settings.items() if isinstance(v, dict) and "name" in v}
    named = {table: {"name": values["name"]} for table, values in tables.items()}
    data = {"sources": ["any"], "shares": [1.0]}
    try:
        value: Any = write_config(read_config({"data": data} | named))
    except MusicSSLError:
        return None  # the cell's own settings will be refused
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value
