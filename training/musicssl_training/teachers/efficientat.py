"""EfficientAT: tags of AudioSet, by MobileNets that learnt them from transformers [1]_.

Written anew after the papers and the shapes of the published weights.

References
----------
.. [1] Schmid, Koutini and Widmer, "Efficient large-scale audio tagging via transformer-to-CNN
   knowledge distillation", ICASSP 2023.
.. [2] Howard et al., "Searching for MobileNetV3", ICCV 2019: the network.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.errors import ModelError
from musicssl_training.teachers.base import Facts, sha256_of
from musicssl_training.teachers.tagger import Tagger
from musicssl_training.teachers.weights import Weights, read_weights

RATE = 32_000  # Hz
N_FFT, WINDOW, HOP, MELS = 1024, 800, 320, 128
HIGHEST = 15_000.0  # Hz, of the mel bands
PATCH, STEP = 96_000, 48_000  # samples
EPSILON = 1e-3  # of every normalisation
STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1)  # of the blocks
HARD = 7  # the first block whose activation is hard swish, not rectification
FILE = re.compile(r"(mn\d\d)_as_mAP_\d+\.pt")
WHERE = "https://github.com/fschmid56/EfficientAT/releases/tag/v0.0.1"
Activation = Callable[[Tensor], Tensor]


class Convolution(nn.Module):
    """A convolution and its normalisation, in one."""

    kernel: Tensor
    bias: Tensor

    def __init__(self, weights: Weights, name: str, stride: int = 1) -> None:
        super().__init__()
        kernel = weights[f"{name}.0.weight"].double()
        gamma, beta, mean, variance = (
            weights[f"{name}.1.{part}"].double()
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / (variance + EPSILON).sqrt()
        self.register_buffer("kernel", (kernel * factor[:, None, None, None]).float())
        self.register_buffer("bias", (beta - mean * factor).float())
        self.size, self.stride = kernel.shape[-1], stride
        # one input channel: each filter has its own, but for the very first, which has no others
        self.groups = kernel.shape[0] if kernel.shape[1] == 1 and self.size > 1 else 1

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels, bands, frames) of such a tensor."""
        groups = self.groups if x.shape[1] > 1 else 1
        return F.conv2d(x, self.kernel, self.bias, self.stride, (self.size - 1) // 2, groups=groups)


class Excitation(nn.Module):
    """Squeeze and excitation: every channel is weighed by what all of them hold on the mean."""

    def __init__(self, weights: Weights, name: str) -> None:
        super().__init__()
        self.squeeze = _linear(weights, f"{name}.fc1")
        self.excite = _linear(weights, f"{name}.fc2")

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        factor = self.excite(self.squeeze(x.mean(dim=(2, 3))).relu()).sigmoid()
        out: Tensor = x * factor[:, :, None, None]
        return out


class Block(nn.Module):
    """An inverted residual: widen, filter each channel, weigh the channels, narrow."""

    def __init__(self, weights: Weights, number: int) -> None:
        super().__init__()
        name, stride = f"features.{number}.block", STRIDES[number - 1]
        places = {key.split(".")[3] for key in weights if key.startswith(f"{name}.")}
        if not places:
            raise KeyError(name)
        parts: list[nn.Module] = []
        for part in (f"{name}.{place}" for place in sorted(places)):
            if f"{part}.conc_se_layers.0.fc1.weight" in weights:
                parts.append(Excitation(weights, f"{part}.conc_se_layers.0"))
            else:
                wide = weights[f"{part}.0.weight"].shape[-1] > 1
                parts.append(Convolution(weights, part, stride if wide else 1))
        self.parts = nn.ModuleList(parts)
        self.activation: Activation = F.hardswish if number >= HARD else F.relu

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, channels, bands, frames) of such a tensor."""
        *first, last = self.parts
        y = x
        for part in first:
            y = part(y) if isinstance(part, Excitation) else self.activation(part(y))
        y = last(y)
        out: Tensor = x + y if x.shape == y.shape else y
        return out


class Network(nn.Module):
    """Log-mel spectra to what the last feature maps hold on the mean, and to logits of 527 tags.

    Parameters
    ----------
    weights
        Of a checkpoint, by their names; of any width.

    Raises
    ------
    ModelError
        If they are of another network.
    """

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        try:
            self.enter = Convolution(weights, "features.0", 2)
            blocks = [Block(weights, number) for number in range(1, len(STRIDES) + 1)]
            self.blocks = nn.ModuleList(blocks)
            self.leave = Convolution(weights, f"features.{len(STRIDES) + 1}")
            self.hidden = _linear(weights, "classifier.2")
            self.tags = _linear(weights, "classifier.5")
        except (KeyError, IndexError) as error:
            raise ModelError(
                f"these are not the weights of an EfficientAT MobileNet: {error} is missing."
            ) from None

    @property
    def size(self) -> int:
        """Number of feature maps."""
        return self.hidden.in_features

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return features, (batch, size), and logits, (batch, 527).

        Parameters
        ----------
        x
            Shape (batch, bands, frames), from `LogMel`.
        """
        x = F.hardswish(self.enter(x[:, None]))
        for block in self.blocks:
            x = block(x)
        features = F.hardswish(self.leave(x)).mean(dim=(2, 3))
        return features, self.tags(F.hardswish(self.hidden(features)))


