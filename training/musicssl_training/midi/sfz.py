"""SFZ instruments: what they need, which notes they have, and their sound, by sfizz.

The format: https://sfzformat.com. Headers hold opcodes such as ``lokey=48``; a region has those of
the global, master and group headers before it, too.
"""

import importlib.util
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mido
import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from musicssl.errors import ConfigError, DependencyError
from musicssl_training.midi.parse import NOTES_OFF, PEDAL, SOUND_OFF

EXPRESSION = 11  # a controller
VOICES = 256  # that sound at once, the most that sfizz has
GAINS = (0, -30)  # dB, tried in turn: sfizz_render writes 16 bits, and clips
CLIPPED = 0.999
DEEPEST = 32  # that files include files
DIRECTIVE = re.compile(r'#include\s+"(?P<path>[^"]+)"|#define\s+(?P<name>\$\w+)\s+(?P<value>\S+)')
END = r"(?=\s+[\w$]+=|\s*<|\s*$)"  # of a value, which may hold spaces
PATH = re.compile(rf"\b(default_path|sample)=([^\n]*?){END}", re.MULTILINE)
OPCODE = re.compile(r"\b(lokey|hikey|key|lovel|hivel|note_offset|octave_offset|trigger)=(\S+)")
LEVELS = ("control", "global", "master", "group", "region")
NOTE = re.compile(r"([a-g])([#b]?)(-?\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Region:
    """A region of an instrument: where it stands in its text, and the notes that it answers."""

    start: int
    stop: int
    keys: range
    velocities: range


@dataclass(frozen=True)
class Sfz:
    """An instrument in the SFZ format, with all that it includes in one text."""

    text: str
    regions: tuple[Region, ...]

    @property
    def keys(self) -> frozenset[int]:
        """The MIDI pitches that it has."""
        return frozenset(key for region in self.regions for key in region.keys)

    def reduced(self, notes: Iterable[tuple[int, int]]) -> str:
        """Return its text without the regions that no such note, of pitch and velocity, needs.

        Nothing if no region is left.
        """
        wanted = set(notes)
        needed = [
            any(pitch in one.keys and velocity in one.velocities for pitch, velocity in wanted)
            for one in self.regions
        ]
        out, end = [], 0
        for region, kept in zip(self.regions, needed, strict=True):
            if not kept:
                out.append(self.text[end : region.start])
                end = region.stop
        return "".join([*out, self.text[end:]]) if any(needed) else ""


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


def read_sfz(file: Path) -> Sfz:
    """Read an instrument, and look whether all of its samples are there.

    Raises
    ------
    ConfigError
        If it is not there, is not SFZ, or lacks samples: sfizz passes over regions without.
    DependencyError
        If sfizz is not installed.
    """
    renderer = find_renderer()
    if file.suffix.lower() != ".sfz":
        raise ConfigError(f"{file} is no instrument in the SFZ format: its name must end in .sfz.")
    text, samples = _absolute(_flatten(file, file.resolve().parent, {}, 0), file.resolve().parent)
    missing = [sample for sample in samples if not _is_there(sample)]
    if missing:
        raise ConfigError(
            f"{file} needs {len(samples)} samples, of which {len(missing)} are not there, such as "
            f"{missing[0]}. Was the library copied in part, without its large files?"
        )
    if fault := _fault(renderer, file):
        raise ConfigError(f"{file} cannot be read: {fault}")
    return Sfz(text, tuple(find_regions(text)))


def _fault(renderer: str, file: Path) -> str:
    """Return what sfizz says is wrong with an instrument, if anything."""
    with tempfile.TemporaryDirectory() as folder:
        silence = Path(folder) / "silence.mid"
        mido.MidiFile(type=0, tracks=[mido.MidiTrack()]).save(silence)
        command = [renderer, "--sfz", str(file), "--midi", str(silence)]
        command += ["--wav", f"{folder}/silence.wav"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if not done.returncode:
        return ""
    said = done.stderr.splitlines()[:1]
    if said and said[0].startswith("Parse error"):
        return said[0]
    return "sfizz finds no region with a sample in it."


def _flatten(file: Path, root: Path, defined: dict[str, str], depth: int) -> str:
    """Return the text of a file without comments, with included files and values put in."""
    if depth > DEEPEST:
        raise ConfigError(f"{file} includes itself.")
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}.") from error
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)
    out, end = [], 0
    for found in DIRECTIVE.finditer(text):
        out.append(_expand(text[end : found.start()], defined))
        end = found.end()
        if found["name"]:
            defined[found["name"]] = found["value"]
        else:  # as in sfizz, wherever it is included, it lies below the instrument's own folder
            included = root / _expand(found["path"], defined).replace("\\", "/")
            out.append(f"\n{_flatten(included, root, defined, depth + 1)}\n")
    return "".join([*out, _expand(text[end:], defined)])


def _expand(text: str, defined: dict[str, str]) -> str:
    """Put values in the place of names, the longest that fit first."""
    if "$" in text:
        for name in sorted(defined, key=len, reverse=True):
            text = text.replace(name, defined[name])
    return text


