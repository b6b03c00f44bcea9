"""musicnn: tags of music, by networks whose filters have the shapes of timbre and of tempo [1]_.

Written anew after the paper and the shapes of the published weights, which are read from the
package ``musicnn`` without TensorFlow.

References
----------
.. [1] Pons and Serra, "musicnn: Pre-trained convolutional neural networks for music audio
   tagging", 2019.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.errors import ModelError
from musicssl_training.teachers.base import Facts, package_folder, sha256_of
from musicssl_training.teachers.bundle import read_bundle
from musicssl_training.teachers.tagger import Tagger

RATE = 16_000  # Hz
N_FFT, HOP, MELS = 512, 256, 96
FRAMES = 187  # a patch
EPSILON = 1e-3  # of every normalisation
INSTALL = "pip install --no-deps musicnn==0.1.0"
TRAINED_ON = {
    "MSD": "about 200,000 tracks of the Million Song Dataset and their 50 commonest last.fm tags",
    "MTT": "the 19,000 training clips of MagnaTagATune and their 50 commonest tags by listeners",
}
Weights = Mapping[str, NDArray[Any]]


class Affine(nn.Module):
    """A batch normalisation in use: what is left of it is a factor and a summand a channel."""

    factor: Tensor
    summand: Tensor

    def __init__(self, weights: Weights, number: int) -> None:
        super().__init__()
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        gamma, beta, mean, variance = (
            torch.from_numpy(weights[f"{name}/{part}"].astype(np.float64))
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / (variance + EPSILON).sqrt()
        self.register_buffer("factor", factor.float())
        self.register_buffer("summand", (beta - mean * factor).float())

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift the channels, axis 1."""
        shape = (-1, *[1] * (x.ndim - 2))
        return x * self.factor.view(shape) + self.summand.view(shape)


class Strongest(nn.Module):
    """A convolution over time and bands, rectified, normalised, and its maximum over the bands.

    The maximum is taken first: of the negative where the normalisation turns values around. That
    is the same, and most of the work on whole spectrograms is saved.
    """

    kernel: Tensor
    bias: Tensor
    sign: Tensor

    def __init__(self, weights: Weights, number: int, before: int, after: int) -> None:
        super().__init__()
        kernel, bias = _convolution(weights, number)  # (time, bands, 1, channels)
        self.norm = Affine(weights, number + 1)
        sign = torch.where(self.norm.factor < 0, -1.0, 1.0)
        self.register_buffer("sign", sign[:, None])
        self.register_buffer("kernel", kernel.permute(3, 2, 0, 1) * sign[:, None, None, None])
        self.register_buffer("bias", bias * sign)
        self.padding = (0, 0, before, after)  # bands, time

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels, frames) of (batch, 1, frames, bands)."""
        found = F.conv2d(F.pad(x, self.padding), self.kernel, self.bias).amax(dim=3)
        out: Tensor = self.norm((found * self.sign).relu())
        return out


class Middle(nn.Module):
    """A convolution over time, rectified and normalised."""

    kernel: Tensor
    bias: Tensor

    def __init__(self, weights: Weights, number: int) -> None:
        super().__init__()
        kernel, bias = _convolution(weights, number)  # (time, channels in, 1, channels out)
        self.register_buffer("kernel", kernel[:, :, 0].permute(2, 1, 0).contiguous())
        self.register_buffer("bias", bias)
        self.norm = Affine(weights, number + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels out, frames)."""
        out: Tensor = self.norm(F.conv1d(x, self.kernel, self.bias, padding=3).relu())
        return out


