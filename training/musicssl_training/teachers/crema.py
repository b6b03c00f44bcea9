"""crema: the chord that sounds in any music, by its root, its bass and its pitch classes [1]_.

Written anew after the paper, the documentation, and the layers that the published file of weights
describes, which is read without Keras.

References
----------
.. [1] McFee and Bello, "Structured training for large-vocabulary chord recognition", ISMIR 2017.
.. [2] Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical
   machine translation", 2014: the recurrent layers.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.errors import DependencyError, ModelError
from musicssl_training.teachers.base import Facts, Teacher, package_file, sha256_of
from musicssl_training.teachers.pieces import covering

RATE, HOP = 22_050, 2048  # Hz, samples; the network learned from twice of both, which is the same
LOWEST, OCTAVE = 32.703_195_662_574_83, 36  # Hz: a C; bins
BINS = 6 * OCTAVE  # that the network hears, twice: the second time an octave higher
KEPT, MARGIN = 512, 24  # frames of a piece; of those around them that the lowest filters reach
SILENCE, RANGE = 1e-5, 80.0  # magnitude, dB below the loudest
EPSILON = 1e-3  # of every normalization
CLASSES = 12  # of pitch; roots and basses have one more, for none
PACKAGE, WEIGHTS = "crema", Path("models", "chord", "model.h5")
INSTALL = "pip install --no-deps crema==0.2.0"
SHA256 = "08b80e5b648e743c89284e9bc0b12b993dad1129157a75e0de70e076b0b8a235"
Weights = Mapping[str, NDArray[Any]]  # by layer and name, such as "conv2d_1/kernel"


class Affine(nn.Module):
    """A batch normalization in use: what is left of it is a factor and a summand a channel."""

    factor: Tensor
    summand: Tensor

    def __init__(self, weights: Weights, number: int) -> None:
        super().__init__()
        gamma, beta, mean, variance = (
            _tensor(weights, f"batch_normalization_{number}/{part}").double()
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / (variance + EPSILON).sqrt()
        self.register_buffer("factor", factor.float())
        self.register_buffer("summand", (beta - mean * factor).float())

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift the channels, the last axis."""
        return x * self.factor + self.summand


