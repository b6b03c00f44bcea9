"""Prosody targets: fundamental frequency, energy, zero crossings and loudness per frame."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.errors import ConfigError, pick
from musicssl_training.targets.banks import a_weighting, compress, frequencies, k_weighting
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio, FrameGrid

WEIGHTINGS = {"A": a_weighting, "K": k_weighting}
MEAN_SQUARE = 1 / 3  # of a signal, over the sum of its scaled Hann power spectrum
F0_BAND = 1500.0  # Hz, above which partials do not count
OCTAVE_COST = 0.03  # periodicity that a period twice as long must have more
VOICED = 0.45  # least periodicity, 0 to 1, of a voiced frame
AUDIBLE = 1e-7  # least mean square below F0_BAND of a voiced frame: -70 dB
CROSSING_FLOOR = 1e-10  # amplitude below which a sample counts as 0


class Prosody(Target):
    """Log F0 and voicing of each encoder frame, then energies and zero-crossing rates.

    F0 is in octaves from the geometric mean of `low` and `high`, and interpolated through unvoiced
    frames; an excerpt with no voiced frame has 0. Voicing is 0 or 1. Energy is the compressed mean
    square and the zero-crossing rate a share of the samples, both over two hops of the grid, for
    each target frame.

    Parameters
    ----------
    grid
        Where targets are measured.
    n_fft
        Samples in which the period is sought.
    low, high
        Range of F0 in Hz.

    Raises
    ------
    ConfigError
        If fewer than 4 periods of `low` fit into `n_fft`, or `low` is not below `high`, or `high`
        is above two thirds of 1.5 kHz or of Nyquist, whichever is less.

    Notes
    -----
    The autocorrelation of the windowed signal over that of the window (Boersma, "Accurate
    short-term analysis of the fundamental frequency", 1993), from the power spectrum up to 1.5 kHz;
    peaks are interpolated by parabolas.
    """

    period: Tensor
    lags: Tensor

    def __init__(
        self, grid: FrameGrid, n_fft: int = 4096, low: float = 60.0, high: float = 1000.0
    ) -> None:
        super().__init__()
        band = min(F0_BAND, grid.sample_rate / 2)
        if not 4 * grid.sample_rate / n_fft <= low < high <= band / 1.5:
            raise ConfigError(
                f"F0 from {low:g} to {high:g} Hz cannot be measured in {n_fft} samples at "
                f"{grid.sample_rate} Hz; it can from {4 * grid.sample_rate / n_fft:.0f} to "
                f"{band / 1.5:.0f} Hz."
            )
        self.n_fft, self.centre = n_fft, math.sqrt(low * high)
        bins = frequencies(grid.sample_rate, n_fft)
        self.first = int((bins < 0.8 * low).sum())
        self.last = int((bins <= band).sum())
        spacing = 1 / (4 * band)
        lags = torch.arange(
            math.floor(1 / high / spacing) - 1,
            math.ceil(1 / low / spacing) + 2,
            dtype=torch.float64,
        )
        lags = lags * spacing  # seconds, one more at each end for the parabolas
        period = torch.cos(2 * math.pi * bins[self.first : self.last, None] * lags)
        period /= _hann_correlation(lags * grid.sample_rate / n_fft)
        self.register_buffer("period", period.float(), persistent=False)
        self.register_buffer("lags", lags.float(), persistent=False)
        self.size = 2 + 2 * grid.stride
        self.reach = grid.reach(n_fft)

    def forward(self, sound: CleanAudio) -> Tensor:
        f0, periodicity, level = self.track(sound)
        voiced = (periodicity > VOICED) & (level > AUDIBLE)
        octave = through_unvoiced((f0 / self.centre).log2(), voiced)
        melody = torch.stack([octave, voiced.float()], dim=-1)
        energy, changes = (
            sound.grid.join(x[..., None])
            for x in (compress(mean_square(sound)), zero_crossings(sound))
        )
        return torch.cat([melody, energy, changes], dim=-1)

    def track(self, sound: CleanAudio) -> tuple[Tensor, Tensor, Tensor]:
        """Return F0 in Hz, periodicity up to 1, and mean square below 1.5 kHz, (batch, steps)."""
        power = sound.power(self.n_fft)[:, :: sound.grid.stride, self.first : self.last]
        total = power.sum(dim=-1)
        r = power @ self.period / total.clamp(min=AUDIBLE)[..., None]
        before, here, after = r[..., :-2], r[..., 1:-1], r[..., 2:]
        rise = (after - before) / 2
        bend = (before + after - 2 * here).clamp(max=-1e-9)
        height = here - rise.square() / (2 * bend)
        cost = OCTAVE_COST * (self.lags[1:-1] / self.lags[1]).log2()
        peak = (here >= before) & (here > after)
        best = torch.where(peak, height - cost, -1.0).argmax(dim=-1, keepdim=True)
        shift = -(rise / bend).gather(-1, best)
        lag = self.lags[1 + best] + shift.clamp(-1, 1) * (self.lags[1] - self.lags[0])
        periodicity = torch.where(peak, height, 0.0).gather(-1, best)
        return 1 / lag[..., 0], periodicity[..., 0].clamp(max=1), total * MEAN_SQUARE


class Loudness(Target):
    """The compressed power of each frame as heard: weighted by frequency.

    Parameters
    ----------
    grid
        Where targets are measured.
    weighting
        "A" (IEC 61672-1) or "K" (ITU-R BS.1770-4).
    n_fft
        Samples.
    """

    weights: Tensor

    def __init__(self, grid: FrameGrid, weighting: str = "K", n_fft: int = 1024) -> None:
        super().__init__()
        self.n_fft = n_fft
        curve = pick(WEIGHTINGS, weighting, "weighting")
        weights = curve(frequencies(grid.sample_rate, n_fft)) * MEAN_SQUARE
        self.register_buffer("weights", weights.float(), persistent=False)
        self.size = grid.stride
        self.reach = grid.reach(n_fft)

    def forward(self, sound: CleanAudio) -> Tensor:
        weighted = sound.power(self.n_fft) @ self.weights
        return sound.grid.join(compress(weighted)[..., None])


def mean_square(sound: CleanAudio) -> Tensor:
    """Return the mean square over two hops around each frame's centre, (batch, frames)."""
    return sound.cached("mean square", lambda: _around(sound, sound.audio.square())[0])


def zero_crossings(sound: CleanAudio) -> Tensor:
    """Return sign changes, as a share of the samples, over two hops: (batch, frames).

    None is counted between the audio and the silence around it.
    """

    def make() -> Tensor:
        negative = sound.audio < -CROSSING_FLOOR
        changes = F.pad((negative[:, 1:] != negative[:, :-1]).float(), (1, 0))
        share, first = _around(sound, changes)
        return share - first  # a change at a frame's first sample is from one outside

    return sound.cached("zero crossings", make)


def through_unvoiced(values: Tensor, voiced: Tensor) -> Tensor:
    """Replace unvoiced values by lines between the voiced ones; both are (batch, frames).

    Before the first and after the last the nearest is held; with none all are 0.
    """
    frames = values.shape[1]
    place = torch.arange(frames, device=values.device).expand_as(values)
    left = torch.where(voiced, place, -1).cummax(dim=1).values
    right = torch.where(voiced, place, frames).flip(1).cummin(dim=1).values.flip(1)
    left, right = torch.where(left < 0, right, left), torch.where(right == frames, left, right)
    start, stop = (values.gather(1, i.clamp(0, frames - 1)) for i in (left, right))
    share = (place - left) / (right - left).clamp(min=1)
    return torch.where(voiced.any(dim=1, keepdim=True), start + share * (stop - start), 0.0)


def _around(sound: CleanAudio, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over two hops, and the first value as its share of that mean."""
    hop = sound.grid.hop
    padded = F.pad(values, (0, sound.frames * hop - values.shape[1]))
    blocks = torch.unflatten(padded, 1, (-1, hop))
    sums, first = (F.pad(x, (1, 0)) for x in (blocks.sum(dim=2), blocks[..., 0]))
    return (sums[:, 1:] + sums[:, :-1]) / (2 * hop), first[:, :-1] / (2 * hop)


def _hann_correlation(lag: Tensor) -> Tensor:
    """Return the Hann window's autocorrelation at a share `lag` of its length, 1 at 0."""
    turn = 2 * math.pi * lag
    return (1 - lag) * (2 / 3 + turn.cos() / 3) + turn.sin() / (2 * math.pi)
