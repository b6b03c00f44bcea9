"""Frozen dataclasses to and from plain dictionaries, strictly."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from musicssl.errors import ConfigError, nearest, pick

C = TypeVar("C")


def to_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass as JSON-able values; tuples become lists."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return to_dict(value)
        return [plain(v) for v in value] if isinstance(value, tuple) else value

    return {f.name: plain(getattr(config, f.name)) for f in dataclasses.fields(config)}


def from_dict(kind: type[C], values: Any, where: str) -> C:
    """Build the dataclass `kind` from `values`, refusing what it does not know.

    Parameters
    ----------
    kind
        A dataclass whose fields are int, float, bool, str, tuples of these, or dataclasses.
    values
        A mapping of field names to values.
    where
        Path of `values` for error messages, such as ``config.encoder``.

    Returns
    -------
    C
        Fields that `values` leaves out keep their defaults.

    Raises
    ------
    ConfigError
        For an unknown key, a missing one, or a value of another type.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must be a mapping, got {values!r}.")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(f"{where}.{key}: unknown key.{nearest(str(key), fields)}")
    read = {k: _read(fields[k].type, v, f"{where}.{k}") for k, v in values.items()}
    try:
        return kind(**read)
    except TypeError:
        absent = [
            f.name
            for f in fields.values()
            if f.default is dataclasses.MISSING
            and f.default_factory is dataclasses.MISSING
            and f.name not in values
        ]
        raise ConfigError(f"{where} lacks {', '.join(absent)}.") from None


def named_to_dict(config: Any) -> dict[str, Any]:
    """Return a dataclass that has a class attribute `name`, with that name."""
    return {"name": config.name} | to_dict(config)


def named_from_dict(kinds: Mapping[str, type[C]], values: Any, where: str) -> C:
    """Build one of several dataclasses: the one that ``values["name"]`` says.

    Raises
    ------
    ConfigError
        If there is no such name, or as `from_dict`.
    """
    if not isinstance(values, dict) or "name" not in values:
        raise ConfigError(f"{where} must be a mapping with a 'name'.")
    shape = {key: value for key, value in values.items() if key != "name"}
    return from_dict(pick(kinds, values["name"], f"{where}.name"), shape, where)


def _read(kind: Any, value: Any, where: str) -> Any:
    """Check one value against its annotation; lists become tuples."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return from_dict(kind, value, where)
    if getattr(kind, "__origin__", None) is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, got {value!r}.")
        return tuple(_read(kind.__args__[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where} must be of type {kind.__name__}, got {value!r}.")
    return value
