"""The flagship: a thin 2-D stem over pitch, a mel path, and dilated depthwise-separable blocks."""

import itertools
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.config import Length, Range
from musicssl.encoders.base import Encoder, EncoderConfig, Features
from musicssl.errors import ConfigError, shown
from musicssl.exporting import is_exporting
from musicssl.frontends import DualSpectrum, DualSpectrumConfig, Spectra

Size = Annotated[int, Range(1, 32_768)]
REACH = 16_384  # frames heard to each side, at most


@dataclass(frozen=True, kw_only=True)
class DilatedConfig(EncoderConfig):
    """Shape of a `Dilated`."""

    name: ClassVar[str] = "dilated"
    spectrum: DualSpectrumConfig = field(default_factory=DualSpectrumConfig)
    pitch_channels: tuple[Size, ...] = (16, 24)
    pitch_every: Annotated[int, Range(1, 2)] = 1  # 2: one spectrum for pitch a frame, not two
    mel_channels: Size = 128
    dim: Size = 256
    inner: Size = 768
    kernel: Annotated[int, Range(1, 1023)] = 9  # frames
    dilations: Annotated[tuple[Size, ...], Length(1, 255)] = (1, 2, 4, 8, 1, 2, 4, 8)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel % 2 == 0:
            raise ConfigError(f"kernel must be odd, got {self.kernel}.")
        if len(self.pitch_channels) != 2:
            raise ConfigError(f"pitch_channels must be two, got {shown(self.pitch_channels)}.")
        reach = self.kernel // 2 * sum(self.dilations)
        if reach > REACH:
            raise ConfigError(
                f"kernel and dilations reach {reach:,} frames to each side; {REACH:,} are allowed."
            )


class Dilated(Encoder):
    """Two frames of 20 ms make one of 40 ms; ± 4.8 s of them are heard at the defaults."""

    stride = 2  # spectra a frame

    def __init__(self, config: DilatedConfig) -> None:
        super().__init__()
        self.config = config
        self.spectrum = DualSpectrum(config.spectrum)
        self.stem = Stem(config)
        self.blocks = nn.ModuleList(Block(config, dilation) for dilation in config.dilations)
        self.norm = nn.LayerNorm(config.dim)
        self.sample_rate = config.spectrum.sample_rate
        self.hop = self.stride * config.spectrum.hop
        self.dim = config.dim
        self.n_layers = len(config.dilations) + 1
        trunk = config.kernel // 2 * sum(config.dilations) * self.hop
        reach = Stem.reach * config.pitch_every * config.spectrum.hop
        self.context = trunk + reach + self.spectrum.reach

    @property
    def spectrogram(self) -> DualSpectrum:
        return self.spectrum

    def features(self, audio: Tensor) -> Spectra:
        spectra = self.stride * self.frames(audio.shape[-1])
        return self.spectrum(audio, spectra, self.config.pitch_every)

    def encode(self, features: Features, last: int | None = None) -> list[Tensor]:
        spectra, mask, every = Spectra(*features.values), features.inside, self.config.pitch_every
        if every > 1 and spectra.pitch.shape[2] == spectra.mel.shape[2]:  # training has them all
            spectra = Spectra(spectra.pitch[..., ::every], spectra.mel)
        if mask is not None:
            inside = mask.repeat_interleave(self.stride, dim=1)[:, None]
            spectra = Spectra(spectra.pitch * inside[..., ::every], spectra.mel * inside)
        x = self.stem(spectra)
        layers = [x]
        for block in itertools.islice(self.blocks, last):
            x = block(x if mask is None else x * mask[..., None])
            layers.append(x)
        if len(layers) == self.n_layers:
            layers[-1] = self.norm(x)
        return layers


class Stem(nn.Module):
    """Spectra to frames: (batch, bands, 2 * frames) twice to (batch, frames, dim)."""

    reach = 2  # spectra for pitch heard on each side of the frame's own
    block = 512  # frames at a time over the batch: the work stays in the processor's cache

    def __init__(self, config: DilatedConfig) -> None:
        super().__init__()
        first, second = config.pitch_channels
        self.step = Dilated.stride // config.pitch_every  # spectra for pitch a frame
        self.pitch_1 = nn.Conv2d(1, first, 5, stride=(1, self.step), padding=(2, 0))
        self.pitch_2 = nn.Conv2d(first, second, (5, 1), stride=(2, 1), padding=(2, 0))
        self.pitch_out = nn.Linear(-(-config.spectrum.pitch_bands // 2) * second, config.dim)
        self.mel = nn.Conv1d(config.spectrum.mels, config.mel_channels, 3, stride=Dilated.stride)
        self.mel_out = nn.Linear(config.mel_channels, config.dim)
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, spectra: Spectra) -> Tensor:
        frames = spectra.mel.shape[2] // Dilated.stride
        kind = self.pitch_out.weight.dtype  # the spectra are always in fp32
        pitch = F.pad(spectra.pitch.to(kind), (2, 2))[:, None]
        mel = F.pad(spectra.mel.to(kind), (1, 1))
        if torch.is_grad_enabled() or mel.device.type != "cpu" or is_exporting():
            return self._frames(pitch, mel)
        block = max(1, self.block // len(mel))
        parts = []
        for first in range(0, frames, block):
            last = min(first + block, frames)
            heard = pitch[..., first * self.step : (last - 1) * self.step + 5]
            start, stop = first * Dilated.stride, last * Dilated.stride
            parts.append(self._frames(heard, mel[..., start : stop + 1]))
        return torch.cat(parts, dim=1)

    def _frames(self, pitch: Tensor, mel: Tensor) -> Tensor:
        """Return the frames of spectra that bring their neighbours along."""
        pitch = F.gelu(self.pitch_1(pitch))
        pitch = F.gelu(self.pitch_2(pitch))  # (batch, second, bands / 2, frames)
        pitch = self.pitch_out(pitch.permute(0, 3, 1, 2).flatten(2))
        mel = self.mel_out(F.gelu(self.mel(mel)).transpose(1, 2))
        return self.norm(pitch + mel)


class Block(nn.Module):
    """Residual: dilated depthwise convolution, LayerNorm, two dense layers (as in ConvNeXt)."""

    def __init__(self, config: DilatedConfig, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.depthwise = nn.Conv1d(config.dim, config.dim, config.kernel, groups=config.dim)
        self.norm = nn.LayerNorm(config.dim)
        self.expand = nn.Linear(config.dim, config.inner)
        self.reduce = nn.Linear(config.inner, config.dim)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.reduce(F.gelu(self.expand(self.norm(self._convolve(x)))))

    def _convolve(self, x: Tensor) -> Tensor:
        """Convolve along the frames of (batch, frames, dim).

        Frames ``dilation`` apart become neighbours in a (frames / dilation, dilation) picture:
        an undilated convolution over it is the dilated one, and in this memory layout it runs
        several times faster on a CPU than `conv1d` with a dilation.
        """
        if is_exporting():
            return self._convolve_in_one(x)
        batch, frames, dim = x.shape
        rows = -(-frames // self.dilation)
        x = F.pad(x, (0, 0, 0, rows * self.dilation - frames))
        picture = x.view(batch, rows, self.dilation, dim).permute(0, 3, 1, 2)
        weight = self.depthwise.weight[..., None]
        padding = (weight.shape[2] // 2, 0)
        picture = F.conv2d(picture, weight, self.depthwise.bias, padding=padding, groups=dim)
        return picture.permute(0, 2, 3, 1).reshape(batch, rows * self.dilation, dim)[:, :frames]

    def _convolve_in_one(self, x: Tensor) -> Tensor:
        """Do so where the number of frames is free."""
        weight, bias, step = self.depthwise.weight, self.depthwise.bias, self.dilation
        padding = step * (weight.shape[2] // 2)
        out = F.conv1d(x.transpose(1, 2), weight, bias, 1, padding, step, len(weight))
        return out.transpose(1, 2)
