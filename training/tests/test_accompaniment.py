"""Band accompaniments: charts, the library's grooves, solos, and what the index says."""

import csv
import random
import shutil
from pathlib import Path

import mido
import pytest

from musicssl.errors import ConfigError, DependencyError
from musicssl_training.midi import accompaniment
from musicssl_training.midi.accompaniment import (
    Groove,
    add_solo,
    find_grooves,
    improvise,
    play,
    style_of,
    write_accompaniments,
    write_chart,
)
from musicssl_training.midi.arrange import choose_version
from musicssl_training.midi.charts import QUALITIES, STYLES, Chart, Chord, draw_chart
from musicssl_training.midi.theory import MAJOR, MINOR, parse_key

needs_mma = pytest.mark.skipif(shutil.which("mma") is None, reason="mma is not here")
LIBRARY = """
Time {time}
TimeSig {signature}
Begin Chord
    Sequence {{1 4 90}}
End
DefGroove Rumba Main
  DefGroove RumbaSus  with strings
DefGroove RumbaIntro  four bars
DefGroove rumbaFA
"""


@pytest.mark.parametrize("style", STYLES)
def test_charts_of_every_style(style: str) -> None:
    for seed in range(20):
        chart = draw_chart(style, 4, 40, random.Random(seed))
        assert chart == draw_chart(style, 4, 40, random.Random(seed))
        assert len(chart.bars) * 4 * 60 / chart.tempo >= 40
        assert chart.bars[-1][0].root == chart.tonic
        chords = [chord for bar in chart.bars for chord in bar]
        assert {chord.quality for chord in chords} <= set(QUALITIES)
        key = parse_key(chart.key, mode_needed=True)
        assert key == chart.tonic + 12 * chart.minor
        scale = {(chart.tonic + step) % 12 for step in (MINOR if chart.minor else MAJOR)}
        inside = sum(len(scale & set(chord.classes)) for chord in chords)
        assert inside > 0.55 * sum(len(chord.classes) for chord in chords)


def test_grooves_of_a_library(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="apt-get install mma"):
        find_grooves([tmp_path / "none"])
    (tmp_path / "stdlib").mkdir()
    for name, time, signature in (
        ("rhumba", "4", "4 4"),
        ("countrywaltz", "3", "3 4"),
        ("68swing", "6", "6 8"),
        ("jazz-54", "5", "5 4"),
        ("unheard-of", "4", "4 4"),
    ):
        text = LIBRARY.format(time=time, signature=signature)
        (tmp_path / "stdlib" / f"{name}.mma").write_text(text)
    drums = LIBRARY.format(time="4", signature="4 4").replace("Chord", "Drum")
    (tmp_path / "stdlib/rock.mma").write_text(drums)
    assert find_grooves([tmp_path / "none", tmp_path]) == [
        Groove("stdlib/countrywaltz", "Rumba", "waltz", 3),
        Groove("stdlib/countrywaltz", "RumbaSus", "waltz", 3),
        Groove("stdlib/rhumba", "Rumba", "latin", 4),
        Groove("stdlib/rhumba", "RumbaSus", "latin", 4),
    ]


def test_styles_of_names() -> None:
    names = ("heavymetal", "jazzbossa", "countryblues", "rockballad", "rb-ballad", "discosoul")
    assert [style_of(name) for name in names] == (
        ["metal", "latin", "blues", "ballad", "ballad", "soul"]
    )
    assert style_of("metronome68") == ""
    assert {style for _, style in accompaniment.WORDS} == set(STYLES)


def test_a_chart_as_mma_reads_it() -> None:
    bars = [(Chord(2, "m7"), Chord(7, "13")), (Chord(0, "M7"),)] * 5
    chart = Chart(0, False, 120, 4, tuple(bars))
    grooves = [Groove("stdlib/son", "Son", "latin", 4), Groove("stdlib/son", "Son2", "latin", 4)]
    lines = write_chart(chart, grooves, 7).splitlines()
    assert lines[:5] == ["RndSeed 7", "Tempo 120", "Use stdlib/son", "Groove Son", "TimeSig 4 4"]
    assert lines[5:7] == ["1 Dm7 / G13", "2 CM7"]
    assert lines[13:16] == ["Groove Son2", "TimeSig 4 4", "9 Dm7 / G13"]
    assert [str(chart.chord_at(beat)) for beat in (0, 1.5, 2, 3.5, 4, 99)] == (
        ["Dm7", "Dm7", "G13", "G13", "CM7", "CM7"]
    )
    three = write_chart(Chart(0, False, 90, 3, (bars[0],)), grooves[:1], 0)
    assert "1 Dm7 / G13" in three


