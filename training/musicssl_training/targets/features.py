"""Clean audio of a batch, its frame grid, and cached spectra that several targets share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.encoders import Encoder

FINEST_SECONDS = 0.015  # between target frames, where the encoder's are further apart


@dataclass(frozen=True)
class FrameGrid:
    """Time grid of the targets: frame ``j`` is centred on sample ``j * hop``."""

    sample_rate: int  # Hz
    hop: int  # samples
    stride: int = 1  # target frames an encoder frame

    @property
    def rate(self) -> float:
        """Target frames a second."""
        return self.sample_rate / self.hop

    def join(self, values: Tensor) -> Tensor:
        """Put the values of an encoder frame's target frames side by side.

        (batch, frames, n) to (batch, frames / stride, stride * n).
        """
        batch, frames, n = values.shape
        return values.reshape(batch, frames // self.stride, self.stride * n)

    def reach(self, size: int, frames: int = 0) -> float:
        """Return the seconds that an encoder frame's values hear on each side of its centre.

        They are measured in windows of `size` samples, and look at `frames` further windows.
        """
        return (size / 2 + (self.stride - 1 + frames) * self.hop) / self.sample_rate


def make_grid(encoder: Encoder) -> FrameGrid:
    """Return the finest grid that divides the encoder's hop into steps of at least 15 ms.

    An encoder whose own frames are closer keeps them.
    """
    strides = [
        k
        for k in range(1, encoder.hop + 1)
        if encoder.hop % k == 0 and encoder.hop / k >= FINEST_SECONDS * encoder.sample_rate
    ]
    stride = max(strides, default=1)
    return FrameGrid(encoder.sample_rate, encoder.hop // stride, stride)


def averaged(frames: Tensor, pool: int) -> Tensor:
    """Return means of `pool` frames: (batch, frames, dim) to (batch, frames // pool, dim)."""
    batch, count, dim = frames.shape
    steps = count // pool
    return frames[:, : steps * pool].reshape(batch, steps, pool, dim).mean(dim=2)


class CleanAudio:
    """Clean excerpts of equal length, in fp32; whatever is asked of them is computed once.

    Attributes
    ----------
    audio
        Shape (batch, samples), in [-1, 1].
    grid
        Where targets are measured.
    frames
        Target frames: `grid.stride` times the encoder's.
    """

    def __init__(self, audio: Tensor, grid: FrameGrid) -> None:
        self.audio, self.grid = audio.float(), grid
        self.frames = grid.stride * -(-audio.shape[1] // (grid.hop * grid.stride))
        self._cache: dict[object, Tensor] = {}

    def cached(self, key: object, make: Callable[[], Tensor]) -> Tensor:
        """Return what `make` gives, called only the first time that `key` is asked for."""
        if key not in self._cache:
            with torch.no_grad(), torch.autocast(self.audio.device.type, enabled=False):
                self._cache[key] = make()
        return self._cache[key]

    def slices(self, size: int, hop: int | None = None) -> Tensor:
        """Return a view of the audio around each frame, (batch, frames, size); zeros outside.

        Slice ``j`` holds the samples from ``j * hop - size // 2`` on.
        """
        hop = hop or self.grid.hop
        frames = self.frames * self.grid.hop // hop
        right = (frames - 1) * hop + size - size // 2 - self.audio.shape[1]
        padded = F.pad(self.audio, (size // 2, max(0, right)))
        slices: Tensor = padded.unfold(1, size, hop)[:, :frames]
        return slices

    def spectrum(self, n_fft: int) -> Tensor:
        """Return complex spectra in a periodic Hann window, (batch, frames, n_fft // 2 + 1).

        A full-scale sine on a bin gives 1.
        """

        def make() -> Tensor:
            window = torch.hann_window(n_fft, device=self.audio.device)
            out: Tensor = torch.fft.rfft(self.slices(n_fft) * (window * (2 / window.sum())))
            return out

        return self.cached(("spectrum", n_fft), make)

    def power(self, n_fft: int) -> Tensor:
        """Return the power of `spectrum`, (batch, frames, n_fft // 2 + 1).

        Multiply by ``(n_fft / 4) ** 2`` for that of an unscaled transform such as librosa's.
        """

        def make() -> Tensor:
            spectrum = self.spectrum(n_fft)
            return spectrum.real.square().add_(spectrum.imag.square())

        return self.cached(("power", n_fft), make)
