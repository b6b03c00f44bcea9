"""What a MIDI file says, against scores written by hand; exercises say what they are."""

import csv
import json
import math
import random
from pathlib import Path

import mido
import numpy as np
import pytest
from versions import FONT, a_version, needs_fluidsynth

from musicssl.errors import ConfigError
from musicssl_training.data import Pack, write_pack
from musicssl_training.midi.arrange import rewrite
from musicssl_training.midi.meter import confirm_downbeats
from musicssl_training.midi.parse import Clock, beats, meters, sounding, stated_key
from musicssl_training.midi.render import read_score, render, truth
from musicssl_training.midi.score import Score, from_row, merge, read_scores, to_row
from musicssl_training.midi.synthetic import KINDS, Sheet, write_exercises
from musicssl_training.midi.theory import DRUMS, KEYS, parse_key
from musicssl_training.targets import score as targets


def file(*messages: mido.Message | mido.MetaMessage) -> mido.MidiFile:
    """Return a MIDI file of one track, 100 ticks a beat."""
    return mido.MidiFile(ticks_per_beat=100, tracks=[mido.MidiTrack(messages)])


def on(note: int, time: int = 0, channel: int = 0, velocity: int = 90) -> mido.Message:
    return mido.Message("note_on", note=note, time=time, channel=channel, velocity=velocity)


def control(number: int, value: int, time: int = 0) -> mido.Message:
    return mido.Message("control_change", control=number, value=value, time=time)


def a_score(*notes: list[float], **facts: object) -> Score:
    rows = np.array(notes, np.float32).reshape(-1, 5)
    return Score(rows, np.zeros((0, 2), np.float32), **facts)  # type: ignore[arg-type]


def test_notes_end_when_the_key_is_released() -> None:
    change = mido.Message("program_change", program=40)
    found = sounding(
        file(change, on(60), on(64, 100), on(60, 100, velocity=0), on(64, 50, velocity=0))
    )
    np.testing.assert_allclose(found, [[0, 1, 60, 40, 90], [0.5, 1.25, 64, 40, 90]], atol=1e-6)


def test_the_pedal_holds_notes_until_it_is_lifted_or_they_are_struck_again() -> None:
    pressed, lifted = control(64, 127), control(64, 0, 100)
    struck = [on(60), on(60, 20, velocity=0), on(60, 60), on(60, 20, velocity=0)]
    found = sounding(file(pressed, *struck, lifted))
    np.testing.assert_allclose(found[:, :2], [[0, 0.4], [0.4, 1.0]], atol=1e-6)


def test_drums_and_sounds_that_are_cut_off() -> None:
    found = sounding(file(on(38, channel=9), control(123, 0, 100), on(50, 20), control(120, 0, 20)))
    assert found[0, 3] == DRUMS
    np.testing.assert_allclose(found[1, :2], [0.6, 0.7], atol=1e-6)


def test_beats_follow_signatures_and_tempi() -> None:
    signature = mido.MetaMessage("time_signature", numerator=3, denominator=4)
    six = mido.MetaMessage("time_signature", numerator=6, denominator=8, time=300)
    slower = mido.MetaMessage("set_tempo", tempo=1_000_000)
    found = beats(file(signature, six, slower, on(60, 299), on(60, 0, velocity=0)))
    np.testing.assert_allclose(found, [[0, 1], [0.5, 2], [1, 3], [1.5, 1], [3.0, 2]], atol=1e-9)
    unknown = beats(file(on(60, 200)))
    assert unknown[:, 1].tolist() == [0, 0, 0]


