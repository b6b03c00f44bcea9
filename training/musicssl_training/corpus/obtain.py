"""Obtaining sources, each whole or not at all; what is there already is not obtained again."""

import dataclasses
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from musicssl.atomic import atomic_write_text
from musicssl_training.corpus.debian import check_deb, download_deb, find_deb, known_to_apt
from musicssl_training.corpus.errors import ArchiveError, UnavailableError
from musicssl_training.corpus.extraction import MUSIC, Loot, Taken, Wanted, take
from musicssl_training.corpus.git import (
    find_mirror,
    git_members,
    open_objects,
)
from musicssl_training.corpus.members import Member, deb_members, folder_members
from musicssl_training.corpus.mix import mix_stems
from musicssl_training.corpus.own import STATE, check_source, replace_source
from musicssl_training.corpus.recipe import DebianSource, FolderSource, GitSource, SourceSpec

log = logging.getLogger(__name__)
# settings that say what an obtained recording is, but not which files there are
DESCRIBING = ("what", "licence", "licences", "note", "min_seconds", "max_hours")
LATER = ("stems", "without")  # settings without which a source is the same as before there were any


@dataclass(frozen=True)
class Places:
    """Where sources may be found.

    Attributes
    ----------
    recipe
        The recipe's folder: paths of folders start there.
    debs
        A folder of Debian packages.
    mirror
        A folder of git repositories.
    folders
        Of folder sources, by name.
    network
        Whether what is not found may be downloaded.
    link
        Whether files of folders get a second name in the corpus instead of being copied.
    """

    recipe: Path
    debs: Path | None = None
    mirror: Path | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)
    network: bool = True
    link: bool = False


