"""The settings of a study: one TOML file to a list of cells, checked before the first one runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicssl.config import from_dict, unknown_key
from musicssl.errors import ConfigError, MusicSSLError
from musicssl_training.study.design import Cell, Factor, combine, make_cells, read_factor
from musicssl_training.study.screening import check_parts, read_screen, screened
from musicssl_training.toml_file import read_toml

SEED = "seed"  # the factor whose levels are repetitions
KEYS = ("base", "settings", "budget", "evaluate", "grid", "block", "screen", "report")


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """What the report says besides the figures."""

    title: str = "A study of pre-training"
    about: str = ""  # a paragraph: the question, the data, and how little it is


@dataclass(frozen=True)
class Study:
    """A study: its factors and all of its cells, those of the first seed first.

    Attributes
    ----------
    parts
        Names of the factors that are screened: on or off, and not in all combinations.
    """

    factors: tuple[Factor, ...]
    cells: tuple[Cell, ...]
    report: ReportConfig
    parts: tuple[str, ...] = ()

    @property
    def treatments(self) -> list[str]:
        """Names of the factors but for the seed."""
        return [factor.name for factor in self.factors if factor.name != SEED]


def read_study(file: Path) -> Study:
    """Return the study that a TOML file describes.

    Parameters
    ----------
    file
        ``base``, if given, is the path of a run's settings, relative to this file. Other paths are
        those of the run: relative to the current folder.

    Raises
    ------
    ConfigError
        If the file cannot be read, or any cell's settings are not allowed; the message names the
        cell.
    """
    values = read_toml(file)
    for key in values:
        if key not in KEYS:
            raise ConfigError(unknown_key("study", key, list(KEYS)))
    for key in ("budget", "evaluate"):
        if key not in values:
            raise ConfigError(f"{file} lacks [{key}].")
    if not values.get("grid") and not values.get("screen"):
        raise ConfigError(f"{file} lacks [grid], or [screen]: nothing is varied.")
    base = read_toml(file.parent / values["base"]) if "base" in values else {}
    settings = merge(base, values.get("settings", {}))
    factors = tuple(read_factor(name, v) for name, v in flatten(values.get("grid", {})).items())
    if not any(factor.name == SEED for factor in factors):
        factors += (read_factor(SEED, [settings.get(SEED, 0)]),)
    blocks = values.get("block", [{}])
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise ConfigError("study.block must be a list of tables: [[block]].")
    parts = read_screen(values.get("screen", {}))
    for part in parts:
        if any(part.name == factor.name for factor in factors):
            raise ConfigError(f"both study.grid and study.screen name a factor {part.name!r}.")
    chosen = screened(combine(factors, [flatten(block) for block in blocks]), parts)
    tables = {"settings": settings, "evaluate": values["evaluate"], "budget": values["budget"]}
    try:
        cells = make_cells(chosen, tables)
        check_parts(chosen, parts, tables)
    except MusicSSLError as error:
        raise ConfigError(f"{file}: {error}") from error
    seeds = next(factor.labels for factor in factors if factor.name == SEED)
    cells.sort(key=lambda cell: seeds.index(cell.levels[SEED]))  # stable: one whole design a seed
    report = from_dict(ReportConfig, values.get("report", {}), "study.report")
    named = tuple(part.name for part in parts)
    return Study((*factors, *parts), tuple(cells), report, named)


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables by dotted keys; ``encoder.name = []`` is ``"encoder.name" = []``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return settings with others on top, table by table."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged
