"""Waveform reconstruction: decode the clean audio from the encoder's frames."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.errors import ConfigError
from musicssl_training.distributed import mean_over_all
from musicssl_training.targets.features import FrameGrid
from musicssl_training.workers.base import NO_EXTRAS, Batch, Extras, Worker, WorkerConfig

CHANNELS = (512, 256, 128)
KERNEL = 30  # samples of each layer's output, at least
QUIETEST = 1e-3  # RMS below which an excerpt is not raised further
TRANSFORMS = (512, 1024, 2048)  # samples
KNEE = 1e-2  # magnitude, relative to a sine of RMS 1, below which the logarithm flattens


@dataclass(frozen=True, kw_only=True)
class WaveformConfig(WorkerConfig):
    """Decoder, and how much of a batch is decoded."""

    name: str = "waveform"
    seconds: float = 1.0  # of the stretch, the same for all rows of a batch
    rows: int = 2  # excerpts of a batch that are decoded, at most; drawn at random
    channels: tuple[int, ...] = CHANNELS  # of the three transposed convolutions

    def __post_init__(self) -> None:
        if len(self.channels) != 3 or min(self.channels) < 1:
            raise ConfigError(
                f"workers.{self.name}.channels must be three of 1 or more, got {self.channels}."
            )
        if self.rows < 1 or self.seconds <= 0:
            raise ConfigError(
                f"workers.{self.name}: rows must be at least 1 and seconds positive, got "
                f"{self.rows} and {self.seconds}."
            )


def strides(hop: int) -> tuple[int, int, int]:
    """Return three factors of `hop`, the smallest first, as alike as can be.

    Examples
    --------
    >>> strides(160), strides(882)
    ((4, 4, 10), (7, 9, 14))
    """
    if hop == 160:
        return 4, 4, 10  # PASE's own
    found = [
        (a, b, hop // (a * b))
        for a in range(1, math.isqrt(hop) + 1)
        if hop % a == 0
        for b in range(a, math.isqrt(hop // a) + 1)
        if hop // a % b == 0
    ]
    return min(found, key=sum)


class Decoder(nn.Module):
    """Frames (batch, frames, dim) to samples (batch, frames * hop): PASE's waveform worker.

    Transposed convolutions (512, 256 and 128 channels of 30 taps, or twice a stride that is
    longer) with PReLU, which begins as a ReLU, then a perceptron on each sample; Pascual et al.,
    2019.
    """

    def __init__(self, dim: int, hop: int, channels: tuple[int, ...] = CHANNELS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = dim
        for size, stride in zip(channels, strides(hop), strict=True):
            kernel = max(KERNEL, 2 * stride)
            kernel += (kernel - stride) % 2  # as many samples beyond on either side
            layers += [
                nn.ConvTranspose1d(inputs, size, kernel, stride, (kernel - stride) // 2),
                nn.PReLU(size, init=0.0),
            ]
            inputs = size
        self.upsample = nn.Sequential(*layers)
        self.last = nn.Linear(64, 1)
        self.head = nn.Sequential(nn.Linear(inputs, 64), nn.PReLU(), self.last)

    def forward(self, frames: Tensor) -> Tensor:
        out: Tensor = self.head(self.upsample(frames.transpose(1, 2)).transpose(1, 2))
        return out[..., 0]


class Waveform(Worker):
    """Mean absolute error of the clean waveform, its excerpt's RMS being 1, in a random stretch.

    The decoder works at the audio's own rate and costs more than all other workers together:
    only some excerpts of a batch are decoded.

    The error is divided by that of silence, so that the loss starts at 1 and a decoder that has
    collapsed to silence, to which an absolute error invites, shows as 1.
    """

    config: WaveformConfig

    def __init__(self, config: WaveformConfig, dim: int, grid: FrameGrid) -> None:
        super().__init__(config, dim, grid)
        self.hop = grid.hop * grid.stride
        self.frames = max(1, round(config.seconds * grid.sample_rate / self.hop))
        self.decoder = Decoder(dim, self.hop, config.channels)
        nn.init.zeros_(self.decoder.last.bias)
        self.begin()

    def begin(self) -> None:
        """Let the decoder begin with silence."""
        nn.init.zeros_(self.decoder.last.weight)

    def loss(self, frames: Tensor, batch: Batch, extras: Extras = NO_EXTRAS) -> Tensor:
        return self.distance(*self.stretch(frames, batch))

    def stretch(self, frames: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return what is heard in some frames and what should be, (rows, samples) each.

        Frame ``i`` stands for the samples from ``i * hop - hop // 2`` on.
        """
        order = torch.randperm(len(frames), generator=batch.random)
        chosen = order[: self.config.rows].sort().values.to(frames.device)
        frames, audio = frames[chosen], batch.sound.audio[chosen]
        level = audio.square().mean(dim=1, keepdim=True).sqrt()
        count = min(self.frames, frames.shape[1])
        first = int(torch.randint(frames.shape[1] - count + 1, (), generator=batch.random))
        guess = self.decoder(frames[:, first : first + count]).float()
        padded = F.pad(audio, (self.hop // 2, self.hop))
        target = padded[:, first * self.hop : (first + count) * self.hop]
        return guess[:, : target.shape[1]], target / level.clamp(min=QUIETEST)

    def distance(self, guess: Tensor, target: Tensor) -> Tensor:
        """Return the error of `guess`, 1 for silence."""
        silent = target.abs().sum().clamp(min=1e-3 * target.numel())
        return mean_over_all((guess - target).abs().sum(), silent)


class WaveformSpectra(Waveform):
    """Magnitudes of three short-time transforms of the clean waveform, in a random stretch.

    The mean over excerpts and resolutions of spectral convergence and of the error in log
    magnitude, after [1]_; here the latter is divided by that of silence, so that both start near 1,
    and the logarithm flattens 40 dB below a sine of RMS 1. Phase, which frames of tens of
    milliseconds cannot tell, does not count.

    References
    ----------
    .. [1] Yamamoto, Song and Kim, "Parallel WaveGAN: A fast waveform generation model based on
       generative adversarial networks with multi-resolution spectrogram", 2020.
    """

    def begin(self) -> None:
        """Let the decoder begin with almost silence: magnitudes have no slope at 0."""
        nn.init.normal_(self.decoder.last.weight, std=0.02)

    def distance(self, guess: Tensor, target: Tensor) -> Tensor:
        with torch.autocast(guess.device.type, enabled=False):
            parts = [self._at(guess, target, n_fft) for n_fft in TRANSFORMS]
        return torch.stack(parts).mean()

    @staticmethod
    def _at(guess: Tensor, target: Tensor, n_fft: int) -> Tensor:
        heard, wanted = _magnitude(guess, n_fft), _magnitude(target, n_fft)
        floor = 1e-3 * math.sqrt(wanted[0].numel())
        far, whole = (wanted - heard).flatten(1).norm(dim=1), wanted.flatten(1).norm(dim=1)
        convergence = (far / whole.clamp(min=floor)).mean()
        loud_heard, loud = torch.log1p(heard / KNEE), torch.log1p(wanted / KNEE)
        silent = loud.sum().clamp(min=1e-3 * loud.numel())
        error = mean_over_all((loud - loud_heard).abs().sum(), silent)
        loss: Tensor = 0.5 * (convergence + error)
        return loss


def _magnitude(audio: Tensor, n_fft: int) -> Tensor:
    """Return magnitudes in Hann windows, (batch, bins, spectra); a sine of RMS 1 gives 1."""
    window = torch.hann_window(n_fft, device=audio.device)
    window = window * (math.sqrt(2) / window.sum())
    audio = F.pad(audio, (n_fft // 2, n_fft // 2))
    spectrum = torch.stft(
        audio, n_fft, n_fft // 4, window=window, center=False, return_complex=True
    )
    out: Tensor = (spectrum.real.square() + spectrum.imag.square() + 1e-10).sqrt()
    return out
