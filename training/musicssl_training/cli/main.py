"""The command `musicssl-train`."""

import argparse
import logging
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicssl import __version__
from musicssl.errors import ConfigError, MusicSSLError
from musicssl_training.cli.evaluate import add_data, add_evaluate, find_roots, run_evaluate
from musicssl_training.cli.interrupts import interrupts
from musicssl_training.cli.study import add_study, run_study_command
from musicssl_training.cli.teach import add_teach, run_teach

if TYPE_CHECKING:
    from musicssl_training.data import Read

FONTS = [
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/FluidR3_GM.sf2",
    "/usr/share/sounds/sf2/TimGM6mb.sf2",
]
COLUMNS = (  # of an index; the first three must be there
    "path",
    "source",
    "licence",
    "group",
    "artist",
    "key_signature",
    "key_mode_reliable",
    "key_source_label",
    "tempo_source",
)
LEAVE_OUT = "skip the rows that match, such as licence='*GPL*'; may be repeated"
SAMPLE_RATE = 22_050  # Hz, of the default front end


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all sub-commands."""
    parser = argparse.ArgumentParser(prog="musicssl-train", description=__doc__)
    parser.add_argument("-V", "--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    for name, run, what in (
        ("pack", _pack, "decode recordings into a pack"),
        ("render", _render, "render MIDI files into a pack"),
    ):
        command = commands.add_parser(name, help=what)
        add = command.add_argument
        add("index", type=Path, metavar="INDEX.csv", help="columns path, source, licence, ...")
        add("out", type=Path, metavar="PACK", help="folder to write; goes on with what is there")
        add("--root", type=Path, help="where the paths start (default: the index's folder)")
        add("--leave-out", action="append", default=[], metavar="COLUMN=PATTERN", help=LEAVE_OUT)
        add("--sample-rate", type=int, default=SAMPLE_RATE, help="Hz (default: %(default)s)")
        add("--jobs", type=_count, default=1, help="files at a time (default: %(default)s)")
        command.set_defaults(run=run)
    add("--version-of", type=int, default=0, metavar="N", help="another N, other versions")
    add("--font", action="append", help="sound font; may be repeated (default: FluidR3, TimGM6mb)")

    command = commands.add_parser("manifest", help="write down what audio files a folder holds")
    add = command.add_argument
    add("folder", type=Path, metavar="FOLDER", help="any audio, in sub-folders too")
    add("--out", type=Path, metavar="FILE", help="default: FOLDER/manifest.jsonl")
    add("--index", type=Path, metavar="INDEX.csv", help="columns path, source, licence, group")
    add("--leave-out", action="append", default=[], metavar="COLUMN=PATTERN", help=LEAVE_OUT)
    add("--jobs", type=_count, default=1, help="files at a time (default: %(default)s)")
    command.set_defaults(run=_manifest)

    command = commands.add_parser("teach", help="write what a teacher says of a pack beside it")
    add_teach(command, _count)
    command.set_defaults(run=run_teach)

    command = commands.add_parser("exercises", help="write synthetic scores to render")
    add = command.add_argument
    add("out", type=Path, metavar="FOLDER")
    add("--count", type=_count, default=1000, help="how many (default: %(default)s)")
    add("--seed", type=int, default=0)
    command.set_defaults(run=_exercises)

    command = commands.add_parser("pretrain", help="pre-train an encoder; goes on if killed")
    add = command.add_argument
    add("config", type=Path, metavar="CONFIG.toml")
    add("folder", type=Path, metavar="RUN", help="folder of the run")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replace a setting, such as steps=100 or encoder.dim=64",
    )
    add("--threads", type=int, help="of torch (default: one a core)")
    command.set_defaults(run=_pretrain)

    command = commands.add_parser("plot", help="draw a run's losses, weights and gradients")
    command.add_argument("folder", type=Path, metavar="RUN")
    command.set_defaults(run=_plot)

    command = commands.add_parser("evaluate", help="measure embeddings on labelled music")
    add_evaluate(command)
    command.set_defaults(run=run_evaluate)

    command = commands.add_parser("study", help="compare many runs; goes on if killed")
    add_study(command, _count)
    command.set_defaults(run=run_study_command)

    command = commands.add_parser("overlap", help="check that a corpus holds no labelled music")
    command.add_argument("corpora", nargs="+", metavar="CORPUS", help="packs, or with a manifest")
    add_data(command)
    command.set_defaults(run=_overlap)

    command = commands.add_parser("release", help="make a checkpoint folder of a run")
    add = command.add_argument
    add("folder", type=Path, metavar="RUN")
    add("out", type=Path, metavar="OUT", help="its name is the model's")
    add("--about", type=Path, required=True, metavar="ABOUT.toml", help="what the card says")
    add("--push-to-hub", metavar="OWNER/NAME", help="upload it as well")
    command.set_defaults(run=_release)
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code.

    Returns
    -------
    int
        0; 1 if a part has failed; 2 for what is wrong with the call; 130 after Ctrl-C.
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        code = args.run(args) or 0
    except MusicSSLError as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return int(code)


def _rows(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the rows of the index that are to be read."""
    from musicssl_training.data.index import leave_out, read_rows

    rows = read_rows(args.index, COLUMNS[:3])
    kept = leave_out(rows, args.leave_out)
    if not kept:
        raise ConfigError(f"{args.index}: no row is left.")
    return [{key: row[key] for key in COLUMNS if key in row} for row in kept]


