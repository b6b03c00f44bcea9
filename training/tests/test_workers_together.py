"""Two processes with half a batch each learn what one learns from the whole."""

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from together import ENTRIES

from musicssl_training.workers import resolve

SCRIPT = Path(__file__).parent / "together.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What one process alone says, and the first and second of two."""
    folder = tmp_path_factory.mktemp("together")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    running = []
    for rank in range(2):
        arguments = [rank, 2, folder / "meeting", folder / f"2{rank}.pt"]
        command = [sys.executable, str(SCRIPT), *map(str, arguments)]
        running.append(subprocess.Popen(command, env=environment))
    runpy.run_path(str(SCRIPT))["main"](0, 1, folder, folder / "10.pt")
    try:
        assert [process.wait(120) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
    return [torch.load(folder / f"{name}.pt") for name in ("10", "20", "21")]


@pytest.mark.parametrize("name", resolve(ENTRIES))
def test_the_mean_loss_is_that_of_the_whole(found: list[dict[str, Any]], name: str) -> None:
    """Also where all labelled rows are in one process."""
    one, *two = (part[name] for part in found)
    torch.testing.assert_close((two[0]["loss"] + two[1]["loss"]) / 2, one["loss"])
    assert one["loss"] > 0


@pytest.mark.parametrize("name", resolve(ENTRIES))
def test_averaged_gradients_are_those_of_the_whole(found: list[dict[str, Any]], name: str) -> None:
    one, *two = (part[name] for part in found)
    close = {"rtol": 1e-3, "atol": 1e-8}
    mean = (two[0]["gradients"] + two[1]["gradients"]) / 2
    torch.testing.assert_close(mean, one["gradients"], **close)
    frames = torch.cat([part["frames"] for part in two]) / 2
    torch.testing.assert_close(frames, one["frames"], **close)
    assert one["frames"].abs().max() > 1e-5


def test_statistics_are_merged(found: list[dict[str, Any]]) -> None:
    _, first, second = found
    for name, values in first["moments"].items():
        assert torch.equal(values, second["moments"][name])
    seen = np.concatenate([first["values"], second["values"][:1]])
    np.testing.assert_allclose(first["moments"]["mean"], np.nanmean(seen, axis=0), rtol=1e-6)
    count = (~np.isnan(seen)).sum(axis=0)
    np.testing.assert_array_equal(first["moments"]["seen"], count)
    np.testing.assert_allclose(
        first["moments"]["spread"], np.nanvar(seen, axis=0) * count, rtol=1e-5
    )
