"""How an embedding is run: how much at a time, what becomes of errors, who hears of progress."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, TypeAlias

import torch

from musicssl import arguments
from musicssl.errors import ConfigError, pick, shown
from musicssl.inference.ahead import Opening, Source, open_ahead, open_in_turn
from musicssl.inference.batching import Engine
from musicssl.inference.crew import Crew, default_jobs
from musicssl.inference.options import Settings
from musicssl.inference.results import Result
from musicssl.network import Network

SHORTEST = 3  # chunks, in contexts, where a recording is divided among threads

Progress: TypeAlias = bool | Callable[[int, int], object]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a call that change nothing about the embeddings; see `musicssl.get_embedding`.

    Raises
    ------
    ConfigError
        For a value that does not exist.
    """

    jobs: int | None = None
    progress: Progress = False
    on_error: str = "raise"

    def __post_init__(self) -> None:
        pick({"raise": False, "skip": True}, self.on_error, "on_error")
        if self.jobs is not None:
            object.__setattr__(self, "jobs", arguments.integer(self.jobs, "jobs"))
        if not isinstance(self.progress, bool) and not callable(self.progress):
            raise ConfigError(
                "progress must be True, False or a function of how many are done and of how many, "
                f"got {shown(self.progress, kind=True)}."
            )

    @property
    def skip(self) -> bool:
        """Whether audio that cannot be used is passed over."""
        return self.on_error == "skip"


@contextlib.contextmanager
def in_threads(
    model: Network,
    settings: Settings,
    openings: Sequence[Opening],
    jobs: int | None,
    *,
    divide: bool = False,
) -> Iterator[Iterator[Result]]:
    """Embed sources, some at a time: decoded ahead and encoded in threads.

    Parameters
    ----------
    model, settings
        As of an `Engine`.
    openings
        The sources.
    jobs
        How many at a time; None for `default_jobs`.
    divide
        Cut a single source into as many chunks, if that leaves them long enough.

    Yields
    ------
    Iterator
        What `Engine.run` yields of them.
    """
    jobs = default_jobs(model.device) if jobs is None else jobs
    on_cpu = model.device.type == "cpu"
    # One job is done right here, unless torch would put several threads into each operation.
    apart = on_cpu and (jobs > 1 or torch.get_num_threads() > 1)
    with contextlib.ExitStack() as held:
        several = jobs > 1 and len(openings) > 1
        opened = open_ahead(openings, jobs) if several else open_in_turn(openings)
        sources: Iterator[Source] = held.enter_context(contextlib.closing(opened))
        if apart and len(openings) == 1:
            first = next(sources)
            sources = chain([first], sources)
            if jobs > 1 and divide and not model.encoder.memory:
                settings = _divided(settings, first, model, jobs)
            seconds = _duration(first)  # in one piece: a thread costs a millisecond to start
            apart = seconds is None or seconds > settings.chunk_seconds
        crew = held.enter_context(Crew(jobs)) if apart else None
        yield Engine(model, settings, crew).run(sources)


def _duration(source: Source) -> float | None:
    """Return the seconds of a source, None where they are not known or it could not be opened."""
    seconds = getattr(source, "duration", None)
    return seconds if isinstance(seconds, (int, float)) else None


def _divided(settings: Settings, source: Source, model: Network, jobs: int) -> Settings:
    """Return settings that cut a source whose length is known into chunks for all jobs."""
    seconds = _duration(source)
    if seconds is None:
        return settings
    least = SHORTEST * model.context / model.sample_rate  # the rest of a chunk is heard twice
    chunk = max(seconds / jobs, least, model.hop / model.sample_rate)
    chunk = min(settings.chunk_seconds, chunk)
    # Chunks that wait for each other would be one batch, which is one thread's.
    return replace(settings, chunk_seconds=chunk, batch_seconds=min(settings.batch_seconds, chunk))


@contextlib.contextmanager
def counted(progress: Progress, total: int) -> Iterator[Callable[[], None]]:
    """Provide what is called whenever one more sound is done; True draws a bar on stderr."""
    done = 0
    bar: Any = None
    if progress is True:
        from tqdm.auto import tqdm

        bar = tqdm(total=total, unit="sound", file=sys.stderr)

    def count() -> None:
        nonlocal done
        done += 1
        if bar is not None:
            bar.update()
        elif callable(progress):
            progress(done, total)

    with contextlib.closing(bar) if bar is not None else contextlib.nullcontext():
        yield count
