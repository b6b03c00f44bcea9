"""The mel scale of HTK."""

import math

import torch
from torch import Tensor


def mel_frequencies(count: int, low_hz: float, high_hz: float) -> Tensor:
    """Return frequencies that are equally spaced on the HTK mel scale.

    Parameters
    ----------
    count
        How many, with both ends.
    low_hz, high_hz
        The ends, in Hz.

    Returns
    -------
    Tensor
        Shape (count,), in Hz, in 64 bits: as `librosa.mel_frequencies` with ``htk=True``.
    """
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (low_hz, high_hz))
    mel = torch.linspace(low, high, count, dtype=torch.float64)
    return 700 * (10 ** (mel / 2595) - 1)
