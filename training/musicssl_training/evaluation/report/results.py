"""The contents of results.json."""

import importlib.metadata
import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from musicssl.atomic import atomic_write_text
from musicssl.errors import ConfigError
from musicssl_training.evaluation.protocol.scoring import Result
from musicssl_training.output import make_output_folder

FORMAT = 2  # 2: collections are split once, intervals are for new music and new training data
PACKAGES = ("musicssl", "torch", "numpy", "scikit-learn", "mir_eval", "librosa", "scipy")


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Score of `a` minus that of `b`, on the same items and bootstrap draws."""

    a: str
    b: str
    task: str
    probe: str
    regime: str
    metric: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Map:
    """A two-dimensional projection of a task's items."""

    model: str
    task: str
    xy: list[list[float]]
    labels: list[str]
    items: list[str]


@dataclass(kw_only=True)
class Report:
    """Everything that results.json holds."""

    format: int = FORMAT
    part: str = "all"  # of every collection: all, development or test
    date: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    versions: dict[str, str] = field(default_factory=lambda: _versions())
    data: dict[str, str] = field(default_factory=dict)
    partitions: dict[str, dict[str, str]] = field(default_factory=dict)  # of each collection
    spaces: dict[str, str] = field(default_factory=dict)
    supervision: dict[str, str] = field(default_factory=dict)  # of each model
    results: list[Result] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    maps: list[Map] = field(default_factory=list)
    embedding_seconds: dict[str, float] = field(default_factory=dict)
    missing: list[dict[str, str]] = field(default_factory=list)
    notes: dict[str, list[str]] = field(default_factory=dict)  # on labels of one's own, by task

    def leading(self) -> dict[str, Result]:
        """Return the result of each task's leading metric, its first, by task."""
        leading: dict[str, Result] = {}
        for result in self.results:
            leading.setdefault(result.task, result)
        return leading

    def note_missing(self, task: str, reason: object) -> None:
        """Note why a task was not measured, once."""
        entry = {"task": task, "reason": str(reason)}
        if entry not in self.missing:
            self.missing.append(entry)

    def write(self, file: Path) -> None:
        """Write JSON atomically."""
        make_output_folder(file.parent)
        part = file.with_name(f".{file.name}-{os.getpid()}")
        text = json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"
        atomic_write_text(file, text, part=part)


def read_report(file: Path) -> Report:
    """Read results.json.

    Raises
    ------
    ConfigError
        If it does not exist, or has another format.
    """
    try:
        values: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} is not the results.json of an evaluation: {error}.") from error
    if values.get("format") != FORMAT:
        raise ConfigError(
            f"{file} has format {values.get('format')!r}; this version reads {FORMAT}."
        )
    parts: dict[str, type[Any]] = {"results": Result, "differences": Difference, "maps": Map}
    read = {name: [kind(**row) for row in values[name]] for name, kind in parts.items()}
    return Report(**values | read)


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
