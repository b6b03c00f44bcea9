"""Random chord charts in many styles, by common progressions; free of rights."""

import random
import re
from dataclasses import dataclass

from musicssl_training.midi.theory import SIGNATURES

QUALITIES: dict[str, tuple[int, ...]] = {  # as MMA writes them: semitones above the root
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "7": (0, 4, 7, 10),
    "M7": (0, 4, 7, 11),
    "m7": (0, 3, 7, 10),
    "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "9": (0, 4, 7, 10, 2),
    "m9": (0, 3, 7, 10, 2),
    "13": (0, 4, 7, 10, 9),
    "7b9": (0, 4, 7, 10, 1),
    "7#9": (0, 4, 7, 10, 3),
    "m7b5": (0, 3, 6, 10),
    "dim7": (0, 3, 6, 9),
    "sus4": (0, 5, 7),
    "5": (0, 7),
}
NUMERALS = {"I": 0, "II": 2, "III": 4, "IV": 5, "V": 7, "VI": 9, "VII": 11}
# Bars are divided by "|"; small numerals are minor chords, all of them counted in the major scale.
PLAIN = (
    "I | V | vi | IV",
    "I | vi | IV | V",
    "vi | IV | I | V",
    "I | IV | I | V",
    "I | IV | V | I",
    "I | bVII | IV | I",
    "IV | V | iii | vi",
    "I | iii | IV | V",
    "I V | vi iii | IV I | IV V",
    "I | I | IV | V",
    "I | Vsus4 V | IV | I",
    "I | II7 | IV | I",
)
PLAIN_MINOR = (
    "i | bVI | bIII | bVII",
    "i | bVII | bVI | V7",
    "i | iv | V7 | i",
    "i | bVII | bVI | bVII",
    "i | iv | bVII | bIII",
    "i | bIII | bVII | iv",
    "i | i | bVI | V",
    "i v | bVI bIII | iv i | V7",
)
JAZZ = (
    "Imaj7 | vi7 | ii7 | V7",
    "ii7 | V7 | Imaj7 | Imaj7",
    "Imaj7 VI7b9 | ii7 V13 | iii7 VI7b9 | ii7 V7",
    "iii7 | VI7 | ii9 | V13",
    "Imaj7 | IV7 | iii7 VI7 | ii7 V7",
    "vm7 | I9 | IVmaj7 | bVII9",
    "Imaj7 #Idim7 | ii7 #IIdim7 | iii7 | VI7b9",
    "II9 | II9 | ii7 | V13",
    "Imaj7 | I7 | IV6 | ivm6",
    "I6 vi7 | ii7 V7 | I6 I7 | IV6 #IVdim7",
)
JAZZ_MINOR = (
    "im6 | im6 | iiø | V7b9",
    "iiø | V7b9 | im7 | im6",
    "im7 | ivm7 | bVII9 | bIIImaj7",
    "bVImaj7 | iiø V7b9 | im7 | VI7b9",
    "im7 | bVI9 | V7#9 | im7",
)
BLUES = (
    "I7 | IV7 | I7 | I7 | IV7 | IV7 | I7 | I7 | V7 | IV7 | I7 | V7",
    "I7 | I7 | I7 | I7 | IV7 | IV7 | I7 | I7 | V7 | V7 | I7 | V7",
    "I7 | IV9 | I7 | I9 | IV9 | #IVdim7 | I7 | VI7 | ii7 | V9 | I7 VI7 | ii7 V7",
)
BLUES_MINOR = (
    "im7 | im7 | im7 | im7 | ivm7 | ivm7 | im7 | im7 | bVI7 | V7#9 | im7 | V7",
    "i | iv | i | i | iv | iv | i | i | V7 | iv | i | V7",
)
VAMPS = ("I9 | I9 | IV9 | I9", "I7 | bVII7 | IV7 | I7", "I9 | IV13 | I9 | IV13")
VAMPS_MINOR = ("im7 | IV9 | im7 | IV9", "im9 | im9 | ivm7 | im9", "im7 | bVII9 | im7 | V7#9")
POWER_MINOR = ("I5 | bVI5 | bVII5 | I5", "I5 | bIII5 | IV5 | bVI5", "I5 I5 | bII5 I5 | bVII5 | I5")
# style: in major, in minor, beats a minute at least and at most
STYLES: dict[str, tuple[tuple[str, ...], tuple[str, ...], int, int]] = {
    "ballad": (PLAIN + JAZZ[:2], PLAIN_MINOR, 56, 84),
    "blues": (BLUES, BLUES_MINOR, 70, 140),
    "country": (PLAIN, PLAIN_MINOR, 90, 150),
    "electronic": (PLAIN, PLAIN_MINOR + VAMPS_MINOR, 115, 142),
    "folk": (PLAIN, PLAIN_MINOR, 80, 130),
    "funk": (VAMPS + PLAIN, VAMPS_MINOR, 88, 122),
    "hip-hop": (PLAIN + VAMPS, VAMPS_MINOR + PLAIN_MINOR, 74, 104),
    "jazz": (JAZZ, JAZZ_MINOR, 92, 210),
    "latin": (JAZZ + PLAIN, JAZZ_MINOR + PLAIN_MINOR, 92, 168),
    "march": (PLAIN, PLAIN_MINOR, 100, 126),
    "metal": (PLAIN, POWER_MINOR + PLAIN_MINOR, 100, 180),
    "pop": (PLAIN, PLAIN_MINOR, 84, 134),
    "reggae": (PLAIN, PLAIN_MINOR, 72, 150),
    "rock": (PLAIN + BLUES, PLAIN_MINOR + BLUES_MINOR, 90, 162),
    "soul": (PLAIN + VAMPS, PLAIN_MINOR + VAMPS_MINOR, 76, 126),
    "waltz": (PLAIN + JAZZ[:2], PLAIN_MINOR, 86, 176),
}