def hymn(upbeat: int, bars: int = 12, accents: bool = True) -> mido.MidiFile:
    """Four beats a bar after `upbeat` of them: long, loud and low on the first, a chord a bar."""
    sheet = Sheet(tempo=120, barred=True)
    rng = random.Random(0)
    for beat in range(upbeat + 4 * bars):
        first = (beat - upbeat) % 4 == 0
        if first:
            low = 36 + 5 * ((beat - upbeat) // 4 % 3)
            sheet.add(1, beat, 3.8 if accents else 0.9, low, 90)
        if accents:
            sheet.add(
                0, beat, 1.8 if first else 0.9, rng.choice((60, 64, 67)), 100 if first else 80
            )
        else:
            sheet.add(0, beat, 0.9, rng.choice((60, 64, 67)), rng.randint(70, 90))
            sheet.add(1, beat, 0.9, rng.choice((36, 41, 46)), rng.randint(70, 90))
    return sheet.midi()


@pytest.mark.parametrize("upbeat", [0, 1, 2, 3])
def test_bars_with_an_upbeat_are_unknown_and_never_wrong(upbeat: int) -> None:
    score = hymn(upbeat)
    found = confirm_downbeats(meters(score), sounding(score))
    np.testing.assert_array_equal(found[:, 0], beats(score)[:, 0])
    assert set(found[:, 1]) == ({0} if upbeat else {1, 2, 3, 4})
    played = a_version(start=1.0, seconds=10.0)
    kept = truth(score, rewrite(score, played), played, {})
    assert set(kept.beats[:, 1]) == ({0} if upbeat else {1, 2, 3, 4})
    assert math.isclose(kept.tempo, 120, rel_tol=1e-3)  # beats are known all the same


def test_bars_that_nothing_marks_are_unknown_unless_the_index_vouches_for_them() -> None:
    score = hymn(0, accents=False)
    for notes in (sounding(score), np.zeros((0, 5), np.float32)):
        assert set(confirm_downbeats(meters(score), notes)[:, 1]) == {0}
    played = a_version(seconds=10.0)
    for source, known in (("file", {1, 2, 3, 4}), ("unreliable (counted)", {0}), ("", {0})):
        kept = truth(score, rewrite(score, played), played, {"downbeat_source": source})
        assert set(kept.beats[:, 1]) == known
    vouched = truth(hymn(0), hymn(0), played, {"downbeat_source": "unreliable (counted)"})
    assert set(vouched.beats[:, 1]) == {0}


def test_later_signatures_stand_at_bar_lines() -> None:
    four = mido.MetaMessage("time_signature", numerator=4, denominator=4)
    three = mido.MetaMessage("time_signature", numerator=3, denominator=4, time=800)
    again = four.copy(time=500)
    score = file(four, three, again, on(60, 700), on(60, 0, velocity=0))
    first, second, third = meters(score)
    assert first[:, 1].tolist() == [1, 2, 3, 4] * 2
    assert second[:, 1].tolist() == [1, 2, 3, 1, 2]
    assert third[:, 1].tolist() == [1, 2, 3, 4, 1, 2, 3, 4]
    found = confirm_downbeats([first, second, third], sounding(score))[:, 1].tolist()
    assert found[:8] == [0] * 8  # nothing confirms it
    assert found[8:13] == [0] * 5  # cut within a bar: not counted from a bar line
    assert found[13:] == third[:, 1].tolist()  # the score says where its bars begin


def test_signatures_that_repeat_and_contradict_each_other() -> None:
    four = [
        mido.MetaMessage("time_signature", numerator=4, denominator=4, time=t) for t in (0, 800)
    ]
    again = meters(file(*four, on(60, 800), on(60, 0, velocity=0)))
    assert len(again) == 1  # the second says nothing new
    six = mido.MetaMessage("time_signature", numerator=6, denominator=8)
    two = mido.MetaMessage("time_signature", numerator=2, denominator=4)
    for last, bar in ((six, 2), (two, 2), (four[0], 4)):
        (found,) = meters(file(six, four[0], two, last, on(60, 1200), on(60, 0, velocity=0)))
        assert found[:, 1].max() == bar
        assert len(found) == (9 if last is six else 13)


def test_of_several_tempi_at_one_tick_the_last_counts() -> None:
    slow, fast = (mido.MetaMessage("set_tempo", tempo=tempo) for tempo in (1_000_000, 500_000))
    assert Clock.of(file(slow, fast))(100) == pytest.approx(0.5)
    assert Clock.of(file(fast, slow))(100) == pytest.approx(1.0)


def test_the_clock_follows_changes_of_tempo() -> None:
    clock = Clock.of(file(mido.MetaMessage("set_tempo", tempo=250_000, time=200)))
    assert [clock(tick) for tick in (0, 100, 200, 300)] == [0, 0.5, 1.0, 1.25]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("C major", 0),
        ("Bb major", 10),
        ("F# minor", 18),
        ("Ebm", 15),
        ("Cb", 11),
        ("Eb min", 15),
        ("G maj", 7),
        ("E minor | F major", -1),
        ("", -1),
        ("H", -1),
    ],
)
def test_keys(name: str, number: int) -> None:
    assert parse_key(name) == number
    assert number < 0 or parse_key(KEYS[number], mode_needed=True) == number
    assert parse_key(name[:2], mode_needed=True) == -1


