"""`musicssl-train evaluate`."""

import argparse
import logging
from pathlib import Path

from musicssl.errors import ConfigError, pick

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
    add("--data", type=Path, metavar="ROOT", help="holds a folder for each collection")
    add(
        "--at",
        action="append",
        default=[],
        metavar="NAME=FOLDER",
        help="where a collection is, such as gtzan=/data/gtzan; may be repeated",
    )
    for name, what in (
        ("task", "such as 'drum class' (default: all that there is data for)"),
        ("probe", "linear, mlp or knn (default: all)"),
        ("regime", "labels for training, such as 10%% or 5-shot (default: 100%%, 10%%, 1%%)"),
    ):
        add(f"--{name}", action="append", default=[], metavar="NAME", help=f"{what}; repeatable")
    add("--seeds", type=int, default=5, help="of splits and probes (default: %(default)s)")
    add("--quick", action="store_true", help=f"{QUICK} seeds, all labels, the linear probe only")
    add("--map", default="pca", metavar="METHOD", help="of the 2-D maps: pca, tsne or none")
    add("--cache", type=Path, help="folder for embeddings (default: REPORT/cache)")
    add("--threads", type=int, default=1, help="of the arithmetic (default: %(default)s)")


def run_evaluate(args: argparse.Namespace) -> None:
    """Evaluate, write results.json and results.md, and print the latter.

    Raises
    ------
    ConfigError
        For a name that does not exist, or no data.
    """
    import torch
    from threadpoolctl import threadpool_limits

    from musicssl_training.evaluation.embedders import make_embedder
    from musicssl_training.evaluation.suite import EvaluateConfig, evaluate
    from musicssl_training.evaluation.table import tables
    from musicssl_training.evaluation.tasks import COLLECTIONS

    quick = {"probes": ("linear",), "regimes": ("100%",), "seeds": QUICK} if args.quick else {}
    asked = {"tasks": args.task, "probes": args.probe, "regimes": args.regime}
    choices = {"seeds": args.seeds} | quick | {k: tuple(v) for k, v in asked.items() if v}
    config = EvaluateConfig(map_method="" if args.map == "none" else args.map, **choices)
    roots = {}
    if args.data:
        roots = {n: args.data / n for n in COLLECTIONS if (args.data / n).is_dir()}
    for text in args.at:
        name, equals, folder = text.partition("=")
        if not equals:
            raise ConfigError(f"--at {text!r} is not NAME=FOLDER.")
        pick(COLLECTIONS, name, "collection")
        roots[name] = Path(folder)
    if not roots:
        raise ConfigError(
            f"no data: give --data, a folder with one of {', '.join(COLLECTIONS)}, or --at."
        )
    torch.set_num_threads(args.threads)
    with threadpool_limits(args.threads):
        embedders = [make_embedder(text) for text in args.models]
        report = evaluate(embedders, roots, args.cache or args.out / "cache", config)
    report.write(args.out / "results.json")
    text = tables(report)
    (args.out / "results.md").write_text(text, "utf-8")
    logging.getLogger(__name__).info("%s", args.out / "results.json")
    print(text)
