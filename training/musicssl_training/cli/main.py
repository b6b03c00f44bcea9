"""The command `musicssl-train`."""

import argparse
import logging
import sys
from collections.abc import Callable

from musicssl import __version__
from musicssl.cli.completion import add_completion
from musicssl.cli.options import Help, Parser
from musicssl.errors import MusicSSLError
from musicssl_training.cli.accompany import add_accompany, run_accompany
from musicssl_training.cli.corpus import add_corpus, run_corpus
from musicssl_training.cli.evaluate import add_evaluate, run_evaluate
from musicssl_training.cli.exercises import add_exercises, run_exercises
from musicssl_training.cli.manifest import add_manifest, run_manifest
from musicssl_training.cli.overlap import add_overlap, run_overlap
from musicssl_training.cli.pack import add_pack, run_pack
from musicssl_training.cli.plot import add_plot, run_plot
from musicssl_training.cli.pretrain import add_pretrain, run_pretrain
from musicssl_training.cli.release import add_release, run_release
from musicssl_training.cli.render import add_render, run_render
from musicssl_training.cli.study import add_study, run_study_command
from musicssl_training.cli.teach import add_teach, run_teach
from musicssl_training.progress import Lines, lines_of_warnings

log = logging.getLogger(__name__)
Add = Callable[[argparse.ArgumentParser], None]
Run = Callable[[argparse.Namespace], int | None]
COMMANDS: dict[str, tuple[str, Add, Run]] = {  # help, arguments, and what is done
    "corpus": ("build a corpus from a recipe", add_corpus, run_corpus),
    "pack": ("decode recordings into a pack", add_pack, run_pack),
    "render": ("render MIDI files into a pack", add_render, run_render),
    "manifest": ("write down what audio files a folder holds", add_manifest, run_manifest),
    "teach": ("write what a teacher says of a pack beside it", add_teach, run_teach),
    "exercises": ("write synthetic scores to render", add_exercises, run_exercises),
    "accompany": ("write band accompaniments to render", add_accompany, run_accompany),
    "pretrain": ("pre-train an encoder; goes on if killed", add_pretrain, run_pretrain),
    "study": ("compare many runs; goes on if killed", add_study, run_study_command),
    "plot": ("draw a run's losses, weights and gradients", add_plot, run_plot),
    "evaluate": ("measure embeddings on labelled music", add_evaluate, run_evaluate),
    "overlap": ("check that a corpus holds no labelled music", add_overlap, run_overlap),
    "release": ("make a checkpoint folder of a run", add_release, run_release),
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all sub-commands."""
    parser = Parser(
        prog="musicssl-train",
        description="Pre-train music encoders, from a corpus to a released and measured model.",
        formatter_class=Help,
    )
    parser.add_argument("-V", "--version", action="version", version=__version__)
    add_completion(parser)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name, (what, add, run) in COMMANDS.items():
        about = f"{what[0].upper()}{what[1:]}."
        command = commands.add_parser(name, help=what, description=about, formatter_class=Help)
        add(command)
        command.set_defaults(run=run)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    Returns
    -------
    int
        0; 1 if a part has failed; 2 for what is wrong with the call; 130 after Ctrl-C.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[Lines()])
    if sys.stderr is not None and sys.stderr.isatty():  # libraries take seconds to load
        print(f"{parser.prog} {args.command}: starting", file=sys.stderr, flush=True)
    try:
        with lines_of_warnings():
            code = args.run(args) or 0
    except MusicSSLError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # of a file inside a folder that a command reads or writes
        log.debug("%s has failed", args.command, exc_info=error)
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"{parser.prog}: error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
