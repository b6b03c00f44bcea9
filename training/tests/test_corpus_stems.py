"""Mixes of stems: what sounds in them, and the truth about it, down to the pack."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_sources import RATE as SONG_RATE
from corpus_sources import song
from numpy.typing import NDArray

from musicssl.errors import ConfigError
from musicssl_training.cli.main import main
from musicssl_training.corpus import mix, obtain, read_recipe
from musicssl_training.corpus.recipe import GitSource
from musicssl_training.data import Pack
from musicssl_training.midi.activity import PARTS
from musicssl_training.targets import score as targets

RATE, SECONDS = 8000, 12.0
STEMS = """
add = ["*.wav"]
without = ["voice", "guitar"]

[[source.stems]]
names = ["*VOX*"]
family = "voice"

[[source.stems]]
names = ["KICK.wav"]
family = "drums"

[[source.stems]]
names = ["GUITAR.wav"]
family = "guitar"

[[source.stems]]
names = ["PAD.wav"]
never = ["voice", "drums"]
"""
PATH = "music/one/band/mix.flac"
BARE = "music/one/band/mix-without-voice.flac"


def tone(hertz: float, *stretches: tuple[float, float], level: float = 0.2) -> NDArray[np.float64]:
    """A sine that sounds in some stretches only, in seconds."""
    time = np.arange(round(SECONDS * RATE)) / RATE
    on = sum((time >= first) & (time < last) for first, last in stretches)
    return level * np.sin(2 * np.pi * hertz * time) * on


def band(folder: Path) -> None:
    """A voice, drums, something that is neither, and a stem of an unknown name."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).normal(0, 0.1, round(SECONDS * RATE))
    stems = {
        "LEAD VOX": tone(440, (1.25, 3.0), (8.0, 9.0)),
        "VOX 2": tone(660, (2.0, 4.0)),
        "KICK": noise * (np.arange(len(noise)) < 6 * RATE),
        "PAD": tone(220, (0.0, 12.0)),
        "EFFECT": tone(880, (3.5, 5.0), (8.5, 10.0)),
    }
    for name, audio in stems.items():
        soundfile.write(folder / f"{name}.wav", audio, RATE)


def recipe(folder: Path, settings: str = STEMS) -> Path:
    (folder / "mine.toml").write_text(
        '[[source]]\nname = "one"\nkind = "folder"\npath = "one"\nwhat = "songs"\n'
        f'include = ["**"]\nlicence = "CC0-1.0"\nnote = "mine"\n{settings}'
    )
    return folder / "mine.toml"


def build(folder: Path, settings: str = STEMS, out: str = "out") -> Pack:
    command = ["corpus", str(recipe(folder, settings)), str(folder / out), "--sample-rate", "16000"]
    assert main(command) == 0
    return Pack.open(folder / out / "pack")


def told(pack: Pack, path: str, part: str) -> NDArray[np.float32]:
    """What the pack says of a family, at the middle of each tenth of a second."""
    (item,) = (i for i, row in enumerate(pack.items) if row["path"] == path)
    score = pack.score(item, 0, round(SECONDS * 16_000))
    assert score is not None
    found = targets.families([score], 2 * round(10 * SECONDS), 0.05)[0, 1::2, PARTS.index(part)]
    return found.numpy()


def expected(*stretches: tuple[float, float], value: float = 1.0) -> NDArray[np.float32]:
    """A value in some stretches, to the tenth of a second; elsewhere 0."""
    out = np.zeros(round(10 * SECONDS), np.float32)
    for first, last in stretches:
        out[int(10 * first + 1e-6) : round(10 * last)] = value
    return out


