"""Packs: whole, resumable, the same however they are made."""

import json
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from musicssl.errors import AudioError, ConfigError, DependencyError, OutputError
from musicssl_training.cli.main import main
from musicssl_training.data import IncompleteError, Pack, decode_complete, open_sources, write_pack


def test_pack_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    rows = [{"path": f"{i}", "source": "s", "licence": "CC0"} for i in range(4)]

    def read(row):  # type: ignore[no-untyped-def]
        if row["path"] == "2":
            raise AudioError("a bad file")
        return np.full(10, 0.1 * (1 + int(row["path"])), np.float32), {"more": 1}, None

    assert write_pack(rows[:2], tmp_path, read).recordings == 2
    with (
        (tmp_path / "audio.i16").open("ab") as audio,
        (tmp_path / "index.jsonl").open("a") as index,
    ):
        audio.write(b"half")  # as a kill leaves it
        index.write('{"path": "3", "st')
    assert write_pack(rows, tmp_path, read).recordings == 3
    pack = Pack.open(tmp_path)
    assert [item["path"] for item in pack.items] == ["0", "1", "3"]
    for item, level in zip(pack.items, (0.1, 0.2, 0.4), strict=True):
        stretch = pack.audio[item["start"] : item["start"] + item["samples"]]
        np.testing.assert_allclose(stretch / 32767, level, atol=1e-4)
    with pytest.raises(ConfigError, match="not a pack"):
        Pack.open(tmp_path / "elsewhere")


def test_a_pack_is_the_same_for_any_number_of_jobs(tmp_path: Path) -> None:
    rows = [{"path": f"{i}", "source": "s", "licence": "CC0"} for i in range(30)]

    def read(row):  # type: ignore[no-untyped-def]
        time.sleep(0.001 * (int(row["path"]) % 3))
        if row["path"] == "7":
            raise AudioError("a bad file")
        return np.full(5 + int(row["path"]), 2.0, np.float32), {}, None

    for jobs in (1, 4):
        assert write_pack(rows, tmp_path / str(jobs), read, jobs).recordings == 29
    for name in ("audio.i16", "index.jsonl"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "4" / name).read_bytes()
    assert (Pack.open(tmp_path / "1").audio == 32767).all()  # clipped, not wrapped round


def test_what_concerns_all_recordings_ends_the_packing(tmp_path: Path) -> None:
    def read(row):  # type: ignore[no-untyped-def]
        raise DependencyError("no fluidsynth")

    rows = [{"path": f"{i}", "source": "s", "licence": "CC0"} for i in range(9)]
    for jobs in (1, 3):
        with pytest.raises(DependencyError):
            write_pack(rows, tmp_path, read, jobs)


def test_a_pack_that_was_copied_in_part_is_refused(toy_pack: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_pack, tmp_path, dirs_exist_ok=True)
    with (tmp_path / "audio.i16").open("r+b") as audio:
        audio.truncate(1000)
    with pytest.raises(ConfigError, match="copied in part"):
        Pack.open(tmp_path)
    with pytest.raises(ConfigError, match="copied in part"):
        write_pack([], tmp_path, lambda row: (np.zeros(1, np.float32), {}, None))


def test_a_pack_at_a_lower_rate_is_refused(toy_pack: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_pack, tmp_path / "pack")
    index = tmp_path / "pack" / "index.jsonl"
    items = [json.loads(line) | {"sample_rate": 16_000} for line in index.open()]
    index.write_text("".join(json.dumps(item) + "\n" for item in items))
    with pytest.raises(ConfigError, match="is at 16000 Hz, the encoder at 22050 Hz"):
        open_sources([str(tmp_path / "pack")], 22_050)


@pytest.mark.parametrize("rate", [16_000, 11_025, 20_000])
def test_a_pack_at_a_higher_rate_is_read_at_that_of_the_encoder(toy_pack: Path, rate: int) -> None:
    pack = Pack.open(toy_pack)
    (source,) = open_sources([str(toy_pack)], rate)
    assert (source.name, source.digest()) == (pack.name, pack.digest())
    for number in (0, 4):
        samples = pack.items[number]["samples"]
        whole = soxr.resample(pack.excerpt(number, 0, samples), 22_050, rate)
        assert abs(source.items[number]["samples"] - len(whole)) <= 1
        assert source.items[number]["sample_rate"] == rate
        last = source.items[number]["samples"] - 7000
        for start in (0, 1, 5000, 54_321, last):
            found = source.excerpt(number, start, 7000)
            assert found.shape == (7000,)
            part = whole[start : start + 7000]
            np.testing.assert_allclose(found[: len(part)], part, atol=2e-5)


