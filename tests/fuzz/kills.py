"""Kill the folder command at random moments, and compare the end with that of undisturbed runs.

    python tests/fuzz/kills.py --kills 300

Each round takes one format through three steps: a fresh folder, one whose sources have changed,
and another space with overwrite. Each step is killed (SIGKILL) several times, at any moment of the
time that it takes, and then run to its end. Results, manifest and bystanders in the folder must be
as if there had been no kill. Needs `fork`; prints one line a round, and the figures.
"""

import argparse
import contextlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import soundfile
import torch

from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig
from musicssl.folder.api import embed_folder
from musicssl.model import MusicEncoder

FORMATS = ("npz", "parquet", "h5")
KILLS_A_STEP = 4
LATEST = 0.7  # of the time that a whole step takes
BYSTANDERS = ("notes.txt", "parts/only-copy.wav", ".musicssl/mine.txt", "a/x.npz")


def tone(path: Path, rng: np.random.Generator) -> None:
    """Write a short noise of random length."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.2 * rng.standard_normal(int(rng.integers(2000, 60_000))), 22_050)


def make_music(folder: Path) -> tuple[Path, Path]:
    """Make two trees of which the second is the first, changed."""
    rng = np.random.default_rng(0)
    first, second = folder / "first", folder / "second"
    for i in range(36):
        tone(first / f"{'abc'[i % 3]}/{i % 5}/{i:02}.wav", rng)
    (first / "a" / "bad.mp3").write_text("no music " * 99)
    shutil.copytree(first, second)
    for path in sorted(second.rglob("*.wav"))[::4]:
        tone(path, rng)
    for path in sorted(second.rglob("*.wav"))[1::6]:
        path.write_text("bad now")
    for i in range(6):
        tone(second / "new" / f"{i}.wav", rng)
    return first, second


def make_model(folder: Path) -> Path:
    """Save a very small, untrained model."""
    encoder = DilatedConfig(
        dim=16, inner=32, pitch_channels=(2, 2), mel_channels=8, dilations=(1, 2)
    )
    torch.manual_seed(0)
    return MusicEncoder(ModelConfig(encoder=encoder)).save_pretrained(folder)


def in_child(work: Callable[[], object]) -> int:
    """Start `work` in a forked process, which says nothing; return its id."""
    if child := os.fork():
        return child
    code = 70
    try:
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        work()
        code = 0
    finally:
        os._exit(code)


def state(out: Path) -> dict[str, Any]:
    """Return all that the folder says: results, manifest, bystanders."""
    said: dict[str, Any] = {}
    for path in sorted(path for path in out.rglob("*") if path.is_file()):
        name = path.relative_to(out).as_posix()
        if name == "manifest.jsonl":
            records = [json.loads(line) for line in path.read_text().splitlines()]
            said[name] = sorted(
                json.dumps(record | {"seconds": 0}, sort_keys=True) for record in records
            )
        elif name.endswith(".h5"):
            said[name] = read_h5(path)
        elif name not in (".musicssl/lock",):
            said[name] = path.read_bytes()
    return said


def read_h5(path: Path) -> dict[str, bytes]:
    """Return all datasets of a file; its bytes depend on the moment."""
    import h5py

    found = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, it: (
                found.update({name: it[()].tobytes()}) if hasattr(it, "shape") else None
            )
        )
        found["space"] = str(file.attrs["space"]).encode()
    return found


class Campaign:
    """Rounds of steps, each killed and then finished."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.model = make_model(folder / "model")
        first, second = make_music(folder)
        self.contents = (first, second, second)  # of one folder, step by step
        self.music = folder / "music"
        self.expected: dict[str, list[dict[str, Any]]] = {}
        self.took: dict[str, list[float]] = {}
        self.figures: Counter[str] = Counter()

    def steps(self, format: str) -> list[dict[str, Any]]:
        """Return what each step asks for."""
        same = {"format": format, "model": self.model, "jobs": 2, "batch_seconds": 1e-3}
        return [
            {"paths": self.music, **same},
            {"paths": self.music, **same},
            {"paths": self.music, **same, "layer": 0, "overwrite": True},
        ]

    def turn_to(self, step: int) -> None:
        """Let the folder hold what it holds in a step."""
        self.music.unlink(missing_ok=True)
        self.music.symlink_to(self.contents[step])

    def fresh(self, name: str) -> Path:
        """Return a folder with only bystanders in it."""
        out = self.folder / name
        shutil.rmtree(out, ignore_errors=True)
        for bystander in BYSTANDERS:
            (out / bystander).parent.mkdir(parents=True, exist_ok=True)
            (out / bystander).write_text(f"the user's {bystander}")
        return out

    def undisturbed(self, format: str) -> None:
        """Note what each step leaves, and how long it takes."""
        out = self.fresh(f"whole-{format}")
        self.expected[format], self.took[format] = [], []
        for i, step in enumerate(self.steps(format)):
            self.turn_to(i)
            code = os.waitpid(in_child(lambda step=step: embed_folder(out=out, **step)), 0)[1]
            assert code == 0, "an undisturbed run failed"
            self.expected[format].append(state(out))
            self.took[format].append(self.time(step))

    def time(self, step: dict[str, Any]) -> float:
        """Return how long a step takes in a fresh folder."""
        started = time.perf_counter()
        out = self.fresh("timed")
        os.waitpid(in_child(lambda: embed_folder(out=out, **step)), 0)
        return time.perf_counter() - started

    def round(self, format: str) -> None:
        """Take one folder through all steps."""
        out = self.fresh("out")
        for i, step in enumerate(self.steps(format)):
            self.turn_to(i)
            for _ in range(KILLS_A_STEP):
                child = in_child(lambda step=step: embed_folder(out=out, **step))
                # what is left takes less each time; ends are met all the same
                time.sleep(self.random.uniform(0, LATEST * self.took[format][i]))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                status = os.waitpid(child, 0)[1]
                self.figures["killed" if os.WIFSIGNALED(status) else "ended before"] += 1
                self.figures["failed by itself"] += os.WIFEXITED(status) and status != 0
            status = os.waitpid(in_child(lambda step=step: embed_folder(out=out, **step)), 0)[1]
            same = status == 0 and state(out) == self.expected[format][i]
            self.figures["ends compared"] += 1
            if not same:
                self.figures["ends that differ"] += 1
                kept = self.folder.with_name(f"differs-{format}-{i}-{self.figures['killed']}")
                shutil.copytree(out, kept, dirs_exist_ok=True)
                print(f"{format}, step {i}: differs (exit {status}); see {kept}", flush=True)


def main() -> int:
    """Run the campaign; the exit code is 1 if any end differed."""
    parser = argparse.ArgumentParser(description="Kill the folder command; compare the ends.")
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # one core, so that the last bits are always the same
        os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    torch.set_num_threads(1)
    for package in ("h5py", "pyarrow.parquet"):  # once, not in each child
        importlib.import_module(package)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        campaign = Campaign(Path(folder) / "work", args.seed)
        for format in FORMATS:
            campaign.undisturbed(format)
        n = 0
        while campaign.figures["killed"] < args.kills:
            campaign.round(FORMATS[n % len(FORMATS)])
            n += 1
            print(f"round {n}: {dict(campaign.figures)}", flush=True)
        if campaign.figures["ends that differ"]:
            shutil.copytree(folder, f"{folder}-kept", dirs_exist_ok=True)
            print(f"kept: {folder}-kept")
    took = {name: [round(t, 2) for t in times] for name, times in campaign.took.items()}
    print(json.dumps({**campaign.figures, "rounds": n, "undisturbed_seconds": took}))
    print(f"{time.perf_counter() - started:.0f} s")
    return 1 if campaign.figures["ends that differ"] + campaign.figures["failed by itself"] else 0


if __name__ == "__main__":
    sys.exit(main())
