"""Pitch classes, keys, scales, and the instrument families of General MIDI."""

import re

PITCH_CLASSES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
KEYS = tuple(f"{name} {mode}" for mode in ("major", "minor") for name in PITCH_CLASSES)
SIGNATURES = (
    "C",
    "C#",
    "D",
    "Eb",
    "E",
    "F",
    "F#",
    "G",
    "Ab",
    "A",
    "Bb",
    "B",
)  # as MIDI spells them
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 11)  # the minor one is harmonic
LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
DRUMS = 128  # in the place of a General MIDI program
FAMILIES: dict[str, range] = {  # General MIDI programs, from 0
    "piano": range(8),
    "mallet": range(8, 16),
    "organ": range(16, 24),
    "guitar": range(24, 32),
    "bass": range(32, 40),
    "strings": range(40, 52),
    "voice": range(52, 55),
    "brass": range(56, 64),
    "reed": range(64, 72),
    "pipe": range(72, 80),
    "lead": range(80, 88),
    "pad": range(88, 96),
    "ethnic": range(104, 112),
}


def parse_key(text: str, *, mode_needed: bool = False) -> int:
    """Return the number of a key, its place in `KEYS`; -1 if it is not one major or minor key.

    Parameters
    ----------
    text
        Such as "C# minor", "Bbm", "Eb maj" or "F", which is major.
    mode_needed
        Whether a letter alone is no key.

    Examples
    --------
    >>> parse_key("Bb major"), parse_key("F#m"), parse_key("C"), parse_key("")
    (10, 18, 0, -1)
    >>> parse_key("C", mode_needed=True)
    -1
    """
    found = re.fullmatch(r"\s*([A-G])([#b]*)\s*(m|maj|min|major|minor|)\s*", text)
    if found is None or (mode_needed and not found[3]):
        return -1
    pitch = (LETTERS[found[1]] + found[2].count("#") - found[2].count("b")) % 12
    return pitch + (12 if found[3] in ("m", "min", "minor") else 0)
