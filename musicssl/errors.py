"""Exceptions, and look-ups by name that suggest what was meant."""

import difflib
import reprlib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class MusicSSLError(ValueError):
    """Base of every error that musicssl raises on purpose."""


class AudioError(MusicSSLError):
    """The audio, or what was said about it, cannot be used."""


class NoAudioError(AudioError):
    """The file is a film, a picture or the like, and holds no sound."""


class ConfigError(MusicSSLError):
    """A setting or a checkpoint's configuration cannot be used."""


class ModelError(MusicSSLError):
    """A model cannot be found, fetched or loaded."""


class OutputError(MusicSSLError):
    """Results cannot be written where they were asked for."""


class DependencyError(MusicSSLError, ImportError):
    """An optional package is missing or does not fit its neighbours."""


class FrozenModelWarning(UserWarning):
    """A training loop leaves the model, or part of it, as it is."""


def shown(value: object, *, kind: bool = False) -> str:
    """Return a value as messages show it: short, in one line, if asked with its type."""
    try:
        text = " ".join(_short.repr(value).split())
    except Exception:  # whatever a foreign __repr__ raises
        return f"an object of type {type(value).__name__}"
    return f"{text} ({type(value).__name__})" if kind and value is not None else text


_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80


def nearest(name: str, known: Mapping[str, object] | list[str]) -> str:
    """Return `` Did you mean 'x'?`` for a near miss, otherwise nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def pick(table: Mapping[str, T], name: str, what: str) -> T:
    """Return ``table[name]``.

    Raises
    ------
    ConfigError
        If there is no such entry; the message lists those there are.
    """
    if not isinstance(name, str):
        raise ConfigError(
            f"{what} must be one of {', '.join(sorted(table))}, got {shown(name, kind=True)}."
        )
    if name not in table:
        raise ConfigError(
            f"{what} {shown(name)} is unknown; choose from {', '.join(sorted(table))}."
            f"{nearest(name[:80], table)}"
        )
    return table[name]
