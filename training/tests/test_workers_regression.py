"""Statistics against numpy, edges, and the share of variance explained."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from musicssl.errors import ConfigError
from musicssl_training.targets.base import Pooled, Target
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import Batch, make_workers, parse, resolve, worker_configs
from musicssl_training.workers.regression import Regression, RegressionConfig
from musicssl_training.workers.statistics import RunningMoments

GRID = FrameGrid(sample_rate=1000, hop=10, stride=2)  # 50 frames a second


class Samples(Target):
    """The first samples of every step, as they are."""

    def __init__(self, size: int = 3, pool: int = 1, reach: float = 0.0) -> None:
        super().__init__()
        self.size, self.pool, self.reach = size, pool, reach

    def forward(self, sound: CleanAudio) -> Tensor:
        steps = sound.frames // sound.grid.stride // self.pool
        width = 20 * self.pool
        return sound.audio[:, : steps * width].reshape(-1, steps, width)[..., : self.size]


def a_batch(audio: Tensor) -> Batch:
    return Batch(CleanAudio(audio, GRID), torch.arange(len(audio)))


def make(dim: int, target: Target, **settings: Any) -> Regression:
    return Regression(RegressionConfig(name="samples", **settings), dim, GRID, target)


def noise(rows: int, samples: int = 1000, seed: int = 0) -> Tensor:
    return torch.randn(rows, samples, generator=torch.Generator().manual_seed(seed)) * 3 + 7


def test_moments_are_those_of_all_at_once() -> None:
    values = noise(50, 4).numpy()
    values[::7, 1] = np.nan
    values[:, 3] = 5.0
    moments = RunningMoments(4)
    for part in np.split(values, [1, 10, 10, 40]):
        moments.add(torch.from_numpy(part))
    np.testing.assert_allclose(moments.mean, np.nanmean(values, axis=0), rtol=1e-6)
    np.testing.assert_allclose(moments.deviation[:3], np.nanstd(values, axis=0)[:3], rtol=1e-6)
    np.testing.assert_array_equal(moments.seen, [50, 42, 50, 50])
    assert moments.normalize(torch.full((4,), 5.0))[3].abs() < 1e-3  # never changed: no blow-up


def test_unmeasured_moments_change_nothing() -> None:
    values = noise(2, 3)
    torch.testing.assert_close(RunningMoments(3).normalize(values), values)


@pytest.mark.parametrize("statistics", ["true", "pase"])
def test_normalisation_is_that_of_numpy(statistics: str) -> None:
    worker = make(4, Samples(), statistics=statistics)
    gains = torch.tensor([0.5, 1.0, 2.0, 4.0])[:, None]
    audio = (noise(4) - 7) * gains + 2
    for row in audio:
        worker.measure(a_batch(row[None]))
    values = audio.reshape(4, 50, 20)[..., :3].numpy()
    mean = values.mean(axis=(0, 1))
    if statistics == "true":
        scale = values.std(axis=(0, 1))
    else:
        scale = values.std(axis=1, ddof=1).std(axis=0)
    expected = (values - mean) / scale
    if statistics == "true":
        expected = np.clip(expected, -6, 6)
    else:  # PASE's are as large as they are
        assert np.abs(expected).max() > 8
    found = worker.normalized(CleanAudio(audio, GRID))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert (worker.expected_initial_loss == 1.0) is (statistics == "true")


@pytest.mark.parametrize("pool", [1, 5])
@pytest.mark.parametrize("edges", ["mask", "keep"])
def test_steps_that_hear_beyond_the_excerpt_do_not_count(edges: str, pool: int) -> None:
    audio = noise(2)
    spoilt = audio.clone()
    spoilt[:, :100] = 50.0  # 0.1 s
    spoilt[:, -100:] = -50.0
    found = []
    for heard in (audio, spoilt):
        torch.manual_seed(0)
        worker = make(4, Samples(pool=pool, reach=0.15), edges=edges)
        worker.measure(a_batch(heard))
        frames = torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(1))
        frames.requires_grad_()
        torch.nn.init.normal_(worker.head[2].weight, std=0.1)
        loss = worker.loss(frames, a_batch(heard))
        loss.backward()
        assert frames.grad is not None
        silent = frames.grad.abs().sum(dim=(0, 2)) == 0
        assert silent[:5].all() == silent[-5:].all() == (edges == "mask")
        assert not silent[10:40].any()
        found.append((loss.item(), worker.values.mean.tolist()))
    assert (found[0] == found[1]) is (edges == "mask")


def test_of_an_excerpt_shorter_than_the_window_the_middle_counts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = make(4, Samples(reach=4.0))
    sound = CleanAudio(noise(1), GRID)
    with caplog.at_level(logging.WARNING):
        kept = [worker.inside(sound, 50) for _ in range(3)]
    assert kept == [slice(25, 26)] * 3
    assert len(caplog.records) == 1
    assert "Samples hears 4.00 s to each side, excerpts last 1.00 s" in caplog.text


def test_r2_is_the_share_of_variance() -> None:
    batch = a_batch(noise(4))
    worker = make(3, Samples(3))
    worker.measure(batch)
    target = worker.normalized(batch.sound)
    worker.loss(torch.zeros(4, 50, 3), batch)
    assert worker.r2.item() == pytest.approx(0.0, abs=1e-3)
    for error in (0.0, 0.5):
        worker.head = torch.nn.Sequential(torch.nn.Identity())
        guess = target + error * torch.randn(target.shape)
        worker.loss(guess, batch)
        assert worker.r2.item() == pytest.approx(1 - error**2, abs=0.05)


def test_a_flag_has_the_variance_that_pase_gives_it() -> None:
    """A voiced flag differs little from excerpt to excerpt: divided by that, it is large."""
    worker = make(4, Samples(1), statistics="pase")
    audio = (torch.rand(40, 1000, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    worker.measure(a_batch(audio))
    assert worker.normalized(CleanAudio(audio, GRID)).var() > 500


@pytest.mark.parametrize("option", ["statistics", "edges"])
def test_other_options_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} must be one of .*, got 'other'"):
        make(4, Samples(), **{option: "other"})


def test_workers_have_options_of_their_own() -> None:
    assert parse("mfcc:context=7,edges=keep") == ("mfcc", {"context": 7, "edges": "keep"})
    names = resolve(["mfcc:context=3,pool=4", "chroma", "contrast"])
    configs = worker_configs(names, hidden=8, edges="mask")
    made = make_workers(configs, 6, FrameGrid(22_050, 441, 2))
    wide = made["mfcc:context=3,pool=4"]
    assert isinstance(wide, Regression)
    assert (wide.target.size, wide.target.pool) == (3 * 80, 4)
    assert wide.config.edges == "mask"
    for wrong, message in (
        ("mfcc:contxt=3", "Did you mean 'context'"),
        ("mfcc:pool=many", "must be a number"),
        ("contrast:pool=2", "setting of worker 'contrast' 'pool' is unknown"),
        ("mfc:pool=2", "Did you mean 'mfcc'"),
    ):
        with pytest.raises(ConfigError, match=message):
            resolve([wrong])


def test_a_coarse_target_is_the_mean_of_its_steps() -> None:
    sound = CleanAudio(torch.arange(200.0)[None], GRID)
    fine, coarse = Samples()(sound), Pooled(GRID, Samples(reach=0.1), 4)
    values = coarse(sound)
    assert values.shape == (1, 2, 3)
    torch.testing.assert_close(values[0, 1], fine[0, 4:8].mean(dim=0))
    assert (coarse.pool, coarse.size) == (4, 3)
    assert coarse.reach == pytest.approx(0.1 + 1.5 * 0.02)
    with pytest.raises(ConfigError, match="at least 1"):
        Pooled(GRID, Samples(), 0)


def test_of_a_target_that_never_varies_nothing_is_predicted() -> None:
    worker = make(4, Samples())
    assert worker.targets_vary  # nothing is known yet
    level = torch.full((2, 1000), 0.3)
    worker.measure(a_batch(level))
    assert not worker.targets_vary
    assert worker.loss(torch.randn(2, 50, 4), a_batch(level)) < 1e-3
    assert np.isnan(worker.metrics()["r2"])
    worker.measure(a_batch(noise(2)))
    assert worker.targets_vary
    worker.loss(torch.randn(2, 50, 4), a_batch(noise(2)))
    assert np.isfinite(worker.metrics()["r2"])
