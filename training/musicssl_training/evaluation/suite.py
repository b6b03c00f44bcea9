"""The whole evaluation: models times tasks times probes to one report."""

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from musicssl.errors import ConfigError, MusicSSLError, pick
from musicssl_training.evaluation.cache import Embedded, embed_collection
from musicssl_training.evaluation.collection import Collection
from musicssl_training.evaluation.embedders import Embedder, ModelEmbedder
from musicssl_training.evaluation.errors import DataError
from musicssl_training.evaluation.finetune import FineTuneConfig, fine_tune
from musicssl_training.evaluation.framewise import FRAMEWISE, common_times, frames_at
from musicssl_training.evaluation.intervals import draw_groups
from musicssl_training.evaluation.labels import Labels, read_labels
from musicssl_training.evaluation.maps import draw_map
from musicssl_training.evaluation.measure import Problem, make_splits, measure, scored
from musicssl_training.evaluation.probes import PROBES
from musicssl_training.evaluation.results import Report
from musicssl_training.evaluation.splits import PARTS, take_part
from musicssl_training.evaluation.table import FINE_TUNED
from musicssl_training.evaluation.tally import Drawn, Tally
from musicssl_training.evaluation.tasks import COLLECTIONS, TASKS, Task

log = logging.getLogger(__name__)
FRAMES = 5_000  # of a frame task, at most, evenly drawn: neighbours tell little new


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What is measured how.

    Attributes
    ----------
    tasks
        Keys of `TASKS`; none: all.
    regimes
        "100%", "10%", "5-shot", ...: how many labels train; fewer than all only with the linear
        probe.
    map_method
        "pca", "tsne", or "" for no maps.
    fine_tune
        How encoders are trained on the tasks about whole clips; None: they are not.
    jobs
        Processes that probe, of one thread each; the scores do not depend on their number.
    part
        Of every collection: "all", or "development" to choose by and "test" to report, which share
        no group; see `take_part`.
    """

    tasks: tuple[str, ...] = ()
    probes: tuple[str, ...] = ("linear", "mlp", "knn")
    regimes: tuple[str, ...] = ("100%", "10%", "1%")
    seeds: int = 5
    map_method: str = "pca"
    fine_tune: FineTuneConfig | None = None
    jobs: int = 1
    part: str = "all"

    def __post_init__(self) -> None:
        for name in self.tasks:
            pick(TASKS, name, "task")
        for name in self.probes:
            pick(PROBES, name, "probe")
        pick(dict.fromkeys(PARTS), self.part, "part")
        for name in self.regimes:
            number = name.rstrip("%") if name.endswith("%") else name.removesuffix("-shot")
            if number == name or not number.isdecimal() or not int(number):
                raise ConfigError(f"regime {name!r} is neither as '10%' nor as '5-shot'.")
        for name in ("seeds", "jobs"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.map_method not in ("pca", "tsne", ""):
            raise ConfigError(f"map_method must be 'pca', 'tsne' or '', got {self.map_method!r}.")


def evaluate(
    embedders: Sequence[Embedder],
    roots: dict[str, Path],
    cache: Path,
    config: EvaluateConfig,
    keep: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Measure embeddings; what is missing or broken is noted, the rest runs.

    Parameters
    ----------
    embedders
        Whose names differ.
    roots
        Folder of each collection that is at hand, by the keys of `COLLECTIONS`.
    cache
        Folder for embeddings.
    keep
        Gets the report so far after every collection, and the whole at the end.

    Raises
    ------
    ConfigError
        If two embedders have one name.
    LeakError
        If training and test of a task share a group.
    """
    names = [embedder.name for embedder in embedders]
    if len(set(names)) < len(names):
        raise ConfigError(f"models need different names, got {', '.join(names)}.")
    report = Report(spaces={e.name: e.space for e in embedders}, part=config.part)
    tally = Tally(report)
    chosen = {name: TASKS[name] for name in config.tasks or TASKS}
    for collection in dict.fromkeys(task.collection for task in chosen.values()):
        tasks = {n: t for n, t in chosen.items() if t.collection == collection}
        try:
            data = _read(collection, roots)
            report.data[collection] = data.hash
            _collection(data, tasks, embedders, cache, config, tally)
        except DataError as error:
            if collection in roots:
                log.warning("%s: %s", collection, error)
            for name in tasks:
                report.lack(name, error)
        keep(report)
    tally.add_means()
    keep(report)
    return report


def _read(name: str, roots: dict[str, Path]) -> Collection:
    if name not in roots:
        raise DataError(f"no folder {name!r} was given; see docs/evaluation.md.")
    return pick(COLLECTIONS, name, "collection")(roots[name])


def _collection(
    data: Collection,
    tasks: dict[str, Task],
    embedders: Sequence[Embedder],
    cache: Path,
    config: EvaluateConfig,
    tally: Tally,
) -> None:
    """Measure all tasks of one collection."""
    for level in ("clip", "frame"):
        here = {n: t for n, t in tasks.items() if (t.kind == "frames") == (level == "frame")}
        if not here:
            continue
        embedded: dict[str, Embedded] = {}
        for model, found in embed_collection(data, embedders, cache, level).items():
            if isinstance(found, MusicSSLError):
                for name in here:
                    tally.report.lack(f"{name} ({model})", found)
                continue
            embedded[model] = found
            before = tally.report.embedding_seconds.get(model, 0.0)
            tally.report.embedding_seconds[model] = round(before + found.seconds, 3)
        for name, task in here.items():
            try:
                if level == "clip":
                    tuned = [e for e in embedders if isinstance(e, ModelEmbedder)]
                    _clips(name, task, data, embedded, tuned, config, tally)
                else:
                    _frames(name, task, data, embedded, config, tally)
            except DataError as error:
                tally.report.lack(name, error)


