"""Batches read ahead by worker processes, with `torch.utils.data.DataLoader`."""

import logging
import signal
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from musicssl.errors import MusicSSLError
from musicssl_training.data import Sampler
from musicssl_training.targets.features import FrameGrid
from musicssl_training.train.config import PretrainConfig
from musicssl_training.train.inputs import load_batch
from musicssl_training.workers import Batch

AHEAD = 2  # steps that each process reads in advance


class LoadedStep(NamedTuple):
    """Batch of one step, and what was logged while it was read in another process."""

    parts: list[Batch]  # heard one after the other
    logged: list[logging.LogRecord]
    error: MusicSSLError | None = None


class ExcerptStream(IterableDataset[LoadedStep]):
    """The steps from `first` to `last`; what a step hears depends on seed and step alone.

    Of several worker processes, each takes its turn; in which one a step is read
    changes nothing of it, and `DataLoader` gives the steps in order.
    """

    def __init__(
        self, sampler: Sampler, grid: FrameGrid, config: PretrainConfig, first: int, last: int
    ) -> None:
        super().__init__()
        self.sampler, self.grid, self.config = sampler, grid, config
        self.first, self.last = first, last

    def __iter__(self) -> Iterator[LoadedStep]:
        info = get_worker_info()
        if info is None:
            for step in range(self.first, self.last):
                yield LoadedStep(self._load(step), [])
            return
        records = _collect_log()
        for step in range(self.first + info.id, self.last, info.num_workers):
            try:
                loaded = LoadedStep(self._load(step), records.copy())
            except MusicSSLError as error:  # as it is, not wrapped into a traceback of this process
                yield LoadedStep([], records, error)
                return
            records.clear()
            yield loaded

    def _load(self, step: int) -> list[Batch]:
        return load_batch(self.sampler, step, self.grid, self.config)


class BatchLoader:
    """An iterator over the parts of each step of a stream, closed with `close`.

    Parameters
    ----------
    stream
        The steps.
    workers
        Processes that read ahead; 0: each step is read when it is asked for.
    device
        Where the batches go: for a GPU they come in pinned memory.

    Raises
    ------
    AudioError
        When a step is asked for whose recordings cannot be read.
    """

    def __init__(self, stream: ExcerptStream, workers: int, device: torch.device) -> None:
        loader = DataLoader(
            stream,
            batch_size=None,  # the stream's items are whole batches
            num_workers=workers,
            prefetch_factor=AHEAD if workers else None,
            pin_memory=device.type == "cuda",
            collate_fn=_as_it_is,
            worker_init_fn=_ignore_ctrl_c,
            generator=torch.Generator(),  # else making it takes from the run's random numbers
        )
        # one pass through the stream is the whole run, so the processes last as long
        self._steps: Iterator[LoadedStep] | None = iter(loader)
        self._said: set[tuple[str, str]] = set()

    def __iter__(self) -> "BatchLoader":
        return self

    def __next__(self) -> list[Batch]:
        if self._steps is None:
            raise StopIteration
        loaded = next(self._steps)
        for record in loaded.logged:
            self._repeat(record)
        if loaded.error is not None:
            raise loaded.error
        return loaded.parts

    def _repeat(self, record: logging.LogRecord) -> None:
        """Log here what a process has logged; once, though every process may find it."""
        said, logger = (record.name, record.getMessage()), logging.getLogger(record.name)
        if said not in self._said and logger.isEnabledFor(record.levelno):
            self._said.add(said)
            logger.handle(record)

    def close(self) -> None:
        """End the processes."""
        self._steps = None  # nobody else holds the iterator, which ends them as it goes


class _Keep(logging.Handler):
    """Keeps records as they can be sent to another process: with their text alone."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        record.msg, record.args = record.getMessage(), None
        record.exc_info = record.exc_text = record.stack_info = None
        self.records.append(record)


def _collect_log() -> list[logging.LogRecord]:
    """Return a list that everything logged in this process goes to, and nowhere else."""
    records: list[logging.LogRecord] = []
    root = logging.getLogger()
    root.handlers[:] = [_Keep(records)]
    return records


def _ignore_ctrl_c(_: int) -> None:
    """Let the main process alone decide what Ctrl-C means: it saves, and ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _as_it_is(loaded: Any) -> Any:
    """Leave a step as the stream made it."""
    return loaded
