"""Development and test parts of a collection, the same for all of its tasks."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from musicssl.errors import pick
from musicssl_training.evaluation.protocol.splits import PARTS, fold_groups

LARGEST = 0.75  # share of a collection that clips connected by groups may have, to be split
SEED = 29
Index = NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """The two halves of a collection.

    Attributes
    ----------
    is_test
        Whether each clip is in the test part, (clips,).
    separated
        Names of the groupings of which no group is in both parts.
    shared
        Names of the groupings whose groups are in both parts, because separating them would leave
        nothing to split.
    hash
        Of who is in the test part, 12 digits.
    """

    is_test: NDArray[np.bool_]
    separated: tuple[str, ...]
    shared: tuple[str, ...]
    hash: str

    @property
    def facts(self) -> dict[str, str]:
        """What a report says of it."""
        return {
            "hash": self.hash,
            "separated": ", ".join(self.separated),
            "shared": ", ".join(self.shared),
        }


def connect(groupings: Sequence[NDArray[Any]]) -> Index:
    """Return the connected component of each item; items with a group in common are connected.

    Parameters
    ----------
    groupings
        At least one; the group of each item, shape (items,).
    """
    items = len(groupings[0])
    edges, nodes = [], items  # a node for every item, and one for every group
    for groups in groupings:
        names, index = np.unique(groups, return_inverse=True)
        edges.append(np.stack([np.arange(items), nodes + index]))
        nodes += len(names)
    rows, columns = np.concatenate(edges, axis=1)
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(nodes, nodes))
    _, component = connected_components(graph, directed=False)
    return np.asarray(component[:items], np.int64)


def split_collection(ids: Sequence[str], groupings: Mapping[str, NDArray[Any]]) -> Partition:
    """Split a collection into halves of whole connected components.

    All groupings are separated together if that leaves components small enough to split. If not,
    they are taken in the order of their number of groups, the most first, and one that would
    connect more than three quarters of the clips is not separated. In any case, every clip is in
    one part only.

    Parameters
    ----------
    ids
        Names of the clips, all different.
    groupings
        The group of each clip, (clips,), by the name of the grouping.
    """
    finest_first = sorted(groupings, key=lambda name: (-len(np.unique(groupings[name])), name))
    kept, separated, shared = [np.array(ids)], [], []
    for name in finest_first:
        together = connect([*kept, groupings[name]])
        if np.bincount(together).max() > LARGEST * len(ids):
            shared.append(name)
        else:
            kept.append(groupings[name])
            separated.append(name)
    component = connect(kept)
    # Named after their first clip: the order in which clips are listed must not matter
    order = np.argsort(np.array(ids))
    _, first = np.unique(component[order], return_index=True)
    halves = fold_groups(np.array(ids)[order[first]][component], 2, SEED)
    is_test = np.zeros(len(ids), bool)
    is_test[halves[-1]] = len(halves) > 1
    listed = "\n".join(sorted(np.array(ids)[is_test].tolist()))
    digest = hashlib.sha256(listed.encode()).hexdigest()[:12]
    return Partition(is_test, tuple(separated), tuple(shared), digest)


def select_part(
    part: str, partition: Partition, sides: NDArray[Any] | None
) -> tuple[Index, NDArray[Any] | None]:
    """Return the clips of a part of a collection, and their published sides.

    The development and test parts share no clip that is tested: choices made on the one can be
    reported on the other.

    Parameters
    ----------
    part
        "all", "development" or "test". Without a published split, the latter two are the halves
        of `partition`. With one, "test" is everything, and "development" is everything but the
        test side, tested on the validation side if there is one.
    sides
        "train", "valid" or "test" for each clip, "" for those that the split excludes; None
        without a published split.
    """
    pick(dict.fromkeys(PARTS), part, "part")
    everything = np.arange(len(partition.is_test))
    if sides is None:
        if part == "all":
            return everything, None
        return np.flatnonzero(partition.is_test == (part == "test")), None
    here = np.flatnonzero(sides != "")
    if part != "development":
        return here, sides[here]
    here = here[sides[here] != "test"]
    if not (sides[here] == "valid").any():
        return here, None
    return here, np.where(sides[here] == "valid", "test", "train")
