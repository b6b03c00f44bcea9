"""What a run writes down as it goes: a line of JSON a step, and the same for TensorBoard."""

import json
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from musicssl.errors import ConfigError

log = logging.getLogger(__name__)
LOG = "log.jsonl"
Values = Mapping[str, float | Mapping[str, float]]


class Record:
    """Written while it is open, in ``log.jsonl`` and ``tensorboard/`` of the run's folder.

    Lines of steps after `step`, from where the run goes on, are dropped: they were written after
    the last save and will come again.

    Parameters
    ----------
    folder
        Of the run.
    step
        From which it goes on.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.step = folder, step

    def __enter__(self) -> "Record":
        forget(self.folder / LOG, self.step)
        self._lines = (self.folder / LOG).open("a", encoding="utf-8")
        self._board = _board(self.folder / "tensorboard", self.step)
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
        """Write what is known at a step: ``{"loss": {"chroma": 1}}`` as ``loss/chroma``."""
        flat = flatten(values)
        line: dict[str, float | None] = {"step": step}
        line |= {k: float(f"{v:.6g}") if math.isfinite(v) else None for k, v in flat.items()}
        self._lines.write(json.dumps(line) + "\n")
        self._lines.flush()
        if self._board is not None:
            for key, value in flat.items():
                self._board.add_scalar(key, value, step)


def flatten(values: Values) -> dict[str, float]:
    """Return groups' members as ``group/member``."""
    out: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= {f"{key}/{member}": number for member, number in value.items()}
        else:
            out[key] = value
    return out


def _board(folder: Path, step: int) -> Any:
    """Return TensorBoard's writer, or None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        log.warning("nothing is written for TensorBoard: %s", error)
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)


def forget(path: Path, step: int) -> None:
    """Drop the lines of a log after a step, and one that was cut short."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    part = path.with_suffix(".part")
    part.write_text(
        "".join(line for line in whole if json.loads(line)["step"] <= step), encoding="utf-8"
    )
    part.replace(path)


def read_log(folder: Path) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return every curve of a run: steps and values, by name; NaN where a value was not finite.

    Raises
    ------
    ConfigError
        If the folder holds no log, or an empty one.
    """
    file = folder / LOG
    if not file.is_file():
        raise ConfigError(f"{folder} holds no {LOG}: not a pre-training run.")
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n")]
    if not rows:
        raise ConfigError(f"{file} is empty: the run has not come far enough to write anything.")
    curves: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for key, value in row.items():
            if key != "step":
                number = float("nan") if value is None else float(value)
                curves.setdefault(key, []).append((row["step"], number))
    return {
        key: (np.array([s for s, _ in points]), np.array([v for _, v in points]))
        for key, points in curves.items()
    }


def geometry(gram: Tensor, names: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Return the lengths of the workers' gradients, and the cosines between them.

    Parameters
    ----------
    gram
        Scalar products, (workers, workers).
    names
        Of the workers; a pair is called ``first-second``. A gradient of length 0 has no cosines.
    """
    norms = gram.diagonal().clamp(min=0).sqrt()
    found = dict(zip(names, norms.tolist(), strict=True))
    cosines = {}
    for i, first in enumerate(names):
        for j in range(i + 1, len(names)):
            if found[first] > 0 and found[names[j]] > 0:
                cosine = gram[i, j] / (norms[i] * norms[j])
                cosines[f"{first}-{names[j]}"] = float(cosine.clamp(-1, 1))
    return found, cosines