def _clips(
    name: str,
    task: Task,
    data: Collection,
    embedded: dict[str, Embedded],
    models: Sequence[ModelEmbedder],
    config: EvaluateConfig,
    tally: Tally,
) -> None:
    """Measure a task about whole clips; clips without a label or outside the split are left out."""
    keep = np.ones(len(data.clips), bool)
    if task.kind == "classes":
        keep &= np.array([str(v) != "" for v in data.pick(task.labels[0])[task.labels[0]]])
    if "part" in data.columns:
        keep &= data.columns["part"] != ""
    if not keep.any():
        raise DataError(f"{data.name}: no item has a label {task.labels[0]!r}. {data.advice}")
    index = np.flatnonzero(keep)
    sides = data.columns["part"][index] if "part" in data.columns else None
    taken, sides = take_part(config.part, data.groups(task.groups)[index], sides)
    index = index[taken]
    part = data.subset(index)
    labels = read_labels(part, task.kind, task.labels)
    ids, groups = [clip.id for clip in part.clips], part.groups(task.groups)
    problem = _problem(name, task, ids, labels, groups, sides, config.seeds)
    values = {model: found.values[index] for model, found in embedded.items()}
    _measure(problem, values, config, tally)
    if config.fine_tune:
        _fine_tune(problem, part, [m for m in models if m.name in values], config, tally)
    if config.map_method:
        for model, x in values.items():
            tally.report.maps.append(draw_map(x, problem, model, config.map_method))


def _frames(
    name: str,
    task: Task,
    data: Collection,
    embedded: dict[str, Embedded],
    config: EvaluateConfig,
    tally: Tally,
) -> None:
    """Measure a task about frames, for all models at the same times."""
    if not data.scores:
        raise DataError(f"{data.name}: the notes are not known. {data.advice}")
    if not embedded:
        return
    truth, names = FRAMEWISE[task.labels[0]]
    times = common_times(list(embedded.values()))
    clip = np.repeat(np.arange(len(data.clips)), [len(t) for t in times])
    taken, _ = take_part(config.part, data.groups(task.groups)[clip], None)
    index = taken[:: max(1, -(-len(taken) // FRAMES))]
    second = np.concatenate(times)
    ids = [f"{data.clips[clip[i]].id}#{second[i]:.3f}" for i in index]
    y = np.concatenate([truth(s, t) for s, t in zip(data.scores, times, strict=True)])
    labels = Labels("tags", y[index], names)
    groups = data.groups(task.groups)[clip[index]]
    problem = _problem(name, task, ids, labels, groups, None, config.seeds)
    values = {model: frames_at(found, times)[index] for model, found in embedded.items()}
    _measure(problem, values, config, tally)


def _problem(
    name: str,
    task: Task,
    ids: list[str],
    labels: Labels,
    groups: NDArray[np.str_],
    part: NDArray[Any] | None,
    seeds: int,
) -> Problem:
    if len(np.unique(groups)) < 2:
        raise DataError(f"{name}: one group, {len(groups)} items of it: nothing to test on.")
    splits = make_splits(groups, part, seeds)
    tested = np.sort(np.concatenate([split.test for split in splits[0]]))
    if not len(tested) or not len(splits[0][0].train):
        raise DataError(f"{name}: the published split leaves no item to train or to test with.")
    draws = draw_groups(groups[tested])
    return Problem(name, ids, labels, groups, task.metrics, splits, tested, draws)


def _measure(
    problem: Problem,
    values: dict[str, NDArray[np.float32]],
    config: EvaluateConfig,
    tally: Tally,
) -> None:
    """Add all scores of a task, and the differences between its embeddings."""
    choices = [
        (probe, regime)
        for probe, regime in itertools.product(config.probes, config.regimes)
        if regime == "100%" or probe == "linear"
    ]
    calls = [
        joblib.delayed(measure)(x, problem, model, *choice)
        for choice in choices
        for model, x in values.items()
    ]
    with joblib.parallel_config("loky", inner_max_num_threads=1), threadpool_limits(1):
        measured = joblib.Parallel(config.jobs, return_as="generator")(calls)
        for probe, regime in choices:
            found: list[Drawn] = []
            for model in values:
                found += next(measured)
                log.info("%s, %s, %s, %s", problem.name, model, probe, regime)
            if not found:
                tally.report.lack(problem.name, f"{regime} of the labels are too few of them.")
            tally.add(found)


def _fine_tune(
    problem: Problem,
    data: Collection,
    models: Sequence[ModelEmbedder],
    config: EvaluateConfig,
    tally: Tally,
) -> None:
    """Add the scores of encoders trained on the task itself."""
    assert config.fine_tune is not None
    found: list[Drawn] = []
    for model in models:
        begin = time.perf_counter()
        scores = fine_tune(model, data, problem, config.fine_tune)
        seconds = time.perf_counter() - begin
        names = {"model": model.name, "probe": FINE_TUNED, "regime": "100%"}
        found += scored(scores, problem, seconds, **names)
    tally.add(found)
