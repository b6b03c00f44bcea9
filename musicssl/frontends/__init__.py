"""Audio to features, always in 32-bit floats."""

from musicssl.frontends.constants import constant_device
from musicssl.frontends.dual_spectrum import DualSpectrum, DualSpectrumConfig, Spectra
from musicssl.frontends.mel import mel_frequencies
from musicssl.frontends.sinc import SincFilters

__all__ = [
    "DualSpectrum",
    "DualSpectrumConfig",
    "SincFilters",
    "Spectra",
    "constant_device",
    "mel_frequencies",
]
