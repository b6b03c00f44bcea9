import random
from pathlib import Path

import mido
import numpy as np
import pytest
import torch
from sampled import RATE, melody, needs_sfizz, pitch_at, sines
from versions import FONT, a_version, needs_fluidsynth

from musicssl.errors import ConfigError, DependencyError
from musicssl_training.cli.main import main
from musicssl_training.data.recordings import read_index
from musicssl_training.midi import instruments, sfizz, sfz
from musicssl_training.midi.amplifier import Amplifier, amplify, choose_amplifier
from musicssl_training.midi.ensemble import (
    Sound,
    choose_parts,
    perform,
    select,
    weighted_power,
)
from musicssl_training.midi.instruments import Instrument, Instruments, numbers, read_instruments
from musicssl_training.midi.score import read_scores
from musicssl_training.midi.theory import DRUMS, FAMILIES
from musicssl_training.targets.banks import k_weighting

EXAMPLE = Path(__file__).resolve().parents[1] / "instruments" / "free.toml"
ENTRY = """
[[instrument]]
name = "Sines"
sfz = "sines.sfz"
programs = [0, "24-25", "drums"]
licence = "CC0-1.0"
source = "made here"
"""


def instrument(
    file: Path = Path("no.sfz"), programs: tuple[int, ...] = (0,), **more: object
) -> Instruments:
    keys = frozenset({36, *range(48, 85)})
    own = sfz.read_sfz(file) if file.exists() else sfz.Sfz("", ())
    one = Instrument("Sines", "CC0-1.0", own, frozenset(programs), keys, **more)  # type: ignore[arg-type]
    return Instruments((one,), chance=1.0)


def test_programs_are_numbers_ranges_and_families() -> None:
    names = FAMILIES | {"drums": (DRUMS,)}
    assert numbers(("3", "24-25", "bass", "drums"), names) == {3, 24, 25, *range(32, 40), 128}
    with pytest.raises(ConfigError, match=r"'gitar' is none of.*Did you mean 'guitar'"):
        numbers(("gitar",), names)
    for wrong in ("128", "7-3", "1-200"):
        with pytest.raises(ConfigError, match="no range of numbers from 0 to 127"):
            numbers((wrong,), names)


def test_parts_are_chosen_by_chance_and_seed() -> None:
    always = instrument()
    assert always.choose(0, random.Random(0), chords=True) is always.instruments[0]
    assert always.choose(1, random.Random(0), chords=True) is None
    half = Instruments(always.instruments, chance=0.5)
    rngs = [random.Random(7), random.Random(7)]
    a, b = ([half.choose(0, rng, chords=False) for _ in range(400)] for rng in rngs)
    assert a == b
    assert 150 < sum(one is not None for one in a) < 250


def test_monophonic_instruments_get_no_chords() -> None:
    sax = Sound(instrument(monophonic=True))
    line, chord = melody((60, 62, 64)), melody((60, 62, 64))
    chord.tracks[0].sort(key=lambda event: event.type != "note_on")
    chord.tracks[0].insert(0, mido.Message("program_change", program=0))
    assert len(choose_parts(line, sax, random.Random(0))) == 1
    assert choose_parts(chord, sax, random.Random(0)) == []


def test_selected_notes_keep_their_times() -> None:
    part = select(melody((60, 40, 64)), lambda note: note == (0, 0, 64))
    now, starts = 0, []
    for event in part.tracks[0]:
        now += event.time
        if event.type == "note_on" and event.velocity:
            starts.append((now, event.note))
    assert starts == [(240 + 2 * 480, 64)]


