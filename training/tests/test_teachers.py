"""Teachers: what they say is written whole, once, and can be found again."""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soxr
from fake_teachers import RATE, Loudness
from numpy.typing import NDArray

import musicssl
from musicssl.errors import ConfigError, DependencyError, ModelError
from musicssl_training.cli.main import main
from musicssl_training.data import Pack
from musicssl_training.data.teaching import Facts, Lessons, teaching_digest
from musicssl_training.teachers import TEACHERS, load_teacher
from musicssl_training.teachers import base as base_module
from musicssl_training.teachers.embedding import licence_of
from musicssl_training.teachers.teach import blocks, teach

FILES = ("teacher-loudness.f16", "teacher-loudness.jsonl")


@pytest.fixture
def pack(toy_pack: Path, tmp_path: Path) -> Path:
    """A pack of six recordings of 12 s."""
    folder = tmp_path / "pack"
    shutil.copytree(toy_pack, folder)
    return folder


def contents(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in FILES]


def lessons(folder: Path) -> Lessons:
    found = Pack.open(folder).lessons("loudness")
    assert found is not None
    return found


def test_values_are_the_teachers_and_the_same_for_any_number_of_jobs(pack: Path) -> None:
    assert teach(pack, Loudness("patches")) == 6 * 12
    first = contents(pack)
    for name in FILES:
        (pack / name).unlink()
    teach(pack, Loudness("patches"), jobs=3)
    assert contents(pack) == first
    opened = Pack.open(pack)
    item = opened.items[4]
    audio = opened.excerpt(4, 0, item["samples"])
    heard = soxr.resample(audio, 22_050, RATE)
    loud = np.abs(heard[: 12 * RATE]).reshape(12, RATE).mean(axis=1)
    said = lessons(pack).excerpt(item["path"], 0.0, 12.0)
    assert said is not None
    np.testing.assert_allclose(said.values[:, 0], np.arange(12))
    np.testing.assert_allclose(said.values[:, 1], loud, rtol=2e-3)


def test_what_is_known_is_counted_and_has_a_digest_whatever_the_order(pack: Path) -> None:
    assert teaching_digest(pack, "loudness") == ""
    teach(pack, Loudness("patches"))
    index = pack / FILES[1]
    digest = teaching_digest(pack, "loudness")
    assert len(digest) == 16
    assert lessons(pack).known == 6
    facts, *places = index.read_text().splitlines(keepends=True)
    index.write_text("".join([facts, *places[::-1]]))
    assert teaching_digest(pack, "loudness") == digest
    index.write_text("".join([facts, *places[:4]]))
    assert teaching_digest(pack, "loudness") != digest
    assert lessons(pack).known == 4
    index.write_text("".join([facts.replace("a meter", "another"), *places]))
    assert teaching_digest(pack, "loudness") != digest


def test_what_was_killed_goes_on(pack: Path) -> None:
    teach(pack, Loudness("frames"))
    whole = contents(pack)
    rows, index = pack / FILES[0], pack / FILES[1]
    for kept, more in ((0, 0), (1, 0), (3, 1001)):  # whole lines, and bytes of a row that has none
        lines = whole[1].splitlines(keepends=True)
        index.write_bytes(b"".join(lines[:kept]) + lines[kept][:20])
        rows.write_bytes(whole[0][: max(0, kept - 1) * 240 * 4 + more])
        teach(pack, Loudness("frames"))
        assert contents(pack) == whole


