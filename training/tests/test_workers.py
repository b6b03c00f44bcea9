from dataclasses import replace
from pathlib import Path

import pytest
import torch

from musicssl_training.distort import DistortConfig, distort
from musicssl_training.pretrain import PretrainConfig, Run, clean_spectra, measure, train_step
from musicssl_training.workers import TARGETS, Contrast, Regression, make_workers

NAMES = [*TARGETS, "contrast"]


@pytest.fixture
def run(toy_config: PretrainConfig, tmp_path: Path) -> Run:
    out = Run(replace(toy_config, measure_batches=20), tmp_path)
    measure(out)
    return out


@pytest.mark.parametrize("name", NAMES)
def test_every_worker_starts_at_one_and_reaches_the_encoder(name: str, run: Run) -> None:
    audio = torch.cat([run.batch() for _ in range(4)])
    clean = clean_spectra(run, audio)
    worker = run.workers[name]
    loss = worker.loss(run.encoder.encode(clean)[-1], clean)
    if isinstance(worker, Regression):
        # six recordings are few: the statistics of a batch are not quite those of the corpus
        assert 0.5 < loss.item() < 1.6
        torch.nn.init.normal_(worker.head[-1].weight, std=0.01)  # zero, it passes no gradient
        loss = worker.loss(run.encoder.encode(clean)[-1], clean)
    else:
        assert 0.3 < loss.item() < 2.0
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in worker.parameters())
    assert run.encoder.stem.pitch_1.weight.grad.abs().max() > 0


@pytest.mark.parametrize("name", TARGETS)
def test_targets_are_normalised(name: str, run: Run) -> None:
    worker = run.workers[name]
    assert isinstance(worker, Regression)
    values = worker.normalised(clean_spectra(run, torch.cat([run.batch() for _ in range(6)])))
    assert values.mean().abs() < 0.5
    assert 0.5 < values.std() < 1.6
    assert values.abs().max() <= 6


def test_statistics_are_those_of_all_at_once() -> None:
    worker = Regression(4, lambda x: x, 3, 8)  # type: ignore[arg-type,return-value]
    data = torch.randn(4, 10, 3, generator=torch.Generator().manual_seed(0)) * 3 + 7
    for part in data.split(1):
        worker.measure(part)  # type: ignore[arg-type]
    flat = data.flatten(0, 1).double()
    torch.testing.assert_close(worker.mean, flat.mean(dim=0))
    torch.testing.assert_close(worker.spread / worker.seen, flat.var(dim=0, unbiased=False))


def test_contrast_is_small_where_pairs_agree() -> None:
    worker = Contrast(8, 4, 16)
    worker.head = torch.nn.Sequential(torch.nn.Identity())
    pairs = torch.eye(8)[:4].repeat_interleave(2, dim=0)[:, None].expand(-1, 5, -1)
    assert worker.loss(pairs, None).item() < 0.01  # type: ignore[arg-type]
    swapped = pairs.roll(1, dims=0)
    assert worker.loss(swapped, None).item() > 1  # type: ignore[arg-type]


def test_losses_fall_on_a_toy_corpus(toy_config: PretrainConfig, tmp_path: Path) -> None:
    run = Run(replace(toy_config, steps=60, warm_up=5, learning_rate=3e-3), tmp_path)
    measure(run)
    losses = [train_step(run) for _ in range(40)]
    for name in ("log_mel", "notes", "chroma", "onsets"):
        first = sum(line[name] for line in losses[:5])
        last = sum(line[name] for line in losses[-5:])
        assert last < 0.9 * first, name


def test_distortion_leaves_the_clean_spectra_alone(run: Run) -> None:
    clean = clean_spectra(run, run.batch())
    before = [x.clone() for x in clean]
    random = torch.Generator().manual_seed(0)
    heard = distort(clean, DistortConfig(clean=0.0), run.config.encoder.spectrum, random)
    for a, b, c in zip(clean, before, heard, strict=True):
        assert torch.equal(a, b)
        assert c.shape == a.shape
        assert c.isfinite().all()
        assert (c >= 0).all()
        assert not torch.allclose(a, c)
    all_clean = distort(clean, DistortConfig(clean=1.0), run.config.encoder.spectrum, random)
    for a, b in zip(clean, all_clean, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_unknown_worker_is_refused() -> None:
    with pytest.raises(ValueError, match="Did you mean 'chroma'"):
        make_workers(["chrom"], 8)
