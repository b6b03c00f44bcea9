"""PASE and PASE+, and a variant that hears both ways: a convolutional trunk on the waveform.

PASE: Pascual et al., "Learning problem-agnostic speech representations from multiple
self-supervised tasks", 2019. PASE+: Ravanelli et al., "Multi-task self-supervised learning for
robust speech recognition", 2020. Shapes and parameter counts are those of the published
configurations. Two things differ, so that recordings can be streamed: around a recording there is
silence where they reflect each convolution's input, and the grid of frames lies 150 samples
earlier, so that frame ``i`` is centred on sample ``i * hop`` (to half a sample).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from musicssl.encoders.base import Encoder, EncoderConfig, State
from musicssl.encoders.qrnn import Qrnn
from musicssl.encoders.trunk import BatchNorm, Trunk
from musicssl.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class PaseConfig(EncoderConfig):
    """Shape of a `Pase`; the first of the blocks are sinc filters."""

    name: ClassVar[str] = "pase"
    sample_rate: int = 16_000  # Hz
    channels: tuple[int, ...] = (64, 64, 128, 128, 256, 256, 512, 512)
    kernels: tuple[int, ...] = (251, 20, 11, 11, 11, 11, 11, 11)
    strides: tuple[int, ...] = (1, 10, 2, 1, 2, 1, 2, 2)
    dim: int = 100

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.kernels) == len(self.strides) >= 2:
            raise ConfigError(
                "channels, kernels and strides must be equally many, at least two, got "
                f"{len(self.channels)}, {len(self.kernels)} and {len(self.strides)}."
            )
        if self.strides[0] != 1:
            raise ConfigError(f"the first of strides must be 1, got {self.strides[0]}.")
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            if not 1 <= stride <= -(-kernel // 2) + 1 or kernel < 3:
                raise ConfigError(
                    f"a kernel of {kernel} and a stride of {stride} leave gaps; kernels must be "
                    "at least 3, strides at most half of them and 1."
                )


@dataclass(frozen=True, kw_only=True)
class PasePlusConfig(PaseConfig):
    """Shape of a `PasePlus`."""

    name: ClassVar[str] = "pase_plus"
    dim: int = 256
    hidden: int = 512  # of the recurrent layer


@dataclass(frozen=True, kw_only=True)
class PaseBiConfig(PasePlusConfig):
    """Shape of a `PaseBi`; each direction has half of `hidden`."""

    name: ClassVar[str] = "pase_bi"
    floor: float = 1 / 64  # of the forget gates: how much of each frame is at least taken in

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % 2:
            raise ConfigError(f"hidden must be even, got {self.hidden}.")
        if not 0 < self.floor < 1:
            raise ConfigError(f"floor must lie between 0 and 1, got {self.floor}.")


class Pase(Encoder):
    """Frames of 10 ms that hear 74 ms to each side; one layer."""

    def __init__(self, config: PaseConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config.channels, config.kernels, config.strides, config.sample_rate)
        self.project = nn.Linear(config.channels[-1], config.dim)
        self.norm = BatchNorm(config.dim, affine=False)
        self.sample_rate, self.hop = config.sample_rate, self.trunk.hop
        self.context, self.dim, self.n_layers = self.trunk.reach, config.dim, 1

    def forward(self, audio: Tensor, samples: Tensor | None = None) -> list[Tensor]:
        x, _ = self.trunk(audio, self.frames(audio.shape[1]))
        return [self.norm(self.project(x).transpose(1, 2)).transpose(1, 2)]


class _Dense(Encoder):
    """Common to those with skips: what comes before and after the recurrent layer."""

    def __init__(self, config: PasePlusConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config.channels, config.kernels, config.strides, config.sample_rate)
        self.skips = nn.ModuleList(
            nn.Linear(channels, config.dim, bias=False) for channels in config.channels[:-1]
        )
        self.project = nn.Linear(config.hidden, config.dim)
        self.norm = BatchNorm(config.dim, affine=False)
        self.sample_rate, self.hop = config.sample_rate, self.trunk.hop
        self.context, self.dim = self.trunk.reach, config.dim
        self.n_layers = len(config.channels)

    def _joined(self, x: Tensor, pooled: list[Tensor]) -> list[Tensor]:
        """Return the layers, from the recurrent layer's output and the other blocks' frames."""
        layers = [skip(y) for skip, y in zip(self.skips, pooled, strict=True)]
        total = torch.stack([self.project(x), *layers]).sum(dim=0)
        return [*layers, self.norm(total.transpose(1, 2)).transpose(1, 2)]


class PasePlus(_Dense):
    """Frames of 10 ms that hear 74 ms ahead and, through a recurrent layer, everything before.

    The layers are the projected skips of the first seven blocks, and the output: their sum with
    the projected recurrent layer, normalised.
    """

    def __init__(self, config: PasePlusConfig) -> None:
        super().__init__(config)
        self.recurrent = Qrnn(config.channels[-1], config.hidden)
        self.memory = self.recurrent.memory

    def forward(self, audio: Tensor, samples: Tensor | None = None) -> list[Tensor]:
        x, pooled = self.trunk(audio, self.frames(audio.shape[1]))
        return self._joined(self.recurrent(x), pooled)

    def resume(self, audio: Tensor, samples: Tensor | None, state: State) -> list[Tensor]:
        x, pooled = self.trunk(audio, self.frames(audio.shape[1]))
        return self._joined(self.recurrent.resume(x, state), pooled)


class PaseBi(_Dense):
    """Our own variant of `PasePlus`, not of its authors: the recurrence runs both ways.

    It has as many parameters, and the same layers.

    Its forget gates have a floor, 1/64 by default, so that what lies `n` frames away counts at
    most ``(1 - floor) ** n`` in the recurrent layer. `context` ends where that is a millionth:
    8.9 s by default. So it needs no memory, and its frames of a stretch differ from those of the
    whole by less than `chunk_error`: by 1e-6 with all gates at their floor, the worst case, and
    the rest is room for weights whose projection magnifies.
    """

    neglected = 1e-6
    chunk_error = 1e-4

    def __init__(self, config: PaseBiConfig) -> None:
        super().__init__(config)
        inputs, hidden = config.channels[-1], config.hidden // 2
        self.onward = Qrnn(inputs, hidden, config.floor)
        self.returning = Qrnn(inputs, hidden, config.floor)
        margin = math.ceil(math.log(self.neglected) / math.log1p(-config.floor))
        self.context += margin * self.hop

    def forward(self, audio: Tensor, samples: Tensor | None = None) -> list[Tensor]:
        x, pooled = self.trunk(audio, self.frames(audio.shape[1]))
        inside = None
        if samples is not None:
            index = torch.arange(x.shape[1], device=x.device)
            inside = (index < -(-samples.to(x.device)[:, None] // self.hop)).flip(1)
        back = x.flip(1) if inside is None else x.flip(1) * inside[..., None]
        back = self.returning(back, inside).flip(1)
        return self._joined(torch.cat([self.onward(x), back], dim=2), pooled)
