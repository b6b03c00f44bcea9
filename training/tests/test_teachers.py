"""Teachers: what they say is written whole, once, and can be found again."""

import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from fake_teachers import GRIDS, RATE, Loudness
from numpy.typing import NDArray

import musicssl
from musicssl.errors import ConfigError, DependencyError, ModelError
from musicssl_training.cli.main import main
from musicssl_training.data import Pack
from musicssl_training.data.facts import Facts
from musicssl_training.data.teaching import Lessons
from musicssl_training.teachers import TEACHERS, load_teacher
from musicssl_training.teachers import base as base_module
from musicssl_training.teachers.embedding import licence_of
from musicssl_training.teachers.teach import Written, blocks, teach

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
    assert teach(pack, Loudness("patches")).rows == 6 * 12
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


def test_what_is_known_is_counted(pack: Path) -> None:
    teach(pack, Loudness("patches"))
    index = pack / FILES[1]
    assert lessons(pack).known == 6
    facts, *places = index.read_text().splitlines(keepends=True)
    index.write_text("".join([facts, *places[::-1]]))  # in whatever order
    assert lessons(pack).known == 6
    index.write_text("".join([facts, *places[:4]]))
    assert lessons(pack).known == 4


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
    assert teach(pack, teacher).rows == 6 * 75  # of 12 s
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
    assert teach(pack, teacher).rows == 72
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
    message = r"another teacher of that name .*\(sha256: 'abababababab', not 'cdcdcdcdcdcd'\)"
    with pytest.raises(ConfigError, match=message):
        teach(pack, Loudness("patches", sha256="cd" * 32))
    with pytest.raises(ConfigError, match=r"\(kind: 'patches', not 'frames'; hop: 1.0, not 0.05"):
        teach(pack, Loudness("frames"))


def test_other_words_on_licence_and_training_are_no_other_teacher(pack: Path) -> None:
    teach(pack, Loudness("patches"))
    whole = contents(pack)
    index = pack / FILES[1]
    index.write_bytes(b"".join(whole[1].splitlines(keepends=True)[:4]))
    reworded = Loudness("patches")
    reworded.facts = replace(reworded.facts, licence="CC0-1.0", trained_on="nothing at all")
    assert teach(pack, reworded).rows == 72
    assert contents(pack)[0] == whole[0]
    first, *places = contents(pack)[1].splitlines()
    assert places == whole[1].splitlines()[1:]
    assert json.loads(first)["licence"] == "CC0-1.0"  # which the next model's card will say
    assert not reworded.facts.same_values(replace(reworded.facts, model="another layer"))


class Giving(Loudness):
    """Gives something else of some recordings; what is given may be an error."""

    def __init__(self, given: Any, calls: Sequence[int] = range(6), kind: str = "patches") -> None:
        super().__init__(kind)
        self.given, self.calls, self.asked = given, calls, 0

    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Any:
        self.asked += 1
        if self.asked - 1 not in self.calls:
            return super().values(blocks)
        if isinstance(self.given, Exception):
            raise self.given
        return None if self.given is None else iter([self.given])


UNUSABLE = [
    (np.full((12, 2), np.nan), "values are not finite"),
    (np.full((12, 2), 1e6), "values up to 1e+06, 16-bit floats end at 65,504"),
    (np.zeros((12, 3)), "it gives 2 values a step, but gave an array of shape (12, 3)"),
    (np.zeros(2), "gave an array of shape (2,)"),
    (np.zeros((2, 2)), "2 steps of 1 s for 12.0 s, where 10 to 14 are expected"),
    (np.zeros((900, 2)), "900 steps of 1 s for 12.0 s"),
    (np.full((12, 2), "x"), "not an array of numbers"),
    ([[1, 2]], "gave [[1, 2]] (list), not an array of numbers"),
    (None, "gave NoneType and no arrays"),
    (RuntimeError("boom"), "RuntimeError: boom"),
    (EOFError(), "EOFError"),
]


