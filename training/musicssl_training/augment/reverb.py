"""Synthetic room impulse responses."""

import torch
from torch import Tensor

from musicssl_training.augment.random import Draw

FIRST = 0.002  # seconds from the direct sound to where reflections begin
DENSE = 0.05  # seconds from the direct sound to where every sample has a reflection


def impulse_responses(
    draw: Draw, rt60: Tensor, decibels: Tensor, samples: int, sample_rate: int
) -> Tensor:
    """Return random impulse responses of rooms.

    Parameters
    ----------
    draw
        Gives the random numbers.
    rt60
        Seconds in which the reverberation decays by 60 dB, (rows, 1).
    decibels
        Energy of the direct sound over that of the reverberation, (rows, 1).
    samples
        Length.
    sample_rate
        Hz.

    Returns
    -------
    Tensor
        Shape (rows, samples). The direct sound is the first sample, so nothing is delayed; the
        energy is 1, so music stays about as loud as it is.

    Notes
    -----
    Gaussian noise that decays exponentially (Polack, "La transmission de l'énergie sonore dans les
    salles", 1988). Early reflections are sparse: their density grows with the square of time
    (Kuttruff, "Room Acoustics"), and they are the louder the rarer, so that the mean energy follows
    the same exponential from the start.
    """
    time = torch.arange(samples, device=draw.device) / sample_rate
    tail = draw.normal(len(rt60), samples) * 10 ** (-3 * time / rt60)
    density = torch.where(time < FIRST, 0.0, (time / DENSE).square().clamp(max=1))
    early = min(samples, int(DENSE * sample_rate) + 1)
    arrives = draw.uniform((0.0, 1.0), len(rt60), early) < density[:early]
    tail[:, :early] *= arrives * density[:early].clamp(min=1e-9).rsqrt()
    energy = tail.square().sum(dim=1, keepdim=True).clamp(min=1e-12)
    reverberant = 10 ** (-decibels / 10)
    tail *= (reverberant / energy).sqrt()
    tail[:, 0] = 1
    return tail / (1 + reverberant).sqrt()
