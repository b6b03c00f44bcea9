"""How many threads of `EmbedThreads` take files, and how many encode for each."""

import threading
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from musicssl.cores import usable_cores
from musicssl.folder.fetching import fetch_ahead
from musicssl.folder.listing import Listing
from musicssl.folder.reading import Taken, by_file
from musicssl.folder.remote import RemoteListing
from musicssl.folder.threads import EmbedThreads
from musicssl.inference.crew import GPU_JOBS
from musicssl.model import MusicEncoder


def plan_threads(
    taken: Iterator[Taken],
    *,
    listing: Listing,
    model: MusicEncoder,
    jobs: int | None,
    on_start: Callable[[str], None] | None,
    **others: Any,
) -> EmbedThreads:
    """Return threads for what there is to do.

    Parameters
    ----------
    taken
        What there is to do; any thread asks for the next.
    listing
        Where it comes from: what is remote is fetched ahead.
    model, jobs, on_start
        As in `embed_folder`.
    **others
        Of `EmbedThreads`.
    """
    cpu = model.device.type == "cpu"
    cores = usable_cores()
    wanted = jobs or (cores if cpu else min(cores, GPU_JOBS))
    todo = by_file(taken)
    if isinstance(listing, RemoteListing):
        todo = fetch_ahead(todo, wanted)
    first = list(islice(todo, wanted))  # fewer files than cores?
    jobs = max(1, len(first))
    todo = chain(first, todo)
    taking = threading.Lock()

    def take() -> list[Taken] | None:
        with taking:
            found = next(todo, None)
            if found is not None and on_start:
                on_start(found[0][0].name)
            return found

    threads = max(1, cores // jobs) if cpu else 1
    return EmbedThreads(model=model, take=take, jobs=jobs, threads=threads, **others)
