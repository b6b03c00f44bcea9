"""What can go wrong, each as one clear line, and the table look-up that names what was meant."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


class MusicSSLError(ValueError):
    """Base of every error that musicssl raises on purpose."""


class AudioError(MusicSSLError):
    """The audio, or what was said about it, cannot be used."""


class ConfigError(MusicSSLError):
    """A setting or a checkpoint's configuration cannot be used."""


class ModelError(MusicSSLError):
    """A model cannot be found, fetched or loaded."""


class OutputError(MusicSSLError):
    """Results cannot be written where they were asked for."""


class DependencyError(MusicSSLError, ImportError):
    """An optional package is missing or does not fit its neighbours."""


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
    if name not in table:
        raise ConfigError(
            f"{what} {name!r} is unknown; choose from {', '.join(sorted(table))}."
            f"{nearest(name, table)}"
        )
    return table[name]
