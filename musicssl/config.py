"""Frozen dataclasses to and from plain dictionaries, strictly."""

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeVar, get_args, get_origin

from musicssl.errors import ConfigError, nearest, pick, shown

C = TypeVar("C")
INTEGERS = 2**63  # ints lie between this and its negative, where their type says no more


@dataclass(frozen=True)
class Range:
    """Limits of a number, as part of a field's type: ``Annotated[int, Range(1, 8)]``."""

    low: float
    high: float

    def __contains__(self, value: object) -> bool:
        return isinstance(value, Real) and self.low <= float(value) <= self.high  # false for NaN

    def __str__(self) -> str:
        return f"between {self.low:,} and {self.high:,}"


@dataclass(frozen=True)
class Length:
    """Limits of a tuple's length: ``Annotated[tuple[int, ...], Length(1, 8)]``."""

    low: int
    high: int

    def __contains__(self, value: object) -> bool:
        return isinstance(value, (tuple, list)) and self.low <= len(value) <= self.high

    def __str__(self) -> str:
        return f"a list of {self.low} to {self.high} entries"


def check_ranges(config: Any) -> None:
    """Check a dataclass's values against the limits in its types; for ``__post_init__``.

    Raises
    ------
    ConfigError
        For the first value beyond its limits.
    """
    for name, kind in _hints(type(config)).items():
        _check(kind, getattr(config, name), name)


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
        A dataclass whose fields are int, float, bool, str, tuples of these, or dataclasses, each
        perhaps with ``| None``, or ``Annotated`` with a `Range` or a `Length`.
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
        For an unknown key, a missing one, or a value of another type or beyond its limits.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where} must be a mapping, got {shown(values)}.")
    hints = _hints(kind)
    for key in values:
        if key not in hints:
            raise ConfigError(unknown_key(where, key, list(hints)))
    absent = [
        f.name
        for f in dataclasses.fields(kind)  # type: ignore[arg-type]
        if f.default is f.default_factory is dataclasses.MISSING and f.name not in values
    ]
    if absent:
        raise ConfigError(f"{where} lacks {', '.join(absent)}.")
    return kind(**{key: _read(hints[key], v, f"{where}.{key}") for key, v in values.items()})


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
    return from_dict(pick_named(kinds, values["name"], f"{where}.name"), shape, where)


def pick_named(table: Mapping[str, C], name: Any, where: str) -> C:
    """Return ``table[name]``, for a name that was read from a file.

    Raises
    ------
    ConfigError
        If it is no string, or there is no such entry.
    """
    if not isinstance(name, str) or len(name) > 100:
        raise ConfigError(f"{where} must be one of {', '.join(sorted(table))}, got {shown(name)}.")
    return pick(table, name, where)


def unknown_key(where: str, key: Any, known: list[str]) -> str:
    """Say that a mapping has a key that it should not have."""
    if not isinstance(key, str) or len(key) > 100 or not key.isprintable():
        return f"{where} has the unknown key {shown(key)}."
    return f"{where}.{key}: unknown key.{nearest(key, known)}"


def _hints(kind: Any) -> dict[str, Any]:
    """Return the types of a dataclass's fields, also where its module postpones annotations."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind)}


def _read(kind: Any, value: Any, where: str) -> Any:
    """Convert one value to its type: lists become tuples, mappings dataclasses."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is typing.Annotated:
        for limit in arguments[1:]:
            if isinstance(limit, Length) and isinstance(value, list) and value not in limit:
                raise ConfigError(f"{where} must be {limit}, got {shown(value)}.")
        read = _read(arguments[0], value, where)
        _check(kind, read, where)
        return read
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (kind,) = (k for k in arguments if k is not type(None))  # only `| None` is supported
        return _read(kind, value, where)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return value if isinstance(value, kind) else from_dict(kind, value, where)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{where} must be a list, got {shown(value)}.")
        return tuple(_read(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if kind is float and type(value) is int and abs(value) < INTEGERS:
        return float(value)
    if type(value) is not kind:
        raise ConfigError(f"{where} must be of type {kind.__name__}, got {shown(value)}.")
    if kind is int and abs(value) >= INTEGERS:
        raise ConfigError(f"{where} must fit 64 bits, got {shown(value)}.")
    if kind is float and not math.isfinite(value):
        raise ConfigError(f"{where} must be a finite number, got {value}.")
    return value


def _check(kind: Any, value: Any, where: str) -> None:
    """Compare one value with the limits that its type states."""
    if get_origin(kind) is typing.Annotated:
        kind, *limits = get_args(kind)
        for limit in limits:
            if isinstance(limit, (Range, Length)) and value not in limit:
                raise ConfigError(f"{where} must be {limit}, got {shown(value)}.")
    if get_origin(kind) is tuple:
        for i, item in enumerate(value):
            _check(get_args(kind)[0], item, f"{where}[{i}]")
