"""The options of `musicssl-embed`; nothing here needs torch, so that --help answers at once."""

import argparse
import sys
import textwrap
from pathlib import Path
from typing import Any, NoReturn

from musicssl import __version__
from musicssl.checkpoint.names import DEFAULT_MODEL
from musicssl.cli.completion import add_completion
from musicssl.cli.stdout import answer, print_lines
from musicssl.cli.terminal import one_line, say
from musicssl.source_names import is_url

EPILOG = """\
Results are named after the files, in the same folders: of a folder's files the path inside it
(a/b/song.flac becomes OUT/a/b/song.flac.npz); where several PATHs are given, a folder's own name
goes first, and parent folders where names would be the same. With --files-from, the path as seen
from the current folder, or from the root for what lies outside it. parquet and h5 are one file,
OUT/embeddings.parquet or .h5, with those names inside.

OUT/manifest.jsonl has one line per file (duration, model, settings, errors); OUT/space.json says
which model and settings made the folder. Other ones are refused there.

Stop it whenever you like; the same command goes on where it ended. A file that was moved or
renamed takes its result along. Nothing is replaced or removed but what the command wrote.

exit codes: 0 all done; 1 some files failed; 2 wrong use, or a folder that cannot be used; 3 no
files found; 4 the model cannot be loaded; 130 interrupted.

examples:
  musicssl-embed ~/Music -o embeddings
  musicssl-embed a.flac b.mp3 --level frame --format npy
  find . -name '*.wav' -newer last -print0 | musicssl-embed -0 --files-from -
  musicssl-embed ~/Music --prune
  musicssl-embed ~/Music --shard 1/4    (and 2/4 to 4/4 on other machines)
"""


