"""Pitch class and key names, and tempo classes."""

import re

import numpy as np

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEYS = tuple(f"{name} {mode}" for mode in ("major", "minor") for name in PITCH_CLASSES)
ENHARMONIC = {
    **{"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#", "Cb": "B", "Fb": "E"},
    **{"E#": "F", "B#": "C"},
}
TEMPO_BINS = 24  # classes per octave of tempo: the center is at most 1.5 % away
SLOWEST, FASTEST = 30.0, 300.0  # BPM


def parse_key(text: str) -> str:
    """Return ``Eb minor`` as ``D# minor``; "" for anything but one major or minor key."""
    match = re.fullmatch(r"\s*([A-G][b#]?)\s*(maj|min)(?:or)?\s*", text)
    if not match:
        return ""
    note = ENHARMONIC.get(match[1], match[1])
    return f"{note} {match[2]}or" if note in PITCH_CLASSES else ""


def tempo_class(bpm: float) -> str:
    """Return the center of a tempo's class in BPM; "" if unknown or outside 30 to 300 BPM."""
    if not SLOWEST <= bpm <= FASTEST:
        return ""
    return f"{2 ** (round(TEMPO_BINS * np.log2(bpm)) / TEMPO_BINS):.2f}"
