"""Band accompaniments to random chord charts, by MMA, in the styles of its library.

`MMA <https://www.mellowood.ca/mma>`_ plays chord charts in some hundreds of styles, which the
collections of scores hardly hold: rock, jazz, Latin and country bands with drums. A soloist
improvises over most of them.
"""

import csv
import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mido

from musicssl.errors import ConfigError, DependencyError
from musicssl_training.midi.charts import Chart, draw_chart, second_beat
from musicssl_training.midi.parse import DRUM_CHANNEL
from musicssl_training.midi.theory import FAMILIES
from musicssl_training.output import make_output_folder

LIBRARIES = (Path("/usr/share/mma/lib"), Path("/usr/local/share/mma/lib"))
COLUMNS = (
    "path",
    "source",
    "licence",
    "group",
    "style",
    "groove",
    "key_source_label",
    "time_signature",
    "tempo_bpm",
    "tempo_source",
    "downbeat_source",
    "program_source",
)
LICENCE = "GPL-2.0-or-later"  # of the library, whose patterns sound
SECONDS = 55.0  # of a piece, at least: what `render` cuts from it is shorter
SOLOISTS = ("guitar", "strings", "voice", "brass", "reed", "pipe", "lead", "mallet", "piano")
SWINGING = ("jazz", "blues")  # off-beats come late
# what the names of library files say; the first that is found counts
WORDS = (
    ("metal", "metal"),
    ("waltz", "waltz"),
    ("blues", "blues"),
    ("reggae|ska", "reggae"),
    ("hip-?hop|trip-?hop", "hip-hop"),
    ("techno|house|trance|rave|dance|ambient|electric", "electronic"),
    ("country|blue(grass|folk)|western|kwest|zydeco", "country"),
    ("bossa|samba|salsa|mambo|rhumba|bolero|beguine|chacha|tango|merengue|son$|calypso", "latin"),
    ("afro|latin|cuban|desert|quando", "latin"),
    ("rockballad|slowrock|softrock", "ballad"),
    ("jazz|swing|bebop|bigband|dixie$|ragtime|foxtrot|evans|nitejazz|quickstep", "jazz"),
    ("charleston|broadway|showtune|softshoe|strut|bo[og]g", "jazz"),
    ("ballad|lullaby|serenade", "ballad"),
    ("funk|fusion", "funk"),
    ("soul|motown|rb$|^rb|r\\+b|spiritual|disco", "soul"),
    ("march|polka", "march"),
    ("folk|hymn|arpeggio", "folk"),
    ("rock|twi|jive|16|highfive|shuffle", "rock"),
    ("pop|beat|boney", "pop"),
)
APART = re.compile(
    r"(intro|end(ing)?|fill\w*|count|break|tag)\w{0,2}$|metronome|(?-i:F[A-C]|[0-9][EI])$", re.I
)


@dataclass(frozen=True)
class Groove:
    """A pattern of MMA's library.

    Attributes
    ----------
    file
        Of the library, without its suffix: ``stdlib/bossanova``.
    name
        As MMA knows it.
    style
        One of `charts.STYLES`.
    meter
        Beats of a bar.
    """

    file: str
    name: str
    style: str
    meter: int


def find_grooves(libraries: Sequence[Path] = LIBRARIES) -> list[Groove]:
    """Return the grooves that play chords in three or four quarters, of the first library there.

    Introductions, endings and the like are left out, and files whose name tells no style.

    Raises
    ------
    DependencyError
        If there is none.
    """
    for library in libraries:
        if files := sorted(library.glob("*/*.mma")):
            return [groove for file in files for groove in _read_file(file)]
    raise DependencyError(
        f"no library of MMA in {' or '.join(map(str, libraries))}: on Debian, apt-get install mma."
    )


def _read_file(file: Path) -> list[Groove]:
    text = file.read_text(encoding="utf-8", errors="replace")
    style = style_of(file.stem)
    if not style or not re.search(
        r"^\s*(Begin\s+)?(Chord|Bass|Walk|Arpeggio|Plectrum)", text, re.M
    ):
        return []  # drums alone
    if re.search(r"^\s*TimeSig\s+(6|12|5|2)\b", text, re.I | re.M):
        return []
    found, meter = [], 4
    for line in text.splitlines():
        if time := re.match(r"\s*Time\s+(\d+)", line, re.I):
            meter = int(time[1])
        name = re.match(r"\s*DefGroove\s+(\S+)", line, re.I)
        if name and meter in (3, 4) and not APART.search(name[1]):
            found.append(Groove(f"{file.parent.name}/{file.stem}", name[1], style, meter))
    return found


def style_of(name: str) -> str:
    """Return the style that the name of a library file tells, or nothing."""
    return next((style for words, style in WORDS if re.search(words, name.lower())), "")