class Network(nn.Module):
    """Log-mel patches to the 200 penultimate values, and to the logits of 50 tags.

    Parameters
    ----------
    weights
        Of a checkpoint, by their names.

    Raises
    ------
    ModelError
        If they are of another network.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        try:
            self.enter = Affine(weights, 0)
            timbre = [Strongest(weights, number, 3, 3) for number in (0, 1)]
            tempo = [
                Strongest(weights, number, taps // 2 - 1, taps // 2)
                for number, taps in ((2, 128), (3, 64), (4, 32))
            ]
            self.front = nn.ModuleList([*timbre, *tempo])
            self.middle = nn.ModuleList([Middle(weights, number) for number in (5, 6, 7)])
            self.pooled, self.last = Affine(weights, 9), Affine(weights, 10)
            self.hidden, self.tags = _dense(weights, "dense"), _dense(weights, "dense_1")
        except KeyError as error:
            raise ModelError(
                f"these are not the weights of a musicnn: {error} is missing."
            ) from None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return penultimate values, (batch, 200), and logits, (batch, 50).

        Parameters
        ----------
        x
            Shape (batch, frames, bands): log10(1 + 10,000 * power).
        """
        x = self.enter(x[:, None])
        layers = [torch.cat([part(x) for part in self.front], dim=1)]
        for number, layer in enumerate(self.middle):
            before = layers[-1]
            layers.append(layer(before) + before if number else layer(before))
        features = torch.cat(layers, dim=1)  # (batch, 753, frames)
        both = torch.stack([features.amax(dim=2), features.mean(dim=2)], dim=2).flatten(1)
        penultimate: Tensor = self.last(self.hidden(self.pooled(both)).relu())
        return penultimate, self.tags(penultimate)


class LogMel(nn.Module):
    """Whole patches of samples to log-mel spectra, as librosa defines them."""

    window: Tensor
    bands: Tensor

    def __init__(self) -> None:
        super().__init__()
        from librosa.filters import mel

        self.register_buffer("window", torch.hann_window(N_FFT))
        bands = torch.from_numpy(mel(sr=RATE, n_fft=N_FFT, n_mels=MELS)).float()
        self.register_buffer("bands", bands.T.contiguous())

    def forward(self, audio: Tensor) -> Tensor:
        """Return (batch, frames, bands) of (batch, samples), N_FFT around each frame's centre."""
        spectra = torch.fft.rfft(audio.unfold(1, N_FFT, HOP) * self.window)
        power = spectra.real.square() + spectra.imag.square()
        out: Tensor = (1 + 10_000 * (power @ self.bands)).log10()
        return out


class Musicnn(Tagger):
    """The 200 penultimate values of each whole patch of 3 s, side by side.

    Parameters
    ----------
    data
        "MSD" or "MTT": which of the two networks.
    folder
        Of the package, which holds the checkpoints; by default of the one that is installed.

    Raises
    ------
    DependencyError
        If the package is not installed.
    ModelError
        If its weights cannot be read.
    """

    sample_rate = RATE
    samples, step, around = (FRAMES - 1) * HOP + N_FFT, FRAMES * HOP, N_FFT // 2

    def __init__(self, data: str, folder: Path | None = None) -> None:
        folder = (folder or package_folder("musicnn", INSTALL)) / f"{data}_musicnn"
        self.network = Network(read_bundle(folder)).eval().requires_grad_(False)
        self.log_mel = LogMel()
        self.facts = Facts(
            name=f"musicnn-{data.lower()}",
            model=f"{data}_musicnn of musicnn 0.1.0 (Pons and Serra, 2019), penultimate layer",
            sha256=sha256_of(folder / ".data-00000-of-00001"),
            licence="ISC",
            trained_on=TRAINED_ON[data],
            kind="patches",
            size=self.network.hidden.out_features,
            hop=FRAMES * HOP / RATE,
            window=FRAMES * HOP / RATE,
        )


def _convolution(weights: Weights, number: int) -> tuple[Tensor, Tensor]:
    """Return kernel and bias of a convolution."""
    name = f"conv2d_{number}" if number else "conv2d"
    kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
    return torch.from_numpy(kernel.copy()), torch.from_numpy(bias.copy())


def _dense(weights: Weights, name: str) -> nn.Linear:
    """Return a layer that connects everything."""
    kernel, bias = weights[f"{name}/kernel"], weights[f"{name}/bias"]
    layer = nn.Linear(*kernel.shape)
    layer.weight = nn.Parameter(torch.from_numpy(kernel.T.copy()))
    layer.bias = nn.Parameter(torch.from_numpy(bias.copy()))
    return layer