def tone(seconds: float) -> np.ndarray:
    return 0.1 * np.sin(np.arange(round(seconds * 22_050)) * 0.05)


def cut_short(file: Path, share: float = 0.4) -> None:
    """Drop the end of a file, as an interrupted download leaves it."""
    data = file.read_bytes()
    file.write_bytes(data[: round(len(data) * share)])


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
def test_recordings_that_are_cut_off_are_left_out_named_and_counted(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for file in (name, "whole.wav"):
        soundfile.write(tmp_path / file, tone(20), 22_050)
    cut_short(tmp_path / name)
    rows = f"path,source,licence,seconds\n{name},s,CC0,\nwhole.wav,s,CC0,\nno.wav,s,CC0,36\n"
    if name == "a.mp3":  # a plain MP3 does not say how long it is
        rows = rows.replace("a.mp3,s,CC0,", "a.mp3,s,CC0,20.0")
    (tmp_path / "index.csv").write_text(rows)
    command = ["pack", str(tmp_path / "index.csv"), str(tmp_path / "pack")]
    for _ in range(2):  # also where the pack is there already
        caplog.clear()
        assert main(command) == 0
        assert [item["path"] for item in Pack.open(tmp_path / "pack").items] == ["whole.wav"]
        assert re.search(rf"{name}: [78]\.\d s could be decoded, .* says 20\.\d s", caplog.text)
        said = capsys.readouterr().err
        assert "1 of 3 recordings, 0.01 of 0.02 hours" in said
        assert "left out: 1 incomplete (0.01 hours), 1 unreadable (0.01 hours)" in said


@pytest.mark.parametrize("column", ["seconds", "duration_s"])
def test_recordings_shorter_than_the_index_says_are_left_out(
    column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seconds in (("a", 10.0), ("b", 9.6), ("c", 8.0)):
        soundfile.write(tmp_path / f"{name}.wav", tone(seconds), 22_050)
    rows = "".join(f"{name}.wav,s,CC0,10\n" for name in "abc")
    index = tmp_path / "index.csv"
    index.write_text(f"path,source,licence,{column}\n{rows}")
    command = ["pack", str(index), str(tmp_path / "pack")]
    assert main(command) == 0
    assert [item["path"] for item in Pack.open(tmp_path / "pack").items] == ["a.wav", "b.wav"]
    assert "2 of 3 recordings" in capsys.readouterr().err
    index.write_text(f"path,source,licence,{column}\na.wav,s,CC0,12\n")
    assert main(command) == 2  # a pack that was made without looking at it
    assert "a.wav (10.0 of 12.0 s); delete the pack" in capsys.readouterr().err
    index.write_text(f"path,source,licence,{column}\na.wav,s,CC0,3:20\n")
    assert main(command) == 2
    assert f"a.wav has {column} '3:20'; not a length" in capsys.readouterr().err


def test_what_is_cut_off_and_of_unknown_length_is_vouched_for_by_the_index(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", tone(20), 22_050)
    cut_short(tmp_path / "a.ogg")  # its last page, which says how long it is, is gone
    with pytest.raises(IncompleteError, match="nothing says how long it should be") as caught:
        decode_complete(tmp_path / "a.ogg", 22_050)
    assert caught.value.seconds is None
    with pytest.raises(IncompleteError, match=r"the index says 20\.0 s") as caught:
        decode_complete(tmp_path / "a.ogg", 22_050, 20.0)
    assert caught.value.seconds == 20
    assert len(decode_complete(tmp_path / "a.ogg", 22_050, 3.5)) > 3 * 22_050


def test_index_is_read_as_spreadsheets_write_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = 22_050
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", np.full(rate, 0.1), rate)
    text = "path,source,licence\na.wav,s,CC0\nb.wav,s,CC BY-NC\nc.wav,s,CC0 and more\nd.wav,s\n"
    (tmp_path / "index.csv").write_text(text, encoding="utf-8-sig")
    command = ["pack", str(tmp_path / "index.csv"), str(tmp_path / "pack")]
    assert main([*command, "--leave-out", "licence=*N[CD]*", "--jobs", "2"]) == 0
    items = Pack.open(tmp_path / "pack").items
    assert [item["path"] for item in items] == ["a.wav", "c.wav"]
    assert {item["sample_rate"] for item in items} == {rate}
    assert "2 of 3 recordings" in capsys.readouterr().err
    assert main([*command, "--leave-out", "genre=x"]) == 2
    assert "has no column 'genre'" in capsys.readouterr().err
    (tmp_path / "index.csv").write_bytes(b"\xff\xfe\x00")
    assert main(command) == 2


def row(path: str, **said: str) -> dict[str, str]:
    return {"path": path, "source": "s", "licence": "CC0"} | said


def flat(row):  # type: ignore[no-untyped-def]
    return np.full(10, 0.1, np.float32), {}, None


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


ROWS = [row("a"), row("b", licence="GPL-2"), row("c")]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (ROWS[::2], r"holds 1 recordings that are not .* such as b \(it is left out now"),
        ([ROWS[0], row("b"), ROWS[2]], "b .its licence is 'GPL-2' in the pack, 'CC0' in the index"),
        ([*ROWS[:2], row("c", evidence="x")], "c .its evidence is None in the pack, 'x' in the"),
        ([row(f"new/{one['path']}") for one in ROWS], "holds 3 recordings .* such as a "),
    ],
)
def test_a_pack_that_holds_something_else_than_is_asked_for_is_refused(
    rows: list[dict[str, str]], message: str, tmp_path: Path
) -> None:
    write_pack(ROWS, tmp_path, flat)
    before = contents(tmp_path)
    with pytest.raises(ConfigError, match=f"{message}.*another folder, or remove this one"):
        write_pack(rows, tmp_path, flat)
    assert contents(tmp_path) == before
    assert write_pack([*ROWS, row("d")], tmp_path, flat).recordings == 4  # it has grown


def test_a_pack_made_otherwise_is_refused(tmp_path: Path) -> None:
    made = {"sample_rate": 22_050, "rendering": {"version_of": 0, "fonts": ["a.sf2 12ab"]}}
    write_pack(ROWS, tmp_path, flat, settings=made)
    write_pack(ROWS, tmp_path, flat, settings=made)
    for other, message in (
        ({"sample_rate": 16_000}, "made with sample_rate 22050, asked for is 16000"),
        ({"rendering": {"version_of": 1}}, "a .made with version_of 0, asked for is 1"),
        ({"rendering": {"version_of": 0, "fonts": []}}, r"fonts \['a.sf2 12ab'\], asked for is"),
    ):
        with pytest.raises(ConfigError, match=message):
            write_pack(ROWS, tmp_path, flat, settings=made | other)


def test_a_pack_of_an_older_version_is_gone_on_with(tmp_path: Path) -> None:
    write_pack(ROWS, tmp_path, flat, settings={"sample_rate": 22_050})
    index = tmp_path / "index.jsonl"
    items = [json.loads(line) for line in index.open()]
    for item in items:
        del item["audio_hash"], item["sample_rate"]
    index.write_text("".join(json.dumps(item) + "\n" for item in items))
    old = index.read_bytes()
    rows = [one | {"evidence": "told since"} for one in [*ROWS, row("d")]]
    settings = {"sample_rate": 22_050, "rendering": {"version_of": 1}}
    assert write_pack(rows, tmp_path, flat, settings=settings).recordings == 4
    assert index.read_bytes().startswith(old)
    with pytest.raises(ConfigError, match="its licence is 'GPL-2' in the pack"):
        write_pack([ROWS[0], row("b"), ROWS[2]], tmp_path, flat)
    with pytest.raises(ConfigError, match="made with sample_rate 22050, asked for is 16000"):
        write_pack(rows, tmp_path, flat, settings={"sample_rate": 16_000})


def test_a_recording_whose_file_was_replaced_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "index.csv").write_text("path,source,licence\na.wav,s,CC0\nb.wav,s,CC0\n")
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", tone(3), 22_050)
    command = ["pack", str(tmp_path / "index.csv"), str(tmp_path / "pack")]
    assert main(command) == 0
    (tmp_path / "a.wav").touch()  # the same content as before
    assert main(command) == 0
    soundfile.write(tmp_path / "b.wav", 0.5 * tone(3), 22_050)  # as long as before
    assert main(command) == 2
    assert "such as b.wav (its file is another now)" in capsys.readouterr().err
    (tmp_path / "b.wav").unlink()  # nobody can tell
    assert main(command) == 0