def test_the_pack_says_who_plays_when(tmp_path: Path) -> None:
    band(tmp_path / "one" / "band")
    pack = build(tmp_path)
    assert [row["path"] for row in pack.items] == [BARE, PATH]
    unknown = expected((3.5, 5.0), (8.5, 10.0), value=np.nan)  # nobody knows what the effect is
    voice = expected((1.25, 4.0), (8.0, 9.0))
    np.testing.assert_array_equal(told(pack, PATH, "voice"), np.where(voice, voice, unknown))
    drums = expected((0.0, 6.0))
    np.testing.assert_array_equal(told(pack, PATH, "drums"), np.where(drums, drums, unknown))
    assert np.isnan(told(pack, PATH, "guitar")).all()  # the pad may be one
    np.testing.assert_array_equal(told(pack, BARE, "voice"), unknown)
    np.testing.assert_array_equal(told(pack, BARE, "drums"), np.where(drums, drums, unknown))


def test_stems_that_no_rule_names_are_listed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b"):
        band(tmp_path / "one" / name)
    soundfile.write(tmp_path / "one" / "a" / "BELL.wav", tone(990, (0.0, 3.0)), RATE)
    for _ in ("built", "found built"):
        caplog.clear()
        build(tmp_path)
        assert "one: 2 names of stems that no rule names: EFFECT.wav, BELL.wav" in caplog.messages


def test_a_mix_without_a_family_is_the_sum_of_the_others(tmp_path: Path) -> None:
    band(tmp_path / "one" / "band")
    build(tmp_path)
    folder = tmp_path / "out" / "music" / "one" / "band"
    voices = [soundfile.read(folder / f"{name}.wav")[0] for name in ("LEAD VOX", "VOX 2")]
    whole, bare = (soundfile.read(folder / name)[0] for name in ("mix.flac", Path(BARE).name))
    np.testing.assert_allclose(whole - bare, sum(voices), atol=2e-4)
    assert not list(folder.glob("mix-without-guitar*"))  # there was none
    said = json.loads((folder / "mix.stems.json").read_text())
    assert set(said) == {f"{name}.wav" for name in ("LEAD VOX", "VOX 2", "KICK", "PAD", "EFFECT")}
    assert said["LEAD VOX.wav"] == {"plays": [[1.2, 3.0], [8.0, 9.0]], "unclear": []}
    assert set(said) - set(json.loads((folder / "mix-without-voice.stems.json").read_text())) == {
        "LEAD VOX.wav",
        "VOX 2.wav",
    }


def test_a_mix_has_the_highest_rate_of_its_stems(tmp_path: Path) -> None:
    folder = tmp_path / "one" / "band"
    band(folder)
    time = np.arange(round(SECONDS * 3 * RATE)) / (3 * RATE)
    soundfile.write(folder / "GUITAR.wav", 0.2 * np.sin(2 * np.pi * 9000 * time), 3 * RATE)
    build(tmp_path)
    whole, rate = soundfile.read(tmp_path / "out" / PATH)
    assert rate == 3 * RATE  # though the first by name has another
    power = np.abs(np.fft.rfft(whole)) ** 2
    assert power[round(9000 * SECONDS)] > 0.1 * power.max()


def test_mixes_of_the_same_stems_are_no_copies_of_each_other(tmp_path: Path) -> None:
    (tmp_path / "one" / "band").mkdir(parents=True)
    (tmp_path / "one" / "band" / "PAD.wav").write_bytes(song(1))
    (tmp_path / "one" / "band" / "VOX.wav").write_bytes(song(2))
    audio, _ = soundfile.read(tmp_path / "one" / "band" / "PAD.wav")
    soundfile.write(tmp_path / "one" / "copy.ogg", 0.9 * audio, SONG_RATE)
    settings = STEMS.replace('"*.wav"', '"*.wav", "nothing"')
    pack = build(tmp_path, settings)
    assert [row["path"] for row in pack.items] == [BARE, PATH]
    left = (tmp_path / "out" / "left-out.csv").read_text()
    assert "copy.ogg,the same recording as one/band/mix-without-voice.flac" in left


