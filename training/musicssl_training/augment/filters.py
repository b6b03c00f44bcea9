"""Frequency responses of equalizers, band-stops and low-passes, applied in one FFT."""

import math

import scipy.fft
import torch
from torch import Tensor

SHELF_Q = 1 / math.sqrt(2)
EDGE = 1 / 12  # octaves in which a band-stop's gain falls
ROLL_OFF = 0.1  # share of the band in which a low-pass falls


def fast_length(samples: int) -> int:
    """Return the next length whose only prime factors are 2, 3 and 5, and that is even."""
    return 2 * int(scipy.fft.next_fast_len(-(-samples // 2), real=True))


def frequencies(length: int, sample_rate: int, device: torch.device) -> Tensor:
    """Return the frequencies in Hz of a real transform, (length // 2 + 1,)."""
    bins: Tensor = torch.fft.rfftfreq(length, 1 / sample_rate, device=device)
    return bins


def apply(audio: Tensor, filters: list[tuple[Tensor, Tensor]], length: int) -> Tensor:
    """Filter some rows.

    Parameters
    ----------
    audio
        Shape (batch, samples).
    filters
        Each with its rows, (batch,) bool on the CPU, and their responses, real or complex,
        (rows, length // 2 + 1).
    length
        Of the transform: what rings longer than ``length - samples`` returns at the start.

    Returns
    -------
    Tensor
        Rows that no filter names are the same bit for bit.
    """
    some = torch.stack([rows for rows, _ in filters]).any(dim=0)
    spectrum = torch.fft.rfft(audio[some], length)
    for rows, response in filters:
        spectrum[rows[some]] *= response
    out = audio.clone()
    out[some] = torch.fft.irfft(spectrum, length)[:, : audio.shape[1]]
    return out


def prewarp(hertz: Tensor, sample_rate: int) -> Tensor:
    """Return the analog frequency that the bilinear transform maps to `hertz`: tan(w / 2)."""
    return torch.tan((math.pi / sample_rate * hertz).clamp(max=math.pi / 2 - 1e-6))


def peak(ratio: Tensor, decibels: Tensor, q: Tensor) -> Tensor:
    """Return the response of a peaking equalizer.

    Parameters
    ----------
    ratio
        Analogue frequency over that of the center, see `prewarp`: (rows, bins).
    decibels, q
        Gain at the center and quality, (rows, 1).

    Returns
    -------
    Tensor
        Complex, (rows, bins).

    Notes
    -----
    H(s) = (s² + s A / Q + 1) / (s² + s / (A Q) + 1) with A = 10^(dB / 40) at s = j ratio
    (Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients").
    """
    a = 10 ** (decibels / 40)
    real, slope = 1 - ratio.square(), ratio / q
    return torch.complex(real, slope * a) / torch.complex(real, slope / a)


def shelf(ratio: Tensor, decibels: Tensor) -> Tensor:
    """Return the response of a low shelf: `decibels` far below the corner, 0 dB far above.

    Notes
    -----
    H(s) = A (s² + s √A / Q + A) / (A s² + s √A / Q + 1), Q = 1 / √2; the source, the arguments
    and the result are as for `peak`.
    """
    a = 10 ** (decibels / 40)
    square, slope = ratio.square(), ratio * (a.sqrt() / SHELF_Q)
    return torch.complex(a * (a - square), a * slope) / torch.complex(1 - a * square, slope)


def band_stop(hertz: Tensor, center: Tensor, octaves: Tensor) -> Tensor:
    """Return a gain of 0 in a band and 1 from a twelfth of an octave beyond it on.

    Parameters
    ----------
    hertz
        Frequencies from 0 Hz on, (bins,).
    center, octaves
        The band's geometric center in Hz and width, (rows, 1).

    Returns
    -------
    Tensor
        Real, (rows, bins): no phase changes.
    """
    place = hertz.clamp(min=1e-3).log2()
    return (place - center.log2()).abs_().sub_(octaves / 2).div_(EDGE).clamp_(0, 1)


def low_pass(hertz: Tensor, sample_rate: Tensor) -> Tensor:
    """Return the gain, (rows, bins), of resampling to `sample_rate`, (rows, 1), and back."""
    half = sample_rate / 2
    return ((half - hertz) / (ROLL_OFF * half)).clamp_(0, 1)
