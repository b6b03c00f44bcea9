"""Transposition equivariance: shifted copies of an excerpt must read as shifted by as much."""

import math
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from musicssl.errors import ConfigError
from musicssl_training.targets.features import FrameGrid
from musicssl_training.workers.base import NO_EXTRAS, Batch, Extras, Views, Worker, WorkerConfig
from musicssl_training.workers.heads import mlp

CLASSES = 12  # semitones an octave
Shift = TypeVar("Shift", float, Tensor)  # semitones
GAIN_DB = 6.0  # of a copy, at most, up or down


@dataclass(frozen=True, kw_only=True)
class TranspositionConfig(WorkerConfig):
    """Head, and how many copies the encoder hears."""

    name: str = "transposition"
    hidden: int = 256  # units
    share: float = 0.2  # copies, as a share of the excerpts in the batch; at least one pair

    def __post_init__(self) -> None:
        if not 0 < self.share <= 2:
            raise ConfigError(f"workers.{self.name}.share must lie in (0, 2], got {self.share}.")


@dataclass(frozen=True)
class TransposedViews(Views):
    """Copies of an excerpt side by side: rows 2 * i and 2 * i + 1 are a pair."""

    shifts: Tensor  # (pairs, 2), semitones
    starts: Tensor  # (pairs, 2), frames of the whole copy that were cut off before it
    turns: Tensor  # (pairs, 2), frames by which it was turned: its beginning lies there


