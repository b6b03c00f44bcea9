"""The loop: the same curve however often it is stopped, and nothing learnt from what is not."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from musicssl.encoders import ENCODERS
from musicssl.errors import ConfigError, MusicSSLError, OutputError
from musicssl_training.cli.main import main
from musicssl_training.train import loop as pretrain_module
from musicssl_training.train.config import DataConfig, OptimConfig, PretrainConfig, ProbeConfig
from musicssl_training.train.inputs import hear, moved, read
from musicssl_training.train.loop import find_losses, learn, learn_apart, pretrain, rate
from musicssl_training.train.metrics import read_log
from musicssl_training.train.state import Run
from musicssl_training.weighting import WEIGHTINGS
from musicssl_training.workers import SELECTIONS, WORKERS


def test_killed_and_resumed_is_the_same_run(toy_config: PretrainConfig, tmp_path: Path) -> None:
    whole = pretrain(toy_config, tmp_path / "whole")

    class Killed(Exception):
        pass

    steps = 0
    real = pretrain_module.train_step

    def until_four(*args):  # type: ignore[no-untyped-def]
        nonlocal steps
        steps += 1
        if steps == 5:
            raise Killed
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain_module, "train_step", until_four)
        with pytest.raises(Killed):
            pretrain(toy_config, tmp_path / "cut")
    resumed = pretrain(toy_config, tmp_path / "cut")  # from step 3, the last that was saved
    assert resumed.progress.step == whole.progress.step == 6
    assert resumed.progress.hours == whole.progress.hours
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name])
    curves = [read_log(tmp_path / name)["loss/chroma"] for name in ("whole", "cut")]
    for a, b in zip(*curves, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_every_weighting_survives_a_stop(
    name: str, toy_config: PretrainConfig, tmp_path: Path
) -> None:
    _, kind = WEIGHTINGS[name]
    config = replace(toy_config, weighting=kind(), workers=("chroma", "shape"), steps=4)
    whole = pretrain(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "cut", stop=lambda: True)  # after the first step
    cut = pretrain(config, tmp_path / "cut")
    for a, b in zip(whole.parameters(), cut.parameters(), strict=True):
        assert torch.equal(a, b)
    for key, value in whole.weighting.state_dict().items():
        assert torch.equal(cut.weighting.state_dict()[key], value)


def test_each_workers_own_gradients_add_up_to_the_joint_one(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    run = Run(toy_config, tmp_path)
    pretrain_module.measure(run)
    run.workers.eval()  # nothing is remembered from one to the next
    run.weighting.forward = lambda losses, gram: torch.tensor([1.0, 0.5, 2.0, 0.0, 3.0, 1.5])  # type: ignore[method-assign]
    found = []
    for apart in (False, True):
        run.optimizer.zero_grad()
        batch = moved(run, read(run, 0)[0])
        if apart:
            frames, rows = hear(run, batch)
            losses, weights, gram = learn_apart(run, batch, frames, rows, None, 1.0)
            assert gram is not None
            assert gram.shape == (6, 6)
        else:
            losses, weights, _ = learn(run, batch, None, 1.0, compare=False)
        found.append(
            [losses, weights, *(p.grad.clone() for p in run.parameters() if p.grad is not None)]
        )
    assert len(found[0]) == len(found[1])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_accumulated_parts_learn_what_the_whole_does(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    config = replace(
        toy_config,
        data=replace(toy_config.data, recordings=4),
        workers=("chroma", "shape"),
        augment_spectrogram=replace(toy_config.augment_spectrogram, clean=1.0),
        steps=2,
    )
    parts = replace(config, optim=replace(config.optim, accumulate=2))
    one, two = pretrain(config, tmp_path / "one"), pretrain(parts, tmp_path / "two")
    assert one.progress.hours == pytest.approx(two.progress.hours)
    for a, b in zip(one.encoder.parameters(), two.encoder.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("name", WORKERS)
def test_every_worker_runs_in_the_loop(
    name: str, toy_config: PretrainConfig, tmp_path: Path
) -> None:
    data = replace(toy_config.data, recordings=8)
    run = Run(replace(toy_config, data=data, workers=(name,)), tmp_path)
    pretrain_module.measure(run)
    batch = moved(run, read(run, 0)[0])
    frames, rows = hear(run, batch)
    loss = find_losses(run, batch, [frames[rows[0]]])[name]
    assert loss.isfinite()
    start = run.workers[name].start
    if name in SELECTIONS["score"]:
        assert loss == 0  # recordings without a score carry no such loss
    elif start is not None:
        assert loss.item() == pytest.approx(start, rel=0.5)


def test_learning_rate_ramps_and_falls() -> None:
    optim = OptimConfig(warm_up=10, cool_down=0.2, learning_rate=1.0)
    assert rate(0, 100, optim) == pytest.approx(0.1)
    assert rate(50, 100, optim) == 1.0
    assert rate(90, 100, optim) == pytest.approx(0.5)
    assert rate(100, 100, optim) == 0.0
    cosine = replace(optim, schedule="cosine")
    assert rate(10, 100, cosine) == 1.0
    assert rate(55, 100, cosine) == pytest.approx(0.5)
    assert rate(100, 100, cosine) == pytest.approx(0.0)


def test_steps_that_are_not_finite_are_left_out_until_patience_ends(
    toy_config: PretrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = pretrain_module.find_losses
    bad: set[int] = {2}

    def sometimes(run, batch, inputs):  # type: ignore[no-untyped-def]
        losses = real(run, batch, inputs)
        if run.progress.step in bad:
            losses["chroma"] = losses["chroma"] * float("nan")
        return losses

    monkeypatch.setattr(pretrain_module, "find_losses", sometimes)
    run = pretrain(toy_config, tmp_path / "once")
    assert run.progress.skipped == 1
    assert "step 3 left out: the loss of chroma is not finite" in caplog.text
    assert all(p.isfinite().all() for p in run.parameters())
    bad |= set(range(100))
    with pytest.raises(
        MusicSSLError, match="the loss of chroma was not finite for 4 steps in a row"
    ):
        pretrain(replace(toy_config, patience=4), tmp_path / "always")


def test_a_full_disk_leaves_the_last_state(
    toy_config: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(replace(toy_config, steps=3), tmp_path)
    before = (tmp_path / "state.pt").read_bytes()

    def full(state, path):  # type: ignore[no-untyped-def]
        Path(path).write_bytes(b"half")
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="disk full"):
        pretrain(toy_config, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_stopping_saves_and_the_log_has_every_step_once(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    config = replace(toy_config, steps=30, save_every=20, log_every=10, workers=("chroma",))
    steps: list[int] = []

    def show(run, heard):  # type: ignore[no-untyped-def]
        steps.append(run.progress.step)

    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path, show=show, stop=lambda: len(steps) == 4)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"step": 10, "loss/chroma": 1.0}\n{"step": 2')  # of a later run, killed
    pretrain(config, tmp_path, show=show)
    assert steps == list(range(1, 31))
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [10, 20, 30]
    assert "norm" in lines[0]
    started = [json.loads(line) for line in (tmp_path / "runs.jsonl").open()]
    assert len(started) == 2
    assert {"commit", "versions", "sources", "device"} <= started[0].keys()


def test_another_runs_folder_is_left_as_it_is(toy_config: PretrainConfig, tmp_path: Path) -> None:
    config = replace(toy_config, steps=1, workers=("chroma",))
    pretrain(config, tmp_path)
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(ConfigError, match="another encoder, other workers"):
        pretrain(replace(config, workers=("notes",)), tmp_path)
    assert (tmp_path / "config.json").read_text() == before


def test_ctrl_c_saves_and_leaves_with_130(
    toy_pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, run_folder = tmp_path / "toy.toml", tmp_path / "run"
    config.write_text(
        "workers = ['chroma']\nsteps = 500\nmeasure_batches = 2\n"
        f"[data]\nsources = ['{toy_pack}']\nshares = [1.0]\nrecordings = 2\n"
        "[encoder]\nname = 'dilated'\ndim = 16\ninner = 24\n"
    )
    real = pretrain_module.train_step

    def step(run, ahead):  # type: ignore[no-untyped-def]
        if run.progress.step == 2:
            signal.raise_signal(signal.SIGINT)
        return real(run, ahead)

    monkeypatch.setattr(signal, "getsignal", lambda number: signal.default_int_handler)
    monkeypatch.setattr(pretrain_module, "train_step", step)
    assert main(["pretrain", str(config), str(run_folder)]) == 130
    state = torch.load(run_folder / "state.pt", weights_only=True)
    assert state["progress"]["step"] == 3


def test_raw_audio_is_distorted_for_encoders_without_spectra(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    data = DataConfig(sources=toy_config.data.sources, shares=(1.0,), seconds=1.0, recordings=2)
    config = replace(toy_config, data=data, augment_in="wave", workers=("chroma", "contrast"))
    run = Run(config, tmp_path)
    batch = moved(run, read(run, 0)[0])
    clean = run.encode(batch.sound.audio)
    frames, _ = hear(run, batch)
    assert frames.shape == clean.shape
    assert not torch.allclose(frames, clean)


def test_a_run_is_probed_on_labelled_music(toy_config: PretrainConfig, tmp_path: Path) -> None:
    drums = tmp_path / "drum_machines"
    drums.mkdir()
    random, lines = np.random.default_rng(0), ["path,class,machine"]
    for i in range(40):
        kind = i % 2
        t = np.arange(4000) / 22_050
        sound = np.sin(2 * np.pi * (200 + 2000 * kind) * t) * np.exp(-20 * t)
        soundfile.write(
            drums / f"{i}.wav", 0.3 * sound + 0.01 * random.standard_normal(4000), 22_050
        )
        lines.append(f"{i}.wav,{'low' if kind else 'high'},machine{i // 4}")
    (drums / "items.csv").write_text("\n".join(lines) + "\n")
    probes = ProbeConfig(every=2, collections=(f"drum_machines={drums}",), layer=(1,))
    pretrain(replace(toy_config, steps=4, workers=("chroma",), probe=probes), tmp_path / "run")
    steps, scores = read_log(tmp_path / "run")["probe/drum class"]
    assert steps.tolist() == [2, 4]
    assert scores.min() > 0.9
    with pytest.raises(ConfigError, match="is not NAME=FOLDER"):
        ProbeConfig(collections=("emotify",))
    with pytest.raises(ConfigError, match="no probe"):
        ProbeConfig(every=3)


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "dilated"])
def test_encoders_of_raw_audio_learn(name: str, toy_config: PretrainConfig, tmp_path: Path) -> None:
    _, kind = ENCODERS[name]
    data = replace(toy_config.data, seconds=0.4, recordings=2)
    workers = ("log_mel", "mfcc", "prosody", "lim", "gim")
    config = replace(toy_config, encoder=kind(), data=data, workers=workers, steps=1)
    config = replace(config, measure_batches=1, save_every=9)
    run = pretrain(config, tmp_path)
    assert run.progress.skipped == 0
    fresh = Run(config, tmp_path / "fresh").encoder
    moved_by = [
        (a - b).abs().max().item()
        for a, b in zip(run.encoder.parameters(), fresh.parameters(), strict=True)
    ]
    assert sum(distance > 0 for distance in moved_by) > 0.9 * len(moved_by)
