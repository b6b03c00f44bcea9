"""The waveform decoder's shape, and what its losses say of silence and of the truth."""

import math

import pytest
import torch

from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import Batch
from musicssl_training.workers.waveform import (
    Decoder,
    Waveform,
    WaveformConfig,
    WaveformSpectra,
    strides,
)

GRID = FrameGrid(sample_rate=4000, hop=80, stride=2)
SMALL = (8, 8, 8)


def a_batch(gain: float = 1.0) -> Batch:
    random = torch.Generator().manual_seed(0)
    audio = gain * torch.randn(3, 8000, generator=random)
    return Batch(CleanAudio(audio, GRID), torch.arange(3), random=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("hop", [1, 7, 64, 160, 211, 320, 441, 640, 882, 960])
def test_strides_make_up_the_hop(hop: int) -> None:
    assert math.prod(strides(hop)) == hop
    assert strides(hop) == tuple(sorted(strides(hop)))
    frames = torch.randn(2, 3, 4)
    assert Decoder(4, hop, (2, 2, 2))(frames).shape == (2, 3 * hop)


@pytest.mark.parametrize(("dim", "millions"), [(100, 6.46), (256, 8.86)])
def test_the_decoder_is_as_large_as_that_of_pase(dim: int, millions: float) -> None:
    count = sum(p.numel() for p in Decoder(dim, 160).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


def test_frames_stand_for_the_samples_around_their_centres() -> None:
    """A decoder's kernels reach as far to the left of a frame's samples as to their right."""
    decoder = Decoder(1, 160, (1, 1, 1))
    for parameter in decoder.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    frames = torch.zeros(1, 21, 1)
    silence = decoder(frames)
    frames[0, 10] = 1.0
    changed = (decoder(frames) - silence).abs()[0].nonzero()[:, 0]
    middle = (changed.min() + changed.max()).item() / 2
    assert middle == 10 * 160 + (160 - 1) / 2


@pytest.mark.parametrize("kind", [Waveform, WaveformSpectra])
def test_silence_costs_one_and_the_truth_nothing(kind: type[Waveform]) -> None:
    worker = kind(WaveformConfig(rows=3, channels=SMALL), 4, GRID)
    _, target = worker.stretch(torch.zeros(3, 50, 4), a_batch())
    assert target.shape == (3, 4000)
    assert worker.distance(torch.zeros_like(target), target).item() == pytest.approx(1, abs=1e-3)
    assert worker.distance(target, target).item() == pytest.approx(0, abs=1e-6)
    assert worker.distance(-target, target).item() == pytest.approx(
        2.0 if kind is Waveform else 0.0, abs=1e-4
    )


@pytest.mark.parametrize("gain", [0.01, 0.3])
def test_the_target_has_rms_one_whatever_the_gain(gain: float) -> None:
    worker = Waveform(WaveformConfig(channels=SMALL), 4, GRID)
    _, loud = worker.stretch(torch.zeros(3, 50, 4), a_batch())
    _, soft = worker.stretch(torch.zeros(3, 50, 4), a_batch(gain))
    torch.testing.assert_close(loud, soft, atol=1e-4, rtol=1e-4)
    assert loud.square().mean().sqrt().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("kind", [Waveform, WaveformSpectra])
def test_silence_gives_finite_losses_and_gradients(kind: type[Waveform]) -> None:
    worker = kind(WaveformConfig(channels=SMALL), 4, GRID)
    frames = torch.randn(3, 50, 4, requires_grad=True)
    loss = worker.loss(frames, a_batch(0.0))
    loss.backward()
    assert loss.isfinite()
    assert frames.grad is not None
    assert frames.grad.isfinite().all()


def test_the_stretch_holds_its_frames_samples() -> None:
    worker = Waveform(WaveformConfig(rows=3, channels=SMALL, seconds=0.2), 4, GRID)
    batch = a_batch()
    audio = batch.sound.audio / batch.sound.audio.square().mean(dim=1, keepdim=True).sqrt()
    places = set()
    for _ in range(20):
        _, target = worker.stretch(torch.zeros(3, 50, 4), batch)
        assert target.shape == (3, 5 * 160)
        start = (audio[0] == target[0, 100]).nonzero()[0, 0].item() - 100
        assert (start + 80) % 160 == 0  # the first frame's centre is 80 samples on
        places.add(start)
    assert len(places) > 5


def test_some_excerpts_are_decoded_and_each_with_its_own_target() -> None:
    worker = Waveform(WaveformConfig(channels=SMALL, rows=2), 4, GRID)
    batch = a_batch()
    power = batch.sound.audio.square().mean(dim=1, keepdim=True).sqrt()
    chosen = set()
    for _ in range(12):
        guess, target = worker.stretch(torch.zeros(3, 50, 4), batch)
        assert guess.shape == target.shape == (2, 4000)
        for row in target:
            likeness = [(batch.sound.audio[i] / power[i] - row[100]).abs().min() for i in range(3)]
            chosen.add(min(range(3), key=lambda i: likeness[i]))
    assert chosen == {0, 1, 2}
