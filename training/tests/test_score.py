"""The truth about rendered music: beside its pack, damaged files, frames against brute force."""

import json
import math
from pathlib import Path
from typing import Any

import mido
import numpy as np
import pytest
from versions import FONT, a_version, needs_fluidsynth

from musicssl.errors import AudioError, ConfigError
from musicssl_training.data import Pack, write_pack
from musicssl_training.midi.arrange import rewrite
from musicssl_training.midi.parse import beats, sounding, stated_key
from musicssl_training.midi.render import read_score, render, truth
from musicssl_training.midi.score import SCORES, Score
from musicssl_training.midi.synthetic import Sheet
from musicssl_training.midi.theory import DRUMS, FAMILIES
from musicssl_training.targets import score as targets

ROWS = [{"path": str(i)} for i in range(4)]
PROGRAMS = (0, 33, 52, 60, 73, DRUMS)


def a_file(*messages: mido.MetaMessage | mido.Message) -> mido.MidiFile:
    return mido.MidiFile(ticks_per_beat=480, tracks=[mido.MidiTrack(messages)])


def signature(upper: int, lower: int, time: int = 0) -> mido.MetaMessage:
    return mido.MetaMessage("time_signature", numerator=upper, denominator=lower, time=time)


def random_score(seed: int, count: int = 60) -> Score:
    rng = np.random.default_rng(seed)
    onsets = rng.uniform(-1, 4, count)
    rows = (
        onsets,
        onsets + rng.exponential(0.4, count),
        rng.integers(15, 115, count),
        rng.choice(PROGRAMS, count),
        rng.integers(1, 128, count),
    )
    return Score(np.column_stack(rows).astype(np.float32), np.zeros((0, 2), np.float32))


def read(row: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any], Score]:
    return np.full(1000, 0.1, np.float32), {}, random_score(int(row["path"]))


def read_plain(row: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any], None]:
    return np.full(1000, 0.1, np.float32), {}, None


def paths(file: Path) -> list[str]:
    return [json.loads(line)["path"] for line in file.read_text().splitlines()]


