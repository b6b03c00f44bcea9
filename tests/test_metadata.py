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

pq = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> MusicEncoder:
    return musicssl.load_model(tiny_model_folder, device="cpu")


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


def test_tables_that_are_damaged(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path,genre\na.wav,"rock\nb.wav,pop\n')
    with pytest.raises(ConfigError, match=r"t.csv, line 3: no CSV"):
        Metadata.read(tmp_path / "t.csv")
    (tmp_path / "t.csv").write_bytes("path,genre\na.wav,größer\n".encode("cp1252"))
    with pytest.raises(ConfigError, match="is no text in UTF-8"):
        Metadata.read(tmp_path / "t.csv")
