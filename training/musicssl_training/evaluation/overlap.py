"""`musicssl-train overlap`: nothing that measures an encoder may be in what it was trained on."""

import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from musicssl.errors import AudioError
from musicssl_training.corpus import Source, open_sources
from musicssl_training.evaluation.collection import Audio, Collection
from musicssl_training.evaluation.errors import LeakError
from musicssl_training.evaluation.fingerprint import RATE, Index, landmarks
from musicssl_training.evaluation.tasks import COLLECTIONS, TASKS
from musicssl_training.evaluation.tunes import LENGTH, runs

log = logging.getLogger(__name__)
LEAST = 0.05  # of a clip's landmarks: copies at a low bit rate share 0.14, other music 0.001
STRETCH = 600  # seconds of a recording at a time
SHOWN = 20


@dataclass(frozen=True)
class Overlap:
    """A labelled item that is in the corpus, and how that was noticed."""

    collection: str
    item: str
    corpus: str
    path: str
    why: str

    def __str__(self) -> str:
        return f"{self.collection}/{self.item}: {self.why} of {self.corpus}/{self.path}"


def check_overlap(corpora: Sequence[str], roots: dict[str, Path]) -> None:
    """Make sure that no labelled music is in a corpus, by name, by tune or by sound.

    Labelled recordings that share a tune but no group are logged: splits may part them.

    Parameters
    ----------
    corpora
        Packs, and folders that have a manifest.
    roots
        The folders of collections, by the keys of `COLLECTIONS`.

    Raises
    ------
    ConfigError
        If a corpus cannot be opened.
    DataError
        If labelled music is missing or broken.
    LeakError
        If anything is in both; the message lists it.
    """
    sources = open_sources(corpora, RATE)
    collections = [COLLECTIONS[name](root) for name, root in roots.items()]
    found = [each for one in collections for each in same_names(one, sources)]
    for collection in collections:
        found += same_tunes(collection, sources)
    found += same_sounds(collections, sources)
    if found:
        listed = "\n".join(map(str, found[:SHOWN]))
        more = f"\nand {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise LeakError(f"labelled music is in the corpus, {len(found)} x:\n{listed}{more}")


def same_names(collection: Collection, sources: Sequence[Source]) -> Iterator[Overlap]:
    """Yield the items whose path, or whose group in one of the tasks, a recording has too.

    Yields
    ------
    Overlap
        One for each item and recording.
    """
    tasks = [task for task in TASKS.values() if task.collection == collection.name]
    named = {column: collection.pick(column)[column] for task in tasks for column in task.groups}
    named["path"] = np.array([clip.id for clip in collection.clips])
    for source in sources:
        for column, values in named.items():
            known = {_plain(row[column]): row["path"] for row in source.items if row.get(column)}
            for clip, value in zip(collection.clips, values, strict=True):
                if path := known.get(_plain(value)):
                    why = f"{column} {str(value)!r}"
                    yield Overlap(collection.name, clip.id, source.name, path, why)


def same_tunes(collection: Collection, sources: Sequence[Source]) -> Iterator[Overlap]:
    """Yield the items whose score has a tune of a recording's, where both scores are known.

    Yields
    ------
    Overlap
        One for each item and recording.
    """
    if not collection.scores:
        return
    index = index_tunes(collection)
    sizes = Counter(itertools.chain.from_iterable(index.values()))
    for source in sources:
        for item, row in enumerate(source.items):
            score = source.score(item, 0, row["samples"])
            tunes = runs(score) if score is not None else set()
            shared = Counter(clip for run in tunes for clip in index.get(run, ()))
            for clip, count in sorted(shared.items()):
                why = f"a tune ({count} of {sizes[clip]} runs of {LENGTH} intervals)"
                id_ = collection.clips[clip].id
                yield Overlap(collection.name, id_, source.name, row["path"], why)


def index_tunes(collection: Collection) -> dict[bytes, list[int]]:
    """Return the clips in whose scores each run of intervals is, and log tunes of two groups."""
    index: dict[bytes, list[int]] = {}
    for clip, score in enumerate(collection.scores):
        for run in runs(score):
            index.setdefault(run, []).append(clip)
    groups = collection.groups(["group"])
    alike = (sorted({groups[clip] for clip in clips}) for clips in index.values())
    pairs = {pair for names in alike for pair in itertools.combinations(names, 2)}
    for one, two in sorted(pairs):
        log.warning("%s: groups %s and %s have a tune in common", collection.name, one, two)
    return index


def same_sounds(collections: Sequence[Collection], sources: Sequence[Source]) -> Iterator[Overlap]:
    """Yield the items that are heard in a recording, by their fingerprints.

    Yields
    ------
    Overlap
        One for each item and recording.
    """
    indexed = [(collection, index_clips(collection)) for collection in collections]
    for source in sources:
        for item, row in enumerate(tqdm(source.items, source.name, disable=None)):
            for first, part in stretches(source, item):
                heard = landmarks(part)
                for collection, index in indexed:
                    for match in index.heard_in(heard, LEAST):
                        start = first + match.second
                        why = f"{match.share:.0%} of its fingerprint, from {start:.1f} s"
                        clip = collection.clips[match.clip].id
                        yield Overlap(collection.name, clip, source.name, row["path"], why)


def index_clips(collection: Collection) -> Index:
    """Return the landmarks of a collection's clips, and log how many have enough of them."""
    named = tqdm(collection.clips, collection.name, disable=None)
    index = Index([landmarks(collection.read(clip, RATE)) for clip in named])
    known = len(index.few) - int(index.few.sum())
    log.info("%s: %d of %d items can be recognised", collection.name, known, len(index.few))
    return index


def stretches(source: Source, item: int) -> Iterator[tuple[float, Audio]]:
    """Yield a recording ten minutes at a time, with the second at which each begins.

    Yields
    ------
    tuple
        Second and audio. A recording that cannot be read is logged and left out.
    """
    row = source.items[item]
    for start in range(0, row["samples"], STRETCH * RATE):
        try:
            part = source.excerpt(item, start, min(STRETCH * RATE, row["samples"] - start))
        except AudioError as error:
            log.warning("%s: %s", row["path"], error)
            return
        yield start / RATE, part


def _plain(value: object) -> str:
    return " ".join(str(value).casefold().split())
