"""Labelled music among what an encoder is trained on is found, by sound, by tune and by name."""

import functools
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

from musicssl_training.cli.main import main
from musicssl_training.data import write_pack
from musicssl_training.evaluation.leakage.fingerprint import (
    SAMPLE_RATE as RATE,
)
from musicssl_training.evaluation.leakage.fingerprint import (
    UNCHANGED,
    LandmarkIndex,
    find_landmarks,
)
from musicssl_training.evaluation.leakage.melody import LENGTH, interval_ngrams
from musicssl_training.midi.score import Score
from musicssl_training.midi.theory import DRUMS

PER_SECOND = 3  # notes


def tune(seed: int, seconds: float, *, pitch: float = 1.0, tempo: float = 1.0) -> np.ndarray:
    """Notes with overtones, each of its own pitch and length.

    As a tape that runs faster plays them if `pitch` and `tempo` are the same factor.
    """
    random = np.random.default_rng(seed)
    out = np.zeros(round(seconds / tempo * RATE), np.float32)
    for begin in random.uniform(0, seconds - 0.5, round(seconds * PER_SECOND)):
        t = np.arange(round(random.uniform(0.2, 0.5) / tempo * RATE)) / RATE
        hertz = pitch * 110 * 2 ** (random.integers(36) / 12)
        wave = sum(np.sin(2 * np.pi * k * hertz * t) / k for k in range(1, 6))
        note = wave * np.exp(-4 * tempo * t)
        start = round(begin / tempo * RATE)
        out[start : start + len(t)] += 0.1 * note[: len(out) - start]
    return out


def test_a_clip_is_found_where_it_lies_however_it_was_cut_and_coded(tmp_path: Path) -> None:
    whole = tune(0, 60)
    cut = round(20.013 * RATE)
    sf.write(tmp_path / "clip.ogg", 0.4 * whole[cut : cut + 10 * RATE], RATE)
    coded, _ = sf.read(tmp_path / "clip.ogg", dtype="float32")
    others = [find_landmarks(tune(seed, 10)) for seed in range(1, 6)]
    index = LandmarkIndex([*others, find_landmarks(coded)])
    assert not index.too_few.any()
    (match,) = index.match(find_landmarks(whole))
    assert match.clip == 5
    assert match.change == UNCHANGED
    assert match.share > 0.1
    assert match.second == pytest.approx(20.013, abs=0.05)


def test_silence_and_short_sounds_are_found_nowhere() -> None:
    quiet = find_landmarks(np.zeros(RATE, np.float32))
    index = LandmarkIndex([quiet, find_landmarks(tune(0, 1)[:2000])])
    assert index.too_few.all()
    assert index.match(find_landmarks(tune(0, 20))) == []
    assert index.match(quiet) == []


@functools.cache
def five_tunes() -> LandmarkIndex:
    return LandmarkIndex([find_landmarks(tune(seed, 30)) for seed in range(5)])


@pytest.mark.parametrize("factor", [2 ** (-1 / 12), 1.0131, 2 ** (1 / 12)])
@pytest.mark.parametrize("stretched", [False, True])
def test_a_clip_is_found_at_another_speed(factor: float, stretched: bool) -> None:
    pitch = 1.0 if stretched else factor
    played = tune(3, 30, pitch=pitch, tempo=factor)
    before = np.zeros(4 * RATE, np.float32)
    (match,) = five_tunes().match(find_landmarks(np.concatenate([before, played])))
    assert match.clip == 3
    assert match.second == pytest.approx(4, abs=0.1)
    assert match.change.pitch == pytest.approx(pitch, abs=0.003)
    assert match.change.tempo == pytest.approx(factor, abs=0.003)
    assert ("tempo" if stretched else "speed") in str(match.change)


def test_other_tunes_are_found_at_no_speed() -> None:
    assert five_tunes().match(find_landmarks(tune(9, 60))) == []


def labelled(root: Path, clip: np.ndarray, artist: str) -> None:
    """A folder as Emotify's with one clip."""
    root.mkdir(parents=True)
    sf.write(root / "1.wav", clip, RATE)
    emotions = (
        "amazement,solemnity,tenderness,nostalgia,calmness,power,joyful_activation,tension,sadness"
    )
    shares = ",".join("0.5" for _ in emotions.split(","))
    (root / "items.csv").write_text(f"path,genre,artist,{emotions}\n1.wav,rock,{artist},{shares}\n")