def test_only_keys_that_can_be_trusted() -> None:
    signature = mido.MetaMessage("key_signature", key="D")
    score = file(signature)
    assert stated_key(score, {}) == 2
    assert stated_key(file(signature, mido.MetaMessage("key_signature", key="E")), {}) == -1
    row = {"key_signature": "G major", "key_mode_reliable": "0", "key_source_label": ""}
    assert stated_key(score, row) == -1
    assert stated_key(score, row | {"key_mode_reliable": "1"}) == 7
    assert stated_key(score, row | {"key_source_label": "E minor"}) == 16


def test_a_version_carries_its_truth_along() -> None:
    sheet = Sheet(tempo=120, key=9, minor=True, keyed=True)
    sheet.barred = True
    for beat in range(40):
        sheet.add(0, beat, 0.5, 60, 80 if beat % 4 else 110)
    score = sheet.midi()
    played = a_version(start=2.0, seconds=10.0, tempo=1.25, shift=4)
    found = truth(score, rewrite(score, played), played, {})
    assert found.key == 12 + 1  # C sharp minor
    assert found.tempo == pytest.approx(150)
    assert set(found.notes[:, 2]) == {64}
    np.testing.assert_allclose(np.diff(found.notes[:, 0]), 0.4, atol=2e-3)
    downbeats = found.beats[found.beats[:, 1] == 1, 0]
    assert len(downbeats) > 5
    np.testing.assert_allclose(downbeats / 1.6, np.rint(downbeats / 1.6), atol=1e-5)
    unsure = truth(score, rewrite(score, played), played, {"tempo_source": "unreliable (MUS)"})
    assert math.isnan(unsure.tempo)
    assert len(unsure.beats) == 0


def test_cut_within_and_merge() -> None:
    score = a_score([0, 2, 60, 0, 90], [3, 4, 62, 0, 90], [9, 10, 64, 0, 90], tempo=100.0, key=5)
    cut = score.cut(1.0, 3.0)
    np.testing.assert_allclose(cut.notes[:, :2], [[-1, 1], [2, 3]])
    assert (cut.tempo, cut.key) == (100, 5)
    assert score.within(0.0, 10.0) is score
    part = score.within(1.0, 3.5)
    np.testing.assert_allclose(part.notes[:, :2], [[1, 2], [3, 3.5]])
    assert part.key == -1
    drone = a_score([0, 9, 60, 0, 90], key=5).within(0.0, 2.5)
    np.testing.assert_allclose(drone.notes[:, :2], [[0, 2.5]])
    assert drone.key == -1
    both = merge(score, a_score([1, 2, 40, 33, 90], key=5))
    assert len(both.notes) == 4
    assert both.key == 5
    assert merge(score, a_score(key=6)).key == -1


def test_scores_survive_json_and_packs_keep_them(tmp_path: Path) -> None:
    score = a_score([0.1234, 2, 60, 0, 90], key=3)
    again = from_row(json.loads(json.dumps(to_row(score))))
    np.testing.assert_allclose(again.notes, score.notes, atol=1e-3)
    assert math.isnan(again.tempo)
    rows = [{"path": f"{i}", "source": "s", "licence": "CC0"} for i in range(3)]

    def read(row):  # type: ignore[no-untyped-def]
        return np.full(30_000, 0.1, np.float32), {}, a_score([0.5, 1, 60 + int(row["path"]), 0, 1])

    write_pack(rows[:2], tmp_path, read)
    with (tmp_path / "scores.jsonl").open("a") as scores:
        scores.write('{"path": "2", "no')  # as a kill leaves it
    write_pack(rows, tmp_path, read)
    pack = Pack.open(tmp_path)
    pitches = [pack.score(item, 0, 22_050).notes[0, 2] for item in range(3)]  # type: ignore[union-attr]
    assert pitches == [60, 61, 62]
    (tmp_path / "scores.jsonl").write_text("")
    with pytest.raises(ConfigError, match="lacks 0"):
        read_scores(tmp_path, rows)
    with pytest.raises(ConfigError, match=r"holds no scores\.jsonl"):
        read_scores(tmp_path / "elsewhere", rows)


