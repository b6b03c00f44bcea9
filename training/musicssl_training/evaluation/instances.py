"""Labeled clips or frames of one part of a collection, as instances of tasks."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from musicssl_training.evaluation.datasets import Collection
from musicssl_training.evaluation.embedders.cache import CollectionEmbeddings
from musicssl_training.evaluation.errors import DataError
from musicssl_training.evaluation.protocol.bootstrap import DRAWS
from musicssl_training.evaluation.protocol.frame_labels import FRAME_LABELS, common_times, frames_at
from musicssl_training.evaluation.protocol.parts import Partition, select_part, split_collection
from musicssl_training.evaluation.protocol.scoring import TaskInstance, make_instance
from musicssl_training.evaluation.tasks import TASKS, Task

MAX_FRAMES = 5_000  # of a frame task, evenly drawn: neighboring frames are nearly alike
Embedded = Mapping[str, CollectionEmbeddings]  # by model


@dataclass(frozen=True)
class Prepared:
    """A task ready to be probed.

    Attributes
    ----------
    instance
        Labels, groups and splits of its items.
    values
        Each model's embeddings of the items, (items, dim).
    clips
        The clips that are its items; None at frame level.
    """

    instance: TaskInstance
    values: dict[str, NDArray[np.float32]]
    clips: Collection | None


def partition(data: Collection, *own: Task) -> Partition:
    """Return the halves of a collection, by the groups of all tasks that there are on it.

    Parameters
    ----------
    own
        Tasks that are not in `TASKS`.
    """
    tasks = [task for task in (*TASKS.values(), *own) if task.collection == data.name]
    grouped = [task.groups for task in tasks if task.groups and set(task.groups) <= {*data.columns}]
    return split_collection(
        [clip.id for clip in data.clips],
        {"/".join(columns): data.groups(columns) for columns in dict.fromkeys(grouped)},
    )


def clips_of(
    part: str, data: Collection, halves: Partition
) -> tuple[NDArray[np.int64], NDArray[np.str_] | None]:
    """Return the clips of a part of a collection, and their published sides: see `select_part`."""
    return select_part(part, halves, data.columns.get("part"))


def prepare(
    name: str,
    task: Task,
    data: Collection,
    embedded: Embedded,
    *,
    part: str,
    seeds: range,
    draws: int = DRAWS,
    halves: Partition | None = None,
) -> Prepared:
    """Return one part of a task's items, their splits, and all models' embeddings of them.

    Parameters
    ----------
    name
        Of the task.
    embedded
        Embeddings of all clips or frames of `data`.
    part
        "all", "development" or "test"; which clips it holds depends on the collection alone.
    seeds
        Of the splits.
    draws
        Of the bootstrap.
    halves
        Of the collection, from `partition`, where they are known already.

    Raises
    ------
    DataError
        If there is nothing to measure.
    """
    clips, clip_sides = clips_of(part, data, halves or partition(data, task))
    make = _prepare_frames if task.level == "frame" else _prepare_clips
    return make(name, task, data, embedded, clips, clip_sides, seeds, draws)


def _prepare_clips(
    name: str,
    task: Task,
    data: Collection,
    embedded: Embedded,
    index: NDArray[np.int64],
    sides: NDArray[np.str_] | None,
    seeds: range,
    draws: int,
) -> Prepared:
    labeled = task.kind.is_labeled(data, task.labels)[index]
    index, sides = index[labeled], None if sides is None else sides[labeled]
    if not len(index):
        raise DataError(f"{data.name}: no item has a label {task.labels[0]!r}. {data.advice}")
    clips = data.subset(index)
    labels = task.kind.read(clips, task.labels)
    ids, groups = [clip.id for clip in clips.clips], clips.groups(task.groups)
    instance = make_instance(name, task.metrics, ids, labels, groups, sides, seeds, draws)
    return Prepared(instance, {m: found.values[index] for m, found in embedded.items()}, clips)


def _prepare_frames(
    name: str,
    task: Task,
    data: Collection,
    embedded: Embedded,
    clips: NDArray[np.int64],
    sides: NDArray[np.str_] | None,
    seeds: range,
    draws: int,
) -> Prepared:
    """Return frames at times that are the same for all models."""
    if not data.musical_scores:
        raise DataError(f"{data.name}: the notes are not known. {data.advice}")
    truth, names = FRAME_LABELS[task.labels[0]]
    times = common_times(list(embedded.values()))
    clip = np.repeat(np.arange(len(data.clips)), [len(t) for t in times])
    taken = np.flatnonzero(np.isin(clip, clips))
    index = taken[:: max(1, -(-len(taken) // MAX_FRAMES))]
    second = np.concatenate(times)
    ids = [f"{data.clips[clip[i]].id}#{second[i]:.3f}" for i in index]
    y = np.concatenate([truth(s, t) for s, t in zip(data.musical_scores, times, strict=True)])
    labels = task.kind(y[index], names)
    groups = data.groups(task.groups)[clip[index]]
    frame_sides = None if sides is None else sides[np.searchsorted(clips, clip[index])]
    instance = make_instance(name, task.metrics, ids, labels, groups, frame_sides, seeds, draws)
    values = {m: frames_at(found, times)[index] for m, found in embedded.items()}
    return Prepared(instance, values, None)
