"""How the cells of a study are measured."""

from dataclasses import dataclass
from pathlib import Path

from musicssl.errors import ConfigError, pick
from musicssl_training.evaluation.datasets import COLLECTIONS
from musicssl_training.evaluation.protocol.splits import PARTS
from musicssl_training.evaluation.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class MeasureConfig:
    """How a cell's encoder is measured: the linear probe on all labels."""

    collections: tuple[str, ...]  # labeled music: NAME=FOLDER, as for `evaluate --at`
    tasks: tuple[str, ...] = ()  # none: all of these collections
    part: str = "development"
    layer: tuple[int, ...] = (-1,)
    pooling: str = "meanstd"
    seeds: int = 3

    def __post_init__(self) -> None:
        for text in self.collections:
            name, equals, folder = text.partition("=")
            if not (equals and folder):
                raise ConfigError(f"evaluate.collections: {text!r} is not NAME=FOLDER.")
            pick(COLLECTIONS, name, "evaluate.collections: collection")
        if len(self.roots) < len(self.collections):
            raise ConfigError(
                "evaluate.collections names a collection twice: "
                f"{', '.join(self.collections)}. Each has one folder."
            )
        if not self.collections:
            raise ConfigError("evaluate.collections is empty: there is nothing to measure on.")
        for task in self.tasks:
            pick(TASKS, task, "evaluate.tasks: task")
            if TASKS[task].collection not in self.roots:
                raise ConfigError(
                    f"evaluate.tasks: {task!r} needs the collection {TASKS[task].collection!r}, "
                    "which is not in evaluate.collections."
                )
        pick(dict.fromkeys(PARTS), self.part, "evaluate.part")
        if self.seeds < 1:
            raise ConfigError(f"evaluate.seeds must be at least 1, got {self.seeds}.")

    @property
    def roots(self) -> dict[str, Path]:
        """Folder of each collection."""
        pairs = (text.partition("=") for text in self.collections)
        return {name: Path(folder).expanduser() for name, _, folder in pairs}

    @property
    def chosen(self) -> tuple[str, ...]:
        """Tasks that are measured."""
        return self.tasks or tuple(n for n, t in TASKS.items() if t.collection in self.roots)
