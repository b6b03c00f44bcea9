"""Pitch targets: note energies, salience, chroma and tonnetz."""

import math

import librosa
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.frontends import DualSpectrum, DualSpectrumConfig
from musicssl_training.targets.banks import compress
from musicssl_training.targets.base import Target
from musicssl_training.targets.features import CleanAudio, FrameGrid, averaged
from musicssl_training.targets.vqt import N_FFT, VariableQ

KNEE = 1e-6  # power, relative to a full-scale sine, below which logarithms flatten
FAINT = 1e-6  # power (-60 dB): pitch classes of what is fainter fade with it, to 0 for silence


class Vqt(Target):
    """Log power of a variable-Q transform, ``log10(1 + power / KNEE)``: silence 0, full scale ~6.

    Its filters are short (0.06 s at C1, 4 ms at B7), so it is sharper in time than `Notes`, and
    blurs semitones in the low octaves. `VariableQ` says how it is computed.
    """

    def __init__(
        self, grid: FrameGrid, octaves: int = 7, bands: int = 12, sharpness: float = 1.0
    ) -> None:
        super().__init__()
        self.transform = VariableQ(grid, octaves, bands, sharpness)
        self.size, self.stride = self.transform.size, grid.stride
        self.reach = _reach(grid, self.transform.reach)

    def forward(self, sound: CleanAudio) -> Tensor:
        return averaged(compress(self.transform(sound), KNEE), self.stride)


class Salience(Target):
    """Evidence for each semitone as a fundamental: ``log10(1 + salience**2 / KNEE)``.

    The weighted mean of the variable-Q magnitudes at the first harmonics, the weight of harmonic
    ``h`` being ``0.8**(h - 1)`` (Salamon and Gómez, "Melody extraction from polyphonic music
    signals using pitch contour characteristics", 2012). Between bands, magnitudes are interpolated;
    above the highest they count as 0.
    """

    weights: Tensor

    def __init__(self, grid: FrameGrid, octaves: int = 7, harmonics: int = 5) -> None:
        super().__init__()
        self.transform = VariableQ(grid, octaves)
        self.size, self.stride = self.transform.size, grid.stride
        self.reach = _reach(grid, self.transform.reach)
        hertz, shares = self.transform.hertz, 0.8 ** np.arange(harmonics)
        weights = sum(
            share
            * np.stack([np.interp(h * hertz, hertz, band, right=0) for band in np.eye(self.size)])
            for h, share in enumerate(shares / shares.sum(), 1)
        )
        self.register_buffer("weights", torch.as_tensor(weights).float(), persistent=False)

    def forward(self, sound: CleanAudio) -> Tensor:
        salience = self.transform(sound).sqrt() @ self.weights
        return averaged(compress(salience.square(), KNEE), self.stride)


class Notes(Target):
    """Log spectrum at semitones, from bands a quarter-tone apart: C1 to B7.

    The bands are those of the front end, `DualSpectrum`, in a window of 4096 samples.
    """

    bank: Tensor
    size = 84

    def __init__(self, grid: FrameGrid) -> None:
        super().__init__()
        config = DualSpectrumConfig(sample_rate=grid.sample_rate, hop=grid.hop, pitch_fft=N_FFT)
        self.register_buffer("bank", DualSpectrum(config).bank_pitch, persistent=False)
        self.stride, self.reach = grid.stride, _reach(grid, N_FFT / 2)

    def forward(self, sound: CleanAudio) -> Tensor:
        def make() -> Tensor:
            bands = sound.power(N_FFT)[..., : self.bank.shape[1]] @ self.bank.T
            quarters = averaged(compress(bands, KNEE), self.stride)
            return F.avg_pool1d(F.pad(quarters, (1, 1), mode="replicate"), 3, 2)

        return sound.cached("notes", make)


class ChromaPeaks(Target):
    """Pitch-class energies of the peaks of the log spectrum, the frame's largest being 1.

    `Notes`, whitened by their mean over an octave around so that single partials count, then folded
    into one octave (Müller and Ewert, "Chroma Toolbox", 2011). What is hardly a peak fades to 0.
    """

    size = 12

    def __init__(self, grid: FrameGrid) -> None:
        super().__init__()
        self.notes = Notes(grid)
        self.reach = self.notes.reach

    def forward(self, sound: CleanAudio) -> Tensor:
        notes = self.notes(sound)
        around = F.avg_pool1d(F.pad(notes, (6, 6), mode="replicate"), 13, 1)
        peaks = (notes - around).clamp(min=0).square()
        folded = peaks.reshape(*peaks.shape[:2], -1, 12).sum(dim=2)
        out: Tensor = folded / folded.amax(dim=2, keepdim=True).clamp(min=0.05)
        return out


