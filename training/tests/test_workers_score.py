"""Score workers: who carries loss, and where it starts."""

import numpy as np
import pytest
import torch
from torch import Tensor

from musicssl_training.midi.score import Score
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import Batch
from musicssl_training.workers.score import (
    MultiClass,
    MultiLabel,
    ScoreConfig,
    key_classes,
    tempo_classes,
)

GRID = FrameGrid(sample_rate=1000, hop=40)
DIM = 6
NAN = float("nan")
CONFIG = ScoreConfig(name="score", hidden=16)


def scores(count: int) -> list[Score]:
    empty = np.zeros((0, 5), np.float32), np.zeros((0, 2), np.float32)
    return [Score(*empty, tempo=100.0 + i, key=i % 24) for i in range(count)]


def a_batch(given: list[Score | None]) -> Batch:
    return Batch(CleanAudio(torch.zeros(len(given), 1000), GRID), torch.arange(len(given)), given)


def rare(given: list[Score], frames: int, seconds: float) -> Tensor:
    """One label in ten frames, one in two, one unknown in the first half."""
    assert seconds == 0.04
    out = torch.zeros(len(given), frames, 3)
    out[:, ::10, 0] = 1
    out[:, ::2, 1] = 1
    out[:, ::3, 2] = 1
    out[:, : frames // 2, 2] = NAN
    return out


def test_labels_start_at_one_however_rare() -> None:
    worker = MultiLabel(CONFIG, DIM, GRID, rare, (1, 1, 1))
    batch = a_batch([*scores(40)])
    worker.measure(batch)
    worker.measure(a_batch([None, None]))
    torch.testing.assert_close(worker.values.mean, torch.tensor([0.12, 0.52, 5 / 13]).double())
    loss = worker.loss(torch.randn(40, 25, DIM), batch)
    assert loss.item() == pytest.approx(1, abs=0.01)
    single = MultiLabel(CONFIG, DIM, GRID, rare, (3,))
    single.measure(batch)
    assert single.loss(torch.randn(40, 25, DIM), batch).item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("pool", [1, 5, 1000])
def test_rows_without_a_score_and_unknown_labels_carry_no_loss(pool: int) -> None:
    worker = MultiLabel(CONFIG, DIM, GRID, rare, (3,), pool=pool)
    torch.nn.init.normal_(worker.head[2].weight, std=0.1)
    first, second = scores(2)
    frames = torch.randn(4, 25, DIM, requires_grad=True)
    worker.loss(frames, a_batch([None, first, None, second])).backward()
    assert frames.grad is not None
    assert frames.grad[[0, 2]].abs().max() == 0
    assert frames.grad[[1, 3]].abs().min() > 0
    only = MultiLabel(CONFIG, DIM, GRID, lambda *given: rare(*given)[..., 2:], (1,))
    torch.nn.init.normal_(only.head[2].weight, std=0.1)
    frames.grad = None
    only.loss(frames, a_batch([first] * 4)).backward()
    assert frames.grad[:, :12].abs().max() == 0
    assert frames.grad[:, 12:].abs().max() > 0


def test_a_group_of_which_nothing_is_known_does_not_look_solved() -> None:
    def known(given: list[Score], frames: int, seconds: float) -> Tensor:
        return rare(given, frames, seconds)[..., :2]

    def half_known(given: list[Score], frames: int, seconds: float) -> Tensor:
        out = known(given, frames, seconds)
        out[..., 1] = NAN  # downbeats, say, where nobody knows them
        return out

    worker = MultiLabel(CONFIG, DIM, GRID, known, (1, 1))  # type: ignore[arg-type]
    worker.measure(a_batch([*scores(40)]))
    frames = torch.randn(40, 25, DIM)
    worker.truth = half_known  # type: ignore[assignment]
    batch = a_batch([*scores(40)])
    assert worker.loss(frames, batch).item() == pytest.approx(1, abs=0.01)
    assert worker.asks(batch)
    worker.truth = lambda *given: half_known(*given) * NAN
    assert not worker.asks(a_batch([*scores(40)]))


def test_a_pooled_label_holds_if_it_does_in_any_frame() -> None:
    labels = MultiLabel(CONFIG, DIM, GRID, rare, (3,), pool=5).labels(a_batch([*scores(1)]), 25)
    assert labels[0, :, 0].tolist() == [1, 0, 1, 0, 1]
    assert labels[0, :, 1].tolist() == [1] * 5
    assert labels[0, :2, 2].isnan().all()


def tempo(given: list[Score]) -> Tensor:
    return tempo_classes(torch.tensor([score.tempo for score in given]))


def key(given: list[Score]) -> Tensor:
    return key_classes(torch.tensor([score.key for score in given]))


@pytest.mark.parametrize(
    "worker",
    [
        MultiLabel(CONFIG, DIM, GRID, rare, (3,)),
        MultiClass(CONFIG, DIM, GRID, key, 24),
        MultiClass(CONFIG, DIM, GRID, tempo, 42),
    ],
)
@pytest.mark.parametrize("rows", [0, 3])
def test_a_batch_that_knows_nothing_gives_a_zero_with_a_graph(
    worker: MultiLabel | MultiClass, rows: int
) -> None:
    frames = torch.randn(3, 25, DIM, requires_grad=True)
    batch = Batch(CleanAudio(torch.zeros(3, 1000), GRID), torch.arange(3), [None] * rows)
    worker.measure(batch)
    loss = worker.loss(frames, batch)
    worker.zero_grad()
    loss.backward()
    assert loss.item() == 0
    assert not worker.asks(batch)
    assert worker.asks(a_batch([None, *scores(2)]))
    assert frames.grad is not None
    assert not frames.grad.any()
    assert all(p.grad is not None and not p.grad.any() for p in worker.parameters())


def test_classes_start_at_one_and_leave_out_the_unknown() -> None:
    worker = MultiClass(CONFIG, DIM, GRID, key, 24)
    given = [*scores(480)]
    worker.measure(a_batch(given))
    unknown = Score(given[0].notes, given[0].beats)
    batch = a_batch([*given, unknown, None])
    worker.measure(batch)
    assert worker.values.seen[0] == 960
    torch.nn.init.normal_(worker.head[2].weight, std=0.1)
    frames = torch.randn(482, 5, DIM, requires_grad=True)
    worker.loss(frames, batch).backward()
    assert frames.grad is not None
    assert frames.grad[480:].abs().max() == 0
    assert frames.grad[:480].abs().amax(dim=(1, 2)).min() > 0
    torch.nn.init.zeros_(worker.head[2].weight)
    assert worker.loss(frames, batch).item() == pytest.approx(1, abs=1e-3)


def test_tempo_classes_peak_where_they_should() -> None:
    bpm = torch.tensor([40.0, 60.0, 120.0, 239.0, 500.0, NAN])
    classes = tempo_classes(bpm)
    assert classes.shape == (6, 42)
    torch.testing.assert_close(classes[:5].sum(dim=1), torch.ones(5))
    found = 40 * 2 ** (classes[:4].argmax(dim=1) / 16)
    assert ((found / bpm[:4]).log2().abs() <= 0.5 / 16 + 1e-6).all()
    assert classes[4].argmax() == 41
    assert classes[5].isnan().all()


def test_keys_are_one_of_twenty_four() -> None:
    classes = key_classes(torch.tensor([0, 23, -1]))
    assert classes[0].argmax() == 0
    assert classes[1].argmax() == 23
    assert classes[2].isnan().all()
