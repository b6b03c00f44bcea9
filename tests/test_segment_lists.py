"""Parts of files, from lists and CUE sheets: each embedded as if it were all."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from folder_trees import manifest, noise

import musicssl
from musicssl import AudioError, ConfigError, MusicEncoder, Segment, read_segments
from musicssl.audio import decode
from musicssl.cli.main import main
from musicssl.folder import reading
from musicssl.folder.api import embed_folder
from musicssl.segments.reading import BadRow, parse_segments

RATE = 22_050


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which files are opened to be decoded."""
    found: list[str] = []
    original = decode.open_path

    def open_path(path: Path) -> Any:
        found.append(path.name)
        return original(path)

    monkeypatch.setattr(decode, "open_path", open_path)
    return found


SPANS: list[tuple[float, float | None]] = [
    (11.0, 12.5),
    (0.0, 3.0),
    (2.0, 2.5),
    (9.9, 10.1),  # across the blocks that files are read in
    (8.0, None),
    (2.0, 2.5),
]


def test_parts_are_as_if_they_were_all_and_the_file_is_decoded_once(
    model: MusicEncoder, tmp_path: Path, opened: list[str]
) -> None:
    long, other = noise(tmp_path / "long.wav", 13.0), noise(tmp_path / "other.wav", 1.0, seed=1)
    samples = soundfile.read(long, dtype="float32")[0]
    expected = [
        model.embed(samples[round(a * RATE) : None if b is None else round(b * RATE)], RATE)
        for a, b in SPANS
    ]
    items: list[Any] = [Segment(long, a, b) for a, b in SPANS]
    items[3:3] = [other, Segment(str(other), 0.5)]
    found = model.embed(items, chunk_seconds=2.0)
    assert opened == ["long.wav", "other.wav", "other.wav"]
    np.testing.assert_allclose(np.delete(found, [3, 4], 0), expected, atol=1e-4)
    np.testing.assert_allclose(found[3], model.embed(other), atol=1e-5)
    np.testing.assert_allclose(found[4], model.embed(other, offset=0.5), atol=1e-5)
    np.testing.assert_allclose(model.embed(items[0]), expected[0], atol=1e-4)
    frames = model.embed(items[:2], level="frame")
    assert [len(each.times) for each in frames] == [38, 75] and frames[0].times[0] == 0
    assert len(model.embed(items[1], window=1).times) == 3


