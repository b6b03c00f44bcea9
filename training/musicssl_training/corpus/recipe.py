"""Recipes of corpora: TOML files that list sources, and the lock files beside them."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from musicssl.config import from_dict, pick_named, unknown_key
from musicssl.errors import ConfigError, shown
from musicssl_training.corpus.lock import Lock, read_lock
from musicssl_training.corpus.patterns import expand_braces
from musicssl_training.corpus.stems import StemRule, check_families

NAME = re.compile(r"[a-z0-9][a-z0-9._+-]{0,99}")
HASHES = {40: "sha1", 64: "sha256"}  # digits in the name of a commit


@dataclass(frozen=True, kw_only=True)
class LicenceRule:
    """Files of a source that stand under a licence of their own."""

    paths: tuple[str, ...]
    licence: str


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """Files of a source that are not to be used, and why."""

    paths: tuple[str, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class SourceSpec:
    """A source of recordings; each kind adds where it is.

    Attributes
    ----------
    name
        Lower case; the folder of its recordings and their ``source`` in the index.
    what
        The music in a few words.
    include
        Patterns of paths inside the source, see `matcher`. ``a.zip!/music/*`` looks into a zip.
    licence
        An SPDX identifier, of the files that `licences` does not name. Files without are left out.
    evidence
        Files of the source that state its licence; they are kept beside the music.
    note
        What else is to know of the licence. It must be there where no file states it.
    add
        Names, with patterns, of files that are stems: those of one folder become one recording.
    stems
        The instruments of stems; of their names, the first rule that matches counts.
    without
        Families without which the stems of a folder are added up once more.
    min_seconds
        Shorter recordings are left out.
    max_hours
        Of more, a selection that is the same every time.
    """

    kind: ClassVar[str]
    name: str
    what: str
    include: tuple[str, ...]
    licence: str = ""
    licences: tuple[LicenceRule, ...] = ()
    evidence: tuple[str, ...] = ()
    note: str = ""
    exclude: tuple[Exclusion, ...] = ()
    add: tuple[str, ...] = ()
    stems: tuple[StemRule, ...] = ()
    without: tuple[str, ...] = ()
    min_seconds: float = 0.0
    max_hours: float = 10_000.0

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ConfigError(
                f"name must be lower-case letters, digits and . _ + -, got {shown(self.name)}."
            )
        if not self.include:
            raise ConfigError(f"{self.name} includes no paths.")
        if not self.min_seconds >= 0:
            raise ConfigError(f"min_seconds must be at least 0, got {self.min_seconds}.")
        if not self.max_hours > 0:
            raise ConfigError(f"max_hours must be above 0, got {self.max_hours}.")
        for pattern in self.patterns:
            expand_braces(pattern)
        if not (self.licence or self.licences or self.has_index):
            raise ConfigError(f"{self.name} states no licence; unclear ones cannot be used.")
        if not (self.evidence or self.note or self.has_index):
            raise ConfigError(
                f"{self.name} has no evidence: name the files in it that state its licence, "
                "or say in a note where it is stated."
            )
        if self.stems and not self.add:
            raise ConfigError(f"{self.name} knows stems, but 'add' names no files that are some.")
        check_families(self.without)
        if len(set(self.without)) < len(self.without):
            raise ConfigError(f"{self.name}: without {', '.join(self.without)}, one of them twice.")
        if strange := set(self.without) - {rule.family for rule in self.stems}:
            raise ConfigError(
                f"{self.name}: without {', '.join(sorted(strange))}, but none of its stems are "
                "that family."
            )

    @property
    def patterns(self) -> list[str]:
        """All patterns of paths and names."""
        lists = [self.include, self.evidence, self.add]
        lists += [rule.paths for rule in self.licences] + [rule.paths for rule in self.exclude]
        lists += [rule.names for rule in self.stems]
        return [pattern for patterns in lists for pattern in patterns]

    @property
    def has_index(self) -> bool:
        """Whether an index in the source says what each of its files is."""
        return False


@dataclass(frozen=True, kw_only=True)
class DebianSource(SourceSpec):
    """A Debian package at a version, with the SHA-256 of the .deb."""

    kind: ClassVar[str] = "debian"
    package: str
    version: str
    sha256: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", self.package):
            raise ConfigError(f"package is no name of a Debian package: {shown(self.package)}.")
        if not re.fullmatch(r"[0-9][A-Za-z0-9.+:~-]*", self.version):
            raise ConfigError(f"version is none of a Debian package: {shown(self.version)}.")
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ConfigError(f"sha256 must be 64 hexadecimal digits, got {shown(self.sha256)}.")


@dataclass(frozen=True, kw_only=True)
class GitSource(SourceSpec):
    """A git repository at a commit: ``owner/name`` on GitHub, or an https address."""

    kind: ClassVar[str] = "git"
    repository: str
    commit: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"(https://[\w.-]+/)?[\w.~-]+(/[\w.~-]+)+", self.repository):
            raise ConfigError(
                f"repository must be owner/name or an https address, got {shown(self.repository)}."
            )
        if not re.fullmatch(r"[0-9a-f]+", self.commit) or len(self.commit) not in HASHES:
            raise ConfigError(
                f"commit must be a whole hash, 40 or 64 hexadecimal digits, got "
                f"{shown(self.commit)}; branches and tags move."
            )

    @property
    def url(self) -> str:
        """Where it is fetched from."""
        there = self.repository.startswith("https://")
        return self.repository if there else f"https://github.com/{self.repository}.git"


@dataclass(frozen=True, kw_only=True)
class FolderSource(SourceSpec):
    """A folder, relative to the recipe or given by ``--folder``.

    `index` is a CSV file in it, with columns path, licence, and any of evidence, source, artist,
    title and duration_s; files that it does not name are left out.
    """

    kind: ClassVar[str] = "folder"
    path: str = ""
    index: str = ""

    @property
    def has_index(self) -> bool:
        return bool(self.index)


KINDS: dict[str, type[SourceSpec]] = {
    kind.kind: kind for kind in (DebianSource, GitSource, FolderSource)
}


@dataclass(frozen=True)
class Recipe:
    """Sources, and what is known of their recordings by source and path."""

    file: Path
    description: str
    sources: tuple[SourceSpec, ...]
    lock: Lock

    @property
    def lock_file(self) -> Path:
        """The file of what is known, beside the recipe."""
        return self.file.with_suffix(".lock.jsonl")


def read_recipe(file: Path) -> Recipe:
    """Read a recipe and the lock file beside it, if there is one.

    Raises
    ------
    ConfigError
        If one of them cannot be read, or anything in them is not as it must be.
    """
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: not TOML or not UTF-8
        raise ConfigError(f"{file} cannot be read as TOML: {error}.") from error
    known = ["description", "source"]
    for key in values:
        if key not in known:
            raise ConfigError(unknown_key(file.name, key, known))
    entries = values.get("source")
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{file} lists no sources; each begins with [[source]].")
    sources = tuple(_source(entry, f"{file.name}: source {n}") for n, entry in enumerate(entries))
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{file} has two sources called {name!r}.")
    recipe = Recipe(file, str(values.get("description", "")), sources, {})
    recipe.lock.update(read_lock(recipe.lock_file, names))
    return recipe


def _source(entry: Any, where: str) -> SourceSpec:
    if not isinstance(entry, dict) or "kind" not in entry:
        raise ConfigError(f"{where} has no kind: {', '.join(KINDS)}.")
    named = entry.get("name")
    where = f"{where} ({named})" if isinstance(named, str) and NAME.fullmatch(named) else where
    kind = pick_named(KINDS, entry["kind"], f"{where}: kind")
    values = {key: value for key, value in entry.items() if key != "kind"}
    try:
        return from_dict(kind, values, "source")
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
