"""Two processes under torchrun: they learn what one does, and wait for a long probe."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from musicssl_training.train import PretrainConfig, ProbeConfig, pretrain, write_config

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from musicssl_training.train import pretrain, read_config

torch.set_num_threads(1)
pretrain(read_config(json.load(open(sys.argv[1]))), Path(sys.argv[2]))
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


def run_two(script: str, config: PretrainConfig, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in two processes, with a file of settings and the folder of the run."""
    file, settings = folder.with_suffix(".py"), folder.with_suffix(".json")
    file.write_text(script)
    settings.write_text(json.dumps(write_config(config)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *map(str, [file, settings, folder])],
        env=environment,
        timeout=240,
        check=False,
        capture_output=True,
        text=True,
    )


def test_two_processes_learn_what_one_does(toy_config: PretrainConfig, tmp_path: Path) -> None:
    config = replace(
        toy_config,
        data=replace(toy_config.data, recordings=4, gain_db=0.0),
        augment_spectrogram=replace(
            toy_config.augment_spectrogram, clean=1.0
        ),  # its random numbers differ by process
        workers=("chroma", "shape", "contrast"),
        compare_every=2,
        steps=4,
    )
    one = pretrain(config, tmp_path / "one")
    done = run_two(SCRIPT, config, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-2000:]
    state = torch.load(tmp_path / "two" / "state.pt", weights_only=True)
    assert state["progress"]["hours_heard"] == one.progress.hours_heard
    for name, value in one.encoder.state_dict().items():
        torch.testing.assert_close(state["encoder"][name], value, rtol=1e-3, atol=1e-4)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    for a, b in zip(*logs, strict=True):
        assert abs(json.loads(a)["loss/contrast"] - json.loads(b)["loss/contrast"]) < 1e-3


def test_a_probe_may_last_longer_than_the_processes_wait_for_each_other(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    config = replace(
        toy_config,
        data=replace(toy_config.data, recordings=2, seconds=1.0),
        workers=("chroma",),
        probe=ProbeConfig(every=2, collections=("any=thing",)),
        measure_batches=1,
        steps=3,
    )
    done = run_two(SLOW_PROBE, config, tmp_path / "two")
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in (tmp_path / "two" / "log.jsonl").open()]
    assert [line.get("probe/mean") for line in lines] == [None, 0.5, None]