@pytest.mark.parametrize("left", ['{"path":"2","notes":[],', "a whole line", ""])
def test_a_killed_pack_goes_on_in_step(tmp_path: Path, left: str) -> None:
    write_pack(ROWS, tmp_path / "whole", read)
    write_pack(ROWS[:3], tmp_path / "killed", read)
    killed = tmp_path / "killed"
    lines = (killed / "index.jsonl").read_text().splitlines(keepends=True)
    (killed / "index.jsonl").write_text("".join(lines[:2]) + lines[2][:9])
    if left != "a whole line":  # killed while the truth was written, or before
        scores = (killed / SCORES).read_text().splitlines(keepends=True)
        (killed / SCORES).write_text("".join(scores[:2]) + left)
    assert write_pack(ROWS, killed, read).recordings == 4
    assert paths(killed / SCORES) == paths(killed / "index.jsonl") == ["0", "1", "2", "3"]
    for name in ("audio.i16", "index.jsonl", SCORES):
        assert (killed / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_truth_is_written_before_the_index(tmp_path: Path) -> None:
    def watch(row: dict[str, Any]) -> Any:
        if row["path"] == "3":
            raise KeyboardInterrupt
        return read(row)

    with pytest.raises(KeyboardInterrupt):
        write_pack(ROWS, tmp_path, watch)
    seen = paths(tmp_path / "index.jsonl")
    assert len(seen) > 0
    assert set(seen) <= set(paths(tmp_path / SCORES))
    assert Pack.open(tmp_path).score(0, 0, 1000) is not None


def test_recordings_have_no_truth_even_if_packing_was_interrupted(tmp_path: Path) -> None:
    def interrupted(row: dict[str, Any]) -> Any:
        if row["path"] == "2":
            raise KeyboardInterrupt
        return read_plain(row)

    with pytest.raises(KeyboardInterrupt):
        write_pack(ROWS, tmp_path, interrupted)
    assert Pack.open(tmp_path).score(0, 0, 1000) is None
    (tmp_path / SCORES).touch()
    write_pack(ROWS, tmp_path, read_plain)
    assert not (tmp_path / SCORES).exists()
    assert Pack.open(tmp_path).score(3, 0, 1000) is None


def test_an_excerpt_of_a_pack_is_cut_at_its_samples(tmp_path: Path) -> None:
    write_pack(ROWS, tmp_path, read)
    pack = Pack.open(tmp_path)
    part, whole = pack.score(1, 22_050, 11_025), random_score(1)
    assert part is not None
    on, off = whole.notes[:, 0], whole.notes[:, 1]
    kept = whole.notes[(on < 1.5) & (off > 1)]
    kept = kept[np.abs(kept[:, 1] - 1) > 2e-3]  # what rounding may have dropped
    assert len(kept) <= len(part.notes) <= len(kept) + 1
    for row in kept:
        place = np.abs(part.notes[:, 0] + 1 - row[0]).argmin()
        np.testing.assert_allclose(part.notes[place, :2] + 1, row[:2], atol=1e-3)
        assert part.notes[place, 2:].tolist() == row[2:].tolist()


def test_a_signature_one_tick_late_makes_no_beat_of_its_own() -> None:
    late = beats(a_file(mido.MetaMessage("text"), signature(3, 4, 1), signature(3, 4, 1440)))
    assert late[:, 1].tolist() == [1, 2, 3, 1]
    assert np.diff(late[:, 0]) == pytest.approx(0.5)
    unknown = beats(a_file(signature(2, 4, 480), mido.MetaMessage("text", time=480)))
    assert unknown[:, 1].tolist() == [0, 1, 2]


def test_a_damaged_signature_leaves_bars_unknown() -> None:
    for damaged in (signature(4, 2**30), signature(0, 4)):
        found = beats(a_file(damaged, mido.MetaMessage("text", time=960)))
        assert found[:, 1].tolist() == [0, 0, 0]


def test_files_without_beats_are_refused(tmp_path: Path) -> None:
    a_file(signature(4, 4)).save(tmp_path / "film.mid")
    data = bytearray((tmp_path / "film.mid").read_bytes())
    for division in (b"\xe7\x28", b"\x00\x00"):  # 25 frames a second; nothing at all
        data[12:14] = division
        (tmp_path / "film.mid").write_bytes(bytes(data))
        with pytest.raises(AudioError, match="SMPTE"):
            read_score(tmp_path / "film.mid")


def test_a_piece_that_changes_its_key_has_none() -> None:
    keys = [mido.MetaMessage("key_signature", key=key, time=480) for key in ("G", "G", "D")]
    row = {"key_signature": "G major", "key_mode_reliable": "1", "key_source_label": ""}
    assert stated_key(a_file(*keys[:2]), row) == 7
    for about in (row, row | {"key_source_label": "G major"}, {}):
        assert stated_key(a_file(*keys), about) == -1


def test_drums_alone_have_no_key() -> None:
    for channel, key in ((0, 9), (9, -1)):
        sheet = Sheet(100, key=4, keyed=True)
        for beat in range(8):
            sheet.add(channel, beat, 0.5, 40, 90)
        played = a_version(shift=5)
        assert truth(sheet.midi(), rewrite(sheet.midi(), played), played, {}).key == key


@pytest.mark.parametrize("shift", [-6, 6])
@pytest.mark.parametrize("key", [0, 5, 11, 12, 23])
def test_the_key_moves_with_the_notes(key: int, shift: int) -> None:
    sheet = Sheet(90, key=key % 12, minor=key >= 12, keyed=True)
    for beat in range(12):
        sheet.add(0, beat, 0.5, 60 + key % 12, 90)
    played = a_version(shift=shift, tempo=0.9)
    found = truth(sheet.midi(), rewrite(sheet.midi(), played), played, {})
    assert found.key % 12 == found.notes[0, 2] % 12
    assert found.key // 12 == key // 12
    assert found.tempo == pytest.approx(90 * 0.9, rel=1e-5)


def test_the_pedal_of_a_version_is_pressed_from_before_its_start() -> None:
    notes = [
        mido.Message("control_change", control=64, value=127),
        mido.Message("note_on", note=60, velocity=80, time=960),
        mido.Message("note_off", note=60, time=240),
        mido.Message("control_change", control=64, value=0, time=720),
    ]
    played = a_version(start=0.5, tempo=2.0)
    found = sounding(rewrite(a_file(*notes), played))
    np.testing.assert_allclose(found[0, :2], [0.25, 0.75], atol=2e-3)


def test_no_tempo_is_known_of_a_file_that_says_none() -> None:
    notes = [mido.Message("note_on", note=60, velocity=v, time=480) for v in (80, 0) * 9]
    played = a_version()
    for said, tempo in (([], math.nan), ([mido.MetaMessage("set_tempo", tempo=400_000)], 150)):
        score = a_file(*said, *notes)
        found = truth(score, rewrite(score, played), played, {})
        assert found.tempo == pytest.approx(tempo, nan_ok=True)
        assert (len(found.beats) == 0) == math.isnan(tempo)


@pytest.mark.parametrize("hop", [0.01, 0.05])
def test_rolls_are_what_one_note_after_the_other_gives(hop: float) -> None:
    frames, scores = round(3 / hop), [random_score(seed) for seed in range(3)]
    kinds = len(FAMILIES) + 1
    expected = [np.zeros((3, frames, size)) for size in (88, 88, kinds, 12)]
    for row, score in enumerate(scores):
        for onset, end, pitch, program, _ in score.notes:
            first, last = (int(np.rint(time / hop)) for time in (onset, end))
            sound = slice(max(first, 0), max(last + 1, 0))
            family = next((i for i, p in enumerate(FAMILIES.values()) if program in p), kinds - 1)
            expected[2][row, sound, family] = 1
            if program == DRUMS:
                continue
            expected[3][row, sound, int(pitch) % 12] = 1
            if 21 <= pitch <= 108:
                expected[0][row, sound, int(pitch) - 21] = 1
                if first >= 0:
                    expected[1][row, first : first + 2, int(pitch) - 21] = 1
    names = (targets.piano_roll, targets.onset_roll, targets.families, targets.chord)
    for name, wanted in zip(names, expected, strict=True):
        assert wanted.any()
        np.testing.assert_array_equal(name(scores, frames, hop).numpy(), wanted)


def test_downbeats_are_beats_and_unknown_without_bars() -> None:
    times = np.arange(-8, 12, 0.6)
    known = np.column_stack([times, np.arange(len(times)) % 3 + 1]).astype(np.float32)
    bare = known * np.array([1, 0], np.float32)
    empty = np.zeros((0, 5), np.float32)
    found = targets.beat_phase([Score(empty, known), Score(empty, bare)], 100, 0.04).numpy()
    assert (found[0, :, 0] >= found[0, :, 1]).all()
    assert found[0, :, 0].mean() == pytest.approx(3 * 0.04 / 0.6, abs=0.02)
    assert found[0, :, 1].mean() == pytest.approx(0.04 / 0.6, abs=0.02)
    assert np.isnan(found[1, :, 1]).all()
    np.testing.assert_array_equal(found[1, :, 0], found[0, :, 0])
    edge = Score(empty, np.array([[-0.04, 1], [4.0, 2]], np.float32))
    assert np.flatnonzero(targets.beat_phase([edge], 100, 0.04)[0, :, 0]).tolist() == [0, 99]


@needs_fluidsynth
def test_energy_rises_where_the_truth_has_onsets(tmp_path: Path) -> None:
    sheet = Sheet(100)
    for beat in range(80):
        sheet.add(9, beat + beat % 3 / 5, 0.2, 37 + beat % 2, 100)
    sheet.midi().save(tmp_path / "uneven.mid")
    late = []
    for seed in range(3):
        audio, facts, score = render(tmp_path / "uneven.mid", [str(FONT)], 22_050, str(seed))
        assert score.tempo == pytest.approx(100 * facts["tempo"], rel=1e-3)
        assert set(score.notes[:, 3]) == {DRUMS}
        level = np.abs(audio[: len(audio) // 110 * 110]).reshape(-1, 110).max(axis=1)  # 5 ms
        for onset in score.notes[:, 0]:
            place = round(float(onset) / 110 * 22_050)
            near = np.log(level[max(0, place - 20) : place + 20] + 1e-3)
            if 0.1 < onset < len(audio) / 22_050 - 0.2:
                late.append((np.diff(near).argmax() - 19) * 5)
    assert len(late) > 60
    assert np.abs(np.median(late)) <= 10
    assert np.mean(np.abs(np.array(late)) <= 15) > 0.95


@pytest.mark.parametrize(
    "line", [b"garbage", b"\xff\xfe\x00", b"[1]", b'{"path": "1"}', b'{"path": "1", "notes": 3}']
)
def test_damaged_scores_name_the_line(line: bytes, tmp_path: Path) -> None:
    write_pack(ROWS, tmp_path, read)
    first, _, *others = (tmp_path / SCORES).read_bytes().splitlines(keepends=True)
    (tmp_path / SCORES).write_bytes(b"".join([first, line + b"\n", *others]))
    with pytest.raises(ConfigError, match=r"scores\.jsonl, line 2, holds what no score does"):
        Pack.open(tmp_path)
