"""What every worker promises, on a toy corpus whose frames know the answers."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from musicssl.config import to_dict
from musicssl.errors import ConfigError
from musicssl_training import targets
from musicssl_training.midi.charts import STYLES
from musicssl_training.midi.score import Score
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import (
    SELECTIONS,
    WORKERS,
    Batch,
    Entry,
    Extras,
    Worker,
    make_workers,
    read_workers,
    resolve,
    worker_configs,
)
from musicssl_training.workers import score as score_module
from musicssl_training.workers.table import BY_NAME

GRID = FrameGrid(sample_rate=4000, hop=80, stride=2)  # 25 frames a second
ROWS, FRAMES, DIM = 8, 75, 40
STEP = 160
SMALL: dict[str, dict[str, Any]] = {  # and enough rows to see something in a few steps
    "waveform": {"channels": [16, 8, 8], "rows": ROWS},
    "waveform_stft": {"channels": [16, 8, 8], "rows": ROWS},
    "transposition": {"share": 1.0},
    "spc": {"share": 1.0},
}


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
        style=lambda scores: torch.tensor([list(STYLES).index(score.style) for score in scores]),
    )


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for targets that are tested elsewhere."""
    fake = truth()
    monkeypatch.setattr(score_module, "truth", fake)
    for name in targets.TARGETS:
        monkeypatch.setitem(targets.TARGETS, name, lambda grid: Loud())


def a_score(rng: np.random.Generator) -> Score:
    onsets = np.sort(rng.uniform(0, 2.5, 12))
    pitches = rng.integers(40, 90, 12)
    rest = np.tile([0.0, 90.0], (12, 1))
    notes = np.column_stack([onsets, onsets + 0.4, pitches, rest]).astype(np.float32)
    tempo = float(rng.choice([60.0, 90.0, 120.0, 150.0]))
    times = np.arange(0, 2.9, 60 / tempo)
    beats = np.column_stack([times, np.arange(len(times)) % 4 + 1]).astype(np.float32)
    key = int(rng.integers(24))
    return Score(notes, beats, tempo, key, list(STYLES)[key % len(STYLES)])


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


def loss_of(worker: Worker, batch: Batch, encoder: Callable[[Tensor], Tensor]) -> Tensor:
    """Return a worker's loss as the loop finds it; `masked` is told that the middle was masked."""
    return worker.loss(*heard(worker, batch, encoder))


def heard(
    worker: Worker, batch: Batch, encoder: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Batch, Extras]:
    """Return what the encoder gives the worker."""
    views, audio, rows = worker.extra_views(batch), batch.sound.audio, len(batch.recordings)
    frames = encoder(audio if views is None else torch.cat([audio, views.audio]))
    masked = torch.zeros(rows, FRAMES, dtype=torch.bool)
    masked[:, 20:60] = True
    extra = None if views is None else frames[rows:]
    return frames[:rows], batch, Extras(views=views, view_frames=extra, masked=masked)


def make(name: str, batches: list[Batch]) -> Worker:
    torch.manual_seed(0)
    entry: Entry = {"name": name} | SMALL.get(name, {})
    worker = make_workers(worker_configs([entry], hidden=64), DIM, GRID)[name]
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
    assert worker.expected_initial_loss is not None

    def noise(audio: Tensor) -> Tensor:
        return torch.randn(len(audio), FRAMES, DIM)

    with torch.no_grad():
        losses = [loss_of(worker, b, noise) for b in batches]
    assert all(loss.dtype == torch.float32 and loss.shape == () for loss in losses)
    assert torch.stack(losses).mean().item() == pytest.approx(
        worker.expected_initial_loss, rel=0.15
    )


@pytest.mark.parametrize("name", WORKERS)
def test_the_gradient_reaches_frames_and_head(name: str, batches: list[Batch]) -> None:
    worker = make(name, batches)
    for module in worker.modules():
        if isinstance(module, nn.Linear):  # a last layer of zeros passes nothing on
            module.weight.data += 0.01 * torch.randn(module.weight.shape)
    leaves: list[Tensor] = []

    def encode(audio: Tensor) -> Tensor:
        leaves.append(Toy()(audio).detach().requires_grad_())
        return leaves[0]

    loss_of(worker, batches[0], encode).backward()
    (frames,) = leaves
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
    if name == "spc":  # these tones sound alike forwards and backwards: let them swell
        for batch in few:
            batch.sound.audio *= torch.linspace(0.1, 1, FRAMES * STEP)
    optimizer = torch.optim.Adam([*encoder.parameters(), *worker.parameters()], lr=3e-3)
    losses = []
    for step in range(120 if name == "transposition" else 40):  # it learns slowly
        batch = few[step % 2]
        loss = loss_of(worker, batch, encoder)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:3])


@pytest.mark.parametrize("name", WORKERS)
def test_half_precision_gives_finite_losses_in_fp32(name: str, batches: list[Batch]) -> None:
    worker = make(name, batches[:2])
    leaves: list[Tensor] = []

    def encode(audio: Tensor) -> Tensor:
        leaves.append(Toy()(audio).detach().requires_grad_())
        return leaves[0].bfloat16()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = worker.loss(*heard(worker, batches[0], encode))
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    loss.backward()
    assert leaves[0].grad is not None
    assert leaves[0].grad.isfinite().all()


