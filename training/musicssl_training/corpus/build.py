"""A corpus from its recipe: obtained, checked, compared, listed and packed."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from musicssl.config import Range
from musicssl.errors import ConfigError, OutputError, pick
from musicssl_training.corpus.check import Checks, Measured, compare, looks_like_audio
from musicssl_training.corpus.compare import find_duplicates, find_labelled, open_collections
from musicssl_training.corpus.errors import UnavailableError
from musicssl_training.corpus.extraction import MUSIC, Wanted
from musicssl_training.corpus.listing import HELD_BACK, Row, recordings
from musicssl_training.corpus.lock import write_lock
from musicssl_training.corpus.mix import unnamed_stems
from musicssl_training.corpus.obtain import Places, find_folder, obtain
from musicssl_training.corpus.own import STATE, check_folder, claim_earlier
from musicssl_training.corpus.packing import check_pack, pack_corpus
from musicssl_training.corpus.recipe import FolderSource, Recipe, SourceSpec
from musicssl_training.corpus.summary import LEFT_OUT, Summary, write_tables
from musicssl_training.data.index import leave_out
from musicssl_training.evaluation.datasets import Collection
from musicssl_training.locks import claimed

log = logging.getLogger(__name__)
SHOWN = 20  # names of stems, the most frequent
LOCK = "build.lock"  # in STATE; its holder alone writes the corpus
LOCKED = "is_locked"  # whether the lock file names a recording
RATES = Range(1000, 1_000_000)  # Hz, of a pack, as of what reads it


@dataclass(frozen=True)
class BuildConfig:
    """What is to be made of a recipe.

    Attributes
    ----------
    places
        Where the sources may be found.
    only
        Names of the sources to use; none: all.
    without
        Patterns of rows to leave out, see `leave_out`; of path, source and licence.
    labelled
        Folders of labelled collections of which nothing may be in the corpus, by their names.
    sample_rate
        Hz, of the pack; None: make no pack.
    jobs
        Files to decode at a time.
    lock
        Whether to write what was found into the lock file beside the recipe.
    """

    places: Places
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    labelled: dict[str, Path] = field(default_factory=dict)
    sample_rate: int | None = 22_050
    jobs: int = 1
    lock: bool = False

    def __post_init__(self) -> None:
        if self.sample_rate is not None and self.sample_rate not in RATES:
            raise ConfigError(f"the sample rate must be {RATES} Hz, got {self.sample_rate}.")


def build_corpus(recipe: Recipe, out: Path, config: BuildConfig) -> Summary:
    """Build a corpus, going on with what is there; nothing half-written remains of a killed run.

    Sources and recordings that cannot be had or used are named and left out; the rest is built.

    Parameters
    ----------
    recipe
        See `read_recipe`.
    out
        Folder to write: index.csv, left-out.csv, music/, evidence/ and pack/.
    config
        What is to be made of it.

    Raises
    ------
    ConfigError
        If a source is named that the recipe does not have, or lies in `out`, nothing at all is
        left, a pack is there that was made of other recordings, or another process is building
        in `out`.
    DataError
        If labelled music is missing or broken.
    OutputError
        If `out` cannot be written, or is neither empty nor a corpus.
    """
    sources = chosen(recipe, config)
    _check_places(sources, out, config.places)
    collections = open_collections(config.labelled)
    try:
        (out / STATE).mkdir(parents=True, exist_ok=True)
        with claimed(out / STATE / LOCK):
            return _build(recipe, sources, collections, out, config)
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {error}.") from error


def _build(
    recipe: Recipe,
    sources: Sequence[SourceSpec],
    collections: Sequence[Collection],
    out: Path,
    config: BuildConfig,
) -> Summary:
    """Obtain, check, compare, list and pack; `out` is ours."""
    claim_earlier(out)
    summary = Summary()
    found = _obtain_all(sources, out, config, summary)
    checks = Checks(out / STATE)
    rows = _check_all(recipe, sources, found, checks, out, config, summary)
    if config.lock:
        known = [row | {"source": row["of"], "path": row["inside"]} for row in rows]
        count = write_lock(recipe.lock_file, recipe.lock, known)
        log.info("%s: %d recordings", recipe.lock_file, count)

    def fingerprint(row: Row) -> Any:
        return checks.landmarks(row["sha256"])

    rows = _without(rows, find_duplicates(rows, fingerprint), summary)
    if collections:
        rows = _without(rows, find_labelled(rows, fingerprint, collections), summary)
    else:
        log.warning("not compared with any labelled music: give its folders by --data or --at")
    if rows and config.sample_rate is not None:  # before the tables say otherwise than it
        check_pack(rows, out, config.sample_rate)
    summary.rows = rows
    write_tables(out, summary)
    if not rows:
        raise ConfigError(f"nothing is left of {recipe.file}: see {out / LEFT_OUT}.")
    if config.sample_rate is not None:
        summary.packed = pack_corpus(rows, out, config.sample_rate, config.jobs)
    return summary


def chosen(recipe: Recipe, config: BuildConfig) -> list[SourceSpec]:
    """Return the sources that are wanted.

    Raises
    ------
    ConfigError
        If one is named that is not there, or none is wanted.
    """
    names = {source.name: source for source in recipe.sources}
    folders = {n: source for n, source in names.items() if isinstance(source, FolderSource)}
    for name in config.only:
        pick(names, name, "source")
    for name in config.places.folders:
        pick(folders, name, "folder source")
    wanted = [names[name] for name in names if not config.only or name in config.only]
    kept = []
    for spec in wanted:
        licences = [spec.licence, *(rule.licence for rule in spec.licences)]
        known = [one for one in licences if one] or [""]  # none: its own index decides
        rows = [{"path": "", "source": spec.name, "licence": one} for one in known]
        if leave_out(rows, config.without):
            kept.append(spec)
    if not kept:
        raise ConfigError(f"{recipe.file}: no source is left.")
    return kept


def _check_places(sources: Sequence[SourceSpec], out: Path, places: Places) -> None:
    """Make sure that nothing but an earlier corpus is written over.

    Raises
    ------
    ConfigError
        If the folder of a source is that of the corpus, or in it.
    OutputError
        If `out` is neither empty nor a corpus.
    """
    for spec in sources:
        folder = find_folder(spec, places) if isinstance(spec, FolderSource) else None
        if folder is not None and folder.is_relative_to(out.resolve()):
            raise ConfigError(
                f"{spec.name}: its folder {folder} is in {out}, where the corpus is written. Name "
                "another folder for the corpus."
            )
    check_folder(out)


def _obtain_all(
    sources: Sequence[SourceSpec], out: Path, config: BuildConfig, summary: Summary
) -> list[Row]:
    """Obtain every source that can be had, and return a row for each recording."""
    rows = []
    for spec in sources:
        try:
            loot = obtain(spec, out, config.places)
            found = recordings(spec, loot, out)
        except (UnavailableError, ConfigError) as error:
            log.warning("%s cannot be had: %s", spec.name, error)
            summary.missing.append((spec.name, "", str(error)))
            continue
        size = sum(file.size for file in loot.files)
        log.info("%s: %d files, %.1f MB", spec.name, len(loot.files), size / 1e6)
        if spec.stems and (unnamed := unnamed_stems(spec, out / MUSIC / spec.name, loot.mixed)):
            some = ", ".join(unnamed[:SHOWN])
            log.warning(
                "%s: %d names of stems that no rule names: %s", spec.name, len(unnamed), some
            )
        for path, reason in loot.missing.items():
            log.warning("%s: %s: %s", spec.name, path, reason)
            summary.missing.append((spec.name, path, reason))
        for path, reason in loot.left_out.items():
            summary.left_out.append((spec.name, path, reason))
        for row in found:
            if reason := row.pop(HELD_BACK):
                log.warning("left out: %s: %s", row["path"], reason)
                summary.left_out.append((spec.name, row["inside"], reason))
            elif leave_out([row], config.without):
                rows.append(row)
            else:
                reason = f"by {' '.join(config.without)}"
                summary.left_out.append((spec.name, row["inside"], reason))
    return rows


def _check_all(
    recipe: Recipe,
    sources: Sequence[SourceSpec],
    rows: list[Row],
    checks: Checks,
    out: Path,
    config: BuildConfig,
    summary: Summary,
) -> list[Row]:
    """Decode what is there, and return the recordings that are what they should be."""
    kept = []
    for spec in sources:
        own = [row for row in rows if row["of"] == spec.name]
        expected = {path: facts for (name, path), facts in recipe.lock.items() if name == spec.name}
        if config.lock:  # to be written anew
            expected = {}
        elif own and not expected:
            log.warning("%s: not in the lock file, its lengths are not checked", spec.name)
        elif own:
            there = {row["inside"] for row in own} | summary.named(spec.name)
            for path in sorted(expected.keys() - there):
                log.warning("%s: %s is in the lock file, but not in the source", spec.name, path)
                summary.missing.append((spec.name, path, "not in the source"))
        for row in own:
            row["locked"] = expected.get(row["inside"])
        found = _check_source(spec, own, checks, out, config.jobs, summary)
        unlocked = [row["inside"] for row in found if not row.pop(LOCKED)]
        if expected and unlocked:
            few = _some(unlocked, "recordings")
            log.warning("%s: %s are not in the lock file, which has others of it", spec.name, few)
        kept += found
    return kept


def _check_source(
    spec: SourceSpec, rows: list[Row], checks: Checks, out: Path, jobs: int, summary: Summary
) -> list[Row]:
    """Return the recordings of one source that can be used, up to its limit of hours."""
    limited = spec.max_hours < type(spec).max_hours
    if limited:  # a selection that does not depend on the order of names
        rows = sorted(rows, key=lambda row: hashlib.sha256(row["inside"].encode()).digest())
    else:
        checks.measure({row["sha256"]: out / MUSIC / row["path"] for row in rows}, jobs)
    kept, no_audio, seconds = [], [], 0.0
    named = Wanted(spec).named
    for row in rows:
        if seconds >= 3600 * spec.max_hours:
            reason = f"more than {spec.max_hours:g} h of {spec.name}"
            summary.left_out.append((spec.name, row["inside"], reason))
            continue
        checks.measure({row["sha256"]: out / MUSIC / row["path"]})
        measured = checks.known[row["sha256"]]
        locked = row.pop("locked")
        wanted = locked is not None or spec.has_index or named(row["inside"])
        if measured.error and not wanted and not looks_like_audio(out / MUSIC / row["path"]):
            no_audio.append(row["inside"])
        elif reason := compare(row, measured, locked):
            log.warning("left out: %s: %s", row["path"], reason)
            summary.missing.append((spec.name, row["inside"], reason))
        elif measured.seconds < spec.min_seconds:
            reason = f"shorter than {spec.min_seconds:g} s"
            summary.left_out.append((spec.name, row["inside"], reason))
        else:
            kept.append(row | _heard(measured) | {LOCKED: locked is not None})
            seconds += measured.seconds
    if no_audio:
        log.warning("%s: %s are no audio: left out", spec.name, _some(no_audio, "files"))
        summary.left_out += [
            (spec.name, path, "no audio, by name and content") for path in no_audio
        ]
    return sorted(kept, key=lambda row: str(row["path"]))


def _some(paths: Sequence[str], what: str) -> str:
    """Return how many there are, and the first few."""
    return f"{len(paths)} {what} ({', '.join(paths[:3])}{', ...' if paths[3:] else ''})"


def _heard(measured: Measured) -> Row:
    return {"seconds": measured.seconds, "duration_s": f"{measured.seconds:.3f}"}


def _without(rows: list[Row], found: dict[int, str], summary: Summary) -> list[Row]:
    """Return the rows that are not among the found ones, which are named."""
    for number, reason in sorted(found.items()):
        log.warning("left out: %s: %s", rows[number]["path"], reason)
        summary.left_out.append((rows[number]["of"], rows[number]["inside"], reason))
    return [row for number, row in enumerate(rows) if number not in found]
