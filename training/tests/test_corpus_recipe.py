"""Recipes are read strictly, and patterns mean what they say."""

import json
from pathlib import Path

import pytest

from musicssl.errors import ConfigError
from musicssl_training.cli.main import main
from musicssl_training.corpus import read_recipe
from musicssl_training.corpus.patterns import matcher, safe_path
from musicssl_training.corpus.recipe import KINDS

RECIPES = Path(__file__).resolve().parents[1] / "corpora"
GOOD = """
[[source]]
name = "a"
kind = "git"
repository = "owner/name"
commit = "0123456789012345678901234567890123456789"
what = "songs"
include = ["*.ogg"]
licence = "CC0-1.0"
evidence = ["LICENSE"]
"""


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda file: file.stem)
def test_recipes_that_are_here_are_valid(file: Path) -> None:
    recipe = read_recipe(file)
    assert recipe.description
    assert {source.kind for source in recipe.sources} <= set(KINDS)
    locked = {name for name, _ in recipe.lock}
    assert locked, f"{file}: --write-lock was forgotten"
    for source in recipe.sources:
        for licence in (source.licence, *(rule.licence for rule in source.licences)):
            assert not {"NC", "ND"} & set(licence.replace("-", " ").split())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("include", "includes", r"source 0 \(a\): source.includes: unknown key.*'include'"),
        ('"git"', '"gti"', "kind 'gti' is unknown.*Did you mean 'git'"),
        ('kind = "git"', "", "has no kind: debian, git, folder"),
        ("commit", "version", "unknown key"),
        ('"0123456789012345678901234567890123456789"', '"main"', "branches and tags move"),
        ('"owner/name"', '"ext::sh -c x"', "must be owner/name or an https address"),
        ('"owner/name"', '"--upload-pack=x/y"', "must be owner/name or an https address"),
        ('"owner/name"', '"file:///etc"', "must be owner/name or an https address"),
        ('name = "a"', 'name = "../a"', "name must be lower-case letters"),
        ('licence = "CC0-1.0"', "", "states no licence"),
        ('evidence = ["LICENSE"]', "", "has no evidence"),
        ('["*.ogg"]', "[]", "includes no paths"),
        ('["*.ogg"]', '"*.ogg"', "must be a list"),
        ('["*.ogg"]', f'["{"{a,b}" * 18}"]', "has more than 1,000 alternatives in braces"),
        ('["LICENSE"]', f'["{"{a,b}" * 18}"]', "has more than 1,000 alternatives in braces"),
        ("evidence", "max_hours = -1\nevidence", "max_hours must be above 0, got -1.0"),
        ("evidence", "max_hours = 0\nevidence", "max_hours must be above 0, got 0.0"),
        ("evidence", "min_seconds = -1\nevidence", "min_seconds must be at least 0, got -1.0"),
        ("[[source]]", "[source]", "lists no sources"),
        ("[[source]]", "title = 1\n[[source]]", "title: unknown key"),
        ("[[source]]", "[[source", "cannot be read as TOML"),
    ],
)
def test_what_is_wrong_in_a_recipe_is_said_at_once(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD)
    assert read_recipe(file).sources[0].name == "a"
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        read_recipe(file)


def test_names_are_unique_and_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(GOOD + GOOD)
    with pytest.raises(ConfigError, match="two sources called 'a'"):
        read_recipe(file)
    file.write_text(GOOD.replace('"a"', '"alpha"'))
    (tmp_path / "mine.lock.jsonl").write_text(json.dumps(LINE | {"source": "alpah"}))
    with pytest.raises(ConfigError, match=r"no source 'alpah'\. Did you mean 'alpha'"):
        read_recipe(file)
    (tmp_path / "mine.lock.jsonl").write_text("[1]\n")
    with pytest.raises(ConfigError, match="no lock file"):
        read_recipe(file)
    (tmp_path / "mine.lock.jsonl").unlink()
    for arguments, message in (
        (["--only", "alhpa"], "Did you mean 'alpha'"),
        (["--folder", "alpha=x"], "folder source 'alpha' is unknown"),
        (["--folder", "alpha"], "not NAME=DIR"),
        (["--debs", "nowhere"], "--debs nowhere is not a folder"),
        (["--leave-out", "source=alpha"], "no source is left"),
        (["--leave-out", "genre=x"], "no column 'genre'"),
        (["--sample-rate", "0"], "must be between 1,000 and 1,000,000 Hz, got 0"),
    ):
        assert main(["corpus", str(file), str(tmp_path / "out"), "--offline", *arguments]) == 2
        assert message in capsys.readouterr().err
        assert not (tmp_path / "out").exists()


LINE = {"source": "a", "path": "x", "sha256": 64 * "0", "seconds": 1.5, "size": 1}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [LINE | {"seconds": float("nan")}],
            r"line 1: seconds must be a number from 0 on, got nan",
        ),
        ([LINE | {"seconds": "1.5"}], r"seconds must be a number from 0 on, got '1.5'"),
        ([LINE | {"seconds": -1}], r"seconds must be a number from 0 on, got -1"),
        ([LINE | {"size": 1.5}], r"size must be a number of bytes, got 1.5"),
        ([LINE | {"path": [1]}], r"path must be text, got \[1\]"),
        ([LINE | {"sha256": "0"}], r"sha256 must be 64 hexadecimal digits, got '0'"),
        ([{"source": "a"}], r"no lock file \(line 1: no path\)"),
        ([LINE, LINE, LINE | {"size": 2}], r"lines 2 and 3 contradict each other about x of a"),
    ],
)
def test_a_lock_file_is_read_strictly(
    lines: list[dict[str, object]], message: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text(GOOD)
    lock = tmp_path / "mine.lock.jsonl"
    lock.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ConfigError, match=f"{message}.*delete the file: --write-lock makes it"):
        read_recipe(tmp_path / "mine.toml")
    lock.write_text(json.dumps(LINE | {"sha256": 64 * "A"}) + "\n\n")
    assert read_recipe(tmp_path / "mine.toml").lock["a", "x"].sha256 == 64 * "a"


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("*.ogg", ["a.ogg", ".ogg"], ["b/a.ogg", "a.ogg.txt", "aogg"]),
        ("**/*.ogg", ["a.ogg", "b/c/a.ogg"], ["a.mp3"]),
        ("m/**", ["m/a", "m/b/c"], ["m", "n/a"]),
        ("{a,b/c}/?.{ogg,mp3}", ["a/1.ogg", "b/c/2.mp3"], ["b/1.ogg", "a/12.ogg"]),
        ("[x] (1).ogg", ["[x] (1).ogg"], ["x (1).ogg"]),
        ("a.zip!/m/*", ["a.zip!/m/x"], ["a.zip/m/x", "a.zip!/m/n/x"]),
    ],
)
def test_patterns(pattern: str, yes: list[str], no: list[str]) -> None:
    matches = matcher([pattern])
    assert [matches(path) for path in yes + no] == [True] * len(yes) + [False] * len(no)


def test_no_pattern_matches_nothing() -> None:
    assert not matcher([])("")


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../a", "a/../b", "a//b", "", ".", "a/", "a\\b", "a\nb", "C:/a", "a\0"]
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    assert safe_path(name) is None
    assert safe_path("./a b/ü.ogg") == "a b/ü.ogg"