class Help(argparse.HelpFormatter):
    """Fills paragraphs to the terminal's width and names an option's value once."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        filled = []
        for paragraph in text.split("\n\n"):
            lines = paragraph.splitlines()
            raw = any(line.startswith(" ") for line in lines)
            filled += lines if raw else textwrap.wrap(paragraph, width, break_long_words=False)
            filled.append("")
        return "\n".join(indent + line for line in filled)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        value = self._format_args(action, action.dest.upper())
        return f"{', '.join(action.option_strings)} {value}"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print it and leave."""
        self.exit(2, f"{self.prog}: error: {one_line(message)}; --help tells more\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print what argparse has to say; itself it does not notice that nobody takes it."""
        if file is None or file is not sys.stdout:
            say(message.removesuffix("\n"), file)
            return

        def show() -> int:
            return print_lines([message.removesuffix("\n")])

        if code := answer(self.prog, show):
            sys.exit(code)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; names of formats and the like are checked after it, by their tables."""
    parser = Parser(
        prog="musicssl-embed",
        description="Embed music files and folders of them.",
        epilog=EPILOG,
        formatter_class=Help,
        allow_abbrev=False,
    )
    add = parser.add_argument
    where = "file, folder to search through, tar file, or URL of these (s3://bucket/music)"
    add("paths", nargs="*", type=_place, metavar="PATH", help=where)
    add("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    add("--list-models", action="store_true", help="show the models there are, and stop")
    add_completion(parser)
    _add_input(parser.add_argument_group("input"))
    _add_output(parser.add_argument_group("output"))
    _add_embedding(parser.add_argument_group("embedding"))
    _add_computation(parser.add_argument_group("computation"))
    _add_messages(parser.add_argument_group("messages"))
    return parser


def _add_input(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--files-from", metavar="FILE", help="read paths from FILE, one per line; - for stdin")
    add("-0", "--null", action="store_true", help="NUL, not a line's end, after each path there")
    add(
        "--segments",
        type=_path,
        action="append",
        metavar="LIST",
        help="embed the parts of files that a CSV (path,start,end,id) or CUE sheet lists",
    )
    add("--offset", type=float, default=0.0, metavar="S", help="begin after S seconds of each file")
    add("--duration", type=float, metavar="S", help="embed S seconds of each file")
    add("--ext", metavar="wav,flac", help="take these from folders (default: all audio formats)")
    add("--shard", type=_shard, metavar="I/N", help="do the I-th of N parts of the work")


def _add_output(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        *("-o", "--out", "--output"),
        type=_place,
        default=Path("embeddings"),
        metavar="OUT",
        help="folder, or URL of one (default: %(default)s)",
    )
    add(
        "--format",
        metavar="{npz,npy,jsonl,parquet,h5,dataset}",
        help="one file per result, one for all, or a growing set of parquet files (default: npz; "
        "dataset where OUT is a URL, and with --engine ray)",
    )
    add(
        "--metadata",
        type=_path,
        metavar="CSV",
        help="put your own columns into the parquet; one of them is path",
    )
    add("--overwrite", action="store_true", help="embed all anew; remove what has other settings")
    add("--replace-foreign", action="store_true", help="replace files of yours that are in the way")
    add("--prune", action="store_true", help="remove the results of files that are gone")
    add(
        "--dry-run",
        action="store_true",
        help="print what there is to do (-0: with NULs); write nothing",
    )


def _add_embedding(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--level",
        default="clip",
        metavar="{clip,frame}",
        help="one vector per file; one per frame, with times",
    )
    how = "over time; frames have none (default: the model's choice)"
    add("--pooling", "--pool", metavar="{mean,max,meanstd,none}", help=how)
    add("--window", type=float, metavar="S", help="one vector per S seconds, with times")
    add("--hop", type=float, metavar="S", help="from window to window (default: the window)")
    layers = "number, several as 2,5, all (default: the model's choice)"
    add("--layer", type=parse_layer, help=layers)
    add(
        "--mono",
        default="mean",
        metavar="{mean,left,right}",
        help="of stereo (default: %(default)s)",
    )
    add("--model", help=f"name, folder, or Hugging Face repository (default: {DEFAULT_MODEL})")
    add("--revision", help="branch, tag or commit of a repository")
    add("--cache-dir", type=_path, help="where downloaded models are kept")
    add("--offline", action="store_true", help="use the network for nothing")
    which = "{soxr,resampy,torchaudio}"
    add("--resampler", default="soxr", metavar=which, help="(default: %(default)s)")


def _add_computation(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    where = "{auto,cpu,cuda,cuda:1,mps}"
    add("--device", default="auto", metavar=where, help="(default: %(default)s)")
    kinds = (
        "of the arithmetic; auto: float16 on a GPU, else float32. bfloat16 is 1.5 to 2 times as "
    )
    kinds += (
        "fast on CPUs that have it, with cosines above 0.9998 to float32; never chosen by itself"
    )
    add("--dtype", default="auto", metavar="{auto,float32,bfloat16,float16}", help=kinds)
    files = "files at a time (default: one per usable core)"
    add("-j", "--jobs", type=int, metavar="N", help=files)
    add("--batch-seconds", type=float, metavar="S", help="audio encoded at once (default: 30)")
    add("--chunk-seconds", type=float, metavar="S", help="cut longer files to this (default: 120)")
    add("--engine", default="local", metavar="{local,ray}", help="this machine, or a Ray cluster")
    add("--address", metavar="HOST:PORT", help="of the Ray cluster (default: RAY_ADDRESS, or here)")
    files = "at bad files (default: %(default)s)"
    add("--on-error", default="skip", metavar="{skip,stop}", help=files)


def _add_messages(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--json", action="store_true", help="print the summary as JSON to stdout")
    add("-q", "--quiet", action="store_true", help="errors only")
    add("-v", "--verbose", action="store_true", help="one line per file")


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty path")
    return Path(text)


def _place(text: str) -> Path | str:
    """Return a path, or a URL as it stands: a path would lose one of its slashes."""
    return text if is_url(text) else _path(text)


def _shard(text: str) -> tuple[int, int]:
    try:
        index, count = (int(part) for part in text.split("/"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 2/8") from None
    return index, count


def parse_layer(text: str) -> int | list[int] | str | None:
    """Return what an option says of layers."""
    if text in ("auto", "all"):
        return None if text == "auto" else text
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not like 5, 2,5, all or auto") from None
    return numbers[0] if len(numbers) == 1 else numbers
