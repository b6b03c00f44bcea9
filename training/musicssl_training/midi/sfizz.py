"""Sampled instruments played by sfizz, a sampler for the SFZ format: https://sfz.tools/sfizz."""

import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import mido
import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from musicssl.errors import DependencyError
from musicssl_training.midi.parse import NOTES_OFF, PEDAL, SOUND_OFF, with_events

EXPRESSION = 11  # a controller
VOICES = 256  # that sound at once, the most that sfizz has
GAINS = (0, -30)  # dB, tried in turn: sfizz_render writes 16 bits, and clips
CLIPPED = 0.999


def find_renderer() -> str:
    """Return the path of the program ``sfizz_render``.

    Raises
    ------
    DependencyError
        If it is not installed.
    """
    package = importlib.util.find_spec("pysfizz")  # whose wheel has it in a folder beside
    beside = Path(package.origin).parents[1] / "bin" if package and package.origin else None
    found = beside and shutil.which("sfizz_render", path=beside)
    found = found or shutil.which("sfizz_render")
    if found is None:
        raise DependencyError(
            "sampled instruments are played by sfizz, whose sfizz_render is not there: "
            "pip install 'musicssl-training[sfz]'."
        )
    return found


def find_fault(file: Path) -> str:
    """Return what sfizz says is wrong with an instrument, if anything.

    Raises
    ------
    DependencyError
        If sfizz is not installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        silence = Path(folder) / "silence.mid"
        mido.MidiFile(type=0, tracks=[mido.MidiTrack()]).save(silence)
        command = [find_renderer(), "--sfz", str(file), "--midi", str(silence)]
        command += ["--wav", f"{folder}/silence.wav"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=600, check=False
            )
        except subprocess.TimeoutExpired:
            return "sfizz has not read it after ten minutes."
    if done.returncode < 0:
        return f"sfizz is ended by signal {-done.returncode} as it reads it."
    if not done.returncode:
        return ""
    said = done.stderr.splitlines()[:1]
    if said and said[0].startswith("Parse error"):
        return said[0]
    return "sfizz finds no region with a sample in it."


def play(score: mido.MidiFile, instrument: str, sample_rate: int) -> NDArray[np.float32]:
    """Play a score of one track and one instrument: mono, shape (samples,).

    The same every time: round robins and random layers begin anew in each process.

    Parameters
    ----------
    score
        Its events of all channels are played.
    instrument
        SFZ whose paths are absolute, such as `Sfz.text`.
    sample_rate
        Hz.

    Raises
    ------
    OSError, ValueError, subprocess.SubprocessError
        If it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        midi, wave, file = (f"{folder}/part.{end}" for end in ("mid", "wav", "sfz"))
        for_sfizz(score).save(midi)
        command = [find_renderer(), "--sfz", file, "--midi", midi, "--wav", wave]
        command += ["-s", str(sample_rate), "-p", str(VOICES)]
        for decibels in GAINS:
            quieter = f"\n<effect> bus=main type=gain gain={decibels}\n"
            Path(file).write_text(instrument + quieter, encoding="utf-8")
            subprocess.run(command, check=True, capture_output=True, timeout=600)
            audio, _ = sf.read(wave, dtype="float32", always_2d=True)
            if np.abs(audio).max(initial=0) < CLIPPED:
                break
    return audio.mean(axis=1)


def for_sfizz(score: mido.MidiFile) -> mido.MidiFile:
    """Return a score without what libraries take for switches of their own.

    Bends go too: each library has its own range, and the truth knows of none. The pedal is up or
    down, as `parse.sounding` takes it.
    """
    return with_events(score, map(_for_sfizz, score.tracks[0]))


def _for_sfizz(event: Any) -> Any:
    if event.type in ("note_on", "note_off"):
        return event.copy(channel=0)
    if event.is_cc(PEDAL):
        return event.copy(channel=0, value=127 if event.value >= 64 else 0)
    if any(event.is_cc(control) for control in (EXPRESSION, SOUND_OFF, NOTES_OFF)):
        return event.copy(channel=0)
    return None
