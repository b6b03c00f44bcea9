"""TOML files, with clear errors."""

import tomllib
from pathlib import Path
from typing import Any

from musicssl.errors import ConfigError


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file says.

    Raises
    ------
    ConfigError
        If it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # also where it is not UTF-8
        raise ConfigError(f"{path} is not TOML: {error}.") from error
