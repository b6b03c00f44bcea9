"""Fingerprints by which `datasets.map` finds again what it has computed."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import musicssl

ROOT = Path(musicssl.__file__).parent.parent
CODE = """
import sys
import numpy as np
from datasets.fingerprint import Hasher
import musicssl
from musicssl import get_embedding

model = musicssl.load_model(sys.argv[1], device="cpu")

def embed(batch):
    return {"embedding": model.embed(batch["path"])}

def embed_by_name(batch):
    return {"embedding": get_embedding(batch["path"], model="musicssl-small", layer=2)}

class Embed:
    def __init__(self, model):
        self.model = model

    def __call__(self, batch):
        return {"embedding": self.model.embed(batch["path"])}

functions = (embed, embed_by_name, Embed(model), model.embed)
print(*map(Hasher.hash, functions))
if "used" in sys.argv:
    model.embed(np.zeros(22_050, np.float32), 22_050)
    print(*map(Hasher.hash, functions))
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("datasets"), reason="needs datasets")
def test_fingerprints_are_those_of_other_processes_and_stay_in_use(tiny_model_folder: Path) -> None:
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, str(tiny_model_folder), word],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": paths, "HF_HUB_OFFLINE": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed, word in (("1", "used"), ("2", ""))
    ]
    said = [process.communicate(timeout=240)[0].splitlines() for process in running]
    assert said[0] == [said[1][0], said[1][0]]
    assert len(set(said[1][0].split())) == 4
