import random
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile as sf
from versions import FONT, a_version, needs_fluidsynth

from musicssl.errors import ConfigError, DependencyError
from musicssl_training.cli.main import main
from musicssl_training.data.pack import read_index
from musicssl_training.midi import instruments, sfz
from musicssl_training.midi.amplifier import Amplifier, amplify, choose_amplifier
from musicssl_training.midi.ensemble import (
    Sound,
    choose_parts,
    k_weights,
    perform,
    select,
    weighted_power,
)
from musicssl_training.midi.instruments import Instrument, Instruments, numbers, read_instruments
from musicssl_training.midi.score import read_scores
from musicssl_training.midi.theory import DRUMS, FAMILIES

RATE = 22_050
EXAMPLE = Path(__file__).resolve().parents[1] / "instruments" / "free.toml"
ENTRY = """
[[instrument]]
name = "Sines"
sfz = "sines.sfz"
programs = [0, "24-25", "drums"]
licence = "CC0-1.0"
source = "made here"
"""


def sines(folder: Path, level: float = 0.5) -> Path:
    """An instrument of two samples, for the keys 48 to 84, and one hit of a drum at 36."""
    time = np.arange(2 * RATE) / RATE
    for key in (60, 72):
        tone = level * np.sin(2 * np.pi * 440 * 2 ** ((key - 69) / 12) * time)
        sf.write(folder / f"{key}.wav", tone, RATE)
    file = folder / "sines.sfz"
    file.write_text(
        "<global> ampeg_release=0.02\n"
        "<region> sample=60.wav lokey=48 hikey=65 pitch_keycenter=60 hivel=127\n"
        "<region> sample=72.wav lokey=66 hikey=84 pitch_keycenter=72\n"
        "<region> sample=60.wav key=36 loop_mode=one_shot\n"
    )
    return file


def instrument(
    file: Path = Path("no.sfz"), programs: tuple[int, ...] = (0,), **more: object
) -> Instruments:
    keys = frozenset({36, *range(48, 85)})
    own = sfz.read_sfz(file) if file.exists() else sfz.Sfz("", ())
    one = Instrument("Sines", "CC0-1.0", own, frozenset(programs), keys, **more)  # type: ignore[arg-type]
    return Instruments((one,), chance=1.0)


def melody(pitches: tuple[int, ...], program: int = 0, channel: int = 0) -> mido.MidiFile:
    """Notes of 0.3 s from 0.25 s on, every 0.5 s, as `rewrite` writes them."""
    track = mido.MidiTrack([mido.Message("program_change", channel=channel, program=program)])
    for i, pitch in enumerate(pitches):
        wait = 192 if i else 240
        track.append(mido.Message("note_on", channel=channel, note=pitch, velocity=90, time=wait))
        track.append(mido.Message("note_off", channel=channel, note=pitch, time=288))
    return mido.MidiFile(type=0, ticks_per_beat=480, tracks=[track])


