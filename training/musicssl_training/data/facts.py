"""Facts about a teacher, and how many steps of it a recording may have."""

import re
from dataclasses import dataclass, fields
from math import ceil, isfinite

from musicssl.errors import ConfigError, shown

KINDS = ("frames", "patches", "clips")
NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")
HASH = re.compile(r"[0-9a-f]{64}")
SLACK = 1.0  # seconds that steps may fall short of a recording's end, or stick out


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about a teacher and the meaning of its values."""

    name: str  # small letters, digits, - and _
    model: str  # in words
    sha256: str  # of the weights
    licence: str
    trained_on: str  # data, and labels where it had any
    kind: str  # "frames", "patches" or "clips"
    size: int  # values a step
    hop: float = 0.0  # seconds from one step to the next; step 0 is at 0, or begins there
    window: float = 0.0  # seconds of a patch

    def __post_init__(self) -> None:
        for field in fields(self):
            value, kind = getattr(self, field.name), field.type
            fitting = isinstance(value, int | float) if kind is float else isinstance(value, kind)  # type: ignore[arg-type]
            if not fitting or isinstance(value, bool):
                raise ConfigError(
                    f"a teacher's {field.name} must be of type {kind.__name__}, "  # type: ignore[union-attr]
                    f"got {shown(value, kind=True)}."
                )
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"a teacher's name has small letters, digits, - and _ only, got {self.name!r}."
            )
        if self.kind not in KINDS:
            raise ConfigError(f"teacher {self.name}: kind is one of {KINDS}, got {self.kind!r}.")
        if not (isfinite(self.hop) and isfinite(self.window)):
            raise ConfigError(
                f"teacher {self.name}: hop and window are seconds, got {self.hop}, {self.window}."
            )
        if self.size < 1 or (self.kind != "clips" and self.hop <= 0):
            raise ConfigError(
                f"teacher {self.name}: size and hop must be positive, got {self.size}, {self.hop}."
            )
        if (self.kind == "patches") != (self.window > 0):
            raise ConfigError(
                f"teacher {self.name}: patches, and nothing else, have a window; "
                f"got {self.window} s for {self.kind}."
            )

    def same_values(self, other: "Facts") -> bool:
        """Tell whether another one's values are the same, whatever is told of its licence."""
        return not self.differences(other)

    def differences(self, other: "Facts") -> str:
        """Return in what another one's values differ, or nothing: ``hop: 1.0, not 0.5``."""
        return "; ".join(
            f"{field.name}: {shown(_short(ours))}, not {shown(_short(theirs))}"
            for field in fields(self)
            if field.name not in ("licence", "trained_on")
            and (ours := getattr(self, field.name)) != (theirs := getattr(other, field.name))
        )

    def fitting_steps(self, seconds: float) -> tuple[int, int]:
        """Return how many steps, at least and at most, a recording of that length may have.

        Teachers may leave out or add two steps or a second's at the end, whichever is more: they
        round, hear whole patches only, or pad.
        """
        if self.kind == "clips":
            return int(seconds > SLACK), 1
        slack = max(2.0, SLACK / self.hop)
        least = (seconds - self.window) / self.hop + 1 - slack
        return max(0, ceil(least)), int(seconds / self.hop + slack)

    def misfit(self, steps: int, seconds: float) -> str:
        """Return why that number of steps cannot be of a recording of that length, or nothing."""
        least, most = self.fitting_steps(seconds)
        if least <= steps <= most:
            return ""
        grid = f" of {self.hop:g} s" if self.kind != "clips" else ""
        expected = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        return f"{steps:,} steps{grid} for {seconds:.1f} s, where {expected} are expected"


def _short(value: object) -> object:
    """Return a value as messages show it: hashes by their beginning."""
    return value[:12] if isinstance(value, str) and HASH.fullmatch(value) else value
