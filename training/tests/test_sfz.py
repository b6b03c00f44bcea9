from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile as sf
from sampled import RATE, melody, needs_sfizz, pitch_at, sines

from musicssl.errors import ConfigError
from musicssl_training.midi import sfizz, sfz


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
    out = sfizz.for_sfizz(mido.MidiFile(type=0, tracks=[track])).tracks[0]
    assert [(e.type, e.channel, e.time) for e in out] == [
        ("control_change", 0, 30),
        ("note_on", 0, 10),
    ]
    assert out[0].value == 0  # below 64 the pedal is up


@needs_sfizz
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
    assert whole.keys == set(range(128 - 12))
    assert [(r.keys, r.velocities) for r in whole.regions] == [
        (range(48, 60), range(81)),
        (range(72, 73), range(20, 81)),
        (range(116), range(128)),
        (range(60, 61), range(128)),
    ]
    left = whole.reduced([(50, 90), (60, 90)])
    assert [f"tune={n}" in left for n in (1, 2, 3)] == [False, True, True]
    assert "lovel" not in left
    assert left.endswith("<curve> v000=0\n")
    assert whole.reduced([(48, 80), (72, 20), (60, 1)]) == text


@needs_sfizz
def test_what_is_wrong_with_an_instrument_is_said(tmp_path: Path) -> None:
    file = sines(tmp_path)
    with pytest.raises(ConfigError, match=r"none\.sfz cannot be read: No such file"):
        sfz.read_sfz(tmp_path / "none.sfz")
    with pytest.raises(ConfigError, match=r"60\.wav is no instrument in the SFZ format"):
        sfz.read_sfz(tmp_path / "60.wav")
    (tmp_path / "72.wav").rename(tmp_path / "72.WAV")  # from another kind of computer: it is there
    assert 84 in sfz.read_sfz(file).keys
    (tmp_path / "72.WAV").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(ConfigError, match=r"of which 1 are not there.*Git LFS"):
        sfz.read_sfz(file)
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


@needs_sfizz
def test_notes_begin_where_the_score_says_at_their_pitches(tmp_path: Path) -> None:
    pitches = (60, 64, 67, 72, 79)
    instrument = sfz.read_sfz(sines(tmp_path))
    audio = sfizz.play(melody(pitches), instrument.text, RATE)
    for i, pitch in enumerate(pitches):
        start = 0.25 + 0.5 * i
        before = round((start - 0.1) * RATE)
        onset = (before + np.argmax(np.abs(audio[before:]) > 0.01)) / RATE
        assert abs(onset - start) < 0.002
        assert abs(pitch_at(audio, start + 0.02) - pitch) < 0.05
    for _ in range(3):
        np.testing.assert_array_equal(sfizz.play(melody(pitches), instrument.text, RATE), audio)


@needs_sfizz
@pytest.mark.parametrize(
    ("folder", "sfz_file", "text"),
    [
        ("Samples/alto", "Programs/a.sfz", "<region> sample=..\\Samples\\alto\\60.wav lokey=50"),
        ("A Guitar (steel)", "a b.sfz", "<region> sample=A Guitar (steel)/60.wav  lokey=50 // 1"),
        (
            "Samples",
            "a.sfz",
            "<control>\r\ndefault_path=Samples\\\r\n<region>\r\nsample=60.wav\r\n",
        ),
        (
            "Samples",
            "a.sfz",
            "<control> default_path=Samples/6 <region>lokey=50<region> sample=0.wav",
        ),
        (
            "samples",
            "a.sfz",
            "<global> tune=0 <region> sample=SAMPLES/60.WAV <curve>v000=0",
        ),
    ],
)
def test_libraries_lay_their_samples_in_many_ways(
    tmp_path: Path, folder: str, sfz_file: str, text: str
) -> None:
    library = tmp_path / "my library"
    (library / folder).mkdir(parents=True)
    sines(library / folder)
    file = library / sfz_file
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(text.encode())
    audio = sfizz.play(melody((62,)), sfz.read_sfz(file).text, RATE)
    assert abs(pitch_at(audio, 0.27) - 62) < 0.05


@needs_sfizz
def test_samples_are_played_whole(tmp_path: Path) -> None:
    """sfizz reads them ahead by 8,192 samples, and would go on without the rest."""
    instrument = sfz.read_sfz(sines(tmp_path))
    track = mido.MidiTrack([mido.Message("note_on", note=72, velocity=90)])
    track.append(mido.Message("note_off", note=72, time=4 * 480))
    score = mido.MidiFile(type=0, ticks_per_beat=480, tracks=[track])
    for _ in range(5):
        audio = sfizz.play(score, instrument.text, RATE)
        assert np.abs(audio[round(1.8 * RATE) :][: RATE // 10]).max() > 0.05


@needs_sfizz
def test_loud_libraries_are_not_clipped(tmp_path: Path) -> None:
    file = sines(tmp_path)
    instrument = sfz.read_sfz(file)
    plain = sfizz.play(melody((60,)), instrument.text, RATE)
    file.write_text(file.read_text().replace("<global>", "<global> volume=30"))
    loud = sfizz.play(melody((60,)), sfz.read_sfz(file).text, RATE)
    np.testing.assert_allclose(loud, plain, atol=1e-4)  # at the second try, 30 dB quieter


REGION = "<region> sample=*sine key=60\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('#include "/dev/zero"\n', "/dev/zero cannot be read: it is no regular file"),
        ('#include "many.sfz"\n' * 11, "includes itself, or is one of more than 100 files"),
        ("".join(f"#define $x{n:02} {f'$x{n + 1:02}' * 9}\n" for n in range(30)) + "$x00", "more "),
        (REGION * 100, "more than 2,000 characters"),
        (f"<region> sample={'x' * 300}.wav\n", "of which 1 are not there"),
        (f"<region> sample={'a/' * 1200}x.wav\n", "of which 1 are not there"),
        (f"<region> sample={' ' * 200_000}x.wav\n", "more than 2,000 characters"),
    ],
    ids=["device", "files", "definitions", "text", "name", "folders", "spaces"],
)
def test_bombs_are_refused(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sfz, "MOST_FILES", 100)
    monkeypatch.setattr(sfz, "MOST_TEXT", 3_000 if "a/" in text else 2_000)
    (tmp_path / "many.sfz").write_text('#include "few.sfz"\n' * 10)
    (tmp_path / "few.sfz").write_text("")
    file = tmp_path / "a.sfz"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        sfz.read_sfz(file)


@pytest.mark.parametrize(
    ("opcodes", "keys"),
    [
        ("lokey=50 hikey=99999999999", range(50, 128)),
        ("lokey=-9e15 hikey=9", range(10)),
        ("lokey=100 hikey=1e400", range(100, 128)),  # unclear: as wide as can be
        (f"hikey=c{'9' * 5000}", range(128)),
        ("key=60 note_offset=1e300", range(0)),
    ],
)
def test_absurd_numbers_leave_the_keys_that_midi_has(opcodes: str, keys: range) -> None:
    (region,) = sfz.find_regions(f"<region> {opcodes} sample=a.wav\n")
    assert list(region.keys) == list(keys)
    assert set(region.velocities) == set(range(128))


def test_gaps_that_no_name_has_and_open_comments_are_dropped(tmp_path: Path) -> None:
    file = tmp_path / "a.sfz"
    file.write_text(f"<region>{' ' * 300}key=60 sample=a  b.wav\n/* open /* twice")
    text = sfz._Reader(tmp_path).flatten(file)
    assert text == "<region>key=60 sample=a  b.wav\n"