@pytest.mark.parametrize(
    ("clip", "artist", "why"),
    [
        (tune(0, 30)[5 * RATE : 15 * RATE], "nobody", "of its fingerprint, from 5.0 s"),
        (tune(0, 30, pitch=1.03, tempo=1.03), "nobody", "of its fingerprint at 0.970 x its speed"),
        (tune(7, 10), "the  band", "artist 'the  band'"),
        (tune(7, 10), "nobody", ""),
    ],
)
def test_the_command_lists_what_is_in_both(
    clip: np.ndarray, artist: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sf.write(tmp_path / "a.flac", tune(0, 30), RATE)
    (tmp_path / "index.csv").write_text("path,source,licence,artist\na.flac,s,CC0,The Band\n")
    assert main(["pack", str(tmp_path / "index.csv"), str(tmp_path / "pack")]) == 0
    labelled(tmp_path / "emotify", clip, artist)
    code = main(["overlap", str(tmp_path / "pack"), "--data", str(tmp_path)])
    said, error = capsys.readouterr()
    if not why:
        assert code == 0
        assert said == "no overlap found: 1 recordings compared with 1 labelled clips (emotify)\n"
        return
    assert code == 2
    assert "labelled music is in the corpus, 1 match:\nemotify/1.wav: " in error
    assert why in error
    assert error.rstrip().endswith("of pack/a.flac")


def melody(seed: int, notes: int = 40) -> np.ndarray:
    """Pitches of which each differs from the one before."""
    random = np.random.default_rng(seed)
    return 60 + np.cumsum(random.choice([-4, -3, -2, -1, 1, 2, 3, 4], notes))


def part(pitches: np.ndarray, program: int, beat: float = 0.5, loose: float = 0.0) -> np.ndarray:
    """One note after the other, up to `loose` seconds early or late and legato, as a `Score`'s."""
    random = np.random.default_rng(len(pitches))
    onsets = beat * np.arange(len(pitches)) + random.uniform(-loose, loose, len(pitches))
    columns = (onsets, onsets + beat + loose, pitches, 0 * pitches + program, 0 * pitches + 90)
    return np.stack(columns, 1).astype(np.float32)


def played(*parts: np.ndarray) -> Score:
    return Score(np.concatenate(parts), np.zeros((0, 2), np.float32))


def test_a_tune_is_the_same_in_any_key_at_any_speed_among_other_voices() -> None:
    pitches = melody(0)
    plain = interval_ngrams(played(part(pitches, 73)))
    assert len(plain) == len(pitches) - LENGTH
    lower = part(melody(1, 20) - 30, 0, 0.6)
    hymn = played(part(pitches + 5, 0, 0.3, 0.01), part(pitches - 7, 0, 0.3, 0.01), lower)
    assert plain <= interval_ngrams(hymn)
    bass = played(part(pitches - 24, 32), part(melody(2), 32), part(melody(3), DRUMS))
    assert plain <= interval_ngrams(bass)
    assert not plain & interval_ngrams(played(part(melody(4), 73), part(pitches, DRUMS)))


def test_scales_and_figures_are_no_tune() -> None:
    scale, figure = np.arange(40, 90), np.tile([60, 64, 67, 72], 10)
    assert (
        interval_ngrams(played(part(scale, 0))) == interval_ngrams(played(part(figure, 0))) == set()
    )
    assert (
        interval_ngrams(played(part(melody(0, LENGTH), 0)))
        == interval_ngrams(played(part(melody(0, 0), 0)))
        == set()
    )


@pytest.mark.parametrize(("seed", "found"), [(0, True), (5, False)])
def test_the_command_finds_a_tune_by_the_scores_of_packs(
    seed: int,
    found: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def read(row: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any], Score]:
        return tune(row["sound"], 21), {}, row.pop("score")

    def pack(name: str, *rows: tuple[str, int, Score]) -> Path:
        keys = {"source": "s", "licence": "CC0", "sample_rate": RATE}
        named = [
            {"path": path, "group": path[0], "sound": sound, "score": score} | keys
            for path, sound, score in rows
        ]
        write_pack(named, tmp_path / name, read)
        return tmp_path / name

    air = part(melody(0), 40)
    pack(
        "data/rendered",
        ("a.mid", 1, played(air)),
        ("b.mid", 2, played(part(melody(1), 40))),
        ("b2.mid", 3, played(part(melody(1) + 1, 41))),
        ("c.mid", 4, played(part(melody(1)[:20], 42))),
    )
    corpus = pack("corpus", ("x.mid", 5, played(part(melody(seed) - 3, 0, 0.3))))
    with caplog.at_level(logging.WARNING):
        code = main(["overlap", str(corpus), "--data", str(tmp_path / "data")])
    assert caplog.messages.count("rendered: groups b and c have a tune in common") == 1
    error = capsys.readouterr().err
    assert code == (2 if found else 0)
    line = "1 match:\nrendered/a.mid: a tune (24 of 24 runs of 16 intervals) of corpus/x.mid"
    assert (line in error) is found