def test_stems_of_which_the_recipe_says_nothing_change_nothing(tmp_path: Path) -> None:
    band(tmp_path / "one" / "band")
    pack = build(tmp_path, 'add = ["*.wav"]')
    (row,) = pack.items
    assert "activity" not in row
    assert pack.score(0, 0, 16_000) is None
    spec = GitSource(
        name="a",
        what="songs",
        include=("*.ogg",),
        licence="CC0-1.0",
        evidence=("LICENSE",),
        add=("*.ogg",),
        repository="owner/name",
        commit=5 * "01234567",
    )  # as it was before recipes knew stems, so that what was obtained then is not obtained anew
    key = "09684aad2d437084e075a05c5a1d98fa51cd94b3cdad5401067d3132fe21185b"
    assert obtain._key(spec, Path("out"), obtain.Places(Path())) == key


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_build_that_is_stopped_gives_the_same(
    calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    band(tmp_path / "one" / "band")
    build(tmp_path, out="whole")
    real: Callable[..., None] = mix._write_json
    left = [calls]

    def counted(*args: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(mix, "_write_json", counted)
    command = ["corpus", str(recipe(tmp_path)), str(tmp_path / "out"), "--sample-rate", "16000"]
    assert main(command) == (0 if calls == 2 else 130)
    monkeypatch.undo()
    assert (tmp_path / "out" / "music").exists() == (calls == 2)
    build(tmp_path)
    names = ("index.csv", "pack/index.jsonl", "pack/audio.i16", "music/one/band/mix.stems.json")
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    before = (tmp_path / "out" / PATH).stat().st_mtime_ns
    build(tmp_path)
    assert (tmp_path / "out" / PATH).stat().st_mtime_ns == before  # nothing was left to do


def test_a_pack_that_says_otherwise_than_the_recipe_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    band(tmp_path / "one" / "band")
    build(tmp_path)
    other = STEMS.replace('"PAD.wav"', '"PAD.wav", "EFFECT.wav"')
    command = ["corpus", str(recipe(tmp_path, other)), str(tmp_path / "out")]
    assert main([*command, "--sample-rate", "16000"]) == 2
    assert "mix-without-voice.flac (another activity): delete the pack" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["mix.flac", "mix.stems.json"])
def test_files_of_the_source_are_never_written_over(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "one" / "band"
    band(folder)
    soundfile.write(folder / "song.flac", tone(300, (0.0, 12.0)), RATE)
    (folder / "song.flac").rename(folder / name)
    before = (folder / name).read_bytes()
    command = ["corpus", str(recipe(tmp_path)), str(tmp_path / "out"), "--no-pack"]
    main(command)
    assert (folder / name).read_bytes() == before
    left = (tmp_path / "out" / "left-out.csv").read_text()
    assert f"one,band/mix.flac,the source has a file band/{name}" in left


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('family = "voice"', 'family = "vioce"', "'vioce' is no instrument family.*mean 'voice'"),
        ('never = ["voice", "drums"]', 'never = ["drum"]', "'drum' is no.*Did you mean 'drums'"),
        ('family = "voice"', "", "need either the family that they hold"),
        ('family = "voice"', 'family = "voice"\nnever = ["drums"]', "need either the family"),
        ('names = ["*VOX*"]', "names = []", "stems without names"),
        ('"guitar"]', '"piano"]', "without piano, but none of its stems are that family"),
        ('"guitar"]', '"voice"]', "without voice, voice, one of them twice"),
        ('["*VOX*"]', '["**/VOX*", "voices/*"]', r"without folders: voices/\* never matches"),
        ('add = ["*.wav"]', "", "knows stems, but 'add' names no files"),
    ],
)
def test_rules_that_say_nothing_are_refused(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert STEMS.count(old) == 1
    with pytest.raises(ConfigError, match=message):
        read_recipe(recipe(tmp_path, STEMS.replace(old, new)))