def test_what_is_wrong_with_a_part_is_its_own(
    model: MusicEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = noise(tmp_path / "a.wav", 3.0)
    parts: list[Any] = [
        Segment(file, 0, 1),
        Segment(file, 2, 2),
        Segment(file, 3.0, 4.0),
        Segment(file, 2, 9),
        Segment(tmp_path / "none.wav", 0, 1),
        Segment(file, "one"),  # type: ignore[arg-type]
        Segment(5),  # type: ignore[arg-type]
        Segment(file, 1, 2),
    ]
    found = model.embed(parts, on_error="skip")
    assert [one is None for one in found] == [False, True, True, False, True, True, True, False]
    np.testing.assert_allclose(found[3], model.embed(file, offset=2), atol=1e-5)
    log = caplog.text
    assert "audio[1]: " in log and "it ends at 2 s, but starts at 2 s" in log
    assert "a.wav#t=3,4: start is 3 s, but the audio lasts 3.000 s" in log
    assert "a.wav#t=2,9: end is 9 s, but the audio lasts 3.000 s; what is there is used" in log
    assert "none.wav: cannot be opened" in log
    assert "start must be seconds, at least 0, got 'one' (str)" in log
    with pytest.raises(AudioError, match=r"audio\[2\]: .*a.wav#t=3,4: start is 3 s"):
        model.embed(parts)
    with pytest.raises(AudioError, match="is a part already"):
        model.embed(parts[0], offset=1.0)


def test_a_file_that_breaks_off_has_the_parts_before(
    model: MusicEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = np.zeros(30 * RATE, np.float32)
    samples[-1] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    parts = [Segment(tmp_path / "a.wav", start, start + 5) for start in (25, 0, 12, 18)]
    found = model.embed(parts, on_error="skip")
    assert [one is None for one in found] == [True, False, False, True]  # blocks of ten seconds


CUE = """\
REM GENRE Rock
PERFORMER "Ünknown"
FILE "disc one.wav" WAVE
  TRACK 01 AUDIO
    TITLE "A \\ title"
    INDEX 01 00:00:00
  TRACK 02 AUDIO
    INDEX 00 00:01:60
    INDEX 01 00:02:37
  TRACK 03 MODE1/2352
    INDEX 01 00:03:00
FILE other.wav WAVE
  track 4 audio
    index 01 00:00:01
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_sheet_has_75_frames_a_second_and_several_files(
    encoding: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sheet = tmp_path / "discs" / "album.cue"
    sheet.parent.mkdir()
    sheet.write_bytes(CUE.replace("\n", end).encode(encoding))
    one, two, four = read_segments(sheet)
    folder = tmp_path / "discs"
    assert one == Segment(
        folder / "disc one.wav", 0.0, 2 + 37 / 75, "discs/album.cue#01", "A \\ title"
    )
    assert two == Segment(folder / "disc one.wav", 2 + 37 / 75, None, "discs/album.cue#02")
    assert four == Segment(folder / "other.wav", 1 / 75, None, "discs/album.cue#04")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("INDEX 01 00:02:37", "INDEX 01 00:02:75"), "line 9: .* 60 seconds and 75 frames"),
        (("INDEX 01 00:02:37", "INDEX 01 2.5"), "line 9: .*expected minutes:seconds:frames"),
        (("01 00:02:37", f"01 {'9' * 5000}:00:00"), "line 9: .*expected minutes:seconds:frames"),
        (("INDEX 01 00:02:37", f"INDEX {'0' * 5000}1 0:0:0"), "line 7: track 02 has no INDEX 01"),
        (("INDEX 01 00:02:37", "INDEX 01"), "line 9: .*expected minutes:seconds:frames"),
        (("    INDEX 01 00:02:37\n", ""), "line 7: track 02 has no INDEX 01"),
        (("INDEX 01 00:02:37", "INDEX 01 00:00:00"), "line 6: track 01 does not end after"),
        (('FILE "disc one.wav" WAVE\n', ""), "stands before any FILE"),
    ],
)
def test_what_is_wrong_with_a_track_is_said(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    sheet = tmp_path / "album.CUE"
    sheet.write_text(CUE.replace(*change))
    with pytest.raises(AudioError, match=message):
        read_segments(sheet)


def test_a_sheet_of_a_wav_that_was_made_a_flac(tmp_path: Path) -> None:
    noise(tmp_path / "disc one.flac"), noise(tmp_path / "disc one.jpg")
    (tmp_path / "a.cue").write_text(CUE)
    assert read_segments(tmp_path / "a.cue")[0].path == tmp_path / "disc one.flac"
    noise(tmp_path / "disc one.mp3")  # now there are two
    assert read_segments(tmp_path / "a.cue")[0].path == tmp_path / "disc one.wav"


@pytest.mark.parametrize("name", ["C:\\Rips\\in\\a.wav", "/gone/in/a.wav", "a.wav", "in\\b.wav"])
def test_a_sheet_that_was_made_elsewhere(name: str, tmp_path: Path) -> None:
    found = [noise(tmp_path / "a.flac"), noise(tmp_path / "in" / "b.wav")]["b.wav" in name]
    text = f'FILE\t"{name}"\tWAVE\n\tTRACK\t01\tAUDIO\n\t\tINDEX\t01\t00:00:00\n'
    (tmp_path / "a.cue").write_text(text)
    (track,) = read_segments(tmp_path / "a.cue")
    assert (track.path, track.start, track.id and track.id[-2:]) == (found, 0.0, "01")


@pytest.mark.parametrize(
    "text",
    [
        'path,start,end,id\n"a, b.wav",1,2.5,x\nsub/c.wav,,,\n',
        '"a, b.wav",1,2.5,x\n\nsub/c.wav,0\n',
        'ID;Ignored;END;START;File\nx;;2.5;1;"a, b.wav"\n;;;;sub/c.wav\n',
        "filename\tonset\tstop\tname\na, b.wav\t1\t2.5\tx\nsub/c.wav\n",
        'path,start,duration,id\n"a, b.wav",1,1.5,x\nsub/c.wav,,,\n',
        'path,start,duration,end,id\n"a, b.wav",1,300,2.5,x\nsub/c.wav,,,\n',
        "sep=;\npath;start;end;id\na, b.wav;1,0;2,5;x\nsub/c.wav\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_tables_in_every_form(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    assert read_segments(tmp_path / "list.csv") == [
        Segment(tmp_path / "a, b.wav", 1.0, 2.5, "x"),
        Segment(tmp_path / "sub" / "c.wav", 0.0, None, None),
    ]


def test_labels_are_columns_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,start,end,label\na.wav,0,1,chorus\na.wav,1,2,chorus\n")
    found = read_segments(tmp_path / "list.csv")
    assert [(one.id, one.metadata) for one in found] == [(None, {"label": "chorus"})] * 2


def test_columns_of_ones_own_have_decimal_commas_as_times_do(tmp_path: Path) -> None:
    text = "path;start;end;bpm;key\na.wav;0,5;1;120,5;1,2\na.wav;9;1;;\na.wav;1;2;90;x, y\n"
    (tmp_path / "list.csv").write_text(text)
    one, wrong, other = parse_segments(tmp_path / "list.csv")
    assert isinstance(wrong, BadRow)
    assert (one.start, one.metadata) == (0.5, {"bpm": "120.5", "key": "1,2"})
    assert other.metadata == {"bpm": "90", "key": "x, y"}
    (tmp_path / "list.csv").write_text('path,start,end,bpm\na.wav,0,1,"120,5"\n')
    assert read_segments(tmp_path / "list.csv")[0].metadata == {"bpm": "120,5"}


def test_paths_in_lists(tmp_path: Path) -> None:
    text = f"{tmp_path}/x.wav,0,1\n../up.wav,0,1\nhttps://example.org/a.mp3,0,1\na\u2028b.wav,0,1\n"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "list.csv").write_text(text, encoding="utf-8")
    assert [str(one.path) for one in read_segments(tmp_path / "in" / "list.csv")] == [
        f"{tmp_path}/x.wav",
        f"{tmp_path}/up.wav",
        "https://example.org/a.mp3",
        f"{tmp_path}/in/a\u2028b.wav",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav,5,5,", "line 2: it ends at 5 s, but starts at 5 s"),
        ("a.wav,5,2,", "line 2: it ends at 2 s, but starts at 5 s"),
        ("a.wav,-1,2,", "line 2: start must be seconds, at least 0"),
        ("a.wav,1:30,,", "line 2: start is '1:30'; expected seconds"),
        ("a.wav,1_0,,", "line 2: start is '1_0'; expected seconds"),
        ("a.wav,0,nan,", "line 2: end is 'nan'; expected seconds"),
        (",0,1,", "line 2: the path is empty"),
        ('"a.wav" x,0,1,', "line 2: no CSV"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(row: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"path,start,end,id\n{row}\n")
    with pytest.raises(AudioError, match=message):
        read_segments(tmp_path / "list.csv")


def test_lists_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_segments(tmp_path / "none.csv")
    for name, data in (("a.csv", b""), ("b.csv", b"path,start,end\n"), ("c.cue", b"REM none")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ConfigError, match="lists nothing"):
            read_segments(tmp_path / name)
    (tmp_path / "d.csv").write_bytes(b"\xff\x00\x81")
    with pytest.raises(ConfigError, match="is no text in UTF-8"):
        read_segments(tmp_path / "d.csv")


def vectors(out: Path) -> dict[str, np.ndarray]:
    found = {}
    for path in sorted(out.rglob("*.npz")):
        with np.load(path) as result:
            found[str(result["source"])] = result["embedding"]
    return found


def test_the_command_embeds_the_parts_of_a_list(
    model: MusicEncoder,
    tiny_model_folder: Path,
    tmp_path: Path,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    file = noise(tmp_path / "lists" / "a.wav", 3.0)
    rows = ["a.wav,2,3,", "a.wav,0,2.5,intro/one", "none.wav,0,1,", "a.wav,9,10,", "a.wav,2,1,"]
    rows += ["a.wav,0,2.5,intro/one", "a.wav,0,1,intro/one", "a.wav,1,2,../out"]
    (tmp_path / "lists" / "parts.csv").write_text("\n".join(["path,start,end,id", *rows]))
    common = ["--segments", "lists/parts.csv", "-o", "out", "--model", str(tiny_model_folder)]
    assert main(common) == 1
    said = capsys.readouterr().err
    assert said.count("musicssl-embed: failed: ") == 5
    assert "none.wav#t=0,1: no such file" in said.replace("No such file", "no such file")
    assert "a.wav#t=9,10: start is 9 s, but the audio lasts 3.000 s" in said
    assert "parts.csv, line 6: it ends at 1 s, but starts at 2 s" in said
    assert "a.wav#t=0,1 has the name that" in said and "is no name for a result" in said
    assert opened == ["a.wav"]
    found = vectors(tmp_path / "out")
    assert found.keys() == {"lists/a.wav#t=2,3", "intro/one"}
    np.testing.assert_allclose(found["intro/one"], model.embed(file, duration=2.5), atol=1e-5)
    record = manifest(tmp_path / "out")["lists/a.wav#t=2,3"]
    assert (record["start"], record["end"], record["duration"]) == (2, 3, 1)
    assert record["peak"] > 0.1 and record["content"]
    opened.clear()
    assert main(common) == 1  # nothing is done again, but the part that failed
    assert opened == ["a.wav"] and "2 there already" in capsys.readouterr().err
    changed = (tmp_path / "lists" / "parts.csv").read_text().replace("0,2.5,intro", "0,1.5,intro")
    (tmp_path / "lists" / "parts.csv").write_text(changed)
    assert main(common) == 1  # but what has other times
    found = vectors(tmp_path / "out")
    np.testing.assert_allclose(found["intro/one"], model.embed(file, duration=1.5), atol=1e-5)


def test_the_api_embeds_segments_into_a_folder(model: MusicEncoder, tmp_path: Path) -> None:
    file = noise(tmp_path / "a.wav", 2.0)
    parts = [Segment(file, 1, id="b"), Segment(file, 0, 1.5, "a")]
    summary = embed_folder(parts, tmp_path / "out", model=model)
    assert (summary.done, summary.failed) == (2, 0)
    np.testing.assert_allclose(
        list(vectors(tmp_path / "out").values()), model.embed(parts[::-1]), atol=1e-5
    )
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ([*parts, file], {}, "mixes files and segments"),
        (parts, {"prune": True}, "are for files, not for segments"),
        (parts, {"duration": 1.0}, "are for files, not for segments"),
    ]
    for paths, choices, message in wrong:
        with pytest.raises(ConfigError, match=message):
            embed_folder(paths, tmp_path / "out", model=model, **choices)


def test_ten_thousand_parts_of_one_file(
    model: MusicEncoder, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    monkeypatch.setattr(reading, "content_of", lambda *of: hashed.append(of))
    noise(tmp_path / "a.wav", 1.0)
    lines = [f"a.wav,{i / 20_000},{(i + 1) / 20_000}" for i in range(10_000)]
    (tmp_path / "parts.csv").write_text("\n".join(lines))
    parts = read_segments(tmp_path / "parts.csv")
    assert len({str(part) for part in parts}) == 10_000
    summary = embed_folder(parts[::100], tmp_path / "out", model=model)
    assert (summary.done, opened, len(hashed)) == (100, ["a.wav"], 1)


def test_offset_and_duration_of_a_folder(
    model: MusicEncoder,
    tiny_model_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    long, short = noise(tmp_path / "music" / "l.wav", 2.0), noise(tmp_path / "music" / "s.wav", 1.0)
    out = tmp_path / "out"
    common = [str(tmp_path / "music"), "-o", str(out), "--model", str(tiny_model_folder)]
    assert main([*common, "--offset", "0.5", "--duration", "30"]) == 0
    assert "but the audio lasts" not in capsys.readouterr().err
    for name, file in (("l.wav", long), ("s.wav", short)):
        expected = model.embed(file, offset=0.5)
        np.testing.assert_allclose(vectors(out)[name], expected, atol=1e-5)
    assert main([*common, "--offset", "0.5", "--duration", "30"]) == 0
    assert "2 there already" in capsys.readouterr().err
    assert main([*common, "--offset", "1.5"]) == 1
    said = capsys.readouterr().err
    assert "s.wav: offset is 1.5 s, but the audio lasts 1.000 s" in said
    assert vectors(out).keys() == {"l.wav"}
    assert main(common) == 0  # all of them
    np.testing.assert_allclose(vectors(out)["l.wav"], model.embed(long), atol=1e-5)
    assert main([*common, "--offset=-1"]) == 2


def test_a_part_is_not_taken_for_the_file_that_was_moved(
    model: MusicEncoder, tmp_path: Path
) -> None:
    file, out = noise(tmp_path / "a.wav", 2.0), tmp_path / "out"
    embed_folder([Segment(file, 0, 1, "part")], out, model=model)
    file = file.rename(tmp_path / "b.wav")
    summary = embed_folder(file, out, model=model)
    assert (summary.done, summary.moved) == (1, 0)
    again = embed_folder([Segment(file, 0, 1, "new")], out, model=model)
    assert (again.done, again.moved) == (0, 1)
    np.testing.assert_allclose(vectors(out)["new"], model.embed(file, duration=1), atol=1e-5)


@pytest.mark.parametrize("format", ["parquet", "h5"])
def test_ids_that_no_file_could_have_fail_alone_in_every_format(
    format: str, model: MusicEncoder, tmp_path: Path
) -> None:
    pytest.importorskip({"parquet": "pyarrow", "h5": "h5py"}[format])
    file = noise(tmp_path / "a.wav", 1.0)
    wrong = ["/a", "./a", "a//b", ".", "c/../a", "a/"]
    parts = [Segment(file, 0, 1 - i / 10, id) for i, id in enumerate(["a", *wrong])]
    for done in (1, 0):
        summary = embed_folder(parts, tmp_path / "out", model=model, format=format)
        assert (summary.done, summary.failed) == (done, len(wrong))
    assert musicssl.load_embeddings(tmp_path / "out").sources == ["a"]


def test_an_id_that_is_a_number_fails_alone(model: MusicEncoder, tmp_path: Path) -> None:
    file = noise(tmp_path / "a.wav", 1.0)
    parts = [Segment(file, 0, 1, 7), Segment(file, 0, 0.5, "7")]  # type: ignore[arg-type]
    summary = embed_folder(parts, tmp_path / "out", model=model)
    assert summary.failures == [("7", "id must be a string, got 7 (int).")] and summary.done == 1


@pytest.mark.parametrize("wrong", [np.zeros(100_000), [0.0] * 100_000, b"x" * 100_000])
def test_what_is_no_path_is_told_in_short(
    wrong: Any, model: MusicEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(AudioError, match="path must be a path, got") as caught:
        model.embed(Segment(wrong))
    assert len(str(caught.value)) < 300
    summary = embed_folder(Segment(wrong, id=wrong), tmp_path / "out", model=model)
    ((name, error),) = summary.failures
    assert len(name) < 150 and len(error) < 300


def test_one_segment_without_a_list(model: MusicEncoder, tmp_path: Path) -> None:
    segment = Segment(noise(tmp_path / "a.wav"), 0, 0.1, "one")
    assert embed_folder(segment, tmp_path / "out", model=model).done == 1
