"""The time that the cells of a study need: from finished ones, else from a few steps of each."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import Any

from musicssl_training.study.config import SEED, Study
from musicssl_training.study.design import Cell
from musicssl_training.study.folder import StudyFolder
from musicssl_training.train.config import PretrainConfig, write_config

log = logging.getLogger(__name__)
Finished = tuple[Cell, dict[str, Any]]  # with its result
MEASURED, LIKE, TIMED, UNKNOWN = (
    "the same settings with another seed",
    "finished cells with this encoder",
    "a timing of a few steps",
    "not known",
)


@dataclass(frozen=True)
class Plan:
    """What is left to do of one cell.

    Attributes
    ----------
    train_seconds, evaluate_seconds
        None where not known; 0 where done.
    source
        Where `train_seconds` comes from.
    """

    cell: Cell
    state: str
    train_seconds: float | None
    evaluate_seconds: float | None
    source: str


def make_plan(
    study: Study, folder: StudyFolder, timing: Callable[[PretrainConfig], float]
) -> list[Plan]:
    """Return what is left to do of every cell.

    Parameters
    ----------
    study
        Whose cells.
    folder
        With the results so far.
    timing
        Returns the seconds of a step; called once for each encoder and batch that no finished
        cell had.
    """
    results = [(cell, found) for cell in study.cells if (found := folder.result(cell))]
    timed: dict[str, float | None] = {}
    plans = []
    for cell in study.cells:
        state = folder.state(cell)
        if state == "finished":
            plans.append(Plan(cell, state, 0.0, 0.0, ""))
            continue
        trained = folder.model(cell).exists()
        step, source = (0.0, "") if trained else _from_results(cell, results)
        if step is None:
            key = str(_load(write_config(cell.config)))
            if key not in timed:
                timed[key] = _time(cell, timing)
            step, source = timed[key], TIMED if timed[key] is not None else UNKNOWN
        seconds = None if step is None else step * cell.config.steps
        plans.append(Plan(cell, state, seconds, _evaluate_seconds(cell, results), source))
    return plans


def _from_results(cell: Cell, results: list[Finished]) -> tuple[float | None, str]:
    """Return the seconds of a step in finished cells, the most alike ones."""
    same = [r for other, r in results if _but_seed(other.levels) == _but_seed(cell.levels)]
    load = _load(write_config(cell.config))
    like = [r for other, r in results if _load(write_config(other.config)) == load]
    for found, source in ((same, MEASURED), (like, LIKE)):
        if found:
            return mean(r["wall_seconds"] / r["steps"] for r in found), source
    return None, ""


def _evaluate_seconds(cell: Cell, results: list[Finished]) -> float | None:
    like = [r for other, r in results if other.config.encoder == cell.config.encoder]
    found = like or [r for _, r in results]
    return mean(r["evaluate_wall_seconds"] for r in found) if found else None


def _load(config: dict[str, Any]) -> tuple[Any, ...]:
    """Return what most of a step's time depends on."""
    data = config["data"]
    return config["encoder"], data["recordings"], data["per_recording"], data["seconds"]


def _but_seed(levels: dict[str, str]) -> dict[str, str]:
    return {factor: label for factor, label in levels.items() if factor != SEED}


def _time(cell: Cell, timing: Callable[[PretrainConfig], float]) -> float | None:
    try:
        return timing(cell.config)
    except Exception as error:  # the cell itself would fail, and say so in its turn
        log.warning("%s cannot be timed: %s", cell.name, error)
        return None
