"""Scores played by several: fluidsynth, sampled instruments, guitars through amplifiers."""

import logging
import random
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import mido
import numpy as np
import scipy.fft
import soundfile as sf
import torch
from numpy.typing import NDArray

from musicssl_training.midi.amplifier import (
    CLEAN_GUITAR,
    Amplifier,
    amplify,
    choose_amplifier,
)
from musicssl_training.midi.arrange import Version
from musicssl_training.midi.instruments import Instrument, Instruments
from musicssl_training.midi.parse import DRUM_CHANNEL, sounding, with_events
from musicssl_training.midi.sfizz import play
from musicssl_training.midi.theory import DRUMS
from musicssl_training.targets.banks import k_weighting

log = logging.getLogger(__name__)
SILENT = 1e-8  # mean square, K-weighted: -80 dB
TIED = 0.1  # seconds that a note may last into the next
Note = tuple[int, int, int]  # channel, General MIDI program or `DRUMS`, pitch


@dataclass(frozen=True)
class Sound:
    """Choices beyond the SoundFont."""

    instruments: Instruments = Instruments()  # noqa: RUF009 - frozen
    amplifier: float = 0.0  # chance that a distorted guitar is played through one


@dataclass(frozen=True)
class Part:
    """The notes of a channel and program that not the SoundFont alone plays."""

    channel: int
    program: int
    instrument: Instrument | None
    amplifier: Amplifier | None

    def has(self, note: Note) -> bool:
        """Tell whether a note is one of this part."""
        keys = self.instrument.keys if self.instrument else range(128)
        return note[:2] == (self.channel, self.program) and note[2] in keys


