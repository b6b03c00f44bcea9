"""Guitar amplifiers: overdrive, tone and loudspeaker, for the electric guitars of a score."""

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import signal

CLEAN_GUITAR = 27  # General MIDI program from 0: what goes into the amplifier
DISTORTED = (29, 30)  # overdriven and distorted guitar
SOMETIMES = (27, 28)  # clean and muted guitar
SELDOM = 1 / 3  # chance of these, times that of the distorted ones
OVERSAMPLING = 4  # in the overdrive, whose harmonics would fold back
TIGHT = 100.0  # Hz: lower frequencies make an overdrive muddy, and no guitar cabinet radiates them


@dataclass(frozen=True)
class Amplifier:
    """Settings of an amplifier.

    Attributes
    ----------
    drive
        Gain in dB of a signal whose peak is 1, into a stage that saturates at 1.
    bias
        Point of rest of that stage: other than 0, there are even harmonics too.
    tone
        Hz above which a one-pole filter takes treble away.
    cabinet
        Hz up to which the loudspeaker plays.
    """

    drive: float
    bias: float
    tone: float
    cabinet: float


def choose_amplifier(program: int, chance: float, rng: random.Random) -> Amplifier | None:
    """Return a random amplifier for an electric guitar, by chance; None for other programs."""
    if program in DISTORTED:
        heard = rng.random() < chance
    else:
        heard = program in SOMETIMES and rng.random() < chance * SELDOM
    if not heard:
        return None
    return Amplifier(
        drive=rng.uniform(14, 26) if program == DISTORTED[0] else rng.uniform(24, 42),
        bias=rng.uniform(0, 0.3),
        tone=rng.uniform(1500, 5000),
        cabinet=rng.uniform(3800, 6000),
    )


def amplify(
    audio: NDArray[np.float32], sample_rate: int, amplifier: Amplifier
) -> NDArray[np.float32]:
    """Return a guitar as the amplifier plays it; silence stays silent, nothing is delayed.

    Parameters
    ----------
    audio
        Shape (samples,), at any level.
    sample_rate
        Hz.
    amplifier
        Its settings.

    Returns
    -------
    numpy.ndarray, shape (samples,)
        With a peak in the order of 1.
    """
    peak = float(np.abs(audio).max(initial=0))
    if peak < 1e-4:
        return np.zeros_like(audio)
    half = 0.45 * sample_rate
    guitar = signal.sosfilt(
        signal.butter(1, TIGHT, "highpass", fs=sample_rate, output="sos"), audio / peak
    )
    guitar = signal.resample_poly(guitar, OVERSAMPLING, 1)
    hot = np.tanh(10 ** (amplifier.drive / 20) * guitar + amplifier.bias) - np.tanh(amplifier.bias)
    hot = signal.resample_poly(hot, 1, OVERSAMPLING)[: len(audio)]
    for order, hertz, kind in (
        (1, amplifier.tone, "lowpass"),
        (4, amplifier.cabinet, "lowpass"),
        (2, TIGHT, "highpass"),  # also what a bias leaves at 0 Hz
    ):
        sections = signal.butter(order, min(hertz, half), kind, fs=sample_rate, output="sos")
        hot = signal.sosfilt(sections, hot)
    return hot.astype(np.float32)
