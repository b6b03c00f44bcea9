"""PASE and PASE+ on the waveform, and a variant that hears both ways, by attention.

PASE: Pascual et al., "Learning problem-agnostic speech representations from multiple
self-supervised tasks", 2019. PASE+: Ravanelli et al., "Multi-task self-supervised learning for
robust speech recognition", 2020. Shapes and parameter counts are those of the published
configurations. Two things differ, so that recordings can be streamed: around a recording there is
silence where they reflect each convolution's input, and the grid of frames lies 150 samples
earlier, so that frame ``i`` is centred on sample ``i * hop`` (to half a sample).
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from musicssl.config import Length, Range
from musicssl.encoders.base import Encoder, EncoderConfig, Features, State
from musicssl.encoders.pase.attention import LocalAttention, within
from musicssl.encoders.pase.qrnn import Qrnn
from musicssl.encoders.pase.trunk import BatchNorm, Trunk
from musicssl.errors import ConfigError, shown

Size = Annotated[int, Range(1, 32_768)]
Blocks = Length(2, 32)
SINC_STRIDE = 8  # at most; beyond, the bands of the sinc filters fold onto one another
FIELD = 2**20  # samples that the convolutions hear, at most
ANGLES = 2**24  # values that the attention's positions take, at most


@dataclass(frozen=True, kw_only=True)
class PaseConfig(EncoderConfig):
    """Shape of a `Pase`; the first of the blocks are sinc filters.

    Strides of (2, 5, 2, 1, 2, 1, 2, 2) or (4, 5, 1, 1, 2, 1, 2, 2) have the same frames for less
    computing: nearly all of it is done before the samples are thinned out.
    """

    name: ClassVar[str] = "pase"
    sample_rate: Annotated[int, Range(1000, 1_000_000)] = 16_000  # Hz
    channels: Annotated[tuple[Size, ...], Blocks] = (64, 64, 128, 128, 256, 256, 512, 512)
    kernels: Annotated[tuple[Size, ...], Blocks] = (251, 20, 11, 11, 11, 11, 11, 11)
    strides: Annotated[tuple[Size, ...], Blocks] = (1, 10, 2, 1, 2, 1, 2, 2)
    dim: Size = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if not len(self.channels) == len(self.kernels) == len(self.strides) >= 2:
            raise ConfigError(
                "channels, kernels and strides must be equally many, at least two, got "
                f"{len(self.channels)}, {len(self.kernels)} and {len(self.strides)}."
            )
        if self.strides[0] > SINC_STRIDE:
            raise ConfigError(
                f"the first of strides must be 1 to {SINC_STRIDE}, got {self.strides[0]}."
            )
        for kernel, stride in zip(self.kernels, self.strides, strict=True):
            if not 1 <= stride <= -(-kernel // 2) + 1 or kernel < 3:
                raise ConfigError(
                    f"a kernel of {kernel} and a stride of {stride} leave gaps; kernels must be "
                    "at least 3, strides at most half of them and 1."
                )
        field = 1
        for kernel, stride in zip(reversed(self.kernels), reversed(self.strides), strict=True):
            field = (field - 1) * stride + kernel
        if field > FIELD:
            raise ConfigError(
                f"kernels and strides hear {shown(field)} samples; {FIELD:,} are allowed."
            )


@dataclass(frozen=True, kw_only=True)
class PasePlusConfig(PaseConfig):
    """Shape of a `PasePlus`."""

    name: ClassVar[str] = "pase_plus"
    dim: Size = 256
    hidden: Size = 512  # of the recurrent layer


@dataclass(frozen=True, kw_only=True)
class PaseAttentionConfig(PasePlusConfig):
    """Shape of a `PaseAttention`."""

    name: ClassVar[str] = "pase_attention"
    hidden: Size = 256  # of the attention layers
    attention_layers: Annotated[int, Range(1, 64)] = 2
    heads: Annotated[int, Range(1, 1024)] = 4
    window: Annotated[int, Range(1, 4096)] = 200  # frames that a layer hears to each side

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % (2 * self.heads):
            raise ConfigError(
                f"hidden must be a multiple of 2 * heads, got {self.hidden} and {self.heads}."
            )
        angles = 3 * self.window * self.hidden // (2 * self.heads) * self.attention_layers
        if angles > ANGLES:
            raise ConfigError(
                f"window, hidden and attention_layers ask for {angles:,} angles; {ANGLES:,} are "
                "allowed."
            )


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

    def encode(self, features: Features, last: int | None = None) -> list[Tensor]:
        (audio,) = features.values
        x, _ = self.trunk(audio, self.frames(audio.shape[1]))
        return [self.norm(self.project(x).transpose(1, 2)).transpose(1, 2)]


class _Dense(Encoder):
    """Common to those with skips: what comes before and after the layers that hear further."""

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
        """Return the layers, from what is to be projected and the other blocks' frames."""
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

    def encode(self, features: Features, last: int | None = None) -> list[Tensor]:
        (audio,) = features.values
        x, pooled = self.trunk(audio, self.frames(audio.shape[1]))
        return self._joined(self.recurrent(x), pooled)

    def resume(
        self, audio: Tensor, samples: Tensor | None, state: State, last: int | None = None
    ) -> tuple[list[Tensor], Tensor]:
        x, pooled = self.trunk(audio, self.frames(audio.shape[1]))
        x, after = self.recurrent.resume(x, state)
        return self._joined(x, pooled), after


class PaseAttention(_Dense):
    """Our own variant of `PasePlus`, not of its authors: attention instead of recurrence.

    Frames of 10 ms that hear 4.1 s to each side: two layers of attention, 2 s each, and 74 ms.
    The context is exact, so nothing has to be remembered. The layers are those of `PasePlus`.
    """

    def __init__(self, config: PaseAttentionConfig) -> None:
        super().__init__(config)
        self.window = config.window
        self.enter = nn.Linear(config.channels[-1], config.hidden)
        self.attention = nn.ModuleList(
            LocalAttention(config.hidden, config.heads, config.window)
            for _ in range(config.attention_layers)
        )
        self.context += config.attention_layers * config.window * self.hop

    def encode(self, features: Features, last: int | None = None) -> list[Tensor]:
        (audio,) = features.values
        x, pooled = self.trunk(audio, self.frames(audio.shape[1]))
        inside = features.inside
        if inside is None:
            inside = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        allowed = within(inside, self.window)
        x = self.enter(x)
        for layer in self.attention:
            x = layer(x, allowed)
        return self._joined(x, pooled)
