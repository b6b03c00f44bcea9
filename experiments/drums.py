"""Drum and bass loops from arithmetic alone, the same for a seed."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.signal import lfilter
from sounds import INSTRUMENTS, RATE, Audio, finish, level, seconds


def drum_loop(style: Generator, bpm: float, samples: int, rng: Generator) -> NDArray[np.float32]:
    """Play drums and a bass; `style` decides the sounds and the pattern, `rng` the performance."""
    steps = pattern(style)
    kit = {name: draw(style) for name, draw in DRUMS.items()}
    bass = INSTRUMENTS[style.choice(["saw", "pluck", "pulse", "tine", "reed"])](style)
    step = 15 / bpm * RATE  # a sixteenth note
    swing, sway = style.choice([0, 0, 0.08, 0.16]), 0.004 * RATE
    gains = {name: level(style.uniform(-9, 0)) for name in [*DRUMS, "bass"]}
    root = rng.uniform(33, 45)
    out = np.zeros(samples + RATE)
    offset = int(rng.integers(16))  # in the bar
    shift = rng.uniform(0, 1)  # of a step
    for i in range(int(samples / step) + 1):
        at = int((i + shift + swing * ((i + offset) % 2)) * step + abs(rng.normal()) * sway)
        if at >= samples:
            break
        for name, row in steps.items():
            accent = row[(i + offset) % 16]
            if accent == 0:
                continue
            if name == "bass":
                pitch = 440 * 2 ** ((root + rng.choice([0, 0, 0, 3, 5, 7, 12]) - 69) / 12)
                hit = bass(pitch, int(1.7 * step), rng)
                hit *= np.linspace(1, 0, len(hit))
                hit /= np.sqrt(np.mean(hit**2)) * 3 + 1e-9
            else:
                hit = kit[name](rng)
            hit = hit[: len(out) - at]
            out[at : at + len(hit)] += accent * gains[name] * level(rng.uniform(-3, 0)) * hit
    return finish(out[:samples], rng)


def pattern(style: Generator) -> dict[str, Audio]:
    """Return a bar of sixteen steps for each sound: accents, 0 for none."""
    kick, snare, hat, perc, bass = np.zeros((5, 16))
    kick[[0, 4, 8, 12] if style.random() < 0.3 else [0]] = 1
    kick[2 * style.choice(8, 2, replace=False)] = 0.9
    kick[style.integers(16)] = style.choice([0, 0.8])
    snare[[4, 12]] = 1
    snare[style.integers(16)] = style.choice([0, 0.3])
    every, first = ((2, 0), (1, 0), (4, 2))[style.integers(3)]
    hat[first::every] = style.uniform(0.4, 1, len(hat[first::every]))
    perc[style.choice(16, style.integers(5), replace=False)] = style.uniform(0.3, 0.9)
    bass[:] = np.where(style.random(16) < 0.2, 0.8, 0)
    bass[kick > 0] = style.choice([0, 1])
    return {"kick": kick, "snare": snare, "hat": hat, "perc": perc, "bass": bass}


Hit = Callable[[Generator], Audio]


def kick(style: Generator) -> Hit:
    """Drop a sine in pitch, with a click."""
    low, drop, speed = style.uniform(40, 65), style.uniform(60, 250), style.uniform(0.01, 0.05)
    decay, click = style.uniform(0.08, 0.3), style.uniform(0, 0.5)

    def hit(rng: Generator) -> Audio:
        t = seconds(int(0.4 * RATE))
        phase = 2 * np.pi * np.cumsum(low + drop * np.exp(-t / speed)) / RATE
        noise = click * rng.normal(size=len(t)) * np.exp(-t / 0.003)
        return np.asarray(np.sin(phase) * np.exp(-t / decay) + noise)

    return hit


def noisy(
    low: tuple[float, float], decay: tuple[float, float], tone: tuple[float, float]
) -> Callable[[Generator], Hit]:
    """Return a maker of noise drums: a tone in Hz, its share, and noise around `low` Hz."""

    def draw(style: Generator) -> Hit:
        centre, fall = style.uniform(*low), style.uniform(*decay)
        pitch, share = style.uniform(*tone), style.uniform(0.1, 0.7)
        radius = style.uniform(0.5, 0.9)
        w = 2 * np.pi * centre / RATE
        poles = [1, -2 * radius * np.cos(w), radius**2]

        def hit(rng: Generator) -> Audio:
            t = seconds(int(min(0.5, 6 * fall) * RATE))
            noise = lfilter([1 - radius, 0, radius - 1], poles, rng.normal(size=len(t)))
            ring = np.sin(2 * np.pi * pitch * t) * np.exp(-t / (0.6 * fall))
            return np.asarray((1 - share) * noise * np.exp(-t / fall) + share * 0.5 * ring)

        return hit

    return draw


DRUMS: dict[str, Callable[[Generator], Hit]] = {
    "kick": kick,
    "snare": noisy((1200, 5000), (0.05, 0.15), (150, 260)),
    "hat": noisy((6000, 10000), (0.01, 0.08), (4000, 9000)),
    "perc": noisy((600, 6000), (0.02, 0.1), (300, 1500)),
}
