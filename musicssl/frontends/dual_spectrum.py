"""Two log spectrograms on one time grid: a long window for pitch, a short one for time."""

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.config import Range, check_ranges
from musicssl.constant_buffers import ConstantBuffers
from musicssl.errors import ConfigError
from musicssl.exporting import is_exporting
from musicssl.frontends.constants import constant_device
from musicssl.frontends.mel import mel_frequencies

BANK = 2**23  # values of a filter bank, at most


@dataclass(frozen=True, kw_only=True)
class DualSpectrumConfig:
    """Shape of a `DualSpectrum`."""

    sample_rate: Annotated[int, Range(1000, 1_000_000)] = 22_050  # Hz
    hop: Annotated[int, Range(1, 65_536)] = 441  # samples between spectra: 20 ms
    pitch_fft: Annotated[int, Range(16, 65_536)] = 4096  # samples
    pitch_low: Annotated[float, Range(0.1, 100_000)] = 32.703  # Hz, C1
    pitch_octaves: Annotated[int, Range(1, 16)] = 7
    pitch_bands_per_octave: Annotated[int, Range(1, 256)] = 24
    mel_fft: Annotated[int, Range(16, 65_536)] = 1024  # samples
    mels: Annotated[int, Range(1, 1024)] = 64
    # power, relative to a full-scale sine, below which the log flattens
    knee: Annotated[float, Range(1e-30, 1.0)] = 1e-6

    def __post_init__(self) -> None:
        check_ranges(self)
        top = self.pitch_low * 2.0**self.pitch_octaves
        if top > self.sample_rate / 2:
            raise ConfigError(
                f"pitch bands reach {top:.0f} Hz, beyond the Nyquist frequency of "
                f"{self.sample_rate / 2:.0f} Hz."
            )
        largest = max(self.pitch_bands * self.pitch_fft, self.mels * self.mel_fft)
        if largest > BANK:
            raise ConfigError(
                f"a filter bank of {largest:,} values is too large; bands times samples of a "
                f"transform may be {BANK:,}."
            )

    @property
    def pitch_bands(self) -> int:
        """Number of log-frequency bands."""
        return self.pitch_octaves * self.pitch_bands_per_octave


class Spectra(NamedTuple):
    """Output of a `DualSpectrum`: log10(1 + power / knee), so silence is 0, full scale ~6."""

    pitch: Tensor  # (batch, pitch_bands, spectra), or every n-th of them
    mel: Tensor  # (batch, mels, spectra)


