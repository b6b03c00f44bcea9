import torch

from musicssl.encoders import Dilated, DilatedConfig
from musicssl_training.targets.features import CleanAudio, FrameGrid, make_grid


def test_the_grid_divides_the_encoders_hop() -> None:
    encoder = Dilated(DilatedConfig(dim=16, inner=24, dilations=(1,)))
    assert make_grid(encoder) == FrameGrid(22_050, 441, 2)
    encoder.sample_rate, encoder.hop = 16_000, 160  # 10 ms: finer than need be, and kept
    assert make_grid(encoder) == FrameGrid(16_000, 160, 1)


def test_shared_power_gives_the_front_ends_own_spectra() -> None:
    encoder = Dilated(DilatedConfig(dim=16, inner=24, dilations=(1,)))
    audio = torch.randn(2, 30_001, generator=torch.Generator().manual_seed(0)) * 0.1
    sound, shape = CleanAudio(audio, make_grid(encoder)), encoder.spectrum.config
    shared = encoder.spectrum.from_power(sound.power(shape.pitch_fft), sound.power(shape.mel_fft))
    own = encoder.spectrum(audio, sound.frames)
    for a, b in zip(shared, own, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_transforms_are_made_once() -> None:
    sound = CleanAudio(torch.zeros(1, 5_000), FrameGrid(22_050, 441, 2))
    assert sound.power(1024) is sound.power(1024)
    assert sound.spectrum(1024) is sound.spectrum(1024)
