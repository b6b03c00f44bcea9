"""Filter banks and loudness weighting curves on the bins of a spectrum."""

import math
import warnings

import librosa
import numpy as np
import torch
from torch import Tensor, nn

from musicssl.errors import ConfigError
from musicssl_training.targets.features import CleanAudio, FrameGrid

KNEE = 1e-8  # power, relative to a full-scale sine (-80 dB), below which a log flattens


def compress(power: Tensor, knee: float = KNEE) -> Tensor:
    """Return log10(1 + power / knee): silence is 0, a full-scale sine 8 at the default."""
    return (power / knee).log1p_().div_(math.log(10))


def frequencies(sample_rate: int, n_fft: int) -> Tensor:
    """Return the bins' frequencies in Hz, (n_fft // 2 + 1,), fp64."""
    return torch.arange(n_fft // 2 + 1, dtype=torch.float64) * sample_rate / n_fft


def mel_filters(sample_rate: int, n_fft: int, n_mels: int) -> Tensor:
    """Return triangles of peak 1 from 0 Hz to Nyquist, (n_mels, bins).

    The mel scale is linear below 1 kHz and logarithmic above (Slaney, "Auditory Toolbox", 1998).

    Raises
    ------
    ConfigError
        If a triangle lies between two bins.
    """
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of empty filters
        bank = librosa.filters.mel(
            sr=sample_rate, n_fft=n_fft, n_mels=n_mels, norm=None, dtype=np.float64
        )
    filters = torch.from_numpy(bank)
    if not filters.any(dim=1).all():
        raise ConfigError(
            f"{n_mels} mel bands are narrower than the bins of {n_fft} samples at "
            f"{sample_rate} Hz; take fewer bands or a longer transform."
        )
    return filters


def gammatone_filters(sample_rate: int, n_fft: int, bands: int, low: float) -> Tensor:
    """Return squared magnitude responses of peak 1, (bands, bins); below -50 dB they are 0.

    Fourth-order gammatone filters t^3 exp(-2 pi b t) cos(2 pi f t) with b = 1.019 ERB(f), f
    equally spaced in ERB-rate from `low` to Nyquist, ends excluded (Glasberg and Moore,
    "Derivation of auditory filter shapes", 1990; Slaney, "Patterson-Holdsworth filter bank",
    1993).
    """
    ends = torch.tensor([low, sample_rate / 2], dtype=torch.float64)
    rate = 21.4 * torch.log10(1 + 4.37e-3 * ends)
    places = torch.linspace(rate[0].item(), rate[1].item(), bands + 2, dtype=torch.float64)[1:-1]
    centre = ((10 ** (places / 21.4) - 1) / 4.37e-3)[:, None]
    width = 1.019 * 24.7 * (1 + 4.37e-3 * centre)
    bins = frequencies(sample_rate, n_fft)
    response = (1 + 1j * (bins - centre) / width) ** -4 + (1 + 1j * (bins + centre) / width) ** -4
    power = response.abs().square()
    power = power / power.amax(dim=1, keepdim=True)
    return torch.where(power < 1e-5, 0.0, power)


def a_weighting(hertz: Tensor) -> Tensor:
    """Return the power gain of the A-weighting, 1 at 1 kHz (IEC 61672-1, 2013)."""
    with np.errstate(divide="ignore"):  # 0 Hz is -inf dB
        decibels = librosa.A_weighting(hertz.numpy(), min_db=None)
    return torch.from_numpy(10 ** (decibels / 10))


def k_weighting(hertz: Tensor) -> Tensor:
    """Return the power gain of the K-weighting (ITU-R BS.1770-4, 2015, tables 1 and 2).

    The response of its two biquads at 48 kHz.
    """
    shelf = (
        (1.53512485958697, -2.69169618940638, 1.19839281085285),
        (-1.69065929318241, 0.73248077421585),
    )
    high_pass = ((1.0, -2.0, 1.0), (-1.99004745483398, 0.99007225036621))
    z = torch.exp(-2j * math.pi * hertz / 48_000)
    gain = torch.ones_like(hertz)
    for (b0, b1, b2), (a1, a2) in (shelf, high_pass):
        response = (b0 + b1 * z + b2 * z * z) / (1 + a1 * z + a2 * z * z)
        gain = gain * response.abs().square()
    return gain


class FilterBank(nn.Module):
    """Weighted sums over bins; neighbouring filters share a product of their bins only.

    Parameters
    ----------
    filters
        Shape (bands, bins), in ascending order of frequency and 0 over most of the bins.
    """

    together = 16  # filters: fewer save products, but slow them down

    def __init__(self, filters: Tensor) -> None:
        super().__init__()
        self.parts: list[tuple[int, int]] = []  # first bin and one past the last
        for i in range(-(-len(filters) // self.together)):
            part = filters[i * self.together : (i + 1) * self.together]
            used = part.any(dim=0).nonzero()
            start, stop = int(used.min()), int(used.max()) + 1
            self.parts.append((start, stop))
            self.register_buffer(f"part_{i}", part[:, start:stop].T.float(), persistent=False)

    def forward(self, power: Tensor) -> Tensor:
        """Return the bands, (batch, frames, bands), of (batch, frames, bins)."""
        return torch.cat(
            [
                power[..., start:stop] @ self.get_buffer(f"part_{i}")
                for i, (start, stop) in enumerate(self.parts)
            ],
            dim=-1,
        )


class MelBank(FilterBank):
    """Mel spectra of a sound, shared by all who ask for the same."""

    def __init__(self, grid: FrameGrid, n_mels: int, n_fft: int) -> None:
        super().__init__(mel_filters(grid.sample_rate, n_fft, n_mels))
        self.n_mels, self.n_fft = n_mels, n_fft

    def power(self, sound: CleanAudio, every: int = 1) -> Tensor:
        """Return the power in each band, (batch, frames / every, n_mels), of some frames.

        A full-scale sine gives ~1.
        """
        key = ("mel", self.n_fft, self.n_mels, every)
        return sound.cached(key, lambda: self(sound.power(self.n_fft)[:, ::every]))

    def log_power(self, sound: CleanAudio, every: int = 1) -> Tensor:
        """Return `power`, compressed."""
        key = ("log mel", self.n_fft, self.n_mels, every)
        return sound.cached(key, lambda: compress(self.power(sound, every)))
