"""Batches from worker processes: the same for any number of them, and none is left behind."""

import logging
import os
import pickle
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from musicssl.errors import AudioError
from musicssl_training.data import Sampler
from musicssl_training.data.pack import Pack
from musicssl_training.midi.score import Score
from musicssl_training.targets.features import FrameGrid
from musicssl_training.train import PretrainConfig, pretrain
from musicssl_training.train.loader import BatchLoader, ExcerptStream
from musicssl_training.train.setup import make_sampler
from musicssl_training.workers import Batch

CPU = torch.device("cpu")
GRID = FrameGrid(22_050, 441, 2)


def batches(
    config: PretrainConfig, workers: int, first: int, last: int, sampler: Sampler | None = None
) -> list[list[Batch]]:
    sampler = sampler or make_sampler(config, GRID.sample_rate)
    stream = ExcerptStream(sampler, GRID, config, first, last)
    with closing(BatchLoader(stream, workers, CPU)) as loader:
        return list(loader)


def assert_same(one: list[list[Batch]], other: list[list[Batch]]) -> None:
    assert len(one) == len(other)
    for a, b in zip(chain(*one), chain(*other), strict=True):
        assert torch.equal(a.sound.audio, b.sound.audio)
        assert torch.equal(a.recordings, b.recordings)
        assert a.starts is not None
        assert b.starts is not None
        assert torch.equal(a.starts, b.starts)
        # what the step goes on to draw is the same too
        assert torch.equal(a.random.get_state(), b.random.get_state())


def test_batches_are_the_same_for_any_number_of_workers(toy_config: PretrainConfig) -> None:
    optim = replace(toy_config.optim, accumulate=3)
    data = replace(toy_config.data, seconds=1.0, isolated=0.5)
    config = replace(toy_config, data=data, optim=optim)
    here = batches(config, 0, 0, 5)
    assert [len(parts) for parts in here] == [3] * 5
    assert len({float(parts[0].sound.audio.sum()) for parts in here}) == 5
    for workers in (1, 2):
        assert_same(batches(config, workers, 0, 5), here)
        assert_same(batches(config, workers, 3, 5), here[3:])  # taken up later
    assert batches(config, 2, 5, 5) == []


def test_random_numbers_of_the_run_are_left_alone(toy_config: PretrainConfig) -> None:
    before = torch.get_rng_state()
    batches(toy_config, 1, 0, 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_does_not_depend_on_the_number_of_workers(
    toy_config: PretrainConfig, tmp_path: Path
) -> None:
    config = replace(toy_config, workers=("chroma", "transposition"), steps=4, save_every=1)
    here = pretrain(config, tmp_path / "here")
    config = replace(config, data=replace(config.data, workers=2))
    with pytest.raises(KeyboardInterrupt):
        pretrain(config, tmp_path / "there", stop=lambda: True)
    there = pretrain(config, tmp_path / "there")
    for a, b in zip(here.parameters(), there.parameters(), strict=True):
        assert torch.equal(a, b)


class Broken:
    """A source of which some recordings cannot be read."""

    name = "broken"

    def __init__(self, broken: set[int]) -> None:
        self.broken = broken
        self.items = [{"path": f"{i}", "samples": 99_999} for i in range(3)]

    def excerpt(self, item: int, start: int, samples: int) -> np.ndarray:
        if item in self.broken:
            raise AudioError(f"recording {item} is broken.")
        return np.full(samples, 0.1 * (item + 1), np.float32)

    def score(self, item: int, start: int, samples: int) -> None:
        return None


class Drone(Broken):
    """A source whose only note sounds from beginning to end."""

    def score(self, item: int, start: int, samples: int) -> Score:  # type: ignore[override]
        note = np.array([[0.0, 9.0, 60.0, 0.0, 100.0]], np.float32)
        return Score(note, np.zeros((0, 2), np.float32), 120.0, 3)


def test_what_is_isolated_is_all_that_is_known(toy_config: PretrainConfig) -> None:
    config = replace(toy_config, data=replace(toy_config.data, isolated=0.5))
    found = list(chain(*batches(config, 0, 0, 8, sampler_of(Drone(set())))))
    early = 0
    sounds, scores = chain(*(b.sound.audio for b in found)), chain(*(b.scores for b in found))
    for audio, score in zip(sounds, scores, strict=True):
        assert score is not None
        heard = audio.nonzero()[:, 0] / 22_050
        cut = len(heard) < len(audio)
        early += cut and heard[0].item() < 0.01
        assert np.isnan(score.tempo) == cut
        if cut:
            assert score.notes[0, 1] == pytest.approx(heard[-1].item(), abs=0.01)
    assert early  # of those, too, that begin where the excerpt does


def sampler_of(source: Broken) -> Sampler:
    return Sampler([source], [1.0], sample_rate=22_050, seconds=0.5, seed=0, recordings=3)  # type: ignore[list-item]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_recording_that_cannot_be_read_is_named_once_and_replaced(
    workers: int, toy_config: PretrainConfig, caplog: pytest.LogCaptureFixture
) -> None:
    found = batches(toy_config, workers, 0, 8, sampler_of(Broken({1})))
    assert set(torch.cat([parts[0].recordings for parts in found]).tolist()) == {0, 2}
    assert caplog.text.count("recording 1 is broken") == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.records[0].name == "musicssl_training.data.sampler"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_comes_as_it_is(workers: int, toy_config: PretrainConfig) -> None:
    with pytest.raises(AudioError, match=r"^broken: 20 recordings in a row cannot be read"):
        batches(toy_config, workers, 0, 3, sampler_of(Broken({0, 1, 2})))


