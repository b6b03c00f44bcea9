"""Music-like audio from arithmetic alone: notes and chords, the same for a seed.

Nothing here is sampled, so no model can have heard it before.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve, lfilter

RATE = 22_050  # Hz
Audio = NDArray[np.float64]
Voice = Callable[[float, int, Generator], Audio]  # (Hz, samples, noise source) -> one note


def seconds(samples: int) -> Audio:
    """Return the time of each sample."""
    return np.arange(samples) / RATE


def level(decibels: float) -> float:
    """Return the amplitude of a level in decibels."""
    return float(10 ** (decibels / 20))


def phasor(
    f0: float, samples: int, rng: Generator, *, vibrato: float = 0.0
) -> NDArray[np.complex128]:
    """Return a rotating unit vector; `vibrato` is its depth in cents, at about 5.5 Hz."""
    t = seconds(samples)
    speed, start = rng.uniform(4.5, 6.5), rng.uniform(0, 2 * np.pi)
    cents = vibrato * np.minimum(t / 0.25, 1) * np.sin(2 * np.pi * speed * t + start)
    phase = 2 * np.pi * np.cumsum(f0 * 2 ** (cents / 1200)) / RATE
    return np.asarray(np.exp(1j * (phase + rng.uniform(0, 2 * np.pi))))


def numbers(f0: float) -> NDArray[np.int64]:
    """Return 1, 2, ... for the harmonics of a tone that can be heard, 40 at most."""
    return np.arange(1, max(2, min(41, int(0.45 * RATE / f0) + 1)))


def harmonics(z: NDArray[np.complex128], f0: float, amplitudes: Audio) -> Audio:
    """Sum the harmonics below the Nyquist frequency; `amplitudes` (n,) or (n, samples)."""
    power, out = np.ones_like(z), np.zeros(len(z))
    for k, amplitude in enumerate(amplitudes, start=1):
        power = power * z
        if k * f0 > 0.45 * RATE:
            break
        out += amplitude * power.imag
    return out


def partials(f0: float, samples: int, ratios: Audio, gains: Audio, decays: Audio) -> Audio:
    """Sum free, dying partials; `decays` are seconds to fall by 60 dB."""
    t = seconds(samples)
    out = np.zeros(samples)
    for ratio, gain, decay in zip(ratios, gains, decays, strict=True):
        if ratio * f0 < 0.45 * RATE:
            out += gain * np.sin(2 * np.pi * ratio * f0 * t) * np.exp(-6.9 * t / decay)
    return out


def swell(samples: int, rng: Generator, attack: tuple[float, float]) -> Audio:
    """Return a random attack, decay, sustain and release; `attack` is its range in seconds."""
    rise = rng.uniform(*attack)
    times = np.array([0, rise, rise + rng.uniform(0.05, 0.3), 10])
    shape = np.interp(seconds(samples), times, np.array([0, 1, (s := rng.uniform(0.4, 1)), s]))
    tail = min(samples, int(rng.uniform(0.02, 0.1) * RATE))
    shape[samples - tail :] *= np.linspace(1, 0, tail)
    return shape


def organ(rng: Generator) -> Voice:
    """Drawbars, steady, with a key click."""
    bars = np.zeros(8)
    bars[[0, 1, 2, 3, 5, 7]] = rng.uniform(0, 1, 6)
    bars[0] += 0.3
    click = rng.uniform(0, 0.5)

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        out = harmonics(phasor(f0, samples, noise), f0, bars)
        out += click * noise.normal(size=samples) * np.exp(-seconds(samples) / 0.004)
        return out * swell(samples, noise, (0.002, 0.01))

    return play


def saw(rng: Generator) -> Voice:
    """Two detuned saw teeth through a low-pass that opens and closes."""
    apart, corner, sweep = rng.uniform(2, 8), rng.uniform(600, 3500), rng.uniform(0, 2)
    vibrato, attack = rng.uniform(0, 15), rng.uniform(0.005, 0.1)

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        k = numbers(f0)[:, None]
        cutoff = corner * (1 + sweep * np.exp(-seconds(samples)[None] / 0.2))
        gains = 1 / k / (1 + np.square(np.square(k * f0 / cutoff)))
        out = np.zeros(samples)
        for cents in (-apart / 2, apart / 2):
            f = f0 * 2 ** (cents / 1200)
            out += harmonics(phasor(f, samples, noise, vibrato=vibrato), f, gains)
        return out * swell(samples, noise, (attack / 2, attack))

    return play


def reed(rng: Generator) -> Voice:
    """Odd harmonics above all, as of a stopped pipe, with vibrato."""
    k = np.arange(1, 21)
    even, slope, vibrato = rng.uniform(0, 0.25), rng.uniform(0.8, 1.8), rng.uniform(0, 25)
    gains = np.where(k % 2, 1, even) / k**slope * rng.uniform(0.4, 1.6, len(k))

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        out = harmonics(phasor(f0, samples, noise, vibrato=vibrato), f0, gains)
        out += 0.01 * noise.normal(size=samples)
        return out * swell(samples, noise, (0.02, 0.08))

    return play


def brass(rng: Generator) -> Voice:
    """Frequency modulation 1:1 whose index follows the loudness (Chowning, 1973)."""
    index, vibrato = rng.uniform(2, 5), rng.uniform(0, 20)

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        shape = swell(samples, noise, (0.03, 0.1))
        angle = np.unwrap(np.angle(phasor(f0, samples, noise, vibrato=vibrato)))
        return np.sin(angle + index * min(1, 500 / f0) * shape * np.sin(angle)) * shape

    return play


def tine(rng: Generator) -> Voice:
    """Frequency modulation, dying: a body at 1:1 and a high tine."""
    index, ratio, decay = rng.uniform(0.5, 2.5), rng.integers(5, 10), rng.uniform(0.8, 3)
    bright, sway = rng.uniform(0.05, 0.4), rng.uniform(0, 0.4)

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        t = seconds(samples)
        w = 2 * np.pi * f0 * t
        body = np.sin(w + index * np.exp(-3 * t / decay) * np.sin(w))
        ring = bright * np.sin(ratio * w) * np.exp(-8 * t) * (ratio * f0 < 0.45 * RATE)
        tremolo = 1 + sway * np.sin(2 * np.pi * 5 * t + noise.uniform(0, 6))
        return (
            (body + ring) * np.exp(-4 * t / decay) * tremolo * swell(samples, noise, (0.001, 0.004))
        )

    return play


def pluck(rng: Generator) -> Voice:
    """Karplus-Strong string: noise in a tuned loop with a low-pass (1983)."""
    soft, loss = rng.uniform(0.15, 0.5), rng.uniform(0.8, 3.5)
    pick, dull = rng.uniform(0.08, 0.45), rng.uniform(0.2, 0.9)

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        period = RATE / f0
        whole = int(period - soft)
        rest = period - soft - whole
        burst = np.zeros(samples)
        burst[: int(period)] = noise.normal(size=int(period))[:samples]
        burst = lfilter([1 - dull], [1, -dull], burst)
        comb = np.zeros(int(pick * period) + 1)
        comb[0], comb[-1] = 1, comb[-1] - 0.9
        burst = lfilter(comb, [1], burst)
        gain = 10 ** (-3 / (loss * f0))
        loop = -gain * np.convolve([1 - soft, soft], [1 - rest, rest])
        return np.asarray(lfilter([1], [1, *np.zeros(whole - 1), *loop], burst))

    return play


def voice(rng: Generator) -> Voice:
    """Buzz through three formants of a random vowel, with strong vibrato."""
    vowels = np.array(
        [
            [730, 1090, 2440],
            [270, 2290, 3010],
            [300, 870, 2240],
            [530, 1840, 2480],
            [570, 840, 2410],
        ]
    )
    formants = vowels[rng.integers(len(vowels))] * rng.uniform(0.9, 1.25)
    widths, vibrato, air = np.array([90, 130, 180]), rng.uniform(10, 45), rng.uniform(0, 0.03)

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        k = numbers(f0)
        peaks = 1 / (1 + ((k[:, None] * f0 - formants) / widths) ** 2)
        gains = (peaks @ [1, 0.5, 0.25] + 0.01) / np.sqrt(k)
        out = harmonics(phasor(f0, samples, noise, vibrato=vibrato), f0, gains)
        out += air * noise.normal(size=samples)
        return out * swell(samples, noise, (0.03, 0.12))

    return play


def bell(rng: Generator) -> Voice:
    """Ring with a church bell's partials: hum, prime, minor tierce, quint, nominal and above."""
    ratios = np.array([0.5, 1, 1.2, 1.5, 2, 2.5, 2.67, 3, 4.1]) * rng.uniform(0.995, 1.005, 9)
    ratios[1] = 1
    gains = np.array([0.4, 1, 0.6, 0.25, 0.9, 0.3, 0.25, 0.25, 0.2]) * rng.uniform(0.4, 1.4, 9)
    decays = rng.uniform(1.5, 5) / np.sqrt(ratios)

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        strike = noise.normal(size=samples) * np.exp(-seconds(samples) / 0.003)
        return partials(f0, samples, ratios, gains, decays) + 0.15 * strike

    return play


