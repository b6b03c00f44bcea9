"""Random arrangements of a score: instruments, key, tempo and sound font.

Scores often name no instruments, or a piano for every part; a corpus rendered as written would
be half pianos. So parts get random General MIDI programs, by families, and the whole piece is
transposed and played faster or slower.
"""

import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import mido

from musicssl_training.midi.parse import (
    DRUM_CHANNEL,
    NOTES_OFF,
    PEDAL,
    SOUND_OFF,
    Clock,
    timed,
)
from musicssl_training.midi.theory import FAMILIES

VOLUME, RESET = 7, 121  # controllers
TICKS = 960  # a second, in the scores we write
MELODIC = [name for name in FAMILIES if name not in ("bass", "pad")]
LOW = 45  # MIDI pitch: a part with a lower median may get a bass
Part = tuple[int, int]  # track, channel


@dataclass(frozen=True)
class Version:
    """Arrangement of a score: cut, tempo, key and instruments."""

    start: float  # seconds of the score
    seconds: float  # of the score
    tempo: float  # factor
    shift: int  # semitones, of all but drums
    programs: dict[Part, int]  # of melodic parts; empty: as written
    volumes: dict[Part, int]  # MIDI controller 7; of parts not named, as written
    font: str
    gain: float
    reverb: bool

    def facts(self) -> dict[str, Any]:
        """Return what is worth keeping in an index."""
        return {
            "score_start": round(self.start, 3),
            "tempo": round(self.tempo, 4),
            "shift": self.shift,
            "programs": sorted(set(self.programs.values())),
            "font": Path(self.font).name,
        }


def choose_version(
    score: mido.MidiFile, fonts: list[str], rng: random.Random, *, as_written: bool = False
) -> Version:
    """Return a random version of 25 to 45 s of a score.

    Scores with two programs or fewer always get random instruments, others half of the time: all
    of one program, all of one family, or each part its own. With `as_written` none do.
    """
    seconds = rng.uniform(25, 45)
    start = rng.uniform(0, score.length - seconds) if score.length > seconds else 0.0
    parts = timed_parts(score)
    written = {
        e.program for events in parts.values() for _, e in events if _is(e, "program_change")
    }
    programs: dict[Part, int] = {}
    if not as_written and (len(written) <= 2 or rng.random() < 0.5):
        pitches = {
            part: [e.note for _, e in events if _is(e, "note_on")]
            for part, events in sorted(parts.items())
            if part[1] != DRUM_CHANNEL
        }
        programs = _instruments({part: notes for part, notes in pitches.items() if notes}, rng)
    return Version(
        start=start,
        seconds=seconds,
        tempo=0.8 * 1.5625 ** rng.random(),  # 0.8 to 1.25, uniform in its logarithm
        shift=rng.randint(-6, 6),
        programs=programs,
        volumes={part: rng.randint(70, 120) for part in sorted(parts)},
        font=rng.choice(fonts),
        gain=round(rng.uniform(0.3, 0.7), 2),
        reverb=rng.random() < 0.7,
    )


def _instruments(parts: dict[Part, list[int]], rng: random.Random) -> dict[Part, int]:
    style, family = rng.random(), rng.choice(MELODIC)
    if style < 0.3:
        program = rng.choice(FAMILIES[family])
        return dict.fromkeys(parts, program)
    if style < 0.5:
        return {part: rng.choice(FAMILIES[family]) for part in parts}
    out = {}
    for part, pitches in parts.items():
        low = median(pitches) < LOW and rng.random() < 0.6
        out[part] = rng.choice(FAMILIES["bass" if low else rng.choice([*MELODIC, "pad"])])
    return out


def timed_parts(score: mido.MidiFile) -> dict[Part, list[tuple[float, mido.Message]]]:
    """Return the channel messages of each track and channel with their time in seconds."""
    clock = Clock.of(score)
    parts: dict[Part, list[tuple[float, mido.Message]]] = defaultdict(list)
    for number, track in enumerate(score.tracks):
        for tick, event in timed(track):
            if not event.is_meta and hasattr(event, "channel"):
                parts[number, event.channel].append((clock(tick), event))
    return dict(parts)


def _is(event: mido.Message, kind: str) -> bool:
    """Tell the kind of a message; a note_on of velocity 0 is a note_off."""
    if event.type == "note_on" and event.velocity == 0:
        return kind == "note_off"
    return bool(event.type == kind)


def rewrite(score: mido.MidiFile, version: Version) -> mido.MidiFile:
    """Return the version of a score as a MIDI file of one track, at 960 ticks a second.

    Parts of different tracks get channels of their own as far as there are any. At the end every
    note is released: a synthesiser would sustain it for ever.
    """
    parts = timed_parts(score)
    free = [channel for channel in range(16) if channel != DRUM_CHANNEL]
    events: list[tuple[float, int, mido.Message]] = []  # second, order among equals, message
    melodic = 0
    used = set()
    for part, messages in parts.items():
        drums = part[1] == DRUM_CHANNEL
        channel = DRUM_CHANNEL if drums else free[melodic % len(free)]
        melodic += not drums
        used.add(channel)
        if part in version.programs:
            change = mido.Message("program_change", channel=channel, program=version.programs[part])
            events.append((0.0, 0, change))
        if part in version.volumes:
            level = version.volumes[part]
            change = mido.Message("control_change", channel=channel, control=VOLUME, value=level)
            events.append((0.0, 0, change))
        for second, message in messages:
            if second > version.start + version.seconds:
                break
            time = (second - version.start) / version.tempo
            kept = _adapt(message, time, part, channel, version)
            if kept is not None:
                events.append((max(time, 0.0), 2 if _is(kept, "note_on") else 1, kept))
    end = max((time for time, _, _ in events), default=0.0) + 0.5
    for channel in sorted(used):
        for control, later in ((PEDAL, 0.0), (NOTES_OFF, 0.0), (SOUND_OFF, 1.0)):
            off = mido.Message("control_change", channel=channel, control=control, value=0)
            events.append((end + later, 3, off))
    events.sort(key=lambda event: event[:2])
    out = mido.MidiFile(type=0, ticks_per_beat=TICKS // 2)  # two beats a second: 120 a minute
    track, before = mido.MidiTrack(), 0
    out.tracks.append(track)
    for time, _, message in events:
        tick = round(time * TICKS)
        track.append(message.copy(time=tick - before))
        before = tick
    return out


def _adapt(
    message: mido.Message, time: float, part: Part, channel: int, version: Version
) -> mido.Message | None:
    """Return a message for its new channel and key, or None where it is not to be played."""
    if message.type in ("note_on", "note_off"):
        pitch = message.note + (0 if channel == DRUM_CHANNEL else version.shift)
        if time < 0 or not 0 <= pitch <= 127:
            return None
        return message.copy(channel=channel, note=pitch)
    if message.type == "program_change" and part in version.programs:
        return None
    if message.type == "control_change":
        if message.control in (SOUND_OFF, RESET, NOTES_OFF):  # would undo what was set here
            return None
        if message.control == VOLUME and part in version.volumes:
            return None
    return message.copy(channel=channel)