class Transposition(Worker):
    """Two copies of an excerpt, resampled, must read as pitch classes that differ by the interval.

    The head reads from each frame a distribution over a circle of 12 pitch classes. Its Fourier
    coefficients ``z`` at 1 to 6 turns of the circle are compared where the copies hold the same
    music: the mean over time of ``z2 * conj(z1)`` must be the rotation by the interval, in squared
    distance. What a class means is left to the head; only differences are taught [1]_ [2]_, and
    uniform distributions, where it begins, are no trap since it is a correlation that must
    grow [3]_.

    It cannot collapse: the intervals between two different shifts among -5 to 5 semitones,
    counted on the circle, are uniform over 1 to 11, so that their rotations have the mean -1 / 11.
    Read-outs that are the same for both copies have a product ``c >= 0``, which costs on average
    ``1 + c ** 2 + 2 * c / 11``. Nor does it help to read the place in the copy: each is a stretch
    from anywhere in the whole, turned, end to beginning, by as much as is drawn for it alone, so
    that the places of the same music in both are independent. (Otherwise music comes the earlier
    the faster it is played, and a clock tells the interval without hearing a sound.)

    Both copies are resampled, cut alike, and lose the same kind of treble (a random low-pass
    below what the lowest copy can hold): with the excerpt itself as the other half, its upper
    limit and the silence at the end would tell the interval. Each has a gain of its own: noise
    that is played more slowly is denser in frequency, by 0.25 dB a semitone, which tells as much.

    References
    ----------
    .. [1] Gfeller et al., "SPICE: Self-supervised pitch estimation", 2020.
    .. [2] Riou et al., "PESTO: Pitch estimation with self-supervised transposition-equivariant
       objective", 2023.
    .. [3] Kong et al., "STONE: Self-supervised tonality estimator", 2024.
    """

    furthest = 5  # semitones; the proof above needs it

    config: TranspositionConfig

    def __init__(self, config: TranspositionConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__(config, dim, grid)
        self.hop = grid.hop * grid.stride
        self.head = mlp(dim, config.hidden, CLASSES)

    def extra_views(self, batch: Batch) -> TransposedViews:
        audio, random = batch.sound.audio, batch.random
        rows = len(audio)
        pairs = min(rows, max(1, round(self.config.share * rows / 2)))
        chosen = torch.randperm(rows, generator=random)[:pairs].tolist()
        count = 2 * self.furthest + 1
        orders = torch.rand(pairs, count, generator=random).argsort(dim=1)
        shifts = orders[:, :2] - self.furthest
        dull = 0.6 + 0.4 * torch.rand(pairs, 2, generator=random)
        cuts = dull / 2 * ratio(-self.furthest)  # cycles a sample
        decibels = GAIN_DB * (2 * torch.rand(2 * pairs, 1, generator=random) - 1)
        used = self.usable(audio.shape[1])
        room = ((audio.shape[1] / ratio(shifts) - used) / self.hop).long()
        starts = (torch.rand(pairs, 2, generator=random) * (room.clamp(min=0) + 1)).long()
        turns = torch.randint(used // self.hop, (pairs, 2), generator=random)
        copies = []
        for row, *each in zip(chosen, shifts, cuts, starts, turns, strict=True):
            for shift, limit, start, turn in zip(*(one.tolist() for one in each), strict=True):
                whole = transposed(audio[row], shift, limit)
                copies.append(whole[start * self.hop :][:used].roll(turn * self.hop))
        again = torch.arange(audio.shape[1], device=audio.device) % used  # no silence at the end
        gains = (10 ** (decibels / 20)).to(audio)
        return TransposedViews(torch.stack(copies)[:, again] * gains, shifts, starts, turns)

    def usable(self, samples: int) -> int:
        """Return how many samples every copy of an excerpt fills: whole frames, at least one."""
        return max(1, int(samples * ratio(-self.furthest)) // self.hop) * self.hop

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        views, frames_of_views = extras.views, extras.view_frames
        if not isinstance(views, TransposedViews) or frames_of_views is None:
            return self.zero_loss(frames)
        frames, shifts = frames_of_views, views.shifts
        used = self.usable(batch.sound.audio.shape[1]) // self.hop
        places = same_music(views, used).to(frames.device)
        pairs = frames.reshape(-1, 2, *frames.shape[1:])
        heard = pairs.gather(2, places[..., None].expand(-1, -1, -1, frames.shape[2]))
        chances = self.head(heard).float().softmax(dim=3)
        turns = torch.arange(1, CLASSES // 2 + 1, device=frames.device) * (2 * math.pi / CLASSES)
        angles = torch.arange(CLASSES, device=frames.device)[:, None] * turns  # (classes, turns)
        with torch.autocast(frames.device.type, enabled=False):
            z = torch.complex(chances @ angles.cos(), chances @ angles.sin())
        product = (z[:, 1] * z[:, 0].conj()).mean(dim=1)  # (pairs, turns)
        interval = (shifts[:, 1] - shifts[:, 0]).to(frames.device)[:, None] * turns
        wrong = torch.view_as_real(product) - torch.stack([interval.cos(), interval.sin()], dim=2)
        return wrong.square().sum(dim=2).mean()


def same_music(views: TransposedViews, used: int) -> Tensor:
    """Return the frames, of `used`, that hold the same music in both copies: (pairs, 2, used)."""
    speed = ratio(views.shifts)
    first = (views.starts * speed).amax(dim=1, keepdim=True)  # in frames of the excerpt
    last = ((views.starts + used - 1) * speed).amin(dim=1, keepdim=True)
    moments = first + (last - first) * torch.linspace(0, 1, used)  # (pairs, used)
    places = moments[:, None] / speed[..., None] - views.starts[..., None]
    return (places.round().long() + views.turns[..., None]).remainder(used)


def ratio(semitones: Shift) -> Shift:
    """Return the ratio of frequencies `semitones` apart: how fast a copy is played."""
    return 2 ** (semitones / CLASSES)


def transposed(audio: Tensor, semitones: int, cut: float) -> Tensor:
    """Play `audio`, shape (samples,), faster or slower, in one Fourier transform each way.

    Parameters
    ----------
    audio
        Its ends are taken to be joined, with a little silence between.
    semitones
        Up, and shorter; or down (negative), and longer.
    cut
        Frequency, in cycles a sample of the result, above which nothing is left; at most 0.5.

    Returns
    -------
    Tensor
        Shape (about ``samples / ratio(semitones)``, at least that,); value ``n`` is that of
        `audio` at ``n * ratio(semitones)``, to within a sample at the end.
    """
    size = -(-(len(audio) + 64) // 4096) * 4096  # quick to transform
    new = 2 * math.ceil(size / ratio(semitones) / 2)
    spectrum = torch.fft.rfft(audio, size)[: new // 2 + 1]
    place = torch.arange(len(spectrum), device=audio.device) / (cut * new)
    spectrum = spectrum * ((1 - place) / 0.05).clamp(0, 1)  # the last twentieth fades
    out: Tensor = torch.fft.irfft(spectrum, new) * (new / size)
    return out
