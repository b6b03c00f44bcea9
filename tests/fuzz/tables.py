"""The tables of a campaign, in Markdown."""

import re
import subprocess
from collections import Counter
from importlib.metadata import PackageNotFoundError, version
from pathlib import PurePath
from typing import Any

import reference
import soundfile
from judge import FINDINGS, REMARKS


def versions() -> str:
    """Name what decoded."""
    first = subprocess.run(
        [reference.command_name, "-version"], capture_output=True, text=True
    ).stdout
    parts = [f"FFmpeg {first.split()[2]}", f"libsndfile {soundfile.__libsndfile_version__}"]
    for package in ("av", "soundfile", "soxr", "numpy"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"no {package}")
    return ", ".join(parts)


def print_tables(records: dict[int, dict[str, Any]], decoders: str) -> None:
    """Print what came of the mutated files by format, by kind and by mutation."""
    mutated = [record for number, record in records.items() if number >= 0]
    controls = [record for number, record in records.items() if number < 0]
    print(f"{len(mutated)} files and {len(controls)} unharmed; {decoders}\n")
    print(*by_format(mutated), sep="\n")
    kinds = Counter(kind for record in mutated for kind in _kinds(record))
    print("\n| kind | files | what it means |\n|---|---|---|")
    for kind, meaning in (FINDINGS | REMARKS).items():
        print(f"| {kind} | {kinds[kind]} | {meaning} |")
    print("\n| refused, and FFmpeg hears it | files |\n|---|---|")
    for reason, count in _reasons(mutated).most_common():
        print(f"| {reason} | {count} |")
    print("\nWith a finding:")
    for record in sorted(mutated + controls, key=_rank):
        for kind, detail in record["findings"]:
            if kind in FINDINGS:
                print(
                    f"{record['number']:6d} {kind} | {record['seed']} {record['what']} | {detail}"
                )


def _reasons(records: list[dict[str, Any]]) -> Counter[str]:
    """Count the reasons of refusals by their words, numbers left out."""
    reasons: Counter[str] = Counter()
    for record in records:
        if "refused" in _kinds(record):
            message = record["path"].get("message", "").removeprefix("FILE: ")
            reasons[re.sub(r"[0-9][0-9,.]*", "N", message)[:110]] += 1
    return reasons


def by_format(records: list[dict[str, Any]]) -> list[str]:
    """Return the lines of a table, a row a format."""
    rows: dict[str, Counter[str]] = {}
    for record in records:
        row = rows.setdefault(PurePath(record["seed"]).suffix[1:], Counter())
        kinds = _kinds(record)
        row["files"] += 1
        row[record["path"]["outcome"]] += 1
        row["all of it"] += record["path"]["outcome"] == "ok" and not kinds & set(LOST)
        row["finding"] += bool(kinds & set(FINDINGS))
        for kind in kinds:
            row["*" + kind] += 1
    head = ("format", "files", "heard", "refused", "of these FFmpeg hears", "loss said", "findings")
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, row in [*sorted(rows.items()), ("all", sum(rows.values(), Counter()))]:
        cells = (row["files"], row["ok"], row["refused"], row["*refused"], row["*loss said"])
        lines.append(f"| {name} | " + " | ".join(map(str, (*cells, row["finding"]))) + " |")
    return lines


LOST = ("silent loss", "loss said", "invented", "wrong sound")
_ORDER = [*FINDINGS, *REMARKS]


def _kinds(record: dict[str, Any]) -> set[str]:
    return {kind for kind, _ in record["findings"]}


def _rank(record: dict[str, Any]) -> tuple[int, int]:
    ranks = [_ORDER.index(kind) for kind, _ in record["findings"]]
    return min(ranks, default=len(_ORDER)), record["number"]
