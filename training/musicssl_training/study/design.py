"""Factors, their levels, and the cells of a design."""

import copy
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from musicssl.config import from_dict
from musicssl.errors import ConfigError, MusicSSLError, pick
from musicssl_training.study.keys import extend, put
from musicssl_training.study.measure import MeasureConfig
from musicssl_training.train.config import PretrainConfig, read_config, write_config


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """How long a cell trains."""

    hours: float  # of audio heard

    def __post_init__(self) -> None:
        if not self.hours > 0:
            raise ConfigError(f"budget.hours must be positive, got {self.hours}.")


@dataclass(frozen=True)
class Level:
    """One level of a factor: its name in tables, and what it does to settings, by dotted key.

    Attributes
    ----------
    settings
        Values that it puts in place of others.
    added
        Items that it adds to lists.
    part
        Whether it says of a part that is screened that it is there, or is not.
    """

    label: str
    settings: dict[str, Any]
    added: dict[str, list[Any]] = field(default_factory=dict)
    part: bool = False


Combination = dict[str, Level]  # the level of every factor, by its name


@dataclass(frozen=True)
class Factor:
    """What is varied."""

    name: str
    levels: tuple[Level, ...]

    @property
    def labels(self) -> list[str]:
        """Names of the levels, in order."""
        return [level.label for level in self.levels]


@dataclass(frozen=True)
class Cell:
    """One run: the levels of all factors, and the settings that follow from them.

    Attributes
    ----------
    name
        The levels in one line.
    """

    name: str
    levels: dict[str, str]
    config: PretrainConfig
    evaluate: MeasureConfig

    @property
    def id(self) -> str:
        """Hash of the run's settings, 12 digits; it does not depend on where its data lies."""
        return _hash(self._settings)

    @property
    def run(self) -> str:
        """Hash of what is trained, 12 digits, however its workers are spelled and ordered."""
        workers = self.config.worker_configs().values()
        return _hash(
            self._settings | {"workers": sorted(repr(replace(one, label="")) for one in workers)}
        )

    @property
    def measure_id(self) -> str:
        """Hash of how it is measured, 12 digits, wherever the collections lie."""
        values = asdict(self.evaluate) | {"collections": sorted(self.evaluate.roots)}
        return _hash(values | {"tasks": list(self.evaluate.chosen)})

    @property
    def _settings(self) -> dict[str, Any]:
        names = tuple(Path(place).name for place in self.config.data.sources)
        return write_config(replace(self.config, data=replace(self.config.data, sources=names)))


def read_factor(name: str, values: Any) -> Factor:
    """Return a factor from a line of ``[grid]``.

    Parameters
    ----------
    name
        Dotted key of a setting; any name if every level has a ``set``.
    values
        A list of values, of ``{name = ..., value = ...}``, or of ``{name = ..., set = {...}}``
        for levels that replace several settings.

    Raises
    ------
    ConfigError
        If it is not such a list, or two levels have one name.
    """
    if not isinstance(values, list) or not values:
        raise ConfigError(f"study.grid.{name} must be a list of levels, got {values!r}.")
    levels = tuple(_read_level(name, value) for value in values)
    labels = [level.label for level in levels]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise ConfigError(
            f"study.grid.{name} has two levels named {min(twice)!r}; give them names: "
            '{name = "...", value = ...}.'
        )
    return Factor(name, levels)


def _read_level(factor: str, value: Any) -> Level:
    if isinstance(value, dict) and set(value) == {"name", "set"}:
        if not isinstance(value["set"], dict):
            raise ConfigError(f"study.grid.{factor}: set must be a table, got {value['set']!r}.")
        return Level(str(value["name"]), dict(value["set"]))
    if isinstance(value, dict) and set(value) == {"name", "value"}:
        return Level(str(value["name"]), {factor: value["value"]})
    if isinstance(value, dict):
        label = str(value.get("name", json.dumps(value)))
        return Level(label, {factor: value})
    if isinstance(value, list):
        return Level(" + ".join(map(str, value)), {factor: value})
    label = str(value).lower() if isinstance(value, bool) else str(value)
    return Level(label, {factor: value})