def mallet(rng: Generator) -> Voice:
    """Strike a bar: partials near 1, 4 and 10, soon gone."""
    ratios = np.array([1, rng.uniform(3.8, 4.1), rng.uniform(9, 10.5)])
    gains = np.array([1, rng.uniform(0.1, 0.6), rng.uniform(0.02, 0.3)])
    decays = rng.uniform(0.5, 2.5) * np.array([1, 0.4, 0.15])
    knock = rng.uniform(0.02, 0.25)

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        strike = noise.normal(size=samples) * np.exp(-seconds(samples) / 0.006)
        return partials(f0, samples, ratios, gains, decays) + knock * strike

    return play


def flute(rng: Generator) -> Voice:
    """Few harmonics and much breath, with tremolo rather than vibrato."""
    gains = np.array([1, rng.uniform(0.05, 0.6), rng.uniform(0.02, 0.3), rng.uniform(0, 0.1)])
    breath, sway = rng.uniform(0.02, 0.15), rng.uniform(0, 0.35)

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        air = lfilter([0.3], [1, -0.7], noise.normal(size=samples))
        tremolo = 1 + sway * np.sin(2 * np.pi * 5 * seconds(samples) + noise.uniform(0, 6))
        out = harmonics(phasor(f0, samples, noise, vibrato=8), f0, gains) * tremolo
        return (out + breath * air) * swell(samples, noise, (0.04, 0.15))

    return play


