import numpy as np
import pytest
import torch

from musicssl.errors import ConfigError
from musicssl.frontends import DualSpectrum, DualSpectrumConfig, mel_frequencies

RATE = 22_050


def tone(hertz: float, seconds: float = 1.0, level: float = 1.0) -> torch.Tensor:
    t = torch.arange(round(seconds * RATE), dtype=torch.float64) / RATE
    return (level * torch.sin(2 * torch.pi * hertz * t)).float()[None]


@pytest.fixture(scope="module")
def spectrum() -> DualSpectrum:
    return DualSpectrum(DualSpectrumConfig())


def test_silence_is_zero(spectrum: DualSpectrum) -> None:
    out = spectrum(torch.zeros(1, RATE), 50)
    assert out.pitch.shape == (1, 168, 50)
    assert out.mel.shape == (1, 64, 50)
    assert not out.pitch.any()
    assert not out.mel.any()


@pytest.mark.parametrize("semitone", [24, 36, 45, 60])
def test_tones_peak_in_their_band(spectrum: DualSpectrum, semitone: int) -> None:
    hertz = 32.703 * 2 ** (semitone / 12)
    pitch = spectrum(tone(hertz), 50).pitch[0, :, 10:40].mean(dim=1)
    assert pitch.argmax() == 2 * semitone
    assert 5.5 < pitch.max() < 6.3  # full scale: log10(1 + 1 / knee) = 6, leakage on top


def test_level_moves_by_decades(spectrum: DualSpectrum) -> None:
    loud, soft = (spectrum(tone(440, level=x), 50).pitch[0, :, 25].max() for x in (1.0, 0.1))
    assert loud - soft == pytest.approx(2.0, abs=0.01)


def test_equals_a_plain_transform(spectrum: DualSpectrum) -> None:
    audio = np.random.default_rng(0).standard_normal(8000).astype(np.float32) * 0.1
    out = spectrum(torch.from_numpy(audio)[None], 19)
    n, bank = 1024, spectrum.bank_mel.numpy().astype(np.float64)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
    padded = np.pad(audio.astype(np.float64), n)
    for j in (0, 7, 18):
        frame = padded[n + j * 441 - n // 2 :][:n] * window * 2 / window.sum()
        power = np.abs(np.fft.rfft(frame))[: bank.shape[1]] ** 2
        expected = np.log10(1 + bank @ power / 1e-6)
        np.testing.assert_allclose(out.mel[0, :, j].numpy(), expected, atol=2e-5)


def test_rows_do_not_depend_on_the_batch(spectrum: DualSpectrum) -> None:
    audio = torch.randn(3, 9_000, generator=torch.Generator().manual_seed(0))
    together = spectrum(audio, 21)
    for row in range(3):
        alone = spectrum(audio[row : row + 1], 21)
        torch.testing.assert_close(together.pitch[row], alone.pitch[0], atol=1e-5, rtol=0)
        torch.testing.assert_close(together.mel[row], alone.mel[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_stays_in_fp32_under_autocast(spectrum: DualSpectrum, dtype: torch.dtype) -> None:
    audio = tone(100, level=0.9)
    plain = spectrum(audio, 50)
    with torch.autocast("cpu", dtype):
        cast = spectrum(audio, 50)
    assert cast.mel.dtype is torch.float32
    assert torch.equal(cast.mel, plain.mel)
    assert torch.equal(cast.pitch, plain.pitch)


def test_filters_cover_their_range(spectrum: DualSpectrum) -> None:
    for bank in (spectrum.bank_pitch, spectrum.bank_mel):
        assert bank.amax(dim=1).min() > 0.3
        assert bank.max() <= 1
    covered = spectrum.bank_mel.sum(dim=0)[2:-24]  # up to the last centre triangles add up to 1
    assert covered.min() > 0.4


def test_refuses_bands_beyond_nyquist() -> None:
    with pytest.raises(ConfigError, match="beyond the Nyquist frequency of 4000 Hz"):
        DualSpectrumConfig(sample_rate=8000)


def test_mel_frequencies_are_those_of_htk() -> None:
    found = mel_frequencies(5, 20.0, 8000.0)
    mel = 2595 * np.log10(1 + found.numpy() / 700)
    np.testing.assert_allclose(np.diff(mel), np.diff(mel)[0], rtol=1e-12)
    assert found[0].item() == pytest.approx(20)
    assert found[-1].item() == pytest.approx(8000)
    assert mel_frequencies(3, 0.0, 1000.0)[0] == 0


def test_groups_of_bands_are_the_whole_bank(spectrum: DualSpectrum) -> None:
    """What is left out of each product is zeros; few values are multiplied at all."""
    for name, share in (("pitch", 0.4), ("mel", 0.6)):
        bank, groups = spectrum.get_buffer(f"bank_{name}"), spectrum._groups[name]
        found = torch.zeros_like(bank)
        for bands, bins in groups:
            found[bands, bins] = bank[bands, bins]
        assert torch.equal(found, bank)
        sizes = [(b.stop - b.start) * (k.stop - k.start) for b, k in groups]
        assert sum(sizes) < share * bank.numel()
