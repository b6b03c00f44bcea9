"""Pitch class and key names, and the range of tempi."""

import re

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEYS = tuple(f"{name} {mode}" for mode in ("major", "minor") for name in PITCH_CLASSES)
ENHARMONIC = {
    **{"Db": "C#", "Eb": "D#", "Gb": "F#", "Ab": "G#", "Bb": "A#", "Cb": "B", "Fb": "E"},
    **{"E#": "F", "B#": "C"},
}
SLOWEST, FASTEST = 30.0, 300.0  # BPM: what people tap lies between


def parse_key(text: str) -> str:
    """Return ``Eb minor`` as ``D# minor``; "" for anything but one major or minor key."""
    match = re.fullmatch(r"\s*([A-G][b#]?)\s*(maj|min)(?:or)?\s*", text)
    if not match:
        return ""
    note = ENHARMONIC.get(match[1], match[1])
    return f"{note} {match[2]}or" if note in PITCH_CLASSES else ""
