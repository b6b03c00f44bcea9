"""Timbre targets: spectral moments, contrast, harmonic and percussive parts."""

import torch
from torch import Tensor

from musicssl_training.targets.banks import KNEE, MelBank, compress, frequencies
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.targets.prosody import zero_crossings

ROLLOFF = 0.85  # share of the magnitudes below the roll-off frequency
QUIET = 1e-3  # sum of magnitudes at which the moments have shrunk to half
TAPS = 15  # of the medians that tell steady from sudden


class Shape(Target):
    """Centroid, bandwidth, roll-off, flatness and zero-crossing rate of each frame, in this order.

    The first three weigh frequencies by magnitude and are compressed as log(1 + Hz / 700), where
    silence gives 0; flatness is the log10 of the geometric over the arithmetic mean of the powers,
    of at least 1e-8 of a full-scale sine each (Peeters, "A large set of audio features", 2004).
    """

    moments: Tensor

    def __init__(self, grid: FrameGrid, n_fft: int = 1024) -> None:
        super().__init__()
        self.n_fft, self.nyquist = n_fft, grid.sample_rate / 2
        place = frequencies(grid.sample_rate, n_fft) / self.nyquist
        moments = torch.stack([torch.ones_like(place), place, place.square()])
        self.register_buffer("moments", moments.float(), persistent=False)
        self.size = 5 * grid.stride
        self.reach = grid.reach(n_fft)

    def forward(self, sound: CleanAudio) -> Tensor:
        power = sound.power(self.n_fft)
        magnitude = power.sqrt()
        total, first, second = (magnitude @ weights for weights in self.moments)
        heard = total / (total + QUIET)
        centroid = first / total.clamp(min=QUIET)
        spread = (second / total.clamp(min=QUIET) - centroid.square()).clamp(min=0).sqrt()
        below = magnitude.cumsum(dim=-1)
        rolloff = torch.searchsorted(below, ROLLOFF * below[..., -1:])[..., 0]
        floored = power.clamp(min=KNEE)
        flatness = _mean_log(floored) - floored.mean(dim=-1).log10()
        place = torch.stack([centroid, spread, rolloff / (self.n_fft // 2)], dim=-1)
        mel = (place * heard[..., None] * (self.nyquist / 700)).log1p()
        rest = torch.stack([flatness, zero_crossings(sound)], dim=-1)
        return sound.grid.join(torch.cat([mel, rest], dim=-1))


class Contrast(Target):
    """Peaks over valleys, in decades of power, below `low` Hz and in the octaves above it.

    The compressed power of the largest magnitudes less that of the least, a `share` of a band's
    bins each (Jiang et al., "Music type classification by spectral contrast", 2002). Where that is
    several bins, they are the largest (least) of as many interleaved groups: no sorting, and the
    same where the bins are neighbours.
    """

    def __init__(
        self, grid: FrameGrid, n_fft: int = 1024, low: float = 200.0, share: float = 0.02
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.bands = _octaves(frequencies(grid.sample_rate, n_fft), low, share)
        self.size = grid.stride * len(self.bands)
        self.reach = grid.reach(n_fft)

    def forward(self, sound: CleanAudio) -> Tensor:
        power = sound.power(self.n_fft)
        peaks, valleys = [], []
        for start, stop, groups in self.bands:
            band = power[..., start:stop]
            peaks.append(_extremes(band, groups, largest=True).sqrt().mean(dim=-1))
            valleys.append(_extremes(band, groups, largest=False).sqrt().mean(dim=-1))
        peak, valley = (torch.stack(x, dim=-1) for x in (peaks, valleys))
        return sound.grid.join(compress(peak.square()) - compress(valley.square()))


class HarmonicPercussive(Target):
    """Compressed power of the steady parts in mel bands, then of the sudden parts.

    Medians of the mel spectrum along time tell what is steady, medians along frequency what is
    sudden; a soft mask shares the power between them (FitzGerald, "Harmonic/percussive separation
    using median filtering", 2010). One spectrum an encoder frame, the mean of its target frames'.

    Parameters
    ----------
    grid
        Where targets are measured.
    bands
        Values of each kind: the mel bands are summed in as many groups.
    seconds
        About the length of the medians along time, of 15 taps; those along frequency span 15 bands.
    n_mels, n_fft
        Of the mel spectrum.
    """

    def __init__(
        self,
        grid: FrameGrid,
        bands: int = 4,
        seconds: float = 0.6,
        n_mels: int = 64,
        n_fft: int = 1024,
    ) -> None:
        super().__init__()
        self.bank, self.bands = MelBank(grid, n_mels, n_fft), bands
        self.spacing = max(1, round(seconds * grid.rate / grid.stride / TAPS))
        self.size = 2 * bands
        self.reach = grid.reach(n_fft) + TAPS // 2 * self.spacing * grid.stride / grid.rate

    def forward(self, sound: CleanAudio) -> Tensor:
        parts = self.split(sound)
        groups = [x.sum(dim=-1) for part in parts for x in part.tensor_split(self.bands, dim=-1)]
        return compress(torch.stack(groups, dim=-1))

    def split(self, sound: CleanAudio) -> tuple[Tensor, Tensor]:
        """Return the power of steady and of sudden parts, (batch, encoder frames, n_mels) each."""
        power = torch.unflatten(self.bank.power(sound), 1, (-1, sound.grid.stride)).mean(dim=2)
        steady = median(power, 1, self.spacing)
        sudden = median(power, 2, 1)
        total = (steady + sudden).clamp(min=1e-20)
        return power * (steady / total).square(), power * (sudden / total).square()


def median(values: Tensor, dim: int, spacing: int) -> Tensor:
    """Return the median of `TAPS` values `spacing` apart around each along `dim`; ends mirrored."""
    n, half = values.shape[dim], TAPS // 2 * spacing
    place = torch.arange(-half, n + half, device=values.device) % (2 * n)
    padded = values.index_select(dim, torch.minimum(place, 2 * n - 1 - place))
    taps = [padded.narrow(dim, i * spacing, n) for i in range(TAPS)]
    for i, j in MEDIAN_NETWORK:
        taps[i], taps[j] = torch.minimum(taps[i], taps[j]), torch.maximum(taps[i], taps[j])
    return taps[TAPS // 2]


def median_network(n: int) -> list[tuple[int, int]]:
    """Return the pairs to put in order, in turn, so that entry ``n // 2`` of `n` is the median.

    Batcher's merge exchange sort (Knuth, "The Art of Computer Programming 3", 5.2.2 M), without
    what the median does not need: on whole tensors, far faster than sorting each window.
    """
    pairs, top = [], 1 << (n - 1).bit_length() - 1
    p = top
    while p:
        q, r, d = top, 0, p
        while d:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            d, r, q = q - p, p, q // 2
        p //= 2
    needed, kept = {n // 2}, []
    for pair in reversed(pairs):
        if needed & set(pair):
            needed |= set(pair)
            kept.append(pair)
    return kept[::-1]


MEDIAN_NETWORK = median_network(TAPS)


def _mean_log(power: Tensor) -> Tensor:
    """Return the mean log10 over bins; four are multiplied a log, of at least `KNEE` each."""
    *quarters, nyquist = power.tensor_split([n * (power.shape[-1] // 4) for n in (1, 2, 3, 4)], -1)
    product = quarters[0] * quarters[1]
    product = product * quarters[2] * quarters[3]
    return (product.log10().sum(dim=-1) + nyquist.log10().sum(dim=-1)) / power.shape[-1]


def _extremes(values: Tensor, groups: int, *, largest: bool) -> Tensor:
    """Return the extreme of each of `groups` interleaved groups of the last axis.

    Several by folding the axis, which reads memory in order.
    """
    if groups == 1:
        return (values.amax if largest else values.amin)(dim=-1, keepdim=True)
    better = torch.maximum if largest else torch.minimum
    while (n := values.shape[-1]) > groups:
        half = -(-n // (2 * groups)) * groups
        low, high = values.tensor_split([half], dim=-1)
        values = torch.cat([better(low[..., : n - half], high), low[..., n - half :]], dim=-1)
    return values


def _octaves(bins: Tensor, low: float, share: float) -> list[tuple[int, int, int]]:
    """Return first bin, one past the last, and bins that count as extreme of each band.

    Bounds as in the original: a band also holds the bin before its own, and leaves its last to the
    next; the highest ends at Nyquist.
    """
    bands: list[tuple[int, int, int]] = []
    edge, start = low, 0
    while not bands or bands[-1][1] < len(bins):
        stop = int((bins <= edge).sum())
        groups = max(1, round(share * (stop - start)))
        stop -= stop < len(bins)
        bands.append((start, stop, groups))
        start, edge = int((bins < edge).sum()) - 1, 2 * edge
    return bands