def test_a_model_of_ours_says_every_fourth_frame_of_its_own(pack: Path) -> None:
    teacher = load_teacher("musicssl:musicssl-small")
    assert teach(pack, teacher) == 6 * 75  # of 12 s
    opened = Pack.open(pack)
    said = opened.lessons("musicssl-small")
    assert said is not None
    item = opened.items[3]
    audio = opened.excerpt(3, 0, item["samples"])
    frames = musicssl.get_embedding(audio, 22_050, level="frame")
    found = said.excerpt(item["path"], 0.0, 12.0)
    assert found is not None
    np.testing.assert_allclose(found.times, frames.times[::4], atol=1e-9)
    np.testing.assert_allclose(found.values, frames.values[::4], rtol=1e-3, atol=2e-3)
    assert teacher.facts.licence == "CC-BY-SA-4.0"  # what its card says
    told = teacher.facts.trained_on
    assert "hours of music" in told and "scores" in told and "last.fm" in told  # also its teacher's
    with pytest.raises(ModelError):
        load_teacher("musicssl:no-such-model")
    with pytest.raises(ConfigError, match="call it musicssl:musicssl-small"):
        load_teacher("musicssl-small")


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "MIT"),
        ("---\nlicense: other\n---\n", "other: see the model card of mine"),
        ("# A card without front matter\n", "not stated here: see the model card of mine"),
        ("---\nlicense: [\n---\n", "not stated here: see the model card of mine"),
        (None, "not stated here: see the model card of mine"),
    ],
)
def test_the_licence_of_a_model_of_ones_own_is_what_its_card_says(
    card: str | None, licence: str, tmp_path: Path
) -> None:
    if card is not None:
        (tmp_path / "README.md").write_text(card)
    assert licence_of(tmp_path, "mine") == licence


class Counting(Loudness):
    asked = 0

    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        self.asked += 1
        return super().values(blocks)


def test_a_pack_that_grew_is_taught_on_and_one_made_again_is_refused(pack: Path) -> None:
    index = pack / "index.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join(lines[:4]))
    teach(pack, Loudness("patches"))
    index.write_text("".join(lines))
    teacher = Counting("patches")
    assert teach(pack, teacher) == 72
    assert teacher.asked == 2
    other = json.loads(lines[2]) | {"samples": 1000}
    index.write_text("".join([*lines[:2], json.dumps(other) + "\n", *lines[3:]]))
    for use in (lambda: teach(pack, teacher), lambda: lessons(pack)):
        with pytest.raises(ConfigError, match=r"2\.wav with 264,600 samples.*made again"):
            use()


def test_values_that_were_copied_in_part_are_refused(pack: Path) -> None:
    teach(pack, Loudness("patches"))
    values = pack / FILES[0]
    values.write_bytes(values.read_bytes()[:-4])
    for use in (lambda: teach(pack, Loudness("patches")), lambda: lessons(pack)):
        with pytest.raises(ConfigError, match=r"holds 71 rows.*says 72"):
            use()
    (pack / FILES[1]).write_text("{}\n")
    with pytest.raises(ConfigError, match="is damaged"):
        lessons(pack)


def test_another_teacher_of_that_name_is_refused(pack: Path) -> None:
    teach(pack, Loudness("patches"))
    message = r"by another teacher of that name \(a meter, abab.*this one is a meter, cdcd"
    with pytest.raises(ConfigError, match=message):
        teach(pack, Loudness("patches", sha256="cd" * 32))


def test_other_words_on_licence_and_training_are_no_other_teacher(pack: Path) -> None:
    teach(pack, Loudness("patches"))
    whole = contents(pack)
    index = pack / FILES[1]
    index.write_bytes(b"".join(whole[1].splitlines(keepends=True)[:4]))
    reworded = Loudness("patches")
    reworded.facts = replace(reworded.facts, licence="CC0-1.0", trained_on="nothing at all")
    assert teach(pack, reworded) == 72
    assert contents(pack)[0] == whole[0]
    first, *places = contents(pack)[1].splitlines()
    assert places == whole[1].splitlines()[1:]
    assert json.loads(first)["licence"] == "CC0-1.0"  # which the next model's card will say
    assert not reworded.facts.same_values(replace(reworded.facts, model="another layer"))


class Broken(Loudness):
    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        for part in super().values(blocks):
            yield part if self.sample_rate != RATE else np.where(part > 7, np.nan, part)


