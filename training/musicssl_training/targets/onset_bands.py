"""Onset strength in mel bands, and the curves that rhythm targets are made of."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.errors import ConfigError
from musicssl.frontends import DualSpectrum, DualSpectrumConfig
from musicssl_training.targets.banks import compress
from musicssl_training.targets.features import CleanAudio, FrameGrid

N_FFT = 1024  # samples
CURVE_RATE = 50  # Hz, about


class OnsetBands(nn.Module):
    """Onset strength: the rise of mel bands from one spectrum to the next.

    The rectified difference over about 20 ms of ``log10(1 + power / knee)``, averaged over
    neighbouring bands (Böck and Widmer, "Maximum filter vibrato suppression for onset detection",
    2013, without its filter). A spectrum hears an onset half a window early, and the difference is
    largest when the earlier spectrum just misses it. So the curves are delayed by half a window,
    less the time between the two spectra, and then rise at the onset. Where a spectrum leaves the
    audio, whose cut is loud in all bands, nothing rises.
    """

    bank: Tensor

    def __init__(self, grid: FrameGrid, count: int = 6) -> None:
        super().__init__()
        config = DualSpectrumConfig(sample_rate=grid.sample_rate, hop=grid.hop, mel_fft=N_FFT)
        if not 1 <= count <= config.mels:
            raise ConfigError(f"onset bands must number 1 to {config.mels}, got {count}.")
        self.register_buffer("bank", DualSpectrum(config).bank_mel, persistent=False)
        self.count, self.knee = count, config.knee
        self.lag = max(1, round(0.02 * grid.rate))  # target frames
        self.delay = N_FFT / 2 / grid.hop - self.lag  # target frames
        self.first = self.lag + math.ceil(N_FFT / 2 / grid.hop)  # whose spectra lie in the audio
        self.factor = max(1, round(grid.rate / CURVE_RATE))
        self.rate = grid.rate / self.factor  # of the curves
        self.reach = N_FFT / 2 / grid.sample_rate + (self.lag + abs(self.delay) + 1) / grid.rate

    def forward(self, sound: CleanAudio) -> Tensor:
        """Return the rise in each band, (batch, target frames, bands); 1 is 10 dB."""

        def make() -> Tensor:
            power = sound.power(N_FFT)[..., : self.bank.shape[1]] @ self.bank.T
            mel = compress(power, self.knee)
            start = self.first - self.lag
            rise = (mel[:, self.first :] - mel[:, start : -self.lag]).clamp(min=0)
            bands = torch.stack([x.mean(dim=2) for x in rise.tensor_split(self.count, 2)], dim=2)
            last = (sound.audio.shape[1] - N_FFT // 2) // sound.grid.hop
            bands[:, max(0, last + 1 - self.first) :] = 0
            return self._delayed(bands)[:, : sound.frames]

        return sound.cached(("onset bands", self.count), make)

    def _delayed(self, bands: Tensor) -> Tensor:
        """Return bands that begin at frame `first`, delayed, from frame 0 on."""
        whole = math.floor(self.delay)
        part = self.delay - whole  # of a frame: between neighbours
        left, right = self.first + whole, max(0, -whole)
        return (1 - part) * F.pad(bands, (0, 0, left, right + 1)) + part * F.pad(
            bands, (0, 0, left + 1, right)
        )

    def curves(self, sound: CleanAudio) -> Tensor:
        """Return the mean of all bands and of the lowest third, (batch, 2, samples).

        At about 50 Hz: sample ``i`` is the mean of `factor` target frames from ``i * factor`` on.
        """

        def make() -> Tensor:
            bands = self(sound)
            low = bands[..., : -(-self.count // 3)]
            curves = torch.stack([bands.mean(dim=2), low.mean(dim=2)], dim=1)
            return F.avg_pool1d(curves, self.factor, ceil_mode=True)

        return sound.cached(("onset curves", self.count), make)
