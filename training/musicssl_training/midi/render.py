"""MIDI to audio: a random version of a score, and what sounds in it."""

import io
import random
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import mido
import numpy as np
from numpy.typing import NDArray

from musicssl.errors import AudioError, ConfigError, DependencyError
from musicssl.folder.paths import reason
from musicssl_training.data.recordings import file_hash
from musicssl_training.midi.arrange import Version, choose_version, rewrite
from musicssl_training.midi.ensemble import Sound, perform
from musicssl_training.midi.meter import confirm_downbeats
from musicssl_training.midi.parse import beats, has_tempo, meters, sounding, stated_key
from musicssl_training.midi.score import AROUND, Score
from musicssl_training.midi.theory import DRUMS

KEY, KEY_HIDDEN = b"\xff\x59\x02", b"\xff\x7f\x02"  # such events begin so; as an unknown one
INSTALL = "on Debian, apt-get install fluidsynth fluid-soundfont-gm timgm6mb-soundfont."


def check_fonts(fonts: Iterable[str]) -> dict[str, str]:
    """Return 16 digits of the SHA-256 of each sound font.

    Raises
    ------
    ConfigError
        If one is no SoundFont.
    DependencyError
        If one is missing.
    """
    hashes = {}
    for font in dict.fromkeys(fonts):
        try:
            with Path(font).open("rb") as data:
                start = data.read(12)
            hashes[font] = file_hash(Path(font))
        except FileNotFoundError:
            raise DependencyError(f"there is no sound font {font}: {INSTALL}") from None
        except OSError as error:
            raise ConfigError(f"{font} cannot be read: {reason(error)}.") from error
        if (start[:4], start[8:]) != (b"RIFF", b"sfbk"):
            raise ConfigError(
                f"{font} is no SoundFont (.sf2 or .sf3), which begins with RIFF and sfbk."
            )
    return hashes


def read_score(path: Path) -> mido.MidiFile:
    """Read a MIDI file. Where a key signature is none, such as ten sharps, its keys are unknown.

    Raises
    ------
    AudioError
        If it cannot be read, or counts its time in frames of a film.
    """
    try:
        try:
            score = mido.MidiFile(path, clip=True)
        except mido.KeySignatureError:
            data = path.read_bytes().replace(KEY, KEY_HIDDEN)
            score = mido.MidiFile(file=io.BytesIO(data), clip=True)
    except Exception as error:  # mido lets many kinds through, some of them its own
        raise AudioError(f"{path}: cannot be rendered ({reason(error)}).") from error
    if score.ticks_per_beat <= 0:  # the sign bit says SMPTE
        raise AudioError(f"{path}: cannot be rendered (its time is in SMPTE frames, not in beats).")
    return score


def truth(
    score: mido.MidiFile, played: mido.MidiFile, version: Version, about: Mapping[str, str]
) -> Score:
    """Return what sounds in a version of a score.

    Parameters
    ----------
    score
        As it was written.
    played
        Its version, from `rewrite`.
    version
        How it is played.
    about
        What an index says of it; see `parse.stated_key`. A ``tempo_source`` that begins with
        "unreliable" means that beats and tempo are not to be taken from the file, such a
        ``downbeat_source`` that bars are not; where that is "file", bars need no confirmation.
    """
    places = np.zeros((0, 2))
    if has_tempo(score) and not about.get("tempo_source", "").startswith("unreliable"):
        places = _places(score, about.get("downbeat_source", ""))
        places[:, 0] = (places[:, 0] - version.start) / version.tempo
    seconds = version.seconds / version.tempo
    inside = places[(places[:, 0] >= 0) & (places[:, 0] <= seconds), 0]
    near = (places[:, 0] > -AROUND) & (places[:, 0] < seconds + AROUND)
    beat = float(np.median(np.diff(inside))) if len(inside) > 1 else 0.0
    notes = sounding(played)
    key = stated_key(score, about) if (notes[:, 3] != DRUMS).any() else -1
    return Score(
        notes,
        places[near].astype(np.float32),
        60 / beat if beat > 0 else float("nan"),
        (key + version.shift) % 12 + key // 12 * 12 if key >= 0 else -1,
    )


def _places(score: mido.MidiFile, source: str) -> NDArray[np.float64]:
    """Return the beats of a file, and their places in the bar where these can be trusted."""
    if source == "file":
        return beats(score)
    places = confirm_downbeats(meters(score), sounding(score))
    if source.startswith("unreliable"):
        places[:, 1] = 0
    return places


def render(
    path: Path,
    fonts: list[str],
    sample_rate: int,
    seed: str,
    about: Mapping[str, str] = MappingProxyType({}),
    sound: Sound = Sound(),  # noqa: B008 - frozen
) -> tuple[NDArray[np.float32], dict[str, Any], Score]:
    """Render a random version of a MIDI file.

    Parameters
    ----------
    path
        MIDI file.
    fonts
        Sound fonts to choose from, once each time they are named.
    sample_rate
        Hz.
    seed
        The same seed gives the same version.
    about
        What an index says of the file; see `truth`. Where ``program_source`` is "file", the
        instruments are as written.
    sound
        Who plays beside the SoundFont. It changes neither the version nor the score.

    Returns
    -------
    audio, facts, score
        Mono, shape (samples,), in [-1, 1]; the version's choices; and what sounds.

    Raises
    ------
    AudioError
        If the file cannot be read or rendered, or is silent there.
    DependencyError
        If fluidsynth or a font is missing.
    """
    if shutil.which("fluidsynth") is None or not all(Path(font).is_file() for font in fonts):
        raise DependencyError(f"rendering needs fluidsynth and its sound fonts: {INSTALL}")
    rng = random.Random(seed)
    score = read_score(path)
    try:
        as_written = about.get("program_source") == "file"
        version = choose_version(score, fonts, rng, as_written=as_written)
        played = rewrite(score, version)
        sources = random.Random(f"{seed}/sound")  # of its own: the version stays the same
        audio, used = perform(played, version, sample_rate, sound, sources)
    except (OSError, ValueError, EOFError, LookupError, subprocess.SubprocessError) as error:
        raise AudioError(f"{path}: cannot be rendered ({reason(error)}).") from error
    mono = audio[: round((version.seconds / version.tempo + 1) * sample_rate)]
    if not len(mono) or np.sqrt(np.mean(mono**2)) < 1e-4:
        raise AudioError(f"{path}: silent where it was cut out.")
    return mono, version.facts() | used, truth(score, played, version, about)
