"""On-disk cache of embeddings, in blocks, keyed by embedding space and data."""

import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.atomic import atomic_write
from musicssl.errors import MusicSSLError
from musicssl_training.evaluation.datasets import Audio, Clip, Collection
from musicssl_training.evaluation.embedders.base import Embedder
from musicssl_training.evaluation.errors import DataError
from musicssl_training.output import make_output_folder
from musicssl_training.progress import Progress

BLOCK_BYTES = 128 * 2**20  # approximate limit on a block's decoded audio
BLOCK_CLIPS = 256  # at most
FRAME_SECONDS = 12.0  # of every clip that are embedded frame by frame


@dataclass(frozen=True)
class CollectionEmbeddings:
    """Embeddings of a collection by one embedder.

    Attributes
    ----------
    values
        Shape (clips, dim), or (all frames, dim) at frame level.
    lengths, times
        At frame level only: frames per clip, and the center of every frame in seconds.
    seconds
        Time spent embedding, without decoding.
    """

    values: NDArray[np.float32]
    seconds: float
    lengths: NDArray[np.int64] | None = None
    times: NDArray[np.float64] | None = None

    @classmethod
    def blank(cls, clips: int, level: str) -> "CollectionEmbeddings":
        """Return zeros in place of embeddings, to see what can be measured; a frame a second."""
        if level == "clip":
            return cls(np.zeros((clips, 1), np.float32), 0.0)
        frames = int(FRAME_SECONDS)
        times = np.tile(np.arange(frames, dtype=np.float64), clips)
        lengths = np.full(clips, frames, np.int64)
        return cls(np.zeros((len(times), 1), np.float32), 0.0, lengths, times)

    def spread(self, index: NDArray[np.int64], count: int) -> "CollectionEmbeddings":
        """Return these as embeddings of a larger collection: NaN, in one frame, for the others.

        Parameters
        ----------
        index
            Which clips of the larger collection these are, in ascending order.
        count
            Clips of the larger collection.
        """
        per_clip = np.ones(count, np.int64)
        if self.lengths is not None:
            per_clip[index] = self.lengths
        known = np.zeros(count, bool)
        known[index] = True
        rows = np.repeat(known, per_clip)
        values = np.full((len(rows), self.values.shape[1]), np.nan, np.float32)
        values[rows] = self.values
        if self.times is None:
            return CollectionEmbeddings(values, self.seconds)
        times = np.zeros(len(rows))
        times[rows] = self.times
        return CollectionEmbeddings(values, self.seconds, per_clip, times)


def embed_collection(
    collection: Collection, embedders: Sequence[Embedder], cache: Path, level: str = "clip"
) -> dict[str, CollectionEmbeddings | MusicSSLError]:
    """Return embeddings or an error for each embedder, by name; audio is decoded once for all.

    Parameters
    ----------
    collection
        Clips to embed.
    embedders
        With different names.
    cache
        Folder for blocks; existing blocks are loaded instead of computed.
    level
        "clip" or "frame" (the first 12 s of every clip).

    Raises
    ------
    DataError
        If a clip is missing or cannot be decoded; the message names it.
    """
    data_hash = collection.hash
    results: dict[str, list[dict[str, Any]] | MusicSSLError] = {e.name: [] for e in embedders}
    with Progress(len(collection.clips), "clips", collection.name) as shown:
        for number, clips in enumerate(_blocks(collection)):
            block = _AudioBlock(collection, clips, level)
            listed = "\n".join(clip.id for clip in clips).encode()
            stem = f"{number:05d}-{hashlib.sha256(listed).hexdigest()[:8]}"
            for embedder in embedders:
                done = results[embedder.name]
                if isinstance(done, MusicSSLError):
                    continue
                folder = cache / collection.name / data_hash / _slug(f"{embedder.space}-{level}")
                file = folder / f"{stem}.npz"
                if not file.is_file():
                    block.decode(embedder.sample_rate)  # what fails here concerns every embedder
                try:
                    done.append(_load_or_embed(embedder, block, file, level))
                except MusicSSLError as error:
                    results[embedder.name] = error
            shown.update(len(clips))
    return {k: v if isinstance(v, MusicSSLError) else _concatenate(v) for k, v in results.items()}