@pytest.mark.parametrize(("given", "why"), UNUSABLE)
def test_one_bad_recording_is_left_out_and_asked_about_again(
    given: object, why: str, pack: Path, caplog: pytest.LogCaptureFixture
) -> None:
    teach(pack, Loudness("patches"))
    whole = contents(pack)
    for name in FILES:
        (pack / name).unlink()
    done = teach(pack, Giving(given, calls=[5]))
    assert (done.rows, done.known) == (60, 5)
    assert list(done.left_out) == ["5.wav"]
    assert why in done.left_out["5.wav"]
    assert f"left out: 5.wav: {done.left_out['5.wav']}" in caplog.text
    assert lessons(pack).excerpt("5.wav", 0.0, 5.0) is None
    repaired = Giving(given, calls=[])
    assert teach(pack, repaired) == Written(72, 6, {})
    assert repaired.asked == 1
    assert contents(pack) == whole


def test_what_an_older_version_left_out_is_asked_about_again(pack: Path) -> None:
    teach(pack, Loudness("patches"))
    facts, *places = (pack / FILES[1]).read_text().splitlines(keepends=True)
    left = json.dumps(json.loads(places[4]) | {"steps": 0}) + "\n"
    places[5] = json.dumps(json.loads(places[5]) | {"first": 48}) + "\n"
    (pack / FILES[1]).write_text("".join([facts, *places[:4], left, places[5]]))
    (pack / FILES[0]).write_bytes((pack / FILES[0]).read_bytes()[: 60 * 4])
    assert lessons(pack).known == 5
    assert teach(pack, Loudness("patches")) == Written(72, 6, {})
    paths = [json.loads(line).get("path") for line in (pack / FILES[1]).open()]
    assert paths == [None, *(f"{i}.wav" for i in (0, 1, 2, 3, 5, 4))]


@pytest.mark.parametrize("name", TEACHERS)
def test_every_teacher_has_steps_that_fit(name: str) -> None:
    try:
        teacher = load_teacher(name)
    except DependencyError as error:
        pytest.skip(str(error))
    for seconds in (0.01, 0.3, 2.9, 14.0):
        audio = np.zeros(max(1, int(seconds * teacher.sample_rate)), np.float32)
        steps = sum(map(len, teacher.values(iter([audio]))))
        assert not teacher.facts.misfit(steps, seconds)


def test_steps_are_compared_with_the_length_of_a_recording() -> None:
    frames, patches, clip = (Loudness(kind).facts for kind in GRIDS)
    assert frames.fitting_steps(10.0) == (181, 220)
    assert patches.fitting_steps(14.0) == (12, 16)
    assert replace(patches, window=3.0).fitting_steps(14.0) == (10, 16)
    assert [patches.fitting_steps(seconds) for seconds in (0.0, 1.0)] == [(0, 2), (0, 3)]
    assert [clip.fitting_steps(seconds) for seconds in (0.5, 3.0)] == [(0, 1), (1, 1)]
    assert clip.misfit(2, 3.0) == "2 steps for 3.0 s, where 1 are expected"


def test_values_that_say_nothing_are_told(pack: Path, caplog: pytest.LogCaptureFixture) -> None:
    teach(pack, Loudness("patches"))
    assert "teacher loudness" not in caplog.text
    for values, message in (
        (np.full((12, 2), 0.5), "2 of 2 values are the same in all 72 steps"),
        (np.arange(24).reshape(12, 2) * [1, 1e-9], "1 of 2 values are the same in all 72 steps"),
        (np.arange(24).reshape(12, 2) * [1, 1e-6], "1 of 2 values are so small"),
    ):
        for name in FILES:
            (pack / name).unlink()
        caplog.clear()
        teach(pack, Giving(values))
        assert f"{pack}: teacher loudness: {message}" in caplog.text


