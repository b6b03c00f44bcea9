"""The convolutional trunk of PASE: sinc filters and strided convolutions on the waveform."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.exporting import is_exporting
from musicssl.frontends import SincFilters


class Trunk(nn.Module):
    """Waveform to the last block's frames, and to those of every block before, at one rate.

    No convolution pads: all hear the audio itself, with silence around it, so that a piece of a
    recording gives the frames of the whole. Among themselves the blocks are aligned as if each
    padded its input as PASE does.
    """

    def __init__(
        self,
        channels: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        sample_rate: int,
    ) -> None:
        super().__init__()
        sinc: nn.Module = SincFilters(channels[0], kernels[0], sample_rate, strides[0])
        convolutions = [
            nn.Conv1d(a, b, kernel, stride=stride)
            for (a, b), kernel, stride in zip(
                pairwise(channels), kernels[1:], strides[1:], strict=True
            )
        ]
        self.blocks = nn.ModuleList(
            nn.Sequential(filters, BatchNorm(width), nn.PReLU(width, init=0.0))
            for filters, width in zip([sinc, *convolutions], channels, strict=True)
        )
        self.hop = 1
        self.first: list[int] = []  # of each block's frames, that belonging to the output's first
        self.pooled: list[int] = []  # of each block's frames, how many make one of the output
        field, first = 1, 0
        for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
            self.first.insert(0, first)
            self.pooled.insert(0, self.hop)
            even = stride > 1 or kernel % 2 == 0
            first = first * stride + kernel // 2 - even
            field = (field - 1) * stride + kernel
            self.hop *= stride
        self.field = field  # samples that a frame of the last block hears

    @property
    def reach(self) -> int:
        """Samples that a frame hears on each side of its centre."""
        return self.field // 2

    def forward(self, audio: Tensor, frames: int) -> tuple[Tensor, list[Tensor]]:
        """Return what the blocks make of (batch, samples).

        Returns
        -------
        tuple of Tensor and list of Tensor
            The last block's output, (batch, frames, channels), and the mean over each frame of
            every other's, likewise.
        """
        left = (self.field - 1) // 2
        right = (frames - 1) * self.hop + self.field - left - audio.shape[1]
        audio = F.pad(audio, (left, right))
        if self.training or torch.is_grad_enabled() or is_exporting():
            return self._frames(audio, frames)
        block = max(1, (1024 if audio.device.type == "cpu" else 32_768) // len(audio))
        parts = []
        for i in range(0, frames, block):
            count = min(block, frames - i)
            stretch = audio[:, i * self.hop : (i + count - 1) * self.hop + self.field]
            parts.append(self._frames(stretch, count))
        last, pooled = zip(*parts, strict=True)
        return torch.cat(last, dim=1), [torch.cat(x, dim=1) for x in zip(*pooled, strict=True)]

    def _frames(self, x: Tensor, frames: int) -> tuple[Tensor, list[Tensor]]:
        """Return the same of audio that brings its neighbours along."""
        pooled = []
        for block, first, size in zip(self.blocks, self.first, self.pooled, strict=True):
            x = block(x)
            own = x[..., first : first + frames * size]
            pooled.append(own.view(*own.shape[:2], frames, size).mean(dim=3).transpose(1, 2))
        return x.transpose(1, 2), pooled[:-1]


class BatchNorm(nn.Module):
    """Batch normalisation of (batch, dim, frames), as in `torch.nn`.

    Without that one's count of batches, an integer that no checkpoint needs.
    """

    momentum = 0.1  # share of each batch in the running statistics
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int, *, affine: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim)) if affine else None
        self.bias = nn.Parameter(torch.zeros(dim)) if affine else None
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the batch in training, by the running statistics otherwise."""
        return F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training,
            momentum=self.momentum,
        )