def test_a_pack_is_opened_again_in_another_process(toy_pack: Path) -> None:
    pack = Pack.open(toy_pack)
    sent = pickle.dumps(pack)
    assert len(sent) < 1000  # not its samples
    np.testing.assert_array_equal(pickle.loads(sent).excerpt(2, 5, 99), pack.excerpt(2, 5, 99))


def test_a_stream_can_be_sent_to_a_process_that_is_no_fork(toy_config: PretrainConfig) -> None:
    stream = ExcerptStream(make_sampler(toy_config, GRID.sample_rate), GRID, toy_config, 0, 2)
    sent = pickle.dumps(stream)
    assert len(sent) < 100_000
    parts = [loaded.parts for loaded in pickle.loads(sent)]
    assert_same(parts, batches(toy_config, 0, 0, 2))


SCRIPT = """
import os, sys, time
from dataclasses import replace
from pathlib import Path
import torch
from musicssl_training.cli.main import main
from musicssl_training.train import loop

torch.set_num_threads(1)
fetch, steps = loop.copy_buffers, []

def copy_buffers(*args):
    steps.append(1)
    if len(steps) == 2:
        print("ready", flush=True)
        sys.stdin.readline()  # until Ctrl-C was pressed
    return fetch(*args)

loop.copy_buffers = copy_buffers
sys.exit(main(["pretrain", *sys.argv[1:]]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")
def test_ctrl_c_saves_and_leaves_no_process_behind(toy_pack: Path, tmp_path: Path) -> None:
    config = tmp_path / "toy.toml"
    config.write_text(
        "workers = ['chroma']\nsteps = 500\nmeasure_batches = 2\n"
        f"[data]\nsources = ['{toy_pack}']\nshares = [1.0]\nrecordings = 2\nworkers = 2\n"
        "[encoder]\nname = 'dilated'\ndim = 16\ninner = 24\n"
    )
    script = tmp_path / "run.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, script, config, tmp_path / "run"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a process group of its own, as a terminal gives one
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n", process.communicate()
        os.killpg(process.pid, signal.SIGINT)  # Ctrl-C reaches all of them
        _, said = process.communicate("\n", timeout=240)
    assert process.returncode == 130, said
    assert said.endswith("stopped; the same command goes on from here\n")
    assert "Traceback" not in said
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["progress"]["step"] == 2
