"""BeatNet: where beats and downbeats are, heard forwards only [1]_.

Written anew after the paper, the shapes of the published weights, and the settings of the package
``BeatNet``, from which only the weights are read.

References
----------
.. [1] Heydari, Cwitkowitz and Duan, "BeatNet: CRNN and particle filtering for online joint beat,
   downbeat and meter tracking", ISMIR 2021.
.. [2] Böck et al., "madmom: a new Python audio and music signal processing library", 2016: the
   spectra.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.errors import ModelError
from musicssl_training.teachers.base import Facts, Teacher, package_file, sha256_of
from musicssl_training.teachers.pieces import covering
from musicssl_training.teachers.weights import Weights, read_weights

RATE, HOP, WINDOW = 22_050, 441, 1411  # Hz, samples
BINS = WINDOW // 2  # the one at half the rate is left out
OCTAVE, REFERENCE = 24, 440.0  # bands; Hz, of one band's center
LOWEST, HIGHEST = 30.0, 17_000.0  # Hz, of bands; those beyond the spectrum fall together
KEPT = 512  # frames of a piece
PACKAGE, WEIGHTS = "BeatNet", Path("models", "model_1_weights.pt")
INSTALL = "pip install --no-deps BeatNet==1.1.3"
SHA256 = "619091bc317ca3e83b45591d46f6de3d5a41588bcb39fe9fe7be30cffa6aca84"
State = tuple[Tensor, Tensor]


class LogBands(nn.Module):
    """Samples to magnitudes in bands of a quarter tone, and what each rose by since a frame ago."""

    window: Tensor
    bands: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=False))
        self.register_buffer("bands", torch.from_numpy(triangles()))

    @property
    def size(self) -> int:
        """Number of values a frame."""
        return 2 * self.bands.shape[1]

    def forward(self, audio: Tensor) -> Tensor:
        """Return (frames - 1, size) of (samples,): the first frame is what the next rises from."""
        spectra = torch.fft.rfft(audio.unfold(0, WINDOW, HOP) * self.window)[:, :BINS]
        loud = (1 + spectra.abs() @ self.bands).log10()
        return torch.cat([loud[1:], loud.diff(dim=0).relu()], dim=1)


class Network(nn.Module):
    """Bands to the logits of a beat that is no downbeat, of a downbeat, and of neither.

    Parameters
    ----------
    weights
        Of a checkpoint, by their names.
    size
        Values a frame.

    Raises
    ------
    ModelError
        If they are of another network.
    """

    def __init__(self, weights: Weights, size: int) -> None:
        super().__init__()
        try:
            filters, _, taps = weights["conv1.weight"].shape
            hidden, flat = weights["linear0.weight"].shape
            cells = weights["lstm.weight_hh_l0"].shape[1]
            if flat != filters * ((size - taps + 1) // 2):
                raise ValueError(f"{flat} weights where {size} bands are heard")
            self.conv1 = nn.Conv1d(1, filters, taps)
            self.linear0 = nn.Linear(flat, hidden)
            self.lstm = nn.LSTM(hidden, cells, num_layers=2)
            self.linear = nn.Linear(cells, 3)
            self.load_state_dict(dict(weights))
        except (KeyError, ValueError, RuntimeError) as error:
            raise ModelError(f"these are not the weights of a BeatNet: {error}.") from None

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Return logits, (frames, 3), of (frames, size), and what is remembered of them."""
        found = F.max_pool1d(self.conv1(x[:, None]).relu(), 2)
        out, state = self.lstm(self.linear0(found.flatten(1)), state)
        return self.linear(out), state


class BeatNet(Teacher):
    """How likely a beat is, and a downbeat, every 20 ms.

    Parameters
    ----------
    file
        Of the weights.

    Raises
    ------
    ModelError
        If it holds no weights of such a network.
    """

    sample_rate = RATE

    def __init__(self, file: Path) -> None:
        self.log_bands = LogBands()
        weights = read_weights(file, f"it comes with {INSTALL}")
        self.network = Network(weights, self.log_bands.size).eval().requires_grad_(False)
        self.facts = Facts(
            name="beatnet",
            model="model 1 of BeatNet 1.1.3 (Heydari et al., 2021), beats and downbeats",
            sha256=sha256_of(file),
            licence="CC-BY-4.0",
            trained_on="music with its beats and downbeats, Ballroom and the Rock Corpus among it, "
            "GTZAN not",
            kind="frames",
            size=2,
            hop=HOP / RATE,
        )

    @classmethod
    def load(cls) -> Self:
        """Return the one whose package is installed.

        Raises
        ------
        DependencyError
            If it is not.
        ModelError
            If it has other weights.
        """
        return cls(package_file(PACKAGE, WEIGHTS, SHA256, INSTALL))

    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        state = None
        size, before = KEPT * HOP + WINDOW, HOP + WINDOW // 2
        for piece, steps, _ in covering(blocks, size, HOP, KEPT, before):
            with torch.inference_mode():
                bands = self.log_bands(torch.from_numpy(piece))[:steps]
                if state is None:
                    bands[0, self.log_bands.size // 2 :] = 0  # it has not risen from anything
                logits, state = self.network(bands, state)
                beat, downbeat, _ = logits.softmax(dim=1).unbind(dim=1)
                yield torch.stack([beat + downbeat, downbeat], dim=1).numpy()


def triangles() -> NDArray[np.float32]:
    """Return triangular filters, (bins, bands), from the center of one to those of its neighbors.

    Centers are the bins nearest to quarter tones, each bin once: low bands are wider than that.
    """
    number = np.arange(np.floor(np.log2(LOWEST / REFERENCE) * OCTAVE), 12 * OCTAVE)
    tones = REFERENCE * 2 ** (number / OCTAVE)
    tones = tones[(tones >= LOWEST) & (tones <= HIGHEST)]
    # as in madmom, which counts the bins of an odd number of samples as if they were one fewer
    centers = np.unique(np.rint(tones * 2 * BINS / RATE).clip(max=BINS - 1).astype(int))
    bins = np.arange(BINS)[:, None]
    below, center, above = centers[:-2], centers[1:-1], centers[2:]
    rise, fall = (bins - below) / (center - below), (above - bins) / (above - center)
    found = np.maximum(0, np.minimum(rise, fall))
    out: NDArray[np.float32] = (found / found.sum(axis=0)).astype(np.float32)
    return out
