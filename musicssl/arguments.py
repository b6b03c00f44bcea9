"""Checks of arguments by type and range: the one place that says what is allowed.

numpy scalars and arrays and tensors without dimensions are numbers; bools and strings are not.
"""

import functools
import inspect
import math
import operator
import os
from collections.abc import Callable, Iterable, Mapping, Set
from itertools import islice
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from musicssl.errors import ConfigError, MusicSSLError, nearest, shown

P = ParamSpec("P")
R = TypeVar("R")

MOST_LISTED = 256  # whole numbers in one argument
ELSEWHERE = {  # as other libraries say
    "y": "audio",
    "wav": "audio",
    "waveform": "audio",
    "array": "audio",
    "path": "audio",
    "file": "audio",
    "sample_rate": "sr",
    "fs": "sr",
    "pretrained_model_name_or_path": "model",
    "save_directory": "folder",
    "torch_dtype": "dtype",
    "map_location": "device",
    "device_map": "device",
}


def number(
    value: Any,
    what: str,
    *,
    finite: bool = True,
    error: type[MusicSSLError] = ConfigError,
) -> float:
    """Return a positive number as a float.

    Raises
    ------
    MusicSSLError
        If it is none, or infinite where `finite` is asked for; `error` says of which kind.
    """
    plain = _float(value)
    if plain is None:
        raise error(f"{what} must be a number, got {shown(value, kind=True)}.")
    if not plain > 0:
        raise error(f"{what} must be positive, got {shown(value)}.")
    if finite and math.isinf(plain):
        raise error(f"{what} must be finite, got {shown(value)}.")
    return plain


def integer(
    value: Any,
    what: str,
    *,
    least: int | None = 1,
    most: int | None = None,
    error: type[MusicSSLError] = ConfigError,
) -> int:
    """Return a whole number as an int.

    Raises
    ------
    MusicSSLError
        If it is none, below `least` or above `most`; `error` says of which kind.
    """
    plain = _int(value)
    if plain is None:
        raise error(f"{what} must be a whole number, got {shown(value, kind=True)}.")
    if least is not None and plain < least:
        wanted = "positive" if least == 1 else f"at least {least:,}"
        raise error(f"{what} must be {wanted}, got {shown(plain)}.")
    if most is not None and plain > most:
        raise error(f"{what} must be at most {most:,}, got {shown(plain)}.")
    return plain


def integers(value: Any, what: str) -> list[int]:
    """Return one whole number, or several in their order, as ints.

    Raises
    ------
    ConfigError
        If there are others, none, or more than `MOST_LISTED`.
    """
    if hasattr(type(value), "__index__") and getattr(value, "ndim", 0) == 0:
        return [integer(value, what, least=None)]
    unordered = isinstance(value, (str, bytes, bytearray, Mapping, Set))
    if unordered or not isinstance(value, Iterable):
        raise ConfigError(
            f"{what} must be a whole number or a list of them, got {shown(value, kind=True)}."
        )
    numbers = [
        integer(one, f"{what}[{i}]", least=None) for i, one in enumerate(_first(value, what))
    ]
    if not numbers:
        raise ConfigError(f"{what} is empty; give a whole number or a list of them.")
    return numbers


def flag(value: Any, what: str) -> bool:
    """Return True or False.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{what} must be True or False, got {shown(value, kind=True)}.")
    return value


def text(value: Any, what: str) -> str:
    """Return a string.

    Raises
    ------
    ConfigError
        If it is none, is empty or holds a NUL.
    """
    if not isinstance(value, str):
        raise ConfigError(f"{what} must be a string, got {shown(value, kind=True)}.")
    if not value or "\0" in value:
        raise ConfigError(f"{what} must be neither empty nor hold a NUL, got {shown(value)}.")
    try:
        os.fsencode(value)
    except UnicodeEncodeError as error:
        raise ConfigError(f"{what} is no text: {shown(value)}.") from error
    return value


def path(value: Any, what: str) -> Path:
    """Return a path.

    Raises
    ------
    ConfigError
        If it is neither a string nor a path, is empty or holds a NUL.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise ConfigError(f"{what} must be a path, got {shown(value, kind=True)}.")
    try:
        plain = os.fspath(value)
    except Exception:
        raise ConfigError(f"{what} must be a path, got {shown(value, kind=True)}.") from None
    return Path(text(plain, what))


