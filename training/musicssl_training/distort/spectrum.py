"""Distortions of the input spectra; the targets stay clean.

Spectra are powers behind a logarithm: mixing, filtering and noise are sums and products of
powers, so no second transform is needed (cross-terms of a mix, zero on average, are left out).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.frontends import DualSpectrumConfig, Spectra


@dataclass(frozen=True, kw_only=True)
class DistortConfig:
    """How often and how much, per excerpt."""

    clean: float = 0.15  # share of excerpts left alone
    mix: float = 0.35  # another excerpt on top
    mix_db: tuple[float, ...] = (3.0, 20.0)  # how far below
    equalise: float = 0.5
    equalise_db: float = 10.0  # largest gain or loss
    noise: float = 0.2
    noise_power: tuple[float, ...] = (1e-7, 1e-4)  # a band, relative to full scale
    time_masks: int = 4
    time_mask: int = 15  # spectra, at most
    band_masks: int = 2
    band_mask: float = 0.15  # of the bands, at most


def distort(
    spectra: Spectra, config: DistortConfig, shape: DualSpectrumConfig, random: torch.Generator
) -> Spectra:
    """Return the spectra as the encoder is to hear them."""
    batch = spectra.mel.shape[0]

    def uniform(*size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(*size, generator=random) * (high - low) + low

    touched = (uniform(batch) >= config.clean).float()
    low, high = config.mix_db
    mix = 10 ** (-uniform(batch, low=low, high=high) / 10)
    mix = mix * (uniform(batch) < config.mix) * touched
    knots = uniform(batch, 1, 6, low=-config.equalise_db, high=config.equalise_db)
    knots = knots * ((uniform(batch) < config.equalise) * touched)[:, None, None]
    low, high = (torch.tensor(p).log10().item() for p in config.noise_power)
    noise = 10 ** uniform(batch, low=low, high=high) / shape.knee
    noise = noise * (uniform(batch) < config.noise) * touched
    times = _spans(spectra.mel.shape[2], config.time_masks, config.time_mask, touched, random)
    out = []
    for x, places in ((spectra.pitch, _pitch_places(shape)), (spectra.mel, _mel_places(shape))):
        power = 10**x - 1
        power = power + power.roll(2, dims=0) * _column(mix)
        power = power * 10 ** (_interpolate(knots, places) / 10)[..., None]
        power = power + _column(noise)
        widest = max(1, int(config.band_mask * x.shape[1]))
        bands = _spans(x.shape[1], config.band_masks, widest, touched, random)
        out.append(torch.log10(1 + power) * times[:, None] * bands[..., None])
    return Spectra(*out)


def _column(x: Tensor) -> Tensor:
    return x[:, None, None]


def _spans(size: int, count: int, widest: int, touched: Tensor, random: torch.Generator) -> Tensor:
    """Return a mask, shape (batch, size): 0 inside `count` random spans, 1 elsewhere."""
    batch = len(touched)
    width = torch.rand(batch, count, 1, generator=random) * widest * touched[:, None, None]
    start = torch.rand(batch, count, 1, generator=random) * (size - width)
    index = torch.arange(size)
    return 1 - ((index >= start) & (index < start + width)).any(dim=1).float()


def _interpolate(knots: Tensor, places: Tensor) -> Tensor:
    """Return values at places in [0, 1] between equally spaced knots, (batch, len(places))."""
    fine = F.interpolate(knots, 512, mode="linear", align_corners=True)[:, 0]
    return fine[:, (places * 511).round().long()]


def _pitch_places(shape: DualSpectrumConfig) -> Tensor:
    """Return where the pitch bands lie between 32 Hz and Nyquist on a log scale, in [0, 1]."""
    octave = torch.arange(shape.pitch_bands) / shape.pitch_bands_per_octave
    hertz = shape.pitch_low * 2**octave
    return _place(hertz, shape)


def _mel_places(shape: DualSpectrumConfig) -> Tensor:
    mel = torch.linspace(0, 1, shape.mels + 2)[1:-1]
    top = torch.log10(torch.tensor(1 + shape.sample_rate / 2 / 700))
    return _place(700 * (10 ** (mel * top) - 1), shape)


def _place(hertz: Tensor, shape: DualSpectrumConfig) -> Tensor:
    octaves = torch.log2(torch.tensor(shape.sample_rate / 2 / 32))
    return (torch.log2(hertz / 32) / octaves).clamp(0, 1)
