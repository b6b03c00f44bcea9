"""Checks of an output folder before a run: what is there, whose it is, what may go."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from musicssl.errors import OutputError
from musicssl.folder.dataset import FORMAT as DATASET
from musicssl.folder.formats import FORMATS
from musicssl.folder.manifest import Manifest, read_space
from musicssl.folder.paths import STATE, lexists, not_a_link, put_aside, writing
from musicssl.folder.per_file import Files
from musicssl.folder.provenance import differences
from musicssl.folder.records import no_manifest
from musicssl.folder.single_file import Store
from musicssl.space import Space


@dataclass(kw_only=True)
class Preparation:
    """Checks of what stands in a folder before a run, and its removal.

    The folder is one of embeddings if its space.json is whole or a manifest in it has records of
    ours. What is damaged there is ours: `overwrite` puts it aside. Everything else under a name
    that the run needs is somebody's: only `replace_foreign` puts that aside.
    """

    manifest: Manifest
    space: Space
    format: str
    tag: str
    overwrite: bool
    replace_foreign: bool

    @property
    def out(self) -> Path:
        """The folder."""
        return self.manifest.out

    def check(self) -> dict[str, Any] | None:
        """Return what space.json says, None if there is none; writes nothing.

        Raises
        ------
        OutputError
            If something is in the way that may not be put aside, or if the folder holds another
            space or format and may not be overwritten.
        """
        for path, what, ours in self._in_the_way():
            self._refuse(path, what, ours)
        found = self._space()[0]
        if found:
            self.differs(found)
        return found

    def clear(self) -> bool:
        """Put aside and remove what `check` allows to.

        Returns
        -------
        bool
            Whether space.json was put aside, so that results of any space may be left.
        """
        strays = False
        for path, what, ours in list(self._in_the_way()):
            self._refuse(path, what, ours)
            put_aside(path)
            strays |= path.name == "space.json"
        found = self._space()[0]
        if found and self.differs(found):
            old = FORMATS[found["format"]](self.out, found["space"], level=found["level"])
            with writing(self.out):
                old.clear(self.manifest.keys())
                for path in self.manifest.all():
                    if path == self.manifest.path or not no_manifest(path):
                        path.unlink(missing_ok=True)
                # last: killed before, the folder is as it was
                (self.out / "space.json").unlink()
        return strays

    def clear_strays(self, space: str) -> set[str]:
        """Remove listed results of other spaces than `space`; return their sources."""
        gone = set()
        stores: set[tuple[type[Store], str]] = set()
        for record in self.manifest.last():
            output = record.get("output")
            if record["space"] == space or not isinstance(output, str):
                continue
            gone.add(record["source"])
            for kind in FORMATS.values():
                if issubclass(kind, Files) and output.endswith(kind.suffixes[-1]):
                    kind(self.out, record["space"]).clear([record["source"]])
                elif issubclass(kind, Store) and output.endswith(kind.suffix):
                    stores.add((kind, record["space"]))
        for store, other in stores:
            store(self.out, other).clear([])
        return gone

    def differs(self, found: dict[str, Any]) -> bool:
        """Tell whether the folder holds something else, which only `overwrite` allows.

        Raises
        ------
        OutputError
            If it does and that is not allowed.
        """
        differs = differences(found, self.space, self.format)
        if differs and (self.tag or not self.overwrite):
            cure = (
                "run once without a shard and with overwrite"
                if self.tag and self.overwrite
                else "choose another folder, or overwrite to remove them"
            )
            raise OutputError(
                f"{self.out} holds embeddings of {found['space']}: {'; '.join(differs)}. "
                f"They cannot be mixed; {cure}."
            )
        return bool(differs)

    def _space(self) -> tuple[dict[str, Any] | None, str | None]:
        """Return what space.json says, and what is wrong with it."""
        try:
            found = read_space(self.out)
        except OutputError as error:
            return None, str(error).removeprefix(f"{self.out / 'space.json'} ").rstrip(".")
        if found and found["format"] == DATASET:
            return None, f"describes a data set (--format {DATASET} goes on with it)"
        if found and found["format"] not in FORMATS:
            return None, f"says format {found['format']!r}, which is unknown"
        return found, None

    def _in_the_way(self) -> Iterator[tuple[Path, str, bool]]:
        """Yield what cannot stay where it is, what is wrong with it, and whether it is ours.

        Yields
        ------
        tuple
            The three.

        Raises
        ------
        OutputError
            If the folder cannot be looked into.
        """
        with writing(self.out):
            there = next((p for p in (self.out, *self.out.parents) if lexists(p)), self.out)
            if lexists(there) and not there.is_dir():
                what = "it" if there == self.out else there
                raise OutputError(f"cannot write to {self.out}: {what} is no folder.")
            yield from self._unusable()

    def _unusable(self) -> Iterator[tuple[Path, str, bool]]:
        state = not_a_link(self.out / STATE)
        if lexists(state) and not state.is_dir():
            yield state, "is no folder", False
        found, wrong = self._space()
        if wrong:
            yield self.out / "space.json", wrong, self.manifest.listed()
        for path in {self.out / "manifest.jsonl", self.manifest.path}:
            if lexists(not_a_link(path)) and not path.is_file():
                yield path, "is no file", bool(found)
            elif path.is_file() and not found and not wrong and no_manifest(path):
                yield path, "lists no embeddings", False
        same = bool(found and found["format"] == self.format)
        space = found["space"] if found and same else self.space.id
        ours = same or bool(wrong and self.manifest.listed())
        for path, what in FORMATS[self.format](self.out, space, self.tag).check():
            yield path, what, ours

    def _refuse(self, path: Path, what: str, ours: bool) -> None:
        if (self.replace_foreign or (ours and self.overwrite)) and not self.tag:
            return
        if ours:
            cure = "overwrite (--overwrite) puts it aside and embeds all anew"
        else:
            cure = (
                "musicssl did not write it, so it is left alone. Choose another folder, or allow "
                "replace_foreign (--replace-foreign), which puts it aside"
            )
        once = ", in a run without a shard" if self.tag else ""
        raise OutputError(f"{path} {what}; {cure}{once}.")
