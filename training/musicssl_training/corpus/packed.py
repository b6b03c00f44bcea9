"""Recordings decoded once into one file of 16-bit samples, and excerpts drawn from it at random.

A pack is a folder with ``audio.i16`` (mono, little-endian) and ``index.jsonl``, one line a
recording: ``{"path", "source", "licence", "start", "samples"}``.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from musicssl.audio import open_source
from musicssl.errors import AudioError, ConfigError


@dataclass(frozen=True)
class Pack:
    """The recordings of one packed folder and the samples behind them."""

    folder: Path
    items: list[dict[str, Any]]
    audio: NDArray[np.int16]  # (samples,), memory-mapped

    @classmethod
    def open(cls, folder: Path) -> "Pack":
        """Open a packed folder.

        Raises
        ------
        ConfigError
            If it is not one.
        """
        index = folder / "index.jsonl"
        if not index.is_file():
            raise ConfigError(f"{folder} holds no index.jsonl: not a packed corpus.")
        items = [json.loads(line) for line in index.read_text(encoding="utf-8").splitlines()]
        return cls(folder, items, np.memmap(folder / "audio.i16", dtype="<i2", mode="r"))

    @property
    def samples(self) -> int:
        """Samples in all."""
        return sum(item["samples"] for item in self.items)


def pack_files(
    rows: Iterable[dict[str, Any]],
    root: Path,
    folder: Path,
    sample_rate: int,
    report: Callable[[str], None] = print,
) -> None:
    """Decode the files ``root / row["path"]`` into a new pack; a file that fails is reported."""
    folder.mkdir(parents=True, exist_ok=True)
    position = 0
    with (folder / "audio.i16").open("wb") as audio, (folder / "index.jsonl").open("w") as index:
        for row in tqdm(list(rows), unit="file"):
            try:
                with open_source(root / row["path"], sample_rate=sample_rate) as source:
                    samples = np.concatenate(list(source.blocks()))
            except AudioError as error:
                report(f"left out: {error}")
                continue
            (np.clip(samples, -1, 1) * 32767).astype("<i2").tofile(audio)
            index.write(json.dumps(row | {"start": position, "samples": len(samples)}) + "\n")
            position += len(samples)


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
        lengths = [np.array([item["samples"] for item in pack.items]) for pack in packs]
        self.odds = [np.sqrt(n * (n > samples)) for n in lengths]
        self.odds = [odds / odds.sum() for odds in self.odds]
        self.random = np.random.default_rng(seed)

    def excerpts(self, pairs: int) -> NDArray[np.float32]:
        """Return excerpts in [-1, 1], shape (2 * pairs, samples); rows 2k and 2k + 1 belong."""
        out = np.empty((2 * pairs, self.samples), np.float32)
        for k in range(pairs):
            pack = self.packs[self.random.choice(len(self.packs), p=self.shares)]
            odds = self.odds[self.packs.index(pack)]
            item = pack.items[self.random.choice(len(odds), p=odds)]
            for row in (2 * k, 2 * k + 1):
                out[row] = self._excerpt(pack, item)
        return out

    def _excerpt(self, pack: Pack, item: dict[str, Any]) -> NDArray[np.float32]:
        """Return one excerpt of `item`, trying a few times for one that is not silent."""
        for _ in range(5):
            start = item["start"] + self.random.integers(item["samples"] - self.samples)
            excerpt = pack.audio[start : start + self.samples].astype(np.float32) / 32768
            if np.abs(excerpt).max() > 1e-3:
                break
        return excerpt
