"""Isolated sounds: silence around a short stretch of the excerpt, as in files of single notes."""

import torch
from torch import Tensor

from musicssl.errors import ConfigError
from musicssl_training.augment.effects import fade_window
from musicssl_training.augment.random import Draw

SOUNDS = (0.3, 3.0)  # seconds
AT_START = 0.5  # share of the stretches that begin where the excerpt does
FADE = 0.005  # seconds


def isolate(
    audio: Tensor, share: float, random: torch.Generator, sample_rate: int
) -> tuple[Tensor, Tensor]:
    """Let only a stretch of some excerpts sound.

    Parameters
    ----------
    audio
        Shape (batch, samples).
    share
        Of the excerpts, 0 to 1.
    random
        A generator on the CPU: the same on any device.
    sample_rate
        Hz.

    Returns
    -------
    tuple of Tensor
        The audio, and from when to when it sounds, (batch, 2), in seconds: the whole excerpt where
        it was left as it is, bit for bit; otherwise 0.3 to 3 s, exact silence around it, and fades
        of 5 ms inside it where it was cut. Half of the stretches begin where the excerpt does.

    Raises
    ------
    ConfigError
        If `share` is not from 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ConfigError(f"the share of isolated excerpts is from 0 to 1, got {share}.")
    batch, samples = audio.shape
    draw = Draw(batch, random, audio.device)
    chosen, early = draw.rows(share), draw.rows(AT_START)
    limits = tuple(seconds * sample_rate for seconds in SOUNDS)
    spans = draw.spans(limits, samples, (batch,))
    spans = spans - spans[:, :1] * early[:, None]
    out, fade = audio.clone(), round(FADE * sample_rate)
    for row in chosen.nonzero().ravel().tolist():
        first, last = spans[row].tolist()
        start = first if first > 0 else -fade  # what the excerpt itself cuts does not fade
        stop = last if last < samples else samples + fade
        out[row] *= fade_window(start, stop, samples, fade, audio.device)
    spans = torch.where(chosen[:, None], spans, torch.tensor([0, samples]))
    return out, (spans / sample_rate).to(audio.device)