def model_name(value: Any) -> str | Path | None:
    """Return what names a model: None, a string, or a path, which is always a folder.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    if value is None or isinstance(value, str):
        return None if value is None else text(value, "model")
    if isinstance(value, os.PathLike):
        return path(value, "model")
    raise ConfigError(
        "model must be a bundled model's name, a checkpoint folder, a repository 'owner/name', "
        f"None or a loaded MusicEncoder, got {shown(value, kind=True)}."
    )


def token(value: Any) -> str | bool | None:
    """Return a token of the Hugging Face Hub, whether to use the stored one, or None.

    Raises
    ------
    ConfigError
        If it is something else; the message does not show it.
    """
    if value is not None and not isinstance(value, (str, bool)):
        raise ConfigError(f"token must be a string, True, False or None, got {type(value)}.")
    return value


def no_more(unknown: Iterable[str], function: Callable[..., object]) -> None:
    """Refuse keywords that a function does not know.

    Raises
    ------
    ConfigError
        If there are any; the message names the nearest known one.
    """
    for name in unknown:
        parameters = inspect.signature(function).parameters.values()
        known = [
            p.name
            for p in parameters
            if p.name not in ("self", "cls") and p.kind is not p.VAR_KEYWORD
        ]
        meant = ELSEWHERE.get(name)
        hint = f" Did you mean {meant!r}?" if meant in known else nearest(name, known)
        called = function.__qualname__.removesuffix(".__init__")
        raise ConfigError(f"{called} has no parameter {name!r}.{hint}")


def strict(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function refuse keywords that it does not know as `no_more` does: a decorator."""
    parameters = inspect.signature(function).parameters.values()
    known = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}

    @functools.wraps(function)
    def call(*args: P.args, **keywords: P.kwargs) -> R:
        no_more([name for name in keywords if name not in known], function)
        return function(*args, **keywords)

    return call


def _first(values: Iterable[Any], what: str) -> list[Any]:
    """Return the items, which may have no end, if they are not too many."""
    try:
        items = list(islice(values, MOST_LISTED + 1))
    except Exception:  # such as that of an array without dimensions
        raise ConfigError(
            f"{what} must be a whole number or a list of them, got {shown(values, kind=True)}."
        ) from None
    if len(items) > MOST_LISTED:
        raise ConfigError(f"{what} lists too many; expected at most {MOST_LISTED}.")
    return items


def _int(value: Any) -> int | None:
    """Return a whole number as an int, anything else as None."""
    try:
        return operator.index(value) if _is_scalar(value) else None
    except Exception:  # whatever a foreign type raises
        return None


def _float(value: Any) -> float | None:
    """Return a real number as a float, anything else, such as text that says one, as None."""
    try:
        return float(value) if _is_scalar(value) and _is_real(value) else None
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except Exception:  # whatever a foreign type raises
        return None


def _is_scalar(value: Any) -> bool:
    """Tell whether a value has no dimensions and is not a bool."""
    if isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool"):
        return False
    return getattr(value, "ndim", 0) == 0 and not isinstance(value, (str, bytes, bytearray))


def _is_real(value: Any) -> bool:
    """Tell whether a scalar converts to a float, other than by parsing text."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None:  # of numpy, which knows kinds, or of torch
        return getattr(dtype, "kind", "f") in "iuf" and not getattr(dtype, "is_complex", False)
    return hasattr(type(value), "__float__") or hasattr(type(value), "__index__")