def pulse(rng: Generator) -> Voice:
    """Send a pulse wave through a resonant low-pass that sweeps."""
    width, corner, peak = rng.uniform(0.1, 0.45), rng.uniform(500, 3000), rng.uniform(1, 6)
    sweep = rng.uniform(0.5, 4)

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        k = numbers(f0)[:, None]
        cutoff = corner * (1 + sweep * np.exp(-seconds(samples)[None] / 0.12))
        x = np.square(k * f0 / cutoff)
        gains = np.sin(np.pi * k * width) / k / np.sqrt(np.square(1 - x) + x / peak**2)
        return harmonics(phasor(f0, samples, noise), f0, gains) * swell(
            samples, noise, (0.002, 0.02)
        )

    return play


def piano(rng: Generator) -> Voice:
    """Strike a slightly stiff string: stretched partials, a comb where the hammer falls."""
    stiff, hammer = rng.uniform(1e-4, 6e-4), rng.uniform(0.09, 0.16)
    slope, ring = rng.uniform(0.9, 1.6), rng.uniform(2, 5)
    k = np.arange(1, 25)

    def play(f0: float, samples: int, noise: Generator) -> Audio:
        ratios = k * np.sqrt(1 + stiff * k**2) / np.sqrt(1 + stiff)
        gains = np.abs(np.sin(np.pi * k * hammer)) / k**slope
        out = partials(f0, samples, ratios, gains, ring / (1 + 0.25 * k))
        return out + 0.1 * noise.normal(size=samples) * np.exp(-seconds(samples) / 0.01)

    return play


INSTRUMENTS: dict[str, Callable[[Generator], Voice]] = {
    "organ": organ,
    "saw": saw,
    "reed": reed,
    "brass": brass,
    "tine": tine,
    "pluck": pluck,
    "voice": voice,
    "bell": bell,
    "mallet": mallet,
    "flute": flute,
    "pulse": pulse,
    "piano": piano,
}


def play(
    instrument: Voice, notes: list[float], samples: int, rng: Generator, *, strum: float = 0.0
) -> NDArray[np.float32]:
    """Play MIDI `notes` (fractions are allowed) together, in a room, at a random level."""
    out = np.zeros(samples)
    start = rng.uniform(0, 0.12) * RATE
    for i, midi in enumerate(notes):
        first = int(start + i * strum * RATE)
        length = int((samples - first) * rng.uniform(0.8, 1))
        note = instrument(440 * 2 ** ((midi - 69) / 12), length, rng)
        fade = min(length, RATE // 50)
        note[length - fade :] *= np.linspace(1, 0, fade)
        out[first : first + length] += (
            note / (np.sqrt(np.mean(note**2)) + 1e-9) * level(rng.uniform(-3, 0))
        )
    return finish(out, rng)


def finish(out: Audio, rng: Generator) -> NDArray[np.float32]:
    """Add a light room, a random equaliser, background noise and a random level."""
    tail = np.exp(-6.9 * np.arange(int(0.5 * RATE)) / (rng.uniform(0.15, 0.8) * RATE))
    room = fftconvolve(out, tail * rng.normal(size=len(tail)) / np.sqrt(np.sum(tail**2)))
    out = out + rng.uniform(0, 0.35) * room[: len(out)]
    out = equalise(out, rng.normal(0, 5, 9))
    out = out / (np.max(np.abs(out)) + 1e-9)
    out = out + level(rng.uniform(-70, -30)) * rng.normal(size=len(out))
    return np.asarray(0.9 * level(rng.uniform(-24, 0)) * out, np.float32)


def equalise(audio: Audio, decibels: Audio) -> Audio:
    """Change the levels at 60 Hz and each octave above, smoothly between."""
    size = next_fast_len(len(audio), real=True)
    octave = np.log2(np.maximum(np.fft.rfftfreq(size, 1 / RATE), 1) / 60)
    gains = 10 ** (np.interp(octave, np.arange(len(decibels)), decibels) / 20)
    return np.asarray(irfft(rfft(audio, size) * gains, size)[: len(audio)])
