"""Log of a run: one curve however often it is killed, and what is read from it."""

import errno
import io
import json
import logging
import math
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from musicssl.errors import ConfigError, OutputError
from musicssl_training.train import metrics as record_module
from musicssl_training.train.curves import (
    mean_cosines,
    normalized_losses,
    select_group,
    smoothed,
    speed,
)
from musicssl_training.train.metrics import (
    Curves,
    MetricLogger,
    effective_rank,
    gradient_statistics,
    peak_memory,
    read_log,
    truncate_after,
)
from musicssl_training.weighting import output_gradients, output_gram


def write(folder: Path, first: int, last: int, start: int = 0, *, tensorboard: bool = True) -> None:
    with MetricLogger(folder, start, tensorboard=tensorboard) as record:
        for step in range(first, last + 1):
            record.write(step, {"hours": step / 10, "loss": {"a": 1 / step, "b": 2.0}})


def curve(*values: float) -> tuple[np.ndarray, np.ndarray]:
    return np.arange(1, len(values) + 1), np.array(values, dtype=float)


def test_a_resumed_run_has_one_gapless_curve(tmp_path: Path) -> None:
    write(tmp_path, 1, 8)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 9, "lo')  # as a kill leaves it
    write(tmp_path, 6, 10, start=5)
    steps, values = read_log(tmp_path)["loss/a"]
    assert steps.tolist() == list(range(1, 11))
    np.testing.assert_allclose(values, 1 / steps, rtol=1e-7)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "tensorboard"]


def test_tensorboard_shows_the_same(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    write(tmp_path, 1, 8)
    time.sleep(1.1)  # files are read in the order of their names, which begin with a second
    write(tmp_path, 6, 10, start=5)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"hours", "loss/a", "loss/b"}
    assert [event.step for event in events.Scalars("loss/a")] == list(range(1, 11))
    assert events.Scalars("loss/a")[-1].value == pytest.approx(0.1)


def test_both_files_hold_a_step_as_soon_as_it_is_written(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with MetricLogger(tmp_path, 0) as record:
        record.write(1, {"norm": 2.0})
        events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
        events.Reload()
        assert [event.step for event in events.Scalars("norm")] == [1]
        assert read_log(tmp_path)["norm"][1] == [2]


def test_without_tensorboard_that_is_logged_and_the_rest_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    write(tmp_path, 1, 3)
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "TensorBoard" in caplog.text
    assert len(read_log(tmp_path)["hours"][0]) == 3
    caplog.clear()
    write(tmp_path, 1, 3, tensorboard=False)
    assert not caplog.records
    assert not (tmp_path / "tensorboard").exists()


def test_nested_values_and_tensors_become_numbers_by_name(tmp_path: Path) -> None:
    with MetricLogger(tmp_path, 0, tensorboard=False) as record:
        r2: dict[str, float | torch.Tensor] = {"log_mel": torch.tensor([0.25]), "mfcc": 1}
        record.write(7, {"norm": torch.tensor(0.5), "r2": r2})
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line == {"step": 7, "norm": 0.5, "r2/log_mel": 0.25, "r2/mfcc": 1}


def test_what_is_not_finite_becomes_a_gap(tmp_path: Path) -> None:
    with MetricLogger(tmp_path, 0) as record:
        record.write(1, {"norm": math.inf, "loss": {"a": math.nan, "b": 1.0}})
    text = (tmp_path / "log.jsonl").read_text()
    assert json.loads(text) == {"step": 1, "norm": None, "loss/a": None, "loss/b": 1}
    curves = read_log(tmp_path)
    assert np.isnan(curves["norm"][1]).all()
    assert list(select_group(curves, "loss")) == ["b"]


def test_a_long_runs_clock_keeps_its_hundredths(tmp_path: Path) -> None:
    with MetricLogger(tmp_path, 0, tensorboard=False) as record:
        record.write(1, {"wall": 604_800.12})  # a week
    assert read_log(tmp_path)["wall"][1] == [604_800.12]


def test_no_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no log\.jsonl: not a pre-training run"):
        read_log(tmp_path)
    for text in ("", '{"step"', '{"step": 3}\n'):
        (tmp_path / "log.jsonl").write_text(text)
        with pytest.raises(ConfigError, match="is empty: the run has not come far enough"):
            read_log(tmp_path)


def test_broken_lines_are_named_and_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1, 2, tensorboard=False)
    with (tmp_path / "log.jsonl").open("ab") as log:  # as power cuts leave it
        log.write(b'\0\0\0\n[1]\n{"loss/a": 1}\n\xff\n{"step": 3, "hours": 0.3}\n{"step": 4}')
    assert read_log(tmp_path)["hours"][0].tolist() == [1, 2, 3]
    assert "log.jsonl, line 3 was cut short" in caplog.text
    assert len(caplog.records) == 5
    truncate_after(tmp_path / "log.jsonl", 9)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3


def test_forgetting_is_all_or_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, 1, 8, tensorboard=False)
    before = (tmp_path / "log.jsonl").read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, 6, 10, start=5, tensorboard=False)
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with MetricLogger(tmp_path, 0, tensorboard=False) as record, monkeypatch.context() as patch:
        patch.setattr(record, "_lines", Full())
        with pytest.raises(OutputError, match=r"cannot write to .*log\.jsonl: No space left"):
            record.write(1, {"norm": 1.0})