class LogMel(nn.Module):
    """Samples to log-mel spectra, with Kaldi's mel bands and a pre-emphasis of .97."""

    window: Tensor
    bands: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=False))
        self.register_buffer("bands", torch.from_numpy(mel_bands()))

    def forward(self, audio: Tensor) -> Tensor:
        """Return (batch, bands, frames) of (batch, samples)."""
        audio = audio[:, 1:] - 0.97 * audio[:, :-1]
        spectra = torch.stft(
            audio, N_FFT, HOP, WINDOW, self.window, center=True, return_complex=True
        )
        power = spectra.real.square() + spectra.imag.square()
        out: Tensor = ((self.bands @ power + 1e-5).log() + 4.5) / 5
        return out


class EfficientAt(Tagger):
    """The mean feature maps of every patch of 3 s, one each 1.5 s.

    Parameters
    ----------
    file
        Of the weights, under the name of their release: ``mn04_as_mAP_432.pt``, for example.

    Raises
    ------
    ModelError
        If there is no such file, or it holds no weights of such a network.
    """

    sample_rate = RATE
    samples, step = PATCH, STEP

    def __init__(self, file: Path) -> None:
        name = FILE.fullmatch(file.name)
        if name is None:
            raise ModelError(
                f"{file}: the name of a release is expected, mn04_as_mAP_432.pt for example, for "
                f"other networks hear other spectra; they are at {WHERE}."
            )
        weights = read_weights(file, f"the weights are at {WHERE}")
        self.network = Network(weights).eval().requires_grad_(False)
        self.log_mel = LogMel()
        self.facts = Facts(
            name=f"efficientat-{name[1]}",
            model=f"{file.stem} of EfficientAT (Schmid et al., 2023), mean of the feature maps",
            sha256=sha256_of(file),
            licence="MIT",
            trained_on="two million clips of AudioSet, their tags, and what an ensemble of "
            "transformers (PaSST), trained on them, says of these",
            kind="patches",
            size=self.network.size,
            hop=STEP / RATE,
            window=PATCH / RATE,
        )


def mel_bands() -> NDArray[np.float32]:
    """Return Kaldi's triangular filters, (bands, bins), straight-sided on the mel scale."""

    def mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
        scale: NDArray[np.float64] = 1127 * np.log1p(hertz / 700)
        return scale

    bottom, top = mel(np.array([0.0, HIGHEST]))
    corners = np.linspace(bottom, top, MELS + 2)[:, None]
    bins = mel(np.arange(N_FFT // 2 + 1) * RATE / N_FFT)
    rise = (bins - corners[:-2]) / (corners[1:-1] - corners[:-2])
    fall = (corners[2:] - bins) / (corners[2:] - corners[1:-1])
    bands: NDArray[np.float32] = np.maximum(0, np.minimum(rise, fall)).astype(np.float32)
    return bands


def _linear(weights: Weights, name: str) -> nn.Linear:
    """Return a layer that connects everything."""
    weight = weights[f"{name}.weight"].float()
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(weights[f"{name}.bias"].float())
    return layer