def test_without_sfizz_its_name_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sfizz.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sfizz.shutil, "which", lambda *args, **kwargs: None)
    sines(tmp_path)
    (tmp_path / "i.toml").write_text(ENTRY)
    with pytest.raises(DependencyError, match=r"sfizz.*pip install 'musicssl-training\[sfz\]'"):
        read_instruments(tmp_path / "i.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ENTRY.replace("licence", "license"), "unknown key. Did you mean 'licence'"),
        (ENTRY.replace('"made here"', '""'), "source is empty"),
        (ENTRY.replace("[0,", '["strngs",'), r"Sines: 'strngs' is none of.*Did you mean 'strings'"),
        ("chance = 2\n" + ENTRY, "chance must be from 0 to 1, got 2"),
        ("chance = 0.5\n", "lacks instrument"),
        ("instrument = []\n", r"lists no instruments; each begins with \[\[instrument\]\]"),
    ],
)
def test_instruments_files_are_checked(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "i.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"i\.toml.*" + message):
        read_instruments(tmp_path / "i.toml")


def test_the_example_is_an_instruments_file(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    everything = sfz.Sfz("", (sfz.Region(0, 0, range(128), range(128)),))
    monkeypatch.setattr(instruments, "read_sfz", lambda path: read.append(path) or everything)
    said = read_instruments(EXAMPLE, Path("libraries"))
    assert len(read) == len(said.instruments) > 10
    assert all(path.parts[0] == "libraries" and path.suffix == ".sfz" for path in read)
    assert {DRUMS, 0, 24, 30, 33, 65} <= set().union(*(one.programs for one in said.instruments))
    assert not {one.licence for one in said.instruments} - {
        "CC0-1.0",
        "CC-BY-3.0",
        "CC-BY-4.0",
        "LicenseRef-public-domain",
    }


@needs_sfizz
def test_reading_says_what_an_instrument_can_play(tmp_path: Path) -> None:
    sines(tmp_path)
    (tmp_path / "i.toml").write_text("chance = 0.25\n" + ENTRY + 'keys = ["30-70"]\n')
    said = read_instruments(tmp_path / "i.toml")
    (one,) = said.instruments
    assert said.chance == 0.25
    assert one.keys == {36, *range(48, 71)}
    assert one.programs == {0, 24, 25, DRUMS}
    elsewhere = tmp_path / "lists"
    elsewhere.mkdir()
    (tmp_path / "i.toml").rename(elsewhere / "i.toml")
    assert read_instruments(elsewhere / "i.toml", tmp_path) == said


def test_loudness_is_weighted_as_broadcasters_do() -> None:
    hertz = np.array([0.0, 38.135, 100.0, 997.0, 10_000.0])
    decibels = 10 * np.log10(k_weighting(torch.from_numpy(hertz)).numpy() + 1e-12)
    # ITU-R BS.1770-5: a sine of 997 Hz at full scale, -3.01 dB, is -3.01 LKFS after -0.691 dB
    assert decibels[3] == pytest.approx(0.691, abs=0.05)
    assert decibels[1] == pytest.approx(-6.0, abs=0.1)
    assert decibels[4] == pytest.approx(4.0, abs=0.1)
    assert decibels[0] == -120
    sine = np.sin(2 * np.pi * 997 * np.arange(RATE) / RATE).astype(np.float32)
    level = 10 * np.log10(weighted_power(sine, RATE) / RATE)
    assert level - 0.691 == pytest.approx(-3.01, abs=0.05)


@needs_fluidsynth
@needs_sfizz
def test_a_part_is_as_loud_as_the_font_plays_it(tmp_path: Path) -> None:
    score, version = melody((60, 64, 67)), a_version(font=str(FONT), gain=0.5)
    alone, facts = perform(score, version, RATE, Sound(), random.Random(0))
    assert facts == {}
    results = []
    for level in (0.5, 0.05):
        folder = tmp_path / str(level)
        folder.mkdir()
        sound = Sound(instrument(sines(folder, level)))
        audio, facts = perform(score, version, RATE, sound, random.Random(0))
        assert facts == {"instruments": [{"name": "Sines", "licence": "CC0-1.0"}]}
        assert weighted_power(audio, RATE) == pytest.approx(weighted_power(alone, RATE), rel=0.01)
        results.append(audio)
    length = min(map(len, results))  # sfizz stops where it is quiet
    difference = results[0][:length] - results[1][:length]
    assert np.abs(difference).max() < 0.02 * np.abs(results[0]).max()


@needs_fluidsynth
@needs_sfizz
def test_notes_without_a_sample_are_left_to_the_font(tmp_path: Path) -> None:
    sound = Sound(instrument(sines(tmp_path)))
    audio, _ = perform(melody((72, 45)), a_version(font=str(FONT)), RATE, sound, random.Random(0))
    assert abs(pitch_at(audio, 0.27) - 72) < 0.05
    low = np.abs(np.fft.rfft(audio[round(0.77 * RATE) :][: RATE // 4]))
    assert low[: RATE // 8].sum() > 1  # the font's 45, for which there is no sample
    assert sfz.read_sfz(tmp_path / "sines.sfz").reduced([(45, 90)]) == ""


def test_an_amplifier_adds_harmonics_and_keeps_time() -> None:
    time = np.arange(RATE) / RATE
    tone = (0.05 * np.sin(2 * np.pi * 220 * time) * (time > 0.5)).astype(np.float32)
    hot = amplify(tone, RATE, Amplifier(drive=30, bias=0, tone=5000, cabinet=5000))
    assert hot.dtype == np.float32
    assert hot.shape == tone.shape
    assert 0.3 < np.abs(hot).max() < 3
    assert np.abs(hot[: RATE // 2 - 50]).max() < 0.01  # resampling rings for less than 2 ms
    assert np.abs(hot[RATE // 2 :][: RATE // 100]).max() > 0.3
    half = hot[RATE // 2 :] * np.hanning(RATE - RATE // 2)
    level = 20 * np.log10(np.abs(np.fft.rfft(half)) + 1e-9)
    at = {hertz: level[round(hertz / 2)] for hertz in (220, 440, 660, 1100, 8580)}
    assert at[660] > at[220] - 15  # a third harmonic
    assert at[440] < at[220] - 60  # no even ones without a bias
    assert at[8580] < at[220] - 60  # beyond the loudspeaker
    biased = amplify(tone, RATE, Amplifier(drive=30, bias=0.3, tone=5000, cabinet=5000))
    second = np.abs(np.fft.rfft(biased[RATE // 2 :] * np.hanning(RATE - RATE // 2)))[220]
    assert 20 * np.log10(second) > at[220] - 50
    assert not amplify(np.zeros(100, np.float32), RATE, Amplifier(30, 0.2, 3000, 5000)).any()


def test_which_guitars_are_amplified() -> None:
    rng = random.Random(0)
    shares = {
        program: np.mean([choose_amplifier(program, 0.6, rng) is not None for _ in range(2000)])
        for program in (0, 24, 26, 27, 28, 29, 30, 31, DRUMS)
    }
    assert {p for p, share in shares.items() if share} == {27, 28, 29, 30}
    assert shares[29] == pytest.approx(0.6, abs=0.05)
    assert shares[27] == pytest.approx(0.2, abs=0.05)


@needs_fluidsynth
def test_only_the_guitar_goes_through_the_amplifier() -> None:
    guitar, flute = melody((52,), program=30), melody((84,), program=73, channel=1)
    both = mido.MidiFile(type=0, ticks_per_beat=480)
    both.tracks.append(mido.merge_tracks([guitar.tracks[0], flute.tracks[0]]))
    version, sound = a_version(font=str(FONT), gain=0.3), Sound(amplifier=1.0)
    audio, facts = perform(both, version, RATE, sound, random.Random(0))
    assert facts == {"amplified": [30]}
    one, _ = perform(guitar, version, RATE, sound, random.Random(0))
    other, _ = perform(flute, version, RATE, sound, random.Random(0))
    length = min(map(len, (audio, one, other)))
    difference = audio[:length] - one[:length] - other[:length]
    assert np.abs(difference).max() < 0.02 * np.abs(audio).max()


@needs_fluidsynth
@needs_sfizz
def test_the_command_writes_what_played_and_the_same_score(tmp_path: Path) -> None:
    sines(tmp_path)
    (tmp_path / "i.toml").write_text("chance = 1\n" + ENTRY)
    melody((60, 62, 64, 65) * 4).save(tmp_path / "a.mid")
    index = tmp_path / "index.csv"
    index.write_text("path,source,licence,program_source\na.mid,me,CC0-1.0,file\n")
    command = ["render", str(index), "--font", str(FONT)]
    assert main([*command[:2], str(tmp_path / "plain"), *command[2:]]) == 0
    for name in ("sampled", "again"):
        more = ["--instruments", str(tmp_path / "i.toml"), "--amplifier", "1"]
        assert main([*command[:2], str(tmp_path / name), *command[2:], *more]) == 0
    plain, sampled, again = (tmp_path / name for name in ("plain", "sampled", "again"))
    (row,) = read_index(sampled)
    assert row["instruments"] == [{"name": "Sines", "licence": "CC0-1.0"}]
    assert "instruments" not in read_index(plain)[0]
    assert read_index(plain)[0]["shift"] == row["shift"]
    assert (plain / "scores.jsonl").read_bytes() == (sampled / "scores.jsonl").read_bytes()
    audio, same = (np.fromfile(one / "audio.i16", "<i2") for one in (sampled, again))
    np.testing.assert_allclose(audio, same, atol=33)  # fluidsynth dithers
    (score,) = read_scores(sampled, read_index(sampled))
    for start, _, pitch, _, _ in score.notes[:6]:
        assert abs(pitch_at(audio / 32768, float(start) + 0.02) - pitch) < 0.1


def test_a_root_without_instruments_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "i.csv").write_text("path,source,licence\na.mid,me,CC0-1.0\n")
    command = ["render", str(tmp_path / "i.csv"), str(tmp_path / "o"), "--instruments-root", "x"]
    assert main(command) == 2
    assert "--instruments-root" in capsys.readouterr().err
