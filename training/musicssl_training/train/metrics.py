"""Log of a run, one line of JSON per step and the same for TensorBoard, and how it is read.

The loop writes ``hours`` (of audio heard so far), ``wall`` (seconds so far), ``waiting`` (seconds
that this step waited for data), ``effective_rank`` of the encoder's output and, by worker,
``loss/``, ``weight/``, what `Worker.metrics` calls its figures (``r2/``, ``accuracy/``),
``gradient/`` (lengths) and ``cosine/``; ``start/``, the losses before learning, and ``probe/``,
downstream scores, where known.
"""

import itertools
import json
import logging
import math
import sys
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicssl.errors import ConfigError, OutputError
from musicssl_training.weighting.base import DEAD

log = logging.getLogger(__name__)
LOG = "log.jsonl"
DIGITS = 8  # of a number in the log: hundredths of a second in a run of a week
SMOOTH = 1 / 30  # of a run, to each side of a running mean
LATE = 0.25  # share of a run over which cosines are averaged
GIB = 2**30  # bytes

Value = float | Tensor  # a tensor holds one number
Values = Mapping[str, Value | Mapping[str, Value]]
Curves = dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]  # steps and values, by name


class MetricLogger:
    """Written while it is open, in ``log.jsonl`` and ``tensorboard/`` of the run's folder.

    Lines of steps after `step`, from where the run goes on, are dropped: they were written after
    the last save and will come again.

    Parameters
    ----------
    folder
        Of the run.
    step
        From which it goes on.
    tensorboard
        Whether to write for TensorBoard too; where it is not installed, that is logged.
    """

    def __init__(self, folder: Path, step: int, *, tensorboard: bool = True) -> None:
        self.folder, self.step, self.tensorboard = folder, step, tensorboard

    def __enter__(self) -> "MetricLogger":
        truncate_after(self.folder / LOG, self.step)
        board = self.folder / "tensorboard"
        self._board = _open_board(board, self.step) if self.tensorboard else None
        self._lines = (self.folder / LOG).open("a", encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lines.close()
        if self._board is not None:
            self._board.close()

    def write(self, step: int, values: Values) -> None:
        """Write what is known at a step: ``{"loss": {"chroma": 1}}`` as ``loss/chroma``.

        Both files are complete up to here when it returns; what is not finite is null in JSON.

        Raises
        ------
        OutputError
            If the disk is full, or the like.
        """
        flat = flatten(values)
        line: dict[str, float | None] = {"step": step}
        line |= {
            key: float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
            for key, value in flat.items()
        }
        try:
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()
            if self._board is not None:
                for key, value in flat.items():
                    self._board.add_scalar(key, value, step)
                self._board.flush()
        except OSError as error:
            raise OutputError(f"{self.folder / LOG} cannot be written ({error}).") from error


def flatten(values: Values) -> dict[str, float]:
    """Return groups' members as ``group/member``."""
    out: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= {f"{key}/{member}": float(number) for member, number in value.items()}
        else:
            out[key] = float(value)
    return out


def _open_board(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer, hiding what it wrote after a step, or None without it."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        log.warning("nothing is written for TensorBoard: %s", error)
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def truncate_after(path: Path, step: int) -> None:
    """Drop the lines of a log after a step, and one that was cut short; all of it or nothing."""
    if path.exists():
        part = path.with_suffix(".part")
        with part.open("w", encoding="utf-8") as kept:
            kept.writelines(line for line, row in _rows(path) if row["step"] <= step)
        part.replace(path)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each line of a log and what it says, but not those that were cut short."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                whole = line.endswith("\n") and isinstance(row["step"], int)
            except (ValueError, KeyError, TypeError):
                whole = False
            if whole:
                yield line, row
            else:
                log.warning("%s, line %d was cut short and does not count", path, number)


def read_log(folder: Path) -> Curves:
    """Return every curve of a run: steps and values, by name; NaN where a value was not finite.

    Raises
    ------
    ConfigError
        If the folder holds no log, or an empty one.
    """
    file = folder / LOG
    if not file.is_file():
        raise ConfigError(f"{folder} holds no {LOG}: not a pre-training run, or none that began.")
    curves: dict[str, tuple[array[int], array[float]]] = {}
    for _, row in _rows(file):
        for key, value in row.items():
            if key != "step":
                steps, values = curves.setdefault(key, (array("q"), array("d")))
                steps.append(row["step"])
                values.append(math.nan if value is None else value)
    if not curves:
        raise ConfigError(f"{file} is empty: the run has not come far enough to write anything.")
    return {
        key: (np.array(steps, dtype=np.int64), np.array(values, dtype=np.float64))
        for key, (steps, values) in curves.items()
    }


def select_group(curves: Curves, group: str) -> Curves:
    """Return the curves of a group by their short names, where they are more than gaps."""
    return {
        key.removeprefix(f"{group}/"): (steps, values)
        for key, (steps, values) in curves.items()
        if key.startswith(f"{group}/") and np.isfinite(values).any()
    }


def normalized_losses(curves: Curves) -> Curves:
    """Return each worker's loss divided by what it was before learning.

    That is its ``start/``, or where none was logged its first value; for a long log, the mean of
    the first half per cent, 5 at most. A loss that starts at 0 or below is left as it is.
    """
    starts = select_group(curves, "start")
    out: Curves = {}
    for name, (steps, values) in select_group(curves, "loss").items():
        known = values[np.isfinite(values)]
        first = known[: min(5, max(1, len(known) // 200))].mean()
        if name in starts:
            first = starts[name][1][np.isfinite(starts[name][1])][0]
        out[name] = (steps, values / first if first > 0 else values)
    return out


def smoothed(curves: Curves) -> Curves:
    """Return running means of what is finite, centred but for the end, exact at the start."""
    out: Curves = {}
    for name, (steps, values) in curves.items():
        places = np.arange(len(values))
        half = np.minimum(int(SMOOTH * len(values)), places)
        first, last = places - half, np.minimum(places + half + 1, len(values))
        known = np.isfinite(values)
        sums = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
        counts = np.concatenate([[0], np.cumsum(known)])
        n = counts[last] - counts[first]
        means = np.where(n > 0, (sums[last] - sums[first]) / np.maximum(n, 1), np.nan)
        out[name] = (steps, means)
    return out


def gradient_statistics(
    gram: Tensor, names: Sequence[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the lengths of the workers' gradients, and the cosines between them.

    Parameters
    ----------
    gram
        Scalar products, (workers, workers), as of `weighting.output_gram`.
    names
        Of the workers; a pair is called ``first-second``. A gradient so short that it has no
        direction left has no cosines.
    """
    products = gram.detach().double().cpu().numpy()
    lengths = np.sqrt(products.diagonal().clip(min=0))
    norms = dict(zip(names, lengths.tolist(), strict=True))
    alive = lengths > DEAD * lengths.max(initial=0)
    cosines = {
        f"{names[i]}-{names[j]}": float(np.clip(products[i, j] / (lengths[i] * lengths[j]), -1, 1))
        for i, j in itertools.combinations(range(len(names)), 2)
        if alive[i] and alive[j]
    }
    return norms, cosines


@torch.no_grad()
def effective_rank(frames: Tensor) -> float:
    """Return the number of dimensions that embeddings really use, from 1 to all of them.

    The exponential of the entropy of the singular values [1]_, of frames around their mean. Where
    it falls while losses fall, the embedding collapses.

    Parameters
    ----------
    frames
        Shape (..., dim).

    References
    ----------
    .. [1] Roy and Vetterli, "The effective rank: a measure of effective dimensionality", 2007.
    """
    rows = frames.flatten(0, -2).cpu().double()
    if not rows.isfinite().all():
        return math.nan
    around = rows - rows.mean(dim=0)
    # the singular values are the roots of the eigenvalues of a smaller matrix
    values = torch.linalg.eigvalsh(around.T @ around).clamp(min=0).sqrt()
    if not values.sum() > 0:
        return math.nan
    return float(torch.special.entr(values / values.sum()).sum().exp())


def mean_cosines(curves: Curves, names: Sequence[str]) -> tuple[NDArray[np.float64], int, int]:
    """Return the pairs' mean cosines in the last quarter of a run, and its first and last step.

    Shape (workers, workers); NaN on the diagonal and where nothing was logged.
    """
    cosines = select_group(curves, "cosine")
    compared = np.unique(np.concatenate([[0], *(steps for steps, _ in cosines.values())]))
    last = int(compared[-1])
    first = int(compared[compared >= (1 - LATE) * last][0])
    matrix = np.full((len(names), len(names)), np.nan)
    for i, j in itertools.combinations(range(len(names)), 2):
        steps, values = cosines.get(f"{names[i]}-{names[j]}", (np.zeros(0), np.zeros(0)))
        late = values[(steps >= first) & np.isfinite(values)]
        if len(late):
            matrix[i, j] = matrix[j, i] = late.mean()
    return matrix, first, last


class Speed(NamedTuple):
    """How fast a run goes."""

    hours: float  # of audio, in an hour on the clock
    waiting: float  # share of the time in which it waited for data, 0 to 1


def speed(curves: Curves, lines: int = 50) -> Speed:
    """Return how fast a run went over the last lines of its log; NaN where it does not say.

    A line tells how long its own step waited; the steps between lines are taken to be like it.
    """
    if not {"hours", "wall", "waiting"} <= curves.keys():
        return Speed(math.nan, math.nan)
    steps, wall = (np.concatenate([[0.0], part])[-lines - 1 :] for part in curves["wall"])
    hours = np.concatenate([[0.0], curves["hours"][1]])[-lines - 1 :]
    seconds = wall[-1] - wall[0]
    if not seconds > 0:
        return Speed(math.nan, math.nan)
    waiting = np.nanmean(curves["waiting"][1][-lines:]) * (steps[-1] - steps[0])
    return Speed(float((hours[-1] - hours[0]) / seconds * 3600), float(min(1, waiting / seconds)))


def peak_memory(device: torch.device) -> dict[str, float]:
    """Return the most memory that this process has held, in GiB: ``host``, and ``gpu`` on one."""
    peaks = {}
    try:
        import resource
    except ImportError:  # on Windows
        pass
    else:
        unit = 1 if sys.platform == "darwin" else 1024  # bytes
        peaks["host"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB
    if device.type == "cuda":
        peaks["gpu"] = torch.cuda.max_memory_allocated(device) / GIB
    return peaks
