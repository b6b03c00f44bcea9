"""What tests of sampled instruments share."""

from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile as sf

from musicssl.errors import DependencyError
from musicssl_training.midi import sfizz

RATE = 22_050
try:
    sfizz.find_renderer()
    there = True
except DependencyError:
    there = False
needs_sfizz = pytest.mark.skipif(not there, reason="needs sfizz_render")


def sines(folder: Path, level: float = 0.5) -> Path:
    """An instrument of two samples, for the keys 48 to 84, and one hit of a drum at 36."""
    time = np.arange(2 * RATE) / RATE
    for key in (60, 72):
        tone = level * np.sin(2 * np.pi * 440 * 2 ** ((key - 69) / 12) * time)
        sf.write(folder / f"{key}.wav", tone, RATE)
    file = folder / "sines.sfz"
    file.write_text(
        "<global> ampeg_release=0.02\n"
        "<region> sample=60.wav lokey=48 hikey=65 pitch_keycenter=60 hivel=127\n"
        "<region> sample=72.wav lokey=66 hikey=84 pitch_keycenter=72\n"
        "<region> sample=60.wav key=36 loop_mode=one_shot\n"
    )
    return file


def melody(pitches: tuple[int, ...], program: int = 0, channel: int = 0) -> mido.MidiFile:
    """Notes of 0.3 s from 0.25 s on, every 0.5 s, as `rewrite` writes them."""
    track = mido.MidiTrack([mido.Message("program_change", channel=channel, program=program)])
    for i, pitch in enumerate(pitches):
        wait = 192 if i else 240
        track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=90, time=wait))
        track.append(mido.Message("note_off", channel=channel, note=pitch, time=288))
    return mido.MidiFile(type=0, ticks_per_beat=480, tracks=[track])


def pitch_at(audio: np.ndarray, start: float) -> float:
    """Return the MIDI pitch of the strongest frequency in the 0.25 s from a second on."""
    first = round(start * RATE)
    stretch = audio[first : first + RATE // 4] * np.hanning(RATE // 4)
    hertz = np.abs(np.fft.rfft(stretch, 1 << 18)).argmax() * RATE / (1 << 18)
    return 69 + 12 * float(np.log2(hertz / 440))
