"""The music that cells were made with, beside what lies in its place now.

A cell's ID has the names of sources, teachers and collections only, as folders may move. What they
held or said is written into its result, as hashes.
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musicssl.encoders import ENCODERS, EncoderConfig
from musicssl.errors import ConfigError
from musicssl_training.data import Source, open_sources
from musicssl_training.evaluation.datasets import Collection
from musicssl_training.evaluation.suite import read_collection
from musicssl_training.evaluation.tasks import TASKS
from musicssl_training.midi.score import to_row
from musicssl_training.study.config import Study
from musicssl_training.study.design import Cell
from musicssl_training.study.folder import FACTS, StudyFolder
from musicssl_training.study.measure import MeasureConfig
from musicssl_training.train.record import ORIGINS, RUNS
from musicssl_training.workers.teacher import taught_by

# hashes, by "source NAME", "teacher NAME on SOURCE", "collection NAME" or "labels of NAME"
Music = dict[str, str]


def check_music(study: Study, folder: StudyFolder) -> None:
    """Refuse to go on where other music has taken the place of what cells were made with.

    What older cells say nothing of is accepted.

    Parameters
    ----------
    study
        All of whose music is looked for.
    folder
        With what is finished and begun.

    Raises
    ------
    ConfigError
        If music of the same name is another one than then, or cannot be read.
    """
    heard, measured = functools.cache(hash_sources), functools.cache(hash_collections)
    others: dict[str, list[str]] = {}
    for cell in study.cells:
        teachers = taught_by(cell.config.worker_configs().values())
        here = heard(cell.config.data.sources, cell.config.encoder, teachers)
        here |= measured(cell.evaluate)
        for name, then in _read_music(cell, folder).items():
            if here.get(name, then) != then:
                others.setdefault(name, []).append(cell.name)
    if others:
        told = "; ".join(
            f"{name} (of {len(cells)} cells, such as {cells[0]})" for name, cells in others.items()
        )
        raise ConfigError(
            f"{folder.root} holds cells that were made with other music of the same name: {told}. "
            "Give another OUT, or put the music of then in its place."
        )


def find_unlike(results: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names under which results were made with different music."""
    seen: dict[str, set[str]] = {}
    for result in results:
        for name, digest in music_of(result).items():
            seen.setdefault(name, set()).add(digest)
    return [name for name, digests in seen.items() if len(digests) > 1]


def music_of(facts: dict[str, Any]) -> Music:
    """Return what a result, or what is known of a training, says of its music."""
    made_by = facts.get("made_by") or {}
    tables = {
        "source": made_by.get("sources"),
        "teacher": made_by.get("taught"),
        "collection": facts.get("data"),
        "labels of": facts.get("labels"),
    }
    return {
        f"{kind} {name}": digest
        for kind, found in tables.items()
        for name, digest in (found or {}).items()
    }


def open_heard(places: Sequence[str], encoder: EncoderConfig) -> list[Source]:
    """Open the sources that an encoder is to hear, at its rate.

    Raises
    ------
    ConfigError
        If one cannot be used.
    """
    kind, _ = ENCODERS[encoder.name]
    return open_sources(places, kind(encoder).sample_rate)


def hash_sources(
    places: Sequence[str], encoder: EncoderConfig, teachers: Sequence[str] = ()
) -> Music:
    """Return hashes of the sources that an encoder is to hear, and of what teachers say of them.

    Raises
    ------
    ConfigError
        If one cannot be used.
    """
    sources = open_heard(places, encoder)
    taught = {
        f"{name} on {one.name}": lessons.digest() if (lessons := one.lessons(name)) else ""
        for name in teachers
        for one in sources
    }
    made_by = {"sources": {one.name: one.digest() for one in sources}, "taught": taught}
    return music_of({"made_by": made_by})


def hash_collections(config: MeasureConfig) -> Music:
    """Return hashes of the collections that are measured on, and of their labels.

    Raises
    ------
    DataError
        If a collection cannot be read, or lacks a file.
    """
    found = read_collections(config)
    hashes = {one.name: one.hash for one in found}
    return music_of({"data": hashes, "labels": {one.name: hash_labels(one) for one in found}})


def read_collections(config: MeasureConfig) -> list[Collection]:
    """Return the collections that the tasks are on.

    Raises
    ------
    DataError
        If one cannot be read.
    """
    names = dict.fromkeys(TASKS[task].collection for task in config.chosen)
    return [read_collection(name, config.roots) for name in names]


def hash_labels(collection: Collection) -> str:
    """Return a hash of all labels and groups, 12 digits."""
    columns = {name: values.tolist() for name, values in collection.columns.items()}
    scores = [to_row(score) for score in collection.musical_scores]
    text = json.dumps([columns, scores], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_made_by(running: Path) -> dict[str, Any]:
    """Return code, device and data of a run, as of its last start."""
    last = json.loads((running / RUNS).read_text("utf-8").splitlines()[-1])
    taught = {
        f"{teacher['name']} on {pack}": teacher["values_sha256"].get(pack, "")
        for teacher in last.get(ORIGINS, {}).get("teachers", [])
        for pack in last["sources"]
    }
    made_by = {key: last.get(key) for key in ("commit", "versions", "device", "sources")}
    return made_by | ({"taught": taught} if taught else {})


def _read_music(cell: Cell, folder: StudyFolder) -> Music:
    """Return what is written down of the music of a cell; nothing if it is new or damaged."""
    if result := folder.result(cell):
        return music_of(result)
    facts = folder.model(cell) / FACTS
    try:
        if facts.exists():
            return music_of(json.loads(facts.read_text("utf-8")))
        return music_of({"made_by": read_made_by(folder.running(cell))})
    except (OSError, ValueError, LookupError, AttributeError):
        return {}