def test_values_of_other_audio_are_refused(pack: Path) -> None:
    index = pack / "index.jsonl"
    items = [json.loads(line) for line in index.open()]

    def write(hashes: str) -> None:
        rows = [item | {"audio_hash": h} for item, h in zip(items, hashes, strict=True)]
        index.write_text("".join(json.dumps(row) + "\n" for row in rows))

    old = Loudness("patches", name="old")
    teach(pack, old)  # of a pack without hashes
    write("abcdef")
    teach(pack, Loudness("patches"))
    assert hashes_told(pack) == "abcdef"
    assert teach(pack, Loudness("patches")).known == lessons(pack).known == 6
    write("abxdef")
    for use in (lambda: teach(pack, Loudness("patches")), lambda: lessons(pack)):
        with pytest.raises(ConfigError, match=r"of other audio of the name 2\.wav.*Delete teacher"):
            use()
    assert teach(pack, old).known == 6  # nobody can tell
    for name in FILES:
        (pack / name).unlink()
    teach(pack, Loudness("patches"))
    assert hashes_told(pack) == "abxdef"


def hashes_told(pack: Path) -> str:
    """Return the hashes of the audio of which a teacher's index says that it was heard."""
    _, *places = map(json.loads, (pack / FILES[1]).read_text().splitlines())
    return "".join(place["audio_hash"] for place in places)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"first": -12}, "line 3, is damaged .first is -12"),
        ({"steps": "x"}, "line 3, is damaged .steps is 'x'"),
        ({"path": None}, "line 3, is damaged .path is None"),
        ({"more": 1}, "line 3, is damaged .*unexpected keyword argument 'more'"),
        ({"first": 0}, "has of 1.wav row 0, which is another recording's"),
        ({"steps": 2}, "has of 1.wav 2 steps of 1 s for 12.0 s"),
    ],
)
def test_a_damaged_line_of_places_is_refused(
    change: dict[str, object], wrong: str, pack: Path
) -> None:
    teach(pack, Loudness("patches"))
    facts, first, second, *others = (pack / FILES[1]).read_text().splitlines(keepends=True)
    second = json.dumps(json.loads(second) | change) + "\n"
    (pack / FILES[1]).write_text("".join([facts, first, second, *others]))
    before = contents(pack)
    for use in (lambda: teach(pack, Loudness("patches")), lambda: lessons(pack)):
        with pytest.raises(ConfigError, match=f"{wrong}.*elete teacher-loudness"):
            use()
    assert contents(pack) == before


@pytest.mark.parametrize(
    ("facts", "wrong"),
    [
        (b"garbage", "Expecting value"),
        (b"\xff\xfe\x00", "can't decode"),
        (b"[1]", r"\[1\] is no row"),
        (b'{"hop": 1}', "missing"),
        ({"hop": float("nan")}, "hop and window are seconds, got nan"),
        ({"hop": "1"}, "hop must be of type float, got '1' .str"),
        ({"size": 2.0}, "size must be of type int, got 2.0 .float"),
        ({"name": "other"}, "is of teacher 'other': was it renamed"),
    ],
)
def test_damaged_facts_are_refused(
    facts: bytes | dict[str, object], wrong: str, pack: Path
) -> None:
    teach(pack, Loudness("patches"))
    line, *others = (pack / FILES[1]).read_bytes().splitlines(keepends=True)
    if isinstance(facts, dict):
        facts = json.dumps(json.loads(line) | facts).encode()
    (pack / FILES[1]).write_bytes(b"".join([facts + b"\n", *others]))
    for use in (lambda: teach(pack, Loudness("patches")), lambda: lessons(pack)):
        with pytest.raises(ConfigError, match=f"jsonl, line 1, is damaged .*{wrong}"):
            use()


