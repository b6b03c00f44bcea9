"""On white noise there is nothing to find: every worker's loss must stay at that of a guess.

What falls below it is a shortcut, such as the place in the excerpt, or the age of a vector. Each
worker must also learn from sounds that do answer its question, so that the test can fail.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl_training.midi.charts import STYLES
from musicssl_training.midi.score import Score
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import (
    SCORE_WORKERS,
    WORKERS,
    Batch,
    Extras,
    Regression,
    Worker,
    equivariance,
    make_workers,
    worker_configs,
)
from musicssl_training.workers.masked import Masked, MaskedConfig
from musicssl_training.workers.waveform import Waveform

GRID = FrameGrid(sample_rate=1000, hop=20)  # 50 frames a second
FRAMES, DIM, WINDOW = 75, 16, 160  # excerpts of 1.5 s; windows of 160 ms
RECORDINGS = 6
SETTINGS: dict[str, dict[str, Any]] = {
    "gim": {},
    "lim": {"moments": 8},
    "contrast": {},
    "segments": {"seconds": 0.2},
    "spc": {"seconds": 0.4, "share": 0.8},
    "masked": {},
    "transposition": {"share": 1.0},
    "style": {},
}
NOTES, BEATS = np.zeros((0, 5), np.float32), np.zeros((0, 2), np.float32)
CHANCE = 0.93  # mean of the last losses, at least


def spectrum(audio: Tensor) -> Tensor:
    """Return log spectra around each frame, (batch, frames, 80)."""
    pieces = F.pad(audio, (WINDOW // 2, WINDOW // 2)).unfold(1, WINDOW, GRID.hop)[:, :FRAMES]
    power = torch.fft.rfft(pieces * torch.hann_window(WINDOW)).abs().square()[..., :80]
    return (1 + power).log()


class Spectrum(Target):
    size, reach = 2, WINDOW / 2 / GRID.sample_rate

    def forward(self, sound: CleanAudio) -> Tensor:
        return spectrum(sound.audio).unflatten(2, (2, 40)).mean(dim=3)


class Encoder(nn.Module):
    """Dilated convolutions that hear the whole excerpt, and the silence beyond its ends."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(80, DIM)
        self.layers = nn.ModuleList(
            nn.Conv1d(DIM, DIM, 3, dilation=d, padding=d) for d in (1, 4, 16, 32)
        )
        self.norm = nn.LayerNorm(DIM)

    def forward(self, audio: Tensor, masked: Tensor) -> Tensor:
        x = self.stem(spectrum(audio) * ~masked[..., None]).transpose(1, 2)
        for layer in self.layers:
            x = x + F.gelu(layer(x))
        out: Tensor = self.norm(x.transpose(1, 2))
        return out


def noise(random: torch.Generator) -> Batch:
    """Excerpts that have nothing in common, and styles that are drawn by lot."""
    rows = 2 * RECORDINGS
    audio = torch.randn(rows, FRAMES * GRID.hop, generator=random) * 0.3
    recordings = torch.arange(RECORDINGS).repeat_interleave(2)
    lots = torch.Generator().manual_seed(int(audio[0, 0].view(torch.int32)))  # takes no draw
    styles = torch.randint(len(STYLES), (RECORDINGS,), generator=lots).repeat_interleave(2)
    return Batch(CleanAudio(audio, GRID), recordings, styled(styles), random=random)


def styled(styles: Tensor) -> list[Score]:
    """Return scores that say nothing but the style."""
    return [Score(NOTES, BEATS, style=list(STYLES)[number]) for number in styles.tolist()]


