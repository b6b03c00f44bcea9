"""Overlap of labeled collections with training corpora, by name, melody and audio fingerprint."""

import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from musicssl.errors import AudioError
from musicssl_training.data import Source, open_sources
from musicssl_training.evaluation.datasets import COLLECTIONS, Audio, Collection
from musicssl_training.evaluation.errors import LeakError
from musicssl_training.evaluation.leakage.fingerprint import (
    SAMPLE_RATE,
    LandmarkIndex,
    find_landmarks,
)
from musicssl_training.evaluation.leakage.melody import LENGTH, interval_ngrams
from musicssl_training.evaluation.tasks import TASKS
from musicssl_training.progress import track

log = logging.getLogger(__name__)
SEGMENT = 600  # seconds of a recording at a time
SHOWN = 20  # overlaps that the error message lists


@dataclass(frozen=True)
class Overlap:
    """A labeled item that is in a corpus, and the evidence for it."""

    collection: str
    item: str
    corpus: str
    path: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.collection}/{self.item}: {self.evidence} of {self.corpus}/{self.path}"


def check_overlap(corpora: Sequence[str], roots: dict[str, Path]) -> str:
    """Make sure that no labeled music is in a corpus, by name, melody or audio.

    Labeled recordings that share a melody but no group are logged: splits may separate them.

    Parameters
    ----------
    corpora
        Packs, and folders with a manifest.
    roots
        Folders of the collections, by the keys of `COLLECTIONS`.

    Returns
    -------
    str
        What was compared, in one line.

    Raises
    ------
    ConfigError
        If a corpus cannot be opened.
    DataError
        If labeled music is missing or broken.
    LeakError
        If they overlap; the message lists the items.
    """
    sources = open_sources(corpora, SAMPLE_RATE)
    collections = [COLLECTIONS[name](root) for name, root in roots.items()]
    found = [each for one in collections for each in find_by_name(one, sources)]
    for collection in collections:
        found += find_by_melody(collection, sources)
    found += find_by_audio(collections, sources)
    if found:
        listed = "\n".join(map(str, found[:SHOWN]))
        more = f"\nand {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        matches = f"{len(found)} match{'es' if len(found) > 1 else ''}"
        raise LeakError(f"labelled music is in the corpus, {matches}:\n{listed}{more}")
    recordings = sum(len(source.items) for source in sources)
    clips = sum(len(collection.clips) for collection in collections)
    names = ", ".join(collection.name for collection in collections)
    said = f"{recordings:,} recordings compared with {clips:,} labelled clips ({names})"
    return f"no overlap found: {said}"


def find_by_name(collection: Collection, sources: Sequence[Source]) -> Iterator[Overlap]:
    """Yield items that share their path, or their group in one of the tasks, with a recording.

    Yields
    ------
    Overlap
        One for each pair of item and recording.
    """
    tasks = [task for task in TASKS.values() if task.collection == collection.name]
    named = {column: collection.column(column) for task in tasks for column in task.groups}
    named["path"] = np.array([clip.id for clip in collection.clips])
    for source in sources:
        for column, values in named.items():
            known = {
                _normalize(row[column]): row["path"] for row in source.items if row.get(column)
            }
            for clip, value in zip(collection.clips, values, strict=True):
                if path := known.get(_normalize(value)):
                    evidence = f"{column} {str(value)!r}"
                    yield Overlap(collection.name, clip.id, source.name, path, evidence)


def find_by_melody(collection: Collection, sources: Sequence[Source]) -> Iterator[Overlap]:
    """Yield items that share a melody with a recording, if both scores are known.

    Yields
    ------
    Overlap
        One for each pair of item and recording.
    """
    if not collection.musical_scores:
        return
    index = index_melodies(collection)
    sizes = Counter(itertools.chain.from_iterable(index.values()))
    for source in sources:
        for item, row in enumerate(source.items):
            score = source.score(item, 0, row["samples"])
            ngrams = interval_ngrams(score) if score is not None else set()
            shared = Counter(clip for ngram in ngrams for clip in index.get(ngram, ()))
            for clip, count in sorted(shared.items()):
                evidence = f"a tune ({count} of {sizes[clip]} runs of {LENGTH} intervals)"
                item_id = collection.clips[clip].id
                yield Overlap(collection.name, item_id, source.name, row["path"], evidence)


def index_melodies(collection: Collection) -> dict[bytes, list[int]]:
    """Return the clips of each interval n-gram, and log melodies that two groups share."""
    index: dict[bytes, list[int]] = {}
    for clip, score in enumerate(collection.musical_scores):
        for ngram in interval_ngrams(score):
            index.setdefault(ngram, []).append(clip)
    groups = collection.groups(["group"])
    sharing = (sorted({groups[clip] for clip in clips}) for clips in index.values())
    pairs = {pair for names in sharing for pair in itertools.combinations(names, 2)}
    for one, two in sorted(pairs):
        log.warning("%s: groups %s and %s have a tune in common", collection.name, one, two)
    return index


def find_by_audio(
    collections: Sequence[Collection], sources: Sequence[Source]
) -> Iterator[Overlap]:
    """Yield items that are contained in a recording, by their audio fingerprints.

    Yields
    ------
    Overlap
        One for each pair of item and recording.
    """
    indexed = [(collection, index_clips(collection)) for collection in collections]
    for source in sources:
        for item, row in enumerate(track(source.items, "recordings", source.name)):
            for first, audio in read_segments(source, item):
                landmarks = find_landmarks(audio)
                for collection, index in indexed:
                    for match in index.match(landmarks):
                        start = first + match.second
                        share = f"{match.share:.0%} of its fingerprint{match.change}"
                        evidence = f"{share}, from {start:.1f} s"
                        clip = collection.clips[match.clip].id
                        yield Overlap(collection.name, clip, source.name, row["path"], evidence)


def index_clips(collection: Collection) -> LandmarkIndex:
    """Return an index of a collection's landmarks, and log how many clips have enough of them."""
    clips = track(collection.clips, "clips", collection.name)
    index = LandmarkIndex([find_landmarks(collection.read(clip, SAMPLE_RATE)) for clip in clips])
    known = len(index.too_few) - int(index.too_few.sum())
    log.info("%s: %d of %d items can be recognized", collection.name, known, len(index.too_few))
    return index


def read_segments(source: Source, item: int) -> Iterator[tuple[float, Audio]]:
    """Yield a recording in segments of ten minutes, with their start times in seconds.

    Yields
    ------
    tuple
        Start and audio. A recording that cannot be read is logged and skipped.
    """
    row = source.items[item]
    for start in range(0, row["samples"], SEGMENT * SAMPLE_RATE):
        try:
            audio = source.excerpt(item, start, min(SEGMENT * SAMPLE_RATE, row["samples"] - start))
        except AudioError as error:
            log.warning("skipping unreadable recording %s: %s", row["path"], error)
            return
        yield start / SAMPLE_RATE, audio


def _normalize(value: object) -> str:
    return " ".join(str(value).casefold().split())