def _pack(args: argparse.Namespace) -> None:
    from musicssl_training.data import decode

    root = args.root or args.index.parent
    _write(args, lambda row: (decode(root / row["path"], args.sample_rate), {}, None))


def _render(args: argparse.Namespace) -> None:
    from musicssl_training.midi.render import render

    root, fonts = args.root or args.index.parent, args.font or FONTS

    def read(row: dict[str, Any]) -> Any:
        seed = f"{args.version_of}/{row['path']}"
        return render(root / row["path"], fonts, args.sample_rate, seed, row)

    _write(args, read)


def _manifest(args: argparse.Namespace) -> None:
    from musicssl_training.data.folder import write_manifest

    found = write_manifest(args.folder, args.out, args.index, args.jobs, args.leave_out)
    print(
        f"{found.files} files, {found.hours:.2f} h; left out: {found.broken} that cannot be read, "
        f"{found.duplicates} duplicates",
        file=sys.stderr,
    )


def _exercises(args: argparse.Namespace) -> None:
    from musicssl_training.midi.synthetic import write_exercises

    write_exercises(args.out, args.count, args.seed)
    print(f"{args.out / 'index.csv'}: {args.count} scores", file=sys.stderr)


def _write(args: argparse.Namespace, read: "Read") -> None:
    """Write a pack whose index names the sample rate."""
    from musicssl_training.data import write_pack

    def at_rate(row: dict[str, Any]) -> Any:
        audio, facts, score = read(row)
        return audio, facts | {"sample_rate": args.sample_rate}, score

    rows = _rows(args)
    there = write_pack(rows, args.out, at_rate, args.jobs)
    if not there:
        raise ConfigError("not one of the files could be read; see above.")
    print(f"{args.out}: {there} of {len(rows)} recordings", file=sys.stderr)


def _pretrain(args: argparse.Namespace) -> None:
    import torch
    from tqdm import tqdm

    from musicssl_training.train.config import read_config
    from musicssl_training.train.loop import Heard, pretrain
    from musicssl_training.train.state import Run

    values = _toml(args.config)
    for text in args.set:
        _replace(values, text)
    if args.threads:
        torch.set_num_threads(args.threads)
    config = read_config(values)
    with interrupts() as stop, tqdm(total=config.steps, unit="step", disable=None) as bar:

        def show(run: Run, heard: Heard) -> None:
            if not bar.n:
                bar.initial = bar.n = run.progress.step - 1
            bar.disable = bar.disable or not run.fabric.is_global_zero
            mean = sum(heard.losses.values()) / len(heard.losses)
            speed = run.progress.hours / max(run.progress.wall, 1e-9) * 3600
            bar.set_postfix_str(
                f"mean loss {mean:.3f}, {run.progress.hours:.1f} h heard at {speed:.0f} h/h",
                refresh=False,
            )
            bar.update()

        pretrain(config, args.folder, show=show, stop=stop.is_set)


def _plot(args: argparse.Namespace) -> None:
    from musicssl_training.train.plots import draw

    for picture in draw(args.folder):
        print(picture)


def _overlap(args: argparse.Namespace) -> None:
    from musicssl_training.evaluation.leakage.check import check_overlap

    check_overlap(args.corpora, find_roots(args))


def _release(args: argparse.Namespace) -> None:
    print(f"{args.folder}: making a model of it", file=sys.stderr, flush=True)  # then torch loads
    from tqdm import tqdm

    from musicssl.checkpoint.hub import push_folder
    from musicssl.config import from_dict
    from musicssl_training.release.export import STATISTICS_BATCHES, ReleaseConfig, release

    config = from_dict(ReleaseConfig, _toml(args.about), "about")
    with tqdm(total=STATISTICS_BATCHES, unit="batch", desc="hearing music", disable=None) as bar:
        release(args.folder, args.out, config, show=bar.update)
    print(f"{args.out}: written, with its model card", file=sys.stderr)
    if args.push_to_hub:
        print(push_folder(args.out, args.push_to_hub))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:  # also where it is not UTF-8
        raise ConfigError(f"{path} is not TOML: {error}.") from error


def _replace(values: dict[str, Any], text: str) -> None:
    """Put ``key.key=value`` into nested settings; a value that is not TOML is a string."""
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text!r} is not KEY=VALUE.")
    try:
        read: Any = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        read = value
    *path, last = key.strip().split(".")
    for name in path:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {text!r}: {name!r} is not a group of settings.")
    values[last] = read


if __name__ == "__main__":
    sys.exit(main())