def perform(
    score: mido.MidiFile, version: Version, sample_rate: int, sound: Sound, rng: random.Random
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Play a version of a score.

    Parameters
    ----------
    score
        From `arrange.rewrite`.
    version
        Whose SoundFont plays what nobody else does.
    sample_rate
        Hz.
    sound
        Who else may play.
    rng
        Chooses.

    Returns
    -------
    audio, facts
        Mono, shape (samples,), and what an index should say of who played. Each part is as loud as
        the SoundFont would play it.
    """
    parts = choose_parts(score, sound, rng)
    if not parts:
        return synthesize(score, version, sample_rate, lazy=False), {}
    rest = select(score, lambda note: not any(part.has(note) for part in parts))
    layers = [synthesize(rest, version, sample_rate)] if any(_notes(rest)) else []
    played = []
    for part in parts:
        own = select(score, part.has)
        if not any(_notes(own)):
            continue
        reference = synthesize(own, version, sample_rate)
        audio = _play_part(own, part, version, sample_rate)
        heard = weighted_power(audio, sample_rate)
        if heard < SILENT * len(audio):
            name = part.instrument.name if part.instrument else "an amplified guitar"
            log.warning("%s is silent in a part; the SoundFont plays it.", name)
            layers.append(reference)
            continue
        gain = np.sqrt(weighted_power(reference, sample_rate) / heard)
        layers.append(audio * np.float32(gain))
        played.append(part)
    audio = _mix(layers)
    return audio / max(1.0, float(np.abs(audio).max(initial=0))), _facts(played)


def choose_parts(score: mido.MidiFile, sound: Sound, rng: random.Random) -> list[Part]:
    """Return the parts of a score that not the SoundFont alone plays."""
    out = []
    for channel, program in sorted({note[:2] for note in _notes(score)}):
        whole = Part(channel, program, None, None)
        chords = _has_chords(select(score, whole.has))
        instrument = sound.instruments.choose(program, rng, chords=chords)
        amplifier = choose_amplifier(program, sound.amplifier, rng)
        if instrument or amplifier:
            out.append(Part(channel, program, instrument, amplifier))
    return out


def _has_chords(score: mido.MidiFile) -> bool:
    """Tell whether notes sound together for longer than where one is tied to the next."""
    notes = sounding(score)
    notes = notes[notes[:, 0].argsort(kind="stable")]
    return bool((np.maximum.accumulate(notes[:-1, 1]) - notes[1:, 0] > TIED).any())


def _with_notes(score: mido.MidiFile) -> Iterator[tuple[mido.Message, Note | None]]:
    """Yield the events of a score of one track, with the note that begins there, if one does."""
    programs: dict[int, int] = defaultdict(int)
    for event in score.tracks[0]:
        if event.type == "program_change":
            programs[event.channel] = event.program
        note = None
        if event.type == "note_on" and event.velocity:
            drums = event.channel == DRUM_CHANNEL
            note = event.channel, DRUMS if drums else programs[event.channel], event.note
        yield event, note


def _notes(score: mido.MidiFile) -> Iterator[Note]:
    return (note for _, note in _with_notes(score) if note is not None)


def select(score: mido.MidiFile, keep: Callable[[Note], bool]) -> mido.MidiFile:
    """Return a score of one track with some of its notes, and all its other events."""
    events = (event if note is None or keep(note) else None for event, note in _with_notes(score))
    return with_events(score, events)


def _play_part(
    score: mido.MidiFile, part: Part, version: Version, sample_rate: int
) -> NDArray[np.float32]:
    """Play the notes of a part, at whatever level."""
    if part.instrument:
        on = [e for e in score.tracks[0] if e.type == "note_on" and e.velocity]
        needed = part.instrument.sfz.reduced((e.note, e.velocity) for e in on)
        audio = play(score, needed, sample_rate) if needed else np.zeros(0, np.float32)
    else:  # the font's clean guitar; its distorted ones have been through an amplifier
        events = (
            event.copy(program=CLEAN_GUITAR) if event.type == "program_change" else event
            for event in score.tracks[0]
        )
        clean = with_events(score, events)
        audio = synthesize(clean, replace(version, reverb=False), sample_rate, chorus=False)
    return amplify(audio, sample_rate, part.amplifier) if part.amplifier else audio


def synthesize(
    score: mido.MidiFile,
    version: Version,
    sample_rate: int,
    *,
    chorus: bool = True,
    lazy: bool = True,
) -> NDArray[np.float32]:
    """Play a score by fluidsynth: mono, shape (samples,).

    Parameters
    ----------
    score
        Of one track.
    version
        Its SoundFont, gain and reverb.
    sample_rate
        Hz.
    chorus
        Whether fluidsynth's is on, as it is by itself.
    lazy
        Whether only samples that sound are read: faster for few, and compressed fonts need it.

    Raises
    ------
    OSError, ValueError, subprocess.SubprocessError
        If it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        midi, wave = f"{folder}/score.mid", f"{folder}/score.wav"
        score.save(midi)
        settings = ["-r", str(sample_rate), "-O", "s16", "-g", str(version.gain)]
        settings += ["-o", f"synth.reverb.active={int(version.reverb)}"]
        if not chorus:
            settings += ["-o", "synth.chorus.active=0"]
        if lazy or version.font.endswith(".sf3"):
            settings += ["-o", "synth.dynamic-sample-loading=1"]
        command = ["fluidsynth", "-niq", "-F", wave, *settings, version.font, midi]
        subprocess.run(command, check=True, capture_output=True, timeout=600)
        audio, _ = sf.read(wave, dtype="float32", always_2d=True)
    return audio.mean(axis=1)


def weighted_power(audio: NDArray[np.float32], sample_rate: int) -> float:
    """Return the sum of squares of what is heard of it, by the K-weighting of ITU-R BS.1770.

    A sum, not a mean: layers of the same notes may end at different times.
    """
    if not len(audio):
        return 0.0
    length = scipy.fft.next_fast_len(len(audio), real=True)
    power = np.abs(scipy.fft.rfft(audio, length)) ** 2
    hertz = torch.from_numpy(scipy.fft.rfftfreq(length, 1 / sample_rate))
    weights = k_weighting(hertz).numpy()
    return float(2 * np.sum(power * weights) / length)


def _mix(layers: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the sum of layers of any length."""
    out = np.zeros(max(map(len, layers), default=0), np.float32)
    for layer in layers:
        out[: len(layer)] += layer
    return out


def _facts(played: list[Part]) -> dict[str, Any]:
    """Return what an index should say; nothing where the SoundFont played alone."""
    used = {part.instrument.name: part.instrument.licence for part in played if part.instrument}
    amplified = sorted({part.program for part in played if part.amplifier})
    facts: dict[str, Any] = {}
    if used:
        facts["instruments"] = [{"name": n, "licence": used[n]} for n in sorted(used)]
    if amplified:
        facts["amplified"] = amplified
    return facts
