"""The command `musicssl-embed`."""

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from musicssl import __version__
from musicssl.errors import ConfigError, ModelError, MusicSSLError

# What needs torch is imported when it is needed: --help and a typing mistake answer at once.
if TYPE_CHECKING:
    from musicssl.folder.listing import Listing
    from musicssl.folder.summary import Summary
    from musicssl.progress import Progress

DONE, FAILED, REFUSED, NOTHING, NO_MODEL, INTERRUPTED = 0, 1, 2, 3, 4, 130

EPILOG = """\
Results are named after the files, in the same folders: of a folder's files the path inside it
(a/b/song.flac becomes OUT/a/b/song.flac.npz); where several PATHs are given, a folder's own name
goes first, and parent folders where names would be the same. With --files-from, the path as seen
from the current folder, or from the root for what lies outside it. parquet and h5 are one file,
OUT/embeddings.parquet or .h5, with those names inside.
OUT/manifest.jsonl has a line a file (duration, model, settings, errors); OUT/space.json says which
model and settings made the folder. Other ones are refused there.
Stop it whenever you like; the same command goes on where it ended.

exit codes: 0 all done; 1 some files failed; 2 wrong use, or a folder that cannot be used; 3 no
files found; 4 the model cannot be loaded; 130 interrupted.

examples:
  musicssl-embed ~/Music -o embeddings
  musicssl-embed a.flac b.mp3 --level frame --format npy
  find . -name '*.wav' -newer last | musicssl-embed --files-from - --format parquet
  musicssl-embed ~/Music --shard 1/4    (and 2/4 to 4/4 on other machines)
"""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print it and leave."""
        self.exit(REFUSED, f"{self.prog}: error: {message}; --help tells more\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; names of formats and the like are checked after it, by their tables."""
    parser = Parser(
        prog="musicssl-embed",
        description="Embed music files and folders of them.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("paths", nargs="*", type=_path, metavar="PATH", help="file, or folder to search through")
    add("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    add("--list-models", action="store_true", help="show the models there are, and stop")

    group = parser.add_argument_group("what to read")
    add = group.add_argument
    add("--files-from", metavar="FILE", help="read paths from FILE, one a line; - for stdin")
    add("--ext", metavar="wav,flac", help="take these from folders (default: all audio formats)")
    add("--shard", type=_shard, metavar="I/N", help="do the I-th of N parts of the work")

    group = parser.add_argument_group("what to write")
    add = group.add_argument
    add("-o", "--out", type=_path, default=Path("embeddings"), help="folder (default: %(default)s)")
    add("--format", default="npz", help="npz, npy, jsonl, parquet, h5 (default: %(default)s)")
    add("--overwrite", action="store_true", help="embed all anew; remove what has other settings")
    add("--dry-run", action="store_true", help="print what there is to do, and write nothing")

    group = parser.add_argument_group("which embedding")
    add = group.add_argument
    add("--level", default="clip", help="clip: a vector a file; frame: many, with times")
    add("--pool", metavar="HOW", help="mean, max, meanstd (default: the model's choice)")
    add("--layer", type=_layer, help="number, several as 2,5, all (default: the model's choice)")
    add("--model", help="name, folder, or Hugging Face repository (default: the bundled one)")
    add("--revision", help="branch, tag or commit of a repository")
    add("--cache-dir", type=_path, help="where downloaded models are kept")
    add("--offline", action="store_true", help="use the network for nothing")
    add("--resampler", default="soxr", help="soxr, resampy, torchaudio (default: %(default)s)")

    group = parser.add_argument_group("how to compute")
    add = group.add_argument
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default: %(default)s)")
    add("--dtype", default="auto", help="auto, fp32, bf16, fp16 (default: %(default)s)")
    add("-j", "--jobs", type=int, metavar="N", help="files at a time (default: one a core)")
    add("--batch-seconds", type=float, metavar="S", help="audio encoded at once (default: 30)")
    add("--chunk-seconds", type=float, metavar="S", help="cut longer files to this (default: 120)")
    add("--on-error", default="skip", help="skip bad files, or stop (default: %(default)s)")

    group = parser.add_argument_group("what to say")
    add = group.add_argument
    add("--json", action="store_true", help="print the summary as JSON to stdout")
    add("-q", "--quiet", action="store_true", help="errors only")
    add("-v", "--verbose", action="store_true", help="a line for each file")
    return parser


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return Path(text)


def _shard(text: str) -> tuple[int, int]:
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 2/8") from None
    return index, count


def _layer(text: str) -> int | list[int] | str | None:
    if text in ("auto", "all"):
        return None if text == "auto" else text
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 5, 2,5, all or auto") from None
    return numbers[0] if len(numbers) == 1 else numbers


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    try:
        if args.list_models:
            return _list_models(as_json=args.json)
        listing = _listing(parser, args)
        with _interrupts():
            return _embed(listing, args)
    except ModelError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return NO_MODEL
    except MusicSSLError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return REFUSED
    except BrokenPipeError:  # whoever reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        return INTERRUPTED


def _listing(parser: argparse.ArgumentParser, args: argparse.Namespace) -> "Listing":
    """Return the files that were asked for."""
    from musicssl.audio import AUDIO_EXTENSIONS
    from musicssl.folder.listing import Listing, Shard

    if bool(args.paths) == bool(args.files_from):
        parser.error("give PATHs or --files-from" + (", not both" if args.paths else ""))
    paths = _lines(args.files_from) if args.files_from else args.paths
    wanted = args.ext.split(",") if args.ext else AUDIO_EXTENSIONS
    extensions = {"." + ext.strip().lstrip(".") for ext in wanted}
    shard = Shard(*args.shard) if args.shard else None
    return Listing(paths, extensions=extensions, listed=bool(args.files_from), shard=shard)


def _lines(name: str) -> list[str]:
    """Return a file's lines, as file names."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ConfigError(f"--files-from {name}: {error.strerror}.") from error
    lines = (line.removesuffix(b"\r") for line in data.split(b"\n"))
    return [os.fsdecode(line) for line in lines if line]


def _embed(listing: "Listing", args: argparse.Namespace) -> int:
    """Do the work and say what came of it."""
    from musicssl.folder.command import embed_folder
    from musicssl.folder.summary import Interrupted
    from musicssl.progress import Progress

    progress = Progress(listing, quiet=args.quiet, verbose=args.verbose)

    def show(record: dict[str, Any]) -> None:
        if not args.dry_run:
            progress.add(record)
        elif record["status"] == "todo" and not args.json:
            print(record["path"])

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
                pooling=args.pool,
                layer=args.layer,
                resampler=args.resampler,
                device=args.device,
                dtype=args.dtype,
                batch_seconds=args.batch_seconds,
                chunk_seconds=args.chunk_seconds,
                jobs=args.jobs,
                overwrite=args.overwrite,
                on_error=args.on_error,
                dry_run=args.dry_run,
                on_file=show,
            )
        except Interrupted as interrupted:
            summary = interrupted.summary
    code = _exit_code(summary)
    if code == NOTHING:
        print("musicssl-embed: error: no music files found; see --ext", file=sys.stderr)
    elif not args.dry_run:
        progress.end(summary)
    elif not args.quiet:
        progress.line(f"{summary.done} to embed, {summary.skipped} there already")
    if args.json:
        print(json.dumps(summary.to_dict() | {"exit_code": code}), flush=True)
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


@contextlib.contextmanager
def _interrupts() -> Iterator[None]:
    """Let the first Ctrl-C stop in good order and the second at once."""
    before = signal.getsignal(signal.SIGINT)
    here = threading.current_thread() is threading.main_thread()
    if not here or before is not signal.default_int_handler:
        yield
        return

    def stop(*_: object) -> NoReturn:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _list_models(*, as_json: bool) -> int:
    """Print the models there are."""
    from musicssl.models import list_models

    models = list_models()
    if as_json:
        print(json.dumps([asdict(model) for model in models], indent=2))
        return DONE
    rows = [("name", "MB", "dim", "layers", "frames/s", "code", "weights", "data")]
    for m in models:
        licences = (m.code_licence, m.weights_licence, m.data_licences)
        numbers = (f"{m.megabytes:.1f}", str(m.dim), str(m.layers), f"{m.frame_rate:g}")
        rows.append((m.name, *numbers, *licences))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    return DONE


if __name__ == "__main__":
    sys.exit(main())