def test_packs_of_older_versions_do_not_say_where_bars_begin(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    beat = np.array([[0.0, 1], [0.5, 2]], np.float32)
    row = {"path": "a"} | to_row(Score(np.zeros((0, 5), np.float32), beat, 120.0))
    for format, places in ((2, [1, 2]), (None, [0, 0])):
        caplog.clear()
        kept = row if format else {key: row[key] for key in row if key != "format"}
        (tmp_path / "scores.jsonl").write_text(json.dumps(kept) + "\n")
        (score,) = read_scores(tmp_path, [{"path": "a"}])
        assert score.beats[:, 1].tolist() == places
        assert score.beats[:, 0].tolist() == [0, 0.5]
        assert ("taken to be unknown" in caplog.text) == (format is None)
        assert targets.beat_phase([score], 6, 0.1)[0, :, 1].isnan().all() == (format is None)
    (tmp_path / "scores.jsonl").write_text(json.dumps(row | {"format": 3}) + "\n")
    with pytest.raises(ConfigError, match="has format 3, this version reads up to 2"):
        read_scores(tmp_path, [{"path": "a"}])


def test_rolls_of_a_score() -> None:
    score = Score(
        np.array(
            [[0.1, 0.3, 69, 0, 90], [-1, 0.1, 60, 40, 90], [0.2, 0.3, 38, DRUMS, 90]], np.float32
        ),
        np.array([[0.0, 1], [0.3, 2]], np.float32),
    )
    roll = targets.piano_roll([score], 6, 0.1)[0]
    assert roll[:, 69 - 21].tolist() == [0, 1, 1, 1, 0, 0]
    assert roll[:, 60 - 21].tolist() == [1, 1, 0, 0, 0, 0]
    assert roll.sum() == 5
    assert targets.onset_roll([score], 6, 0.1)[0].nonzero().tolist() == [[1, 48], [2, 48]]
    played = targets.families([score], 6, 0.1)[0]
    assert played[:, -1].tolist() == [0, 0, 1, 1, 0, 0]
    assert played[2].sum() == 2
    assert targets.chord([score], 6, 0.1)[0][:, 9].tolist() == [0, 1, 1, 1, 0, 0]
    assert targets.beat_phase([score], 6, 0.1)[0].T.tolist() == [
        [1, 1, 1, 1, 1, 0],
        [1, 1, 0, 0, 0, 0],
    ]
    nobody = a_score()
    assert targets.beat_phase([nobody], 3, 0.1).isnan().all()
    assert targets.key([score, nobody]).tolist() == [-1, -1]


@needs_fluidsynth
def test_rendered_notes_begin_where_the_truth_says(tmp_path: Path) -> None:
    sheet = Sheet(tempo=60)
    for beat in range(45):
        sheet.add(9, beat, 0.3, 37, 110)
    sheet.midi().save(tmp_path / "clicks.mid")
    audio, _, score = render(tmp_path / "clicks.mid", [str(FONT)], 22_050, "1")
    level = np.abs(audio)
    for onset in score.notes[score.notes[:, 0] < len(audio) / 22_050 - 0.1, 0]:
        place = round(float(onset) * 22_050)
        before = level[max(0, place - 1100) : max(1, place - 200)].max()
        assert level[place : place + 900].max() > 5 * before


def test_exercises_repeat_and_say_what_they_are(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert write_exercises(tmp_path / name, 40, seed=1) == 40
    with (tmp_path / "a" / "index.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["group"].rsplit("-", 1)[0] for row in rows} == set(KINDS)
    for row in rows:
        data = (tmp_path / "a" / row["path"]).read_bytes()
        assert data == (tmp_path / "b" / row["path"]).read_bytes()
        score = read_score(tmp_path / "a" / row["path"])
        notes = sounding(score)
        assert len(notes) > 5
        if row["group"].startswith("hits"):
            assert set(notes[:, 3]) == {DRUMS}
            assert len(set(notes[:, 2])) == 1
            assert np.diff(notes[:, 0]).min() > 0.9  # alone
        if row["key_signature"]:
            assert stated_key(score, {}) == stated_key(score, row) >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_exercise_is_in_range(kind: str) -> None:
    write, _, slowest, _ = KINDS[kind]
    for seed in range(5):
        sheet = Sheet(slowest, seed, seed % 2 == 0)
        write(sheet, random.Random(seed))
        notes = sounding(sheet.midi())
        assert 20 <= notes[:, 2].min() <= notes[:, 2].max() <= 108
        assert notes[:, 1].max() > 30
