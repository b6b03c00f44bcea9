"""SFZ instruments: what they need and which notes they have.

The format: https://sfzformat.com. Headers hold opcodes such as ``lokey=48``; a region has those of
the global, master and group headers before it, too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from musicssl.errors import ConfigError
from musicssl_training.midi import sfizz

STAND_IN = b"version https://git-lfs"
DEEPEST = 32  # that files include files
MOST_FILES = 10_000  # that one includes
MOST_TEXT = 2**24  # characters
COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)|//[^\n]*|[^\S\n]{256,}", re.DOTALL)  # no name has such gaps
DIRECTIVE = re.compile(r'#include\s+"(?P<path>[^"]+)"|#define\s+(?P<name>\$\w+)\s+(?P<value>\S+)')
END = r"(?=\s+[\w$]+=|\s*<|\s*$)"  # of a value, which may hold spaces
PATH = re.compile(rf"\b(default_path|sample)=([^\n]*?){END}", re.MULTILINE)
OPCODE = re.compile(r"\b(lokey|hikey|key|lovel|hivel|note_offset|octave_offset|trigger)=([^\s<]+)")
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


def read_sfz(file: Path) -> Sfz:
    """Read an instrument, and look whether all of its samples are there.

    Raises
    ------
    ConfigError
        If it is not there, is not SFZ, or lacks samples: sfizz passes over regions without.
    DependencyError
        If sfizz is not installed.
    """
    if file.suffix.lower() != ".sfz":
        raise ConfigError(f"{file} is no instrument in the SFZ format: its name must end in .sfz.")
    root = file.resolve().parent
    text, samples = _absolute(_Reader(root).flatten(file), root)
    missing = [sample for sample in samples if not _is_there(sample)]
    if missing:
        raise ConfigError(
            f"{file} needs {len(samples)} samples, of which {len(missing)} are not there, such as "
            f"{missing[0]}. Was the library copied in part, or without what Git LFS keeps?"
        )
    if fault := sfizz.find_fault(file):
        raise ConfigError(f"{file} cannot be read: {fault}")
    return Sfz(text, tuple(find_regions(text)))


class _Reader:
    """Reads an instrument with what it includes, within bounds: files from elsewhere may be bombs.

    Attributes
    ----------
    defined
        Values by name, such as ``$KEY``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files = 0
        self.defined: dict[str, str] = {}

    def flatten(self, file: Path, depth: int = 0) -> str:
        """Return the text of a file without comments, with included files and values put in."""
        self._files += 1
        if depth > DEEPEST or self._files > MOST_FILES:
            raise ConfigError(
                f"{file} includes itself, or is one of more than {MOST_FILES:,} files."
            )
        out, size, end, text = list[str](), 0, 0, COMMENT.sub("", _read(file))
        for found in [*DIRECTIVE.finditer(text), None]:
            out.append(self._expand(text[end : found.start() if found else None]))
            if found and found["name"]:
                self.defined[found["name"]] = found["value"]
            elif found:
                # as in sfizz, wherever it is included, it lies below the instrument's folder
                included = self._root / self._expand(found["path"]).replace("\\", "/")
                out.append(f"\n{self.flatten(included, depth + 1)}\n")
            size += sum(map(len, out[-2:]))
            _check_size(size)
            end = found.end() if found else end
        return "".join(out)

    def _expand(self, text: str) -> str:
        """Put values in the place of names, the longest that fit first."""
        if "$" in text:
            for name in sorted(self.defined, key=len, reverse=True):
                value = self.defined[name]
                _check_size(len(text) + text.count(name) * len(value))
                text = text.replace(name, value)
        return text


def _check_size(characters: int) -> None:
    if characters > MOST_TEXT:
        raise ConfigError(f"it has more than {MOST_TEXT:,} characters with all that it includes.")


def _read(file: Path) -> str:
    if not file.is_file() and file.exists():  # a device never ends, a pipe waits
        raise ConfigError(f"{file} cannot be read: it is no regular file.")
    try:
        with file.open(encoding="utf-8", errors="replace") as data:
            text = data.read(MOST_TEXT + 1)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file} cannot be read: {said}.") from error
    _check_size(len(text))
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
    """Tell whether a file is there, and is no stand-in of Git LFS for one that is elsewhere."""
    try:
        found = _find(file)
        if found is None or not found.is_file():
            return False
        with found.open("rb") as data:
            start = data.read(len(STAND_IN))
    except (OSError, ValueError):  # such as a name that is too long for any file
        return False
    return start not in (b"", STAND_IN)


def _find(file: Path) -> Path | None:
    """Return a path as it is spelled on disk, in whatever case: libraries are made on Windows."""
    if file.exists():
        return file
    found = Path(file.anchor)
    for name in file.parts[1:]:
        if (found / name).exists():
            found /= name
            continue
        like = [one for one in found.iterdir() if one.name.casefold() == name.casefold()]
        if not like:
            return None
        found = like[0]
    return found


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
    keys = _in_midi(_number(said, "lokey", 0) + offset, _number(said, "hikey", 127) + offset)
    if "trigger" in said:  # by what was played before
        return keys, range(128)
    return keys, _in_midi(_number(said, "lovel", 0), _number(said, "hivel", 127))


def _in_midi(first: int, last: int) -> range:
    """Return the numbers from one to another that MIDI has."""
    return range(max(first, 0), min(last, 127) + 1)


def _number(said: dict[str, str], opcode: str, default: int) -> int:
    """Return the number or the note that an opcode says; c4 is 60."""
    text = said.get(opcode, "")
    try:
        if note := NOTE.fullmatch(text):
            pitch = "c d ef g a b".index(note[1].lower())  # semitones above c
            return pitch + {"": 0, "#": 1, "b": -1}[note[2]] + 12 * (int(note[3]) + 1)
        return round(float(text))
    except (ValueError, OverflowError):  # no number, infinity, more digits than int() reads
        return default
