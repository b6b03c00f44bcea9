"""A model of this package as the teacher of a smaller one: the frames of its layer."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl import MusicEncoder, Stream, load_model
from musicssl.checkpoint.card import stated_license
from musicssl.checkpoint.hub import find_checkpoint
from musicssl_training.release.lineage import all_before, all_teachers, facts_of
from musicssl_training.release.model_card import kinds
from musicssl_training.teachers.base import Facts, Teacher

EVERY = 4  # frames; the ones between would say little more
CHUNK_SECONDS = 120.0  # encoded at a time; each is heard with 5 s more on both sides


class EmbeddingTeacher(Teacher):
    """Frames of a model's own layer, one of four: as the whole recording has them.

    Parameters
    ----------
    model
        On the CPU.
    facts
        Of its training.
    licence
        Of its weights.
    """

    def __init__(self, model: MusicEncoder, facts: dict[str, Any], licence: str) -> None:
        self.model, self.sample_rate = model, model.sample_rate
        self.facts = Facts(
            name=slug(str(facts["model"])),
            model=f"{facts['model']}, layer {', '.join(map(str, model.config.layer))}",
            sha256=str(facts["weights_sha256"]),
            licence=licence,
            trained_on=told(facts),
            kind="frames",
            size=model.dim,
            hop=EVERY * model.hop / model.sample_rate,
        )

    @classmethod
    def load(cls, name: str) -> "EmbeddingTeacher":
        """Return the one that `musicssl.load_model` finds by a name, a folder or a repository.

        Raises
        ------
        ModelError
            If there is none.
        """
        model = load_model(name, device="cpu")
        found = find_checkpoint(name)
        return cls(model, facts_of(name), licence_of(found.folder, found.model_id))

    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        stream = Stream(self.model, self.sample_rate, dtype="float32", chunk_seconds=CHUNK_SECONDS)
        done = 0

        def kept(frames: NDArray[np.float32]) -> NDArray[np.float32]:
            nonlocal done
            first, done = -done % EVERY, done + len(frames)
            return frames[first::EVERY]

        for block in blocks:
            yield kept(stream.push(block).values)
        yield kept(stream.flush().values)


def licence_of(folder: Path, model: str) -> str:
    """Return the licence of a model's weights, or where it may be found."""
    stated = stated_license(folder)
    if stated is None or stated == "other":
        return f"{stated or 'not stated here'}: see the model card of {model}"
    return stated.upper()  # as our own cards write it


def slug(name: str) -> str:
    """Return a model's name, or the last part of its path, as a teacher may be called."""
    last = name.rstrip("/").rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9_-]+", "-", last).strip("-_") or "model"


def told(facts: dict[str, Any]) -> str:
    """Return in words what a model was trained on, and by which teachers."""
    sources = [source for pack in facts.get("data", []) for source in pack["sources"]]
    if not sources:
        return "unknown"
    hours = sum(source["hours"] for source in sources)
    parts = [f"{hours:,.0f} hours of music, named in its model card"]
    if any(kinds(one)["scores"] for one in (facts, *all_before(facts))):
        parts.append("the scores of those that were rendered")
    for teacher in all_teachers(facts):
        parts.append(f"what {teacher['model']} says of it, which was trained on")
        parts[-1] += f" {teacher['trained_on']}"
    return "; ".join(parts)
