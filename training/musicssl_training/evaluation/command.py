"""`musicssl-train evaluate`."""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from musicssl.errors import ConfigError, pick

if TYPE_CHECKING:
    from musicssl_training.evaluation.embedders import Embedder

QUICK = 3  # seeds


def add_evaluate(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command; nothing heavy is imported for it."""
    add = parser.add_argument
    add(
        "models",
        nargs="+",
        metavar="MODEL",
        help="model, folder or repository, also as NAME:layer=6,pooling=meanstd; log-mel, mfcc or "
        "handcrafted; random or random=MODEL; module:function; a folder of arrays",
    )
    add("-o", "--out", type=Path, required=True, metavar="REPORT", help="folder to write")
    add_data(parser)
    for name, what in (
        ("task", "such as 'drum class' (default: all that there is data for)"),
        ("probe", "linear, mlp or knn (default: all)"),
        ("regime", "labels for training, such as 10%% or 5-shot (default: 100%%, 10%%, 1%%)"),
    ):
        add(f"--{name}", action="append", default=[], metavar="NAME", help=f"{what}; repeatable")
    add(
        "--part",
        default="all",
        metavar="PART",
        help="of every collection: all; or development, to choose layers and settings by, and "
        "test, to report what was chosen (default: all)",
    )
    add("--seeds", type=int, default=5, help="of splits and probes (default: %(default)s)")
    add("--quick", action="store_true", help=f"{QUICK} seeds, all labels, the linear probe only")
    add(
        "--no-baselines",
        dest="baselines",
        action="store_false",
        help="without log-mel, handcrafted and the first model's architecture with random weights",
    )
    add(
        "--fine-tune",
        action="store_true",
        help="also train our encoders, and a random one as the supervised baseline, on every task "
        "about whole clips: minutes a task and model",
    )
    add(
        "--card",
        action="append",
        default=[],
        metavar="MODEL=README.md",
        help="put MODEL's scores into that model card's front matter; repeatable",
    )
    add("--map", default="pca", metavar="METHOD", help="of the 2-D maps: pca, tsne or none")
    add("--cache", type=Path, help="folder for embeddings (default: REPORT/cache)")
    add(
        "--threads",
        type=int,
        default=1,
        help="and probing processes (default: %(default)s)",
    )


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that say where labelled music is."""
    parser.add_argument(
        "--data", type=Path, metavar="ROOT", help="holds a folder for each collection"
    )
    parser.add_argument(
        "--at",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="where a collection is, such as gtzan=/data/gtzan; may be repeated",
    )


def run_evaluate(args: argparse.Namespace) -> None:
    """Evaluate, write results.json, results.md and index.html, and print the tables.

    Raises
    ------
    ConfigError
        For a name that does not exist, or no data.
    """
    import torch
    from threadpoolctl import threadpool_limits

    from musicssl_training.evaluation.card import fill_card
    from musicssl_training.evaluation.finetune import FineTuneConfig
    from musicssl_training.evaluation.page import page
    from musicssl_training.evaluation.suite import EvaluateConfig, evaluate
    from musicssl_training.evaluation.table import tables

    quick = {"probes": ("linear",), "regimes": ("100%",), "seeds": QUICK} if args.quick else {}
    asked = {"tasks": args.task, "probes": args.probe, "regimes": args.regime}
    choices = {"seeds": args.seeds} | quick | {k: tuple(v) for k, v in asked.items() if v}
    config = EvaluateConfig(
        map_method="" if args.map == "none" else args.map,
        jobs=args.threads,
        part=args.part,
        fine_tune=FineTuneConfig() if args.fine_tune else None,
        **choices,
    )
    cards = [_pair(text.rpartition("="), "--card") for text in args.card]
    roots = find_roots(args)
    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        embedders = _embedders(args)
        report = evaluate(
            embedders,
            roots,
            args.cache or args.out / "cache",
            config,
            lambda report: report.write(args.out / "results.json"),
        )
    text = tables(report)
    (args.out / "results.md").write_text(text, "utf-8")
    (args.out / "index.html").write_text(page(report), "utf-8")
    for model, card in cards:
        fill_card(Path(card), report, model)
    logging.getLogger(__name__).info("%s", args.out / "index.html")
    print(text)


def _pair(parts: tuple[str, str, str], option: str) -> tuple[str, str]:
    """Return the two sides of an option's value."""
    name, _, value = parts
    if not all(parts):
        raise ConfigError(f"{option} {''.join(parts)!r} is not NAME=PLACE.")
    return name, value


def find_roots(args: argparse.Namespace) -> dict[str, Path]:
    """Return the folders of the collections that are at hand.

    Raises
    ------
    ConfigError
        If there is none, or one has a name that does not exist.
    """
    from musicssl_training.evaluation.tasks import COLLECTIONS

    roots = {}
    if args.data:
        roots = {n: args.data / n for n in COLLECTIONS if (args.data / n).is_dir()}
    for text in args.at:
        name, folder = _pair(text.partition("="), "--at")
        pick(COLLECTIONS, name, "collection")
        roots[name] = Path(folder)
    if not roots:
        raise ConfigError(
            f"no data: give --data, a folder with one of {', '.join(COLLECTIONS)}, or --at."
        )
    return roots


def _embedders(args: argparse.Namespace) -> "list[Embedder]":
    """Return what is to be measured: the baselines first, then what was named."""
    from musicssl_training.evaluation.embedders import ModelEmbedder
    from musicssl_training.evaluation.naming import make_embedder

    named = {text: make_embedder(text) for text in dict.fromkeys(args.models)}
    if not args.baselines:
        return list(named.values())
    learnt = [
        text
        for text, embedder in named.items()
        if isinstance(embedder, ModelEmbedder) and not text.startswith("random")
    ]
    texts = ["log-mel", "handcrafted"]
    if not any(text.startswith("random") for text in named):
        texts.append(f"random={learnt[0]}" if learnt else "random")
    baselines = [make_embedder(text) for text in texts if text not in named]
    return [*baselines, *named.values()]
