"""The evaluation suite: models, tasks, probes and label regimes to one report."""

import itertools
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from musicssl.errors import ConfigError, MusicSSLError, pick
from musicssl_training.evaluation.datasets import COLLECTIONS, Collection
from musicssl_training.evaluation.embedders.adapters import ModelEmbedder
from musicssl_training.evaluation.embedders.base import Embedder
from musicssl_training.evaluation.embedders.cache import CollectionEmbeddings, embed_some
from musicssl_training.evaluation.errors import DataError, LeakError
from musicssl_training.evaluation.instances import Prepared, clips_of, partition, prepare
from musicssl_training.evaluation.own import OwnTask
from musicssl_training.evaluation.protocol.bootstrap import DRAWS
from musicssl_training.evaluation.protocol.finetune import FINE_TUNED, FineTuneConfig, fine_tune
from musicssl_training.evaluation.protocol.parts import Partition
from musicssl_training.evaluation.protocol.probes import PROBES
from musicssl_training.evaluation.protocol.regimes import FULL, Regime
from musicssl_training.evaluation.protocol.scoring import (
    Drawn,
    TaskInstance,
    measure,
    score_predictions,
)
from musicssl_training.evaluation.protocol.splits import PARTS
from musicssl_training.evaluation.report.builder import ReportBuilder
from musicssl_training.evaluation.report.projection import make_map
from musicssl_training.evaluation.report.results import Report
from musicssl_training.evaluation.tasks import TASKS, Task

