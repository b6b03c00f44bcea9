"""Non-linear augmentations: mixing, clipping, quantization, dropouts."""

import torch
from torch import Tensor

from musicssl_training.augment.filters import fast_length, frequencies
from musicssl_training.augment.random import Draw

SILENT = 1e-8  # mean square below which nothing is mixed in: -80 dB
FLAT = 20.0  # Hz, below which the noise's spectrum rises no further


def peaks(audio: Tensor) -> Tensor:
    """Return the largest magnitude of each row: (rows, samples) to (rows, 1)."""
    return torch.maximum(audio.amax(dim=1, keepdim=True), -audio.amin(dim=1, keepdim=True))


def mix_at_snr(audio: Tensor, other: Tensor, decibels: Tensor) -> Tensor:
    """Add another sound to each row, `decibels` below it in mean square.

    Parameters
    ----------
    audio, other
        Shape (rows, samples). Where either is silent, nothing is added.
    decibels
        Shape (rows,).

    Returns
    -------
    Tensor
        Shape (rows, samples).
    """
    ours, theirs = (x.square().mean(dim=1) for x in (audio, other))
    heard = (ours > SILENT) & (theirs > SILENT)
    gain = (ours / theirs.clamp(min=SILENT)).sqrt() * 10 ** (-decibels / 20) * heard
    return torch.addcmul(audio, other, gain[:, None])


def colored_noise(draw: Draw, color: Tensor, samples: int, sample_rate: int) -> Tensor:
    """Return Gaussian noise whose power falls as 1 / f^color, of mean square 1.

    Parameters
    ----------
    draw
        Gives the random numbers.
    color
        Shape (rows, 1): 0 is white, 1 pink, 2 brown.
    samples
        At least 2.
    sample_rate
        Hz.

    Returns
    -------
    Tensor
        Shape (rows, samples).

    Notes
    -----
    A random spectrum, transformed back (Timmer and König, "On generating power law noise", 1995).
    """
    length = fast_length(samples)
    hertz = frequencies(length, sample_rate, draw.device)
    spectrum = torch.view_as_complex(draw.normal(len(color), len(hertz), 2))
    decay = (-color / 2 * (hertz.clamp(min=FLAT) / FLAT).log()).exp_()
    noise: Tensor = torch.fft.irfft(spectrum * decay, length)[:, :samples]
    return noise / noise.square().mean(dim=1, keepdim=True).sqrt()


def clip(audio: Tensor, decibels: Tensor, *, soft: bool) -> Tensor:
    """Overload each row at a level t so many decibels below its peak.

    Parameters
    ----------
    audio
        Shape (rows, samples).
    decibels
        Shape (rows,).
    soft
        t tanh(x / t) instead of x held within ±t.

    Returns
    -------
    Tensor
        Shape (rows, samples).
    """
    level = peaks(audio).clamp(min=1e-9) * 10 ** (-decibels[:, None] / 20)
    return (audio / level).tanh_() * level if soft else audio.clamp(-level, level)


def quantize(audio: Tensor, bits: Tensor) -> Tensor:
    """Round to `bits` bits a sample, (rows,); full scale is 1, and silence stays silent.

    A full-scale sine is 6.02 bits + 1.76 dB above the error (Bennett, "Spectra of quantized
    signals", 1948).
    """
    steps = torch.exp2(bits[:, None] - 1)
    return (audio * steps).round_().div_(steps).clamp_(-1, 1)


def fade_window(first: int, last: int, samples: int, fade: int, device: torch.device) -> Tensor:
    """Return a gain that is positive on the samples `first` to ``last - 1`` and 0 elsewhere.

    Parameters
    ----------
    first, last
        In samples, inside the audio or not.
    samples
        Of the audio.
    fade
        Samples in which the gain rises from 0 to 1 and falls again, inside the stretch.
    device
        Of the result.

    Returns
    -------
    Tensor
        Shape (samples,).
    """
    index = torch.arange(1, samples + 1, device=device, dtype=torch.float32)
    return torch.minimum(index - first, last + 1 - index).clamp_(0, fade + 1).div_(fade + 1)


def gap_gain(
    first: int, last: int, samples: int, fade: int, device: torch.device
) -> tuple[slice, Tensor]:
    """Return where a gap changes the audio and the gain there, (samples of the slice,).

    The gain is 0 on the samples `first` to ``last - 1``, and falls and rises around them; the
    arguments are those of `fade_window`.
    """
    start, stop = max(0, first - fade), min(samples, last + fade)
    gone = fade_window(first - fade - start, last + fade - start, stop - start, fade, device)
    return slice(start, stop), 1 - gone
