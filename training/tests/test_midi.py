import random
from pathlib import Path

import mido
import numpy as np
import pytest
from versions import FONT, needs_fluidsynth

from musicssl.errors import AudioError, ConfigError, DependencyError
from musicssl_training.cli.main import main
from musicssl_training.midi import render as midi
from musicssl_training.midi.arrange import Version, choose_version, rewrite, timed_parts
from musicssl_training.midi.parse import sounding, stated_key


def score() -> mido.MidiFile:
    """Two melodic parts on one channel each, and drums; 120 beats a minute, then 60."""
    out = mido.MidiFile(ticks_per_beat=100)
    tempo = mido.MidiTrack([mido.MetaMessage("set_tempo", tempo=500_000)])
    tempo.append(mido.MetaMessage("set_tempo", tempo=1_000_000, time=400))
    out.tracks.append(tempo)
    for channel, pitch in ((0, 60), (0, 40), (9, 38)):
        track = mido.MidiTrack([mido.Message("program_change", channel=channel, program=0)])
        for _ in range(8):
            track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=90))
            track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=0, time=100))
        out.tracks.append(track)
    return out


def version(**changes: object) -> Version:
    plain = {
        "start": 0.0,
        "seconds": 99.0,
        "tempo": 1.0,
        "shift": 0,
        "programs": {},
        "volumes": {},
        "font": "",
        "gain": 0.5,
        "reverb": False,
    }
    return Version(**(plain | changes))  # type: ignore[arg-type]


def notes(file: mido.MidiFile) -> list[tuple[float, int, int]]:
    """Return (second, channel, pitch) of every note."""
    out, second = [], 0.0
    for event in file:
        second += event.time
        if event.type == "note_on" and event.velocity:
            out.append((round(second, 3), event.channel, event.note))
    return sorted(out)


def test_as_written() -> None:
    out = notes(rewrite(score(), version()))
    beats = [0, 0.5, 1, 1.5, 2, 3, 4, 5]
    assert sorted({second for second, _, _ in out}) == beats
    assert {(channel, pitch) for _, channel, pitch in out} == {(0, 60), (1, 40), (9, 38)}


def test_transposition_spares_drums() -> None:
    out = notes(rewrite(score(), version(shift=5)))
    assert {(channel, pitch) for _, channel, pitch in out} == {(0, 65), (1, 45), (9, 38)}


def test_tempo_and_crop() -> None:
    out = notes(rewrite(score(), version(start=0.9, seconds=2.2, tempo=2.0)))
    assert sorted({second for second, _, _ in out}) == [0.05, 0.3, 0.55, 1.05]


def test_instruments() -> None:
    file = rewrite(score(), version(programs={(1, 0): 20, (2, 0): 33}))
    changes = {(e.channel, e.program) for e in file.tracks[0] if e.type == "program_change"}
    assert changes >= {(0, 20), (1, 33)}
    assert (0, 0) not in changes


def test_volumes_replace_those_written() -> None:
    file = score()
    file.tracks[1].insert(0, mido.Message("control_change", control=7, value=3))
    file.tracks[2].insert(0, mido.Message("control_change", control=7, value=4))
    out = rewrite(file, version(volumes={(1, 0): 99})).tracks[0]
    levels = {(e.channel, e.value) for e in out if e.is_cc(7)}
    assert levels == {(0, 99), (1, 4)}


def test_every_note_is_released() -> None:
    unreleased = mido.MidiFile()
    unreleased.tracks.append(mido.MidiTrack([mido.Message("note_on", note=60, velocity=80)]))
    track = rewrite(unreleased, version()).tracks[0]
    assert {e.control for e in track if e.type == "control_change"} == {64, 120, 123}


def test_versions_repeat_and_differ() -> None:
    a, b, c = (choose_version(score(), ["f"], random.Random(seed)) for seed in ("x", "x", "y"))
    assert a == b != c
    assert all(set(part) & {9} == set() for part in a.programs)


