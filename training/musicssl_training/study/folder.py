"""What lies in a study's folder: results, models, failures, and runs that are not finished."""

import json
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicssl.atomic import atomic_write_text
from musicssl.errors import shown
from musicssl.folder.paths import writing
from musicssl_training.locks import is_stale
from musicssl_training.study.design import Cell
from musicssl_training.study.results import FORMAT, find_fault, read_json, refuse

FACTS = "study.json"  # beside a model: what its training cost and was made of
TRACE = 4_000  # characters of a failure that are kept


@dataclass(frozen=True)
class StudyFolder:
    """The folder that all processes of a study share.

    ``cells/ID.json`` holds a result, ``models/ID`` its encoder, ``running/ID`` a run that is not
    finished, ``failed/ID.json`` an error, ``locks/ID.lock`` who is at work.
    """

    root: Path

    def result_file(self, cell: Cell) -> Path:
        """Return where a cell's result is written."""
        return self.root / "cells" / f"{cell.id}.json"

    def failure_file(self, cell: Cell) -> Path:
        """Return where a cell's error is written."""
        return self.root / "failed" / f"{cell.id}.json"

    def model(self, cell: Cell) -> Path:
        """Return the checkpoint folder of a cell's encoder."""
        return self.root / "models" / cell.id

    def running(self, cell: Cell) -> Path:
        """Return the folder of a cell's run."""
        return self.root / "running" / cell.id

    def embeddings(self, cell: Cell) -> Path:
        """Return the folder of what was embedded with a cell's encoder so far."""
        return self.root / "running" / f"{cell.id}-embeddings"

    def lock(self, cell: Cell) -> Path:
        """Return the lock file of a cell."""
        return self.root / "locks" / f"{cell.id}.lock"

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """Return a cell's result; None if there is none, or it was measured otherwise.

        Its levels are called as they are in this study, whichever study it was run for.

        Raises
        ------
        ConfigError
            If it is damaged, or another cell's.
        """
        file = self.result_file(cell)
        found = read_json(file)
        if found is not None and (fault := find_fault(found, cell.id)):
            refuse(file, fault)
        if found is None or found["measured"] != cell.measure_id:
            return None
        return found | {"levels": cell.levels}

    def failure(self, cell: Cell) -> dict[str, Any] | None:
        """Return why a cell failed; None if it did not.

        Raises
        ------
        ConfigError
            If that is damaged.
        """
        file = self.failure_file(cell)
        found = read_json(file)
        if found is not None and not isinstance(found.get("error"), str):
            refuse(file, f"error must be text, got {shown(found.get('error'))}")
        return found

    def state(self, cell: Cell) -> str:
        """Return "finished", "failed", "running", "begun" or "to do"."""
        if self.result(cell):
            return "finished"
        if self.failure(cell):
            return "failed"
        if self.lock(cell).exists() and not is_stale(self.lock(cell)):
            return "running"
        return "begun" if self.running(cell).exists() or self.model(cell).exists() else "to do"

    def write_result(self, cell: Cell, values: dict[str, Any]) -> None:
        """Write a cell's result, whole or not at all."""
        facts = {"format": FORMAT, "id": cell.id, "measured": cell.measure_id}
        write_json(self.result_file(cell), facts | {"levels": cell.levels} | values)

    def write_failure(self, cell: Cell, error: BaseException) -> None:
        """Write why a cell failed."""
        trace = "".join(traceback.format_exception(error))[-TRACE:]
        values = {"levels": cell.levels, "error": f"{type(error).__name__}: {error}"}
        write_json(self.failure_file(cell), values | {"traceback": trace})

    def forget_failure(self, cell: Cell) -> None:
        """Let a failed cell be tried again."""
        self.failure_file(cell).unlink(missing_ok=True)


def write_json(file: Path, values: dict[str, Any]) -> None:
    """Write JSON, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write_text(file, json.dumps(values, indent=1, allow_nan=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """Write text, whole or not at all.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    part = file.with_name(f".{file.name}-{os.getpid()}")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(file, text, part=part)
