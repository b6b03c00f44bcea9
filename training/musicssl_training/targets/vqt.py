"""Variable-Q transform, from the spectra that the encoder's front end needs anyway."""

import math

import torch
from torch import Tensor, nn

from musicssl.errors import ConfigError
from musicssl.frontends import DualSpectrumConfig
from musicssl_training.targets.features import CleanAudio, FrameGrid

N_FFT = 4096  # samples
LEAKAGE = 0.01  # of a filter's peak in frequency: what is below is left out


class VariableQ(nn.Module):
    """Energies in log-spaced bands whose width follows the ear's, sharper in time than constant Q.

    The filter at `f` Hz is a Hann window of ``Q * sample_rate / (f + 24.7 / 0.108)`` samples on a
    complex exponential, ``Q = sharpness * (r**2 + 1) / (r**2 - 1)`` with ``r`` the ratio of
    neighbouring frequencies: a bandwidth proportional to the equivalent rectangular one
    (Schörkhuber et al., "A Matlab toolbox for efficient perfect reconstruction time-frequency
    transforms", 2014; Glasberg and Moore, 1990).

    It is applied in frequency (Brown and Puckette, 1992): each filter is divided by the Hann window
    of the transform, so that a spectrum that others use does here as well, and the bands of an
    octave are one product with the few bins that they hear.

    Parameters
    ----------
    grid
        Where the bands are measured.
    octaves, bands
        From C1 up, `bands` an octave.
    sharpness
        Length of the filters, 1 where they half overlap but for the ear's width.

    Raises
    ------
    ConfigError
        If the bands reach beyond the Nyquist frequency, or the longest filter is too long for the
        transform.
    """

    def __init__(
        self, grid: FrameGrid, octaves: int = 7, bands: int = 12, sharpness: float = 1.0
    ) -> None:
        super().__init__()
        low = DualSpectrumConfig.pitch_low
        hertz = low * 2 ** (torch.arange(octaves * bands, dtype=torch.float64) / bands)
        ratio = 2 ** (2 / bands)
        q = sharpness * (ratio + 1) / (ratio - 1)
        lengths = q * grid.sample_rate / (hertz + 24.7 / 0.108)
        top, longest = (hertz + 2 * grid.sample_rate / lengths)[-1].item(), lengths[0].item()
        if top > grid.sample_rate / 2:
            raise ConfigError(
                f"{octaves} octaves above {low:g} Hz are heard up to {top:.0f} Hz, beyond the "
                f"Nyquist frequency of {grid.sample_rate / 2:.0f} Hz; take fewer."
            )
        if longest > 0.8 * N_FFT:
            raise ConfigError(
                f"{bands} bands an octave of sharpness {sharpness:g} need filters of "
                f"{longest:.0f} samples at {grid.sample_rate} Hz; at most {0.8 * N_FFT:.0f} fit "
                "into the transform. Take fewer bands or less sharpness."
            )
        self.hertz = hertz.numpy()
        self.size, self.reach = len(hertz), longest / 2  # bands, samples
        self.key = ("variable Q", octaves, bands, sharpness)
        self.first: list[int] = []  # bin that each octave's filters hear first
        for octave in range(octaves):
            pick = slice(octave * bands, (octave + 1) * bands)
            first, bank = _bank(hertz[pick] / grid.sample_rate, lengths[pick])
            self.first.append(first)
            self.register_buffer(f"bank_{octave}", bank, persistent=False)

    def forward(self, sound: CleanAudio) -> Tensor:
        """Return the bands' power, (batch, frames, size); a full-scale sine in a band gives 1."""

        def make() -> Tensor:
            parts = torch.view_as_real(sound.spectrum(N_FFT)).flatten(2)
            octaves = []
            for octave, first in enumerate(self.first):
                bank: Tensor = getattr(self, f"bank_{octave}")
                heard = parts[..., 2 * first : 2 * first + len(bank)]
                real, imaginary = (heard @ bank).chunk(2, dim=2)
                octaves.append(real.square() + imaginary.square())
            return torch.cat(octaves, dim=2)

        return sound.cached(self.key, make)


def _bank(frequencies: Tensor, lengths: Tensor) -> tuple[int, Tensor]:
    """Return the first bin heard, and filters on real and imaginary parts from there on.

    The filters take pairs (real, imaginary) of bins, row by row, to all real parts, then all
    imaginary ones: shape (2 * bins, 2 * bands). Frequencies are in cycles a sample.
    """
    t = torch.arange(N_FFT, dtype=torch.float64) - N_FFT // 2
    phase = 2 * math.pi * t / lengths[:, None]
    shapes = (1 + phase.cos()).where(phase.abs() < math.pi, 0)
    shapes = 2 * shapes / shapes.sum(dim=1, keepdim=True)
    window = torch.hann_window(N_FFT, dtype=torch.float64)
    undone = shapes / (window * 2 / window.sum()).clamp(min=1e-9)
    filters = torch.polar(undone, -2 * math.pi * frequencies[:, None] * t)
    seen = torch.fft.ifft(filters)[:, : N_FFT // 2 + 1].T  # (bins, bands)
    loud = (seen.abs() > LEAKAGE * seen.abs().amax(dim=0)).any(dim=1).nonzero()
    first, last = int(loud.min()), int(loud.max())
    seen = seen[first : last + 1]
    on_real = torch.cat([seen.real, seen.imag], dim=1)
    on_imaginary = torch.cat([-seen.imag, seen.real], dim=1)
    return first, torch.stack([on_real, on_imaginary], dim=1).flatten(0, 1).float()
