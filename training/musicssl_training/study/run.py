"""The cells of a study, one after the other, beside any number of other processes."""

import functools
import logging
import multiprocessing
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing.synchronize import Event
from pathlib import Path

import torch
from threadpoolctl import threadpool_limits

from musicssl.errors import ConfigError, MusicSSLError
from musicssl_training.cli.interrupts import interrupts
from musicssl_training.locks import Lock
from musicssl_training.study.cell import (
    check_cell,
    check_measure,
    check_teachers,
    find_damage,
    measure_cell,
    train_cell,
)
from musicssl_training.study.config import Study, read_study
from musicssl_training.study.design import Cell
from musicssl_training.study.folder import StudyFolder
from musicssl_training.workers.teacher import taught_by

log = logging.getLogger(__name__)
Stop = Callable[[], bool]


@dataclass
class Outcome:
    """What has become of a study's cells."""

    finished: list[Cell] = field(default_factory=list)
    failed: list[Cell] = field(default_factory=list)
    elsewhere: list[Cell] = field(default_factory=list)  # other processes are at work on them


def check_study(study: Study) -> None:
    """Look for the data of all cells, whether their settings fit together, and can be measured.

    Raises
    ------
    ConfigError
        For what is not there, or does not fit.
    """
    look_for = functools.cache(check_teachers)
    for cell in study.cells:
        data, encoder = cell.config.data, cell.config.encoder
        for place in data.sources:
            if not Path(place).expanduser().exists():
                raise ConfigError(f"data.sources: {place} does not exist (cell {cell.name}).")
        for name, folder in cell.evaluate.roots.items():
            if not folder.is_dir():
                raise ConfigError(f"evaluate.collections: {name}: {folder} is no folder.")
        try:
            check_cell(cell)
            if teachers := taught_by(cell.config.worker_configs().values()):
                look_for(teachers, data.sources, data.shares, encoder)
        except MusicSSLError as error:
            raise ConfigError(f"cell {cell.name}: {error}") from error
    for measure in {replace(cell.evaluate, layer=(-1,)) for cell in study.cells}:
        check_measure(measure)


def run_study(study: Study, folder: StudyFolder, stop: Stop, *, threads: int = 1) -> Outcome:
    """Run all cells that nobody else works on.

    A cell that fails is recorded, and the rest goes on.

    Parameters
    ----------
    study
        Checked by `check_study`.
    folder
        Shared with other processes, on this machine or others.
    stop
        Asked after every step; once true, the cell at work is saved and left.
    threads
        Of torch, and of what else computes. Fixed, as sums of other orders differ in their last
        digits.

    Raises
    ------
    KeyboardInterrupt
        After `stop`.
    """
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        for cell in study.cells:
            if folder.result(cell) or folder.failure(cell):
                continue
            lock = Lock.take(folder.lock(cell))
            if lock is None:
                continue
            with lock:
                _run_cell(cell, folder, lock, stop)
    return outcome(study, folder)


def retry_failed(study: Study, folder: StudyFolder) -> None:
    """Let failed cells be tried again; what is damaged of them is removed and made anew."""
    for cell in study.cells:
        if not folder.failure_file(cell).exists():
            continue
        if damage := find_damage(folder.running(cell), folder.model(cell)):
            log.warning("%s is damaged, and made anew (%s)", *damage)
            shutil.rmtree(damage[0])
        folder.forget_failure(cell)


def outcome(study: Study, folder: StudyFolder) -> Outcome:
    """Return what has become of the cells."""
    found = Outcome()
    for cell in study.cells:
        if folder.result(cell):
            found.finished.append(cell)
        elif folder.failure(cell):
            found.failed.append(cell)
        else:
            found.elsewhere.append(cell)
    return found


def run_jobs(
    file: Path, out: Path, study: Study, stop: Stop, *, jobs: int = 1, threads: int = 1
) -> Outcome:
    """Run a study in several processes of this machine, as `run_study` in each.

    Parameters
    ----------
    file, out
        Of the study: what each process reads for itself.
    study
        The same, already read.
    stop
        As of `run_study`.
    jobs
        Number of processes.
    threads
        Of each.

    Raises
    ------
    KeyboardInterrupt
        After `stop`.
    """
    context = multiprocessing.get_context("spawn")
    ended = context.Event()
    others = [
        context.Process(target=_join_study, args=(file, out, threads, ended), daemon=True)
        for _ in range(jobs - 1)
    ]
    for process in others:
        process.start()
    try:
        run_study(study, StudyFolder(out), stop, threads=threads)
    except BaseException:
        ended.set()
        raise
    finally:
        for process in others:
            process.join()
    # what was left by a process that died
    return run_study(study, StudyFolder(out), stop, threads=threads)


def _join_study(file: Path, out: Path, threads: int, ended: Event) -> None:
    """Be one process of several, until the cells are done or the first process stops or is gone."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    first = multiprocessing.parent_process()
    with interrupts() as stopped:

        def stop() -> bool:
            gone = first is not None and not first.is_alive()
            return gone or stopped.is_set() or ended.is_set()

        try:
            run_study(read_study(file), StudyFolder(out), stop, threads=threads)
        except KeyboardInterrupt:
            log.info("a process stopped; its cell was saved")
        except MusicSSLError as error:  # of the folder; the first process says it too
            log.error("%s", error)


def _run_cell(cell: Cell, folder: StudyFolder, lock: Lock, stop: Stop) -> None:
    """Train and measure one cell, or record why that fails.

    Raises
    ------
    KeyboardInterrupt
        After `stop`.
    """
    if folder.result(cell) or folder.failure(cell):  # by another, before the lock was ours
        return
    log.info("%s: %s, %d steps", cell.id, cell.name, cell.config.steps)
    running, model = folder.running(cell), folder.model(cell)

    def leave() -> bool:
        return lock.lost or stop()

    try:
        _check_begun(running, model)
        if not model.exists():
            train_cell(cell, running, model, leave)
        shutil.rmtree(running, ignore_errors=True)  # where it was killed after the model was there
        values = measure_cell(cell, model, folder.embeddings(cell), leave)
    except KeyboardInterrupt:
        if not lock.lost:
            raise
        log.warning("%s: this process was silent for too long; another one goes on", cell.id)
    except Exception as error:
        if lock.lost:
            return
        log.error("%s failed: %s: %s", cell.id, type(error).__name__, error)
        folder.write_failure(cell, error)
    else:
        folder.write_result(cell, values)
        mean = sum(one["score"] for one in values["scores"].values()) / len(values["scores"])
        log.info("%s: mean score %.3f", cell.id, mean)


def _check_begun(running: Path, model: Path) -> None:
    """Make sure that a cell can go on from what there is of it, if anything.

    Raises
    ------
    ConfigError
        If that is damaged.
    """
    if damage := find_damage(running, model):
        place, why = damage
        raise ConfigError(
            f"{place} is damaged; --retry removes it and begins this cell anew. ({why})"
        )