def test_files_that_mido_cannot_read_are_audio_errors(tmp_path: Path) -> None:
    file = score()
    file.tracks[0].insert(0, mido.MetaMessage("key_signature", key="C"))
    file.save(tmp_path / "a.mid")
    data = (tmp_path / "a.mid").read_bytes()
    for content in (data[:30], b""):
        (tmp_path / "a.mid").write_bytes(content)
        with pytest.raises(AudioError, match=r"a\.mid: cannot be rendered"):
            midi.read_score(tmp_path / "a.mid")


def test_a_key_of_ten_sharps_is_unknown(tmp_path: Path) -> None:
    file = score()
    file.tracks[0][:0] = [mido.MetaMessage("key_signature", key=key) for key in ("C", "C")]
    file.save(tmp_path / "a.mid")
    assert stated_key(midi.read_score(tmp_path / "a.mid"), {}) == 0
    data = (tmp_path / "a.mid").read_bytes()
    c_major, ten_sharps = b"\xff\x59\x02\x00\x00", b"\xff\x59\x02\x0a\x00"
    (tmp_path / "a.mid").write_bytes(data.replace(c_major, ten_sharps, 1))
    read = midi.read_score(tmp_path / "a.mid")
    assert stated_key(read, {}) == -1
    assert sounding(read).tolist() == sounding(file).tolist()


def test_times_follow_the_tempo_map() -> None:
    drums = timed_parts(score())[3, 9]
    assert [t for t, e in drums if e.type == "note_on" and e.velocity][-1] == 5.0


def test_missing_tools_are_named(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="apt-get install fluidsynth"):
        midi.render(tmp_path / "a.mid", [str(tmp_path / "none.sf2")], 22_050, "0")


@needs_fluidsynth
def test_rendering(tmp_path: Path) -> None:
    score().save(tmp_path / "a.mid")
    audio, facts, _ = midi.render(tmp_path / "a.mid", [str(FONT)], 22_050, "0")
    again, _, _ = midi.render(tmp_path / "a.mid", [str(FONT)], 22_050, "0")
    assert audio.dtype == np.float32
    assert 3 < len(audio) / 22_050 < 12
    np.testing.assert_allclose(audio, again, atol=1e-3)
    assert facts["font"] == FONT.name
    (tmp_path / "bad.mid").write_bytes(b"no score")
    with pytest.raises(AudioError, match=r"bad\.mid: cannot be rendered"):
        midi.render(tmp_path / "bad.mid", [str(FONT)], 22_050, "0")


def test_a_font_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    font = tmp_path / "a.sf3"
    font.write_bytes(b"RIFF\x00\x00\x00\x00sfbkLIST")
    assert len(midi.check_fonts([str(font)])[str(font)]) == 16
    font.write_bytes(b"RIFF\x00\x00\x00\x00WAVEfmt ")
    with pytest.raises(ConfigError, match=r"a\.sf3 is no SoundFont"):
        midi.check_fonts([str(font)])
    with pytest.raises(DependencyError, match=r"there is no sound font .*b\.sf2"):
        midi.check_fonts([str(tmp_path / "b.sf2")])


def test_an_error_without_words_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, clip: bool) -> None:
        raise EOFError

    monkeypatch.setattr(mido, "MidiFile", fails)
    with pytest.raises(AudioError, match=r"a\.mid: cannot be rendered \(EOFError\)"):
        midi.read_score(tmp_path / "a.mid")


@needs_fluidsynth
def test_another_version_is_not_taken_for_the_one_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    score().save(tmp_path / "a.mid")
    (tmp_path / "i.csv").write_text("path,source,licence\na.mid,s,CC0\n")
    command = ["render", str(tmp_path / "i.csv"), str(tmp_path / "pack"), "--font", str(FONT)]
    assert main(command) == 0
    index = (tmp_path / "pack" / "index.jsonl").read_bytes()
    assert main(command) == 0
    for more, message in (
        (["--version-of", "1"], "version_of 0, asked for is 1"),
        (["--font", str(FONT)], "made with fonts"),
        (["--amplifier", "0.5"], "amplifier 0.0, asked for is 0.5"),
    ):
        assert main(command + more) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "pack" / "index.jsonl").read_bytes() == index
