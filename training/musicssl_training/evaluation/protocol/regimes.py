"""Label regimes: how many training labels a probe may use."""

from dataclasses import dataclass
from typing import Self

from musicssl.errors import ConfigError


@dataclass(frozen=True, order=True)
class Regime:
    """A percentage of the training labels, or a number of labels per class.

    Ordered for display: numbers per class first, then percentages.
    """

    is_percentage: bool
    number: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse "10%" or "5-shot".

        Raises
        ------
        ConfigError
            For any other text.
        """
        for suffix in ("%", "-shot"):
            number = text.removesuffix(suffix)
            if number != text and number.isdecimal() and int(number):
                return cls(suffix == "%", int(number))
        raise ConfigError(f"regime {text!r} is written neither as '10%' nor as '5-shot'.")

    @property
    def is_full(self) -> bool:
        """Whether all labels are used."""
        return self == FULL

    def count(self, available: int) -> float:
        """Return how many of a number of labels are used, before rounding."""
        return available * self.number / 100 if self.is_percentage else self.number

    def __str__(self) -> str:
        return f"{self.number}%" if self.is_percentage else f"{self.number}-shot"


FULL = Regime(True, 100)