def test_licences_left_out_later_do_not_stay_in_a_pack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", tone(3), 22_050)
    index = tmp_path / "index.csv"
    index.write_text("path,source,licence\na.wav,s,GPL-2\nb.wav,s,CC0\n,,\n")
    command = ["pack", str(index), str(tmp_path / "pack")]
    assert main(command) == 0
    for more in (["--leave-out", "licence=*GPL*"], ["--sample-rate", "16000"]):
        assert main(command + more) == 2
        assert "a.wav" in capsys.readouterr().err
    index.write_text("path,source,licence\na.wav,s,GPL-2\n,s,CC0\n")
    assert main(command) == 2
    assert "row 2 below the names has no path" in capsys.readouterr().err


def test_what_is_named_twice_is_packed_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert write_pack([*ROWS, ROWS[1]], tmp_path, flat).recordings == 3
    assert "1 rows name a recording once more" in caplog.text
    with pytest.raises(ConfigError, match="names b twice, with the licence 'GPL-2' and 'CC0'"):
        write_pack([*ROWS, row("b")], tmp_path / "other", flat)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"index.jsonl": b'{"my": "own"}\n'}, "line 1, holds what no pack does .path is None"),
        ({"index.jsonl": b'{"my": "own"}'}, "ends with .* no line of a pack's"),
        ({"index.jsonl": b'{"path": "own"}'}, "ends with .* no line of a pack's"),
        ({"index.jsonl": b"\xff\xfe\n"}, "line 1, holds what no pack does"),
        ({"index.jsonl": b"[1]\n"}, r"holds what no pack does \(\[1\] is no row"),
        ({"audio.i16": b"mine"}, "audio.i16 is there without the index.jsonl of a pack"),
        ({"scores.jsonl": b"mine"}, "scores.jsonl is there without the index.jsonl of a pack"),
    ],
)
def test_files_of_somebody_elses_are_left_as_they_are(
    files: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=message):
        write_pack(ROWS, tmp_path, flat)
    assert contents(tmp_path) == files


