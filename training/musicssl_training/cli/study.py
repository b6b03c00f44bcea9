"""The sub-command `musicssl-train study`."""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from musicssl.errors import ConfigError, OutputError
from musicssl_training.cli.arguments import count
from musicssl_training.cli.interrupts import interrupts

if TYPE_CHECKING:
    from musicssl_training.study.config import Study
    from musicssl_training.study.folder import StudyFolder
    from musicssl_training.study.plan import Plan

log = logging.getLogger(__name__)


def add_study(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the sub-command."""
    add = parser.add_argument
    add("study", type=Path, metavar="STUDY.toml", help="grid, budget and tasks")
    add("out", type=Path, metavar="OUT", help="folder of the study; any processes may share it")
    add("--jobs", type=count, default=1, help="processes (default: %(default)s)")
    add("--threads", type=count, default=1, help="of each process (default: %(default)s)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--retry", action="store_true", help="try failed cells again")
    what.add_argument(
        "--dry-run", action="store_true", help="list the cells and the time they need"
    )
    what.add_argument(
        "--report", action="store_true", help="only write the report of what is finished"
    )


def run_study_command(args: argparse.Namespace) -> int:
    """Run a study, or what is left of it, and write its report.

    Returns
    -------
    int
        1 if cells have failed, else 0.

    Raises
    ------
    OutputError
        If OUT is no folder.
    """
    from musicssl_training.study.config import read_study
    from musicssl_training.study.folder import StudyFolder

    if args.out.exists() and not args.out.is_dir():
        raise OutputError(f"{args.out} is a file; OUT is the folder of the study.")
    study, folder = read_study(args.study), StudyFolder(args.out)
    if args.dry_run:
        _show_plan(study, folder, args.threads)
        return 0
    if args.report:
        return _report(study, folder)
    from musicssl_training.study.music import check_music
    from musicssl_training.study.run import check_study, retry_failed, run_jobs

    check_study(study)
    check_music(study, folder)
    if args.retry:
        retry_failed(study, folder)
    with interrupts() as stopped:
        found = run_jobs(
            args.study, args.out, study, stopped.is_set, jobs=args.jobs, threads=args.threads
        )
    if found.elsewhere:
        log.info("%d cells are with other processes", len(found.elsewhere))
    if not (found.finished or found.failed):
        log.info("none is finished yet; whoever finishes the last one writes the report")
        return 0
    return _report(study, folder)


def _report(study: "Study", folder: "StudyFolder") -> int:
    """Write the report.

    Raises
    ------
    ConfigError
        If no cell is finished, and none has failed.
    """
    from musicssl_training.study.report.build import write_report
    from musicssl_training.study.run import outcome

    found = outcome(study, folder)
    for cell in found.failed:
        failure = folder.failure(cell) or {}
        print(f"failed: {cell.name}: {failure.get('error')}", file=sys.stderr)
    if not found.finished and found.failed:
        print("no cell is finished; there is nothing to report.", file=sys.stderr)
        return 1
    if not found.finished:
        others = len([*folder.root.glob("cells/*.json")])
        hint = (
            f" It has {others} results of other settings, or of another version." if others else ""
        )
        raise ConfigError(f"{folder.root}: no cell is finished; there is nothing to report.{hint}")
    print(write_report(study, folder))
    return 1 if found.failed else 0


def _show_plan(study: "Study", folder: "StudyFolder", threads: int) -> None:
    """Print every cell with its state and the time that it needs, and the sum."""
    import torch

    from musicssl_training.study.cell import time_steps
    from musicssl_training.study.music import check_music
    from musicssl_training.study.plan import make_plan
    from musicssl_training.study.run import check_study

    check_study(study)
    check_music(study, folder)
    torch.set_num_threads(threads)
    plans = make_plan(study, folder, time_steps)
    for plan in plans:
        print(f"{plan.cell.id}  {plan.state:8}  {_minutes(plan):>12}  {plan.cell.name}")
    left = [plan for plan in plans if plan.state != "finished"]
    print(f"{len(plans)} cells, {len(left)} to do:", end=" ")
    known = [plan for plan in left if plan.train_seconds is not None]
    train = sum(plan.train_seconds or 0.0 for plan in known)
    measure = sum(plan.evaluate_seconds or 0.0 for plan in left)
    print(f"{train / 3600:.1f} h of one process for training", end="")
    print(f" ({len(left) - len(known)} cells not known)" if len(known) < len(left) else "", end="")
    if any(plan.evaluate_seconds is None for plan in left):
        print("; that of the evaluation is not known before a first cell is finished.")
    else:
        print(f" and {measure / 3600:.1f} h for evaluation.")
    for source in dict.fromkeys(plan.source for plan in left if plan.source):
        print(f"{sum(plan.source == source for plan in left)} cells by: {source}")


def _minutes(plan: "Plan") -> str:
    if plan.state == "finished":
        return ""
    if plan.train_seconds is None:
        return "?"
    whole = plan.train_seconds + (plan.evaluate_seconds or 0.0)
    return f"{whole / 60:.1f} min"
