"""The settings of a study: one TOML file to a list of cells, checked before the first one runs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicssl.config import from_dict, unknown_key
from musicssl.errors import ConfigError, MusicSSLError, shown
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
    grid = flatten(_table(values, "grid"))
    if not grid and not values.get("screen"):
        raise ConfigError(f"{file} lacks [grid], or [screen]: nothing is varied.")
    settings = merge(_read_base(file, values), _table(values, "settings"))
    factors = tuple(read_factor(name, levels) for name, levels in grid.items())
    if not any(factor.name == SEED for factor in factors):
        factors += (read_factor(SEED, [settings.get(SEED, 0)]),)
    blocks = values.get("block", [{}])
    if not (isinstance(blocks, list) and blocks and all(isinstance(one, dict) for one in blocks)):
        raise ConfigError(f"study.block must be a list of tables, [[block]], got {shown(blocks)}.")
    parts = read_screen(values.get("screen", {}))
    for part in parts:
        if any(part.name == factor.name for factor in factors):
            raise ConfigError(f"both study.grid and study.screen name a factor {part.name!r}.")
    chosen = screened(combine(factors, [flatten(block) for block in blocks]), parts)
    tables = {"settings": settings} | {key: _table(values, key) for key in ("evaluate", "budget")}
    try:
        cells = make_cells(chosen, tables)
        check_parts(chosen, parts, tables)
        _check_tasks(cells)
    except MusicSSLError as error:
        raise ConfigError(f"{file}: {error}") from error
    seeds = next(factor.labels for factor in factors if factor.name == SEED)
    cells.sort(key=lambda cell: seeds.index(cell.levels[SEED]))  # stable: one whole design a seed
    report = from_dict(ReportConfig, values.get("report", {}), "study.report")
    named = tuple(part.name for part in parts)
    return Study((*factors, *parts), tuple(cells), report, named)


def _table(values: dict[str, Any], key: str) -> dict[str, Any]:
    """Return a table of the file, empty if it is not there."""
    found = values.get(key, {})
    if not isinstance(found, dict):
        raise ConfigError(f"study.{key} must be a table, [{key}], got {shown(found)}.")
    return found


def _read_base(file: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that those of the study lie on."""
    base = values.get("base")
    if base is None:
        return {}
    if not isinstance(base, str):
        raise ConfigError(f"study.base must be the path of a file, got {shown(base)}.")
    return read_toml(file.parent / base)


def _check_tasks(cells: list[Cell]) -> None:
    """Refuse cells of which no task could be compared."""
    common = set(cells[0].evaluate.chosen)
    for cell in cells:
        if not common & set(cell.evaluate.chosen):
            raise ConfigError(
                f"no task is measured in every cell: {cell.name} has "
                f"{', '.join(cell.evaluate.chosen)}, the cells before it share "
                f"{', '.join(sorted(common))}."
            )
        common &= set(cell.evaluate.chosen)


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
