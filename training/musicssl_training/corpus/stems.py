"""Stems: when they sound, by their level, and which instruments they are, by their names."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import ConfigError, nearest, shown
from musicssl_training.corpus.patterns import matcher
from musicssl_training.midi.activity import PARTS, PLAYS, UNCLEAR, Stretches

GRID = 0.1  # seconds of which a level is taken
LOUD = (-30.0, -50.0)  # dB from which a stem plays: below its loudest tenth, and of full scale
QUIET = (-50.0, -60.0)  # dB below which it is silent; between the two it is unclear
Sounding = dict[str, list[list[float]]]  # stretches in which a stem plays, or may


@dataclass(frozen=True, kw_only=True)
class StemRule:
    """Instruments of the stems of some names.

    Attributes
    ----------
    names
        Patterns of file names.
    family
        The one family that they hold, and nothing else.
    never
        In place of it, families of which nothing is in them; all others may be.
    """

    names: tuple[str, ...]
    family: str = ""
    never: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError("stems without names: give patterns of the files that are meant.")
        if folders := [name for name in self.names if "/" in name.replace("**/", "")]:
            raise ConfigError(
                f"stems are told by the names of their files alone, without folders: {folders[0]} "
                "never matches."
            )
        if bool(self.family) == bool(self.never):
            raise ConfigError(
                f"stems {', '.join(self.names)} need either the family that they hold, or those "
                "that they never do. Stems that no rule names may hold any."
            )
        check_families([self.family] if self.family else self.never)


def check_families(names: Iterable[str]) -> None:
    """Make sure that instrument families are known.

    Raises
    ------
    ConfigError
        If one is not.
    """
    for name in names:
        if name not in PARTS:
            similar = nearest(name, list(PARTS))
            raise ConfigError(
                f"{shown(name)} is no instrument family: {', '.join(PARTS)}.{similar}"
            )


def rule_for(rules: Sequence[StemRule]) -> Callable[[str], StemRule | None]:
    """Return a function that finds the first rule for a file name, if there is one."""
    matchers = [(matcher(rule.names), rule) for rule in rules]
    return lambda name: next((rule for matches, rule in matchers if matches(name)), None)


def measure_levels(audio: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Return the RMS of each tenth of a second, the last of which may be shorter."""
    starts = np.rint(np.arange(0, len(audio) / sample_rate, GRID) * sample_rate).astype(np.int64)
    starts = starts[starts < len(audio)]
    if not len(starts):
        return np.zeros(0)
    powers = np.add.reduceat(np.square(audio, dtype=np.float64), starts)
    levels: NDArray[np.float64] = np.sqrt(powers / np.diff(starts, append=len(audio)))
    return levels


def find_sounding(levels: NDArray[np.float64], gain: float = 1.0) -> Sounding:
    """Return the stretches in which a stem of such levels plays, and those where it is unclear.

    It plays where it is at most 30 dB below its loudest tenth of a second and at least -50 dB of
    full scale in the mix, to which `gain` brings it; it is silent where it is more than 50 dB below
    the former or below -60 dB. Between the two are tails, and what spills over from others.
    """
    decibels = 20 * np.log10(np.maximum(levels * gain, 1e-10))
    loudest = decibels.max(initial=-200.0)
    plays = decibels >= max(loudest + LOUD[0], LOUD[1])
    silent = decibels < max(loudest + QUIET[0], QUIET[1])
    return {PLAYS: _stretches(plays), UNCLEAR: _stretches(~plays & ~silent)}


def family_activity(
    stems: Mapping[str, Mapping[str, Stretches]], rules: Sequence[StemRule]
) -> dict[str, Sounding]:
    """Return when each family plays in the sum of stems, as `read_activity` reads it.

    It plays where a stem of that family does, whatever else is there. It is silent where nothing
    plays that might hold it: a stem that no rule names leaves every other family unclear while it
    sounds. Families that no rule names are not among those that are told.

    Parameters
    ----------
    stems
        What `find_sounding` says of each, by file name.
    rules
        Of the recipe.
    """
    named = {rule.family for rule in rules}.union(*(rule.never for rule in rules))
    ends = [end for said in stems.values() for spans in said.values() for _, end in spans]
    size, rule_of = math.ceil(max(ends, default=0) / GRID + 0.5), rule_for(rules)
    told = {}
    for part in (part for part in PARTS if part in named):
        plays, unclear = np.zeros(size, bool), np.zeros(size, bool)
        for name, said in stems.items():
            sounds, may_sound = (_on_grid(said[kind], size) for kind in (PLAYS, UNCLEAR))
            rule = rule_of(name)
            if rule is not None and rule.family == part:
                plays |= sounds
                unclear |= may_sound
            elif rule is None or not (rule.family or part in rule.never):
                unclear |= sounds | may_sound
        told[part] = {PLAYS: _stretches(plays), UNCLEAR: _stretches(unclear & ~plays)}
    return told


def _stretches(where: NDArray[np.bool_]) -> list[list[float]]:
    """Return from when to when something holds, in seconds."""
    edges = np.flatnonzero(np.diff(where.astype(np.int8), prepend=0, append=0))
    return [[round(GRID * int(edge), 1) for edge in pair] for pair in edges.reshape(-1, 2)]


def _on_grid(spans: Stretches, size: int) -> NDArray[np.bool_]:
    """Return stretches as what holds in each tenth of a second."""
    out = np.zeros(size, bool)
    for start, end in spans:
        out[round(start / GRID) : round(end / GRID)] = True
    return out
