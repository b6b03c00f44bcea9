"""`embed_folder`: trees of music files to embeddings on disk, in parallel, resumable."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from musicssl import arguments
from musicssl.audio import AUDIO_EXTENSIONS, RESAMPLERS
from musicssl.errors import ConfigError, OutputError, pick, shown
from musicssl.folder.columns import OWN
from musicssl.folder.dataset import FORMAT as DATASET
from musicssl.folder.dataset_run import DatasetRun, WorkEngine
from musicssl.folder.formats import FORMATS
from musicssl.folder.job import FolderJob
from musicssl.folder.listing import Listing
from musicssl.folder.listing_factory import listing_of
from musicssl.folder.manifest import lock_output
from musicssl.folder.metadata import Metadata
from musicssl.folder.records import Record
from musicssl.folder.remote import RemoteListing
from musicssl.folder.segments import SegmentListing
from musicssl.folder.summary import Summary
from musicssl.inference.device import pick_device
from musicssl.inference.options import EmbedOptions
from musicssl.model import MusicEncoder, load_model
from musicssl.network import Layer
from musicssl.segments.segment import Segment
from musicssl.source_names import is_url
from musicssl.space import Space


@arguments.strict
def embed_folder(
    paths: str | Path | Sequence[str | Path] | Segment | Sequence[Segment] | Listing,
    out: str | Path = "embeddings",
    *,
    model: str | Path | MusicEncoder | None = None,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    format: str | None = None,
    level: str = "clip",
    pooling: str | None = None,
    window: float | None = None,
    hop: float | None = None,
    layer: Layer = None,
    resampler: str = "soxr",
    mono: str = "mean",
    device: str = "auto",
    dtype: str = "auto",
    batch_seconds: float | None = None,
    chunk_seconds: float | None = None,
    jobs: int | None = None,
    extensions: Collection[str] = AUDIO_EXTENSIONS,
    shard: tuple[int, int] | None = None,
    overwrite: bool = False,
    replace_foreign: bool = False,
    prune: bool = False,
    offset: float = 0.0,
    duration: float | None = None,
    metadata: str | Path | None = None,
    on_error: str = "skip",
    dry_run: bool = False,
    on_file: Callable[[Record], None] | None = None,
    on_start: Callable[[str], None] | None = None,
    engine: WorkEngine | None = None,
) -> Summary:
    """Embed music files and folders of them into a folder, going on where an earlier run ended.

    A file is skipped if its result is there and its size and time of change are what they were,
    or, in a copy of it, its content; one that was moved or renamed is known by its content and
    takes its result along. Every result
    appears whole or not at all, so that a run may be killed at any time. Nothing is removed or
    replaced but what earlier runs wrote.

    Parameters
    ----------
    paths
        Files, folders (searched with their subfolders), or a `Listing` of them, which also says
        how results are named. A tar stands for the music in it. Or URLs of files and folders, or
        with ``*`` (by fsspec: ``pip install 'musicssl[remote]'``). Or parts of files: what
        `musicssl.read_segments` returns, or other `Segment`; of each file they are decoded
        together.
    out
        The folder for results, for manifest.jsonl (one line per file) and for space.json; or
        the URL of such a folder, for a data set.
    model, revision, level, pooling, window, hop, layer, device, dtype, chunk_seconds
        As in `musicssl.get_embedding`.
    resampler, mono, offset, duration
        As there; a file that was embedded with another part is embedded anew.
    cache_dir, local_files_only
        As in `musicssl.load_model`.
    format
        "npz", "npy", "jsonl": a file for each; "parquet", "h5": one file for all; "dataset":
        parquet files that only become more, the one that stores behind a URL can have. None for
        "npz", or "dataset" where `out` is a URL.
    metadata
        A CSV of your own with a column "path" (or "source", "file", "name") and any others, which
        become columns of the parquet. They stay there in later runs without `metadata`. Rows and
        files without each other are counted in a warning.
    batch_seconds
        Audio encoded at once by each job, in seconds; None for 30 (600 on a GPU).
    jobs
        Files at a time; None for one per core, or up to 8 where a GPU encodes. Cores that this
        leaves free help within each job.
    extensions
        Of the files to take from folders: ".wav", "wav" and "WAV" are the same.
    shard
        (i, n): the i-th of n parts of the work, from 1. Parts may run at the same time, and a
        run without `shard` at the end puts their results together.
    overwrite
        Embed everything anew, in place of other files' results of the same name too: those fail
        otherwise if the other file is still there. If `out` holds results of another model or
        other settings, which is an error otherwise, they are removed first. What of an earlier
        run's is damaged beyond use is renamed to NAME.aside.
    replace_foreign
        Replace files that have a result's name but that no earlier run wrote; without it, their
        sources fail. A manifest or a store of somebody else's is renamed to NAME.aside.
    prune
        Remove the results of files that are gone, of those that `paths` cover. A path without any
        music, an empty folder or a missing disk counts as not mounted: nothing is removed there.
    on_error
        "skip" files that cannot be read, or "stop" at the first.
    dry_run
        Only look what there is to do; nothing is written.
    on_file
        Called with each file's manifest entry, one at a time, from the working threads; its
        "status" is "ok", "failed", "skipped", "moved", "passed over" (a film without sound, found
        in a folder) or, in a dry run, "todo". What it raises ends the run and comes out as it is.
    on_start
        Called with the path of each file that is to be embedded, when that begins; the same holds.
    engine
        Where the work is done: None for threads of this process, or a `musicssl.ray.RayEngine`,
        whose results are a data set.

    Returns
    -------
    Summary
        Counts and the first failures; the manifest has all.

    Raises
    ------
    AudioError
        If there is no such path.
    ConfigError
        If a choice does not exist or does not fit the others.
    DependencyError
        If the format or the resampler needs a package that is missing.
    ModelError
        If the model cannot be loaded.
    OutputError
        If `out` holds something else, is in use, or cannot be written to.
    KeyboardInterrupt
        An `Interrupted`, on Ctrl-C.
    """
    if format is None:
        format = DATASET if is_url(out) or engine is not None else "npz"
    pick({**FORMATS, DATASET: None}, format, "format")
    table = None if metadata is None else _metadata(metadata, format)
    options = EmbedOptions(
        level=level,
        pooling=pooling,
        window=window,
        hop=hop,
        layer=layer,
        dtype=dtype,
        batch_seconds=batch_seconds,
        chunk_seconds=chunk_seconds,
        resampler=resampler,
        mono=mono,
        offset=offset,
        duration=duration,
    )
    RESAMPLERS[resampler](2000, 1000)  # a missing package shows here
    jobs = None if jobs is None else arguments.integer(jobs, "jobs")
    switches = {"overwrite": overwrite, "replace_foreign": replace_foreign, "prune": prune}
    _check_run(on_error, switches | {"dry_run": dry_run}, on_file=on_file, on_start=on_start)
    if not isinstance(paths, Listing):
        paths = listing_of(paths, extensions, shard)
    if isinstance(paths, SegmentListing) and (prune or offset or duration is not None):
        raise ConfigError("prune, offset and duration are for files, not for segments of them.")
    listed = paths.columns if isinstance(paths, SegmentListing) else []
    if both := [name for name in listed if table is not None and name in table.names]:
        raise ConfigError(
            f"the column {shown(both[0])} is in the segments and in metadata; rename one."
        )
    if paths.shard and prune:
        raise ConfigError("shards cannot prune; do it in the run without a shard that merges them.")
    if isinstance(paths, RemoteListing) and prune:
        raise ConfigError("prune is for folders on disks, not for URLs.")
    if isinstance(out, (str, Path)) and "\0" in str(out):
        raise OutputError("out must be the name of a folder; none has a NUL in its name.")
    out = out if isinstance(out, str) and is_url(out) else arguments.path(out, "out")
    growing = format == DATASET or not isinstance(out, Path) or engine is not None
    if growing:
        _check_dataset(format, {"prune": prune, "replace_foreign": replace_foreign})
    summary = Summary(out=out, format=format)
    if not paths.wrong and next(paths.items(summary.passed_over), None) is None:
        return summary  # and leave no trace
    if not isinstance(model, MusicEncoder):
        model = load_model(
            model,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            device=pick_device(device),
        )
    settings = options.resolve(model)
    common: dict[str, Any] = {
        "listing": paths,
        "overwrite": overwrite,
        "on_error": on_error,
        "on_file": on_file,
        "on_start": on_start,
        "offset": options.offset,
        "duration": options.duration,
    }
    if growing or not isinstance(out, Path):
        run = DatasetRun(
            out=out, model=model, settings=settings, resampler=resampler, mono=mono, **common
        )
        if dry_run:
            return run.dry_run()
        run.prepare()
        return run.work(jobs, engine)
    job = FolderJob(
        out=out,
        space=Space.of(model, settings, resampler=resampler, mono=mono),
        kind=FORMATS[format],
        format=format,
        replace_foreign=replace_foreign,
        prune=prune,
        metadata=table,
        **common,
    )
    if dry_run:
        return job.dry_run()
    job.preparation.check()
    with lock_output(job.out, job.tag):
        job.prepare_output(model, settings)
        return job.work(model, settings, jobs)


def _metadata(file: Any, format: str) -> Metadata:
    """Read the user's own columns.

    Raises
    ------
    ConfigError
        If the format has no place for them, or they cannot be read.
    """
    if format != "parquet":
        raise ConfigError(
            f"metadata are columns of parquet, and the format {format} has none; "
            "load_embeddings(folder, metadata=...) joins them to any format."
        )
    return Metadata.read(arguments.path(file, "metadata"), taken=OWN)


def _check_dataset(format: str, switches: Mapping[str, bool]) -> None:
    """Check what a data set cannot have.

    Raises
    ------
    ConfigError
        If it is asked for.
    """
    if format != DATASET:
        raise ConfigError(
            f"format {format!r} is for folders on disks that one machine writes; behind a URL and "
            f"on a cluster the only one is {DATASET!r}, parquet files that only become more."
        )
    if asked := [name for name, on in switches.items() if on]:
        raise ConfigError(f"{asked[0]} is for folders of results; a data set only grows.")


def _check_run(on_error: str, switches: Mapping[str, object], **calls: object) -> None:
    """Check what decides how a run goes.

    Raises
    ------
    ConfigError
        If there is no such choice.
    """
    pick({"skip": 0, "stop": 0}, on_error, "on_error")
    for name, value in switches.items():
        arguments.flag(value, name)
    for name, call in calls.items():
        if call is not None and not callable(call):
            raise ConfigError(f"{name} must be callable, got {shown(call, kind=True)}.")
