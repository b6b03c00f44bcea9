"""Spectral targets: mel, linear, cepstral and gammatone; wrappers of other targets.

Powers are relative to a full-scale sine and compressed by `banks.compress`.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.errors import ConfigError
from musicssl_training.targets.banks import (
    FilterBank,
    MelBank,
    compress,
    frequencies,
    gammatone_filters,
)
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio, FrameGrid

DELTA_REACH = 4  # frames on each side of a slope


class Framewise(Target):
    """Base of what is measured in single spectra.

    Parameters
    ----------
    grid
        Where targets are measured.
    n_fft
        Samples of a spectrum.
    values
        Measured in each.
    once
        One spectrum an encoder frame, at its centre, instead of all of its target frames side by
        side: enough where windows are much longer than the encoder's hop.
    neighbours
        Spectra on each side on which a value depends.
    """

    def __init__(
        self, grid: FrameGrid, n_fft: int, values: int, *, once: bool, neighbours: int = 0
    ) -> None:
        super().__init__()
        self.n_fft, self.every = n_fft, grid.stride if once else 1
        side_by_side = grid.stride // self.every
        self.size = values * side_by_side
        between = neighbours * self.every + side_by_side - 1
        self.reach = n_fft / 2 / grid.sample_rate + between / grid.rate

    def power(self, sound: CleanAudio) -> Tensor:
        """Return the spectra, (batch, spectra, n_fft // 2 + 1)."""
        return sound.power(self.n_fft)[:, :: self.every]

    def join(self, values: Tensor) -> Tensor:
        """Join those of an encoder frame: (batch, spectra, values) to (batch, steps, size)."""
        return values.reshape(len(values), -1, self.size)


class LogMel(Framewise):
    """The compressed mel spectrum."""

    def __init__(
        self, grid: FrameGrid, n_mels: int = 64, n_fft: int = 1024, once: bool = False
    ) -> None:
        super().__init__(grid, n_fft, n_mels, once=once)
        self.bank = MelBank(grid, n_mels, n_fft)

    def forward(self, sound: CleanAudio) -> Tensor:
        return self.join(self.bank.log_power(sound, self.every))


class Lps(Framewise):
    """The compressed power spectrum, its bins averaged above some frequency.

    Parameters
    ----------
    grid
        Where targets are measured.
    n_fft
        Samples.
    bands
        At most as many values a frame; 0: every bin, ``n_fft // 2 + 1``.
    whole_below
        Hz below which bins stand alone; above, the means of groups of equal size.
    once
        As in `Framewise`.

    Raises
    ------
    ConfigError
        If more bins stand alone than `bands` allows.
    """

    def __init__(
        self,
        grid: FrameGrid,
        n_fft: int = 1024,
        bands: int = 128,
        whole_below: float = 500.0,
        once: bool = False,
    ) -> None:
        bins = frequencies(grid.sample_rate, n_fft)
        group, alone = 1, len(bins)
        if 0 < bands < len(bins):
            alone = int((bins < whole_below).sum())
            if alone >= bands:
                raise ConfigError(
                    f"{alone} bins lie below whole_below of {whole_below:g} Hz, more than "
                    f"the {bands} bands of which one must be left for those above."
                )
            group = -(-(len(bins) - alone) // (bands - alone))
        super().__init__(grid, n_fft, alone - (alone - len(bins)) // group, once=once)
        self.group, self.alone = group, alone

    def forward(self, sound: CleanAudio) -> Tensor:
        alone, above = self.power(sound).tensor_split([self.alone], dim=-1)
        whole = above.shape[-1] // self.group * self.group
        parts = [alone, torch.unflatten(above[..., :whole], -1, (-1, self.group)).mean(dim=-1)]
        if whole < above.shape[-1]:
            parts.append(above[..., whole:].mean(dim=-1, keepdim=True))
        return self.join(compress(torch.cat(parts, dim=-1)))


class Mfcc(Framewise):
    """Cepstral coefficients and their slopes: the orthonormal DCT-II of the `LogMel` spectrum.

    A frame's values are coefficients, first and second slopes (Davis and Mermelstein, "Comparison
    of parametric representations", 1980; Furui, "Speaker-independent isolated word recognition",
    1986).

    Parameters
    ----------
    grid
        Where targets are measured.
    count
        Coefficients.
    order
        0: no slopes; 1: the first; 2: first and second.
    n_mels, n_fft
        Of the mel spectrum.
    once
        As in `Framewise`; slopes then span encoder frames.

    Raises
    ------
    ConfigError
        If `order` or `count` is out of range.
    """

    basis: Tensor

    def __init__(
        self,
        grid: FrameGrid,
        count: int = 20,
        order: int = 1,
        n_mels: int = 64,
        n_fft: int = 1024,
        once: bool = False,
    ) -> None:
        neighbours = DELTA_REACH if order else 0
        super().__init__(grid, n_fft, count * (1 + order), once=once, neighbours=neighbours)
        if order not in {0, 1, 2}:
            raise ConfigError(f"order of slopes must be 0, 1 or 2, got {order}.")
        if not 0 < count <= n_mels:
            raise ConfigError(f"{n_mels} mel bands have 1 to {n_mels} coefficients, got {count}.")
        self.bank, self.order = MelBank(grid, n_mels, n_fft), order
        self.register_buffer("basis", _cosines(count, n_mels), persistent=False)

    def forward(self, sound: CleanAudio) -> Tensor:
        static = self.bank.log_power(sound, self.every) @ self.basis
        slopes = [slope(static, order) for order in range(1, self.order + 1)]
        return self.join(torch.cat([static, *slopes], dim=-1))


class Gammatone(Framewise):
    """The compressed power in gammatone bands from `low` Hz to Nyquist, equally spaced in ERB."""

    def __init__(
        self,
        grid: FrameGrid,
        bands: int = 64,
        n_fft: int = 1024,
        low: float = 50.0,
        once: bool = False,
    ) -> None:
        if not 0 < low < grid.sample_rate / 2:
            raise ConfigError(f"low must lie between 0 Hz and Nyquist, got {low:g} Hz.")
        super().__init__(grid, n_fft, bands, once=once)
        self.bank = FilterBank(gammatone_filters(grid.sample_rate, n_fft, bands, low))

    def forward(self, sound: CleanAudio) -> Tensor:
        return self.join(compress(self.bank(self.power(sound))))


class Waveform(Target):
    """The audio around each encoder frame's centre, one hop of it, over the excerpt's RMS.

    Step `i` holds the samples from ``(i - 1 / 2) * hop`` of the encoder on, zeros outside.
    Excerpts quieter than `floor` (RMS) are not amplified further.
    """

    def __init__(self, grid: FrameGrid, floor: float = 1e-3) -> None:
        super().__init__()
        self.floor = floor
        self.size = grid.stride * grid.hop
        self.reach = self.size / 2 / grid.sample_rate

    def forward(self, sound: CleanAudio) -> Tensor:
        level = sound.audio.square().mean(dim=1).sqrt().clamp(min=self.floor)
        return sound.slices(self.size, self.size) / level[:, None, None]


class Context(Target):
    """A target and its neighbours in time (Ravanelli et al., "Multi-task PASE", 2020).

    Step `t` holds the steps ``t - r // 2`` to ``t + r // 2`` of `target`, zeros beyond the ends:
    feature by feature, value ``feature * r + offset``.

    Raises
    ------
    ConfigError
        If `r` is not odd and positive.
    """

    def __init__(self, grid: FrameGrid, target: Target, r: int = 7) -> None:
        super().__init__()
        if r < 1 or r % 2 == 0:
            raise ConfigError(f"r must be odd and positive, got {r}.")
        self.target, self.r = target, r
        self.size, self.pool = target.size * r, target.pool
        self.reach = target.reach + r // 2 * target.pool * grid.stride / grid.rate

    def forward(self, sound: CleanAudio) -> Tensor:
        values: Tensor = self.target(sound)
        half = self.r // 2
        return F.pad(values, (0, 0, half, half)).unfold(1, self.r, 1).flatten(2)


def slope(values: Tensor, order: int) -> Tensor:
    """Return the derivative of `order` 1 or 2 along axis 1 of (batch, frames, n), a frame apart.

    That of the polynomial of that degree fitted to 9 frames (Savitzky and Golay, 1964); the ends
    are repeated.
    """
    t = torch.arange(-DELTA_REACH, DELTA_REACH + 1, dtype=values.dtype, device=values.device)
    shape = t if order == 1 else t.square() - t.square().mean()
    kernel = shape * (order / shape.square().sum())  # the leading coefficient, times order!
    n = values.shape[2]
    padded = F.pad(values.transpose(1, 2), (DELTA_REACH, DELTA_REACH), mode="replicate")
    return F.conv1d(padded, kernel.expand(n, 1, -1), groups=n).transpose(1, 2)


def _cosines(count: int, size: int) -> Tensor:
    """Return the first columns of the orthonormal DCT-II, shape (size, count)."""
    k, n = torch.arange(count, dtype=torch.float64), torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi * k * (2 * n[:, None] + 1) / (2 * size)) * math.sqrt(2 / size)
    basis[:, 0] /= math.sqrt(2)
    return basis.float()
