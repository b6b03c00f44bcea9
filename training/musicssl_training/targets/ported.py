"""What the workers predict, computed in one pass from the clean spectra of the front end.

Spectra come every 20 ms, frames every 40 ms: two spectra a frame. Spectral values are
log10(1 + power / knee), so that silence is 0 (see `musicssl.frontends.DualSpectrum`).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.frontends import Spectra

ONSET_BANDS = 6
LAGS = 32
WINDOW_SECONDS = 6.0


def log_mel(spectra: Spectra) -> Tensor:
    """Return both spectra of a frame side by side: (batch, frames, 2 * mels)."""
    return _side_by_side(spectra.mel)


def mfcc(spectra: Spectra, count: int = 20) -> Tensor:
    """Return cepstral coefficients and their slope over 9 frames: (batch, frames, 2 * count).

    The DCT-II of the log-mel spectrum (Davis and Mermelstein, 1980), orthonormal; the slope is the
    least-squares one (Furui, 1986).
    """
    mel = _pairs(spectra.mel)  # (batch, mels, frames)
    static = torch.einsum("cm,bmt->bct", _dct(count, mel.shape[1]).to(mel), mel)
    ramp = torch.arange(-4.0, 5.0, device=mel.device)
    kernel = (ramp / ramp.square().sum()).expand(count, 1, 9)
    slope = F.conv1d(F.pad(static, (4, 4), mode="replicate"), kernel, groups=count)
    return torch.cat([static, slope], dim=1).transpose(1, 2)


def notes(spectra: Spectra) -> Tensor:
    """Return the log spectrum at semitones, two bands a semitone: (batch, frames, notes)."""
    pitch = _pairs(spectra.pitch)
    return F.avg_pool1d(F.pad(pitch.transpose(1, 2), (1, 1), mode="replicate"), 3, 2)


def chroma(spectra: Spectra) -> Tensor:
    """Return pitch-class energies, the frame's largest being 1: (batch, frames, 12).

    The log spectrum is whitened by its mean over an octave around, so that single partials count,
    then folded into one octave (Müller and Ewert, "Chroma Toolbox", 2011). Silence gives zeros.
    """
    note = notes(spectra)
    around = F.avg_pool1d(F.pad(note, (6, 6), mode="replicate"), 13, 1)
    peaks = (note - around).clamp(min=0).square()
    folded = peaks.reshape(*peaks.shape[:2], -1, 12).sum(dim=2)
    out: Tensor = folded / folded.amax(dim=2, keepdim=True).clamp(min=0.05)
    return out


def onsets(spectra: Spectra) -> Tensor:
    """Return spectral flux in bands for both spectra of a frame: (batch, frames, 2 * bands).

    The rectified first difference of the log-mel spectrum (Böck and Widmer, "SuperFlux", 2013,
    without its maximum filter), a root taken against its long tail.
    """
    return _side_by_side(_flux(spectra).sqrt())


def tempogram(spectra: Spectra, hop: int = 16) -> Tensor:
    """Return local autocorrelation and periodicity of onsets: (batch, spectra / hop, 4 * LAGS).

    Of the flux of all bands and of the lowest two: the autocorrelation in Hann windows of 6 s,
    as a share of that at lag 0, at lags of 0.2-2 s (log-spaced; shorter ones are trivially high)
    and the magnitude at 0.5-5 Hz (log-spaced), both after Grosche, Müller and Kurth, "Cyclic
    tempogram", 2010.
    """
    flux = _flux(spectra)
    curves = torch.stack([flux.mean(dim=1), flux[:, :2].mean(dim=1)], dim=1)
    rate, size = 50, int(WINDOW_SECONDS * 50)
    curves = curves - F.avg_pool1d(curves, 51, 1, 25, count_include_pad=False)
    padded = F.pad(curves, (size // 2 - hop // 2, size // 2))
    steps = curves.shape[-1] // hop
    windows = padded.unfold(-1, size, hop)[:, :, :steps] * torch.hann_window(size).to(curves)
    spectrum = torch.fft.rfft(windows, 4 * size)
    correlation = torch.fft.irfft(spectrum.abs().square(), 4 * size)
    lags = torch.logspace(math.log10(0.2), math.log10(2.0), LAGS, device=curves.device) * rate
    ac = _at(correlation, lags) / correlation[..., :1].clamp(min=1e-3)
    hertz = torch.logspace(math.log10(0.5), math.log10(5.0), LAGS, device=curves.device)
    periodic = _at(spectrum.abs(), hertz * 4 * size / rate)
    periodic = torch.log10(1 + periodic)
    return torch.cat([ac, periodic], dim=-1).transpose(1, 2).flatten(2)


def shape(spectra: Spectra) -> Tensor:
    """Return contrast in 7 octaves, loudness, centroid and flatness: (batch, frames, 10).

    Contrast is the mean of the top fifth of an octave's bands less that of the bottom fifth
    (Jiang et al., "Music type classification by spectral contrast", 2002).
    """
    octaves = torch.stack(_pairs(spectra.pitch).transpose(1, 2).tensor_split(7, dim=2), dim=2)
    octaves = octaves.sort(dim=3).values
    fifth = octaves.shape[3] // 5
    contrast = octaves[..., -fifth:].mean(dim=3) - octaves[..., :fifth].mean(dim=3)
    mel = _pairs(spectra.mel).transpose(1, 2)
    power = 10**mel - 1
    total = power.sum(dim=2, keepdim=True)
    loudness = torch.log10(1 + total)
    place = torch.linspace(0, 1, mel.shape[2], device=mel.device)
    centroid = (power * place).sum(dim=2, keepdim=True) / total.clamp(min=1e-3)
    flatness = mel.mean(dim=2, keepdim=True) - torch.log10(1 + total / mel.shape[2])
    return torch.cat([contrast, loudness, centroid, flatness], dim=2)


def _side_by_side(x: Tensor) -> Tensor:
    """Join the two spectra of a frame: (batch, bands, 2 * frames) to (batch, frames, 2 * bands)."""
    batch, bands, spectra = x.shape
    return x.transpose(1, 2).reshape(batch, spectra // 2, 2 * bands)


def _pairs(x: Tensor) -> Tensor:
    """Average the two spectra of a frame: (..., 2 * frames) to (..., frames)."""
    return F.avg_pool1d(x, 2)


def _flux(spectra: Spectra) -> Tensor:
    """Return the mean rectified difference in mel bands: (batch, ONSET_BANDS, spectra)."""
    rise = F.pad(spectra.mel.diff(dim=2), (1, 0)).clamp(min=0)
    bands = rise.tensor_split(ONSET_BANDS, dim=1)
    return torch.stack([band.mean(dim=1) for band in bands], dim=1)


def _at(x: Tensor, places: Tensor) -> Tensor:
    """Return `x` at fractional places of its last axis, by linear interpolation."""
    low = places.floor().long()
    share = places - low
    return x[..., low] * (1 - share) + x[..., low + 1] * share


def _dct(count: int, size: int) -> Tensor:
    """Return the first rows of the orthonormal DCT-II, shape (count, size)."""
    k, n = torch.arange(count)[:, None], torch.arange(size)[None]
    basis = torch.cos(math.pi * k * (2 * n + 1) / (2 * size)) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis
