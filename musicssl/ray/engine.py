"""`embed` and `RayEngine`: a folder command's work on a Ray cluster, by Ray Data."""

import copy
import json
import logging
import pickle
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from musicssl import arguments
from musicssl.errors import ConfigError, DependencyError
from musicssl.folder.api import embed_folder
from musicssl.folder.archives import Archive, is_archive
from musicssl.folder.dataset_run import DatasetRun
from musicssl.folder.listing import Item, Listing
from musicssl.folder.output import Row
from musicssl.folder.reading import Taken
from musicssl.folder.records import READ, Record, digest
from musicssl.folder.summary import Summary
from musicssl.inference.options import Settings
from musicssl.model import MusicEncoder

log = logging.getLogger(__name__)

ROUND = 50_000  # files that the driver holds at a time
_BLOCK = 16  # files that a task decodes, at most
_GPU_SECONDS = 600.0  # of audio in a batch
# Cores of a process that decodes and of one that encodes, by whether the latter has a GPU. They fit
# on one core together, and are not alike, so that Ray does not join the stages.
_SHARES = {True: (0.9, 0.1), False: (0.5, 0.4)}


def embed(
    source: Any,
    out: str | Path,
    *,
    address: str | None = None,
    encoders: int | None = None,
    **options: Any,
) -> Summary:
    """Embed on a Ray cluster, into a data set that a later call goes on with.

    Parameters
    ----------
    source
        As `paths` of `musicssl.embed_folder`: files, folders, tar files, URLs, patterns; every
        machine must see them under the same names. Or a `ray.data.Dataset` with a column "path"
        (paths or URLs), or "bytes" and beside it "path" or "source", which names the results.
    out
        A folder that every run sees, or a URL.
    address
        Of the cluster; None for the one that is connected or that RAY_ADDRESS names, otherwise
        for one on this machine alone.
    encoders
        Processes that hold the model and only encode; all other cores decode. None for one a GPU;
        where there are none, each core decodes and encodes its own files.
    **options
        Of `musicssl.embed_folder`.

    Returns
    -------
    Summary
        Counts and the first failures; the data set has all.

    Raises
    ------
    DependencyError
        If Ray is missing.
    ConfigError
        If a choice does not exist or does not fit the others, as an output of other kinds.

    Notes
    -----
    Nothing is written but by the process that calls this: it takes the vectors as they come, and
    writes a part of at most 1,000 files once a minute or sooner. Killed at any time, that is what
    is lost; started again, it goes on with what no part holds.
    """
    engine = RayEngine(address=address, encoders=encoders)
    if hasattr(source, "map_batches"):
        engine.rows = source
        source = _Rows()
    return embed_folder(source, out, engine=engine, **options)


class _Rows(Listing):
    """The listing of a Ray data set, whose rows are nobody's to list."""

    def __init__(self) -> None:
        super().__init__([], extensions=(), listed=True)

    def _once(self, passed_over: Any) -> Iterator[Item]:
        yield Item("rows", Path("rows"), error="is a Ray data set")