def pitch_at(audio: np.ndarray, start: float) -> float:
    """Return the MIDI pitch of the strongest frequency in the 0.25 s from a second on."""
    first = round(start * RATE)
    stretch = audio[first : first + RATE // 4] * np.hanning(RATE // 4)
    hertz = np.abs(np.fft.rfft(stretch, 1 << 18)).argmax() * RATE / (1 << 18)
    return 69 + 12 * float(np.log2(hertz / 440))


@pytest.fixture
def renderer() -> None:
    try:
        sfz.find_renderer()
    except DependencyError as error:
        pytest.skip(str(error))


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


def test_a_score_for_sfizz_has_no_bends_and_no_switches() -> None:
    track = mido.MidiTrack(
        [
            mido.Message("program_change", program=5),
            mido.Message("pitchwheel", pitch=4000, time=10),
            mido.Message("control_change", control=1, value=9, time=10),
            mido.Message("control_change", control=64, value=50, time=10),
            mido.Message("note_on", channel=3, note=60, velocity=80, time=10),
        ]
    )
    out = sfz.for_sfizz(mido.MidiFile(type=0, tracks=[track])).tracks[0]
    assert [(e.type, e.channel, e.time) for e in out] == [
        ("control_change", 0, 30),
        ("note_on", 0, 10),
    ]
    assert out[0].value == 0  # below 64 the pedal is up


@pytest.mark.usefixtures("renderer")
def test_samples_are_found_through_includes_and_definitions(tmp_path: Path) -> None:
    (tmp_path / "Data").mkdir()
    (tmp_path / "Samples").mkdir()
    for layer in ("PP", "FF"):
        sf.write(tmp_path / "Samples" / f"C 4_{layer}.flac", np.zeros(100), RATE)
    (tmp_path / "Data" / "pp.txt").write_text(
        "<region> key=$KEY sample=C 4_$LAYER.$EXT lovel=$LOW\n"
    )
    file = tmp_path / "a.sfz"
    file.write_text(
        "#define $EXT flac // the files' format\n<control> default_path=Samples\\\n"
        '#define $KEY 60 #define $LOW 1\n#define $LAYER PP\n#include "Data/pp.txt"\n'
        '#define $LAYER FF\n#define $LOW 90 #define $KEY c#4\n#include "Data/pp.txt"\n'
        "/* <region> sample=never.wav */\n// <region> sample=not.wav\n"
    )
    assert sfz.read_sfz(file).keys == {60, 61}
    (tmp_path / "Samples" / "C 4_FF.flac").unlink()
    with pytest.raises(ConfigError, match=r"needs 2 samples, of which 1 .*Samples/C 4_FF\.flac"):
        sfz.read_sfz(file)
    (tmp_path / "Data" / "pp.txt").write_text('#include "Data/pp.txt"\n')
    with pytest.raises(ConfigError, match="includes itself"):
        sfz.read_sfz(file)
    file.write_text('#include "Data/none.txt"\n')
    with pytest.raises(ConfigError, match=r"none\.txt cannot be read: No such file"):
        sfz.read_sfz(file)


def test_only_regions_that_are_needed_are_kept() -> None:
    text = (
        "<control> note_offset=-12\n<global> hivel=80 <group> lokey=60 hikey=71 <region> tune=1\n"
        "<region> key=c6 lovel=20 <group> <region> trigger=release tune=2\n"
        "<global> <region> key=72 tune=3\n<curve> v000=0\n"
    )
    whole = sfz.Sfz(text, tuple(sfz.find_regions(text)))
    assert whole.keys == set(range(128 - 12)) | {-12 + k for k in range(12)}
    assert [(r.keys, r.velocities) for r in whole.regions] == [
        (range(48, 60), range(81)),
        (range(72, 73), range(20, 81)),
        (range(-12, 116), range(128)),
        (range(60, 61), range(128)),
    ]
    left = whole.reduced([(50, 90), (60, 90)])
    assert [f"tune={n}" in left for n in (1, 2, 3)] == [False, True, True]
    assert "lovel" not in left
    assert left.endswith("<curve> v000=0\n")
    assert whole.reduced([(48, 80), (72, 20), (60, 1)]) == text


def test_without_sfizz_its_name_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sfz.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sfz.shutil, "which", lambda *args, **kwargs: None)
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


@pytest.mark.usefixtures("renderer")
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


@pytest.mark.usefixtures("renderer")
def test_what_is_wrong_with_an_instrument_is_said(tmp_path: Path) -> None:
    file = sines(tmp_path)
    with pytest.raises(ConfigError, match=r"none\.sfz cannot be read: No such file"):
        sfz.read_sfz(tmp_path / "none.sfz")
    with pytest.raises(ConfigError, match=r"60\.wav is no instrument in the SFZ format"):
        sfz.read_sfz(tmp_path / "60.wav")
    (tmp_path / "72.wav").rename(tmp_path / "72.WAV")  # from another kind of computer: it is there
    assert 84 in sfz.read_sfz(file).keys
    (tmp_path / "72.WAV").unlink()
    with pytest.raises(
        ConfigError, match=r"2 samples, of which 1 are not there, such as .*72\.wav"
    ):
        sfz.read_sfz(file)
    file.write_text("hello\n")
    with pytest.raises(ConfigError, match=r"sines\.sfz cannot be read: .*line 1"):
        sfz.read_sfz(file)
    file.write_text("<global> volume=3\n")
    with pytest.raises(ConfigError, match="sfizz finds no region with a sample"):
        sfz.read_sfz(file)