def _absolute(text: str, root: Path) -> tuple[str, list[Path]]:
    """Return a text that may lie anywhere, and the samples that it names, each once."""
    folder = ""
    samples: dict[Path, None] = {}

    def lead(found: re.Match[str]) -> str:
        nonlocal folder
        path = found[2].strip().replace("\\", "/")
        if found[1] == "default_path":
            folder = path
            return f"default_path={root.as_posix()}/{folder}"
        if not path.startswith("*"):  # such as *sine, which needs no file
            samples[root / (folder + path)] = None
        return found[0]

    text = PATH.sub(lead, text)
    # sfizz reads files ahead in threads of its own, and at full speed ahead of them cuts notes off
    start = f"<control> hint_ram_based=1 default_path={root.as_posix()}/\n"
    return start + text, list(samples)


def _is_there(file: Path) -> bool:
    """Tell whether a file is there, in whatever case: libraries are made on Windows too."""
    if file.exists():
        return True
    if file == file.parent or not _is_there(file.parent):
        return False
    name = file.name.casefold()
    return file.parent.is_dir() and any(n.name.casefold() == name for n in file.parent.iterdir())


def find_regions(text: str) -> Iterator[Region]:
    """Iterate over the regions of a text without includes and definitions.

    Yields
    ------
    Region
        In their order.
    """
    headers = list(re.finditer(r"<(\w+)>", text))
    held: dict[str, dict[str, str]] = {level: {} for level in LEVELS}
    for n, header in enumerate(headers):
        if header[1] not in LEVELS:  # curves, effects
            continue
        stop = headers[n + 1].start() if n + 1 < len(headers) else len(text)
        level = LEVELS.index(header[1])
        own = dict[str, str]()
        for opcode, value in OPCODE.findall(text, header.end(), stop):
            own |= {"lokey": value, "hikey": value} if opcode == "key" else {opcode: value}
        if header[1] == "control":
            held["control"] |= own
            continue
        held |= {header[1]: own} | {below: {} for below in LEVELS[level + 1 :]}
        if header[1] == "region":
            said = {key: value for name in LEVELS for key, value in held[name].items()}
            yield Region(header.start(), stop, *_ranges(said))


def _ranges(said: dict[str, str]) -> tuple[range, range]:
    """Return the keys and velocities of a region; as wide as can be where they are unclear."""
    offset = 12 * _number(said, "octave_offset", 0) + _number(said, "note_offset", 0)
    keys = range(_number(said, "lokey", 0) + offset, _number(said, "hikey", 127) + offset + 1)
    if "trigger" in said:  # by what was played before
        return keys, range(128)
    return keys, range(_number(said, "lovel", 0), _number(said, "hivel", 127) + 1)


def _number(said: dict[str, str], opcode: str, default: int) -> int:
    """Return the number or the note that an opcode says; c4 is 60."""
    text = said.get(opcode, "")
    if note := NOTE.fullmatch(text):
        pitch = "c d ef g a b".index(note[1].lower())  # semitones above c
        return pitch + {"": 0, "#": 1, "b": -1}[note[2]] + 12 * (int(note[3]) + 1)
    try:
        return round(float(text))
    except ValueError:
        return default


def play(score: mido.MidiFile, sfz: Sfz, sample_rate: int) -> NDArray[np.float32]:
    """Play a score of one track and one instrument: mono, shape (samples,).

    The same every time: round robins and random layers begin anew in each process. Nothing is
    heard of notes that the instrument does not have.

    Raises
    ------
    OSError, ValueError, subprocess.SubprocessError
        If it fails.
    """
    score = for_sfizz(score)
    notes = {(e.note, e.velocity) for e in score.tracks[0] if e.type == "note_on" and e.velocity}
    needed = sfz.reduced(notes)
    if not needed:
        return np.zeros(0, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        midi, wave, file = (f"{folder}/part.{end}" for end in ("mid", "wav", "sfz"))
        score.save(midi)
        command = [find_renderer(), "--sfz", file, "--midi", midi, "--wav", wave]
        command += ["-s", str(sample_rate), "-p", str(VOICES)]
        for decibels in GAINS:
            quieter = f"\n<effect> bus=main type=gain gain={decibels}\n"
            Path(file).write_text(needed + quieter, encoding="utf-8")
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
    track, wait = mido.MidiTrack(), 0
    for event in score.tracks[0]:
        wait += event.time
        if event.type in ("note_on", "note_off"):
            track.append(event.copy(channel=0, time=wait))
        elif event.is_cc(PEDAL):
            track.append(event.copy(channel=0, time=wait, value=127 if event.value >= 64 else 0))
        elif any(event.is_cc(control) for control in (EXPRESSION, SOUND_OFF, NOTES_OFF)):
            track.append(event.copy(channel=0, time=wait))
        else:
            continue
        wait = 0
    return mido.MidiFile(type=0, ticks_per_beat=score.ticks_per_beat, tracks=[track])
