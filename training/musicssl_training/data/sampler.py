"""Random excerpts from several sources, for each step of pre-training."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from musicssl.errors import AudioError, ConfigError
from musicssl_training.data.folder import Files
from musicssl_training.data.pack import Pack
from musicssl_training.data.placement import draw_starts, redraw_start
from musicssl_training.data.recordings import RATE
from musicssl_training.data.resampled import ResampledPack
from musicssl_training.data.teaching import Lessons, Taught
from musicssl_training.midi.score import Score, merge

log = logging.getLogger(__name__)
QUIET = 1e-3  # largest magnitude of an excerpt that is taken to be silence
TRIES = 5  # at an excerpt that is not silent
BROKEN = 20  # recordings in a row that cannot be read
LAYER_DB = (-12.0, 6.0)  # of a second recording beside the first


class Source(Protocol):
    """Recordings of which excerpts can be read."""

    @property
    def name(self) -> str:
        """Name in logs."""

    @property
    def items(self) -> Sequence[dict[str, Any]]:
        """Its recordings: path, source, licence, samples and what else is known."""

    def excerpt(self, item: int, start: int, samples: int) -> NDArray[np.float32]:
        """Return a stretch of a recording, mono in [-1, 1], shape (samples,).

        Raises
        ------
        AudioError
            If it cannot be read (any more).
        """

    def score(self, item: int, start: int, samples: int) -> Score | None:
        """Return what truly sounds in that stretch, where it is known."""

    def lessons(self, teacher: str) -> Lessons | None:
        """Return what a teacher said of the recordings, if it was asked."""

    def digest(self) -> str:
        """Return a hash of what it holds."""


@dataclass(frozen=True)
class Drawn:
    """The excerpts of one step, those of a recording side by side."""

    audio: NDArray[np.float32]  # (rows, samples)
    recordings: NDArray[np.int64]  # (rows,): the same number, the same recording
    starts: NDArray[np.float32]  # (rows,): seconds into the recording
    sources: NDArray[np.int64]  # (rows,): the number of each one's source
    scores: list[Score | None]
    taught: list[dict[str, Taught]]  # what is known of each, by teacher


class Sampler:
    """Draw excerpts, several of one recording side by side.

    A source is drawn with its share, then a recording with the square root of its length (between
    "every recording alike" and "every second alike"), then positions, without overlap where the
    recording is long enough. What a step hears depends on nothing but the seed and the step: not on
    how many processes share it, nor on what was drawn before.

    Parameters
    ----------
    sources
        Where the recordings are.
    shares
        Of the excerpts, one a source; they need not add up to 1.
    sample_rate
        Hz.
    seconds
        Of an excerpt.
    seed
        Of the draws.
    recordings
        Drawn a step, over all processes.
    per_recording
        Excerpts of each.
    layered
        Share of the recordings with a score on which a second one of their source is laid, at -12
        to 6 dB; both scores then hold.
    teachers
        Whose values of the excerpts are looked up; those of layered ones are not known.
    rank, ranks
        Which process this is and how many there are; each hears as many recordings.
    parts
        In which a batch is heard, one after the other. Each is split over the processes, so that
        it holds the same recordings for any number of them.
    same_source
        Share of a part's recordings from one source: codec or SoundFont then tell none apart.

    Raises
    ------
    ConfigError
        If the numbers do not fit each other, or a source has nothing as long as an excerpt.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        shares: Sequence[float],
        *,
        sample_rate: int,
        seconds: float,
        seed: int,
        recordings: int,
        per_recording: int = 2,
        layered: float = 0.0,
        teachers: Sequence[str] = (),
        rank: int = 0,
        ranks: int = 1,
        parts: int = 1,
        same_source: float = 0.0,
    ) -> None:
        if len(sources) != len(shares):
            raise ConfigError(f"{len(sources)} sources but {len(shares)} shares.")
        if recordings % (ranks * parts):
            raise ConfigError(
                f"data.recordings ({recordings}) must be a multiple of {ranks * parts}: "
                f"{ranks} processes, each hearing optim.accumulate = {parts} parts."
            )
        self.sources, self.seed = list(sources), seed
        self.sample_rate, self.samples = sample_rate, round(seconds * sample_rate)
        self.recordings, self.per_recording, self.layered = recordings, per_recording, layered
        self.rank, self.ranks, self.parts = rank, ranks, parts
        self.same_source = same_source
        self.shares = np.asarray(shares, float) / np.sum(shares)
        self.probabilities = [self._probabilities(source) for source in self.sources]
        lengths = [len(source.items) for source in self.sources]
        self.offsets = np.cumsum([0, *lengths[:-1]])
        self.broken: set[tuple[int, int]] = set()
        self.lessons = {name: [one.lessons(name) for one in self.sources] for name in teachers}

    def _probabilities(self, source: Source) -> NDArray[np.float64]:
        """Return the probability of each recording of a source."""
        lengths = np.array([item["samples"] for item in source.items], float)
        weights = np.sqrt(lengths * (lengths > self.samples))
        if not weights.any():
            raise ConfigError(
                f"{source.name}: no recording is longer than an excerpt ({self.samples:,} samples)."
            )
        out: NDArray[np.float64] = weights / weights.sum()
        return out

    def draw(self, step: int) -> Drawn:
        """Return this process's share of what a step hears.

        Raises
        ------
        AudioError
            If one recording after the other cannot be read.
        """
        each = self.recordings // self.ranks
        rows = each * self.per_recording
        audio = np.empty((rows, self.samples), np.float32)
        numbers, starts = np.empty(rows, np.int64), np.empty(rows, np.float32)
        sources = np.empty(rows, np.int64)
        scores: list[Score | None] = []
        taught: list[dict[str, Taught]] = []
        for k, number in enumerate(self._numbers()):
            random = np.random.default_rng([self.seed, step, number])
            part = slice(k * self.per_recording, (k + 1) * self.per_recording)
            audio[part], numbers[part], starts[part], found, said = self._recording(
                random, self._common(step, number)
            )
            sources[part] = np.searchsorted(self.offsets, numbers[part], side="right") - 1
            scores += found
            taught += said
        return Drawn(audio, numbers, starts, sources, scores, taught)

    def _common(self, step: int, number: int) -> int | None:
        """Return the source that a part's recordings share, if this one is among them."""
        each = self.recordings // self.parts
        part, place = divmod(number, each)
        if place >= round(self.same_source * each):
            return None
        # a number past all recordings, whose draws these must not repeat
        random = np.random.default_rng([self.seed, step, self.recordings + part])
        return int(random.choice(len(self.sources), p=self.shares))

    def _numbers(self) -> list[int]:
        """Return which of the batch's recordings this process hears, part by part."""
        each = self.recordings // (self.ranks * self.parts)
        firsts = [(part * self.ranks + self.rank) * each for part in range(self.parts)]
        return [first + k for first in firsts for k in range(each)]

    def _recording(
        self, random: np.random.Generator, common: int | None
    ) -> tuple[NDArray[np.float32], int, list[float], list[Score | None], list[dict[str, Taught]]]:
        """Return what is drawn of a recording, which is of the source `common` if that is given.

        Raises
        ------
        AudioError
            If one recording after the other cannot be read.
        """
        drawn = int(random.choice(len(self.sources), p=self.shares))
        chosen = drawn if common is None else common
        for _ in range(BROKEN):
            item = int(random.choice(len(self.probabilities[chosen]), p=self.probabilities[chosen]))
            second = int(
                random.choice(len(self.probabilities[chosen]), p=self.probabilities[chosen])
            )
            layer = random.random() < self.layered and second != item
            try:
                found = self._excerpts(chosen, item, random)
                taught = [self._taught(chosen, item, start) for _, start, _ in found]
                if layer and all(score is not None for _, _, score in found):
                    others = self._excerpts(chosen, second, random)
                    pairs = zip(found, others, strict=True)
                    found = [_layer(one, other, random) for one, other in pairs]
                    taught = [{} for _ in found]
            except AudioError as error:
                if (chosen, item) not in self.broken:
                    log.warning("another recording is heard instead: %s", error)
                self.broken.add((chosen, item))
                continue
            audio, starts, scores = zip(*found, strict=True)
            number = int(self.offsets[chosen]) + item
            seconds = [start / self.sample_rate for start in starts]
            return np.stack(audio), number, seconds, list(scores), taught
        raise AudioError(
            f"{self.sources[chosen].name}: {BROKEN} recordings in a row cannot be read; see above. "
            "Has the folder moved?"
        )

    def _excerpts(
        self, chosen: int, item: int, random: np.random.Generator
    ) -> list[tuple[NDArray[np.float32], int, Score | None]]:
        """Return the excerpts of one recording; silent ones are drawn again a few times."""
        source = self.sources[chosen]
        length = source.items[item]["samples"]
        starts = draw_starts(length, self.samples, self.per_recording, random)
        out = []
        for k in range(len(starts)):
            for attempt in range(TRIES):
                if attempt:
                    others = np.delete(starts, k)
                    starts[k] = redraw_start(length, self.samples, others, random)
                start = int(starts[k])
                audio = source.excerpt(item, start, self.samples)
                if np.abs(audio).max() > QUIET:
                    break
            out.append((audio, start, source.score(item, start, self.samples)))
        return out

    def _taught(self, chosen: int, item: int, start: int) -> dict[str, Taught]:
        """Return what each teacher says of an excerpt, where that is known."""
        path = self.sources[chosen].items[item]["path"]
        place = start / self.sample_rate, self.samples / self.sample_rate
        found = {
            name: lessons.excerpt(path, *place)
            for name, of_sources in self.lessons.items()
            if (lessons := of_sources[chosen]) is not None
        }
        return {name: taught for name, taught in found.items() if taught is not None}


