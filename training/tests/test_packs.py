"""Packs: whole, resumable, the same however they are made."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musicssl.errors import AudioError, ConfigError, DependencyError
from musicssl_training.cli.main import main
from musicssl_training.data import Pack, write_pack


def test_pack_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    rows = [{"path": f"{i}", "source": "s", "licence": "CC0"} for i in range(4)]

    def read(row):  # type: ignore[no-untyped-def]
        if row["path"] == "2":
            raise AudioError("a bad file")
        return np.full(10, 0.1 * (1 + int(row["path"])), np.float32), {"more": 1}, None

    assert write_pack(rows[:2], tmp_path, read) == 2
    with (
        (tmp_path / "audio.i16").open("ab") as audio,
        (tmp_path / "index.jsonl").open("a") as index,
    ):
        audio.write(b"half")  # as a kill leaves it
        index.write('{"path": "3", "st')
    assert write_pack(rows, tmp_path, read) == 3
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
        assert write_pack(rows, tmp_path / str(jobs), read, jobs) == 29
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


def test_a_pack_at_another_rate_is_refused(toy_pack: Path, tmp_path: Path) -> None:
    shutil.copytree(toy_pack, tmp_path / "pack")
    index = tmp_path / "pack" / "index.jsonl"
    items = [json.loads(line) | {"sample_rate": 16_000} for line in index.open()]
    index.write_text("".join(json.dumps(item) + "\n" for item in items))
    with pytest.raises(ConfigError, match="is at 16000 Hz, the encoder at 22050 Hz"):
        Pack.open(tmp_path / "pack", 22_050)


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
