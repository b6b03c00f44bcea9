"""Random-projection tokens."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import Batch, Extras
from musicssl_training.workers.masked import Masked, MaskedConfig

GRID = FrameGrid(sample_rate=1000, hop=20)


class Samples(Target):
    size = 20

    def forward(self, sound: CleanAudio) -> Tensor:
        return sound.audio.reshape(len(sound.audio), -1, 20)


def a_batch(seed: int = 0) -> Batch:
    audio = torch.randn(4, 2000, generator=torch.Generator().manual_seed(seed))
    return Batch(CleanAudio(audio, GRID), torch.arange(4))


def make(target: Target | None = None, **settings: Any) -> Masked:
    config = MaskedConfig(**{"token_seconds": 0.02} | settings)
    return Masked(config, 8, GRID, target or Samples())


EVERYWHERE = Extras(masked=torch.ones(4, 100, dtype=torch.bool))


def test_tokens_depend_on_the_seed_alone() -> None:
    values = torch.randn(500, 20)
    first, again, other = (make(seed=seed).tokens(values) for seed in (3, 3, 4))
    assert first.shape == (500, 2)
    assert torch.equal(first, again)
    assert (first == other).float().mean() < 0.05
    assert (first[:, 0] == first[:, 1]).float().mean() < 0.05  # books differ


def test_tokens_are_the_nearest_codes_on_the_sphere() -> None:
    worker = make(codes=32, books=2, size=6)
    values = torch.randn(50, 20)
    for book in range(2):
        vectors = nn.functional.normalize(values @ worker.projection[book], dim=1)
        nearest = torch.cdist(vectors, worker.codebook[book]).argmin(dim=1)
        assert torch.equal(worker.tokens(values)[:, book], nearest)


def test_tokens_ignore_the_level_of_normalised_values() -> None:
    worker = make()
    values = torch.randn(50, 20)
    assert torch.equal(worker.tokens(values), worker.tokens(3 * values))


def test_projection_and_codes_are_saved_but_do_not_learn() -> None:
    worker = make()
    assert {"projection", "codebook", "values.mean"} <= set(worker.state_dict())
    assert {name for name, _ in worker.named_parameters()} == {"head.weight", "head.bias"}


def test_only_masked_frames_count() -> None:
    masked = torch.zeros(4, 100, dtype=torch.bool)
    masked[:, 30:50] = True
    worker = make(codes=16)
    frames = torch.randn(4, 100, 8, requires_grad=True)
    worker.loss(frames, a_batch(), Extras(masked=masked)).backward()
    assert frames.grad is not None
    assert torch.equal(frames.grad.abs().sum(dim=2) > 0, masked)
    assert worker.asks(a_batch(), Extras(masked=masked))


@pytest.mark.parametrize("masked", [None, torch.zeros(4, 100, dtype=torch.bool)])
def test_where_all_was_heard_nothing_is_asked(masked: Tensor | None) -> None:
    worker = make()
    frames = torch.randn(4, 100, 8, requires_grad=True)
    loss = worker.loss(frames, a_batch(), Extras(masked=masked))
    loss.backward()
    assert loss.item() == 0
    assert not worker.asks(a_batch(), Extras(masked=masked))
    assert math.isnan(worker.metrics()["accuracy"])
    assert frames.grad is not None
    assert not frames.grad.any()
    assert all(p.grad is not None and not p.grad.any() for p in worker.parameters())


@pytest.mark.parametrize(
    ("reach", "tokens", "lost"), [(0.01, 1, 0), (0.02, 1, 1), (0.01, 3, 1), (0.05, 5, 4)]
)
def test_tokens_of_which_something_was_heard_do_not_count(
    reach: float, tokens: int, lost: int
) -> None:
    """Steps of 20 ms; the target hears `reach` seconds, a token several steps."""
    target = Samples()
    target.reach = reach
    worker = make(target, token_seconds=0.02 * tokens)
    masked = torch.zeros(1, 100, dtype=torch.bool)
    masked[:, 30:50] = masked[:, 90:] = True
    found = worker.unheard(masked)[0].nonzero()[:, 0].tolist()
    assert found == [*range(30 + lost, 50 - lost), *range(90 + lost, 100)]
    short = torch.zeros(1, 100, dtype=torch.bool)
    short[:, 30 : 30 + 2 * lost] = True
    assert not worker.asks(a_batch(), Extras(masked=short))


def test_stacked_steps_stand_side_by_side() -> None:
    worker = make(token_seconds=0.06)
    values = torch.arange(10.0)[None, :, None].expand(1, 10, 20)
    stacked = worker._stacked(values)
    assert stacked.shape == (1, 10, 60)
    assert set(stacked[0, 4].tolist()) == {3.0, 4.0, 5.0}
    assert set(stacked[0, 0].tolist()) == {0.0, 1.0}


def test_noise_uses_most_codes_and_a_constant_one() -> None:
    worker = make(codes=16)
    for seed in range(5):
        worker.loss(torch.zeros(4, 100, 8), a_batch(seed), EVERYWHERE)
    assert worker.usage > 0.8
    worker = make(codes=16)
    silent = Batch(CleanAudio(torch.ones(4, 2000), GRID), torch.arange(4))
    worker.loss(torch.zeros(4, 100, 8), silent, EVERYWHERE)
    assert worker.usage.item() == pytest.approx(1 / 16)


def test_a_guess_costs_one() -> None:
    worker = make(codes=64)
    nn.init.zeros_(worker.head.weight)
    nn.init.zeros_(worker.head.bias)
    assert worker.loss(torch.randn(4, 100, 8), a_batch(), EVERYWHERE).item() == pytest.approx(1)
    assert worker.expected_initial_loss == 1
