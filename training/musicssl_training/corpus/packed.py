"""Recordings decoded once into one file of 16-bit samples, and excerpts drawn from it at random.

A pack is a folder with ``audio.i16`` (mono, little-endian) and ``index.jsonl``, one line a
recording: ``{"path", "source", "licence", "start", "samples", ...}``.
"""

import json
import logging
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from musicssl.audio import open_source
from musicssl.errors import AudioError, ConfigError

log = logging.getLogger(__name__)
Row = dict[str, Any]  # path, source, licence and whatever else is known of a recording
Read = Callable[[Row], tuple[NDArray[np.float32], Row]]  # audio and what was found out about it


@dataclass(frozen=True)
class Pack:
    """The recordings of one packed folder and the samples behind them."""

    folder: Path
    items: list[Row]
    audio: NDArray[np.int16]  # (samples,), memory-mapped

    @classmethod
    def open(cls, folder: Path) -> "Pack":
        """Open a packed folder.

        Raises
        ------
        ConfigError
            If it is not one, holds no audio, or less than its index says.
        """
        items = read_index(folder)
        if not items:
            raise ConfigError(f"{folder} holds no index.jsonl with recordings: not a pack.")
        check_audio(folder, items)
        return cls(folder, items, np.memmap(folder / "audio.i16", dtype="<i2", mode="r"))


def read_index(folder: Path) -> list[Row]:
    """Return the whole lines of a pack's index; a last one that was cut short is left out."""
    index = folder / "index.jsonl"
    if not index.is_file():
        return []
    lines = index.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def check_audio(folder: Path, items: list[Row]) -> int:
    """Return the samples that the items need.

    Raises
    ------
    ConfigError
        If audio.i16 holds fewer.
    """
    needed = max((item["start"] + item["samples"] for item in items), default=0)
    file = folder / "audio.i16"
    there = file.stat().st_size // 2 if file.is_file() else 0
    if there < needed:
        raise ConfigError(
            f"{file} holds {there:,} samples, its index.jsonl says {needed:,}: "
            "copied in part? Delete the pack and make it again."
        )
    return int(needed)


def write_pack(rows: Iterable[Row], folder: Path, read: Read, jobs: int = 1) -> int:
    """Read every row into a pack, going on with what is there; return how many it then holds.

    A recording that fails is logged and left out. A run that was killed leaves whole recordings.
    The pack is the same whatever `jobs` is.

    Parameters
    ----------
    rows
        What to read; rows whose ``path`` is in the pack are skipped.
    folder
        The pack's.
    read
        Takes a row, gives mono audio in [-1, 1] and further facts for the index. An `AudioError`
        is that recording's; any other error ends the work.
    jobs
        Rows to read at a time, in threads.

    Raises
    ------
    ConfigError
        If the pack that is there is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    items = read_index(folder)
    known = {item["path"] for item in items}
    position = check_audio(folder, items)
    todo = [row for row in rows if row["path"] not in known]
    with (
        _cut(folder / "audio.i16", 2 * position) as audio,
        _whole_lines(folder) as index,
        closing(_in_order(todo, read, jobs)) as results,
    ):
        for row, result in tqdm(results, total=len(todo), unit="file"):
            try:
                samples, facts = result.result()
            except AudioError as error:
                log.warning("left out: %s", error)
                continue
            audio.write((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
            audio.flush()
            place = {"start": position, "samples": len(samples)}
            index.write(json.dumps(row | facts | place).encode() + b"\n")
            index.flush()
            position += len(samples)
            known.add(row["path"])
    return len(known)


def _cut(file: Path, size: int) -> BinaryIO:
    """Open a file, new or not, at `size` bytes; what follows is dropped."""
    file.touch()
    out = file.open("r+b")
    out.truncate(size)
    out.seek(size)
    return out


def _whole_lines(folder: Path) -> BinaryIO:
    """Open a pack's index behind its last whole line."""
    file = folder / "index.jsonl"
    return _cut(file, file.read_bytes().rfind(b"\n") + 1 if file.exists() else 0)


def _in_order(
    rows: list[Row], read: Read, jobs: int
) -> Generator[tuple[Row, "Future[Any]"], None, None]:
    """Yield each row with its result, in order, while others are read."""
    with ThreadPoolExecutor(jobs) as pool:
        waiting: deque[tuple[Row, Future[Any]]] = deque()
        try:
            for row in rows:
                waiting.append((row, pool.submit(read, row)))
                if len(waiting) > jobs:  # no further ahead: whole recordings wait in memory
                    yield waiting.popleft()
            yield from waiting
        finally:
            pool.shutdown(cancel_futures=True)


def decode(path: Path, sample_rate: int) -> NDArray[np.float32]:
    """Return a whole audio file, mono, shape (samples,)."""
    with open_source(path, sample_rate=sample_rate) as source:
        return np.concatenate(list(source.blocks()))


class Sampler:
    """Draw pairs of excerpts, two of one recording side by side in the batch.

    A pack is drawn with its share, then a recording with the square root of its length (between
    "every recording alike" and "every second alike"), then two positions.
    """

    def __init__(self, packs: list[Pack], shares: list[float], samples: int, seed: int) -> None:
        if len(packs) != len(shares):
            raise ConfigError(f"{len(packs)} packs but {len(shares)} shares.")
        self.packs, self.samples = packs, samples
        self.shares = np.asarray(shares) / np.sum(shares)
        self.odds = [self._odds(pack) for pack in packs]
        self.random = np.random.default_rng(seed)

    def _odds(self, pack: Pack) -> NDArray[np.float64]:
        """Return the probability of each recording of a pack."""
        lengths = np.array([item["samples"] for item in pack.items])
        odds = np.sqrt(lengths * (lengths > self.samples))
        if not odds.any():
            raise ConfigError(f"{pack.folder}: no recording is longer than an excerpt.")
        out: NDArray[np.float64] = odds / odds.sum()
        return out

    def excerpts(self, pairs: int) -> NDArray[np.float32]:
        """Return excerpts in [-1, 1], shape (2 * pairs, samples); rows 2k and 2k + 1 belong."""
        out = np.empty((2 * pairs, self.samples), np.float32)
        for k in range(pairs):
            chosen = int(self.random.choice(len(self.packs), p=self.shares))
            pack, odds = self.packs[chosen], self.odds[chosen]
            item = pack.items[int(self.random.choice(len(odds), p=odds))]
            for row in (2 * k, 2 * k + 1):
                out[row] = self._excerpt(pack, item)
        return out

    def _excerpt(self, pack: Pack, item: Row) -> NDArray[np.float32]:
        """Return one excerpt of `item`, trying a few times for one that is not silent."""
        for _ in range(5):
            start = item["start"] + self.random.integers(item["samples"] - self.samples)
            excerpt = pack.audio[start : start + self.samples] * np.float32(1 / 32768)
            if np.abs(excerpt).max() > 1e-3:
                break
        return excerpt
