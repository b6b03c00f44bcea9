"""The sub-command `musicssl-train evaluate`."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from musicssl.checkpoint.names import DEFAULT_MODEL
from musicssl.errors import ConfigError, nearest, pick
from musicssl_training.pairs import split_pair

if TYPE_CHECKING:
    from musicssl_training.evaluation.embedders.base import Embedder
    from musicssl_training.evaluation.own import OwnTask
    from musicssl_training.evaluation.suite import EvaluateConfig

log = logging.getLogger(__name__)
SEEDS, QUICK_SEEDS = 5, 3


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command; nothing heavy is imported for it."""
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help=f"bundled model (default: {DEFAULT_MODEL}), checkpoint folder or Hub repository, "
        "optionally with options as in NAME:layer=6,pooling=meanstd; log-mel, mfcc or "
        "handcrafted; random or random=MODEL for random weights, of seed 1 or as in random:seed=2; "
        "module:function; a folder of arrays",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        default=Path("report"),
        metavar="REPORT",
        help="output folder (default: %(default)s)",
    )
    add_data(
        parser,
        ". Under any other name: labels of your own, a folder with a subfolder per class, or "
        "with a labels.csv of path,label[,group], or such a table itself",
    )
    parser.add_argument(
        "--labels",
        action="append",
        default=[],
        metavar="NAME=KIND",
        help="how labels of your own are read: classes, numbers or tags (joined by |), where "
        "the labels do not show it; repeatable",
    )
    _add_protocol(parser)
    _add_output(parser)