def combine(factors: Sequence[Factor], blocks: Sequence[dict[str, Any]]) -> list[Combination]:
    """Return the combinations of a design: of each block the full product, each once.

    Parameters
    ----------
    factors
        With all their levels.
    blocks
        Each narrows some factors to some of their levels' names.

    Returns
    -------
    list[Combination]
        In the order of the grid, however the blocks are ordered.

    Raises
    ------
    ConfigError
        If a block names an unknown factor or level, or leaves a factor none.
    """
    names = dict.fromkeys(factor.name for factor in factors)
    found: dict[tuple[int, ...], Combination] = {}  # by the levels' places in the grid
    for block in blocks:
        for key in block:
            pick(names, key, "study.block: factor")
        axes = [_narrow(factor, block.get(factor.name)) for factor in factors]
        for levels in itertools.product(*axes):
            place = tuple(f.levels.index(lv) for f, lv in zip(factors, levels, strict=True))
            found[place] = dict(zip(names, levels, strict=True))
    return [found[place] for place in sorted(found)]


def _narrow(factor: Factor, wanted: Any) -> tuple[Level, ...]:
    """Return the levels that a block asks for; all if it does not say."""
    if wanted is None:
        return factor.levels
    by_label = {level.label: level for level in factor.levels}
    asked = wanted if isinstance(wanted, list) else [wanted]
    texts = [str(one).lower() if isinstance(one, bool) else str(one) for one in asked]
    if not texts:
        raise ConfigError(f"study.block leaves {factor.name} no level; name some, or leave it out.")
    for text in texts:
        pick(by_label, text, f"study.block: level of {factor.name}")
    return tuple(by_label[text] for text in texts)


def make_cells(combinations: Sequence[Combination], tables: dict[str, Any]) -> list[Cell]:
    """Return the cells of a design, with as many steps as hear the budget's hours of audio.

    Parameters
    ----------
    combinations
        From `combine`.
    tables
        ``settings`` of the runs, ``evaluate`` and ``budget``, which the levels replace parts of.

    Raises
    ------
    ConfigError
        If the settings of a cell are not allowed, or two cells are the same run.
    """
    cells: dict[str, Cell] = {}
    for levels in combinations:
        cell = make_cell(levels, tables)
        same = cells.setdefault(cell.run, cell)
        if same is not cell:
            raise ConfigError(f"these cells are the same run: {same.name}; {cell.name}.")
    return list(cells.values())


def make_cell(levels: Combination, tables: dict[str, Any]) -> Cell:
    """Return one cell; see `make_cells`.

    Raises
    ------
    ConfigError
        If its settings are not allowed.
    """
    tables = copy.deepcopy(tables)
    labels = {factor: level.label for factor, level in levels.items()}
    where = _in_a_line(levels)
    given: dict[str, str] = {}
    for factor, level in levels.items():
        for key, value in level.settings.items():
            if key in given:
                raise ConfigError(f"cell {where}: both {given[key]} and {factor} set {key!r}.")
            given[key] = factor
            put(tables, key, value)
    try:
        for level in levels.values():
            for key, items in level.added.items():
                extend(tables, key, items)
        config = read_config(tables["settings"])
        data = config.data
        heard = data.recordings * data.per_recording * data.seconds / 3600  # hours a step
        budget = from_dict(BudgetConfig, tables["budget"], "study.budget")
        config = replace(config, steps=max(1, round(budget.hours / heard)))
        measure = from_dict(MeasureConfig, tables["evaluate"], "study.evaluate")
    except MusicSSLError as error:
        raise ConfigError(f"cell {where}: {error}") from error
    return Cell(where, labels, config, measure)


def _in_a_line(levels: Combination) -> str:
    """Return the levels as ``factor=level, factor=level, with part + part``."""
    grid = [f"{factor}={level.label}" for factor, level in levels.items() if not level.part]
    parts = [factor for factor, level in levels.items() if level.added]
    return ", ".join([*grid, f"with {' + '.join(parts)}"] if parts else grid)


def _hash(values: dict[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
