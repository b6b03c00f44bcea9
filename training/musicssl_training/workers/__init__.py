"""Pretext tasks: heads that ask the encoder's output about the clean sound."""

from collections.abc import Mapping

from musicssl.errors import pick
from musicssl_training.targets.features import FrameGrid
from musicssl_training.workers.base import (
    NO_EXTRAS,
    Batch,
    Extras,
    Views,
    Worker,
    WorkerConfig,
    WorkerDict,
)
from musicssl_training.workers.regression import Regression, RegressionConfig
from musicssl_training.workers.selection import (
    Entry,
    check_layers,
    layers_read,
    parse,
    read_workers,
    resolve,
    worker_configs,
)
from musicssl_training.workers.table import SCORE_WORKERS, SELECTIONS, WORKERS
from musicssl_training.workers.teacher import PREFIX, Distillation, DistillationConfig, Lesson

__all__ = [
    "NO_EXTRAS",
    "SCORE_WORKERS",
    "SELECTIONS",
    "WORKERS",
    "Batch",
    "Entry",
    "Extras",
    "Regression",
    "RegressionConfig",
    "Views",
    "Worker",
    "WorkerConfig",
    "WorkerDict",
    "check_layers",
    "layers_read",
    "make_workers",
    "parse",
    "read_workers",
    "resolve",
    "worker_configs",
]


def make_workers(
    configs: Mapping[str, WorkerConfig],
    dim: int,
    grid: FrameGrid,
    lessons: Mapping[str, Lesson] | None = None,
) -> WorkerDict:
    """Return the workers that `configs` describe, in order.

    Parameters
    ----------
    configs
        From `worker_configs`.
    dim
        Size of the encoder's frames.
    grid
        Where targets are measured.
    lessons
        Of the teachers, by their names.

    Raises
    ------
    ConfigError
        For an unknown name.
    """
    made = WorkerDict()
    for key, config in configs.items():
        if isinstance(config, DistillationConfig):
            lesson = pick(lessons or {}, config.name.removeprefix(PREFIX), "teacher")
            made[key] = Distillation(config, dim, grid, lesson)
        else:
            kind, _ = pick(WORKERS, config.name, "worker")
            made[key] = kind(config, dim, grid)
    return made