@pytest.mark.parametrize("kind", GRIDS)
def test_values_that_are_not_finite_name_file_and_recording(kind: str, pack: Path) -> None:
    teach(pack, Loudness(kind))
    values = np.fromfile(pack / FILES[0], "<f2").reshape(-1, 2)
    values[len(values) // 2, 1] = np.nan  # the first of the fourth recording's
    values.tofile(pack / FILES[0])
    found = lessons(pack)
    assert found.excerpt("2.wav", 0.0, 5.0) is not None
    for use in (lambda: found.excerpt("3.wav", 0.0, 5.0), found.moments):
        with pytest.raises(ConfigError, match=r"loudness\.f16 holds values of 3\.wav that are not"):
            use()


def test_two_at_a_time_and_values_without_an_index_are_refused(
    pack: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Nested(Loudness):
        def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
            with pytest.raises(ConfigError, match="another process is writing there"):
                teach(pack, Loudness("patches"))
            return super().values(blocks)

    assert teach(pack, Nested("patches")).known == 6
    values = (pack / FILES[0]).read_bytes()
    (pack / FILES[1]).unlink()
    with pytest.raises(ConfigError, match=r"f16 is there without teacher-loudness\.jsonl"):
        teach(pack, Loudness("patches"))
    assert (pack / FILES[0]).read_bytes() == values
    (pack / FILES[1]).touch()
    assert teach(pack, Loudness("patches")).rows == 72
    assert (pack / f"{FILES[0]}.aside").read_bytes() == values


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
        ({"name": "a", "kind": "frames", "hop": float("inf")}, "hop and window are seconds"),
        ({"name": "a", "kind": "frames", "size": True}, "size must be of type int"),
        ({"name": None, "kind": "frames"}, "name must be of type str, got None"),
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
        ("no_such_module:make", "cannot be imported: No module named 'no_such_module'"),
        ("fake_teachers:fails", "cannot be made: KeyError: 'no key'"),
        ("fake_teachers:without_facts", "teacher Silent: facts must be a Facts, got None"),
        ("fake_teachers:without_rate", "sample_rate must be a whole number of Hz, got 0"),
    ):
        assert main(["teach", str(pack), "--teacher", name]) == 2
        assert message in capsys.readouterr().err
    assert main(["teach", str(pack / "elsewhere"), "--teacher", "fake_teachers:patches"]) == 2
    assert "not a pack" in capsys.readouterr().err


def test_the_command_goes_on_behind_what_cannot_be_taught(
    pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = tmp_path / "good"
    shutil.copytree(pack, good)
    (pack / "index.jsonl").write_text("garbage\n")
    command = ["teach", str(pack), str(tmp_path / "none"), str(good), "--teacher"]
    assert main([*command, "fake_teachers:patches"]) == 1
    said = capsys.readouterr().err
    assert "line 1, holds what no pack does" in said
    assert "none holds no index.jsonl" in said
    assert f"{good}: 72 rows of loudness, of 6 recordings\n" in said
    assert main([*command[:3], "--teacher", "fake_teachers:patches"]) == 2
    for name in FILES:
        (good / name).unlink()
    command = ["teach", str(good), "--teacher"]
    assert main([*command, "fake_teachers:not_finite"]) == 1
    assert "0 rows of loudness, of 0 recordings; 6 recordings were left out" in (
        capsys.readouterr().err
    )
    assert main([*command, "fake_teachers:patches"]) == 0


def test_the_command_finds_a_module_in_the_current_folder(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my_own_teacher.py").write_text("from fake_teachers import patches as make\n")
    (tmp_path / "my_bad_teacher.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    assert main(["teach", str(pack), "--teacher", "my_own_teacher:make"]) == 0
    assert main(["teach", str(pack), "--teacher", "my_bad_teacher:make"]) == 2
    assert "cannot be imported: ZeroDivisionError: division by zero" in capsys.readouterr().err


@pytest.mark.parametrize("name", TEACHERS)
def test_a_teacher_whose_package_is_missing_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_module, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="pip install "):
        load_teacher(name)
