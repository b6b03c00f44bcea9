"""Augmentation of the input spectra; the targets stay clean.

Spectra are powers behind a logarithm: mixing, filtering and noise are sums and products of
powers, so no second transform is needed (cross-terms of a mix, zero on average, are left out).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.frontends import DualSpectrumConfig, Spectra, mel_frequencies
from musicssl_training.augment.effects import SILENT
from musicssl_training.augment.random import Draw
from musicssl_training.augment.ranges import check_amounts, check_ranges, check_shares

KNOTS = 6  # of the curve that equalizes, from LOWEST to Nyquist
LOWEST = 32.0  # Hz


@dataclass(frozen=True, kw_only=True)
class SpectrogramAugmentConfig:
    """Shares of excerpts, and strengths; pairs of numbers are ranges."""

    clean: float = 0.15  # share of excerpts left alone
    mix: float = 0.35  # another recording on top
    mix_db: tuple[float, ...] = (3.0, 20.0)  # mean power of ours over the other's
    equalize: float = 0.5
    equalize_db: float = 10.0  # largest gain or loss
    noise: float = 0.2
    noise_db: tuple[float, ...] = (10.0, 40.0)  # mean power of the sound over the noise's
    time_masks: int = 4
    time_mask: int = 15  # spectra, at most
    band_masks: int = 2
    band_mask: float = 0.15  # of the bands, at most

    def __post_init__(self) -> None:
        check_shares(self, "clean", "mix", "equalize", "noise", "band_mask")
        check_amounts(self, "equalize_db", "time_masks", "time_mask", "band_masks")
        check_ranges(self, "mix_db", "noise_db")


class AugmentedSpectra(NamedTuple):
    """The augmented input, and where it was silenced."""

    spectra: Spectra
    masked: Tensor  # (batch, spectra), true where all bands of that time were masked


def augment_spectrogram(
    spectra: Spectra,
    config: SpectrogramAugmentConfig,
    shape: DualSpectrumConfig,
    random: torch.Generator,
    recordings: Tensor,
) -> AugmentedSpectra:
    """Augment the spectra of a batch.

    Parameters
    ----------
    spectra
        Of the clean audio.
    config
        How often and how much.
    shape
        Of the front end that made the spectra.
    random
        A generator on the CPU: the same on any device.
    recordings
        Shape (batch,), int64: a row is mixed only with one of another recording.

    Returns
    -------
    AugmentedSpectra
        On the device of the spectra; rows left clean are the same bit for bit.
    """
    batch, _, count = spectra.mel.shape
    draw = Draw(batch, random, spectra.mel.device, config.clean)
    partner, present = draw.another(recordings)
    loudness = _mean_power(spectra)
    gain = snr_gain(loudness, loudness[partner], draw.uniform(config.mix_db, batch), shape.knee)
    gain = gain * draw.mark(config.mix) * present
    knots = draw.uniform((-config.equalize_db, config.equalize_db), batch, KNOTS)
    knots = knots * draw.mark(config.equalize)[:, None]
    flat = torch.ones_like(loudness) * shape.mels  # the same power in every band
    noise = snr_gain(loudness, flat, draw.uniform(config.noise_db, batch), shape.knee)
    noise = noise * draw.mark(config.noise)
    masked = _spans(count, config.time_masks, config.time_mask, draw)
    touched = draw.mark(1.0).bool()[:, None, None]
    out = []
    for x, places in ((spectra.pitch, _pitch_places(shape)), (spectra.mel, _mel_places(shape))):
        power = torch.expm1(x * math.log(10))
        power = power + power[partner] * gain[:, None, None]
        power = power * 10 ** (_interpolate(knots, places.to(x.device)) / 10)[..., None]
        power = power + noise[:, None, None]
        widest = max(1, int(config.band_mask * x.shape[1]))
        silent = masked[:, None] | _spans(x.shape[1], config.band_masks, widest, draw)[..., None]
        changed = (power.log1p() / math.log(10)).masked_fill(silent, 0.0)
        out.append(torch.where(touched, changed, x))
    return AugmentedSpectra(Spectra(*out), masked)


def snr_gain(power: Tensor, other: Tensor, decibels: Tensor, knee: float) -> Tensor:
    """Return the power gain with which another sound lies `decibels` below each row.

    Parameters
    ----------
    power, other
        Mean powers over the excerpt, as `_mean_power` gives them, (rows,).
    decibels
        Signal-to-noise ratio, (rows,).
    knee
        Of the front end.

    Returns
    -------
    Tensor
        Shape (rows,); 0 where either is silent, as in the wave.
    """
    silent = 3 * SILENT / knee  # see `_mean_power`
    audible = (power > silent) & (other > silent)
    return power / other.clamp(min=silent) * 10 ** (-decibels / 10) * audible


def _mean_power(spectra: Spectra) -> Tensor:
    """Return the mean power of each excerpt, (batch,), in units of the knee.

    The triangles of the mel bank add up to 1, so the sum of its bands is the power of the audio
    (Parseval), but for the ends of the spectrum. It is 3 times the mean square: a full-scale sine
    of mean square 1/2 has power 1 in its own bin, and a Hann window spreads it over 1.5 bins.
    """
    return torch.expm1(spectra.mel * math.log(10)).sum(dim=1).mean(dim=1)


def _spans(size: int, count: int, widest: int, draw: Draw) -> Tensor:
    """Return a mask, (batch, size): true inside `count` random spans, if the row is not clean."""
    batch = len(draw.touched)
    width = draw.uniform((0.0, min(widest, size)), batch, count, 1)
    start = draw.uniform((0.0, 1.0), batch, count, 1) * (size - width)
    index = torch.arange(size, device=draw.device)
    inside = ((index >= start) & (index < start + width)).any(dim=1)
    return inside & draw.touched.to(draw.device)[:, None]


def _interpolate(knots: Tensor, places: Tensor) -> Tensor:
    """Return values at places in [0, 1] between equally spaced knots, (batch, len(places))."""
    fine = F.interpolate(knots[:, None], 512, mode="linear", align_corners=True)[:, 0]
    return fine[:, (places * 511).round().long()]


def _pitch_places(shape: DualSpectrumConfig) -> Tensor:
    """Return where the pitch bands lie between `LOWEST` and Nyquist on a log scale, in [0, 1]."""
    octave = torch.arange(shape.pitch_bands) / shape.pitch_bands_per_octave
    hertz = shape.pitch_low * 2**octave
    return _place(hertz, shape)


def _mel_places(shape: DualSpectrumConfig) -> Tensor:
    hertz = mel_frequencies(shape.mels + 2, 0.0, shape.sample_rate / 2)[1:-1].float()
    return _place(hertz, shape)


def _place(hertz: Tensor, shape: DualSpectrumConfig) -> Tensor:
    octaves = math.log2(shape.sample_rate / 2 / LOWEST)
    return (torch.log2(hertz / LOWEST) / octaves).clamp(0, 1)
