"""Write what a teacher says of every recording of a pack beside it."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl.atomic import atomic_write
from musicssl.audio.resample import SoxrResampler, resampled_length
from musicssl.errors import ConfigError
from musicssl.folder.paths import writing
from musicssl_training.data.pack import RATE, Pack, cut, in_order, whole_lines
from musicssl_training.data.teaching import Place, check_places, files, read_places, to_line
from musicssl_training.progress import track
from musicssl_training.teachers.base import Teacher

log = logging.getLogger(__name__)
BLOCK_SECONDS = 10
LARGEST = float(np.finfo(np.float16).max)


def teach(folder: Path, teacher: Teacher, jobs: int = 1) -> int:
    """Write a teacher's values of a pack, going on with what is there; return the rows it has.

    A run that was killed leaves whole recordings. The files are the same whatever `jobs` is. Of a
    recording for which the teacher gives values that are not finite, nothing is kept. What is told
    of the teacher's licence and training is what this one tells.

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
        name.
    OutputError
        If the values cannot be written.
    """
    pack = Pack.open(folder)
    facts = teacher.facts
    values, index = files(folder, facts.name)
    before, places = read_places(index)
    if before is not None and not before.same_values(facts):
        raise ConfigError(
            f"{index} was written by another teacher of that name ({before.model}, "
            f"{before.sha256[:12]}; this one is {facts.model}, {facts.sha256[:12]}). Delete "
            f"{values.stem}.* to begin anew, or give this one another name."
        )
    rows = check_places(folder, facts, places, pack.items)
    if before is not None and before != facts:
        with writing(index), atomic_write(index) as file:
            file.writelines([to_line(facts), *map(to_line, places)])
    known = {place.path for place in places}
    todo = [item for item in pack.items if item["path"] not in known]
    with (
        writing(values),
        cut(values, rows * 2 * facts.size) as data,
        whole_lines(index) as lines,
        closing(in_order(todo, lambda item: said(teacher, pack, item), jobs)) as results,
    ):
        if before is None:
            lines.write(to_line(facts))
        for item, result in track(results, "recordings", total=len(todo)):
            found = result.result()
            data.write(found.tobytes())
            data.flush()
            lines.write(to_line(Place(item["path"], item["samples"], rows, len(found))))
            lines.flush()
            rows += len(found)
    return rows


def said(teacher: Teacher, pack: Pack, item: Mapping[str, Any]) -> NDArray[np.float16]:
    """Return a teacher's values of one recording, (steps, size)."""
    size = teacher.facts.size
    parts = [np.zeros((0, size), np.float16)]
    for part in teacher.values(blocks(pack, item, teacher.sample_rate)):
        if part.ndim != 2 or part.shape[1] != size:
            raise ConfigError(
                f"teacher {teacher.facts.name} says that it gives {size} values a step, but gave "
                f"an array of shape {part.shape}."
            )
        if not np.isfinite(part).all():
            log.warning("left out: %s, of which values are not finite", item["path"])
            return parts[0]
        parts.append(part.clip(-LARGEST, LARGEST).astype("<f2"))
    return np.concatenate(parts)


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
