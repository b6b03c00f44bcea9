"""Audio to features, always in 32-bit floats."""

from musicssl.frontends.dual_spectrum import DualSpectrum, DualSpectrumConfig, Spectra

__all__ = ["DualSpectrum", "DualSpectrumConfig", "Spectra"]
