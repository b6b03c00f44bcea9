"""Synthetic scores: single notes and hits, scales, cadences, drum patterns and bands.

Collections of music hold none of the short, lone sounds that many a task is about, and little with
drums. These fill the gap: made from a seed, free of rights, with a tempo and a key that are true.
"""

import csv
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import mido

from musicssl_training.midi.arrange import MELODIC
from musicssl_training.midi.parse import DRUM_CHANNEL
from musicssl_training.midi.theory import FAMILIES, MAJOR, MINOR, SIGNATURES
from musicssl_training.output import make_output_folder

BEAT = 480  # ticks
RANGES = {  # MIDI pitches that suit a family
    "piano": (28, 100),
    "mallet": (53, 96),
    "organ": (36, 88),
    "guitar": (40, 80),
    "bass": (28, 55),
    "strings": (36, 88),
    "voice": (48, 79),
    "brass": (40, 82),
    "reed": (44, 86),
    "pipe": (58, 93),
    "lead": (48, 90),
    "pad": (40, 80),
    "ethnic": (45, 84),
}
QUALITIES = (
    (0, 4, 7),
    (0, 3, 7),
    (0, 4, 7, 10),
    (0, 4, 7, 11),
    (0, 3, 7, 10),
    (0, 3, 6),
    (0, 4, 8),
)
PROGRESSIONS = ((0, 3, 4, 0), (0, 4, 5, 3), (0, 5, 3, 4), (1, 4, 0, 0), (0, 5, 1, 4), (5, 3, 0, 4))
KICK, SNARE, CLOSED, OPEN, RIDE, CRASH, CLAP, RIM = 36, 38, 42, 46, 51, 49, 39, 37
# sixteenths of a bar in which a drum is hit
GROOVES: dict[str, dict[int, tuple[int, ...]]] = {
    "rock": {KICK: (0, 8, 10), SNARE: (4, 12), CLOSED: tuple(range(0, 16, 2))},
    "pop": {KICK: (0, 6, 8), SNARE: (4, 12), CLOSED: tuple(range(16))},
    "house": {KICK: (0, 4, 8, 12), CLAP: (4, 12), OPEN: (2, 6, 10, 14)},
    "funk": {KICK: (0, 3, 7, 10), SNARE: (4, 12, 15), CLOSED: tuple(range(16))},
    "reggae": {KICK: (8,), RIM: (8,), CLOSED: tuple(range(0, 16, 2))},
    "bossa": {KICK: (0, 6, 8, 14), RIM: (0, 6, 12), CLOSED: tuple(range(0, 16, 2))},
    "jazz": {RIDE: (0, 4, 7, 8, 12, 15), CLOSED: (4, 12), KICK: (0,)},
    "half": {KICK: (0, 7), SNARE: (8,), CLOSED: tuple(range(0, 16, 2))},
}


