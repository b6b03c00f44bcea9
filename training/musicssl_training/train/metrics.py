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
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicssl.atomic import atomic_write
from musicssl.errors import ConfigError
from musicssl.folder.paths import writing
from musicssl_training.weighting.base import DEAD

log = logging.getLogger(__name__)
LOG = "log.jsonl"
DIGITS = 8  # of a number in the log: hundredths of a second in a run of a week
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
        board = self.folder / "tensorboard"
        with writing(self.folder / LOG):
            truncate_after(self.folder / LOG, self.step)
            self._lines = (self.folder / LOG).open("a", encoding="utf-8")
        self._board = _open_board(board, self.step) if self.tensorboard else None
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
        with writing(self.folder / LOG):
            self._lines.write(json.dumps(line) + "\n")
            self._lines.flush()
            if self._board is not None:
                for key, value in flat.items():
                    self._board.add_scalar(key, value, step)
                self._board.flush()


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
        with atomic_write(path) as kept:
            kept.writelines(line.encode() for line, row in _rows(path) if row["step"] <= step)


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