def test_geometry_of_a_known_gram() -> None:
    rows = torch.tensor([[3.0, 4.0], [4.0, -3.0], [0.0, 0.0], [-6.0, -8.0], [1e-7, 0.0]])
    norms, cosines = gradient_statistics(rows @ rows.T, ["a", "b", "c", "d", "e"])
    assert norms == pytest.approx({"a": 5, "b": 5, "c": 0, "d": 10, "e": 1e-7})
    assert cosines == pytest.approx({"a-b": 0, "a-d": -1, "b-d": 0})


def test_geometry_of_workers_gradients() -> None:
    frames = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    losses = {"a": frames[..., 0].sum(), "b": frames[..., :2].sum(), "c": -2 * frames.sum()}
    norms, cosines = gradient_statistics(output_gram(output_gradients(losses, frames)), [*losses])
    assert norms == pytest.approx({"a": 10**0.5, "b": 20**0.5, "c": 2 * 30**0.5})
    expected = {"a-b": 0.5**0.5, "a-c": -((1 / 3) ** 0.5), "b-c": -((2 / 3) ** 0.5)}
    assert cosines == pytest.approx(expected, rel=1e-6)


def test_gradients_that_are_not_finite_have_no_cosines() -> None:
    norms, cosines = gradient_statistics(torch.full((2, 2), math.inf), ["a", "b"])
    assert norms == {"a": math.inf, "b": math.inf}
    assert cosines == {}
    assert gradient_statistics(torch.full((2, 2), math.nan), ["a", "b"])[1] == {}


def test_the_effective_rank_is_that_of_roy_and_vetterli() -> None:
    random = torch.Generator().manual_seed(0)
    values, _ = torch.linalg.qr(torch.randn(200, 6, generator=random, dtype=torch.float64))
    frames = values - values.mean(dim=0)
    frames, _ = torch.linalg.qr(frames)  # orthogonal, and around 0
    assert effective_rank(frames.reshape(2, 100, 6) + 5) == pytest.approx(6)
    sizes = torch.tensor([1.0, 1.0, 0.5, 0.0, 0.0, 0.0], dtype=torch.float64)
    shares = np.array([0.4, 0.4, 0.2])
    expected = math.exp(-(shares * np.log(shares)).sum())
    assert effective_rank((frames * sizes).reshape(2, 100, 6)) == pytest.approx(expected, rel=1e-5)
    assert math.isnan(effective_rank(torch.ones(2, 100, 6)))
    assert math.isnan(effective_rank(torch.full((2, 100, 6), math.nan)))


def test_losses_are_divided_by_their_start() -> None:
    curves: Curves = {
        "loss/told": curve(3.0, 2.0),
        "start/told": curve(4.0),
        "loss/first": curve(math.nan, 5.0, 1.0),
        "loss/negative": curve(-1.0, -2.0),
        "loss/gone": curve(math.nan),
    }
    found = {name: values for name, (_, values) in normalized_losses(curves).items()}
    assert found.keys() == {"told", "first", "negative"}
    np.testing.assert_allclose(found["told"], [0.75, 0.5])
    np.testing.assert_allclose(found["first"], [math.nan, 1, 0.2])
    np.testing.assert_allclose(found["negative"], [-1, -2])


def test_smoothing_keeps_start_and_straight_lines_and_bridges_gaps() -> None:
    line = np.linspace(2, 1, 301)
    line[150] = np.nan
    noise = np.random.default_rng(0).standard_normal(3001)
    found = smoothed({"line": curve(*line), "noise": curve(*noise), "gap": curve(math.nan, 1)})
    np.testing.assert_allclose(found["line"][1][:290], np.linspace(2, 1, 301)[:290], atol=2e-3)
    assert found["noise"][1][0] == noise[0]
    assert found["noise"][1][200:].std() == pytest.approx(201**-0.5, rel=0.35)
    np.testing.assert_array_equal(found["gap"][1], [math.nan, 1])


def test_cosines_are_means_over_the_last_quarter() -> None:
    curves: Curves = {
        "cosine/a-b": (np.array([25, 50, 75, 100]), np.array([9.0, 9.0, 0.25, 0.75])),
        "cosine/b-c-d": (np.array([25]), np.array([-0.5])),  # dead since
        "cosine/a-c-d": (np.array([75, 100]), np.array([math.nan, -0.5])),
    }
    matrix, first, last = mean_cosines(curves, ["a", "b", "c-d"])
    assert (first, last) == (75, 100)
    nan = math.nan
    np.testing.assert_array_equal(matrix, [[nan, 0.5, -0.5], [0.5, nan, nan], [-0.5, nan, nan]])
    assert np.isnan(mean_cosines({}, ["a", "b"])[0]).all()


def test_speed_over_the_last_lines() -> None:
    curves: Curves = {
        "hours": (np.array([10, 20, 30]), np.array([1.0, 2.0, 4.0])),
        "wall": (np.array([10, 20, 30]), np.array([360.0, 400.0, 440.0])),
        "waiting": (np.array([10, 20, 30]), np.array([0.0, 1.0, 3.0])),
    }
    assert speed(curves, 1) == pytest.approx((180, 0.75))  # 2 h in 40 s; 10 steps wait 3 s each
    assert speed(curves, 2) == pytest.approx((135, 0.5))
    assert speed(curves) == pytest.approx((4 / 440 * 3600, 40 / 440))  # from the start
    assert all(math.isnan(value) for value in speed({"hours": curves["hours"]}))


def test_peak_memory_is_of_this_process_and_never_falls() -> None:
    pytest.importorskip("resource")
    before = peak_memory(torch.device("cpu"))
    block = np.ones(2**24)  # 128 MiB
    after = peak_memory(torch.device("cpu"))
    assert before.keys() == after.keys() == {"host"}
    assert block.nbytes / record_module.GIB < after["host"] < 64
    assert before["host"] <= after["host"]
