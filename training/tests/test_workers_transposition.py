"""Transposed copies, and that no read-out without pitch can profit from them."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import Batch, Extras
from musicssl_training.workers.equivariance import (
    TransposedViews,
    Transposition,
    TranspositionConfig,
    ratio,
    transposed,
)

GRID = FrameGrid(sample_rate=8000, hop=160, stride=2)
SECONDS = 2


def make(dim: int, **settings: Any) -> Transposition:
    return Transposition(TranspositionConfig(**settings), dim, GRID)


def tone(hertz: float, seconds: float = SECONDS, sample_rate: int = 8000) -> Tensor:
    return torch.sin(2 * math.pi * hertz * torch.arange(seconds * sample_rate) / sample_rate)


def a_batch(seed: int = 0, rows: int = 8) -> Batch:
    random = torch.Generator().manual_seed(seed)
    notes = torch.randint(24, (rows,), generator=random).tolist()
    audio = torch.stack([0.3 * tone(220 * ratio(note)) for note in notes])
    return Batch(CleanAudio(audio, GRID), torch.arange(rows), random=random)


@pytest.mark.parametrize("semitones", [-5, -1, 3, 5])
def test_a_tone_is_transposed(semitones: int) -> None:
    found = transposed(tone(1000.0), semitones, 0.5)
    assert 0 <= len(found) - 16_000 / ratio(semitones) < 4100  # and the silence behind it
    middle = found[500:8500]  # a second
    for cents, share in ((0, 1.0), (100, 0.0)):
        turn = 2j * math.pi * 1000 * ratio(semitones + cents / 100) / 8000
        heard = (middle * torch.exp(turn * torch.arange(8000))).mean().abs()
        assert heard.item() == pytest.approx(0.5 * share, abs=0.05)  # a quarter of a cent off


def test_nothing_is_left_above_the_cut() -> None:
    noise = torch.randn(32_000, generator=torch.Generator().manual_seed(0))
    power = torch.fft.rfft(transposed(noise, 2, 0.25)).abs().square()
    half = len(power) // 2
    assert power[half:].sum() < 1e-6 * power[:half].sum()


def test_views_are_copies_of_an_excerpts_length_without_silence() -> None:
    worker = make(4, share=0.5)
    batch = a_batch()
    before = batch.sound.audio.clone()
    views = worker.extra_views(batch)
    view = views.audio
    assert view.shape == (4, 16_000)
    assert torch.equal(batch.sound.audio, before)
    levels = view.unflatten(1, (20, -1)).square().mean(dim=2)
    assert (levels.amin(dim=1) > 0.5 * levels.amax(dim=1)).all()
    assert levels.mean(dim=1).unique().numel() == 4  # a gain each
    assert views.shifts.abs().max() <= 5
    assert (views.shifts[:, 0] != views.shifts[:, 1]).all()


def test_intervals_on_the_circle_are_uniform() -> None:
    shifts = torch.cartesian_prod(torch.arange(-5, 6), torch.arange(-5, 6))
    intervals = (shifts[:, 1] - shifts[:, 0])[shifts[:, 0] != shifts[:, 1]].remainder(12)
    assert intervals.bincount().tolist() == [0] + [10] * 11


def read_out(worker: Transposition, batch: Batch, views: TransposedViews, classes: Tensor) -> float:
    """Return the loss of copies that read as these classes, (copies, frames), surely."""
    worker.head = torch.nn.Sequential(torch.nn.Identity())
    surely = 50 * torch.nn.functional.one_hot(classes.remainder(12), 12).float()
    frames = torch.zeros(len(batch.recordings), *surely.shape[1:])
    return worker.loss(frames, batch, Extras(views=views, view_frames=surely)).item()


def test_the_true_pitch_costs_nothing_and_others_more_than_a_guess() -> None:
    worker = make(12, share=1.0)
    true, constant, wrong = [], [], []
    for seed in range(30):
        batch = a_batch(seed)
        views = worker.extra_views(batch)
        pitch = (7 + views.shifts).flatten()[:, None].expand(-1, 50)
        true.append(read_out(worker, batch, views, pitch))
        constant.append(read_out(worker, batch, views, torch.zeros_like(pitch)))
        wrong.append(read_out(worker, batch, views, -pitch))
    assert max(true) < 1e-6
    assert sum(constant) / 30 == pytest.approx(2 + 2 / 11, abs=0.15)  # 1 + c^2 + 2 c / 11, c = 1
    assert sum(wrong) / 30 > 1.5


def in_the_excerpt(views: TransposedViews, used: int) -> Tensor:
    """Return when in the original each frame of the copies is, (copies, frames), in frames."""
    places = torch.arange(90) - views.turns.flatten()[:, None]
    speeds = 2 ** (views.shifts.flatten() / 12)
    return (places.remainder(used) + views.starts.flatten()[:, None]) * speeds[:, None]


def test_copies_are_compared_at_the_same_place_of_the_music() -> None:
    """Read-outs that change along the music by whole steps, a step a second of the original."""
    worker = make(12, share=1.0)
    batch = a_batch()
    views = worker.extra_views(batch)
    seconds = 0.04 * in_the_excerpt(views, worker.usable(16_000) // 320)
    classes = views.shifts.flatten()[:, None] + 3 * seconds.floor().long()
    assert read_out(worker, batch, views, classes) < 0.2  # but for frames at a step


def test_copies_hold_the_music_where_they_say() -> None:
    """A tone that sweeps up: its pitch tells the moment, and the shift is on top."""
    worker = make(12, share=1.0)
    time = torch.arange(16_000) / 8000
    sweep = 0.3 * torch.sin(2 * math.pi * 200 / math.log(2) * 2**time)  # 200 Hz, an octave a second
    batch = Batch(CleanAudio(sweep.repeat(4, 1), GRID), torch.arange(4), random=a_batch().random)
    views = worker.extra_views(batch)
    used = worker.usable(16_000) // 320
    power = torch.fft.rfft(
        views.audio[:, : used * 320].unflatten(1, (used, 320)) * torch.hann_window(320), 8000
    ).abs()
    heard = 12 * (power.argmax(dim=2) / 200).log2()  # semitones above the beginning
    moments = (in_the_excerpt(views, used)[:, :used] + 0.5) * 0.04  # the middle of a frame
    meant = 12 * moments + views.shifts.flatten()[:, None]
    assert ((heard - meant).abs() < 0.5).float().mean() > 0.9  # but for frames at a seam


@pytest.mark.parametrize("turned", [True, False])
def test_a_clock_tells_no_interval(turned: bool) -> None:
    """A table of what to read at each place, whatever is heard, is all that learns here."""
    torch.manual_seed(0)
    grid = FrameGrid(sample_rate=1000, hop=20)
    worker = Transposition(TranspositionConfig(share=2.0), 12, grid)
    worker.head = torch.nn.Sequential(torch.nn.Identity())
    table = torch.nn.Parameter(0.1 * torch.randn(50, 12))
    optimizer = torch.optim.Adam([table], lr=0.05)
    silence = CleanAudio(torch.zeros(16, 1000), grid)
    batch = Batch(silence, torch.arange(16), random=torch.Generator().manual_seed(0))
    losses = []
    for _ in range(300):
        views = worker.extra_views(batch)
        if not turned:
            views.starts.zero_()
            views.turns.zero_()
        extras = Extras(views=views, view_frames=table.expand(32, 50, 12))
        loss = worker.loss(torch.zeros(16, 50, 12), batch, extras)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    found = sum(losses[-50:]) / 50
    assert found > 0.97 if turned else found < 0.8


def test_without_a_view_there_is_nothing_to_learn() -> None:
    worker = make(4)
    frames = torch.randn(8, 100, 4, requires_grad=True)
    loss = worker.loss(frames, a_batch())
    loss.backward()
    assert loss.item() == 0
    assert frames.grad is not None
    assert all(p.grad is not None and not p.grad.any() for p in worker.parameters())


def test_it_teaches_pitch_that_holds_for_other_tones() -> None:
    """From semitone spectra, on fresh tones all along: below 1 means hearing pitch."""
    torch.manual_seed(0)
    bins = torch.fft.rfftfreq(2048, 1 / 8000).clamp(min=1)
    semitones = 12 * (bins / 150).log2()
    bank = (1 - (semitones - torch.arange(48.0)[:, None]).abs()).clamp(min=0)
    worker = make(48, hidden=64, share=1.0)
    optimizer = torch.optim.Adam(worker.parameters(), lr=1e-2)
    losses = []
    for step in range(90):
        batch = a_batch(step)
        views = worker.extra_views(batch)
        pieces = torch.nn.functional.pad(views.audio, (1024, 1024)).unfold(1, 2048, 320)[:, :50]
        power = torch.fft.rfft(pieces * torch.hann_window(2048)).abs().square() @ bank.T
        frames = torch.nn.functional.layer_norm(torch.log10(1 + power), (48,))
        loss = worker.loss(frames[:8] * 0, batch, Extras(views=views, view_frames=frames))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) / 10 < 0.7
