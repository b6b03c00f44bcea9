"""Lists of paths: two files with one name, and pruning after a list."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from folder_trees import manifest, noise

from musicssl.audio import AUDIO_EXTENSIONS
from musicssl.folder.api import embed_folder
from musicssl.folder.listing import Listing
from musicssl.folder.moves import Pruning
from musicssl.folder.path_lists import PathLines
from musicssl.model import MusicEncoder
from musicssl.source_names import listed_name


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> MusicEncoder:
    return MusicEncoder.read_folder(tiny_model_folder)


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for i, name in enumerate(["a/one.wav", "a/two.wav", "b/three.wav"]):
        noise(tmp_path / "music" / name, 0.2, i)
    return tmp_path / "music"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("format", ["npz", "dataset"])
@pytest.mark.parametrize("outside_first", [True, False])
def test_of_two_files_with_one_name_the_second_is_told(
    *,
    outside_first: bool,
    format: str,
    music: Path,
    model: MusicEncoder,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outside, here = music / "a" / "one.wav", music.with_name("here")
    name = listed_name(outside, here)
    inside = noise(here / name, 0.3, 7)
    monkeypatch.chdir(here)
    first, second = (outside, inside) if outside_first else (inside, outside)
    listing = Listing([first, second, first], extensions=AUDIO_EXTENSIONS, listed=True)
    records: list[dict[str, Any]] = []
    for status in ("ok", "skipped"):
        records.clear()
        embed_folder(listing, out, model=model, format=format, on_file=records.append)
        found = {(r["status"], r["path"]) for r in records}
        assert found == {(status, str(first)), ("failed", str(second))}
        assert len(records) == 2
    (told,) = (r["error"] for r in records if r["status"] == "failed")
    assert told.startswith(f"an earlier file of the list has the name {name} too")
    if format == "npz":
        assert manifest(out)[name]["path"] == str(first)


def test_prune_what_a_list_covers(
    music: Path, model: MusicEncoder, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(music)
    noise(music / "a" / "four.wav", 0.3, 4)
    embed_folder(Listing(["a", "b"], extensions=AUDIO_EXTENSIONS, listed=True), out, model=model)
    for name in ("a/one.wav", "a/two.wav", "b/three.wav"):
        (music / name).unlink()
    # a folder given twice is one; a file by its own path stays, and so does what nothing covers
    for lines in (b"a/two.wav\na\n./a\n", b"a/two.wav\r\n\na\r\na"):
        listing = Listing(PathLines(lines), extensions=AUDIO_EXTENSIONS, listed=True)
        summary = embed_folder(listing, out, model=model, prune=True, dry_run=True)
        assert summary.pruned == 1
    assert embed_folder(listing, out, model=model, prune=True).pruned == 1
    assert set(manifest(out)) == {"a/two.wav", "a/four.wav", "b/three.wav"}


def first_covering(roots: Iterable[tuple[str, Path]], path: Path) -> Path | None:
    return next((root for _, root in roots if path.is_relative_to(root)), None)


def first_naming(roots: Iterable[tuple[str, Path]], key: str) -> tuple[Path, Path] | None:
    for name, path in roots:
        if not name or f"{key}/".startswith(f"{name}/"):
            return path, path / key[len(name) :].removeprefix("/")
    return None


@pytest.mark.parametrize("lines", ["a/b\na\n/x\nx", "a\na/b\nx\n/x", ".\na", "/\n.", "a\n..", "b"])
@pytest.mark.parametrize("kind", [PathLines, list])
def test_the_first_path_that_covers_a_file_counts(
    lines: str, kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = PathLines(lines.encode()) if kind is PathLines else lines.split("\n")
    roots = Listing(paths, extensions=AUDIO_EXTENSIONS, listed=True).roots
    for name in ("a", "a/b", "a/b/c.wav", "ab", "x", "x/y", "c.wav", "/x", "/x/y", "/", "../a"):
        path = Path(os.path.normpath(tmp_path / name))
        assert roots.covering(path) == first_covering(roots, path)
        key = name.strip("/.") or "a/b/c/d"
        assert roots.locate(key) == first_naming(roots, key)


def test_pruning_takes_as_long_as_its_list_and_the_manifest(tmp_path: Path) -> None:
    def calls(count: int) -> int:
        """Return how many functions are called to prune after a list of `count` folders."""
        music = tmp_path / str(count)
        folders = [music / f"{i}" for i in range(count)]
        for folder in folders:
            folder.mkdir(parents=True)
            (folder / "here.wav").touch()
        gone = [folder / "gone.wav" for folder in folders]
        gone += [tmp_path / "elsewhere" / f"{i}.wav" for i in range(count)]
        records = [{"source": p.name, "path": str(p), "status": "ok"} for p in gone]
        called = 0

        def count_call(frame: Any, event: str, arg: Any) -> None:
            nonlocal called
            called += event in {"call", "c_call"}

        listing = Listing(map(str, folders), extensions=AUDIO_EXTENSIONS, listed=True)
        sys.setprofile(count_call)
        try:
            pruned = list(Pruning(listing).gone(iter(records)))
        finally:
            sys.setprofile(None)
        assert len(pruned) == count
        return called

    calls(2)  # imports
    assert calls(200) < 2.2 * calls(100)
