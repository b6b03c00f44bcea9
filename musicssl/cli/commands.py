"""The command `musicssl`: what to do with embeddings."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musicssl import __version__
from musicssl.checkpoint.names import DEFAULT_MODEL
from musicssl.cli.completion import add_completion
from musicssl.cli.interrupts import interrupts
from musicssl.cli.models import print_models
from musicssl.cli.options import Help, Parser, parse_layer
from musicssl.cli.stdout import answer
from musicssl.cli.terminal import loading, run_command

EPILOG = """\
INDEX and EMBEDDINGS are folders that musicssl-embed wrote, one vector per file.

exit codes: 0 done; 2 wrong use, or what cannot be read; 3 nothing found; 4 the model cannot be
loaded; 130 interrupted.

examples:
  musicssl-embed ~/Music -o embeddings
  musicssl similar song.mp3 -i embeddings -k 20 --m3u > like-song.m3u
  musicssl dups embeddings
  musicssl map embeddings -o map.html
  musicssl export --dtype fp16 -o model.onnx
"""
_COLLECTION: dict[str, Any] = {"type": Path, "metavar": "EMBEDDINGS", "help": "folder"}


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code; without `argv`, as a process of its own."""
    return run_command(_main, argv)


def _main(argv: list[str]) -> int:
    parser = build_parser()
    args = parser.parse_args(argv)

    def work() -> int:
        with interrupts():
            code: int = args.run(args)
            return code

    return answer(f"{parser.prog} {args.command}", work)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = Parser(
        prog="musicssl",
        description="Find songs like a song, the same recording twice, and draw maps of music.",
        epilog=EPILOG,
        formatter_class=Help,
        allow_abbrev=False,
    )
    parser.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    add_completion(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, about: str, run: Callable[[argparse.Namespace], int]) -> Any:
        made = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            formatter_class=Help,
            allow_abbrev=False,
        )
        made.set_defaults(run=run)
        return made.add_argument

    add = command("similar", "find songs like a song", _similar)
    add("song", metavar="SONG", help="a file, or a name in the index")
    add("-i", "--index", type=Path, default=Path("embeddings"), help="folder (default: embeddings)")
    add("-k", type=int, default=10, metavar="N", help="how many (default: 10)")
    add("--json", action="store_true", help="print JSON")
    add("--m3u", action="store_true", help="print a playlist")
    add("--model", help="what made the embeddings, where it is not found by its name")
    add("--device", default="auto", metavar="{auto,cpu,cuda,cuda:1,mps}", help="(default: auto)")

    add = command("dups", "find the same recording in other encodings", _dups)
    add("embeddings", **_COLLECTION)
    add("--distance", type=float, metavar="D", help="of two embeddings, at most (default: 0.1)")
    add("--seconds", type=float, metavar="S", help="that lengths may differ by (default: 1)")
    add("--json", action="store_true", help="print JSON")
    add("-0", "--null", action="store_true", help="print paths with NULs, two between groups")

    add = command("map", "draw a collection as a page to look at and listen to", _map)
    add("embeddings", **_COLLECTION)
    add(
        "-o",
        "--out",
        "--output",
        type=Path,
        default=Path("map.html"),
        metavar="PAGE",
        help="page, - for stdout (default: map.html); only a map is replaced",
    )
    add("--method", default="pca", metavar="{pca,umap,tsne}", help="(default: %(default)s)")
    add("--color", metavar="COLUMN", help="folder, duration, or of --metadata (default: folder)")
    add("--metadata", type=Path, metavar="CSV", help="columns to color by, and one of files")
    add("--title", default="Map of music", help="of the page")

    add = command("export", "write a model as an ONNX file, for other runtimes", _export)
    where = f"bundled name, checkpoint folder or repository (default: {DEFAULT_MODEL})"
    add("model", nargs="?", metavar="MODEL", help=where)
    add("--revision", help="branch, tag or commit of a repository")
    add(
        *("-o", "--out", "--output"),
        type=Path,
        default=Path("model.onnx"),
        metavar="FILE",
        help="(default: %(default)s); only an exported model is replaced",
    )
    _add_export_choices(add)

    add = command("page", "make a page that finds the songs like a song in the browser", _page)
    add("embeddings", **_COLLECTION)
    add(
        *("-o", "--out", "--output"),
        type=Path,
        default=Path("page"),
        metavar="FOLDER",
        help="of the page and the model (default: %(default)s); only a page is replaced",
    )
    add("--model", help="what made the embeddings, where it is not found by its name")
    add("--title", default="Songs like yours", help="of the page")
    add(
        "--runtime",
        metavar="WHERE",
        help="folder or address of onnxruntime-web's files (default: a public address)",
    )

    add = command("models", "show the models there are", _models)
    add("--json", action="store_true", help="print JSON")
    return parser


def _add_export_choices(add: Any) -> None:
    """Add what to export, and how."""
    layers = "number, several as 2,5, all (default: the model's choice)"
    add("--layer", type=parse_layer, help=layers)
    add("--pooling", metavar="{mean,max,meanstd}", help="of clips (default: the model's choice)")
    add("--dtype", default="fp32", metavar="{fp32,fp16}", help="of the weights (default: fp32)")
    add(
        "--check",
        action=argparse.BooleanOptionalAction,
        help="compare with torch in onnxruntime (default: where that is installed)",
    )
    add("--license", metavar="NAME", help="of the weights (default: what the model's card says)")


def _similar(args: argparse.Namespace) -> int:
    with loading("musicssl similar"):
        from musicssl.cli.similar import similar

    return similar(args)


def _dups(args: argparse.Namespace) -> int:
    with loading("musicssl dups"):
        from musicssl.cli.duplicates import duplicates

    return duplicates(args)


def _map(args: argparse.Namespace) -> int:
    with loading("musicssl map"):
        from musicssl.cli.map import make_map

    return make_map(args)


def _export(args: argparse.Namespace) -> int:
    with loading("musicssl export"):
        from musicssl.cli.export import export

    return export(args)


def _page(args: argparse.Namespace) -> int:
    with loading("musicssl page"):
        from musicssl.cli.page import make_page

    return make_page(args)


def _models(args: argparse.Namespace) -> int:
    return print_models(as_json=args.json)


if __name__ == "__main__":
    sys.exit(main())
