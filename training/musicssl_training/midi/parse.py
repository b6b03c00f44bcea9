"""MIDI parsing: notes as they sound, beats, tempo and key."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import mido
import numpy as np
from numpy.typing import NDArray

from musicssl_training.midi.theory import DRUMS, parse_key

DRUM_CHANNEL = 9  # the channel that General MIDI keeps for percussion
PEDAL, SOUND_OFF, NOTES_OFF = 64, 120, 123  # controllers
SHORTEST = 0.03  # seconds that a note is taken to sound at least
FINEST = 64  # lower figure of a time signature; beyond it a file is taken to be damaged


@dataclass(frozen=True)
class Clock:
    """From ticks to seconds, through a file's changes of tempo."""

    ticks: tuple[int, ...]  # where a tempo begins
    seconds: tuple[float, ...]
    slopes: tuple[float, ...]  # seconds a tick from there on

    @classmethod
    def of(cls, score: mido.MidiFile) -> "Clock":
        """Return the clock of a MIDI file; 120 beats a minute until it says otherwise."""
        changes = [
            (tick, event.tempo)
            for track in score.tracks
            for tick, event in timed(track)
            if event.type == "set_tempo"
        ]
        changes.sort(key=itemgetter(0))  # of several at one tick, the last in the file counts
        beat = score.ticks_per_beat * 1e6
        places = [(0, 0.0, 500_000 / beat)]
        for tick, tempo in changes:
            before, second, slope = places[-1]
            places.append((tick, second + (tick - before) * slope, tempo / beat))
        return cls(*zip(*places, strict=True))

    def __call__(self, tick: float) -> float:
        """Return the second of a tick."""
        i = bisect_right(self.ticks, tick) - 1
        return self.seconds[i] + (tick - self.ticks[i]) * self.slopes[i]


def timed(track: mido.MidiTrack) -> list[tuple[int, Any]]:
    """Return the events of a track with their ticks from its start."""
    tick, out = 0, []
    for event in track:
        tick += event.time
        out.append((tick, event))
    return out


def with_events(score: mido.MidiFile, events: Iterable[Any]) -> mido.MidiFile:
    """Return a score of one track with others in the place of its events, at the same times.

    None takes one away.
    """
    track, wait = mido.MidiTrack(), 0
    for before, event in zip(score.tracks[0], events, strict=True):
        wait += before.time
        if event is not None:
            track.append(event.copy(time=wait))
            wait = 0
    return mido.MidiFile(type=0, ticks_per_beat=score.ticks_per_beat, tracks=[track])


def sounding(score: mido.MidiFile) -> NDArray[np.float32]:
    """Return the notes of a MIDI file as they sound, (notes, 5): see `Score.notes`.

    A key that is struck again ends the note before; the pedal holds notes until it is lifted.
    """
    clock = Clock.of(score)
    events = [
        (tick, order, event)
        for track in score.tracks
        for order, (tick, event) in enumerate(timed(track))
        if not event.is_meta and hasattr(event, "channel")
    ]
    events.sort(key=lambda event: event[:2])
    program: dict[int, int] = defaultdict(int)
    pressed: dict[int, bool] = defaultdict(bool)  # pedals, by channel
    open_notes: dict[tuple[int, int], list[float]] = {}  # channel, pitch: the note's row
    held: set[tuple[int, int]] = set()  # keys let go while the pedal is down
    out: list[list[float]] = []

    def end(key: tuple[int, int], second: float) -> None:
        row = open_notes.pop(key, None)
        held.discard(key)
        if row is not None:
            row[1] = max(second, row[0] + SHORTEST)

    for tick, _, event in events:
        second, channel = clock(tick), event.channel
        if event.type == "note_on" and event.velocity:
            key = (channel, event.note)
            end(key, second)
            instrument = DRUMS if channel == DRUM_CHANNEL else program[channel]
            open_notes[key] = [second, second, event.note, instrument, event.velocity]
            out.append(open_notes[key])
        elif event.type in ("note_on", "note_off"):
            if pressed[channel]:
                held.add((channel, event.note))
            else:
                end((channel, event.note), second)
        elif event.type == "program_change":
            program[channel] = event.program
        elif event.type == "control_change" and event.control == PEDAL:
            pressed[channel] = event.value >= 64
            for key in sorted(held) if not pressed[channel] else []:
                if key[0] == channel:
                    end(key, second)
        elif event.type == "control_change" and event.control in (SOUND_OFF, NOTES_OFF):
            for key in [key for key in open_notes if key[0] == channel]:
                end(key, second)
    last = max((clock(tick) for tick, _, _ in events), default=0.0)
    for key in list(open_notes):
        end(key, last)
    return np.array(out, np.float32).reshape(-1, 5)


