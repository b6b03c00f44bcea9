"""Labeled clips or frames of one part of a collection, as instances of tasks."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from musicssl_training.evaluation.datasets import Collection
from musicssl_training.evaluation.embedders.cache import CollectionEmbeddings
from musicssl_training.evaluation.errors import DataError, LeakError
from musicssl_training.evaluation.protocol.bootstrap import DRAWS
from musicssl_training.evaluation.protocol.frame_labels import FRAME_LABELS, common_times, frames_at
from musicssl_training.evaluation.protocol.labels import Labels
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
    """Return the clips of a part of a collection, and their published sides: see `select_part`.

    Raises
    ------
    DataError
        If the part is empty.
    """
    sides = data.columns.get("part")
    found = select_part(part, halves, sides)
    if len(found[0]):
        return found
    published = ""
    if sides is not None:
        counts = Counter(str(side) for side in sides)
        told = ", ".join(f"{count} in {side!r}" for side, count in sorted(counts.items()))
        published = f": the published split has {told}"
    raise DataError(
        f"{data.name}: none of its {len(data.clips)} items is in the part {part!r}{published}."
    )


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
        If there is nothing to measure; the message leaves out the task's name.
    LeakError
        If training and test share a group.
    """
    clips, clip_sides = clips_of(part, data, halves or partition(data, task))
    read = _read_frames if task.level == "frame" else _read_clips
    if part != "all":
        data = replace(data, name=f"{data.name}, {part} part")  # for messages
    items = read(task, data, embedded, clips, clip_sides)
    grouped = f", grouped by {' and '.join(task.groups)}" if task.groups else ""
    try:
        instance = make_instance(
            name, task.metrics, items.ids, items.labels, items.groups, items.sides, seeds, draws
        )
    except DataError as error:
        raise DataError(f"{data.name}{grouped}: {error}") from error
    except LeakError as error:
        raise LeakError(f"{name}: {data.name}{grouped}: {error}") from error
    return Prepared(instance, items.values, items.clips)


class _Items(NamedTuple):
    """What a part of a collection holds for a task, in the order of `ids`."""

    ids: list[str]
    labels: Labels
    groups: NDArray[np.str_]
    sides: NDArray[np.str_] | None
    values: dict[str, NDArray[np.float32]]
    clips: Collection | None


def _read_clips(
    task: Task,
    data: Collection,
    embedded: Embedded,
    index: NDArray[np.int64],
    sides: NDArray[np.str_] | None,
) -> _Items:
    labeled = task.kind.is_labeled(data, task.labels)[index]
    if not labeled.any():
        raise DataError(f"{data.name}: none of {len(index)} items has a label {task.labels[0]!r}.")
    index, sides = index[labeled], None if sides is None else sides[labeled]
    clips = data.subset(index)
    labels = task.kind.read(clips, task.labels)
    ids, groups = [clip.id for clip in clips.clips], clips.groups(task.groups)
    values = {m: found.values[index] for m, found in embedded.items()}
    return _Items(ids, labels, groups, sides, values, clips)


def _read_frames(
    task: Task,
    data: Collection,
    embedded: Embedded,
    clips: NDArray[np.int64],
    sides: NDArray[np.str_] | None,
) -> _Items:
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
    values = {m: frames_at(found, times)[index] for m, found in embedded.items()}
    return _Items(ids, labels, groups, frame_sides, values, None)