@pytest.mark.parametrize("swing", [False, True])
def test_solos_play_the_chords_on_beats(swing: bool) -> None:
    chart = draw_chart("jazz", 4, 60, random.Random(3))
    notes = improvise(chart, swing, random.Random(0))
    assert len(notes) > 30
    late = 2 / 3 if swing else 1 / 2
    for (beat, length, pitch), after in zip(notes, [*notes[1:], (1e9, 0, 0)], strict=True):
        assert beat + length <= after[0]
        if beat % 1 == 0:
            assert pitch % 12 in chart.chord_at(beat).classes
        else:
            assert beat % 1 == pytest.approx(late)
        assert 55 <= pitch <= 86


def band(*channels: int) -> mido.MidiFile:
    file = mido.MidiFile()
    for channel in channels:
        on = mido.Message("note_on", channel=channel, note=40, velocity=90)
        file.tracks.append(mido.MidiTrack([on, on.copy(velocity=0, time=60_000)]))
    return file


def test_soloists_have_a_channel_of_their_own() -> None:
    chart = draw_chart("rock", 4, 20, random.Random(0))
    file = band(0, 9, 15)
    add_solo(file, chart, "rock", random.Random(0))
    assert {event.channel for event in file.tracks[3]} == {1}
    full = band(*range(16))
    add_solo(full, chart, "rock", random.Random(0))
    assert len(full.tracks) == 16


def test_the_index_says_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grooves = [Groove("a/rock", "Rock", "rock", 4), Groove("a/waltz", "Waltz", "waltz", 3)]
    monkeypatch.setattr(accompaniment, "find_grooves", lambda: grooves)
    charts = []

    def played(text: str, file: Path) -> mido.MidiFile:
        charts.append(text)
        band(0).save(file)
        return band(0)

    monkeypatch.setattr(accompaniment, "play", played)
    monkeypatch.setattr(accompaniment, "find_mma", lambda: "mma")
    assert sum(write_accompaniments(tmp_path, 12, 5).values()) == 12
    with (tmp_path / "index.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["style"] for row in rows} == {"rock", "waltz"}
    for row, text in zip(rows, charts, strict=True):
        assert (tmp_path / row["path"]).is_file()
        assert row["time_signature"] == ("3/4" if row["style"] == "waltz" else "4/4")
        assert f"Tempo {row['tempo_bpm']}\n" in text
        assert parse_key(row["key_source_label"], mode_needed=True) >= 0
        known = ("tempo_source", "downbeat_source", "program_source")
        assert {row[column] for column in known} == {"file"}
    assert {len(mido.MidiFile(tmp_path / row["path"]).tracks) for row in rows} == {1, 2}


def test_instruments_stay_as_written_where_the_index_says_so() -> None:
    seeds = range(10)
    assert any(choose_version(band(0), ["f"], random.Random(seed)).programs for seed in seeds)
    for seed in seeds:
        version = choose_version(band(0), ["f"], random.Random(seed), as_written=True)
        assert version.programs == {}


def test_without_mma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DependencyError, match="apt-get install mma"):
        play("", tmp_path / "a.mid")
    (tmp_path / "index.csv").write_text("of an earlier run")
    with pytest.raises(DependencyError, match="apt-get install mma"):
        write_accompaniments(tmp_path, 1)
    assert [file.name for file in tmp_path.iterdir()] == ["index.csv"]
    assert (tmp_path / "index.csv").read_text() == "of an earlier run"


@needs_mma
def test_mma_plays_charts_and_refuses_what_are_none(tmp_path: Path) -> None:
    groove = next(g for g in find_grooves() if g.name == "BossaNova")
    chart = Chart(0, False, 120, 4, ((Chord(0, "M7"),),) * 4)
    file = play(write_chart(chart, [groove], 1), tmp_path / "a.mid")
    assert 7 < file.length < 9
    assert {e.channel for track in file.tracks for e in track if hasattr(e, "channel")} > {9}
    with pytest.raises(ConfigError, match="MMA makes nothing of it"):
        play("Groove None\n1 X\n", tmp_path / "b.mid")
