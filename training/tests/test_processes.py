"""Two processes under torchrun: they learn what one does, and wait for a long probe."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musicssl.errors import ConfigError
from musicssl_training.midi.score import SCORES, Score, to_row
from musicssl_training.targets.features import FrameGrid
from musicssl_training.train import PretrainConfig, ProbeConfig, pretrain, write_config
from musicssl_training.train.inputs import load_batch
from musicssl_training.train.setup import make_sampler
from musicssl_training.weighting.rates import GradNormConfig

GRID = FrameGrid(22_050, 441, 2)

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from musicssl_training.train import pretrain, read_config

torch.set_num_threads(1)
for settings, folder in zip(sys.argv[1::2], sys.argv[2::2]):
    pretrain(read_config(json.load(open(settings))), Path(folder))
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""
LIMIT = 10  # seconds
SLOW_PROBE = f"""
import json, sys, time
from datetime import timedelta
from pathlib import Path
import torch
import torch.utils.tensorboard  # slow to load: not while the other process waits
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from musicssl_training.train import pretrain, read_config, report

def probe(*_):
    time.sleep({1.3 * LIMIT})
    return {{"mean": 0.5}}

torch.set_num_threads(1)
report.probe = probe
strategy = DDPStrategy(timeout=timedelta(seconds={LIMIT}))
fabric = Fabric(accelerator="cpu", devices=2, strategy=strategy)
fabric.launch()
pretrain(read_config(json.load(open(sys.argv[1]))), Path(sys.argv[2]), fabric=fabric)
torch.distributed.destroy_process_group()
"""


def run_two(script: str, configs: dict[Path, PretrainConfig]) -> str:
    """Run a script in two processes, with a file of settings and the folder of each run.

    Returns
    -------
    str
        What went wrong.
    """
    arguments = []
    for folder, config in configs.items():
        settings = folder.with_suffix(".json")
        settings.write_text(json.dumps(write_config(config)))
        arguments += [str(settings), str(folder)]
    file = settings.with_name("script.py")
    file.write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(file), *arguments],
        env=environment,
        timeout=240,
        check=False,
        capture_output=True,
        text=True,
    )
    return done.stderr[-2000:] if done.returncode else ""


@pytest.fixture(scope="module")
def scored(toy_pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of which the scores are known."""
    scored = tmp_path_factory.mktemp("packs") / "scored"
    shutil.copytree(toy_pack, scored)
    notes = np.array([[0, 6, 60, 0, 100], [6, 12, 67, 0, 100]], np.float32)
    score = Score(notes, np.zeros((0, 2), np.float32), 120.0, 3)
    lines = [json.dumps({"path": f"{i}.wav"} | to_row(score)) for i in range(6)]
    (scored / SCORES).write_text("\n".join(lines) + "\n")
    return scored


@pytest.fixture(scope="module")
def configs(toy_config: PretrainConfig, toy_pack: Path, scored: Path) -> dict[str, PretrainConfig]:
    """Settings of the runs that are made by one and by two processes."""
    config = replace(
        toy_config,
        data=replace(toy_config.data, recordings=4, gain_db=0.0),
        # its random numbers differ by process
        augment_spectrogram=replace(toy_config.augment_spectrogram, clean=1.0),
    )
    plain = replace(config, workers=("chroma", "shape", "contrast"), compare_every=2, steps=4)
    both = replace(
        config,
        data=replace(config.data, sources=(str(toy_pack), str(scored)), shares=(0.7, 0.3)),
        workers=("chroma", "contrast", "piano_roll", "key", "tempo"),
        weighting=GradNormConfig(),
        steps=6,
    )
    optims = {f"scored-{n}": replace(config.optim, accumulate=n) for n in (1, 2)}
    low = replace(plain, workers=("chroma:layer=0", "contrast:layer=1"))  # nothing trains layer 2
    scored_ones = {name: replace(both, optim=optim) for name, optim in optims.items()}
    return {"plain": plain, "low": low} | scored_ones