@dataclass(frozen=True)
class Chord:
    """A chord: the pitch class of its root, and one of `QUALITIES`."""

    root: int
    quality: str

    def __str__(self) -> str:
        """Return its name, as MMA reads it."""
        return SIGNATURES[self.root] + self.quality

    @property
    def classes(self) -> tuple[int, ...]:
        """Pitch classes, the root first."""
        return tuple((self.root + step) % 12 for step in QUALITIES[self.quality])


@dataclass(frozen=True)
class Chart:
    """A chord chart.

    Attributes
    ----------
    tonic, minor
        The key; it is where the chart ends.
    tempo
        Beats a minute.
    meter
        Beats of a bar.
    bars
        The chords of each bar: one for all of it, or two.
    """

    tonic: int
    minor: bool
    tempo: int
    meter: int
    bars: tuple[tuple[Chord, ...], ...]

    @property
    def key(self) -> str:
        """The key's name."""
        return f"{SIGNATURES[self.tonic]} {'minor' if self.minor else 'major'}"

    def chord_at(self, beat: float) -> Chord:
        """Return what sounds at a beat, counted from the first."""
        bar = self.bars[min(int(beat // self.meter), len(self.bars) - 1)]
        return bar[1 if len(bar) > 1 and beat % self.meter >= second_beat(self.meter) else 0]


def second_beat(meter: int) -> int:
    """Return the beat of a bar, from 0, at which a second chord comes."""
    return (meter + 1) // 2


def draw_chart(style: str, meter: int, seconds: float, rng: random.Random) -> Chart:
    """Return a random chart of a style, two sections in turn, at least so long.

    Parameters
    ----------
    style
        One of `STYLES`.
    meter
        Beats of a bar.
    seconds
        How long it is to be at least.
    rng
        Decides all else.
    """
    major, minor_ones, slowest, fastest = STYLES[style]
    minor, tonic, tempo = rng.random() < 0.4, rng.randrange(12), rng.randint(slowest, fastest)
    choice = minor_ones if minor else major
    sections = [rng.choice(choice), rng.choice(choice)]
    needed = int(seconds * tempo / 60 / meter) + 1
    bars: list[tuple[Chord, ...]] = []
    turn = 0
    while len(bars) < needed:
        section = _read(sections[1 if turn % 3 == 2 else 0], tonic)
        bars += section * max(1, 8 // len(section))
        turn += 1
    bars.append((Chord(tonic, "m" if minor else ""),))
    return Chart(tonic, minor, tempo, meter, tuple(bars))


def _read(progression: str, tonic: int) -> list[tuple[Chord, ...]]:
    bars = [bar.split() for bar in progression.split("|")]
    return [tuple(read_numeral(text, tonic) for text in bar) for bar in bars]


def read_numeral(text: str, tonic: int) -> Chord:
    """Return the chord of a Roman numeral.

    Examples
    --------
    >>> str(read_numeral("bVII9", 0)), str(read_numeral("ii7", 2)), str(read_numeral("iiø", 9))
    ('Bb9', 'Em7', 'Bm7b5')
    """
    found = re.fullmatch(r"([b#]?)([iIvV]+)(maj|m)?(.*)", text)
    assert found is not None, text  # ours, above
    sign, numeral, mode, rest = found.groups()
    step = NUMERALS[numeral.upper()] + {"b": -1, "#": 1, "": 0}[sign]
    small = "m" if numeral.islower() and rest != "ø" else ""
    quality = "m7b5" if rest == "ø" else small + ("M" if mode == "maj" else "") + rest
    return Chord((tonic + step) % 12, quality)