log = logging.getLogger(__name__)
FEW_DRAWS = 20  # where only scores count


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """Settings of an evaluation.

    Attributes
    ----------
    tasks
        Keys of `TASKS`, or names of one's own; none: all.
    own
        Labels of one's own.
    probes
        Keys of `PROBES`.
    regimes
        "100%", "10%", "5-shot", ...: how many labels are used for training; less than all only
        with the linear probe.
    seeds
        Number of random seeds for splits and probes.
    map_method
        "pca", "tsne", or "" for no maps.
    fine_tune
        How encoders are fine-tuned on the clip-level tasks; None: not at all.
    jobs
        Number of probing processes, of one thread each; the scores do not depend on it.
    part
        Of every collection: "all", or "development" for choices and "test" for reporting, which
        share no clip; see `split_collection`.
    draws
        Of the bootstrap, on which intervals rest.
    """

    tasks: tuple[str, ...] = ()
    probes: tuple[str, ...] = ("linear", "mlp", "knn")
    regimes: tuple[str, ...] = ("100%", "10%", "1%")
    seeds: int = 5
    map_method: str = "pca"
    fine_tune: FineTuneConfig | None = None
    jobs: int = 1
    part: str = "all"
    draws: int = DRAWS
    own: tuple[OwnTask, ...] = ()

    @classmethod
    def linear(cls, tasks: tuple[str, ...], seeds: int, part: str) -> "EvaluateConfig":
        """Return the settings of the linear probe alone, with all labels and without maps.

        They are for scores: intervals would rest on too few draws.
        """
        return cls(
            tasks=tasks,
            probes=("linear",),
            regimes=("100%",),
            seeds=seeds,
            map_method="",
            part=part,
            draws=FEW_DRAWS,
        )

    def __post_init__(self) -> None:
        for name in self.tasks:
            pick(self.known_tasks, name, "task")
        for name in self.probes:
            pick(PROBES, name, "probe")
        pick(dict.fromkeys(PARTS), self.part, "part")
        for name in self.regimes:
            Regime.parse(name)
        for name in ("seeds", "jobs", "draws"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.map_method not in ("pca", "tsne", ""):
            raise ConfigError(f"map_method must be 'pca', 'tsne' or '', got {self.map_method!r}.")

    @property
    def known_tasks(self) -> dict[str, Task]:
        """Tasks that can be chosen, by name."""
        return TASKS | {own.data.name: own.task for own in self.own}

    @property
    def measurements(self) -> list[tuple[str, Regime]]:
        """Pairs of probe and regime."""
        pairs = itertools.product(self.probes, map(Regime.parse, self.regimes))
        return [(probe, r) for probe, r in pairs if r.is_full or probe == "linear"]


def evaluate(
    embedders: Sequence[Embedder],
    roots: dict[str, Path],
    cache: Path,
    config: EvaluateConfig,
    keep: Callable[[Report], None] = lambda _: None,
) -> Report:
    """Measure embeddings; what is missing or broken is noted, the rest is measured.

    Parameters
    ----------
    embedders
        With different names.
    roots
        Folder of each available collection, by the keys of `COLLECTIONS`.
    cache
        Folder for embeddings.
    keep
        Called with the unfinished report after every collection, and with the final one.

    Raises
    ------
    ConfigError
        If two embedders have the same name.
    LeakError
        If training and test of a task share a group.
    """
    names = [embedder.name for embedder in embedders]
    if len(set(names)) < len(names):
        raise ConfigError(f"models need different names, got {', '.join(names)}.")
    _warn_of_copies(embedders)
    report = Report(
        spaces={e.name: e.space for e in embedders},
        supervision={e.name: e.supervision for e in embedders},
        part=config.part,
    )
    run = _Evaluation(embedders, cache, config, report)
    known = config.known_tasks
    own = {one.data.name: one.data for one in config.own}
    for one in config.own:
        report.notes[one.data.name] = list(one.notes)
        log.info("%s", "\n".join(f"{one.data.name}: {note}" for note in one.notes))
    chosen = {name: known[name] for name in config.tasks or known}
    for collection, tasks in by_collection(chosen).items():
        try:
            data = own.get(collection) or read_collection(collection, roots)
            run.measure_collection(data, tasks)
        except DataError as error:
            if collection in roots or collection in own:
                log.warning("%s", error)
            for name in tasks:
                report.note_missing(name, error)
        keep(report)
    run.builder.add_means()
    keep(report)
    return report


def check_tasks(roots: dict[str, Path], config: EvaluateConfig) -> None:
    """Make sure that every task can be measured, before anything is embedded.

    That is: its recordings open as sound, and there are labels and groups to train on and to test.
    A class that is never trained on when it is tested, so that its items all count as errors, is
    logged.

    Parameters
    ----------
    roots
        As of `evaluate`.
    config
        With the tasks; own ones are not looked at.

    Raises
    ------
    ConfigError
        If not; it names every such task, its folder, and what is wrong.
    """
    faults: list[str] = []
    for collection, tasks in by_collection({n: TASKS[n] for n in config.tasks or TASKS}).items():
        place = f"{roots[collection]}: " if collection in roots else ""
        try:
            data = read_collection(collection, roots)
            halves = partition(data, *tasks.values())
            _check_audio(data, clips_of(config.part, data, halves)[0])
        except DataError as error:
            faults.append(f"{place}{', '.join(tasks)}: {error}")
            continue
        for name, task in tasks.items():
            try:
                _check_task(name, task, data, halves, config)
            except DataError as error:
                faults.append(f"{place}{name}: {error}")
            except LeakError as error:  # names the task itself
                faults.append(f"{place}{error}")
    if faults:
        raise ConfigError("\n".join(faults))


def _check_audio(data: Collection, asked: NDArray[np.int64]) -> None:
    """Make sure that the clips that would be embedded open, and that the others are there."""
    data.subset(asked).check_audio()
    _ = data.hash


def _check_task(
    name: str, task: Task, data: Collection, halves: Partition, config: EvaluateConfig
) -> None:
    """Make sure that a task can be measured, whatever the embedding."""
    blank = {"": CollectionEmbeddings.blank(len(data.clips), task.level)}
    seeds = range(config.seeds)
    instance = prepare(
        name, task, data, blank, part=config.part, seeds=seeds, draws=1, halves=halves
    ).instance
    unknown = instance.labels.never_trained(itertools.chain(*instance.splits))
    if unknown:
        log.warning(
            "%s: never trained on when tested, so that each item counts as an error: %s. In one "
            "group only?",
            name,
            ", ".join(map(repr, unknown)),
        )


def by_collection(tasks: dict[str, Task]) -> dict[str, dict[str, Task]]:
    """Return tasks by the collection that they are on, each in order."""
    found: dict[str, dict[str, Task]] = {}
    for name, task in tasks.items():
        found.setdefault(task.collection, {})[name] = task
    return found


def read_collection(name: str, roots: Mapping[str, Path]) -> Collection:
    """Return a collection that one of the folders in `roots` holds.

    Raises
    ------
    DataError
        If there is no such folder, or it holds something else.
    """
    if name not in roots:
        raise DataError(f"no folder {name!r} was given; see docs/evaluation.md.")
    return pick(COLLECTIONS, name, "collection")(roots[name])


def _warn_of_copies(embedders: Sequence[Embedder]) -> None:
    """Say which embedders give the same vectors under several names."""
    by_space: dict[str, list[str]] = {}
    for embedder in embedders:
        by_space.setdefault(embedder.space, []).append(embedder.name)
    for names in by_space.values():
        if len(names) > 1:
            log.warning(
                "%s are the same embedding: equal scores confirm nothing", " and ".join(names)
            )


@dataclass
class _Evaluation:
    """One run of the suite."""

    embedders: Sequence[Embedder]
    cache: Path
    config: EvaluateConfig
    report: Report
    builder: ReportBuilder = field(init=False)

    def __post_init__(self) -> None:
        self.builder = ReportBuilder(self.report)

    def measure_collection(self, data: Collection, tasks: dict[str, Task]) -> None:
        """Measure all tasks of one collection."""
        self.report.data[data.name] = data.hash
        halves = partition(data, *tasks.values())
        self.report.partitions[data.name] = halves.facts
        asked, _ = clips_of(self.config.part, data, halves)
        for level in ("clip", "frame"):
            here = {name: task for name, task in tasks.items() if task.level == level}
            embedded = self._embed(data, level, asked, here) if here else {}
            if not embedded:
                continue
            for name, task in here.items():
                try:
                    self._measure(name, task, data, embedded, halves)
                except DataError as error:
                    self.report.note_missing(name, error)

    def _embed(
        self, data: Collection, level: str, asked: NDArray[np.int64], tasks: Iterable[str]
    ) -> dict[str, CollectionEmbeddings]:
        """Return the embeddings by model, and note the models that have none.

        What is not among the clips that are `asked` for is not embedded, and holds NaN.
        """
        embedded: dict[str, CollectionEmbeddings] = {}
        for model, found in embed_some(data, asked, self.embedders, self.cache, level).items():
            if isinstance(found, MusicSSLError):
                for name in tasks:
                    self.report.note_missing(f"{name} ({model})", found)
                continue
            embedded[model] = found
            before = self.report.embedding_seconds.get(model, 0.0)
            self.report.embedding_seconds[model] = round(before + found.seconds, 3)
        return embedded

    def _measure(
        self,
        name: str,
        task: Task,
        data: Collection,
        embedded: dict[str, CollectionEmbeddings],
        halves: Partition,
    ) -> None:
        """Measure one task; clip-level tasks get maps, and fine-tuned encoders if asked for."""
        config = self.config
        seeds = range(config.seeds)
        found = prepare(
            name,
            task,
            data,
            embedded,
            part=config.part,
            seeds=seeds,
            draws=config.draws,
            halves=halves,
        )
        self._probe(found)
        if found.clips is None:
            return
        if config.fine_tune:
            here = [e for e in self.embedders if e.name in found.values]
            self._fine_tune(found.instance, found.clips, here)
        if config.map_method:
            for model, x in found.values.items():
                self.report.maps.append(make_map(x, found.instance, model, config.map_method))

    def _probe(self, task: Prepared) -> None:
        """Add all scores of a task, and the differences between its embeddings."""
        instance, values = task.instance, task.values
        calls = [
            joblib.delayed(_try_measure)(x, instance, model, probe, regime)
            for probe, regime in self.config.measurements
            for model, x in values.items()
        ]
        with joblib.parallel_config("loky", inner_max_num_threads=1), threadpool_limits(1):
            measured = joblib.Parallel(self.config.jobs, return_as="generator")(calls)
            for probe, regime in self.config.measurements:
                found: list[Drawn] = []
                failed = False
                for model in values:
                    one = next(measured)
                    log.info("%s, %s, %s, %s", instance.name, model, probe, regime)
                    if isinstance(one, DataError):
                        failed = True
                        self.report.note_missing(f"{instance.name} ({model})", one)
                    else:
                        found += one
                if not found and not failed:
                    reason = f"{regime}: too few labels to train on."
                    self.report.note_missing(instance.name, reason)
                self.builder.add(found)

    def _fine_tune(
        self, instance: TaskInstance, data: Collection, embedders: Sequence[Embedder]
    ) -> None:
        """Add the scores of encoders fine-tuned on the task."""
        assert self.config.fine_tune is not None
        found: list[Drawn] = []
        for model in embedders:
            if not isinstance(model, ModelEmbedder):
                continue
            begin = time.perf_counter()
            predictions = fine_tune(model, data, instance, self.config.fine_tune)
            seconds = time.perf_counter() - begin
            names = {"model": model.name, "probe": FINE_TUNED, "regime": str(FULL)}
            try:
                found += score_predictions(predictions, instance, seconds, **names)
            except DataError as error:
                self.report.note_missing(f"{instance.name} ({model.name})", error)
        self.builder.add(found)


def _try_measure(
    x: NDArray[np.float32], instance: TaskInstance, model: str, probe: str, regime: Regime
) -> list[Drawn] | DataError:
    """Return what `measure` does, or its error: one model's must not end the others' runs."""
    try:
        return measure(x, instance, model, probe, regime)
    except DataError as error:
        return error