class Recurrent(nn.Module):
    """Gated recurrent units that hear a recording forwards, and others that hear it backwards.

    These reset the state before they multiply it, as in the paper; those of PyTorch do so after.
    Both gates are straight lines, cut off at 0 and 1.
    """

    enter: Tensor
    bias: Tensor
    gates: Tensor
    state: Tensor

    def __init__(self, weights: Weights, number: int) -> None:
        super().__init__()
        found = {
            part: torch.stack(
                [
                    _tensor(weights, f"bidirectional_{number}/{way}_gru_{number}/{part}")
                    for way in ("forward", "backward")
                ]
            )
            for part in ("kernel", "recurrent_kernel", "bias")
        }
        kernel, self.cells = found["recurrent_kernel"], found["recurrent_kernel"].shape[1]
        self.register_buffer("enter", found["kernel"])
        self.register_buffer("bias", found["bias"][:, None])
        self.register_buffer("gates", kernel[..., : 2 * self.cells].contiguous())
        self.register_buffer("state", kernel[..., 2 * self.cells :].contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Return (frames, 2 * cells) of (frames, channels)."""
        both = torch.stack([x, x.flip(0)])
        given = torch.baddbmm(self.bias, both, self.enter).transpose(0, 1)[:, :, None]
        gates = 0.2 * given[..., : 2 * self.cells] + 0.5
        fresh = given[..., 2 * self.cells :]
        now = x.new_zeros(2, 1, self.cells)
        out = []
        for gate, new in zip(gates.unbind(), fresh.unbind(), strict=True):
            opened = torch.baddbmm(gate, now, self.gates, alpha=0.2).clamp(0, 1)
            keep, reset = opened.chunk(2, dim=2)
            now = torch.lerp(torch.baddbmm(new, reset * now, self.state).tanh(), now, keep)
            out.append(now)
        forwards, backwards = torch.cat(out, dim=1)
        return torch.cat([forwards, backwards.flip(0)], dim=1)


class Network(nn.Module):
    """Spectra to pitch classes, root and bass: of how likely each is.

    Parameters
    ----------
    weights
        By their layers and names.

    Raises
    ------
    ModelError
        If they are of another network.
    """

    filters: Tensor
    shift: Tensor

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        try:
            self.norms = nn.ModuleList([Affine(weights, number) for number in range(1, 5)])
            # (frames, bins, harmonics, filters)
            kernel = _tensor(weights, "conv2d_1/kernel").permute(3, 2, 0, 1).contiguous()
            self.register_buffer("filters", kernel)
            self.register_buffer("shift", _tensor(weights, "conv2d_1/bias"))
            heights = weights["conv2d_2/kernel"][0, :, 0]  # (bins, filters)
            self.heights = _linear(heights, weights["conv2d_2/bias"])
            self.recurrent = nn.ModuleList([Recurrent(weights, number) for number in (1, 2)])
            self.heads = nn.ModuleList(
                [
                    _linear(weights[f"chord_{name}/kernel"], weights[f"chord_{name}/bias"])
                    for name in ("pitch", "root", "bass")
                ]
            )
        except (KeyError, IndexError, ValueError, RuntimeError) as error:
            raise ModelError(f"these are not the weights of crema's chords: {error}.") from None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return probabilities: of 12 pitch classes, and of 13 roots and 13 basses, the last none.

        Parameters
        ----------
        x
            Shape (frames, bins, 2): decibels.
        """
        enter, local, high, middle = self.norms
        x = enter(x).permute(2, 0, 1)[None]  # (1, harmonics, frames, bins)
        x = F.conv2d(x, self.filters, self.shift, padding="same").relu()
        x = high(self.heights(local(x[0, 0])).relu())
        first, second = self.recurrent
        x = second(middle(first(x)))
        pitch, root, bass = (head(x) for head in self.heads)
        return pitch.sigmoid(), root.softmax(dim=1), bass.softmax(dim=1)


class Crema(Teacher):
    """How likely each pitch class is in the chord, is its root, and its bass, every 93 ms.

    Of all that the network gives these have a meaning each, and in another key they are the same in
    another order; most of its 170 chords are rare, and its hidden layers have no such axes. The
    whole recording is heard at a time: backwards too, and relative to its loudest place.

    Parameters
    ----------
    file
        Of the weights.

    Raises
    ------
    DependencyError
        If h5py is not installed.
    ModelError
        If it holds no weights of such a network.
    """

    sample_rate = RATE

    def __init__(self, file: Path) -> None:
        self.network = Network(read_keras(file)).eval().requires_grad_(False)
        self.facts = Facts(
            name="crema",
            model="chords of crema 0.2.0 (McFee and Bello, 2017), pitch classes, root and bass",
            sha256=sha256_of(file),
            licence="BSD-2-Clause; ISC by its metadata",
            trained_on="973 recordings, mostly of pop and rock, with their chords, also transposed "
            "by up to six semitones",
            kind="frames",
            size=CLASSES + 2 * (CLASSES + 1),
            hop=HOP / RATE,
        )

    @classmethod
    def load(cls) -> Self:
        """Return the one whose package is installed.

        Raises
        ------
        DependencyError
            If it is not, or h5py is not.
        ModelError
            If it has other weights.
        """
        return cls(package_file(PACKAGE, WEIGHTS, SHA256, INSTALL))

    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        found = [*magnitudes(blocks)]
        if found:
            with torch.inference_mode():
                given = torch.from_numpy(harmonics(np.concatenate(found)))
                yield torch.cat(self.network(given), dim=1).numpy()


def magnitudes(blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Yield constant-Q magnitudes of the whole frames of a recording, (frames, seven octaves)."""
    from librosa import cqt

    size = (KEPT + 2 * MARGIN) * HOP
    for piece, _, frames in covering(blocks, size, HOP, KEPT, MARGIN * HOP):
        found = cqt(
            piece,
            sr=RATE,
            hop_length=HOP,
            fmin=LOWEST,
            n_bins=BINS + OCTAVE,
            bins_per_octave=OCTAVE,
        )
        if frames:
            yield np.abs(found[:, MARGIN : MARGIN + frames]).T


def harmonics(magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the lower six octaves and the upper six, (frames, bins, 2), each in dB of its peak."""
    out = np.stack([magnitude[:, :BINS], magnitude[:, OCTAVE:]], axis=2)
    loudest = out.max(axis=(0, 1))
    decibels = 20 * np.log10(np.maximum(out, SILENCE) / np.maximum(loudest, SILENCE))
    decibels[..., loudest <= SILENCE] = -RANGE  # where nothing sounds, everything would be a peak
    found: NDArray[np.float32] = np.maximum(decibels, -RANGE).astype(np.float32)
    return found


def read_keras(file: Path) -> Weights:
    """Return the weights of a Keras model, by layer and name.

    Raises
    ------
    DependencyError
        If h5py is not installed.
    ModelError
        If the file cannot be read.
    """
    try:
        import h5py
    except ImportError as error:
        raise DependencyError(
            "this teacher's weights need h5py to be read: pip install 'musicssl-training[hdf5]'"
        ) from error
    out: dict[str, NDArray[Any]] = {}

    def keep(name: str, found: Any) -> None:
        if isinstance(found, h5py.Dataset):
            layer, *_, cell, weight = name.split("/")
            key = layer if cell == layer else f"{layer}/{cell}"
            out[f"{key}/{weight.removesuffix(':0')}"] = found[()]

    try:
        with h5py.File(file) as opened:
            opened["model_weights"].visititems(keep)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"{file} cannot be read as the weights of a Keras model: {error}. They come with "
            f"{INSTALL}"
        ) from None
    return out


def _tensor(weights: Weights, name: str) -> Tensor:
    """Return one of the weights."""
    return torch.from_numpy(np.array(weights[name]))


def _linear(kernel: NDArray[Any], bias: NDArray[Any]) -> nn.Linear:
    """Return a layer that connects everything."""
    layer = nn.Linear(*kernel.shape)
    layer.weight = nn.Parameter(torch.from_numpy(kernel.T.copy()))
    layer.bias = nn.Parameter(torch.from_numpy(bias.copy()))
    return layer
