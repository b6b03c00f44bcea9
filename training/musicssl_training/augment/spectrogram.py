"""Distortions of the input spectra; the targets stay clean.

Spectra are powers behind a logarithm: mixing, filtering and noise are sums and products of
powers, so no second transform is needed (cross-terms of a mix, zero on average, are left out).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.frontends import DualSpectrumConfig, Spectra
from musicssl_training.augment.random import Draw
from musicssl_training.augment.ranges import check_amounts, check_ranges, check_shares

KNOTS = 6  # of the curve that equalises, from LOWEST to Nyquist
LOWEST = 32.0  # Hz


@dataclass(frozen=True, kw_only=True)
class SpectrogramAugmentConfig:
    """How often and how much, per excerpt."""

    clean: float = 0.15  # share of excerpts left alone
    mix: float = 0.35  # another recording on top
    mix_db: tuple[float, ...] = (3.0, 20.0)  # how far it is turned down
    equalise: float = 0.5
    equalise_db: float = 10.0  # largest gain or loss
    noise: float = 0.2
    noise_power: tuple[float, ...] = (1e-7, 1e-4)  # a band, relative to full scale
    time_masks: int = 4
    time_mask: int = 15  # spectra, at most
    band_masks: int = 2
    band_mask: float = 0.15  # of the bands, at most

    def __post_init__(self) -> None:
        check_shares(self, "clean", "mix", "equalise", "noise", "band_mask")
        check_amounts(self, "equalise_db", "time_masks", "time_mask", "band_masks")
        check_ranges(self, "mix_db")
        check_ranges(self, "noise_power", least=1e-30)


class Heard(NamedTuple):
    """What the encoder is to hear."""

    spectra: Spectra
    masked: Tensor  # (batch, spectra), true where all bands of that time were masked


def distort(
    spectra: Spectra,
    config: SpectrogramAugmentConfig,
    shape: DualSpectrumConfig,
    random: torch.Generator,
    recordings: Tensor,
) -> Heard:
    """Return the spectra as the encoder is to hear them.

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
    Heard
        On the device of the spectra; rows left clean are the same bit for bit.
    """
    batch, _, count = spectra.mel.shape
    draw = Draw(batch, random, spectra.mel.device, config.clean)
    partner, present = draw.another(recordings)
    mix = 10 ** (-draw.uniform(config.mix_db, batch) / 10) * draw.mark(config.mix) * present
    knots = draw.uniform((-config.equalise_db, config.equalise_db), batch, KNOTS)
    knots = knots * draw.mark(config.equalise)[:, None]
    noise = draw.log_uniform(config.noise_power, batch) / shape.knee * draw.mark(config.noise)
    masked = _spans(count, config.time_masks, config.time_mask, draw)
    touched = draw.mark(1.0).bool()[:, None, None]
    out = []
    for x, places in ((spectra.pitch, _pitch_places(shape)), (spectra.mel, _mel_places(shape))):
        power = torch.expm1(x * math.log(10))
        power = power + power[partner] * mix[:, None, None]
        power = power * 10 ** (_interpolate(knots, places.to(x.device)) / 10)[..., None]
        power = power + noise[:, None, None]
        widest = max(1, int(config.band_mask * x.shape[1]))
        silent = masked[:, None] | _spans(x.shape[1], config.band_masks, widest, draw)[..., None]
        changed = (power.log1p() / math.log(10)).masked_fill(silent, 0.0)
        out.append(torch.where(touched, changed, x))
    return Heard(Spectra(*out), masked)


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
    mel = torch.linspace(0, 1, shape.mels + 2)[1:-1]
    top = torch.log10(torch.tensor(1 + shape.sample_rate / 2 / 700))
    return _place(700 * (10 ** (mel * top) - 1), shape)


def _place(hertz: Tensor, shape: DualSpectrumConfig) -> Tensor:
    octaves = math.log2(shape.sample_rate / 2 / LOWEST)
    return (torch.log2(hertz / LOWEST) / octaves).clamp(0, 1)
