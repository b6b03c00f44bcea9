"""What the files of a study must say to be used."""

import json
import math
from pathlib import Path
from typing import Any, NoReturn

from musicssl.errors import ConfigError, shown

FORMAT = 1
COSTS = ("steps", "hours_heard", "cpu_seconds", "wall_seconds", "parameters")  # of the training
MEASURED = ("evaluate_wall_seconds",)
TABLES = ("data", "labels", "made_by")  # which older results may lack
SCORE = {"metric": str, "score": float, "chance": float, "n_items": int}


def read_json(file: Path) -> dict[str, Any] | None:
    """Return the values of a cell's file; None if there is no such file.

    Raises
    ------
    ConfigError
        If it cannot be read, or is damaged.
    """
    try:
        values = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        refuse(file, f"it is no JSON, {error}")
    if not isinstance(values, dict):
        refuse(file, f"it must hold a table, got {shown(values)}")
    return values


def refuse(file: Path, why: str) -> NoReturn:
    """Say what is wrong with a file, and the way out.

    Raises
    ------
    ConfigError
        Always.
    """
    raise ConfigError(f"{file} cannot be used: {why}. Remove it to run that cell again.")


def find_fault(result: dict[str, Any], cell: str) -> str:
    """Return what is wrong with a result of the cell with that ID; nothing if it is right."""
    for key, wanted in {"format": FORMAT, "id": cell}.items():
        if result.get(key) != wanted:
            return f"{key} must be {wanted!r}, got {shown(result.get(key))}"
    if not isinstance(result.get("measured"), str):
        return f"measured must be text, got {shown(result.get('measured'))}"
    for key in TABLES:
        if not isinstance(result.get(key, {}), dict):
            return f"{key} must be a table, got {shown(result[key])}"
    return find_cost_fault(result, (*COSTS, *MEASURED)) or _find_score_fault(result.get("scores"))


def find_cost_fault(values: dict[str, Any], names: tuple[str, ...] = COSTS) -> str:
    """Return which of some numbers is missing or not positive; nothing if all are right."""
    for name in names:
        value = values.get(name)
        if not (_is(float, value) and values[name] > 0):
            return f"{name} must be a positive number, got {shown(value)}"
    return ""


def _find_score_fault(scores: Any) -> str:
    if not (isinstance(scores, dict) and scores):
        return f"scores must be a table of tasks, got {shown(scores)}"
    for task, score in scores.items():
        if not isinstance(score, dict):
            return f"scores.{task} must be a table, got {shown(score)}"
        for key, kind in SCORE.items():
            if not _is(kind, score.get(key)):
                what = "text" if kind is str else "a number"
                return f"scores.{task}.{key} must be {what}, got {shown(score.get(key))}"
    return ""


def _is(kind: type, value: Any) -> bool:
    """Return whether a value is text or a finite number, as asked."""
    if kind is str:
        return isinstance(value, str)
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
