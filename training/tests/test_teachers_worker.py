"""The worker that predicts a teacher: who carries loss, and from which frames."""

import json
import logging
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_teachers import Loudness
from numpy.typing import NDArray
from torch import Tensor

from musicssl.errors import ConfigError
from musicssl_training.data import Sampler, open_sources
from musicssl_training.data.teaching import Taught
from musicssl_training.midi.score import SCORES, Score, to_row
from musicssl_training.release.export import ReleaseConfig, release
from musicssl_training.release.lineage import all_teachers
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.teachers import TEACHERS
from musicssl_training.teachers.teach import teach
from musicssl_training.train import PretrainConfig, pretrain
from musicssl_training.train.inputs import load_batch
from musicssl_training.train.metrics import read_log
from musicssl_training.train.plots import draw
from musicssl_training.train.setup import describe_lessons, make_lessons, make_sampler
from musicssl_training.workers import SELECTIONS, WORKERS, Batch, resolve, worker_configs
from musicssl_training.workers.pairing import PairHead
from musicssl_training.workers.teacher import (
    Distillation,
    DistillationConfig,
    Lesson,
    decorrelation,
    join,
    taught_by,
)

GRID = FrameGrid(sample_rate=1000, hop=40)  # 25 frames a second
DIM, FRAMES = 6, 100
MEAN, VARIANCE = np.array([3.0, -1.0]), np.array([4.0, 0.25])


def make(kind: str, hidden: int) -> Distillation:
    config = DistillationConfig(name="teacher:loudness", hidden=hidden)
    return Distillation(config, DIM, GRID, Lesson(Loudness(kind).facts, MEAN, np.diag(VARIANCE)))


def worker(kind: str) -> Distillation:
    made = make(kind, 8)
    torch.nn.init.normal_(made.head[2].weight, std=0.3)
    return made


def a_batch(taught: list[Taught | None]) -> Batch:
    known = [{} if one is None else {"loudness": one, "other": one} for one in taught]
    rows = len(taught)
    return Batch(CleanAudio(torch.zeros(rows, 4000), GRID), torch.arange(rows), taught=known)


def said(times: list[float], window: float, seed: int = 0) -> Taught:
    values = MEAN + np.sqrt(VARIANCE) * np.random.default_rng(seed).standard_normal((len(times), 2))
    return Taught(values.astype(np.float32), np.array(times), window)


def slope(made: Distillation, batch: Batch) -> Tensor:
    frames = torch.randn(len(batch.taught), FRAMES, DIM, requires_grad=True)
    made.loss(frames, batch).backward()
    assert frames.grad is not None
    return frames.grad.abs().amax(dim=2) > 0


def test_a_patch_is_predicted_from_the_frames_inside_it() -> None:
    batch = a_batch([None, said([0.5, 2.01], 1.0), said([1.0], 1.0)])
    heard = slope(worker("patches"), batch)
    assert not heard[0].any()
    assert heard[1].nonzero().ravel().tolist() == [*range(13, 38), *range(51, 76)]
    assert heard[2].nonzero().ravel().tolist() == [*range(25, 50)]


def test_a_clip_is_predicted_from_all_frames() -> None:
    assert slope(worker("clips"), a_batch([said([0.0], 4.0)])).all()


def test_frames_are_predicted_from_the_nearest_one_and_share_it() -> None:
    taught = said([0.1, 0.15, 0.155, 2.0], 0.0)
    made, batch = worker("frames"), a_batch([None, taught])
    assert slope(made, batch).nonzero().tolist() == [[1, 2], [1, 4], [1, 50]]  # .1 / .04 is even
    heard, values = made.nearest(
        torch.arange(2 * FRAMES * DIM).reshape(2, FRAMES, DIM),
        np.full(4, 1),
        taught.times,
        torch.tensor([[1.0], [2.0], [4.0], [8.0]]),
    )
    assert heard[:, 0].tolist() == [(FRAMES + place) * DIM for place in (2, 4, 50)]
    assert values.ravel().tolist() == [1, 3, 8]


