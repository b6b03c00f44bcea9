"""The loop: the same curve however often it is stopped, and nothing learnt from what is not."""

import itertools
import json
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from musicssl.encoders import ENCODERS
from musicssl.errors import ConfigError, MusicSSLError, OutputError
from musicssl_training.augment import MaskConfig
from musicssl_training.cli.main import main
from musicssl_training.targets.features import make_grid
from musicssl_training.train import (
    OptimConfig,
    PretrainConfig,
    ProbeConfig,
    StepResult,
    TrainState,
    loop,
    pretrain,
    read_ema_encoder,
)
from musicssl_training.train.inputs import EncoderInput, load_batch, make_encoder_input
from musicssl_training.train.metrics import read_log
from musicssl_training.train.probe import check_probe
from musicssl_training.train.schedule import learning_rate_at
from musicssl_training.train.setup import make_encoder, make_fabric, make_sampler, make_state
from musicssl_training.weighting import WEIGHTINGS
from musicssl_training.workers import SCORE_WORKERS, WORKERS, Batch, check_layers, layers_read


class Setup:
    """What the loop is given, before its first step."""

    def __init__(self, config: PretrainConfig, folder: Path) -> None:
        self.config, self.fabric = config, make_fabric(config)
        torch.manual_seed(config.seed)
        encoder = make_encoder(config)
        self.grid = make_grid(encoder)
        self.sampler = make_sampler(config, encoder.sample_rate)
        self.state = make_state(config, encoder, {}, self.fabric.device)
        loop.fit_target_statistics(self.state, config, self.sampler, self.grid, self.fabric.device)

    def batch(self, step: int) -> tuple[Batch, EncoderInput]:
        """Return the first part of a step, and what the encoder hears of it."""
        batch = load_batch(self.sampler, step, self.grid, self.config)[0]
        workers = self.state.workers
        return batch, make_encoder_input(batch, self.state.encoder, workers, self.config)