def test_values_that_are_not_finite_are_left_out_and_large_ones_kept(
    pack: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert teach(pack, Broken("patches")) == 0
    assert caplog.text.count("not finite") == 6
    assert lessons(pack).excerpt("0.wav", 0.0, 5.0) is None

    class Large(Loudness):
        def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
            yield from (1e6 * part for part in super().values(blocks))

    teach(pack, Large("patches", name="large"))
    found = Pack.open(pack).lessons("large")
    assert found is not None
    assert np.isfinite(found.values).all()


def test_a_teacher_that_gives_another_size_is_refused(pack: Path) -> None:
    class Wide(Loudness):
        def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
            yield np.zeros((2, 3), np.float32)

    with pytest.raises(ConfigError, match=r"2 values a step, but gave an array of shape \(2, 3\)"):
        teach(pack, Wide("patches"))


@pytest.mark.parametrize("rate", [16_000, 22_050, 32_000])
def test_blocks_are_the_whole_recording_resampled(pack: Path, rate: int) -> None:
    opened = Pack.open(pack)
    item = opened.items[2]
    found = [*blocks(opened, item, rate)]
    assert [len(block) for block in found] == [10 * rate, 2 * rate]
    audio = opened.excerpt(2, 0, item["samples"])
    whole = audio if rate == 22_050 else soxr.resample(audio, 22_050, rate)
    np.testing.assert_allclose(np.concatenate(found), whole, atol=1e-6)


def test_only_what_lies_inside_an_excerpt_is_known_of_it(pack: Path) -> None:
    teach(pack, Loudness("patches"))
    found = lessons(pack).excerpt("1.wav", 2.3, 3.5)
    assert found is not None
    np.testing.assert_allclose(found.values[:, 0], [3, 4])  # 2 began before, 5 ends after
    np.testing.assert_allclose(found.times, [0.7, 1.7])
    whole = found.within(0.0, 2.7)
    assert whole is not None
    assert whole.values[:, 0].tolist() == [3, 4]
    part = found.within(0.0, 2.69)
    assert part is not None
    assert part.values[:, 0].tolist() == [3]
    assert found.within(0.8, 1.8) is None
    exact = lessons(pack).excerpt("1.wav", 2.0, 1.0)
    assert exact is not None
    assert exact.values[:, 0].tolist() == [2]
    assert lessons(pack).excerpt("1.wav", 2.3, 1.5) is None
    assert lessons(pack).excerpt("elsewhere.wav", 2.0, 5.0) is None


def test_frames_lie_on_their_grid_and_clips_span_every_excerpt(pack: Path) -> None:
    teach(pack, Loudness("frames"))
    found = lessons(pack).excerpt("1.wav", 2.02, 0.2)
    assert found is not None
    np.testing.assert_allclose(found.times, [0.03, 0.08, 0.13, 0.18])
    np.testing.assert_allclose(found.values[:, 0], [41, 42, 43, 44])
    for name in FILES:
        (pack / name).unlink()
    teach(pack, Loudness("clips"))
    clip = lessons(pack).excerpt("1.wav", 5.0, 3.0)
    assert clip is not None
    assert clip.window == 3.0
    assert len(clip.values) == 1
    assert clip.within(0.5, 3.0) is None  # where only a part sounds


def test_facts_that_make_no_sense_are_refused() -> None:
    given = {"model": "m", "sha256": "", "licence": "", "trained_on": "", "size": 2, "hop": 1.0}
    for wrong, message in (
        ({"name": "A.b", "kind": "frames"}, "small letters"),
        ({"name": "a", "kind": "frame"}, "kind is one of"),
        ({"name": "a", "kind": "patches"}, "have a window"),
        ({"name": "a", "kind": "frames", "window": 1.0}, "have a window"),
        ({"name": "a", "kind": "frames", "hop": 0.0}, "must be positive"),
    ):
        with pytest.raises(ConfigError, match=message):
            Facts(**given | wrong)  # type: ignore[arg-type]


def test_the_command_asks_teachers_of_ones_own(
    pack: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["teach", str(pack), "--teacher", "fake_teachers:patches", "--jobs", "2"]) == 0
    assert "72 rows of loudness" in capsys.readouterr().err
    for name, message in (
        ("musicnn", "Did you mean 'musicnn-m"),
        ("fake_teachers:nobody", "must return a musicssl_training.teachers.Teacher, got str"),
        ("json:dumps", "can be called without arguments: missing a required argument: 'obj'"),
        ("math:pi", "can be called without arguments: 3.14"),
        ("fake_teachers:patch", "cannot be imported"),
        ("no_such_module:make", "cannot be imported"),
    ):
        assert main(["teach", str(pack), "--teacher", name]) == 2
        assert message in capsys.readouterr().err
    assert main(["teach", str(pack / "elsewhere"), "--teacher", "fake_teachers:patches"]) == 2
    assert "not a pack" in capsys.readouterr().err


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_whose_package_is_missing_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_module, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="pip install "):
        load_teacher(name)