@pytest.mark.parametrize("kind", ["frames", "patches", "clips"])
def test_it_starts_at_one(kind: str) -> None:
    made = make(kind, 8)
    window = {"frames": 0.0, "patches": 1.0, "clips": 4.0}[kind]
    batch = a_batch([said([0.2, 2.2], window, seed) for seed in range(400)])
    assert made.loss(torch.randn(400, FRAMES, DIM), batch).item() == pytest.approx(1, abs=0.1)


def test_it_learns_what_the_frames_know() -> None:
    torch.manual_seed(0)
    made = make("patches", 32)
    batch = a_batch([said([0.0, 1.0, 2.0, 3.0], 1.0, seed) for seed in range(50)])
    frames = torch.zeros(50, FRAMES, DIM)
    for row, taught in enumerate(batch.taught):
        values = torch.from_numpy((taught["loudness"].values - MEAN) / np.sqrt(VARIANCE))
        frames[row, :, :2] = values.repeat_interleave(25, dim=0)
    optimizer = torch.optim.Adam(made.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        loss = made.loss(frames, batch)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
    assert made.r2 > 0.9
    mixed = a_batch([said([0.0, 1.0, 2.0, 3.0], 1.0, 99 - seed) for seed in range(50)])
    assert made.loss(frames, mixed).item() > 1  # it does look at what is said of each row


@pytest.mark.parametrize("taught", [[], [None, None]])
def test_nothing_known_is_told_apart_from_nothing_wrong(taught: list[Taught | None]) -> None:
    made, batch = worker("patches"), a_batch(taught)
    frames = torch.randn(2, FRAMES, DIM, requires_grad=True)
    loss = made.loss(frames, batch)
    loss.backward()
    assert loss.item() == 0
    assert not made.asks(batch)
    assert made.r2.isnan()
    assert frames.grad is not None
    assert not frames.grad.any()
    assert all(p.grad is not None and not p.grad.any() for p in made.parameters())
    assert made.asks(a_batch([None, said([1.0], 1.0)]))


def test_without_hidden_units_the_head_is_linear() -> None:
    made = make("clips", 0)
    assert [type(layer).__name__ for layer in made.head] == ["Linear"]
    frames = torch.randn(2, FRAMES, DIM, generator=torch.Generator().manual_seed(3))
    batch = a_batch([said([0.0], 4.0), said([0.0], 4.0, seed=1)])
    first = made.loss(frames, batch)
    moved = {"weight": torch.randn(2, 2 * DIM), "bias": torch.randn(2)}
    ends = [made.head[0](torch.ones(2 * DIM))]
    for share in (1.0, 2.0):
        made.head[0].load_state_dict({key: share * value for key, value in moved.items()})
        ends.append(made.head[0](torch.ones(2 * DIM)))
    torch.testing.assert_close(ends[0], torch.zeros(2))
    torch.testing.assert_close(ends[2], 2 * ends[1])
    assert made.loss(frames, batch) != first
    with pytest.raises(ConfigError, match="hidden must be 0"):
        make("clips", -1)
    with pytest.raises(ConfigError, match="at least 1"):
        PairHead(DIM, 0)


def test_names_of_teachers_are_a_selection_of_their_own() -> None:
    assert "teacher:musicnn-msd" in SELECTIONS["teachers"]
    assert not set(SELECTIONS["teachers"]) & {*WORKERS, *resolve(["all", "music", "score"])}
    chosen = resolve(["chroma", "teachers", "-teacher:musicnn-mtt", "teacher:mine"])
    known = taught_by(worker_configs(chosen).values())
    assert set(known) == {*TEACHERS, "mine"} - {"musicnn-mtt"}
    assert chosen[0] == "chroma"
    assert chosen[-1] == "teacher:mine"
    for wrong in ("teacher:", "teacher:module:make", "teacher:My.own"):
        with pytest.raises(ConfigError, match="names no teacher"):
            resolve([wrong])


def test_workers_of_one_teacher_may_have_labels_alone() -> None:
    low, high = ({"name": "teacher:mine", "label": name} for name in ("low", "high"))
    assert taught_by(worker_configs(["chroma", low, high]).values()) == ("mine",)


@pytest.fixture
def taught_pack(toy_pack: Path, tmp_path: Path) -> Path:
    """A pack of six recordings of 12 s, of which a teacher said something of each second."""
    folder = tmp_path / "taught"
    shutil.copytree(toy_pack, folder)
    teach(folder, Loudness("patches"))
    return folder


def sampler(folder: Path, **given: float) -> Sampler:
    options = {"seconds": 3.52, "seed": 1, "recordings": 8, "sample_rate": 22_050} | given
    return Sampler(open_sources([str(folder)], 22_050), [1.0], teachers=["loudness"], **options)  # type: ignore[arg-type]


def test_a_step_finds_what_is_said_of_its_excerpts(taught_pack: Path) -> None:
    drawn = sampler(taught_pack).draw(3)
    assert len(drawn.taught) == 16
    for row, start in enumerate(drawn.starts.tolist()):
        one = drawn.taught[row]["loudness"]
        seconds = np.arange(np.ceil(start), np.floor(start + 3.52))
        assert one.values[:, 0].tolist() == seconds.tolist()
        np.testing.assert_allclose(one.times + start, seconds, atol=1e-5)
        for time, loud in zip(one.times, one.values[:, 1], strict=True):
            first = round(time * 22_050)
            clean = np.abs(drawn.audio[row, first : first + 22_050]).mean()
            assert loud == pytest.approx(clean, rel=0.05)
    parts = [sampler(taught_pack, rank=rank, ranks=2).draw(3).taught for rank in range(2)]
    for one, other in zip(parts[0] + parts[1], drawn.taught, strict=True):
        np.testing.assert_array_equal(one["loudness"].values, other["loudness"].values)


def test_nothing_is_known_of_recordings_laid_on_one_another(taught_pack: Path) -> None:
    score = Score(np.array([[0, 12, 60, 0, 100]], np.float32), np.zeros((0, 2), np.float32))
    rows = [json.dumps({"path": f"{i}.wav"} | to_row(score)) for i in range(6)]
    (taught_pack / SCORES).write_text("\n".join(rows) + "\n")
    drawn = sampler(taught_pack, layered=1.0).draw(0)
    for one, known in zip(drawn.scores, drawn.taught, strict=True):
        assert one is not None
        assert (len(one.notes) == 2) == (not known)
    assert all(sampler(taught_pack).draw(0).taught)


def config_with(toy_config: PretrainConfig, folder: Path) -> PretrainConfig:
    data = replace(toy_config.data, sources=(str(folder),))
    return replace(toy_config, data=data, workers=("chroma", "teacher:loudness"))


def test_what_only_sounds_in_part_is_known_in_part(
    toy_config: PretrainConfig, taught_pack: Path
) -> None:
    config = config_with(toy_config, taught_pack)
    config = replace(config, data=replace(config.data, isolated=1.0, recordings=24))
    (batch,) = load_batch(make_sampler(config, 22_050), 0, FrameGrid(22_050, 441, 2), config)
    assert any(batch.taught)
    for audio, known in zip(batch.sound.audio, batch.taught, strict=True):
        sounding = audio.nonzero().ravel() / 22_050
        for time in known["loudness"].times if known else ():
            assert sounding[0] <= time + 0.01
            assert time + 1 <= sounding[-1] + 0.01


def test_moments_are_those_of_the_packs_by_their_shares(taught_pack: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(taught_pack, other)
    rows = np.fromfile(other / "teacher-loudness.f16", "<f2").reshape(-1, 2)
    (rows + np.float16(2)).tofile(other / "teacher-loudness.f16")
    one, two = (open_sources([str(place)], 22_050)[0] for place in (taught_pack, other))
    lesson = join("loudness", [one.lessons("loudness"), None, two.lessons("loudness")], [3, 9, 1])
    values = np.concatenate([rows, rows, rows, rows + np.float16(2)]).astype(np.float64)
    np.testing.assert_allclose(lesson.mean, values.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(lesson.covariance, np.cov(values.T, bias=True), rtol=1e-3)


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_whitening_raises_what_varies_little(share: float) -> None:
    random = np.random.default_rng(0)
    values = random.standard_normal((5000, 3)) * [1.0, 0.3, 0.05] @ random.standard_normal((3, 3))
    values = np.column_stack([values, np.full(5000, 7.0)])  # and one that is always the same
    normal = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    before = np.linalg.eigvalsh(np.cov(normal.T, bias=True))[1:]
    matrix = decorrelation(np.cov(normal.T, bias=True), share).double().numpy()
    np.testing.assert_array_equal(matrix, matrix.T)
    after = np.linalg.eigvalsh(np.cov((normal @ matrix).T, bias=True))[1:]
    faint = 1e-3 * before.sum() / 4
    expected = before * (before + faint) ** -share
    np.testing.assert_allclose(after, expected * 4 / expected.sum(), rtol=1e-3)
    assert after[-1] / after[0] < before[-1] / before[0]


def test_whitened_values_start_at_one_and_ask_for_each_direction_alike() -> None:
    facts = Loudness("frames").facts
    covariance = np.array([[4.0, 0.98], [0.98, 0.25]])  # correlation 0.98
    random = np.random.default_rng(1)
    values = MEAN + random.standard_normal((FRAMES, 2)) @ np.linalg.cholesky(covariance).T
    taught = Taught(values.astype(np.float32), np.arange(FRAMES) / 25, 0.0)
    frames = torch.zeros(1, FRAMES, DIM)
    small = torch.from_numpy((values - MEAN) / np.sqrt(covariance.diagonal()) @ [1, -1]).float()
    frames[0, :, 0] = small / small.std()  # knows the direction of little variance alone
    explained = []
    for whiten in (0.0, 1.0):
        config = DistillationConfig(name="teacher:loudness", hidden=0, whiten=whiten)
        made = Distillation(config, DIM, GRID, Lesson(facts, MEAN, covariance))
        assert made.loss(frames, a_batch([taught])).item() == pytest.approx(1, abs=0.3)
        optimizer = torch.optim.Adam(made.parameters(), lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            made.loss(frames, a_batch([taught])).backward()
            optimizer.step()
        explained.append(made.r2.item())
    assert explained[0] < 0.05 and explained[1] == pytest.approx(0.5, abs=0.1)


def test_whitened_values_stay_exact_where_the_encoder_is_not() -> None:
    config = DistillationConfig(name="teacher:loudness", whiten=0.5)
    covariance = np.array([[4.0, 0.98], [0.98, 0.25]])
    made = Distillation(config, DIM, GRID, Lesson(Loudness("frames").facts, MEAN, covariance))
    values = torch.from_numpy(said([0.0, 1.0, 2.0], 0.0).values)
    exact = made.normalized(values)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(made.normalized(values), exact)


def test_whitening_is_a_share() -> None:
    with pytest.raises(ConfigError, match=r"workers\.teacher:loudness\.whiten must be 0 to 1"):
        DistillationConfig(name="teacher:loudness", whiten=2.0)


class Same(Loudness):
    """A teacher that says the same of everything."""

    def values(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        yield from (np.full_like(part, 0.3) for part in super().values(blocks))


def test_a_teacher_that_always_says_the_same_is_told_and_looks_no_better_than_it_is(
    toy_config: PretrainConfig, toy_pack: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pack = shutil.copytree(toy_pack, tmp_path / "pack")
    teach(pack, Same("patches"))
    config = replace(config_with(toy_config, pack), steps=2, workers=("chroma", "teacher:loudness"))
    pretrain(config, tmp_path / "run")
    assert "teacher:loudness: its target is the same everywhere" in caplog.text
    assert "chroma: its target" not in caplog.text
    curves = read_log(tmp_path / "run")
    assert np.isnan(curves["r2/teacher:loudness"][1]).all()
    assert np.isfinite(curves["r2/chroma"][1]).all()
    plots = draw(tmp_path / "run")
    assert "r2.png" in [path.name for path in plots]


def test_a_run_says_how_much_each_teacher_knows(
    toy_pack: Path, taught_pack: Path, tmp_path: Path
) -> None:
    index = taught_pack / "index.jsonl"
    last = json.loads(index.read_text().splitlines()[-1])
    index.write_text(index.read_text() + json.dumps(last | {"path": "more.wav"}) + "\n")
    folders = [str(taught_pack), str(toy_pack)]
    options = {"seconds": 3.52, "seed": 1, "recordings": 8, "sample_rate": 22_050}
    found = Sampler(open_sources(folders, 22_050), [1.0, 1.0], teachers=["loudness"], **options)  # type: ignore[arg-type]
    said = "teacher:loudness knows 6 of 7 recordings of taught, none of toy"
    assert describe_lessons("loudness", found) == said
    other = shutil.copytree(toy_pack, tmp_path / "other")
    teach(other, Loudness("patches"))
    assert describe_lessons("loudness", sampler(other)).endswith("knows all 6 recordings of other")


def test_a_teacher_that_nobody_asked_or_two_of_a_name_are_refused(
    toy_config: PretrainConfig, toy_pack: Path, taught_pack: Path, tmp_path: Path
) -> None:
    for name, asked in (
        ("loudness", r"\.\.\."),  # of one's own: its module is not known
        ("swift-f0", "swift-f0"),
        ("musicssl-small", "musicssl:musicssl-small"),
    ):
        workers = replace(config_with(toy_config, toy_pack), workers=(f"teacher:{name}",))
        with pytest.raises(ConfigError, match=f"musicssl-train teach PACK --teacher {asked}`"):
            pretrain(workers, tmp_path / "run")
    other = tmp_path / "other"
    shutil.copytree(toy_pack, other)
    teach(other, Loudness("patches", sha256="cd" * 32))
    data = replace(toy_config.data, sources=(str(taught_pack), str(other)), shares=(1.0, 1.0))
    config = replace(toy_config, data=data, workers=("teacher:loudness",))
    with pytest.raises(ConfigError, match="are of different teachers"):
        make_lessons(make_sampler(config, 22_050), config)


@pytest.mark.usefixtures("few_batches")
def test_a_taught_run_goes_on_and_its_card_names_the_teacher(
    toy_config: PretrainConfig,
    taught_pack: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    labeled = ("chroma", {"name": "teacher:loudness", "label": "loud", "layer": 0})
    config = replace(config_with(toy_config, taught_pack), steps=4, save_every=2, workers=labeled)
    whole = pretrain(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "cut", stop=lambda: True)
    cut = pretrain(config, tmp_path / "cut")
    for a, b in zip(whole.parameters(), cut.parameters(), strict=True):
        assert torch.equal(a, b)
    first = json.loads((tmp_path / "whole" / "log.jsonl").read_text().splitlines()[0])
    assert first["loss/loud"] == pytest.approx(1, rel=0.5)
    assert first["start/loud"] == 1
    assert first["r2/loud"] is not None
    assert "teacher:loudness knows all 6 recordings of taught" in caplog.text

    about = ReleaseConfig(summary="A toy.", data_licences="CC0", licence="cc0-1.0")
    out = release(tmp_path / "whole", tmp_path / "model", about)
    facts = json.loads((out / "training.json").read_text())
    (told,) = facts["teachers"]
    assert told["name"] == "loudness"
    assert (told["licence"], told["trained_on"]) == ("CC0", "nothing")
    assert len(told["values_sha256"]["taught"]) == 64
    card = " ".join((out / "README.md").read_text().split())
    assert "Self-supervised only" not in card
    assert "loud imitates loudness" in card
    assert "| loudness | a meter | CC0 | nothing | abababababababab |" in card
    assert "- knowledge-distillation" in card

    later = replace(toy_config, start_from=str(out), steps=2)  # asks no teacher itself
    pretrain(later, tmp_path / "later")
    heir = release(tmp_path / "later", tmp_path / "heir", about)
    facts = json.loads((heir / "training.json").read_text())
    assert "teachers" not in facts
    assert [one["name"] for one in all_teachers(facts)] == ["loudness"]
    card = (heir / "README.md").read_text()
    assert "| loudness | a meter |" in card
    assert "Self-supervised only" not in card
    pretrain(replace(toy_config, steps=2), tmp_path / "plain")
    plain = release(tmp_path / "plain", tmp_path / "plain-model", about)
    card = (plain / "README.md").read_text()
    assert "Teachers" not in card
    assert "Self-supervised only" in card