@dataclass
class Sheet:
    """A score being written: notes of several parts, in beats."""

    tempo: float  # beats a minute
    key: int = 0  # pitch class of the tonic
    minor: bool = False
    keyed: bool = False  # whether the key means something
    barred: bool = False  # whether bars of four beats can be heard
    parts: dict[int, list[tuple[float, float, int, int]]] = field(default_factory=dict)
    programs: dict[int, int] = field(default_factory=dict)

    @property
    def beats(self) -> float:
        """Length it is to have, in beats."""
        return 50 * self.tempo / 60

    def add(self, channel: int, beat: float, length: float, pitch: int, velocity: int) -> None:
        """Write a note."""
        note = (max(beat, 0.0), length, min(max(pitch, 0), 127), min(max(velocity, 1), 127))
        self.parts.setdefault(channel, []).append(note)

    def degree(self, step: int, low: int) -> int:
        """Return the pitch of a step of the scale, the tonic at or above `low` being step 0."""
        scale = MINOR if self.minor else MAJOR
        tonic = low + (self.key - low) % 12
        return tonic + 12 * (step // 7) + scale[step % 7]

    def midi(self) -> mido.MidiFile:
        """Return it as a MIDI file, a track a part."""
        out = mido.MidiFile(ticks_per_beat=BEAT)
        head = mido.MidiTrack()
        head.append(mido.MetaMessage("set_tempo", tempo=round(60e6 / self.tempo)))
        if self.barred:
            head.append(mido.MetaMessage("time_signature", numerator=4, denominator=4))
        if self.keyed:
            head.append(mido.MetaMessage("key_signature", key=self.key_name("m")))
        out.tracks.append(head)
        for channel, notes in sorted(self.parts.items()):
            events = []
            for beat, length, pitch, velocity in notes:
                start, end = round(beat * BEAT), round((beat + length) * BEAT)
                events.append((start, 1, mido.Message("note_on", note=pitch, velocity=velocity)))
                events.append((max(end, start + 1), 0, mido.Message("note_off", note=pitch)))
            track, before = mido.MidiTrack(), 0
            if channel in self.programs:
                track.append(mido.Message("program_change", program=self.programs[channel]))
            for tick, _, message in sorted(events, key=lambda event: event[:2]):
                track.append(message.copy(time=tick - before))
                before = tick
            for message in track:
                message.channel = channel
            out.tracks.append(track)
        return out

    def key_name(self, minor: str) -> str:
        """Return the key's name, with `minor` behind that of a minor one."""
        return SIGNATURES[self.key] + (minor if self.minor else "")


def single_notes(sheet: Sheet, rng: random.Random) -> None:
    """Write lone notes of one instrument, all over its range."""
    family = rng.choice(list(RANGES))
    sheet.programs[0] = rng.choice(FAMILIES[family])
    beat, (low, high) = 0.0, RANGES[family]
    while beat < sheet.beats:
        length = rng.choice((0.2, 0.5, 1, 2, 4))
        sheet.add(0, beat, length, rng.randint(low, high), rng.randint(30, 127))
        beat += length + rng.choice((0.5, 1, 2, 3))


def scales(sheet: Sheet, rng: random.Random) -> None:
    """Write scales and broken chords up and down."""
    sheet.keyed = True
    family = rng.choice(MELODIC)
    sheet.programs[0] = rng.choice(FAMILIES[family])
    low, high = RANGES[family]
    beat = 0.0
    while beat < sheet.beats:
        steps = list(range(0, 8 if rng.random() < 0.6 else 15, rng.choice((1, 1, 2))))
        steps += steps[-2::-1] if rng.random() < 0.7 else []
        start = rng.randint(low, max(low, high - 26))
        length, velocity = rng.choice((0.25, 0.5, 1)), rng.randint(45, 120)
        for step in steps:
            sheet.add(0, beat, length * 0.9, sheet.degree(step, start), velocity)
            beat += length
        beat += rng.choice((0, 1, 2))


def chords(sheet: Sheet, rng: random.Random) -> None:
    """Write chords: progressions in a key, or of any quality one after the other."""
    family = rng.choice(MELODIC)
    sheet.programs[0] = rng.choice(FAMILIES[family])
    sheet.keyed = rng.random() < 0.6
    low = max(40, RANGES[family][0])
    beat, length = 0.0, rng.choice((1, 2, 4))
    steps: list[int] = []
    while beat < sheet.beats:
        if sheet.keyed:
            steps = steps or list(rng.choice(PROGRESSIONS))
            step = steps.pop(0)
            pitches = [sheet.degree(step + third, low) for third in (0, 2, 4)]
        else:
            root = rng.randint(low, low + 11)
            pitches = [root + interval for interval in rng.choice(QUALITIES)]
        turn = rng.randrange(3)
        pitches = sorted([*pitches[turn:], *(pitch + 12 for pitch in pitches[:turn])])
        for pitch in pitches:
            sheet.add(0, beat, length * 0.95, pitch, rng.randint(50, 110))
        beat += length + (0 if sheet.keyed else rng.choice((0, 1)))


def hits(sheet: Sheet, rng: random.Random) -> None:
    """Write lone hits of one drum."""
    drum, beat = rng.randint(35, 81), 0.0
    while beat < sheet.beats:
        sheet.add(DRUM_CHANNEL, beat, 0.5, drum, rng.randint(30, 127))
        beat += rng.choice((1, 2, 3))


def drums(sheet: Sheet, rng: random.Random) -> None:
    """Write a drum pattern with fills."""
    sheet.barred = True
    groove = GROOVES[rng.choice(list(GROOVES))]
    swing = rng.choice((0.0, 0.0, 0.08))
    for bar in range(int(sheet.beats // 4)):
        fill = bar % 8 == 7
        if bar % 8 == 0:
            sheet.add(DRUM_CHANNEL, 4 * bar, 1, CRASH, 100)
        for drum, places in groove.items():
            for place in places:
                if fill and place >= 8:
                    continue
                beat = 4 * bar + place / 4 + swing * (place % 2)
                sheet.add(DRUM_CHANNEL, beat, 0.2, drum, rng.randint(70, 110))
        for place in range(8, 16) if fill else ():
            tom = (50, 48, 45, 41)[(place - 8) // 2]
            sheet.add(DRUM_CHANNEL, 4 * bar + place / 4, 0.2, tom, rng.randint(80, 120))


def band(sheet: Sheet, rng: random.Random) -> None:
    """Write drums, bass, chords and a melody over a progression."""
    sheet.keyed = True
    drums(sheet, rng)
    sheet.programs = {
        0: rng.choice(FAMILIES["bass"]),
        1: rng.choice(FAMILIES[rng.choice(("piano", "organ", "guitar", "pad", "strings"))]),
        2: rng.choice(FAMILIES[rng.choice(MELODIC)]),
    }
    progression = rng.choice(PROGRESSIONS)
    walk, strum = rng.choice((1, 0.5, 2)), rng.choice((4, 2, 1, 0.5))
    melody = 7
    for bar in range(int(sheet.beats // 4)):
        step = progression[bar % len(progression)]
        beat = 4.0 * bar
        for i in range(round(4 / walk)):
            third = rng.choice((0, 0, 4, 2))
            pitch = sheet.degree(step + third, 33)
            sheet.add(0, beat + i * walk, walk * 0.9, pitch, rng.randint(70, 105))
        for i in range(round(4 / strum)):
            for third in (0, 2, 4):
                pitch = sheet.degree(step + third, 52)
                sheet.add(1, beat + i * strum, strum * 0.9, pitch, rng.randint(50, 85))
        at = 0.0
        while at < 4 and rng.random() < 0.9:
            length = rng.choice((0.5, 0.5, 1, 2))
            melody = min(max(melody + rng.randint(-2, 2), 0), 14)
            sheet.add(2, beat + at, length * 0.95, sheet.degree(melody, 60), rng.randint(70, 115))
            at += length


# kind: its writer, how many in a hundred, beats a minute at least and at most
KINDS: dict[str, tuple[Callable[[Sheet, random.Random], None], int, int, int]] = {
    "single-notes": (single_notes, 28, 60, 60),
    "hits": (hits, 14, 60, 60),
    "scales": (scales, 10, 60, 160),
    "chords": (chords, 14, 60, 140),
    "drums": (drums, 12, 60, 180),
    "band": (band, 22, 60, 180),
}


def exercise(rng: random.Random) -> tuple[str, Sheet]:
    """Return a random exercise and its kind."""
    kind = rng.choices(list(KINDS), [share for _, share, _, _ in KINDS.values()])[0]
    write, _, slowest, fastest = KINDS[kind]
    sheet = Sheet(rng.uniform(slowest, fastest), rng.randrange(12), rng.random() < 0.5)
    write(sheet, rng)
    return kind, sheet


def write_exercises(out: Path, count: int, seed: int = 0) -> int:
    """Write exercises as MIDI files, and an index that ``musicssl-train render`` reads.

    Parameters
    ----------
    out
        Folder; ``out/index.csv`` and ``out/exercises/00000.mid``, ... are written.
    count
        How many.
    seed
        The same seed, the same exercises.

    Returns
    -------
    int
        `count`.
    """
    make_output_folder(out / "exercises")
    with (out / "index.csv").open("w", encoding="utf-8", newline="") as file:
        index = csv.writer(file)
        columns = ["path", "source", "licence", "group", "key_signature", "tempo_source"]
        index.writerow([*columns, "downbeat_source"])
        for number in range(count):
            kind, sheet = exercise(random.Random(f"{seed}/{number}"))
            path = f"exercises/{number:05d}.mid"
            sheet.midi().save(out / path)
            timed = "file" if kind in ("drums", "band", "chords", "scales") else "unreliable"
            key = sheet.key_name(" minor") if sheet.keyed else ""
            key += " major" if key and not sheet.minor else ""
            barred = "file" if sheet.barred else "unreliable"
            index.writerow([path, "exercises", "CC0 1.0", f"{kind}-{number}", key, timed, barred])
    return count
