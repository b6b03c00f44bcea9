"""Embeddings computed once: in blocks on disk, by embedding space and data."""

import hashlib
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import MusicSSLError
from musicssl_training.evaluation.collection import Audio, Clip, Collection
from musicssl_training.evaluation.embedders import Embedder
from musicssl_training.evaluation.errors import DataError

log = logging.getLogger(__name__)
BLOCK_BYTES = 128 * 2**20  # about what the decoded sounds of a block may take
BLOCK = 256  # clips, at most
FRAME_SECONDS = 12.0  # of every clip, where frames are embedded


@dataclass(frozen=True)
class Embedded:
    """A collection as one model hears it.

    Attributes
    ----------
    values
        Shape (clips, dim) or, of frames, (all frames, dim).
    lengths, times
        Of frames only: frames a clip, and the centre of every frame in seconds.
    seconds
        What embedding took, without decoding.
    """

    values: NDArray[np.float32]
    seconds: float
    lengths: NDArray[np.int64] | None = None
    times: NDArray[np.float64] | None = None


def embed_collection(
    collection: Collection, embedders: Sequence[Embedder], cache: Path, level: str = "clip"
) -> dict[str, Embedded | MusicSSLError]:
    """Return the embeddings by name, or why there are none; sounds are decoded once for all.

    Parameters
    ----------
    collection
        What to embed.
    embedders
        By whom.
    cache
        Folder of blocks from earlier runs; those that are there are not computed again.
    level
        "clip" or "frame" (the first 12 s of every clip).

    Raises
    ------
    DataError
        If a sound is missing or cannot be decoded; the message names it.
    """
    whole = collection.hash
    results: dict[str, list[dict[str, Any]] | MusicSSLError] = {e.name: [] for e in embedders}
    for number, block in enumerate(_blocks(collection)):
        sounds = _Sounds(collection, block, level)
        listed = "\n".join(clip.id for clip in block).encode()
        names = f"{number:05d}-{hashlib.sha256(listed).hexdigest()[:8]}"
        for embedder in embedders:
            done = results[embedder.name]
            if isinstance(done, MusicSSLError):
                continue
            folder = cache / collection.name / whole / _slug(f"{embedder.space}-{level}")
            try:
                done.append(_block(embedder, sounds, folder / f"{names}.npz", level))
            except DataError as error:
                if embedder.sample_rate:
                    raise
                results[embedder.name] = error
            except MusicSSLError as error:
                results[embedder.name] = error
        log.info("%s: block %d", collection.name, number)
    return {k: v if isinstance(v, MusicSSLError) else _joined(v) for k, v in results.items()}


class _Sounds:
    """The clips of a block, decoded once at each rate that is asked for."""

    def __init__(self, collection: Collection, clips: Sequence[Clip], level: str) -> None:
        self.collection, self.clips, self.level = collection, clips, level
        self._at: dict[int, list[Audio]] = {}

    def at(self, rate: int) -> list[Audio]:
        """Return the audio of every clip."""
        if not rate:
            return []
        if rate not in self._at:
            self._at[rate] = [self._read(clip, rate) for clip in self.clips]
        return self._at[rate]

    def _read(self, clip: Clip, rate: int) -> Audio:
        audio = self.collection.read(clip, rate)
        return audio[: round(FRAME_SECONDS * rate)] if self.level == "frame" else audio


def _blocks(collection: Collection) -> Iterator[list[Clip]]:
    """Yield the clips in blocks whose decoded audio fits into memory."""
    block: list[Clip] = []
    weight = 0
    for clip in collection.clips:
        block.append(clip)
        weight += (2 if clip.raw else 16) * clip.size  # as floats; of compressed files roughly
        if len(block) == BLOCK or weight >= BLOCK_BYTES:
            yield block
            block, weight = [], 0
    if block:
        yield block


def _block(embedder: Embedder, sounds: _Sounds, file: Path, level: str) -> dict[str, Any]:
    """Return one block's arrays from the cache, or compute and keep them."""
    if file.is_file():
        with np.load(file, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    audio = sounds.at(embedder.sample_rate)
    begin = time.perf_counter()
    arrays: dict[str, Any] = {}
    if level == "frame":
        found = [embedder.frames(c, a) for c, a in zip(sounds.clips, audio, strict=True)]
        arrays["values"] = np.concatenate([values for values, _ in found])
        arrays["times"] = np.concatenate([times for _, times in found])
        arrays["lengths"] = np.array([len(times) for _, times in found])
    else:
        arrays["values"] = _stacked(embedder, sounds.clips, audio)
    arrays["seconds"] = np.array(time.perf_counter() - begin)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.stem}-{os.getpid()}.npz")
    np.savez(part, **arrays)
    part.replace(file)
    return arrays


def _stacked(
    embedder: Embedder, clips: Sequence[Clip], audio: Sequence[Audio]
) -> NDArray[np.float32]:
    vectors = embedder.embed(clips, audio)
    for clip, vector in zip(clips, vectors, strict=True):
        if vector.shape != vectors[0].shape or not np.isfinite(vector).all():
            raise DataError(
                f"{embedder.name}: the embedding of item {clip.id!r} has the shape {vector.shape}, "
                f"that of {clips[0].id!r} {vectors[0].shape}; all must be alike, and finite."
            )
    return np.stack(vectors)


def _joined(blocks: list[dict[str, Any]]) -> Embedded:
    parts = {k: np.concatenate([b[k] for b in blocks]) for k in blocks[0] if k != "seconds"}
    return Embedded(seconds=float(sum(b["seconds"] for b in blocks)), **parts)


def _slug(space: str) -> str:
    """Return a folder name: readable, and unique by a hash."""
    short = re.sub(r"[^A-Za-z0-9.+=-]+", "_", space)[:80]
    return f"{short}-{hashlib.sha256(space.encode()).hexdigest()[:8]}"
