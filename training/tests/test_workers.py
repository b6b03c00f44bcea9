"""What every worker promises, on a toy corpus whose frames know the answers."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from musicssl.errors import ConfigError
from musicssl_training import targets
from musicssl_training.midi.score import Score
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import SELECTIONS, WORKERS, Batch, Worker, make_workers, resolve
from musicssl_training.workers import score as score_module
from musicssl_training.workers import waveform as waveform_module
from musicssl_training.workers.equivariance import Transposition

GRID = FrameGrid(sample_rate=4000, hop=80, stride=2)  # 25 frames a second
ROWS, FRAMES, DIM = 8, 75, 40
STEP = 160


class Loud(Target):
    """The mean power of sixteenths of a step, as logarithms."""

    def __init__(self, pool: int = 1, reach: float = 0.0) -> None:
        super().__init__()
        self.size, self.pool, self.reach = 16, pool, reach

    def forward(self, sound: CleanAudio) -> Tensor:
        steps = sound.frames // (sound.grid.stride * self.pool)
        size = STEP * self.pool
        pieces = sound.audio[:, : steps * size].reshape(len(sound.audio), steps, 16, -1)
        return (pieces.square().mean(dim=3) + 1e-3).log()


def truth() -> SimpleNamespace:
    """Functions that read a score, as `musicssl_training.targets.score` has them."""

    def at(scores: list[Score], frames: int, seconds: float, shift: float) -> Tensor:
        times = torch.arange(frames) * seconds
        notes = [torch.from_numpy(score.notes) for score in scores]
        rolls = torch.zeros(len(scores), frames, 88)
        for roll, rows in zip(rolls, notes, strict=True):
            for onset, end, pitch, *_ in rows.tolist():
                stop = end if shift == 0 else onset + shift
                roll[(times >= onset) & (times < stop), int(pitch) - 21] = 1
        return rolls

    def piano_roll(scores: list[Score], frames: int, seconds: float) -> Tensor:
        return at(scores, frames, seconds, 0)

    def chord(scores: list[Score], frames: int, seconds: float) -> Tensor:
        roll = torch.nn.functional.pad(piano_roll(scores, frames, seconds), (9, 11))
        return roll.unflatten(2, (-1, 12)).amax(dim=2)

    def beat_phase(scores: list[Score], frames: int, seconds: float) -> Tensor:
        out = torch.zeros(len(scores), frames, 2)
        for row, score in zip(out, scores, strict=True):
            for time, place in score.beats.tolist():
                row[round(time / seconds), 0] = 1
                row[round(time / seconds), 1] = float(place == 1) if place else float("nan")
        return out

    return SimpleNamespace(
        piano_roll=piano_roll,
        onset_roll=lambda s, f, t: at(s, f, t, 2 * t),
        families=lambda s, f, t: piano_roll(s, f, t).unflatten(2, (8, 11)).amax(dim=3),
        beat_phase=beat_phase,
        chord=chord,
        tempo=lambda scores: torch.tensor([score.tempo for score in scores]),
        key=lambda scores: torch.tensor([score.key for score in scores]),
    )


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for targets that are tested elsewhere, and a small waveform decoder."""
    fake = truth()
    monkeypatch.setattr(score_module, "truth", fake)
    for name in targets.TARGETS:
        monkeypatch.setitem(targets.TARGETS, name, lambda grid: Loud())
    small = (16, 8, 8)
    for kind in (waveform_module.Waveform, waveform_module.WaveformSpectra):
        monkeypatch.setitem(kind.__init__.__kwdefaults__, "channels", small)
        monkeypatch.setitem(kind.__init__.__kwdefaults__, "rows", ROWS)


def a_score(rng: np.random.Generator) -> Score:
    onsets = np.sort(rng.uniform(0, 2.5, 12))
    pitches = rng.integers(40, 90, 12)
    rest = np.tile([0.0, 90.0], (12, 1))
    notes = np.column_stack([onsets, onsets + 0.4, pitches, rest]).astype(np.float32)
    tempo = float(rng.choice([60.0, 90.0, 120.0, 150.0]))
    times = np.arange(0, 2.9, 60 / tempo)
    beats = np.column_stack([times, np.arange(len(times)) % 4 + 1]).astype(np.float32)
    return Score(notes, beats, tempo, int(rng.integers(24)))


