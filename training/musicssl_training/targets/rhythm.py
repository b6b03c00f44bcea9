"""Onset strength and its periodicities: tempograms and the predominant local pulse."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.errors import ConfigError
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.targets.onset_bands import OnsetBands

FAINT = 0.003  # root mean square of an onset curve below which periodicities fade to 0


class Onsets(Target):
    """Onset strength in bands, those of a frame's target frames side by side.

    With `root`, the square root is taken against the long tail.
    """

    def __init__(self, grid: FrameGrid, bands: int = 6, *, root: bool = True) -> None:
        super().__init__()
        self.bands, self.root = OnsetBands(grid, bands), root
        self.size = bands * grid.stride
        self.reach = self.bands.reach + grid.stride / 2 / grid.rate

    def forward(self, sound: CleanAudio) -> Tensor:
        rise: Tensor = self.bands(sound)
        sides = sound.grid.join(rise)
        return sides.sqrt() if self.root else sides


class Periodicity(Target):
    """Base of what is measured in Hann windows of the onset curve around each step.

    Parameters
    ----------
    grid
        Where onsets are measured.
    pool
        Encoder frames a step.
    window_seconds
        Length of a window.
    bands
        Points of the lag or frequency axis.
    low
        Whether to measure the low band, where the bass drum is, beside all bands.
    """

    def __init__(
        self,
        grid: FrameGrid,
        pool: int = 8,
        window_seconds: float = 6.0,
        bands: int = 32,
        *,
        low: bool = True,
    ) -> None:
        super().__init__()
        self.onsets, self.pool, self.n_curves = OnsetBands(grid), pool, 1 + low
        self.step = pool * grid.stride  # target frames
        self.window = 2 * round(window_seconds * self.onsets.rate / 2)  # curve samples
        self.size = bands * self.n_curves
        self.reach = self.window / 2 / self.onsets.rate + self.onsets.reach

    def windows(self, sound: CleanAudio) -> Tensor:
        """Return the curves in Hann windows, (batch, steps, curves, window).

        Each less its mean in the window. Outside the audio is 0, as is the mean.
        """

        def make() -> Tensor:
            curves = self.onsets.curves(sound)
            hann = torch.hann_window(self.window, device=curves.device)
            factor, steps = self.onsets.factor, sound.frames // self.step
            centres = torch.arange(steps, device=curves.device) * self.step
            centres = ((centres + (self.step - factor) / 2) / factor).round().long()

            def cut(x: Tensor) -> Tensor:
                padded = F.pad(x, (self.window // 2, self.window))
                return padded.unfold(2, self.window, 1)[:, :, centres].transpose(1, 2) * hann

            windows, inside = cut(curves), cut(torch.ones_like(curves[:1, :1]))
            mean = windows.sum(dim=3, keepdim=True) / inside.sum(dim=3, keepdim=True)
            return windows - mean * inside

        key = ("onset windows", self.onsets.count, self.step, self.window)
        return sound.cached(key, make)[:, :, : self.n_curves]


class Tempogram(Periodicity):
    """Autocorrelation of onsets as a share of that at lag 0, at lags of 0.2 to 2 s, log-spaced.

    After Grosche, Müller and Kurth, "Cyclic tempogram", 2010. Shorter lags are high whatever sounds
    and left out. Each band is a mean of lags in a triangle to the neighbouring ones: peaks are far
    narrower than bands of long lags, and would fall between points.

    Raises
    ------
    ConfigError
        If `shortest` and `longest` (seconds) do not rise to less than half the window.
    """

    cosines: Tensor

    def __init__(
        self,
        grid: FrameGrid,
        pool: int = 8,
        window_seconds: float = 6.0,
        bands: int = 32,
        *,
        low: bool = True,
        shortest: float = 0.2,
        longest: float = 2.0,
    ) -> None:
        super().__init__(grid, pool, window_seconds, bands, low=low)
        if not 0 < shortest < longest < window_seconds / 2:
            raise ConfigError(
                f"lags must rise from above 0 to less than half the window of {window_seconds:g} s,"
                f" got {shortest:g} to {longest:g} s."
            )
        ratio = (longest / shortest) ** (1 / max(1, bands - 1))
        seconds = shortest * ratio ** torch.arange(-1, bands + 1, dtype=torch.float64)
        means = _lag_bands(seconds * self.onsets.rate)
        lags = torch.arange(len(means))
        cosines = _correlation(self.window, lags)
        banks = torch.cat([cosines[:, :1], cosines @ means], dim=1)  # lag 0, bands
        self.register_buffer("cosines", banks.float(), persistent=False)

    def forward(self, sound: CleanAudio) -> Tensor:
        windows = self.windows(sound)
        if not windows.numel():  # which transforms refuse
            return windows.new_zeros(*windows.shape[:2], self.size)
        spectrum = torch.fft.rfft(windows, 2 * self.window)
        correlation = (spectrum.real.square() + spectrum.imag.square()) @ self.cosines
        floor = FAINT**2 * self.window * 3 / 8  # of white noise in a Hann window
        shares: Tensor = correlation[..., 1:] / correlation[..., :1].clamp(min=floor)
        return shares.flatten(2)


class FourierTempogram(Periodicity):
    """Magnitudes of onsets at 0.5 to 5 Hz (30 to 300 bpm), log-spaced: ``log10(1 + magnitude)``.

    After Grosche, Müller and Kurth, "Cyclic tempogram", 2010.

    Raises
    ------
    ConfigError
        If `slowest` and `fastest` (Hz) do not rise to less than half the rate of the curve.
    """

    waves: Tensor

    def __init__(
        self,
        grid: FrameGrid,
        pool: int = 8,
        window_seconds: float = 6.0,
        bands: int = 32,
        *,
        low: bool = True,
        slowest: float = 0.5,
        fastest: float = 5.0,
    ) -> None:
        super().__init__(grid, pool, window_seconds, bands, low=low)
        if not 0 < slowest < fastest < self.onsets.rate / 2:
            raise ConfigError(
                f"frequencies must rise from above 0 to less than {self.onsets.rate / 2:g} Hz, "
                f"got {slowest:g} to {fastest:g} Hz. Beats a minute?"
            )
        hertz = torch.logspace(math.log10(slowest), math.log10(fastest), bands).double()
        phase = 2 * math.pi * torch.arange(self.window)[:, None] * hertz / self.onsets.rate
        waves = torch.cat([phase.cos(), phase.sin()], dim=1)
        self.register_buffer("waves", waves.float(), persistent=False)

    def forward(self, sound: CleanAudio) -> Tensor:
        cosine, sine = (self.windows(sound) @ self.waves).chunk(2, dim=3)
        return torch.log10(1 + torch.hypot(cosine, sine)).flatten(2)


class BeatPulse(Target):
    """Predominant local pulse: 0 to about 1, high where a beat is expected.

    In a window around each sample of the onset curve, less its mean there, the strongest frequency
    of 0.5 to 5 Hz; the cosines of these, in their phases, overlapped and added, and what is
    negative dropped (Grosche and Müller, "Extracting predominant local pulse information from music
    recordings", 2011). Scaled so that windows which agree give 1; faint onsets fade.
    """

    size = 1
    slowest, fastest = 0.5, 5.0  # Hz

    def __init__(self, grid: FrameGrid, window_seconds: float = 3.0) -> None:
        super().__init__()
        self.onsets, self.stride = OnsetBands(grid), grid.stride
        self.window = 2 * round(window_seconds * self.onsets.rate / 2)  # curve samples
        self.reach = self.window / self.onsets.rate + self.onsets.reach

    def forward(self, sound: CleanAudio) -> Tensor:
        curve = self.onsets.curves(sound)[:, 0]
        hann = torch.hann_window(self.window, device=curve.device)
        spectrum, inside = (
            torch.stft(x, self.window, 1, window=hann, pad_mode="constant", return_complex=True)
            for x in (curve, torch.ones_like(curve[:1]))
        )
        spectrum = spectrum - spectrum[:, :1] / inside[:, :1] * inside
        hertz = torch.fft.rfftfreq(self.window, 1 / self.onsets.rate, device=curve.device)
        outside = (hertz < self.slowest) | (hertz > self.fastest)
        strength = spectrum.abs().masked_fill(outside[:, None], 0)
        strongest = strength.amax(dim=1, keepdim=True)
        chosen = spectrum * (strength == strongest) * (~outside)[:, None]
        unit = chosen / strongest.clamp(min=FAINT * self.window / 4)
        pulse = torch.istft(unit, self.window, 1, window=hann, length=curve.shape[1])
        pulse = (pulse * self.window * 3 / 8).clamp(min=0)[:, None]
        if self.onsets.factor > 1:
            pulse = F.interpolate(pulse, scale_factor=self.onsets.factor, mode="linear")
        return F.avg_pool1d(pulse[..., : sound.frames], self.stride).transpose(1, 2)


def _correlation(size: int, lags: Tensor) -> Tensor:
    """Return what turns a power spectrum of ``2 * size`` points into autocorrelation at `lags`."""
    frequencies = torch.arange(size + 1, dtype=torch.float64)[:, None] / (2 * size)
    cosines = torch.cos(2 * math.pi * frequencies * lags) / size
    cosines[[0, -1]] /= 2
    return cosines


def _lag_bands(centres: Tensor) -> Tensor:
    """Return weights of sum 1 in triangles around all centres but the first and last.

    Shape (lags, bands). A triangle reaches the neighbouring centres, but at least one lag.
    """
    lags = torch.arange(int(centres[-1]) + 2, dtype=torch.float64)[:, None]
    centre = centres[1:-1]
    below, above = (
        (centres[1:] - centres[:-1]).clamp(min=1)[part] for part in (slice(-1), slice(1, None))
    )
    weights = torch.minimum(1 + (lags - centre) / below, 1 - (lags - centre) / above).clamp(min=0)
    return weights / weights.sum(dim=0)
