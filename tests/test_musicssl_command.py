"""The command `musicssl`: similar, dups, map, models."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from folder_trees import noise

import musicssl
from musicssl import ConfigError, EmbeddingTable, Index, embed_folder, load_embeddings
from musicssl.cli.commands import main
from musicssl.maps.html import link, links
from musicssl.search.duplicates import find_duplicates

LINE_END = "a/line\nend.wav"
NAMES = ["a/one.wav", "a/two.wav", "b/#three 'q' \".wav", "b/vier ü \u202e.wav", LINE_END]


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for seed, name in enumerate(NAMES):
        noise(folder / name, seed=seed)
    return folder


@pytest.fixture(scope="module")
def out(music: Path, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    embed_folder(music, out, model=tiny_model_folder, device="cpu")
    return out


def run(*args: Any) -> int:
    return main([str(arg) for arg in args])


def test_similar_prints_scores_and_paths(
    out: Path, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("similar", "a/one.wav", "-i", out, "-k", 3) == 0
    lines = capsys.readouterr().out.splitlines()
    found = Index.from_folder(out).search("a/one.wav", k=3)
    assert len(lines) == 3
    assert lines[0].startswith(f"{found[0].score:6.3f}  {music}")
    assert "\u202e" not in "".join(lines) and "\n" not in lines[0]


def test_similar_in_json(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("similar", "a/one.wav", "-i", out, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    found = [tuple(one.values()) for one in values["similar"]]
    assert found == [tuple(n) for n in Index.from_folder(out).search("a/one.wav")]
    assert {one["name"] for one in values["similar"]} == set(NAMES[1:])
    assert values["query"] == "a/one.wav" and values["space"].startswith("tiny@")


def test_a_playlist_has_the_bytes_of_names_and_no_entry_too_many(out: Path, music: Path) -> None:
    command: list[Any] = [
        sys.executable,
        "-m",
        "musicssl",
        "similar",
        "a/one.wav",
        "-i",
        out,
        "--m3u",
    ]
    done = subprocess.run(command, capture_output=True, check=True)
    first, *paths = done.stdout.splitlines()
    assert first == b"#EXTM3U"
    assert set(paths) == {os.fsencode(music / name) for name in NAMES[1:4]}
    assert b"left out" in done.stderr and done.stderr.count(b"\n") == 1


def test_a_new_song_is_embedded_with_the_model_that_is_given(
    out: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    song = noise(tmp_path / "new.wav", seed=7)
    choices = ("--model", tiny_model_folder, "--device", "cpu")
    assert run("similar", song, "-i", out, *choices) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert run("similar", song, "-i", out) == 4
    assert "model=" in capsys.readouterr().err
    saved = Index.from_folder(out).save(tmp_path / "index")
    assert run("similar", song, "-i", saved, *choices, "-k", 2) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["similar", "nothing like it", "-i", "OUT"], 2, "neither a file nor a name"),
        (["similar", "a/one.wav", "-i", "OUT", "-k", "0"], 2, "k must be positive"),
        (["similar", "a/one.wav", "-i", "OUT", "--json", "--m3u"], 2, "not both"),
        (["similar", "a/one.wav", "-i", "OUT/nowhere"], 2, "does not exist"),
        (["dups", "OUT", "--distance=-1"], 2, "at least 0"),
        (["dups", "OUT/nowhere"], 2, "does not exist"),
        (["map", "OUT", "-o", "OUT"], 2, "is a folder"),
        (["map", "OUT", "-o", "OUT/x/map.html"], 2, "cannot write"),
        (["map", "OUT", "--method", "mds"], 2, "choose from pca"),
        (["map", "OUT", "--color", "genre"], 2, "no column 'genre'"),
    ],
)
def test_what_is_wrong_is_one_line(
    args: list[str], code: int, message: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*(arg.replace("OUT", str(out)) for arg in args)) == code
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert printed.err.startswith(f"musicssl {args[0]}: error: ") and message in printed.err


def test_wrong_use_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for args in ([], ["simlar"], ["similar"], ["dups"], ["map", "--nothing"]):
        with pytest.raises(SystemExit) as left:
            main(args)
        assert left.value.code == 2
    with pytest.raises(SystemExit) as left:
        main(["similar", "--help"])
    assert left.value.code == 0 and "--m3u" in capsys.readouterr().out


def test_help_and_models_do_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from musicssl.cli.commands import main\n"
        "main(['models', '--json'])\n"
        "main(['--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    start = done.stdout.index("usage: musicssl")
    assert json.loads(done.stdout[:start])[0]["name"] == "musicssl-small"


def test_dups_finds_copies_and_other_encodings(
    tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "music"
    one = noise(folder / "one.wav", seconds=1.0, seed=1)
    noise(folder / "two.wav", seconds=1.0, seed=2)
    (folder / "copy.wav").write_bytes(one.read_bytes())
    audio, rate = soundfile.read(one)
    soundfile.write(folder / "one.flac", audio, rate, subtype="PCM_16")
    embed_folder(folder, tmp_path / "out", model=tiny_model_folder, device="cpu")
    assert run("dups", tmp_path / "out", "--distance", 0.001, "--json") == 0
    (group,) = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in group] == ["copy.wav", "one.flac", "one.wav"]
    assert [entry["identical"] for entry in group] == [True, False, True]
    assert run("dups", tmp_path / "out", "--distance", 0.001) == 0
    printed = capsys.readouterr()
    firsts = [line.split()[0] for line in printed.out.splitlines()]
    assert firsts == ["identical", "0.000", "identical"]
    assert "3 of 4 files are 1 recording\n" in printed.err
    (folder / "one.flac").unlink()
    (folder / "copy.wav").unlink()
    embed_folder(folder, tmp_path / "out", model=tiny_model_folder, device="cpu", prune=True)
    assert (
        run("dups", tmp_path / "out", "--distance", 0.0) == 0
    )  # a library without doubles is no failure
    assert "no recording is there twice" in capsys.readouterr().err


def test_paths_of_dups_are_bytes_with_nuls(tmp_path: Path, tiny_model_folder: Path) -> None:
    for name in ("line\nend.wav", "plain.wav"):
        noise(tmp_path / "music" / name, seed=1)
    embed_folder(tmp_path / "music", tmp_path / "out", model=tiny_model_folder, device="cpu")
    command: list[Any] = [sys.executable, "-m", "musicssl", "dups", tmp_path / "out", "-0"]
    done = subprocess.run(command, capture_output=True, check=True)
    names = [os.fsencode(tmp_path / "music" / name) for name in ("line\nend.wav", "plain.wav")]
    assert done.stdout == b"\0".join([*names, b"", b""])


def make(values: np.ndarray, durations: list[float | None], **more: list[Any]) -> EmbeddingTable:
    names = [str(i) for i in range(len(values))]
    columns: dict[str, list[Any]] = {"duration": list(durations), **more}
    return EmbeddingTable(values.astype(np.float32), names, names, columns)


def test_duplicates_are_what_a_comparison_of_all_with_all_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    pieces = random.standard_normal((40, 16))
    values = pieces[random.integers(0, 40, 120)] + 0.05 * random.standard_normal((120, 16))
    durations = random.choice([10.0, 11.0, 12.5, 30.0], 120).tolist()
    apart = np.sqrt(((values[:, None] - values) ** 2).mean(-1))
    lasting = np.abs(np.subtract.outer(durations, durations)) <= 1.5
    near = (apart <= 0.2) & lasting & ~np.eye(120, dtype=bool)
    monkeypatch.setattr("musicssl.search.duplicates._BLOCK", 7)
    groups = find_duplicates(make(values, durations), distance=0.2, seconds=1.5)
    assert {one.row for group in groups for one in group} == set(np.flatnonzero(near.any(1)))
    label = {one.row: i for i, group in enumerate(groups) for one in group}
    for i, j in np.argwhere(near):
        assert label[i] == label[j]
    for group in groups:
        for one in group:
            expected = apart[one.row][near[one.row]].min()
            assert one.distance == pytest.approx(expected, abs=1e-6)


def test_unknown_durations_are_compared_among_themselves() -> None:
    table = make(np.zeros((4, 3)), [None, 5.0, None, 9.0])
    assert [[one.row for one in group] for group in find_duplicates(table)] == [[0, 2]]


def test_silent_files_are_no_recordings_of_each_other(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, peak, seed in (("a", 0.0, 0), ("b", 5e-4, 1), ("c", 5e-4, 1), ("d", 0.3, 2)):
        audio = peak * np.random.default_rng(seed).uniform(-1, 1, 22_050)
        (tmp_path / "music").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "music" / f"{name}.wav", audio, 22_050, subtype="FLOAT")
    soundfile.write(tmp_path / "music" / "e.flac", np.zeros(22_050), 22_050)
    embed_folder(tmp_path / "music", tmp_path / "out", model=tiny_model_folder, device="cpu")
    table = load_embeddings(tmp_path / "out")
    assert table.columns["peak"] == pytest.approx([0, 5e-4, 5e-4, 0.3, 0], rel=1e-3)
    groups = find_duplicates(table, distance=1e3)
    assert [[(one.row, one.identical) for one in group] for group in groups] == [
        [(1, True), (2, True)]
    ]
    assert run("dups", tmp_path / "out") == 0
    assert "4 files are silent" in capsys.readouterr().err
    only_silent = table.take([0, 4])
    assert find_duplicates(only_silent) == []


def test_what_a_manifest_cannot_say_is_not_told(
    tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"duration": "long", "size": 3, "peak": "loud", "content": ["x"], "channels": True}
    copy = Path(shutil.copytree(out, tmp_path / "copy"))
    lines = (copy / "manifest.jsonl").read_text().splitlines()
    changed = [json.dumps(json.loads(line) | wrong) for line in lines]
    (copy / "manifest.jsonl").write_text("\n".join(changed) + "\n")
    columns = load_embeddings(copy).columns
    for name in ("duration", "peak", "content", "channels"):
        assert columns[name] == [None] * 5
    assert run("dups", copy, "--distance", 1e6) == 0
    assert capsys.readouterr().out.count("0.00 MB") == 5


@pytest.mark.parametrize(
    "most",
    [np.float32(0.1), np.int64(1), 1e300, 10**400],
    ids=["float32", "int64", "large", "larger"],
)
def test_limits_of_duplicates_may_be_of_any_kind_and_large(most: Any) -> None:
    table = make(np.zeros((3, 3)), [1.0, 1.0, 1.0])
    assert len(find_duplicates(table, distance=most, seconds=most)[0]) == 3


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "1", None])
def test_limits_of_duplicates_are_numbers(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="seconds must be a number"):
        find_duplicates(make(np.zeros((2, 3)), [1.0, 1.0]), seconds=wrong)


def test_map_writes_a_page(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "map.html"
    assert run("map", out, "-o", page, "--title", "Mine", "--color", "duration") == 0
    printed = capsys.readouterr()
    assert printed.out == "" and "5 songs are in" in printed.err
    assert "<title>Mine</title>" in page.read_text(encoding="utf-8")


def test_map_prints_a_page(
    out: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("map", out, "-o", "-", "--title", "Caf\u00e9") == 0
    printed = capsysbinary.readouterr()
    assert "<title>Caf\u00e9</title>" in printed.out.decode("utf-8") and printed.err == b""
    assert list(tmp_path.iterdir()) == []


def test_models_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("models") == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("musicssl-small")
    assert run("models", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0]["dim"] == musicssl.list_models()[0].dim


def test_a_folder_that_may_not_be_entered_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_symlink", refuse)
    (tmp_path / "space.json").write_text("{}")
    assert run("dups", tmp_path) == 2
    assert "Permission denied" in capsys.readouterr().err


def test_what_lies_behind_a_url_is_linked_there(tmp_path: Path) -> None:
    assert (
        link("https://example.org/a b.mp3", tmp_path / "map.html") == "https://example.org/a b.mp3"
    )
    assert link("s3://bucket/a.mp3", tmp_path / "map.html") == ""


def test_parts_of_files_have_their_names_and_are_no_duplicates(
    music: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = music / "a/one.wav"
    parts = [musicssl.Segment(file, 0.0, 0.2, "x/1"), musicssl.Segment(file, 0.1, id="x/2")]
    parts.append(musicssl.Segment(file, 0.15, 0.2, "x/3"))
    embed_folder(parts, tmp_path / "parts", model=tiny_model_folder, device="cpu")
    table = load_embeddings(tmp_path / "parts")
    assert (table.columns["start"], table.columns["end"]) == ([0, 0.1, 0.15], [0.2, None, 0.2])
    assert run("similar", "x/1", "-i", tmp_path / "parts") == 0
    assert re.findall(r"one.wav  \((x/.)\)\n", capsys.readouterr().out) in (
        ["x/2", "x/3"],
        ["x/3", "x/2"],
    )
    assert run("similar", "x/1", "-i", tmp_path / "parts", "--m3u") == 0
    assert capsys.readouterr().out.splitlines() == ["#EXTM3U", str(file)]
    way = os.path.relpath(file, tmp_path)
    assert links(table, tmp_path / "map.html") == [
        f"{way}#t={times}" for times in ("0,0.2", "0.1", "0.15,0.2")
    ]
    assert run("dups", tmp_path / "parts", "-0") == 2
    said = capsys.readouterr()
    assert said.out == "" and "the embeddings are of parts of files" in said.err
    embed_folder(music, tmp_path / "begun", duration=0.2, model=tiny_model_folder, device="cpu")
    assert run("dups", tmp_path / "begun", "--distance", 1e-6) == 0  # the same part of each