def embed_some(
    collection: Collection,
    index: NDArray[np.int64],
    embedders: Sequence[Embedder],
    cache: Path,
    level: str = "clip",
) -> dict[str, CollectionEmbeddings | MusicSSLError]:
    """Return what `embed_collection` does, but embed only some clips: NaN stands for the others.

    Parameters
    ----------
    index
        Of the clips that are embedded, in ascending order.

    Raises
    ------
    DataError
        If one of these clips is missing or cannot be decoded; the message names it.
    """
    count = len(collection.clips)
    if len(index) == count:
        return embed_collection(collection, embedders, cache, level)
    found = embed_collection(collection.subset(index), embedders, cache, level)
    return {
        name: one if isinstance(one, MusicSSLError) else one.spread(index, count)
        for name, one in found.items()
    }


class _AudioBlock:
    """The clips of a block, decoded once per requested sample rate."""

    def __init__(self, collection: Collection, clips: Sequence[Clip], level: str) -> None:
        self.collection, self.clips, self.level = collection, clips, level
        self._by_rate: dict[int, list[Audio]] = {}

    def decode(self, rate: int) -> list[Audio]:
        """Return the audio of every clip; empty at rate 0."""
        if not rate:
            return [np.empty(0, np.float32)] * len(self.clips)
        if rate not in self._by_rate:
            self._by_rate[rate] = [self._read(clip, rate) for clip in self.clips]
        return self._by_rate[rate]

    def _read(self, clip: Clip, rate: int) -> Audio:
        audio = self.collection.read(clip, rate)
        return audio[: round(FRAME_SECONDS * rate)] if self.level == "frame" else audio


def _blocks(collection: Collection) -> Iterator[list[Clip]]:
    """Yield the clips in blocks whose decoded audio fits into memory."""
    block: list[Clip] = []
    weight = 0
    for clip in collection.clips:
        block.append(clip)
        weight += (
            2 if clip.raw else 16
        ) * clip.size  # bytes as float32; estimated for compressed files
        if len(block) == BLOCK_CLIPS or weight >= BLOCK_BYTES:
            yield block
            block, weight = [], 0
    if block:
        yield block


def _load_or_embed(
    embedder: Embedder, block: _AudioBlock, file: Path, level: str
) -> dict[str, Any]:
    """Return a block's arrays from the cache, or compute and store them."""
    if file.is_file():
        with np.load(file, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files}
    audio = block.decode(embedder.sample_rate)
    begin = time.perf_counter()
    arrays: dict[str, Any] = {}
    if level == "frame":
        frames = [embedder.frames(c, a) for c, a in zip(block.clips, audio, strict=True)]
        arrays["values"] = np.concatenate([values for values, _ in frames])
        arrays["times"] = np.concatenate([times for _, times in frames])
        arrays["lengths"] = np.array([len(times) for _, times in frames])
    else:
        arrays["values"] = _embed_clips(embedder, block.clips, audio)
    arrays["seconds"] = np.array(time.perf_counter() - begin)
    make_output_folder(file.parent)
    part = file.with_name(f".{file.stem}-{os.getpid()}.npz")
    with atomic_write(file, part=part) as out:
        np.savez(out, **arrays)
    return arrays


def _embed_clips(
    embedder: Embedder, clips: Sequence[Clip], audio: Sequence[Audio]
) -> NDArray[np.float32]:
    vectors = embedder.embed(clips, audio)
    for clip, vector in zip(clips, vectors, strict=True):
        if vector.shape != vectors[0].shape or not np.isfinite(vector).all():
            raise DataError(
                f"{embedder.name}: the embedding of item {clip.id!r} has shape {vector.shape}, "
                f"that of {clips[0].id!r} {vectors[0].shape}; all must be finite and of one shape."
            )
    return np.stack(vectors)


def _concatenate(blocks: list[dict[str, Any]]) -> CollectionEmbeddings:
    parts = {k: np.concatenate([b[k] for b in blocks]) for k in blocks[0] if k != "seconds"}
    return CollectionEmbeddings(seconds=float(sum(b["seconds"] for b in blocks)), **parts)


def _slug(space: str) -> str:
    """Return a readable folder name, made unique by a hash."""
    short = re.sub(r"[^A-Za-z0-9.+=-]+", "_", space)[:80]
    return f"{short}-{hashlib.sha256(space.encode()).hexdigest()[:8]}"