def write_chart(chart: Chart, grooves: Sequence[Groove], seed: int) -> str:
    """Return a chart in the language of MMA; the grooves alternate every eight bars."""
    lines = [f"RndSeed {seed}", f"Tempo {chart.tempo}"]
    lines += [f"Use {file}" for file in dict.fromkeys(groove.file for groove in grooves)]
    for number, bar in enumerate(chart.bars):
        if number % 8 == 0:
            groove = grooves[number // 8 % len(grooves)]
            lines += [f"Groove {groove.name}", f"TimeSig {chart.meter} 4"]
        wait = [" /"] * (second_beat(chart.meter) - 1) if len(bar) > 1 else []
        lines.append(f"{number + 1} " + "".join([str(bar[0]), *wait, *(f" {c}" for c in bar[1:])]))
    return "\n".join(lines) + "\n"


def find_mma() -> str:
    """Return the path of MMA's program.

    Raises
    ------
    DependencyError
        If there is none.
    """
    command = shutil.which("mma")
    if command is None:
        raise DependencyError("accompaniments are made by MMA: on Debian, apt-get install mma.")
    return command


def play(text: str, file: Path) -> mido.MidiFile:
    """Return what MMA makes of a chart; both files stay, the chart beside the MIDI file.

    Raises
    ------
    DependencyError
        If there is no MMA.
    ConfigError
        If it refuses the chart.
    """
    command = find_mma()
    chart = file.with_suffix(".mma")
    chart.write_text(text, encoding="utf-8")
    file.unlink(missing_ok=True)
    done = subprocess.run(
        [command, "-w", "-f", file.name, chart.name],
        cwd=file.parent,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
    )
    if done.returncode or not file.is_file():
        said = " ".join((done.stdout + done.stderr).split())[-300:]
        raise ConfigError(f"{chart}: MMA makes nothing of it: {said}")
    return mido.MidiFile(file, clip=True)


def add_solo(score: mido.MidiFile, chart: Chart, style: str, rng: random.Random) -> None:
    """Add a soloist, who walks along the chords, on a channel that is free; if none is, nobody."""
    used = {event.channel for track in score.tracks for event in track if hasattr(event, "channel")}
    free = [channel for channel in range(16) if channel not in used | {DRUM_CHANNEL}]
    if not free:
        return
    program = rng.choice(FAMILIES[rng.choice(SOLOISTS)])
    events = [(0, mido.Message("program_change", channel=free[0], program=program))]
    for beat, length, pitch in improvise(chart, style in SWINGING, rng):
        velocity, on = rng.randint(70, 110), round(beat * score.ticks_per_beat)
        off = max(on + 1, round((beat + length) * score.ticks_per_beat))
        for tick, kind, loud in ((on, "note_on", velocity), (off, "note_off", 0)):
            message = mido.Message(kind, channel=free[0], note=pitch, velocity=loud)
            events.append((tick, message))
    events.sort(key=lambda event: (event[0], event[1].type == "note_on"))
    track, before = mido.MidiTrack(), 0
    for tick, message in events:
        track.append(message.copy(time=tick - before))
        before = tick
    score.tracks.append(track)


def improvise(chart: Chart, swing: bool, rng: random.Random) -> list[tuple[float, float, int]]:
    """Return a solo over a chart: beats, lengths in beats, and pitches.

    On beats a note of the chord that is near, between them a step of the key's scale.
    """
    scale = {
        (chart.tonic + step) % 12
        for step in ((0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 5, 7, 9, 11))[not chart.minor]
    }
    total, beat, pitch, out = float(len(chart.bars) * chart.meter), 0.0, rng.randint(60, 74), []
    late = 2 / 3 if swing else 0.5
    while beat < total - 1:
        if rng.random() < 0.12:  # a breath
            beat = float(int(beat) + rng.choice((1, 2)))
            continue
        length = rng.choice((1.0, 1.0, 2.0, late)) if beat % 1 == 0 else 1 - beat % 1
        wanted = set(chart.chord_at(beat).classes) if beat % 1 == 0 else scale
        near = [p for p in range(pitch - 5, pitch + 6) if p % 12 in wanted and 55 <= p <= 86]
        pitch = rng.choice(near or [pitch])
        out.append((beat, 0.92 * length, pitch))
        beat += length
        beat = round(beat) if abs(beat - round(beat)) < 1e-6 else beat
    return out


def write_accompaniments(out: Path, count: int, seed: int = 0) -> dict[str, int]:
    """Write accompaniments as MIDI files, and an index that ``musicssl-train render`` reads.

    A style is as frequent as the root of the number of its files in the library.

    Parameters
    ----------
    out
        Folder; ``out/index.csv``, ``out/mma/00000.mid``, ``out/mma/00000.mma``, ... are written.
    count
        How many.
    seed
        The same seed and library, the same accompaniments.

    Returns
    -------
    dict
        How many of each style.

    Raises
    ------
    DependencyError
        If there is no MMA, or no library of it.
    """
    find_mma()  # before an index that is there is replaced
    by_style: dict[str, dict[str, list[Groove]]] = {}
    for groove in find_grooves():
        by_style.setdefault(groove.style, {}).setdefault(groove.file, []).append(groove)
    make_output_folder(out / "mma")
    styles = sorted(by_style)
    shares = [len(by_style[style]) ** 0.5 for style in styles]
    made: dict[str, int] = dict.fromkeys(styles, 0)
    with (out / "index.csv").open("w", encoding="utf-8", newline="") as file:
        index = csv.DictWriter(file, COLUMNS)
        index.writeheader()
        for number in range(count):
            rng = random.Random(f"{seed}/{number}")
            style = rng.choices(styles, shares)[0]
            grooves = rng.choice(list(by_style[style].values()))
            path = f"mma/{number:05d}.mid"
            index.writerow({"path": path} | _write(out / path, grooves, rng))
            made[style] += 1
    return made


def _write(file: Path, grooves: Sequence[Groove], rng: random.Random) -> dict[str, object]:
    """Write one accompaniment; return its columns of the index."""
    first = rng.choice(grooves)
    same = [groove for groove in grooves if groove.meter == first.meter]
    chart = draw_chart(first.style, first.meter, SECONDS, rng)
    score = play(write_chart(chart, [first, rng.choice(same)], rng.randrange(2**31)), file)
    if rng.random() < 0.6:
        add_solo(score, chart, first.style, rng)
        score.save(file)
    return {
        "source": "mma",
        "licence": LICENCE,
        "group": first.file,
        "style": first.style,
        "groove": first.name,
        "key_source_label": chart.key,
        "time_signature": f"{chart.meter}/4",
        "tempo_bpm": chart.tempo,
        "tempo_source": "file",
        "downbeat_source": "file",
        "program_source": "file",
    }