@pytest.mark.usefixtures("renderer")
def test_notes_begin_where_the_score_says_at_their_pitches(tmp_path: Path) -> None:
    pitches = (60, 64, 67, 72, 79)
    instrument = sfz.read_sfz(sines(tmp_path))
    audio = sfz.play(melody(pitches), instrument, RATE)
    for i, pitch in enumerate(pitches):
        start = 0.25 + 0.5 * i
        before = round((start - 0.1) * RATE)
        onset = (before + np.argmax(np.abs(audio[before:]) > 0.01)) / RATE
        assert abs(onset - start) < 0.002
        assert abs(pitch_at(audio, start + 0.02) - pitch) < 0.05
    for _ in range(3):
        np.testing.assert_array_equal(sfz.play(melody(pitches), instrument, RATE), audio)


@pytest.mark.usefixtures("renderer")
def test_samples_are_played_whole(tmp_path: Path) -> None:
    """sfizz reads them ahead by 8,192 samples, and would go on without the rest."""
    instrument = sfz.read_sfz(sines(tmp_path))
    track = mido.MidiTrack([mido.Message("note_on", note=72, velocity=90)])
    track.append(mido.Message("note_off", note=72, time=4 * 480))
    score = mido.MidiFile(type=0, ticks_per_beat=480, tracks=[track])
    for _ in range(5):
        audio = sfz.play(score, instrument, RATE)
        assert np.abs(audio[round(1.8 * RATE) :][: RATE // 10]).max() > 0.05


@pytest.mark.usefixtures("renderer")
def test_loud_libraries_are_not_clipped(tmp_path: Path) -> None:
    file = sines(tmp_path)
    instrument = sfz.read_sfz(file)
    plain = sfz.play(melody((60,)), instrument, RATE)
    file.write_text(file.read_text().replace("<global>", "<global> volume=30"))
    loud = sfz.play(melody((60,)), sfz.read_sfz(file), RATE)
    np.testing.assert_allclose(loud, plain, atol=1e-4)  # at the second try, 30 dB quieter


def test_loudness_is_weighted_as_broadcasters_do() -> None:
    hertz = np.array([0.0, 38.135, 100.0, 997.0, 10_000.0])
    decibels = 10 * np.log10(k_weights(hertz) + 1e-12)
    # ITU-R BS.1770-5: a sine of 997 Hz at full scale, -3.01 dB, is -3.01 LKFS after -0.691 dB
    assert decibels[3] == pytest.approx(0.691, abs=0.05)
    assert decibels[1] == pytest.approx(-6.0, abs=0.1)
    assert decibels[4] == pytest.approx(4.0, abs=0.1)
    assert decibels[0] == -120
    sine = np.sin(2 * np.pi * 997 * np.arange(RATE) / RATE).astype(np.float32)
    level = 10 * np.log10(weighted_power(sine, RATE) / RATE)
    assert level - 0.691 == pytest.approx(-3.01, abs=0.05)


@needs_fluidsynth
@pytest.mark.usefixtures("renderer")
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
@pytest.mark.usefixtures("renderer")
def test_notes_without_a_sample_are_left_to_the_font(tmp_path: Path) -> None:
    sound = Sound(instrument(sines(tmp_path)))
    audio, _ = perform(melody((72, 45)), a_version(font=str(FONT)), RATE, sound, random.Random(0))
    assert abs(pitch_at(audio, 0.27) - 72) < 0.05
    low = np.abs(np.fft.rfft(audio[round(0.77 * RATE) :][: RATE // 4]))
    assert low[: RATE // 8].sum() > 1  # the font's 45, for which there is no sample
    silent = sfz.play(melody((45,)), sfz.read_sfz(tmp_path / "sines.sfz"), RATE)
    assert not silent.any()


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
@pytest.mark.usefixtures("renderer")
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
