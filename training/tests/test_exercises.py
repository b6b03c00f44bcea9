"""Exercises: what their notes say agrees with the tempo, key and kind that they state."""

import csv
import random
from pathlib import Path

import mido
import numpy as np
import pytest

from musicssl_training.midi import synthetic as exercises
from musicssl_training.midi.parse import beats, sounding, stated_key
from musicssl_training.midi.synthetic import (
    GROOVES,
    KINDS,
    PROGRESSIONS,
    QUALITIES,
    RANGES,
    Sheet,
    write_exercises,
)
from musicssl_training.midi.theory import DRUMS, FAMILIES, MAJOR, MINOR, SIGNATURES, parse_key

SEEDS = range(6)


def written(kind: str, seed: int) -> Sheet:
    write, _, slowest, fastest = KINDS[kind]
    rng = random.Random(seed)
    sheet = Sheet(rng.uniform(slowest, fastest), seed % 12, seed % 2 == 0)
    write(sheet, rng)
    return sheet


def simultaneous(notes: np.ndarray) -> list[np.ndarray]:
    """Return the notes that begin together."""
    notes = notes[np.argsort(notes[:, 0], kind="stable")]
    return np.split(notes, np.flatnonzero(np.diff(notes[:, 0]) > 0.01) + 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_every_kind_says_its_tempo_metre_and_programs(kind: str, seed: int) -> None:
    sheet = written(kind, seed)
    midi = sheet.midi()
    events = [event for track in midi.tracks for event in track]
    assert 40 < midi.length < 70
    (tempo,) = [event.tempo for event in events if event.type == "set_tempo"]
    assert mido.tempo2bpm(tempo) == pytest.approx(sheet.tempo, rel=1e-4)
    places = beats(midi)
    np.testing.assert_allclose(np.diff(places[:, 0]), 60 / sheet.tempo, rtol=1e-4)
    barred = kind in ("drums", "band")  # nothing sounds the bars of the others
    np.testing.assert_array_equal(places[:, 1], barred * (np.arange(len(places)) % 4 + 1))
    melodic = {event.channel for event in events if event.type == "note_on"} - {9}
    assert {event.channel for event in events if event.type == "program_change"} == melodic
    names = {event.key for event in events if event.type == "key_signature"}
    assert {parse_key(name) for name in names} == (
        {sheet.key + 12 * sheet.minor} if sheet.keyed else set()
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_notes_lie_in_the_key_that_is_stated(kind: str, seed: int) -> None:
    sheet = written(kind, seed)
    notes = sounding(sheet.midi())
    notes = notes[notes[:, 3] != DRUMS]
    if sheet.keyed:
        scale = {(sheet.key + step) % 12 for step in (MINOR if sheet.minor else MAJOR)}
        assert {int(pitch) % 12 for pitch in notes[:, 2]} <= scale


@pytest.mark.parametrize("kind", ["single-notes", "hits"])
@pytest.mark.parametrize("seed", SEEDS)
def test_lone_sounds_are_alone(kind: str, seed: int) -> None:
    notes = sounding(written(kind, seed).midi())
    assert (notes[1:, 0] - notes[:-1, 1]).min() > 0.25
    assert len(set(notes[:, 3])) == 1
    assert 30 <= notes[:, 4].min() <= notes[:, 4].max() <= 127
    if kind == "hits":
        assert len(set(notes[:, 2])) == 1
        assert 35 <= notes[0, 2] <= 81
    else:
        (family,) = [name for name in RANGES if int(notes[0, 3]) in FAMILIES[name]]
        low, high = RANGES[family]
        assert low <= notes[:, 2].min() <= notes[:, 2].max() <= high


@pytest.mark.parametrize("seed", range(20))
def test_chords_are_inversions_of_what_they_are(seed: int) -> None:
    sheet = written("chords", seed)
    chords = [
        frozenset(int(pitch) % 12 for pitch in chord[:, 2])
        for chord in simultaneous(sounding(sheet.midi()))
    ]
    shapes = {
        frozenset((root + interval) % 12 for interval in quality)
        for quality in QUALITIES
        for root in range(12)
    }
    assert set(chords) <= shapes
    if sheet.keyed:
        scale = MINOR if sheet.minor else MAJOR
        triads = [
            frozenset((sheet.key + scale[(step + third) % 7]) % 12 for third in (0, 2, 4))
            for step in range(7)
        ]
        steps = [triads.index(chord) for chord in chords]
        assert tuple(steps[:4]) in PROGRESSIONS
        assert tuple(steps[4:8]) in PROGRESSIONS


def test_chords_have_every_quality_and_inversion() -> None:
    seen = set()
    for seed in range(40):
        for chord in simultaneous(sounding(written("chords", seed).midi())):
            pitches = sorted(int(pitch) for pitch in chord[:, 2])
            seen.add(tuple(pitch - pitches[0] for pitch in pitches))
    for quality in QUALITIES:
        for turn in range(3):
            turned = sorted([*quality[turn:], *(interval + 12 for interval in quality[:turn])])
            assert tuple(interval - turned[0] for interval in turned) in seen


@pytest.mark.parametrize("name", GROOVES)
def test_grooves_are_played_as_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    groove = GROOVES[name]
    monkeypatch.setattr(exercises, "GROOVES", {name: groove})
    assert all(0 <= place < 16 for places in groove.values() for place in places)
    sheet = Sheet(120)
    KINDS["drums"][0](sheet, random.Random(1))
    hits = {(round(4 * beat - 0.2), pitch) for beat, _, pitch, _ in sheet.parts[9]}
    first_bar = {(place, drum) for drum, places in groove.items() for place in places}
    assert first_bar <= hits
    fill = {place for place, _ in hits if 7 * 16 + 8 <= place < 8 * 16}
    assert fill == set(range(7 * 16 + 8, 8 * 16))
    toms = {pitch for place, pitch in hits if place in fill}
    assert toms == {50, 48, 45, 41}


@pytest.mark.parametrize("seed", range(12))
def test_only_every_second_sixteenth_swings(seed: int) -> None:
    sixteenths = np.array([4 * beat for beat, *_ in written("drums", seed).parts[9]])
    late = sixteenths - np.floor(sixteenths + 1e-6)
    odd = np.floor(sixteenths + 1e-6) % 2 == 1
    assert late[~odd].max() < 1e-6
    assert np.isclose(late[odd], 0, atol=1e-6).all() or late[odd].max() == pytest.approx(0.32)


@pytest.mark.parametrize("seed", SEEDS)
def test_bands_have_drums_bass_chords_and_a_melody(seed: int) -> None:
    sheet = written("band", seed)
    assert set(sheet.parts) == {0, 1, 2, 9}
    assert sheet.programs[0] in FAMILIES["bass"]
    medians = [np.median([note[2] for note in sheet.parts[part]]) for part in (0, 1, 2)]
    assert medians[0] < min(medians[1:])


def test_the_index_agrees_with_the_files(tmp_path: Path) -> None:
    assert write_exercises(tmp_path, 60, seed=3) == 60
    with (tmp_path / "index.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    there = sorted(path.name for path in (tmp_path / "exercises").iterdir())
    assert [row["path"] for row in rows] == [f"exercises/{name}" for name in there]
    assert {(row["source"], row["licence"]) for row in rows} == {("exercises", "CC0 1.0")}
    assert len({row["group"] for row in rows}) == 60
    for row in rows:
        midi = mido.MidiFile(tmp_path / row["path"])
        assert stated_key(midi, row) == (stated_key(midi, {}) if row["key_signature"] else -1)
        lone = row["group"].startswith(("single-notes", "hits"))
        assert row["tempo_source"] == ("unreliable" if lone else "file")


def test_another_seed_is_another_collection(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_exercises(tmp_path / str(seed), 5, seed)
    data = [
        b"".join(path.read_bytes() for path in sorted((tmp_path / seed).glob("*/*.mid")))
        for seed in "01"
    ]
    assert data[0] != data[1]


@pytest.mark.parametrize("key", range(12))
@pytest.mark.parametrize("minor", [False, True])
def test_degrees_climb_the_scale(key: int, minor: bool) -> None:
    sheet = Sheet(100, key, minor)
    pitches = [sheet.degree(step, 48) for step in range(15)]
    assert pitches[0] in range(48, 60)
    assert pitches[0] % 12 == key == parse_key(SIGNATURES[key])
    assert pitches[7] - pitches[0] == pitches[14] - pitches[7] == 12
    assert np.diff(pitches).min() >= 1
    assert np.diff(pitches).max() <= (3 if minor else 2)  # harmonic minor has a step of three
