"""Two processes under torchrun learn what one learns from the same batch."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch

from musicssl_training.config import PretrainConfig, write_config
from musicssl_training.pretrain import pretrain


def test_two_processes_learn_what_one_does(toy_config: PretrainConfig, tmp_path: Path) -> None:
    config = replace(
        toy_config,
        data=replace(toy_config.data, recordings=4, gain_db=0.0),
        distort=replace(toy_config.distort, clean=1.0),  # its random numbers differ by process
        workers=("chroma", "shape", "contrast"),
        compare_every=2,
        steps=4,
    )
    one = pretrain(config, tmp_path / "one")
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps(write_config(config)))
    script = (
        "import json, sys; from pathlib import Path\n"
        "from musicssl_training.config import read_config\n"
        "from musicssl_training.pretrain import pretrain\n"
        "import torch; torch.set_num_threads(1)\n"
        "run = pretrain(read_config(json.load(open(sys.argv[1]))), Path(sys.argv[2]))\n"
        "torch.distributed.barrier(); torch.distributed.destroy_process_group()\n"
    )
    (tmp_path / "train.py").write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    arguments = [tmp_path / "train.py", settings, tmp_path / "two"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *map(str, arguments)],
        env=environment,
        timeout=240,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    state = torch.load(tmp_path / "two" / "state.pt", weights_only=True)
    assert state["progress"]["hours"] == one.progress.hours
    for name, value in one.encoder.state_dict().items():
        torch.testing.assert_close(state["encoder"][name], value, rtol=1e-3, atol=1e-4)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    for a, b in zip(*logs, strict=True):
        assert abs(json.loads(a)["loss/contrast"] - json.loads(b)["loss/contrast"]) < 1e-3