@pytest.mark.parametrize("name", SELECTIONS)
def test_selections_hold_workers(name: str) -> None:
    assert resolve([name]) == SELECTIONS[name]
    assert set(SELECTIONS[name]) <= {*WORKERS, *SELECTIONS["teachers"]}
    assert len(set(SELECTIONS[name])) == len(SELECTIONS[name])


def test_names_are_resolved_in_order() -> None:
    assert resolve(["score", "key", "-beats", "contrast"])[-2:] == ("chord", "contrast")
    assert set(resolve(["all-but-chroma"])) == set(WORKERS) - {"chroma", *BY_NAME}
    assert set(resolve(["all-but-speech"])) == set(WORKERS) - {*SELECTIONS["speech"], *BY_NAME}


@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_to_be_asked_for_by_name_is_no_part_of_a_selection(name: str) -> None:
    assert not [one for one in SELECTIONS if name in resolve([one])]
    assert set(resolve([f"all-but-{name}"])) == set(resolve(["all"]))
    assert resolve(["score", name]) == (*SELECTIONS["score"], name)


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
        worker_configs(["chrom"])


@pytest.mark.parametrize("name", WORKERS)
def test_every_setting_can_be_set(name: str) -> None:
    """As TOML gives it: the configuration that comes out is the one that went in."""
    config = worker_configs([name])[name]
    assert config.name == name
    table = to_dict(config)
    assert worker_configs([json.loads(json.dumps(table))]) == {name: config}
    table["nothing_like_this"] = 1
    with pytest.raises(ConfigError, match=f"config.workers.{name}.nothing_like_this: unknown key"):
        worker_configs([table])


@pytest.mark.parametrize("name", [name for name in WORKERS if name.find("waveform")])
def test_the_runs_settings_hold_for_workers_that_say_nothing_else(name: str) -> None:
    if name == "masked":  # has no hidden layer
        return
    defaults = {"hidden": 48, "statistics": "pase", "edges": "keep"}
    found = worker_configs([name, {"name": "chroma_vqt", "hidden": 32}], **defaults)
    assert found["chroma_vqt"].hidden == 32  # type: ignore[attr-defined]
    if name != "chroma_vqt":
        assert found[name].hidden == 48  # type: ignore[attr-defined]
    if name in targets.TARGETS:
        assert (found[name].statistics, found[name].edges) == (  # type: ignore[attr-defined]
            "pase",
            "keep",
        )


def test_a_table_sets_a_worker_wherever_it_stands() -> None:
    table = {"name": "contrast", "temperature": 0.2, "size": 64}
    for entries in (["music", table], [table, "music"], [{"name": "music"}, table]):
        found = worker_configs(entries)
        assert set(found) == set(SELECTIONS["music"])
        assert to_dict(found["contrast"])["temperature"] == 0.2
    short = worker_configs(["contrast:temperature=0.2,size=64"])
    assert list(short) == ["contrast:temperature=0_2,size=64"]
    assert [*short.values()] == [found["contrast"]]
    twice = worker_configs(["mfcc", {"name": "mfcc", "label": "wide", "context": 7}])
    assert list(twice) == ["mfcc", "wide"]
    assert list(worker_configs(["mfcc", {"name": "mfcc", "label": "b", "pool": 2}, "-b"])) == [
        "mfcc"
    ]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"name": "contrast", "temprature": 0.2}], "Did you mean 'temperature'"),
        ([{"name": "contrast", "temperature": "warm"}], "must be of type float, got 'warm'"),
        ([{"name": "contrast", "temperature": 0.0}], "contrast.temperature must be positive"),
        ([{"name": "contrast", "candidates": "some"}], "choose from all, source"),
        ([{"name": "masked", "target": "log_mell"}], "Did you mean 'log_mel'"),
        ([{"name": "masked", "codes": 1}], "codes must be at least 2"),
        ([{"name": "transposition", "share": 0.0}], r"share must lie in \(0, 2\]"),
        ([{"name": "lim", "moments": 0}], "moments must be at least 1"),
        ([{"name": "spc", "seconds": 0.0}], "seconds must be positive"),
        ([{"name": "waveform", "channels": [8, 8]}], "channels must be three"),
        ([{"name": "mfcc", "context": 4}], "context odd and positive"),
        ([{"name": "music", "hidden": 4}], "'music' is no single worker"),
        (["music:hidden=4"], "'music' is no single worker"),
        (["music", {"name": "-chroma", "hidden": 3}], "'-chroma' is no single worker"),
        ([{"name": "key", "hidden": 3}, {"name": "key", "hidden": 4}], "set twice"),
        ([{"name": "key", "label": "a.b"}], "without dots"),
    ],
)
def test_settings_of_workers_are_checked(entries: list[Entry], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        worker_configs(entries)


@pytest.mark.parametrize("values", ["music", [3], [{"temperature": 0.2}], {"name": "key"}, None])
def test_entries_are_names_or_tables(values: object) -> None:
    with pytest.raises(ConfigError, match=r"config.workers.* must be a"):
        read_workers(values)