class DualSpectrum(ConstantBuffers):
    """Turn audio into a log-frequency and a mel spectrogram.

    Spectrum ``j`` of both is centred on sample ``j * hop``; outside the audio is silence. Nothing
    looks further than half a window, so pieces of a recording give the spectra of the whole.
    """

    block = 256  # spectra at a time over the batch: the work stays in the processor's cache
    window_pitch: Tensor
    window_mel: Tensor
    bank_pitch: Tensor
    bank_mel: Tensor

    def __init__(self, config: DualSpectrumConfig) -> None:
        super().__init__()
        self.config = config
        self._groups: dict[str, list[tuple[slice, slice]]] = {}
        with constant_device():
            for name, n_fft, centres in (
                ("pitch", config.pitch_fft, log_centres(config)),
                ("mel", config.mel_fft, mel_centres(config)),
            ):
                window = torch.hann_window(n_fft, dtype=torch.float64)
                scale = (2 / window.sum()).item()
                bank = _triangles(centres, n_fft, config.sample_rate)
                self.register_buffer(f"window_{name}", (window * scale).float(), persistent=False)
                self.register_buffer(f"bank_{name}", bank.float(), persistent=False)
                self._groups[name] = _group_bands(bank)

    @property
    def reach(self) -> int:
        """Samples that a spectrum hears on each side of its centre."""
        return max(self.config.pitch_fft, self.config.mel_fft) // 2

    def forward(self, audio: Tensor, spectra: int, pitch_every: int = 1) -> Spectra:
        """Return the first `spectra` spectra of `audio`, shape (batch, samples), in [-1, 1].

        Of those for pitch, only every `pitch_every`-th is computed.
        """
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio.float()
            return Spectra(
                self._log_power(audio, "pitch", -(-spectra // pitch_every), pitch_every),
                self._log_power(audio, "mel", spectra),
            )

    def power(
        self, audio: Tensor, window: Tensor, bins: int, first: int, spectra: int, every: int = 1
    ) -> Tensor:
        """Return the power of `spectra` spectra from number `first` on: (batch, spectra, bins).

        A full-scale sine on a bin gives 1. With `every` the spectra are as many hops apart.
        """
        n_fft, hop = len(window), every * self.config.hop
        start = first * hop - n_fft // 2
        stop = (first + spectra - 1) * hop + n_fft - n_fft // 2
        samples = audio.shape[-1]
        if is_exporting():  # from the beginning on, whatever the length
            padded = F.pad(audio, (-start, stop - samples))
        else:
            inside = audio[:, max(start, 0) : max(min(stop, samples), 0)]
            left = min(max(-start, 0), stop - start)
            padded = F.pad(inside, (left, stop - start - left - inside.shape[-1]))
        spectrum = torch.fft.rfft(padded.unfold(-1, n_fft, hop) * window)[..., :bins]
        return spectrum.real.square() + spectrum.imag.square()

    def from_power(self, pitch: Tensor, mel: Tensor) -> Spectra:
        """Return the spectra of powers computed elsewhere, as `power` gives them, of all bins."""
        return Spectra(self._bands(pitch, "pitch"), self._bands(mel, "mel"))

    def _log_power(self, audio: Tensor, name: str, spectra: int, every: int = 1) -> Tensor:
        window = self.get_buffer(f"window_{name}")
        bins = self.get_buffer(f"bank_{name}").shape[1]
        if is_exporting():
            return self._bands(self.power(audio, window, bins, 0, spectra, every), name)
        block = max(1, self.block // len(audio)) if audio.device.type == "cpu" else spectra
        blocks = [
            self._bands(self.power(audio, window, bins, j, min(block, spectra - j), every), name)
            for j in range(0, spectra, block)
        ]
        return torch.cat(blocks, dim=2)

    def _bands(self, power: Tensor, name: str) -> Tensor:
        """Return the log power in bands, (batch, bands, spectra)."""
        bank = self.get_buffer(f"bank_{name}")
        if power.device.type != "cpu" or is_exporting():
            bands = power[..., : bank.shape[1]] @ bank.T
        else:  # most of a bank are zeros
            parts = [power[..., bins] @ bank[some, bins].T for some, bins in self._groups[name]]
            bands = torch.cat(parts, dim=-1)
        return bands.div_(self.config.knee).log1p_().div_(math.log(10)).transpose(1, 2)


def log_centres(config: DualSpectrumConfig) -> Tensor:
    """Return band centres in Hz, one band beyond each end, equally spaced in log-frequency."""
    k = torch.arange(-1, config.pitch_bands + 1, dtype=torch.float64)
    return config.pitch_low * 2 ** (k / config.pitch_bands_per_octave)


def mel_centres(config: DualSpectrumConfig) -> Tensor:
    """Return band centres in Hz, one beyond each end, from 0 Hz to Nyquist on the HTK mel scale."""
    return mel_frequencies(config.mels + 2, 0.0, config.sample_rate / 2)


def _triangles(centres: Tensor, n_fft: int, sample_rate: int) -> Tensor:
    """Return a triangular filter bank of peak 1, shape (bands, bins up to the last that counts).

    A triangle reaches the neighbouring centres, but at least one bin to each side: below the
    resolution of the transform, bands interpolate between bins.
    """
    width = sample_rate / n_fft
    bins = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * width
    centre = centres[1:-1, None]
    below = (centre - centres[:-2, None]).clamp(min=width)
    above = (centres[2:, None] - centre).clamp(min=width)
    bank = torch.minimum(1 + (bins - centre) / below, 1 - (bins - centre) / above).clamp(min=0)
    return bank[:, : int(bank.any(dim=0).nonzero().max()) + 1]


def _group_bands(bank: Tensor) -> list[tuple[slice, slice]]:
    """Return groups of neighboring bands, and which bins each of them hears.

    Higher bands hear more bins and so stand in smaller groups.
    """
    count = len(bank)
    edges = sorted({0, count // 2, count * 3 // 4, count * 7 // 8, count})
    groups = []
    for start, stop in itertools.pairwise(edges):
        bins = bank[start:stop].any(dim=0).nonzero().flatten().tolist() or [-1]  # or none at all
        groups.append((slice(start, stop), slice(max(bins[0], 0), bins[-1] + 1)))
    return groups