def a_batch(seed: int, rows: int = ROWS) -> Batch:
    """Tones that decay again and again, those of a recording in pairs."""
    random = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    time = torch.arange(FRAMES * STEP) / GRID.sample_rate
    hertz = 200 * 2 ** (torch.randint(0, 24, (rows // 2,), generator=random) / 12)
    hertz = hertz.repeat_interleave(2)[:, None]
    beat = 0.3 + 0.5 * torch.rand(rows, 1, generator=random)  # seconds
    audio = torch.sin(2 * torch.pi * hertz * time) * torch.exp(-6 * (time % beat)) * 0.4
    audio = audio + 0.01 * torch.randn(audio.shape, generator=random)
    return Batch(
        CleanAudio(audio, GRID),
        torch.arange(rows // 2).repeat_interleave(2) + 100 * seed,
        [a_score(rng) for _ in range(rows)],
        random=random,
    )


class Toy(nn.Module):
    """A tiny encoder of the power around a frame, in semitones from 100 Hz, and within it."""

    def __init__(self) -> None:
        super().__init__()
        bins = torch.fft.rfftfreq(1024, 1 / GRID.sample_rate).clamp(min=1)
        semitones = 12 * (bins / 100).log2()
        self.bank = (1 - (semitones - torch.arange(48.0)[:, None]).abs()).clamp(min=0)
        self.inside = nn.Conv1d(1, DIM, 400, STEP, 200)
        self.out = nn.Sequential(
            nn.LayerNorm(48 + DIM), nn.Linear(48 + DIM, DIM), nn.LayerNorm(DIM)
        )

    def forward(self, audio: Tensor) -> Tensor:
        pieces = nn.functional.pad(audio, (512, 512)).unfold(1, 1024, STEP)[:, :FRAMES]
        power = torch.fft.rfft(pieces * torch.hann_window(1024)).abs().square() @ self.bank.T
        inside = self.inside(audio[:, None])[..., :FRAMES].transpose(1, 2)
        both = [torch.log10(1 + power), torch.log1p(10 * inside.square())]
        out: Tensor = self.out(torch.cat(both, dim=2))
        return out


def heard(worker: Worker, batch: Batch, encoder: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what the encoder gives the worker."""
    view = worker.view(batch)
    audio = batch.sound.audio
    return encoder(audio if view is None else torch.cat([audio, view]))


def make(name: str, batches: list[Batch]) -> Worker:
    torch.manual_seed(0)
    worker = make_workers([name], DIM, GRID, 64)[name]
    assert isinstance(worker, Worker)
    if isinstance(worker, Transposition):
        worker.share = 1.0  # fewer pairs are too few to see in a few steps
    for batch in batches:
        worker.measure(batch)
    return worker


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    return [a_batch(seed) for seed in range(8)]


@pytest.mark.parametrize("name", WORKERS)
def test_the_first_loss_is_what_theory_predicts(name: str, batches: list[Batch]) -> None:
    """Of frames that tell nothing."""
    worker = make(name, batches)
    assert worker.start is not None

    def noise(audio: Tensor) -> Tensor:
        return torch.randn(len(audio), FRAMES, DIM)

    with torch.no_grad():
        losses = [worker.loss(heard(worker, b, noise), b) for b in batches]
    assert all(loss.dtype == torch.float32 and loss.shape == () for loss in losses)
    assert torch.stack(losses).mean().item() == pytest.approx(worker.start, rel=0.15)


@pytest.mark.parametrize("name", WORKERS)
def test_the_gradient_reaches_frames_and_head(name: str, batches: list[Batch]) -> None:
    worker = make(name, batches)
    for module in worker.modules():
        if isinstance(module, nn.Linear):  # a last layer of zeros passes nothing on
            module.weight.data += 0.01 * torch.randn(module.weight.shape)
    encoder = Toy()
    frames = heard(worker, batches[0], encoder).detach().requires_grad_()
    worker.loss(frames, batches[0]).backward()
    assert frames.grad is not None
    assert frames.grad.isfinite().all()
    assert frames.grad.abs().max() > 0
    for which, parameter in worker.named_parameters():
        assert parameter.grad is not None, which
        assert parameter.grad.isfinite().all(), which
        assert parameter.grad.abs().max() > 0, which


@pytest.mark.parametrize("name", WORKERS)
def test_it_learns(name: str) -> None:
    """Hear the same few batches again and again: the loss must fall well below its start."""
    few = [a_batch(seed) for seed in (1, 2)]
    worker = make(name, few)  # after its seed, so that the encoder is the same each time
    encoder = Toy()
    clock = torch.zeros(FRAMES, DIM)
    if name == "spc":  # these tones sound alike forwards and backwards
        clock[:, 0] = torch.linspace(-3, 3, FRAMES)
    optimizer = torch.optim.Adam([*encoder.parameters(), *worker.parameters()], lr=3e-3)
    losses = []
    for step in range(40):
        batch = few[step % 2]
        loss = worker.loss(heard(worker, batch, encoder) + clock, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:3])


@pytest.mark.parametrize("name", WORKERS)
def test_half_precision_gives_finite_losses_in_fp32(name: str, batches: list[Batch]) -> None:
    worker = make(name, batches[:2])
    frames = heard(worker, batches[0], Toy()).detach().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = worker.loss(frames.bfloat16(), batches[0])
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    loss.backward()
    assert frames.grad is not None
    assert frames.grad.isfinite().all()


@pytest.mark.parametrize("name", SELECTIONS)
def test_selections_hold_workers(name: str) -> None:
    assert resolve([name]) == SELECTIONS[name]
    assert set(SELECTIONS[name]) <= {*WORKERS, *SELECTIONS["teachers"]}
    assert len(set(SELECTIONS[name])) == len(SELECTIONS[name])


def test_names_are_resolved_in_order() -> None:
    assert resolve(["score", "key", "-beats", "contrast"])[-2:] == ("chord", "contrast")
    assert set(resolve(["all-but-chroma"])) == set(WORKERS) - {"chroma"}
    assert set(resolve(["all-but-speech"])) == set(WORKERS) - set(SELECTIONS["speech"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["chrom"], "Did you mean 'chroma'"),
        (["musi"], "Did you mean 'music'"),
        (["music", "-chrom"], "Did you mean 'chroma'"),
        (["score", "-chroma"], "was not chosen before it. Did you mean 'all-but-chroma'"),
        (["key", "-key"], "leave none"),
        ([], "leave none"),
    ],
)
def test_names_that_say_nothing_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(names)


def test_unknown_worker_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'chroma'"):
        make_workers(["chrom"], DIM, GRID)