@pytest.fixture(scope="module")
def by_two(configs: dict[str, PretrainConfig], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the runs of two processes, which are started once: they load for seconds."""
    folder = tmp_path_factory.mktemp("two")
    assert run_two(SCRIPT, {folder / name: config for name, config in configs.items()}) == ""
    return folder


@pytest.mark.parametrize(("name", "contrast"), [("plain", "contrast"), ("low", "contrast:layer=1")])
def test_two_processes_learn_what_one_does(
    name: str, contrast: str, configs: dict[str, PretrainConfig], by_two: Path, tmp_path: Path
) -> None:
    one = pretrain(configs[name], tmp_path)
    state = torch.load(by_two / name / "state.pt", weights_only=True)
    assert state["progress"]["hours_heard"] == one.progress.hours_heard
    for key, value in one.encoder.state_dict().items():
        tolerance = {"rtol": 1e-3, "atol": 1e-4}
        if key.startswith("blocks.1"):  # of which no worker of the second run has read anything
            tolerance = {"rtol": 0, "atol": 0} if name == "low" else tolerance
        torch.testing.assert_close(state["encoder"][key], value, **tolerance)
    folders = (tmp_path, by_two / name)
    logs = [(folder / "log.jsonl").read_text().splitlines() for folder in folders]
    for a, b in zip(*logs, strict=True):
        losses = [json.loads(line)[f"loss/{contrast}"] for line in (a, b)]
        assert abs(losses[0] - losses[1]) < 1e-3


@pytest.mark.parametrize("name", ["scored-1", "scored-2"])
def test_scores_that_one_process_alone_has_count_as_in_one_process(
    name: str, configs: dict[str, PretrainConfig], by_two: Path, tmp_path: Path
) -> None:
    config = configs[name]
    samplers = [make_sampler(config, 22_050, rank, 2) for rank in range(2)]
    have = [[any(sampler.draw(step).scores) for sampler in samplers] for step in range(6)]
    assert [True, False] in have or [False, True] in have
    assert [False, False] in have  # absent everywhere
    pretrain(config, tmp_path)
    folders = (tmp_path, by_two / name)
    logs = [(folder / "log.jsonl").read_text().splitlines() for folder in folders]
    for step, (a, b) in enumerate(zip(*(map(json.loads, lines) for lines in logs), strict=True)):
        of_workers = {key for key in a if key.startswith(("loss/", "weight/"))}
        assert of_workers == {key for key in b if key.startswith(("loss/", "weight/"))}
        assert ("loss/key" in a) == any(have[step])
        for key in of_workers | {"norm", "norm_heads"}:
            assert a[key] == pytest.approx(b[key], rel=2e-3, abs=1e-4), f"{key} in step {step}"
    states = [torch.load(folder / "state.pt", weights_only=True) for folder in folders]
    for key, value in states[0]["encoder"].items():
        torch.testing.assert_close(states[1]["encoder"][key], value, rtol=1e-2, atol=3e-4)


def test_pairs_are_never_cut_apart(toy_config: PretrainConfig) -> None:
    optim = replace(toy_config.optim, accumulate=2)
    config = replace(toy_config, data=replace(toy_config.data, recordings=8), optim=optim)
    whole = load_batch(make_sampler(config, 22_050), 3, GRID, config)
    halves = [load_batch(make_sampler(config, 22_050, rank, 2), 3, GRID, config) for rank in (0, 1)]
    for part in range(2):
        both = torch.cat([half[part].recordings for half in halves])
        assert torch.equal(both, whole[part].recordings)
        for half in halves:
            pairs = half[part].recordings.reshape(-1, config.data.per_recording)
            assert (pairs == pairs[:, :1]).all()
    with pytest.raises(ConfigError, match="multiple of 6: 3 processes, each hearing"):
        make_sampler(config, 22_050, 0, 3)


def test_a_probe_may_last_longer_than_the_processes_wait_for_each_other(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    config = replace(
        toy_config,
        data=replace(toy_config.data, recordings=2, seconds=1.0),
        workers=("chroma",),
        probe=ProbeConfig(every=2, collections=("emotify=nowhere",)),
        measure_batches=1,
        steps=3,
    )
    assert run_two(SLOW_PROBE, {tmp_path / "two": config}) == ""
    lines = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").open()]
    assert [line.get("probe/mean") for line in lines] == [None, 0.5, None]
