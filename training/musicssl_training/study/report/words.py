"""Numbers and names as the report's tables and figures write them."""

from collections.abc import Sequence
from typing import Any

from musicssl_training.study.screening import ON

LONGEST = 46  # characters of a level's name in a figure


def points(value: float | None, *, sign: bool = False) -> str:
    """Return a score or an effect, in points of a hundred."""
    if value is None:
        return "–"
    return f"{value:+.1f}" if sign else f"{value:.1f}"


def interval(estimate: dict[str, Any], *, sign: bool = True) -> str:
    """Return a 95 % interval; nothing if there is none."""
    if estimate["low"] is None:
        return ""
    return f"[{points(estimate['low'], sign=sign)}, {points(estimate['high'], sign=sign)}]"


def excludes_zero(estimate: dict[str, Any]) -> bool:
    """Return whether an interval does."""
    return estimate["low"] is not None and (estimate["low"] > 0 or estimate["high"] < 0)


def p_value(p: float | None) -> str:
    """Return the p value of a test."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def p_text(p: float | None) -> str:
    """Return the p value of a test as text shows it; nothing if there is none."""
    if p is None:
        return ""
    return f"p {p_value(p)}" if p < 0.001 else f"p = {p_value(p)}"


def describe(levels: dict[str, str], parts: Sequence[str]) -> str:
    """Return the levels of a configuration in one line; of parts, which of them are on."""
    said = [level for factor, level in levels.items() if factor not in parts]
    if parts:
        said.append(" + ".join(part for part in parts if levels[part] == ON) or "none of the parts")
    return ", ".join(said)


def label(name: str, longest: int = LONGEST) -> str:
    """Return a level's name, cut if it is long."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