def test_killed_and_resumed_is_the_same_run(toy_config: PretrainConfig, tmp_path: Path) -> None:
    whole = pretrain(toy_config, tmp_path / "whole")

    class Killed(Exception):
        pass

    def until_four(state: TrainState, _: StepResult) -> None:
        if state.progress.step == 4:
            raise Killed

    with pytest.raises(Killed):
        pretrain(toy_config, tmp_path / "cut", show=until_four)
    resumed = pretrain(toy_config, tmp_path / "cut")  # from step 3, the last that was saved
    assert resumed.progress.step == whole.progress.step == 6
    assert resumed.progress.hours_heard == whole.progress.hours_heard
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    for name, value in whole.ema_encoder.state_dict().items():
        assert torch.equal(value, resumed.ema_encoder.state_dict()[name])
    curves = [read_log(tmp_path / name)["loss/chroma"] for name in ("whole", "cut")]
    for a, b in zip(*curves, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_logged_goes_on_after_a_stop(toy_config: PretrainConfig, tmp_path: Path) -> None:
    mask = MaskConfig(excerpts=1.0)
    config = replace(toy_config, workers=("log_mel", "masked"), mask=mask, steps=3)
    pretrain(config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "cut", stop=lambda: True)  # after the first step
    pretrain(config, tmp_path / "cut")
    whole, cut = (read_log(tmp_path / name) for name in ("whole", "cut"))
    assert set(whole) == set(cut)
    for name in set(whole) - {"wall", "waiting", "memory/host"}:
        np.testing.assert_array_equal(whole[name][-1], cut[name][-1], name)


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


@pytest.mark.parametrize(
    "workers",
    [
        ("log_mel", "chroma", "shape", "transposition"),
        ("log_mel:layer=0", "chroma", "shape:layer=-2", "transposition:layer=1"),
    ],
)
def test_workers_gradients_add_up_to_that_of_the_weighted_losses(
    workers: tuple[str, ...], toy_config: PretrainConfig, tmp_path: Path
) -> None:
    """What the loop gives encoder and heads is what two plain backward passes give."""
    config = replace(toy_config, workers=workers, steps=1)
    setup = Setup(config, tmp_path)
    weights = torch.tensor([1.0, 0.5, 0.0, 3.0])
    setup.state.weighting.forward = lambda losses, gram, live: weights  # type: ignore[method-assign, misc, assignment]
    batch, inputs = setup.batch(0)
    encoder = setup.state.encoder
    read = layers_read(config.worker_configs(), encoder.n_layers)
    frames = loop.read_layers(encoder, inputs.features, sorted(set(read.values())))
    heads = loop.split_output(frames, inputs, read)
    losses = loop.find_losses(setup.state.workers, heads, batch, setup.fabric)
    losses.sum().backward()
    gradients = loop.stack_gradients(heads, frames)
    whole = loop.weighted_gradient(heads, weights, frames)
    torch.testing.assert_close(whole, torch.einsum("k,k...->...", weights, gradients))
    frames.backward(whole)
    found = [p.grad.clone() for p in setup.state.parameters() if p.grad is not None]

    for of_encoder in (True, False):
        setup.state.optimizer.zero_grad()
        layers = encoder.encode(inputs.features)
        own = []
        for name, worker in setup.state.workers.items():
            frames, extras = layers[read[name]], heads[name].extras
            views = frames[heads[name].rows] if extras.views else None
            own.append(
                worker.loss(frames[: inputs.batch], batch, replace(extras, view_frames=views))
            )
        losses = torch.stack(own)
        (losses * (weights if of_encoder else 1.0)).sum().backward()
        owner = setup.state.encoder if of_encoder else setup.state.workers
        wished = [p.grad for p in owner.parameters() if p.grad is not None]
        part = found[: len(wished)] if of_encoder else found[-len(wished) :]
        for a, b in zip(part, wished, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_layers_that_no_worker_reads_are_left_alone(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    config = replace(toy_config, workers=("log_mel:layer=0", "chroma:layer=1"))
    before = Setup(config, tmp_path).state.encoder
    after = pretrain(config, tmp_path / "run").encoder
    moved = {
        name.rpartition(".")[0]
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert any(name.startswith("stem") for name in moved)
    assert any(name.startswith("blocks.0") for name in moved)
    assert not any(name.startswith(("blocks.1", "norm")) for name in moved)


def test_a_layer_that_the_encoder_has_not(toy_config: PretrainConfig, tmp_path: Path) -> None:
    config = replace(toy_config, workers=("log_mel", {"name": "chroma", "layer": 3}))
    with pytest.raises(ConfigError, match=r"layer of 'chroma' must be -3 to 2, .* got 3"):
        pretrain(config, tmp_path / "run")


def test_layers_that_are_measured_exist_and_are_told_if_nothing_trains_them(
    toy_config: PretrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    configs = replace(toy_config, workers=("chroma:layer=0", "mfcc:layer=-2")).worker_configs()
    check_layers(configs, 3, [0, 1, -2, -3], "layer")
    assert not caplog.records
    check_layers(configs, 3, [0, 2, -1], "evaluate.layer")
    assert "evaluate.layer 2, -1 is not trained by this run" in caplog.text
    assert "read layers up to 1 of 0 to 2" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"layer": (3,)}, "config.probe: layer 3 does not exist"),
        ({"layer": ()}, "config.probe: layer"),
        ({"pooling": "men"}, "config.probe: .*Did you mean 'mean'"),
        ({"pooling": "none"}, "pooling must be mean, max or meanstd"),
        ({"tasks": ("gender",)}, "config.probe: task 'gender' is unknown.*Did you mean 'genre'"),
        ({"seeds": 0}, "config.probe: seeds must be at least 1"),
        ({"collections": ("mine=nowhere",)}, "probe.collections: collection 'mine' is unknown"),
    ],
)
def test_a_probe_that_would_fail_is_refused_before_the_run_starts(
    wrong: dict[str, Any], message: str, toy_config: PretrainConfig, tmp_path: Path
) -> None:
    probe = ProbeConfig(**{"every": 5000, "collections": ("emotify=nowhere",)} | wrong)
    with pytest.raises(ConfigError, match=message):
        pretrain(replace(toy_config, probe=probe), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    check_probe(replace(toy_config, probe=replace(probe, every=0)))


def test_logging_cosines_changes_nothing(toy_config: PretrainConfig, tmp_path: Path) -> None:
    plain = pretrain(toy_config, tmp_path / "plain")
    compared = pretrain(replace(toy_config, compare_every=2), tmp_path / "compared")
    assert "cosine/chroma-shape" in read_log(tmp_path / "compared")
    for a, b in zip(plain.parameters(), compared.parameters(), strict=True):
        assert torch.equal(a, b)


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
    assert one.progress.hours_heard == pytest.approx(two.progress.hours_heard)
    for a, b in zip(one.encoder.parameters(), two.encoder.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize("name", WORKERS)
def test_every_worker_runs_in_the_loop(
    name: str, toy_config: PretrainConfig, tmp_path: Path
) -> None:
    data = replace(toy_config.data, recordings=8)
    mask = replace(toy_config.mask, excerpts=1.0)  # `masked` asks for nothing else
    config = replace(toy_config, data=data, mask=mask, workers=(name,), steps=1)
    results: list[StepResult] = []
    state = pretrain(config, tmp_path, show=lambda _, result: results.append(result))
    assert state.progress.skipped == 0
    start = state.workers[name].expected_initial_loss
    if name in SCORE_WORKERS:
        assert results[0].losses == {}  # nothing is asked of recordings without a score
    elif start is not None:
        assert results[0].losses[name] == pytest.approx(start, rel=0.5)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_absent_workers_take_nothing_from_the_others(
    name: str, toy_config: PretrainConfig, tmp_path: Path
) -> None:
    _, kind = WEIGHTINGS[name]
    config = replace(
        toy_config, weighting=kind(), workers=("chroma", "shape", "piano_roll", "key"), steps=3
    )
    results: list[StepResult] = []
    pretrain(config, tmp_path, show=lambda _, result: results.append(result))
    for result in results:
        assert result.losses.keys() == {"chroma", "shape"}
        asked = [result.weights[name] for name in result.losses]
        assert sum(map(abs, asked)) == pytest.approx(2, rel=1e-4)


def test_learning_rate_ramps_and_falls() -> None:
    optim = OptimConfig(warm_up=10, cool_down=0.2, learning_rate=1.0)
    assert learning_rate_at(0, 100, optim) == pytest.approx(0.1)
    assert learning_rate_at(50, 100, optim) == 1.0
    assert learning_rate_at(90, 100, optim) == pytest.approx(0.5)
    assert learning_rate_at(100, 100, optim) == 0.0
    cosine = replace(optim, schedule="cosine")
    assert learning_rate_at(10, 100, cosine) == 1.0
    assert learning_rate_at(55, 100, cosine) == pytest.approx(0.5)
    assert learning_rate_at(100, 100, cosine) == pytest.approx(0.0)


class NaNGradient(torch.autograd.Function):
    """Give back what came, and a gradient that is not finite."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * float("nan")


class Breaks:
    """Makes the loop's loss, gradient or forward pass not finite in some steps."""

    def __init__(self, what: str, patch: pytest.MonkeyPatch) -> None:
        self.bad: set[int] = set()
        self.step = -1
        losses, layer, fetch = loop.find_losses, loop.read_layers, loop.copy_buffers

        def find_losses(*args: Any) -> torch.Tensor:
            found = losses(*args)
            if self.step not in self.bad or what == "forward":
                return found
            head, rest = found[:1], found[1:]
            head = head * float("nan") if what == "loss" else NaNGradient.apply(head)
            return torch.cat([head, rest])

        def read_layers(*args: Any) -> torch.Tensor:
            frames = layer(*args)
            return frames * float("nan") if self.step in self.bad and what == "forward" else frames

        def copy_buffers(*args: Any) -> list[torch.Tensor]:
            self.step += 1  # once in every step, before anything is heard
            return fetch(*args)

        for function in (find_losses, read_layers, copy_buffers):
            patch.setattr(loop, function.__name__, function)


@pytest.mark.parametrize("what", ["loss", "gradient", "forward"])
@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_step_that_is_not_finite_leaves_no_trace(
    name: str,
    what: str,
    toy_config: PretrainConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    _, kind = WEIGHTINGS[name]
    config = replace(toy_config, weighting=kind(), workers=("chroma", "shape", "contrast"))
    assert_no_trace(config, what, tmp_path, monkeypatch)
    what = "loss of chroma" if what != "gradient" else "gradient"
    assert f"step 3 left out: the {what}" in caplog.text


def test_running_statistics_are_put_back(
    toy_config: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = replace(toy_config.data, seconds=0.4, recordings=2)
    config = replace(
        toy_config,
        encoder=ENCODERS["pase"][1](),
        data=data,
        workers=("log_mel", "contrast"),
        measure_batches=1,
    )
    assert_no_trace(config, "forward", tmp_path, monkeypatch)


def assert_no_trace(
    config: PretrainConfig, what: str, folder: Path, patch: pytest.MonkeyPatch
) -> None:
    """Take two steps, then a third one that is not finite: nothing but the counts has moved."""
    config = replace(config, steps=9, save_every=1)
    breaks = Breaks(what, patch)
    breaks.bad = {2}
    saved = []
    for _ in range(2):
        steps = 2 if not saved else 1
        done: list[int] = []
        with pytest.raises(KeyboardInterrupt):
            pretrain(
                config,
                folder,
                show=lambda *_, done=done: done.append(1),  # type: ignore[misc]
                stop=lambda done=done, steps=steps: len(done) == steps - 1,  # type: ignore[misc]
            )
        saved.append(torch.load(folder / "state.pt", weights_only=True))
    before, after = saved
    assert (before["progress"]["step"], after["progress"]["step"]) == (2, 3)
    assert (before["progress"]["skipped"], after["progress"]["skipped"]) == (0, 1)
    for part in ("encoder", "ema_encoder", "workers", "weighting"):
        for key, value in before[part].items():
            assert torch.equal(value, after[part][key]), f"{part}.{key}"
            assert value.isfinite().all(), f"{part}.{key}"
    for index, values in before["optimizer"]["state"].items():
        for key, value in values.items():
            assert torch.equal(value, after["optimizer"]["state"][index][key])


def test_a_run_ends_after_too_many_steps_that_are_not_finite(
    toy_config: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Breaks("loss", monkeypatch).bad = set(range(100))
    with pytest.raises(MusicSSLError, match="the loss of log_mel was not finite for 4 steps"):
        pretrain(replace(toy_config, patience=4), tmp_path)


@pytest.mark.parametrize("what", ["loss", "gradient", "forward"])
def test_the_scale_of_losses_backs_off_after_an_overflow(
    what: str, toy_config: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks = Breaks(what, monkeypatch)
    breaks.bad = {1}
    config = replace(toy_config, precision="fp16", workers=("chroma", "shape"), steps=3)
    scales: list[float] = []
    state = pretrain(
        config, tmp_path, show=lambda state, _: scales.append(state.scaler.get_scale())
    )
    assert state.progress.skipped == 1
    assert scales[1] == scales[0] / 2 == scales[2]


def test_encoder_and_heads_are_clipped_apart(toy_config: PretrainConfig, tmp_path: Path) -> None:
    config = replace(toy_config, optim=OptimConfig(clip=1.0, clip_heads=2.0))
    state = Setup(config, tmp_path).state
    for module, size in ((state.encoder, 0.5), (state.workers, 100.0)):
        for p in module.parameters():
            p.grad = torch.ones_like(p)
        torch.nn.utils.clip_grad_norm_(module.parameters(), size)
        total = torch.nn.utils.get_total_norm(
            [p.grad for p in module.parameters() if p.grad is not None]
        )
        for p in module.parameters():
            assert p.grad is not None
            p.grad *= size / total
    norms = loop.clip_gradients(state, config.optim)
    assert norms == pytest.approx((0.5, 100.0), rel=1e-4)
    assert loop.clip_gradients(state, config.optim) == pytest.approx((0.5, 2.0), rel=1e-4)


def test_a_state_of_an_older_version_is_taken_up(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    whole = pretrain(toy_config, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pretrain(toy_config, tmp_path / "cut", stop=lambda: True)
    file = tmp_path / "cut" / "state.pt"
    state = torch.load(file, weights_only=True)
    state["average"] = state.pop("ema_encoder")
    progress = state["progress"]
    progress["hours"], progress["wall"] = progress.pop("hours_heard"), progress.pop("wall_seconds")
    torch.save(state, file)
    resumed = pretrain(toy_config, tmp_path / "cut")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    assert resumed.progress.hours_heard == whole.progress.hours_heard


def test_the_averaged_encoder_can_be_read_without_the_music(
    toy_config: PretrainConfig, toy_pack: Path, tmp_path: Path
) -> None:
    music = tmp_path / "music"
    shutil.copytree(toy_pack, music)
    data = replace(toy_config.data, sources=(str(music),))
    state = pretrain(replace(toy_config, data=data, steps=2), tmp_path / "run")
    shutil.rmtree(music)
    encoder, progress = read_ema_encoder(tmp_path / "run", toy_config.encoder)
    assert progress.step == 2
    for a, b in zip(encoder.parameters(), state.ema_encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    other = replace(toy_config.encoder, dim=16)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="another encoder"):
        read_ema_encoder(tmp_path / "run", other)
    with pytest.raises(ConfigError, match="not a pre-training run"):
        read_ema_encoder(tmp_path, toy_config.encoder)
    for damage in (b"half a state", b"", b"<html>", b"PK\x03\x04 cut", bytes(500)):
        (tmp_path / "run" / "state.pt").write_bytes(damage)
        with pytest.raises(ConfigError, match="damaged") as found:
            read_ema_encoder(tmp_path / "run", toy_config.encoder)
        assert "weights_only" not in str(found.value)  # torch advises to run what it holds


def test_a_full_disk_leaves_the_last_state(
    toy_config: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(replace(toy_config, steps=3), tmp_path)
    before = (tmp_path / "state.pt").read_bytes()

    def full(state, file):  # type: ignore[no-untyped-def]
        file.write(b"half")
        raise RuntimeError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"disk full.* The one before is intact"):
        pretrain(toy_config, tmp_path)
    assert (tmp_path / "state.pt").read_bytes() == before
    with pytest.raises(OutputError, match=r"disk full.* None was saved before"):
        pretrain(toy_config, tmp_path / "new")
    assert not list(tmp_path.glob("*.part"))


def test_stopping_saves_and_the_log_has_every_step_once(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    config = replace(toy_config, steps=30, save_every=20, log_every=10, workers=("chroma",))
    steps: list[int] = []

    def show(state: TrainState, _: StepResult) -> None:
        steps.append(state.progress.step)

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
    real, steps = loop.copy_buffers, itertools.count()

    def interrupted(*args: Any) -> list[torch.Tensor]:
        if next(steps) == 2:
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    handler = signal.getsignal
    monkeypatch.setattr(
        signal,
        "getsignal",
        lambda n: signal.default_int_handler if n == signal.SIGINT else handler(n),
    )
    monkeypatch.setattr(loop, "copy_buffers", interrupted)
    assert main(["pretrain", str(config), str(run_folder)]) == 130
    state = torch.load(run_folder / "state.pt", weights_only=True)
    assert state["progress"]["step"] == 3


@pytest.mark.parametrize("where", ["wave", "spectrum", "both"])
def test_what_the_encoder_hears_is_augmented_and_the_batch_is_not(
    where: str, toy_config: PretrainConfig, tmp_path: Path
) -> None:
    data = replace(toy_config.data, seconds=1.0, recordings=2)
    config = replace(toy_config, data=data, augment_in=where, workers=("chroma", "contrast"))
    setup = Setup(config, tmp_path)
    (batch,) = load_batch(setup.sampler, 0, setup.grid, config)
    before = batch.sound.audio.clone()
    encoder = setup.state.encoder
    inputs = make_encoder_input(batch, encoder, setup.state.workers, config)
    assert torch.equal(batch.sound.audio, before)
    clean = encoder.frontend(before).values
    for a, b in zip(inputs.features.values, clean, strict=True):
        assert a.shape == b.shape
        assert not torch.allclose(a, b)
    assert inputs.masked is not None
    assert inputs.masked.shape == (len(before), encoder.frames(before.shape[1]))


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
    fresh = Setup(config, tmp_path).state.encoder
    moved_by = [
        (a - b).abs().max().item()
        for a, b in zip(run.encoder.parameters(), fresh.parameters(), strict=True)
    ]
    assert sum(distance > 0 for distance in moved_by) > 0.9 * len(moved_by)
