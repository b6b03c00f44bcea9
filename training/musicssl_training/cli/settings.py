"""Single settings given on the command line."""

import tomllib
from typing import Any

from musicssl.errors import ConfigError


def replace_setting(values: dict[str, Any], text: str) -> dict[str, Any]:
    """Return nested settings with one replaced.

    Parameters
    ----------
    values
        As of TOML.
    text
        ``key.key=value``. A value that is not TOML is a string. In a list of tables, a key is a
        table's label or name: ``workers.contrast.temperature=0.2``; if there is none, one is added.

    Raises
    ------
    ConfigError
        If it has no ``=``, or a key leads into something that is no table.

    Examples
    --------
    >>> replace_setting({"steps": 3}, "encoder.dim=64")
    {'steps': 3, 'encoder': {'dim': 64}}
    >>> replace_setting({"workers": ["music"]}, "workers.contrast.temperature=0.2")
    {'workers': ['music', {'name': 'contrast', 'temperature': 0.2}]}
    """
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text!r} is not KEY=VALUE.")
    try:
        read: Any = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        read = value
    try:
        out: dict[str, Any] = _replaced(values, key.strip().split("."), read)
    except _NoTableError as error:
        raise ConfigError(f"--set {text!r}: {error} is not a group of settings.") from error
    return out


class _NoTableError(Exception):
    """A key leads into something that is no table."""


def _replaced(values: Any, path: list[str], value: Any, key: str = "") -> Any:
    """Return `values` with the one at `path` replaced."""
    if not path:
        return value
    first, *rest = path
    if isinstance(values, dict):
        return values | {first: _replaced(values.get(first, {}), rest, value, first)}
    if not isinstance(values, list) or not rest:
        raise _NoTableError(repr(key))
    named = [_name(entry) == first for entry in values]
    if not any(named):
        return [*values, _replaced({"name": first}, rest, value, first)]
    return [
        _replaced(entry if isinstance(entry, dict) else {"name": entry}, rest, value, first)
        if chosen
        else entry
        for entry, chosen in zip(values, named, strict=True)
    ]


def _name(entry: Any) -> Any:
    """Return what an entry of a list is called."""
    return entry.get("label") or entry.get("name") if isinstance(entry, dict) else entry
