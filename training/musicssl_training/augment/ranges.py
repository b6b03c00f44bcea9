"""Checks of settings: shares, amounts and ranges."""

import math

from musicssl.errors import ConfigError


def check_shares(config: object, *names: str) -> None:
    """Refuse fields that are no shares.

    Raises
    ------
    ConfigError
        If one is not from 0 to 1.
    """
    for name in names:
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise ConfigError(f"{name} is a share, from 0 to 1; got {value}. A percentage?")


def check_amounts(config: object, *names: str, least: float = 0.0) -> None:
    """Refuse fields that are less than `least`, or infinite.

    Raises
    ------
    ConfigError
        If one is.
    """
    for name in names:
        value = getattr(config, name)
        if not least <= value < math.inf:
            raise ConfigError(f"{name} must be at least {least:g}, got {value}.")


def check_ranges(
    config: object, *names: str, least: float = -math.inf, most: float = math.inf
) -> None:
    """Refuse fields that are not two finite values from `least` to `most`, the lower one first.

    Raises
    ------
    ConfigError
        If one is not.
    """
    for name in names:
        values = getattr(config, name)
        if len(values) != 2 or not all(map(math.isfinite, values)):
            raise ConfigError(f"{name} must be two numbers, lowest and highest, got {values}.")
        low, high = values
        if low > high:
            raise ConfigError(f"{name} starts at {low:g} and ends at {high:g}. Swapped?")
        if low < least or high > most:
            raise ConfigError(f"{name} must lie in [{least:g}, {most:g}], got {values}.")