def obtain(spec: SourceSpec, out: Path, places: Places) -> Loot:
    """Return what a source holds, obtained now or before, in ``OUT/music/NAME``.

    Raises
    ------
    UnavailableError
        If it cannot be had, or files that are not this command's stand in its place.
    ArchiveError
        If it is not what the recipe says.
    """
    state = out / STATE / f"{spec.name}.json"
    key = _key(spec, out, places)
    evidence = Wanted(spec).evidence
    before = _before(state, key)
    if before is not None and not any(evidence(file.path) for file in before.files):
        return before
    check_source(out, spec.name)
    part = _part(spec, out)
    if part.exists():
        shutil.rmtree(part)
    part.mkdir()
    try:
        loot = KINDS[spec.kind].take(spec, out, places)
        for path in [p for p in loot.left_out if evidence(p)]:
            log.warning("%s: evidence %s: %s", spec.name, path, loot.left_out.pop(path))
        if spec.evidence and not loot.evidence:
            raise ArchiveError(f"it holds none of its evidence: {', '.join(spec.evidence)}.")
        if spec.add:
            mix_stems(spec, part / MUSIC, loot)
        state.unlink(missing_ok=True)  # from here on until its end, a stopped run starts anew
        replace_source(out, spec.name, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    if not loot.missing:  # otherwise the next run may find more
        write_json(state, {"key": key} | dataclasses.asdict(loot))
    return loot


def _part(spec: SourceSpec, out: Path) -> Path:
    """Return where a source grows until it is whole."""
    return out / STATE / f"{spec.name}.part"


def write_json(file: Path, values: object) -> None:
    """Write a JSON file: whole, or not at all."""
    atomic_write_text(file, json.dumps(values))


def _key(spec: SourceSpec, out: Path, places: Places) -> str:
    """Return a hash of all that decides which files a source gives."""
    settings = dataclasses.asdict(spec).items()
    facts = {k: v for k, v in settings if k not in DESCRIBING and (v or k not in LATER)}
    if isinstance(spec, FolderSource):
        folder = find_folder(spec, places)
        facts["at"] = str(folder)
        facts["link"] = places.link
        facts["files"] = _stamps(folder, out) if folder else []
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _stamps(folder: Path, out: Path) -> list[tuple[str, int, int]]:
    """Return the path, size and time of every file, by which a change is seen."""
    members = [one for one in folder_members(folder, out) if isinstance(one, Member)]
    states = [(one.file, one.file.stat()) for one in members if one.file]
    return [(str(file), state.st_size, state.st_mtime_ns) for file, state in states]


def _before(state: Path, key: str) -> Loot | None:
    """Return what was obtained before under the same settings."""
    try:
        values = json.loads(state.read_text(encoding="utf-8"))
        if values.pop("key") != key:
            return None
        files = [Taken(**file) for file in values.pop("files")]
        return Loot(files=files, **values)
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _take_debian(spec: DebianSource, out: Path, places: Places) -> Loot:
    file = find_deb(spec, places.debs)
    if file is None and not places.network:
        raise UnavailableError(f"no {spec.package}_{spec.version}_*.deb at hand, and offline.")
    file = file or download_deb(spec, _part(spec, out) / "deb")
    check_deb(spec, file)
    return take(spec, deb_members(file), _part(spec, out))


def _take_git(spec: GitSource, out: Path, places: Places) -> Loot:
    mirror = find_mirror(spec, places.mirror)
    if mirror is None and not places.network:
        raise UnavailableError(f"no mirror of {spec.repository} at hand, and offline.")
    objects = open_objects(spec, mirror, _part(spec, out) / "git")
    missing: dict[str, str] = {}
    members = git_members(objects, spec.commit, Wanted(spec), missing)
    try:
        loot = take(spec, members, _part(spec, out))
    except ArchiveError as error:
        lacking = f" It lacks {len(missing)} files that the recipe wants." if missing else ""
        raise ArchiveError(f"{error}{lacking}") from error
    loot.missing |= missing
    return loot


def _take_folder(spec: FolderSource, out: Path, places: Places) -> Loot:
    folder = find_folder(spec, places)
    if folder is None:
        raise UnavailableError(f"say where it is: --folder {spec.name}=FOLDER.")
    if not folder.is_dir():
        raise UnavailableError(f"{folder} is not a folder; say --folder {spec.name}=FOLDER.")
    members = folder_members(folder, out)
    return take(spec, members, _part(spec, out), link=places.link)


def find_folder(spec: FolderSource, places: Places) -> Path | None:
    """Return where a folder source is, if anybody says so."""
    if spec.name in places.folders:
        return places.folders[spec.name].resolve()
    return (places.recipe / spec.path).resolve() if spec.path else None


def _at_hand_debian(spec: DebianSource, places: Places, scratch: Path) -> str:
    if file := find_deb(spec, places.debs):
        return f"{file.name}, {file.stat().st_size / 1e6:,.1f} MB"
    if places.network and known_to_apt(spec):
        return "by apt"
    return "NOT to be had: neither in --debs nor known to apt"


def _at_hand_git(spec: GitSource, places: Places, scratch: Path) -> str:
    if (mirror := find_mirror(spec, places.mirror)) is None:
        return f"to fetch from {spec.url}" if places.network else "NOT to be had: no mirror of it"
    try:
        open_objects(spec, mirror, scratch / spec.name)
    except UnavailableError as error:
        return f"NOT to be had: {error}"
    return "in the mirror"


def _at_hand_folder(spec: FolderSource, places: Places, scratch: Path) -> str:
    folder = find_folder(spec, places)
    return "there" if folder and folder.is_dir() else "NOT to be had: say where with --folder"


@dataclass(frozen=True)
class Kind:
    """How a kind of source is obtained, and where a dry run says it would come from."""

    take: Callable[..., Loot]
    at_hand: Callable[..., str]


KINDS = {
    "debian": Kind(_take_debian, _at_hand_debian),
    "git": Kind(_take_git, _at_hand_git),
    "folder": Kind(_take_folder, _at_hand_folder),
}