def test_a_pack_that_lost_its_index_keeps_its_audio(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pack(ROWS, tmp_path, flat)
    audio = (tmp_path / "audio.i16").read_bytes()
    (tmp_path / "index.jsonl").write_bytes(b"")
    write_pack(ROWS, tmp_path, flat)
    assert (tmp_path / "audio.i16.aside").read_bytes() == audio
    assert "put aside as audio.i16.aside" in caplog.text
    (tmp_path / "index.jsonl").unlink()
    with pytest.raises(ConfigError, match="or the index was lost"):
        write_pack(ROWS, tmp_path, flat)
    assert (tmp_path / "audio.i16").read_bytes() == audio


def test_scores_of_somebody_elses_beside_a_pack_are_kept(tmp_path: Path) -> None:
    write_pack(ROWS, tmp_path, flat)
    for text in ("my scores", '{"my": 1}\n'):
        (tmp_path / "scores.jsonl").write_text(text)
        with pytest.raises(ConfigError, match=r"scores\.jsonl ends with .* no line of a pack's"):
            write_pack(ROWS, tmp_path, flat)
        assert (tmp_path / "scores.jsonl").read_text() == text


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    def nested(row):  # type: ignore[no-untyped-def]
        with pytest.raises(ConfigError, match="another process is writing there"):
            write_pack(ROWS[:1], tmp_path, flat)
        return flat(row)

    assert write_pack(ROWS, tmp_path, nested).recordings == 3
    assert sorted(contents(tmp_path)) == ["audio.i16", "index.jsonl"]


def test_a_full_disk_is_told_with_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no full disk")
    monkeypatch.setattr("musicssl_training.data.pack.cut", lambda file, size: full.open("wb"))
    with pytest.raises(OutputError, match=r"cannot write to .*audio\.i16: No space left"):
        write_pack(ROWS, tmp_path, flat)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"start": -1}, "start is -1"),
        ({"start": "0"}, "start is '0'"),
        ({"samples": True}, "samples is True"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"path": 1}, "path is 1"),
        ({"licence": None}, "licence is None"),
    ],
)
def test_a_damaged_index_names_the_line(
    change: dict[str, object], wrong: str, tmp_path: Path
) -> None:
    write_pack(ROWS, tmp_path, flat)
    index = tmp_path / "index.jsonl"
    first, second, third = [json.loads(line) for line in index.open()]
    text = "".join(json.dumps(one) + "\n" for one in (first, second | change, third))
    index.write_text(text)
    for use in (lambda: Pack.open(tmp_path), lambda: write_pack(ROWS, tmp_path, flat)):
        with pytest.raises(ConfigError, match=rf"index\.jsonl, line 2, .* \({wrong}\)"):
            use()
    assert index.read_text() == text


def test_audio_of_an_odd_size_is_read_up_to_what_is_whole(tmp_path: Path) -> None:
    write_pack(ROWS, tmp_path, flat)
    with (tmp_path / "audio.i16").open("ab") as audio:
        audio.write(b"x")  # of a recording whose line is not there yet
    assert len(Pack.open(tmp_path).audio) == 30


def test_the_digest_of_a_pack_is_that_of_its_audio_too(tmp_path: Path) -> None:
    for name, level in (("one", 0.1), ("same", 0.1), ("other", 0.2)):
        loud = (np.full(10, level, np.float32), {}, None)
        write_pack(ROWS, tmp_path / name, lambda row, loud=loud: loud)
    one, same, other = (Pack.open(tmp_path / name).digest() for name in ("one", "same", "other"))
    assert one == same != other
