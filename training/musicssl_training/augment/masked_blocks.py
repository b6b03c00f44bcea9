"""Blocks of silence in the input, for workers that predict what was masked.

A short-time spectrum beside a block still hears half a window of it. So the frames that count as
masked are those of which no spectrum outside the blocks hears anything.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.errors import ConfigError
from musicssl.frontends import Spectra
from musicssl_training.augment.effects import gap_gain
from musicssl_training.augment.ranges import check_ranges, check_shares

FADE = 0.005  # seconds around a block


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """Masked blocks, beside the short masks of the augmentations; pairs of numbers are ranges."""

    excerpts: float = 0.0  # share of excerpts that have blocks, however clean they are otherwise
    time: float = 0.4  # share of their time
    seconds: tuple[float, ...] = (0.3, 1.0)  # length of a block

    def __post_init__(self) -> None:
        check_shares(self, "excerpts", "time")
        check_ranges(self, "seconds", least=0.01)
        if self.time > 0.9:
            raise ConfigError(f"time is the share that is masked, at most 0.9; got {self.time}.")


def draw_blocks(
    audio: Tensor, config: MaskConfig, sample_rate: int, random: torch.Generator
) -> Tensor:
    """Draw which samples are masked.

    Parameters
    ----------
    audio
        Shape (batch, samples).
    config
        Share of excerpts and of time, and lengths.
    sample_rate
        Hz.
    random
        A generator on the CPU: the same on any device.

    Returns
    -------
    Tensor
        Shape (batch, samples), bool, on the device of the audio. In the chosen excerpts the share
        of time is exact; all placements of the blocks are equally likely.
    """
    batch, samples = audio.shape
    masked = torch.zeros(batch, samples, dtype=torch.bool)
    total = round(config.time * samples)
    if not total or not config.excerpts:
        return masked.to(audio.device)
    chosen = torch.rand(batch, generator=random) < config.excerpts
    limits = [seconds * sample_rate for seconds in config.seconds]
    for row in chosen.nonzero().ravel().tolist():
        widths = _widths(total, limits[0], limits[1], random)
        free = samples - int(widths.sum())
        gaps = torch.randint(free + 1, widths.shape, generator=random).sort().values
        starts = gaps + widths.cumsum(0) - widths
        for start, width in zip(starts.tolist(), widths.tolist(), strict=True):
            masked[row, start : start + width] = True
    return masked.to(audio.device)


def _widths(total: int, low: float, high: float, random: torch.Generator) -> Tensor:
    """Return random lengths from `low` to `high` that add up to `total`, in random order."""
    fewest, most = max(1, -int(-total // high)), int(total // low)
    if most < fewest:  # no number of blocks fits: the nearest is one that is too short or long
        return torch.tensor([total])
    count = min(max(round(2 * total / (low + high)), fewest), most)
    widths, rest = [], float(total)
    for left in range(count - 1, -1, -1):
        # what the blocks to come need at least and take at most bounds this one
        shortest, longest = max(low, rest - left * high), min(high, rest - left * low)
        width = shortest + (longest - shortest) * torch.rand((), generator=random).item()
        widths.append(width)
        rest -= width
    edges = torch.tensor([0.0, *widths], dtype=torch.float64).cumsum(0).round().long()
    return edges.diff()[torch.randperm(count, generator=random)]


def silence_audio(audio: Tensor, masked: Tensor, sample_rate: int) -> Tensor:
    """Silence masked samples, (batch, samples), with fades of 5 ms around them."""
    out, fade = audio.clone(), round(FADE * sample_rate)
    edges = F.pad(masked.cpu().to(torch.int8), (1, 1)).diff(dim=1)
    for row in masked.any(dim=1).nonzero().ravel().tolist():
        starts, ends = ((edges[row] == sign).nonzero().ravel().tolist() for sign in (1, -1))
        for first, last in zip(starts, ends, strict=True):
            around, gain = gap_gain(first, last, audio.shape[1], fade, audio.device)
            out[row, around] *= gain
    return out


def silence_spectra(spectra: Spectra, masked: Tensor, hop: int) -> tuple[Spectra, Tensor]:
    """Silence the spectra that are centered on masked samples.

    Parameters
    ----------
    spectra
        Spectrum ``j`` is centered on sample ``j * hop``.
    masked
        Shape (batch, samples).
    hop
        Samples between spectra.

    Returns
    -------
    spectra, masked
        What is left, and which spectra are silent, (batch, spectra).
    """
    centers = torch.arange(spectra.mel.shape[2], device=masked.device) * hop
    silent = masked[:, centers.clamp(max=masked.shape[1] - 1)]  # the last ones lie behind the end
    return Spectra(*(x.masked_fill(silent[:, None], 0.0) for x in spectra)), silent


def masked_frames(silent: Tensor, spectra_per_frame: int, reach: int, hop: int) -> Tensor:
    """Return the frames of which no spectrum that sounds hears anything.

    Parameters
    ----------
    silent
        Which spectra are silent, (batch, frames * spectra_per_frame).
    spectra_per_frame
        Spectra of an encoder frame; together these last as long as the frame.
    reach
        Samples that a spectrum hears on each side of its center.
    hop
        Samples between spectra.

    Returns
    -------
    Tensor
        Shape (batch, frames), bool. Beyond the excerpt nothing sounds.
    """
    around = -(-reach // hop)
    sounds = (~silent).float()[:, None]
    heard = F.max_pool1d(sounds, 2 * around + 1, stride=1, padding=around)[:, 0] > 0
    frames = -1, heard.shape[1] // spectra_per_frame, spectra_per_frame
    return ~heard.view(frames).any(dim=2)


def silent_frames(masked: Tensor, hop: int) -> Tensor:
    """Return which frames lie in silenced samples altogether: (batch, samples) to (batch, frames).

    Where the audio itself was silenced, nothing that is computed from it hears more.
    """
    frames = -(-masked.shape[1] // hop)
    padded = F.pad(masked, (0, frames * hop - masked.shape[1]), value=True)
    return padded.view(-1, frames, hop).all(dim=2)
