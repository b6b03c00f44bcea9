"""What a run writes down, and the pictures of it."""

import json
import math
from pathlib import Path

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest
import torch

from musicssl.errors import ConfigError
from musicssl_training.plots import draw
from musicssl_training.record import Record, geometry, read_log


def write(folder: Path, first: int, last: int, start: int = 0) -> None:
    with Record(folder, start) as record:
        for step in range(first, last + 1):
            record.write(step, {"hours": step / 10, "loss": {"a": 1 / step, "b": 2.0}})


def test_a_resumed_run_has_one_gapless_curve(tmp_path: Path) -> None:
    write(tmp_path, 1, 8)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 9, "lo')  # as a kill leaves it
    write(tmp_path, 6, 10, start=5)
    steps, values = read_log(tmp_path)["loss/a"]
    assert steps.tolist() == list(range(1, 11))
    np.testing.assert_allclose(values, 1 / steps, rtol=1e-5)


def test_tensorboard_shows_the_same(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write(tmp_path, 1, 8)
    write(tmp_path, 6, 10, start=5)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/a")] == list(range(1, 11))


def test_what_is_not_finite_becomes_a_gap(tmp_path: Path) -> None:
    with Record(tmp_path, 0) as record:
        record.write(1, {"norm": math.inf, "loss": {"a": math.nan}})
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {
        "step": 1,
        "norm": None,
        "loss/a": None,
    }
    assert np.isnan(read_log(tmp_path)["norm"][1]).all()


def test_no_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no log"):
        read_log(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"step"')
    with pytest.raises(ConfigError, match="is empty"):
        draw(tmp_path)


def test_geometry_of_a_known_gram() -> None:
    rows = torch.tensor([[3.0, 4.0], [4.0, -3.0], [0.0, 0.0], [-6.0, -8.0]])
    norms, cosines = geometry(rows @ rows.T, ["a", "b", "c", "d"])
    assert norms == {"a": 5, "b": 5, "c": 0, "d": 10}
    assert cosines == pytest.approx({"a-b": 0, "a-d": -1, "b-d": 0})


@pytest.mark.parametrize("count", [1, 5, 32])
def test_pictures_are_drawn_and_repeat(count: int, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    names = [f"worker_{i}" for i in range(count)]
    with Record(tmp_path, 0) as record:
        for step in range(1, 60):
            gram = torch.from_numpy(random.standard_normal((count, 99)))
            norms, cosines = geometry(gram @ gram.T, names)
            losses = {n: math.exp(-step / (9 + i)) + 0.2 for i, n in enumerate(names)}
            losses[names[0]] = math.nan if step == 30 else losses[names[0]]
            weights = {n: 1.0 for n in names}
            values = {"hours": step / 7, "loss": losses, "weight": weights, "probe": {"genre": 0.6}}
            record.write(step, values | {"gradient": norms, "cosine": cosines})
    before = {key: value for key, value in mpl.rcParams.items() if key != "backend"}
    files = draw(tmp_path)
    expected = {"losses.png", "weights.png", "probes.png"} | (
        {"cosines.png"} if count > 1 else set()
    )
    assert {file.name for file in files} == expected
    first = [matplotlib.image.imread(file) for file in files]
    assert all(picture.shape[1] == 990 and picture.std() > 0.01 for picture in first)
    for file, picture in zip(draw(tmp_path, tmp_path / "again"), first, strict=True):
        np.testing.assert_array_equal(matplotlib.image.imread(file), picture)
    assert before.items() <= dict(mpl.rcParams).items()
