"""The user's own columns, beside the embeddings."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from folder_trees import noise

import musicssl
from musicssl import ConfigError, MusicEncoder, Segment
from musicssl.cli.main import main
from musicssl.folder.api import embed_folder
from musicssl.folder.metadata import Metadata
from musicssl.folder.metadata_match import Match

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for i, name in enumerate(("x/a.wav", "y/a.wav", "b.wav", "c.wav")):
        noise(tmp_path / "music" / name, 0.2 + 0.1 * i)
    return tmp_path / "music"


def written(folder: Path, text: str) -> Path:
    file = folder / "tags.csv"
    file.write_text("\ufeff" + text, encoding="utf-8")
    return file


def rows(out: Path) -> dict[str, dict[str, Any]]:
    table = pq.read_table(out / "embeddings.parquet")
    return {row["source"]: row for row in table.drop(["embedding"]).to_pylist()}


TAGS = "path,genre,bpm,score\nmusic/x/a.wav,rock,120,1\nb,,90,2.5\nmusic/z.wav,pop,100,\n"


def test_parquet_has_the_path_the_length_and_the_rate(
    music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    embed_folder(music, tmp_path / "out", model=model, format="parquet")
    table = pq.read_table(tmp_path / "out" / "embeddings.parquet")
    assert table.schema.names == ["source", "path", "duration", "sample_rate", "embedding"]
    assert rows(tmp_path / "out")["b.wav"] == {
        "source": "b.wav",
        "path": str(music / "b.wav"),
        "duration": 0.4,
        "sample_rate": 22_050,
    }


def test_own_columns_are_joined_by_path_and_stay(
    music: Path, tiny_model_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tags, out = written(tmp_path, TAGS), tmp_path / "out"
    common = [str(music), "-o", str(out), "--format", "parquet", "--model", str(tiny_model_folder)]
    assert main([*common, "--metadata", str(tags)]) == 0
    said = capsys.readouterr().err
    assert "1 of 3 rows name no file, such as 'music/z.wav'" in said
    assert "2 of 4 files have no row, such as 'c.wav'" in said
    own = [(row["genre"], row["bpm"], row["score"]) for row in rows(out).values()]
    assert own == [(None, 90, 2.5), (None, None, None), ("rock", 120, 1.0), (None, None, None)]
    table = pq.read_table(out / "embeddings.parquet")
    assert [str(table.schema.field(name).type) for name in ("genre", "bpm", "score")] == [
        "string",
        "int64",
        "double",
    ]
    noise(music / "d.wav")
    assert main(common) == 0  # they stay, and what is new has none
    assert rows(out)["x/a.wav"]["genre"] == "rock" and rows(out)["d.wav"]["bpm"] is None
    written(tmp_path, "name,mood\nd.wav,calm\n")
    assert main([*common, "--metadata", str(tags)]) == 0  # others take their place
    assert "0 embedded" in capsys.readouterr().err
    assert rows(out)["d.wav"]["mood"] == "calm" and "genre" not in rows(out)["x/a.wav"]


def test_frames_windows_and_parts_have_them_too(
    music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    tags = written(tmp_path, TAGS)
    for name, choices in (("f", {"level": "frame"}), ("w", {"window": 0.08})):
        out = tmp_path / name
        embed_folder(music, out, model=model, format="parquet", metadata=tags, **choices)
        table = pq.read_table(out / "embeddings.parquet").to_pylist()
        genres = [row["genre"] for row in table if row["source"] == "x/a.wav"]
        assert len(genres) > 1 and set(genres) == {"rock"}
        embed_folder(music, out, model=model, format="parquet", **choices)
    parts = [Segment(music / "b.wav", 0, 0.1, "one"), Segment(music / "b.wav", 0.1, None, "two")]
    embed_folder(parts, tmp_path / "p", model=model, format="parquet", metadata=tags)
    one, two = rows(tmp_path / "p").values()
    assert (one["start"], one["end"], two["start"], two["end"]) == (0, 0.1, 0.1, None)


def test_every_format_is_joined_when_it_is_loaded(
    music: Path, model: MusicEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    embed_folder(music, tmp_path / "out", model=model)
    table = musicssl.load_embeddings(tmp_path / "out", metadata=written(tmp_path, TAGS))
    assert table.columns["bpm"] == [90, None, 120, None]
    assert table.columns["duration"] == [0.4, 0.5, 0.2, 0.3]
    assert "1 of 3 rows name no file" in caplog.text and "2 of 4 files have no row" in caplog.text
    assert "genre" not in musicssl.load_embeddings(tmp_path / "out").columns


@pytest.mark.parametrize(
    ("text", "choices", "message"),
    [
        ("a,b\n1,2\n", {}, "no column of files; expected one of source, path"),
        ("path,duration\na,2\n", {}, "the column 'duration' is one of musicssl's own; rename it"),
        ("path,b\na,2\n", {"format": "npz"}, "the format npz has none"),
        (None, {}, "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_done(
    text: str | None, choices: Any, message: str, music: Path, model: MusicEncoder, tmp_path: Path
) -> None:
    tags = tmp_path / "tags.csv" if text is None else written(tmp_path, text)
    with pytest.raises(ConfigError, match=message):
        embed_folder(
            music,
            tmp_path / "out",
            model=model,
            metadata=tags,
            **({"format": "parquet"} | choices),
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.name != "posix", reason="names of bytes")
def test_names_that_are_not_unicode(model: MusicEncoder, tmp_path: Path) -> None:
    noise(Path(os.fsdecode(bytes(tmp_path) + b"/music/caf\xe9.wav")))
    tags = written(tmp_path, "path,genre\nother.wav,rock\n")
    embed_folder(tmp_path / "music", tmp_path / "out", model=model, format="parquet", metadata=tags)
    (row,) = rows(tmp_path / "out").values()
    assert row["path"].endswith("caf\\xe9.wav") and row["duration"] == 0.3
    np.testing.assert_allclose(
        pq.read_table(tmp_path / "out" / "embeddings.parquet")["embedding"].to_pylist(),
        [model.embed(Path(os.fsdecode(bytes(tmp_path) + b"/music/caf\xe9.wav")))],
        atol=1e-5,
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("before", ["", "sep={}\n", "\n"])
def test_tables_as_spreadsheets_write_them(
    encoding: str, separator: str, before: str, tmp_path: Path
) -> None:
    text = before.format(separator) + 'path,composer ,isrc\n"a,\nb.wav",Dvořák,007\nc.wav,,10\n'
    cells = text.replace('"a,\n', '"a.\n').replace(",", separator).replace('"a.', '"a,')
    (tmp_path / "t.csv").write_bytes(cells.replace("\n", "\r\n").encode(encoding))
    found = Metadata.read(tmp_path / "t.csv")
    assert found.rows == {
        "a,\r\nb.wav": {"composer": "Dvořák", "isrc": "007"},
        "c.wav": {"composer": "", "isrc": "10"},
    }
    assert found.kinds() == {"composer": str, "isrc": str}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_are_read_where_commas_separate_nothing(
    separator: str, tmp_path: Path
) -> None:
    rows = ["path|bpm|key|isrc|n", "a.wav|120,5|1,2|007,1|3", "b.wav|-90||008|4", "c.wav||x, y||"]
    text = "\n".join(rows).replace("|", separator)
    (tmp_path / "t.csv").write_text(text)
    found = Metadata.read(tmp_path / "t.csv")
    assert found.kinds() == {"bpm": float, "key": str, "isrc": str, "n": int}
    assert found.rows["a.wav"] == {"bpm": "120.5", "key": "1,2", "isrc": "007,1", "n": "3"}
    (tmp_path / "t.csv").write_text('path,bpm,a\na.wav,"120,5",b\n')
    assert Metadata.read(tmp_path / "t.csv").rows["a.wav"]["bpm"] == "120,5"


def test_tables_that_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path,genre\na.wav,"rock\nb.wav,pop\n')
    with pytest.raises(ConfigError, match=r"t.csv, line 3: no CSV"):
        Metadata.read(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes("path,genre\na.wav,größer\n".encode("cp1252"))
    with pytest.raises(ConfigError, match="is no text in UTF-8"):
        Metadata.read(tmp_path / "t.csv")


def listed(folder: Path, text: str) -> Path:
    file = folder / "parts.csv"
    file.write_text(text, encoding="utf-8")
    return file


PARTS = (
    "path,start,end,id,composer,opus\nmusic/c.wav,0,0.2,one,Bach,1\nmusic/c.wav,0.2,,,Händel,2\n"
)


@pytest.mark.parametrize("format", ["parquet", "npz"])
def test_columns_of_a_list_of_segments_arrive(
    format: str, music: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    out, parts = tmp_path / "out", listed(tmp_path, PARTS)
    common = ["-o", str(out), "--format", format, "--model", str(tiny_model_folder)]
    for text, composers in ((PARTS, ["Händel", "Bach"]), (PARTS.replace("Bach", "Zach"), None)):
        parts.write_text(text, encoding="utf-8")
        assert main(["--segments", str(parts), *common]) == 0
        table = musicssl.load_embeddings(out)
        by_name = dict(zip(table.sources, table.columns["composer"], strict=True))
        assert by_name.pop("one") == ("Bach" if composers else "Zach")  # also of what was there
        assert [*by_name.values()] == ["Händel"] and sorted(table.columns["opus"]) == [1, 2]
        if format == "parquet":
            assert rows(out)["one"]["composer"] == ("Bach" if composers else "Zach")
            assert rows(out)["one"]["opus"] == 1
    more = [Segment(music / "b.wav", 0, 0.1, "two", metadata={"composer": 7, "key": "a"})]
    embed_folder(more, out, model=tiny_model_folder, format=format)
    table = musicssl.load_embeddings(out)
    assert sorted(table.columns["composer"]) == ["7", "Händel", "Zach"]
    if format == "parquet":
        assert rows(out)["two"] | {"path": 0} == {
            **{"source": "two", "path": 0, "duration": 0.1, "sample_rate": 22_050},
            **{"start": 0.0, "end": 0.1, "composer": "7", "key": "a", "opus": None},
        }
        assert rows(out)["one"]["composer"] == "Zach"


def test_titles_of_a_sheet_arrive(music: Path, model: MusicEncoder, tmp_path: Path) -> None:
    sheet = tmp_path / "c.cue"
    sheet.write_text(
        'FILE "music/c.wav" WAVE\nTRACK 01 AUDIO\nTITLE "A"\nINDEX 01 00:00:00\n'
        'TRACK 02 AUDIO\nTITLE "B"\nINDEX 01 00:00:20\n'
    )
    embed_folder(musicssl.read_segments(sheet), tmp_path / "out", model=model)
    assert musicssl.load_embeddings(tmp_path / "out").columns["title"] == ["A", "B"]


def test_each_part_has_its_own_row(music: Path, model: MusicEncoder, tmp_path: Path) -> None:
    file = music / "c.wav"
    parts = [
        Segment(file, 0, 0.2, "one"),
        Segment(file, 0.2, None),
        Segment(file, 0.1, 0.2, "three"),
        Segment(music / "b.wav", 0, 0.1),
    ]
    tags = written(
        tmp_path,
        "path,start,duration,id,mood\nmusic/c.wav,,,,any\n,,,one,calm\nmusic/c.wav,0.2,,,wild\n"
        "b.wav,,,,sad\n",
    )
    out = tmp_path / "out"
    embed_folder(parts, out, model=model, format="parquet", metadata=tags)
    moods = {source.rpartition("#")[2]: row["mood"] for source, row in rows(out).items()}
    assert moods == {"one": "calm", "t=0.2": "wild", "three": "any", "t=0,0.1": "sad"}
    loaded = musicssl.load_embeddings(out, metadata=tags)
    assert dict(zip(loaded.sources, loaded.columns["mood"], strict=True)) == {
        source: row["mood"] for source, row in rows(out).items()
    }
    with pytest.raises(ConfigError, match="'mood' is in the segments and in metadata"):
        embed_folder(
            [Segment(file, metadata={"mood": 1})], out, model=model, format="parquet", metadata=tags
        )
    with pytest.raises(ConfigError, match="column 'peak' is one of musicssl's own"):
        embed_folder([Segment(file, metadata={"peak": 1})], out, model=model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,b\na.wav,1\nc.wav,1\n./a.wav,2\n",
            "lines 2 and 4 say different things of './a.wav'",
        ),
        ("path,b,start\na,1,0\na,2,0.0\n", "lines 2 and 3 say different things of 'a#t=0'"),
        ("path,b,start,id\na,1,0,x\na,2,5,x\n", "lines 2 and 3 say different things of 'x'"),
        ("path,start,b\na,zero,1\n", "line 2: start is 'zero'; expected seconds"),
        ('path,b\n\n"a\nb",1,,\nc,1,2\n', "line 5: the row has 3 cells, and there are 2 columns"),
        ("path,b,b\na,1,2\n", "line 1: two columns are called 'b'"),
    ],
)
def test_rows_without_sense_are_named_by_their_lines(
    text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        Metadata.read(written(tmp_path, text))


def test_rows_that_say_the_same_again_and_names_in_either_form(tmp_path: Path) -> None:
    name = "Dvor\u030ca\u0301k.wav"  # as macOS has it
    tags = written(tmp_path, "path,b\nDvo\u0159\u00e1k.wav,1\nDvo\u0159\u00e1k.wav,1\n")
    match = Match(Metadata.read(tags), [str(tmp_path / name)])
    assert match.row(f"x/{name}", str(tmp_path / name)) == {"b": 1}


def test_segments_with_more_cells_than_columns(tmp_path: Path) -> None:
    for text, columns in (("path,start\na.wav,0,1\n", 2), ("a.wav,0,1,x,y\n", 4)):
        message = f"line .: the row has {columns + 1} cells, and there are {columns} columns"
        with pytest.raises(musicssl.AudioError, match=message):
            musicssl.read_segments(listed(tmp_path, text))
    with pytest.raises(ConfigError, match="two columns are called 'b'"):
        musicssl.read_segments(listed(tmp_path, "path,start,b,b\n"))