def add_data(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add the arguments that say where labeled music is.

    Parameters
    ----------
    parser
        Of a sub-command.
    more
        What else its ``--at`` takes.
    """
    parser.add_argument(
        "--data", type=Path, metavar="ROOT", help="folder with one subfolder per collection"
    )
    parser.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help=f"location of a collection, such as gtzan=/data/gtzan; repeatable{more}",
    )


def _add_protocol(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say what is measured."""
    add = parser.add_argument
    for name, what in (
        ("task", "task to measure, such as 'drum class' (default: all with data)"),
        ("probe", "linear, mlp or knn (default: all)"),
        (
            "regime",
            "amount of training labels, such as 10%% or 5-shot (default: 100%%, 10%%, 1%%; of "
            "labels of your own, 100%%)",
        ),
    ):
        add(f"--{name}", action="append", default=[], metavar="NAME", help=f"{what}; repeatable")
    add(
        "--part",
        default="all",
        metavar="{development,test,all}",
        help="part of every collection: development, to choose layers and settings, test, to "
        "report the choice, or all (default: all)",
    )
    add(
        "--seeds",
        type=int,
        help=f"number of random seeds for splits and probes (default: {SEEDS}, with --quick "
        f"{QUICK_SEEDS})",
    )
    add(
        "--quick",
        action="store_true",
        help=f"linear probe only, all labels only, {QUICK_SEEDS} seeds, unless given otherwise",
    )
    add(
        "--no-baselines",
        dest="baselines",
        action="store_false",
        help="leave out log-mel, handcrafted and the first model with random weights",
    )
    add(
        "--fine-tune",
        action="store_true",
        help="also fine-tune the encoders, and a random one as the supervised baseline, on every "
        "clip-level task (minutes per task and model)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    """Add the arguments about output and computation."""
    add = parser.add_argument
    add(
        "--card",
        action="append",
        default=[],
        metavar="MODEL=README.md",
        help="write MODEL's scores to the front matter of that model card; repeatable",
    )
    add(
        "--map",
        default="pca",
        metavar="{pca,tsne,none}",
        help="projection for the maps (default: %(default)s)",
    )
    add("--cache", type=Path, help="folder for embeddings (default: REPORT/cache)")
    add(
        "--threads",
        type=int,
        default=1,
        help="number of threads, and of probing processes (default: %(default)s)",
    )


def run_evaluate(args: argparse.Namespace) -> None:
    """Evaluate, write results.json, results.md and index.html, and print the tables.

    Raises
    ------
    ConfigError
        For an unknown name, or without data.
    """
    import torch
    from threadpoolctl import threadpool_limits

    from musicssl_training.evaluation.report.html import render_page
    from musicssl_training.evaluation.report.model_card import fill_card
    from musicssl_training.evaluation.report.tables import tables
    from musicssl_training.evaluation.suite import evaluate

    cards = [split_pair(text, "--card", "MODEL=README.md", last=True) for text in args.card]
    own = _own_labels(args)
    roots = find_roots(args, own)
    config = make_config(args, own, bool(roots))
    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        report = evaluate(
            _make_embedders(args),
            roots,
            args.cache or args.out / "cache",
            config,
            lambda report: report.write(args.out / "results.json"),
        )
    text = tables(report)
    (args.out / "results.md").write_text(text, "utf-8")
    (args.out / "index.html").write_text(render_page(report), "utf-8")
    for model, card in cards:
        fill_card(Path(card), report, model)
    log.info("%s", args.out / "index.html")
    print(text)


def make_config(
    args: argparse.Namespace, own: "Sequence[OwnTask]" = (), others: bool = True
) -> "EvaluateConfig":
    """Return the settings of an evaluation; what was given wins over `--quick`.

    Parameters
    ----------
    args
        The command's.
    own
        Labels of one's own.
    others
        Whether there are other collections too; if not, one's own are the tasks.
    """
    from musicssl_training.evaluation.protocol.finetune import FineTuneConfig
    from musicssl_training.evaluation.suite import EvaluateConfig

    chosen: dict[str, Any] = {"seeds": SEEDS}
    if args.quick:
        chosen = {"probes": ("linear",), "regimes": ("100%",), "seeds": QUICK_SEEDS}
    given = {"tasks": args.task, "probes": args.probe, "regimes": args.regime}
    chosen |= {name: tuple(values) for name, values in given.items() if values}
    if args.seeds is not None:
        chosen["seeds"] = args.seeds
    if own and not others:
        chosen.setdefault("regimes", ("100%",))  # a tenth of one's own labels is asked for by name
        if not args.task:
            chosen["tasks"] = tuple(one.data.name for one in own)
    return EvaluateConfig(
        map_method="" if args.map == "none" else args.map,
        jobs=args.threads,
        part=args.part,
        fine_tune=FineTuneConfig() if args.fine_tune else None,
        own=tuple(own),
        **chosen,
    )


def _own_labels(args: argparse.Namespace) -> "list[OwnTask]":
    """Return the labels of one's own: what ``--at`` calls by no collection's name.

    Raises
    ------
    ConfigError
        If ``--labels`` says something of others, or twice the same name is given.
    """
    from musicssl_training.evaluation.datasets import COLLECTIONS
    from musicssl_training.evaluation.own import AUTO, read_own

    given = [split_pair(text, "--at", "NAME=FOLDER") for text in args.at]
    places = {name: Path(place) for name, place in given if name not in COLLECTIONS}
    if len({name for name, _ in given}) < len(given):
        raise ConfigError("--at has the same name twice; each collection needs its own.")
    kinds = dict(split_pair(text, "--labels", "NAME=KIND") for text in args.labels)
    for name in kinds:
        pick(places, name, "--labels")
    for name in places:
        if hint := nearest(name, COLLECTIONS):
            log.info("%s: read as labels of your own.%s", name, hint)
    return [read_own(name, place, kinds.get(name, AUTO)) for name, place in places.items()]


def find_roots(args: argparse.Namespace, own: "Sequence[OwnTask]" = ()) -> dict[str, Path]:
    """Return the folders of the available collections, without labels of one's own.

    Raises
    ------
    ConfigError
        If there are none, or one has an unknown name.
    """
    from musicssl_training.evaluation.datasets import COLLECTIONS

    roots = {}
    if args.data:
        roots = {n: args.data / n for n in COLLECTIONS if (args.data / n).is_dir()}
    for text in args.at:
        name, folder = split_pair(text, "--at", "NAME=FOLDER")
        if name not in {one.data.name for one in own}:
            pick(COLLECTIONS, name, "collection")
            roots[name] = Path(folder)
    if not roots and not own:
        raise ConfigError(
            f"no data: give --data, a folder with one of {', '.join(COLLECTIONS)}, or --at."
        )
    return roots


def _make_embedders(args: argparse.Namespace) -> "list[Embedder]":
    """Return the embedders to measure: the baselines, then the given models."""
    from musicssl_training.evaluation.embedders.adapters import ModelEmbedder
    from musicssl_training.evaluation.embedders.spec import make_embedder

    named = {text: make_embedder(text) for text in dict.fromkeys(args.models or [DEFAULT_MODEL])}
    if not args.baselines:
        return list(named.values())
    learned = [
        text
        for text, embedder in named.items()
        if isinstance(embedder, ModelEmbedder) and not text.startswith("random")
    ]
    texts = ["log-mel", "handcrafted"]
    if not any(text.startswith("random") for text in named):
        texts.append(f"random={learned[0]}" if learned else "random")
    baselines = [make_embedder(text) for text in texts if text not in named]
    return [*baselines, *named.values()]
