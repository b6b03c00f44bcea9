"""The command `musicssl-embed`."""

import argparse
import contextlib
import importlib
import json
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicssl.cli.interrupts import INTERRUPTED, interrupts
from musicssl.cli.models import print_models
from musicssl.cli.options import build_parser
from musicssl.cli.stdout import DONE, FAILED, NOTHING, answer, to_stdout
from musicssl.cli.terminal import loading, put_name, run_command, say
from musicssl.errors import ConfigError, pick
from musicssl.source_names import is_url

# What needs torch is imported when it is needed: --help and a typing mistake answer at once.
if TYPE_CHECKING:
    from musicssl.cli.progress import Progress
    from musicssl.folder.listing import Listing
    from musicssl.folder.path_lists import PathLines
    from musicssl.folder.summary import Summary
    from musicssl.ray import RayEngine


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code; without `argv`, as a process of its own."""
    return run_command(_main, argv)


def _main(argv: list[str]) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.list_models:
        return answer(parser.prog, lambda: print_models(as_json=args.json))

    def work() -> int:
        with interrupts():
            with loading(parser.prog):
                importlib.import_module("musicssl.folder.api")
            return _embed(_listing(parser, args), args)

    return answer(parser.prog, work)


def _listing(parser: argparse.ArgumentParser, args: argparse.Namespace) -> "Listing":
    """Return the files that were asked for."""
    from musicssl.audio import AUDIO_EXTENSIONS
    from musicssl.folder.listing import Listing, Shard
    from musicssl.folder.listing_factory import dotted
    from musicssl.folder.remote import RemoteListing
    from musicssl.folder.segments import SegmentListing
    from musicssl.segments.reading import parse_segments

    if sum(map(bool, (args.paths, args.files_from, args.segments))) != 1:
        parser.error("give either PATHs, --files-from or --segments")
    shard = Shard(*args.shard) if args.shard else None
    if args.segments:
        rows = [row for file in args.segments for row in parse_segments(file)]
        return SegmentListing(rows, shard=shard)
    paths: Iterable[str] = args.paths
    if args.files_from:
        paths = _lines(args.files_from, null=args.null)
    wanted = args.ext.split(",") if args.ext else AUDIO_EXTENSIONS
    extensions = {dotted(ext) for ext in wanted}
    listed = bool(args.files_from)
    kinds = {is_url(path) for path in paths}
    if len(kinds) > 1:
        raise ConfigError("PATHs mix URLs and others; give either.")
    if True in kinds:
        return RemoteListing(paths, extensions=extensions, listed=listed, shard=shard)
    return Listing(paths, extensions=extensions, listed=listed, shard=shard)


def _lines(name: str, *, null: bool) -> "PathLines":
    """Return a file's lines, as file names."""
    from musicssl.folder.path_lists import PathLines

    try:
        if name != "-":
            data = Path(name).read_bytes()
        elif sys.stdin is None:
            raise ConfigError("--files-from -: there is no stdin.")
        else:
            data = sys.stdin.buffer.read()
        return PathLines(data, null=null)
    except OSError as error:
        raise ConfigError(f"--files-from {name}: {error.strerror}.") from error
    except ValueError as error:  # closed, or no text
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"--files-from {name}: {error}.") from error


def _embed(listing: "Listing", args: argparse.Namespace) -> int:
    """Do the work and say what came of it."""
    from musicssl.cli.progress import Progress
    from musicssl.folder.api import embed_folder
    from musicssl.folder.summary import Interrupted

    progress = Progress(listing, quiet=args.quiet, verbose=args.verbose)

    def show(record: dict[str, Any]) -> None:
        if not args.dry_run or record["status"] == "failed":
            progress.add(record)
        elif record["status"] == "todo" and not args.json:
            with to_stdout():
                put_name(record["path"], sys.stdout, end=b"\0" if args.null else b"\n")

    with progress, _messages(progress):
        try:
            summary = embed_folder(
                listing,
                args.out,
                model=args.model,
                revision=args.revision,
                cache_dir=args.cache_dir,
                local_files_only=args.offline,
                format=args.format,
                level=args.level,
                pooling=args.pooling,
                window=args.window,
                hop=args.hop,
                layer=args.layer,
                resampler=args.resampler,
                mono=args.mono,
                offset=args.offset,
                duration=args.duration,
                metadata=args.metadata,
                device=args.device,
                dtype=args.dtype,
                batch_seconds=args.batch_seconds,
                chunk_seconds=args.chunk_seconds,
                jobs=args.jobs,
                overwrite=args.overwrite,
                replace_foreign=args.replace_foreign,
                prune=args.prune,
                on_error=args.on_error,
                dry_run=args.dry_run,
                on_file=show,
                on_start=progress.begin,
                engine=_engine(args),
            )
        except Interrupted as interrupted:
            summary = interrupted.summary
    with to_stdout():
        if sys.stdout is not None and args.dry_run:
            sys.stdout.flush()
    return _report(summary, progress, args)


def _engine(args: argparse.Namespace) -> "RayEngine | None":
    """Return what does the work, None for threads of this process.

    Raises
    ------
    ConfigError
        If there is no such engine, or an address without a cluster.
    """
    pick({"local": 0, "ray": 0}, args.engine, "engine")
    if args.engine == "local":
        if args.address is not None:
            raise ConfigError("--address is that of a Ray cluster; give --engine ray too.")
        return None
    from musicssl.ray import RayEngine

    return RayEngine(address=args.address)


def _report(summary: "Summary", progress: "Progress", args: argparse.Namespace) -> int:
    """Say what was done, or is to be done, and return the exit code."""
    from musicssl.cli.progress import passed_over

    code = _exit_code(summary)
    if code == NOTHING:
        passed = passed_over(summary)
        say(f"musicssl-embed: error: no music files found{passed and '; ' + passed}; see --ext")
    elif not args.dry_run:
        progress.end(summary)
    elif not args.quiet:
        progress.plan(summary)
    if args.json:
        line = json.dumps(summary.to_dict() | {"exit_code": code})
        if sys.stdout is None or not say(line, sys.stdout):
            say("musicssl-embed: error: stdout does not take the summary")
    return code


def _exit_code(summary: "Summary") -> int:
    if summary.interrupted:
        return INTERRUPTED
    if not summary.found:
        return NOTHING
    return FAILED if summary.failed else DONE


@contextlib.contextmanager
def _messages(progress: "Progress") -> Iterator[None]:
    """Send the package's log and Python's warnings to the progress display."""
    log = logging.getLogger("musicssl")
    log.addHandler(progress)
    propagate, log.propagate = log.propagate, False
    try:
        with warnings.catch_warnings():
            warnings.showwarning = progress.warn
            yield
    finally:
        log.removeHandler(progress)
        log.propagate = propagate


if __name__ == "__main__":
    sys.exit(main())
