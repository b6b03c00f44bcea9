"""Audio through band-pass filters whose edges are learned."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.constant_buffers import ConstantBuffers
from musicssl.errors import ConfigError
from musicssl.exporting import is_exporting
from musicssl.frontends.constants import constant_device
from musicssl.frontends.mel import mel_frequencies


class SincFilters(ConstantBuffers):
    """Windowed-sinc band-pass filters, two parameters each, always in 32-bit floats.

    A band reaches from ``50 + |low_hz|`` Hz to 50 Hz and ``|band_hz|`` more, but not beyond the
    Nyquist frequency. The edges begin equally spaced on the mel scale from 30 Hz to 100 Hz below
    Nyquist [1]_.

    References
    ----------
    .. [1] Ravanelli and Bengio, "Speaker recognition from raw waveform with SincNet", 2018.
    """

    least_hz = 50.0  # of a band's lower edge, and of its width
    block = 1600  # samples at a time
    times: Tensor  # (kernel // 2,), seconds before the centre of a kernel
    window: Tensor  # (kernel // 2,), the first half of a Hamming window

    def __init__(self, filters: int, kernel: int, sample_rate: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        if kernel % 2 == 0:
            raise ConfigError(f"the kernel of sinc filters must be odd, got {kernel}.")
        self.nyquist = sample_rate / 2
        half = kernel // 2
        with constant_device():
            edges = mel_frequencies(filters + 1, 30.0, self.nyquist - 2 * self.least_hz)
            times = torch.arange(-half, 0, dtype=torch.float64) / sample_rate
            window = torch.hamming_window(kernel, periodic=False, dtype=torch.float64)[:half]
        self.low_hz = nn.Parameter(edges[:-1].float())
        self.band_hz = nn.Parameter(edges.diff().float())
        self.register_buffer("times", times.float(), persistent=False)
        self.register_buffer("window", window.float(), persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        """Filter (batch, samples) to (batch, filters, (samples - kernel) // stride + 1)."""
        with torch.autocast(audio.device.type, enabled=False):
            out = self._convolve(audio.float(), self.kernels()[:, None])
            return out.to(self.low_hz.dtype)

    def _convolve(self, audio: Tensor, kernels: Tensor) -> Tensor:
        """Return (batch, filters, (samples - kernel) // stride + 1).

        A CPU's convolution adds in another order for another length; filters that hear little of
        a sound show it. Blocks of one length give the same values whatever the length of the
        audio, and stay in the cache.
        """
        if audio.device.type != "cpu" or is_exporting():
            return F.conv1d(audio[:, None], kernels, stride=self.stride)
        batch, overlap = len(audio), kernels.shape[2] - 1
        wanted = (audio.shape[1] - overlap - 1) // self.stride + 1
        count = max(1, self.block // self.stride)  # outputs of a block
        blocks = -(-wanted // count)
        step = count * self.stride
        padded = F.pad(audio, (0, blocks * step + overlap - audio.shape[1]))
        pieces = padded.unfold(1, step + overlap, step).flatten(0, 1)
        out = F.conv1d(pieces[:, None], kernels, stride=self.stride)
        out = out.view(batch, blocks, len(kernels), count)
        return out.transpose(1, 2).flatten(2)[..., :wanted]

    def bands(self) -> tuple[Tensor, Tensor]:
        """Return the lower and the upper edge of every band in Hz, each (filters,)."""
        low = self.least_hz + self.low_hz.float().abs()
        high = (low + self.least_hz + self.band_hz.float().abs()).clamp(self.least_hz, self.nyquist)
        return low, high

    def kernels(self) -> Tensor:
        """Return the impulse responses, (filters, kernel), 1 at their centres."""
        low, high = (edge[:, None] for edge in self.bands())
        turn = 2 * math.pi * self.times
        left = (torch.sin(high * turn) - torch.sin(low * turn)) / (math.pi * self.times)
        left = left * self.window / (2 * (high - low))
        return torch.cat([left, torch.ones_like(low), left.flip(1)], dim=1)