def _layer(
    first: tuple[NDArray[np.float32], int, Score | None],
    second: tuple[NDArray[np.float32], int, Score | None],
    random: np.random.Generator,
) -> tuple[NDArray[np.float32], int, Score | None]:
    """Return an excerpt with one of another recording on top."""
    (audio, start, score), (other, _, more) = first, second
    if score is None or more is None:
        return first
    gain = np.float32(10 ** (random.uniform(*LAYER_DB) / 20))
    mixed: NDArray[np.float32] = audio + gain * other
    mixed /= np.float32(max(1.0, float(np.abs(mixed).max())))
    return mixed, start, merge(score, more)


def open_sources(places: Sequence[str], sample_rate: int) -> list[Source]:
    """Open packs, and folders of audio files that have a manifest.

    Raises
    ------
    ConfigError
        If a place holds neither, or a pack at a lower sample rate.
    """
    return [
        _open_pack(place, sample_rate)
        if (place / "audio.i16").exists()
        else Files.open(place, sample_rate)
        for place in (Path(place).expanduser() for place in places)
    ]


def _open_pack(place: Path, sample_rate: int) -> Source:
    pack = Pack.open(place)
    rates = {item.get("sample_rate", RATE) for item in pack.items}
    if rates == {sample_rate}:
        return pack
    if min(rates) < sample_rate:  # what is above half of that would be missing
        raise ConfigError(
            f"{place} is at {min(rates)} Hz, the encoder at {sample_rate} Hz; make the pack with "
            f"--sample-rate {sample_rate}."
        )
    return ResampledPack(pack, sample_rate)