def beats(score: mido.MidiFile) -> NDArray[np.float64]:
    """Return beats as seconds of the file and places in the bar, (beats, 2), see `meters`."""
    return np.concatenate([np.zeros((0, 2)), *meters(score)])


def meters(score: mido.MidiFile) -> list[NDArray[np.float64]]:
    """Return the beats from each time signature on: seconds and places in the bar, (beats, 2).

    A beat is the lower figure of the time signature, three of them where the upper one is 6, 9 or
    12 over 8 or 16. Where no signature was given yet, or one that cannot be, quarters in bars that
    are unknown (place 0). Bars are counted from the signature, also where there is an upbeat: see
    `meter.confirm_downbeats`.
    """
    clock, signatures = Clock.of(score), _signatures(score)
    last = max((sum(event.time for event in track) for track in score.tracks), default=0)
    out = []
    ends = [tick for tick, _, _ in signatures[1:]] + [last + 1]
    for (start, upper, lower), end in zip(signatures, ends, strict=True):
        size, bar = _bar(score, upper, lower)
        count = max(0, -int(-(end - start) // size))
        places = [i % bar + 1 if upper else 0 for i in range(count)]
        seconds = [clock(start + i * size) for i in range(count)]
        out.append(np.array([seconds, places], np.float64).T)
    return out


def _signatures(score: mido.MidiFile) -> list[tuple[int, int, int]]:
    """Return where time signatures stand and what they are: ticks, upper and lower figure.

    Those that say again what holds already are left out.
    """
    found = [
        (tick, event.numerator, event.denominator)
        if event.numerator and event.denominator <= FINEST
        else (tick, 0, 4)
        for track in score.tracks
        for tick, event in timed(track)
        if event.type == "time_signature"
    ]
    found.sort(key=itemgetter(0))  # of several at one tick, the last in the file counts
    if not found or found[0][0] >= score.ticks_per_beat:  # some write it at tick 1
        found.insert(0, (0, 0, 4))
    out: list[tuple[int, int, int]] = []
    for tick, upper, lower in found:
        if out and out[-1][0] == tick:
            out.pop()
        if out and out[-1][1:] == (upper, lower):
            size, bar = _bar(score, upper, lower)
            if (tick - out[-1][0]) % (size * bar) == 0:
                continue
        out.append((tick, upper, lower))
    return out


def _bar(score: mido.MidiFile, upper: int, lower: int) -> tuple[float, int]:
    """Return the ticks of a beat, and the beats of a bar."""
    compound = upper in (6, 9, 12) and lower >= 8
    size = score.ticks_per_beat * 4 / lower * (3 if compound else 1)
    return size, max(1, upper // 3 if compound else upper)


def has_tempo(score: mido.MidiFile) -> bool:
    """Tell whether a MIDI file says how its beats lie in time."""
    kinds = {event.type for track in score.tracks for event in track}
    return bool(kinds & {"set_tempo", "time_signature"})


def stated_key(score: mido.MidiFile, about: Mapping[str, str]) -> int:
    """Return the key that can be trusted, or -1.

    Parameters
    ----------
    score
        Whose own key signature counts where `about` has none of the columns below. Where it
        changes, no key is that of the whole piece.
    about
        An index row: ``key_source_label`` is trusted, ``key_signature`` where
        ``key_mode_reliable`` is 1 or not said.
    """
    events = (event for track in score.tracks for event in track)
    keys = {event.key for event in events if event.type == "key_signature"}
    if len(keys) > 1:
        return -1
    if about.get("key_source_label"):
        return parse_key(about["key_source_label"])
    if "key_mode_reliable" in about and about["key_mode_reliable"] != "1":
        return -1
    if "key_signature" in about:
        return parse_key(about["key_signature"])
    return parse_key(keys.pop()) if keys else -1
