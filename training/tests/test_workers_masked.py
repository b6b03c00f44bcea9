"""Random-projection tokens."""

import math

import pytest
import torch
from torch import Tensor, nn

from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import Batch
from musicssl_training.workers.masked import Masked

GRID = FrameGrid(sample_rate=1000, hop=20)


class Samples(Target):
    size = 20

    def forward(self, sound: CleanAudio) -> Tensor:
        return sound.audio.reshape(len(sound.audio), -1, 20)


def a_batch(masked: Tensor | None = None, seed: int = 0) -> Batch:
    audio = torch.randn(4, 2000, generator=torch.Generator().manual_seed(seed))
    return Batch(CleanAudio(audio, GRID), torch.arange(4), masked=masked)


def test_tokens_depend_on_the_seed_alone() -> None:
    values = torch.randn(500, 20)
    first, again, other = (Masked(8, Samples(), seed=seed).tokens(values) for seed in (3, 3, 4))
    assert first.shape == (500, 2)
    assert torch.equal(first, again)
    assert (first == other).float().mean() < 0.05
    assert (first[:, 0] == first[:, 1]).float().mean() < 0.05  # books differ


def test_tokens_are_the_nearest_codes_on_the_sphere() -> None:
    worker = Masked(8, Samples(), codes=32, books=2, size=6)
    values = torch.randn(50, 20)
    for book in range(2):
        vectors = nn.functional.normalize(values @ worker.projection[book], dim=1)
        nearest = torch.cdist(vectors, worker.codebook[book]).argmin(dim=1)
        assert torch.equal(worker.tokens(values)[:, book], nearest)


def test_tokens_ignore_the_level_of_normalised_values() -> None:
    worker = Masked(8, Samples())
    values = torch.randn(50, 20)
    assert torch.equal(worker.tokens(values), worker.tokens(3 * values))


def test_projection_and_codes_are_saved_but_do_not_learn() -> None:
    worker = Masked(8, Samples())
    assert {"projection", "codebook", "values.mean"} <= set(worker.state_dict())
    assert {name for name, _ in worker.named_parameters()} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("some", [True, False])
def test_only_masked_frames_count_where_there_are_any(some: bool) -> None:
    masked = torch.zeros(4, 100, dtype=torch.bool)
    masked[:, 30:50] = some
    worker = Masked(8, Samples(), codes=16)
    frames = torch.randn(4, 100, 8, requires_grad=True)
    worker.loss(frames, a_batch(masked)).backward()
    assert frames.grad is not None
    reached = frames.grad.abs().sum(dim=2) > 0
    assert torch.equal(reached, masked if some else ~masked)


def test_stacked_steps_stand_side_by_side() -> None:
    worker = Masked(8, Samples(), stack=3)
    values = torch.arange(10.0)[None, :, None].expand(1, 10, 20)
    stacked = worker._stacked(values)
    assert stacked.shape == (1, 10, 60)
    assert set(stacked[0, 4].tolist()) == {3.0, 4.0, 5.0}
    assert set(stacked[0, 0].tolist()) == {0.0, 1.0}


def test_noise_uses_most_codes_and_a_constant_one() -> None:
    worker = Masked(8, Samples(), codes=16)
    for seed in range(5):
        worker.loss(torch.zeros(4, 100, 8), a_batch(seed=seed))
    assert worker.usage > 0.8
    worker = Masked(8, Samples(), codes=16)
    silent = Batch(CleanAudio(torch.ones(4, 2000), GRID), torch.arange(4))
    worker.loss(torch.zeros(4, 100, 8), silent)
    assert worker.usage.item() == pytest.approx(1 / 16)


def test_a_guess_costs_one() -> None:
    worker = Masked(8, Samples(), codes=64)
    nn.init.zeros_(worker.head.weight)
    nn.init.zeros_(worker.head.bias)
    assert worker.loss(torch.randn(4, 100, 8), a_batch()).item() == pytest.approx(1)
    assert math.isclose(worker.start or 0, 1)