class Chroma(Target):
    """Pitch-class energies of the power spectrum, the largest of each spectrum being 1.

    Bins are weighted by a Gaussian around each pitch class and one over the octaves (Ellis, "Chroma
    feature analysis and synthesis", 2007), without tuning. Spectra fainter than `FAINT` fade.
    """

    bank: Tensor
    size = 12

    def __init__(self, grid: FrameGrid) -> None:
        super().__init__()
        bank = librosa.filters.chroma(sr=grid.sample_rate, n_fft=N_FFT, tuning=0.0)
        level = np.full_like(bank[:1], 1 / 1.5)  # a Hann window gives a full-scale sine 1.5 in all
        bank = np.concatenate([bank, level]).T.copy()
        self.register_buffer("bank", torch.from_numpy(bank).float(), persistent=False)
        self.stride, self.reach = grid.stride, _reach(grid, N_FFT / 2)

    def forward(self, sound: CleanAudio) -> Tensor:
        return averaged(self.fine(sound), self.stride)

    def fine(self, sound: CleanAudio) -> Tensor:
        """Return the pitch classes of each spectrum, (batch, target frames, 12)."""

        def make() -> Tensor:
            heard = sound.power(N_FFT) @ self.bank
            return _loudest_one(heard[..., :12], heard[..., 12:])

        return sound.cached("chroma", make)


class Tonnetz(Target):
    """Pitch classes as a point on the circles of fifths, minor thirds and major thirds: 6 values.

    Sine and cosine of each, of radius 1, 1 and 1/2 (Harte, Sandler and Gasser, "Detecting harmonic
    change in musical audio", 2006), of `Chroma` as shares of its sum. Silence gives zeros.
    """

    circles: Tensor
    size = 6

    def __init__(self, grid: FrameGrid) -> None:
        super().__init__()
        self.chroma = Chroma(grid)
        self.stride, self.reach = grid.stride, self.chroma.reach
        turns = torch.tensor([[7 / 12], [9 / 12], [4 / 12]]) * 2 * math.pi * torch.arange(12)
        waves = torch.stack([turns.sin(), turns.cos()], dim=1)  # (circles, 2, 12)
        waves = waves * torch.tensor([1, 1, 0.5])[:, None, None]
        self.register_buffer("circles", waves.flatten(0, 1).T.contiguous(), persistent=False)

    def forward(self, sound: CleanAudio) -> Tensor:
        chroma = self.chroma.fine(sound)
        shares = chroma / chroma.sum(dim=2, keepdim=True).clamp(min=1)
        return averaged(shares @ self.circles, self.stride)


class ChromaVqt(Target):
    """Magnitudes of the variable-Q transform folded into one octave, the largest being 1.

    Of filters twice as sharp as those of `Vqt`. Frames whose loudest band is fainter than `FAINT`
    fade.
    """

    size = 12

    def __init__(self, grid: FrameGrid, octaves: int = 7, sharpness: float = 2.0) -> None:
        super().__init__()
        self.transform = VariableQ(grid, octaves, sharpness=sharpness)
        self.stride, self.reach = grid.stride, _reach(grid, self.transform.reach)

    def forward(self, sound: CleanAudio) -> Tensor:
        return averaged(self.fine(sound), self.stride)

    def fine(self, sound: CleanAudio) -> Tensor:
        """Return the pitch classes of each target frame, (batch, target frames, 12)."""

        def make() -> Tensor:
            power = self.transform(sound)
            folded = power.sqrt().reshape(*power.shape[:2], -1, 12).sum(dim=2)
            return _loudest_one(folded, power.amax(dim=2, keepdim=True))

        return sound.cached(("folded", *self.transform.key), make)


class Cens(Target):
    """Pitch classes in coarse steps, smoothed over about a second: harmony without articulation.

    Shares of `ChromaVqt` above 0.05, 0.1, 0.2 and 0.4 count a quarter each; a Hann window smooths
    them; their Euclidean length is 1 (Müller and Ewert, "Chroma Toolbox", 2011), less where little
    of the window sounds.
    """

    window: Tensor
    edges: Tensor
    size = 12

    def __init__(
        self,
        grid: FrameGrid,
        octaves: int = 7,
        sharpness: float = 2.0,
        smooth_seconds: float = 0.95,
    ) -> None:
        super().__init__()
        self.chroma = ChromaVqt(grid, octaves, sharpness)
        count = 2 * round((smooth_seconds * grid.rate - 1) / 2) + 1  # target frames
        window = torch.hann_window(count + 2, periodic=False)[1:-1]
        self.register_buffer("window", window / window.sum(), persistent=False)
        self.register_buffer("edges", torch.tensor([0.05, 0.1, 0.2, 0.4]), persistent=False)
        self.stride = grid.stride
        self.reach = self.chroma.reach + count // 2 / grid.rate

    def forward(self, sound: CleanAudio) -> Tensor:
        chroma = self.chroma.fine(sound)
        shares = chroma / chroma.sum(dim=2, keepdim=True).clamp(min=1)
        steps = torch.bucketize(shares, self.edges).transpose(1, 2) / len(self.edges)
        window = self.window.expand(12, 1, -1)
        smooth = F.conv1d(steps, window, padding=window.shape[2] // 2, groups=12).transpose(1, 2)
        out = smooth / smooth.norm(dim=2, keepdim=True).clamp(min=0.1)
        return averaged(out, self.stride)


def _reach(grid: FrameGrid, samples: float) -> float:
    """Return how far a frame hears, in seconds, whose spectra hear that many samples."""
    return (samples + grid.stride * grid.hop / 2) / grid.sample_rate


def _loudest_one(chroma: Tensor, level: Tensor) -> Tensor:
    """Scale pitch classes (batch, frames, 12) to a largest of 1, or less where `level` is faint."""
    scale = (level / FAINT).clamp(max=1) / chroma.amax(dim=2, keepdim=True).clamp(min=1e-20)
    return chroma * scale