class RayEngine:
    """A cluster that does the work of `musicssl.embed_folder`.

    Parameters
    ----------
    address, encoders
        As in `embed`.
    """

    def __init__(self, *, address: str | None = None, encoders: int | None = None) -> None:
        try:
            self.ray: Any = import_module("ray")
            import_module("ray.data")
        except ImportError as error:
            raise DependencyError(
                f"the engine ray needs Ray: pip install 'musicssl[ray]' ({error})."
            ) from error
        self.address = address
        self.encoders = None if encoders is None else arguments.integer(encoders, "encoders")
        self.rows: Any = None  # a data set to embed, in place of what the run lists

    def __call__(self, run: DatasetRun, jobs: int | None) -> None:
        """Do a run's work."""
        self._connect()
        model = self.ray.put(_on_cpu(run.model))
        if self.rows is not None:
            self._round(run, model, self._pending(run.ledger.digests()), jobs)
            return
        todo = self._todo(run)
        while taken := list(islice(todo, ROUND)):
            items = [pickle.dumps(one) for one in taken]
            blocks = max(len(items) // _BLOCK, min(len(items), 4 * self._cores()))
            table = import_module("pyarrow").table({"item": items})
            rows = self.ray.data.from_blocks(_cut(table, blocks))
            self._round(run, model, rows, jobs)
            if run.stop.is_set():
                return

    def _connect(self) -> None:
        """Connect to the cluster.

        Raises
        ------
        ConfigError
            If there is none.
        """
        if not self.ray.is_initialized():
            try:
                self.ray.init(address=self.address, log_to_driver=False)
                logging.getLogger("ray.data").setLevel(logging.WARNING)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise ConfigError(
                    f"no Ray cluster at {self.address or 'RAY_ADDRESS'} ({error}); start one with "
                    "`ray start --head`, or leave out the address to use this machine alone."
                ) from error
        context = self.ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False

    def _cores(self) -> int:
        return max(1, int(self.ray.cluster_resources().get("CPU", 1)))

    def _todo(self, run: DatasetRun) -> Iterator[Taken]:
        """Yield what is to be done; tar files as they are, for workers to look into."""
        expansion = run.expansion()
        for item in run.items():
            if run.stop.is_set():
                return
            taken = expansion.opened(item) if is_archive(item) else run.look(item)
            if isinstance(taken, Archive):
                taken = item, taken.seen
            if taken is not None:
                yield taken

    def _pending(self, done: Any) -> Any:
        """Return the rows of a data set that have no result yet, as items."""
        from musicssl.ray.rows import Pending

        return self.rows.map_batches(Pending(done), batch_size=_BLOCK, batch_format="pyarrow")

    def _round(self, run: DatasetRun, model: Any, rows: Any, jobs: int | None) -> None:
        """Send rows through the stages and take what comes."""
        from musicssl.ray.decoding import Decode, Decoding
        from musicssl.ray.encoding import DecodeEncode, Encode

        decode = Decode(
            decoding=Decoding(
                sample_rate=run.model.sample_rate,
                hop=run.model.hop,
                resampler=run.resampler,
                mono=run.mono,
                extensions=run.listing.extensions,
                offset=run.offset,
                duration=run.duration,
            ),
            done=run.ledger.digests(),
        )
        gpus = int(self.ray.cluster_resources().get("GPU", 0))
        blocks = {"batch_size": None, "batch_format": "pyarrow"}
        if not gpus and self.encoders is None:
            encoded = rows.map_batches(
                DecodeEncode,
                fn_constructor_args=(decode, model, run.settings),
                num_cpus=1 if self.rows is None or self._cores() > 1 else 0,
                compute=self._pool(min(jobs or self._cores(), self._cores()), rows),
                **blocks,
            )
        else:
            device = "cuda" if gpus else "cpu"
            decoder, encoder = _SHARES[gpus > 0]
            encoded = rows.map_batches(decode, num_cpus=decoder, **blocks).map_batches(
                Encode,
                fn_constructor_args=(model, _settings(run, gpus), decode.decoding, device),
                num_cpus=encoder,
                num_gpus=1 if gpus else 0,
                compute=self._pool(self.encoders or jobs or gpus, rows),
                **blocks,
            )
        _collect(run, encoded)

    def _pool(self, size: int, rows: Any) -> Any:
        """Return so many processes, or for a data set of the user's, up to so many.

        What reads that needs cores, too; processes that take all of them at once would wait for it
        for ever.
        """
        pool = self.ray.data.ActorPoolStrategy
        if self.rows is None:
            return pool(size=max(1, min(size, rows.num_blocks())))
        return pool(min_size=1, max_size=size)


def _settings(run: DatasetRun, gpus: int) -> Settings:
    """Return the run's settings, with the batches that a GPU wants unless others were chosen."""
    usual = run.settings.batch_seconds == Settings.batch_seconds
    return replace(run.settings, batch_seconds=_GPU_SECONDS) if gpus and usual else run.settings


def _collect(run: DatasetRun, encoded: Any) -> None:
    """Write what the encoders give."""
    seen: set[int] = set()
    for batch in encoded.iter_batches(batch_size=None, batch_format="pyarrow"):
        for record, row in _results(batch, run.writer.dim):
            key = digest(record["source"])
            if key in seen:
                continue
            seen.add(key)
            if record["status"] in ("passed over", "skipped"):
                run.report(record)
                continue
            for kind, count in record.pop("passed over", {}).items():
                run.summary.passed_over[kind] += count
            run.summary.skipped += record.pop("skipped", 0)
            run.writer.add(record, row)
            if record["status"] != READ:
                run.report(record)
        if run.stop.is_set():
            return


def _results(batch: Any, dim: int) -> Iterator[tuple[Record, Row | None]]:
    for line, values, times in zip(*(batch.column(i) for i in range(3)), strict=True):
        record: Record = json.loads(line.as_py())
        if values.as_py() is None:
            yield record, None
            continue
        vectors = np.frombuffer(values.as_py(), np.float32)
        if times.as_py() is None:
            yield record, Row(record["source"], vectors, None)
        else:
            at = np.frombuffer(times.as_py(), np.float64)
            yield record, Row(record["source"], vectors.reshape(-1, dim), at)


def _cut(table: Any, blocks: int) -> list[Any]:
    rows = -(-len(table) // blocks)
    return [table.slice(start, rows) for start in range(0, len(table), rows)]


def _on_cpu(model: MusicEncoder) -> MusicEncoder:
    return model if model.device.type == "cpu" else copy.deepcopy(model).cpu()