def music(random: torch.Generator) -> Batch:
    """Tones that swell, another for each recording."""
    batch = noise(random)
    semitones = torch.randint(24, (RECORDINGS,), generator=random)
    hertz = 80 * 2 ** (semitones / 12)
    time = torch.arange(FRAMES * GRID.hop) / GRID.sample_rate
    tones = torch.sin(2 * math.pi * hertz.repeat_interleave(2)[:, None] * time)
    audio = 0.1 * batch.sound.audio + tones * torch.linspace(0.1, 1, len(time))
    batch.sound = CleanAudio(audio, GRID)
    batch.scores = styled((semitones * len(STYLES) // 24).repeat_interleave(2))
    return batch


def masks(random: torch.Generator, block: int, margin: int) -> tuple[Tensor, Tensor]:
    """Return frames that are hidden, in blocks, and those far enough from what is not."""
    hidden = torch.zeros(2 * RECORDINGS, FRAMES, dtype=torch.bool)
    for row in hidden:
        for first in torch.randint(FRAMES - block, (30 // block,), generator=random).tolist():
            row[first : first + block] = True
    reached = F.max_pool1d((~hidden).float()[:, None], 2 * margin + 1, 1, margin)[:, 0] > 0
    return hidden, ~reached


def make(name: str) -> Worker:
    torch.manual_seed(0)
    if name == "masked":
        config = MaskedConfig(codes=16, books=1, size=2, token_seconds=0.02)
        return Masked(config, DIM, GRID, Spectrum())
    entry = {"name": name, "hidden": 32} | SETTINGS[name]
    return make_workers(worker_configs([entry]), DIM, GRID)[name]


def learn(
    worker: Worker,
    sounds: Callable[[torch.Generator], Batch],
    steps: int,
    *,
    block: int = 25,
    margin: int = WINDOW // 2 // GRID.hop,
) -> float:
    """Return the mean loss of the last fifth of the steps, every one on fresh sounds; 1: a guess.

    Tokens differ in how frequent they are, so that a guess at them costs less than 1.
    """
    random = torch.Generator().manual_seed(1)
    torch.manual_seed(1)
    encoder = Encoder()
    optimizer = torch.optim.Adam([*encoder.parameters(), *worker.parameters()], lr=3e-3)
    for _ in range(4):
        worker.measure(sounds(random))
    losses = []
    for _ in range(steps):
        batch = sounds(random)
        rows = len(batch.recordings)
        hidden, unheard = masks(random, block, margin)
        if not worker.needs_mask:
            hidden = torch.zeros_like(hidden)
        views = worker.extra_views(batch)
        audio, extra = batch.sound.audio, 0
        if views is not None:
            audio, extra = torch.cat([audio, views.audio]), len(views.audio)
        frames = encoder(audio, F.pad(hidden, (0, 0, 0, extra)))
        extras = Extras(views=views, view_frames=frames[rows:], masked=unheard)
        loss = worker.loss(frames[:rows], batch, extras)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    guess = 1.0
    if isinstance(worker, Masked):
        guess = 1 + math.log(worker.usage.item()) / math.log(worker.codes)
    return sum(losses[-steps // 5 :]) / (steps // 5) / guess


@pytest.mark.parametrize("name", sorted(SETTINGS.keys() - {"transposition"}))
def test_nothing_is_found_where_there_is_nothing(name: str) -> None:
    assert learn(make(name), noise, 150) > CHANCE


def test_copies_of_unlike_noise_tell_no_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one noise do: its peaks move. It learns slowly."""
    again = equivariance.transposed

    def unlike(audio: Tensor, semitones: int, cut: float) -> Tensor:
        return again(0.3 * torch.randn_like(audio), semitones, cut)

    monkeypatch.setattr(equivariance, "transposed", unlike)
    assert learn(make("transposition"), noise, 700) > CHANCE


def test_every_worker_that_compares_sounds_is_asked() -> None:
    measured = (Regression, Waveform)
    comparing = {name for name, (kind, _) in WORKERS.items() if not issubclass(kind, measured)}
    assert comparing - set(SCORE_WORKERS) <= SETTINGS.keys()


def test_the_level_of_an_excerpt_does_not_tell_its_tokens() -> None:
    def louder_or_softer(random: torch.Generator) -> Batch:
        batch = noise(random)
        decibels = 24 * torch.rand(len(batch.recordings), 1, generator=random) - 12
        batch.sound = CleanAudio(batch.sound.audio * 10 ** (decibels / 20), GRID)
        return batch

    assert learn(make("masked"), louder_or_softer, 150) > CHANCE


@pytest.mark.parametrize("name", SETTINGS)
def test_what_there_is_is_found(name: str) -> None:
    assert learn(make(name), music, 120) < CHANCE - 0.1


def test_short_masks_without_a_margin_would_give_the_answer_away() -> None:
    """Windows of unmasked spectra hear into the masked ones."""
    worker = make("masked")
    worker.target.reach = 0.0  # type: ignore[union-attr]
    assert learn(worker, noise, 150, block=1, margin=0) < CHANCE - 0.1
