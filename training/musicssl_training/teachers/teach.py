"""Write what a teacher says of every recording of a pack beside it."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.atomic import atomic_write
from musicssl.audio.resample import SoxrResampler, resampled_length
from musicssl.errors import ConfigError, DependencyError, MusicSSLError, shown
from musicssl.folder.paths import put_aside, reason, writing
from musicssl_training.data.appending import cut, in_order, whole_lines
from musicssl_training.data.facts import Facts
from musicssl_training.data.pack import Pack
from musicssl_training.data.places import AGAIN, Place, check_places, files, read_places, to_line
from musicssl_training.data.recordings import AUDIO_HASH, RATE, length_of
from musicssl_training.data.teaching import Lessons
from musicssl_training.locks import claimed
from musicssl_training.progress import track
from musicssl_training.teachers.base import Teacher, check_teacher

log = logging.getLogger(__name__)
BLOCK_SECONDS = 10
LARGEST = float(np.finfo(np.float16).max)
TINY = float(np.finfo(np.float16).smallest_subnormal) / 2


class ValuesError(MusicSSLError):
    """What a teacher says of a recording cannot be kept."""


@dataclass(frozen=True)
class Written:
    """Result of asking a teacher about a pack."""

    rows: int  # that there are now
    known: int  # recordings that have any
    left_out: Mapping[str, str]  # recordings of this call's, and why


def teach(folder: Path, teacher: Teacher, jobs: int = 1) -> Written:
    """Write a teacher's values of a pack, going on with what is there.

    A run that was killed leaves whole recordings. The files are the same whatever `jobs` is. A
    recording of which the teacher says nothing that can be kept is left out and logged; the next
    call asks about it again. What is told of the teacher's licence and training is what this one
    tells.

    Parameters
    ----------
    folder
        The pack's.
    teacher
        Is asked about every recording.
    jobs
        Recordings at a time, in threads; one of them is in memory as values, not as audio.

    Raises
    ------
    ConfigError
        If `folder` is no pack, or holds values of other recordings or of another teacher of that
        name; or if another process is writing them.
    DependencyError
        If the teacher lacks a package: all recordings would fail.
    OutputError
        If the values cannot be written.
    """
    pack, facts = Pack.open(folder), check_teacher(teacher)
    with claimed(folder / f"teacher-{facts.name}.lock"):
        places, rows = _start(pack, facts)
        known = {place.path for place in places}
        todo = [item for item in pack.items if item["path"] not in known]
        left_out = _ask(pack, teacher, jobs, todo, rows)
        lessons = Lessons.open(folder, facts.name, pack.items)
    if lessons is None:  # removed meanwhile
        raise ConfigError(f"{files(folder, facts.name)[1]} is gone; {AGAIN}.")
    _warn(pack, lessons)
    return Written(len(lessons.values), lessons.known, left_out)


def _start(pack: Pack, facts: Facts) -> tuple[list[Place], int]:
    """Return what is known already and its rows, and write an index of that and of the facts.

    Recordings that were left out are not known.

    Raises
    ------
    ConfigError
        If the files are another teacher's, of other audio, damaged, or perhaps none of ours.
    """
    values, index = files(pack.folder, facts.name)
    before, places = read_places(index)
    if before is not None and (other := before.differences(facts)):
        raise ConfigError(
            f"{index} was written by another teacher of that name than this one ({other}). Delete "
            f"{values.stem}.* to begin anew, or give this one another name."
        )
    if before is None and values.is_file() and values.stat().st_size:
        if not index.is_file():
            raise ConfigError(
                f"{values} is there without {index.name}, and is left as it is. Remove it to begin "
                "anew."
            )
        put_aside(values)
    rows = check_places(pack.folder, facts, places, pack.items)
    lengths = {item["path"]: length_of(item) for item in pack.items}
    kept = [
        place
        for place in places
        if place.steps or not facts.fitting_steps(lengths.get(place.path, 0.0))[0]
    ]
    if before != facts or len(kept) < len(places):
        with writing(index), atomic_write(index) as file:
            file.writelines([to_line(facts), *map(to_line, kept)])
    return kept, rows


def _ask(
    pack: Pack, teacher: Teacher, jobs: int, todo: list[dict[str, Any]], rows: int
) -> dict[str, str]:
    """Write what a teacher says of some recordings behind `rows` rows; return what is left out."""
    values, index = files(pack.folder, teacher.facts.name)
    left_out = {}
    with (
        writing(values),
        cut(values, rows * 2 * teacher.facts.size) as data,
        whole_lines(index) as lines,
        closing(in_order(todo, lambda item: said(teacher, pack, item), jobs)) as results,
    ):
        for item, result in track(results, "recordings", total=len(todo)):
            path = item["path"]
            try:
                found = result.result()
            except DependencyError:
                raise
            except Exception as error:  # of somebody else's program
                log.debug("%s", path, exc_info=error)
                left_out[path] = _why(error)
                log.warning("left out: %s: %s", path, left_out[path])
                continue
            data.write(found.tobytes())
            data.flush()
            audio = item.get(AUDIO_HASH, "")
            lines.write(to_line(Place(path, item["samples"], rows, len(found), audio)))
            lines.flush()
            rows += len(found)
    return left_out


def _why(error: Exception) -> str:
    """Return in a few words why a recording is left out."""
    return (
        str(error) if isinstance(error, ValuesError) else f"{type(error).__name__}: {reason(error)}"
    )


def _warn(pack: Pack, lessons: Lessons) -> None:
    """Tell if a part of the values is of no use."""
    facts = lessons.facts
    same, faint, steps = lessons.idle()
    who = f"{pack.folder}: teacher {facts.name}"
    if same:
        log.warning(
            "%s: %d of %d values are the same in all %s steps that were looked at, also if they "
            "are below %.0e, which 16-bit floats take for 0: nothing can be learnt from them",
            *(who, same, facts.size, f"{steps:,}", TINY),
        )
    if faint:
        log.warning(
            "%s: %d of %d values are so small that 16-bit floats keep few of their digits; the "
            "teacher should multiply them",
            *(who, faint, facts.size),
        )


def said(teacher: Teacher, pack: Pack, item: Mapping[str, Any]) -> NDArray[np.float16]:
    """Return a teacher's values of one recording, (steps, size).

    Raises
    ------
    ValuesError
        If they cannot be kept.
    """
    facts, seconds = teacher.facts, length_of(item)
    most = facts.fitting_steps(seconds)[1]
    parts, steps = [np.zeros((0, facts.size), np.float16)], 0
    for part in _values(teacher, blocks(pack, item, teacher.sample_rate)):
        parts.append(part)
        steps += len(part)
        if steps > most:
            break  # perhaps it would never end
    if wrong := facts.misfit(steps, seconds):
        raise ValuesError(f"the teacher gave {wrong}")
    return np.concatenate(parts)


def _values(
    teacher: Teacher, heard: Iterable[NDArray[np.float32]]
) -> Iterator[NDArray[np.float16]]:
    """Yield what a teacher says in 16-bit floats; raise `ValuesError` if that cannot be."""
    size = teacher.facts.size
    given: Any = teacher.values(heard)
    if not isinstance(given, Iterable):
        raise ValuesError(f"the teacher gave {type(given).__name__} and no arrays")
    for part in given:
        if not isinstance(part, np.ndarray) or part.dtype.kind not in "fiub":
            raise ValuesError(f"the teacher gave {shown(part, kind=True)}, not an array of numbers")
        if part.ndim != 2 or part.shape[1] != size:
            raise ValuesError(
                f"the teacher says that it gives {size} values a step, but gave an array of shape "
                f"{part.shape}"
            )
        if not np.isfinite(part).all():
            raise ValuesError("values are not finite")
        largest = float(np.abs(part.astype(np.float64)).max(initial=0))
        if largest > LARGEST:
            raise ValuesError(
                f"there are values up to {largest:.3g}, 16-bit floats end at {LARGEST:,.0f}; the "
                "teacher should divide them"
            )
        yield part.astype("<f2")


def blocks(pack: Pack, item: Mapping[str, Any], sample_rate: int) -> Iterator[NDArray[np.float32]]:
    """Yield a recording of a pack at another rate, in blocks of 10 s."""
    rate, samples = item.get("sample_rate", RATE), item["samples"]
    resample = SoxrResampler(rate, sample_rate) if rate != sample_rate else None
    left, block = resampled_length(samples, rate, sample_rate), BLOCK_SECONDS * sample_rate
    held = np.zeros(0, np.float32)
    step = BLOCK_SECONDS * rate
    for first in range(0, samples, step):
        last = first + step >= samples
        place = item["start"] + first
        piece = pack.audio[place : place + min(step, samples - first)] * np.float32(1 / 32768)
        held = np.concatenate([held, piece if resample is None else resample(piece, last=last)])
        while len(held) >= block and left > 0:
            yield held[: min(block, left)]
            held, left = held[block:], left - min(block, left)
    if left > 0:
        yield held[:left]
