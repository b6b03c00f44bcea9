"""One of several processes of a run: rank, processes, rendezvous file, output."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fake_teachers import Loudness
from torch import Tensor, distributed

from musicssl_training.data.teaching import Taught
from musicssl_training.midi.score import Score
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import (
    Batch,
    Entry,
    Extras,
    Worker,
    make_workers,
    worker_configs,
)
from musicssl_training.workers.statistics import RunningMoments
from musicssl_training.workers.teacher import Lesson

GRID = FrameGrid(1000, 20)
ROWS, FRAMES, DIM = 8, 50, 6
ENTRIES: list[Entry] = [
    {"name": "contrast", "size": 4},
    {"name": "segments", "size": 4, "seconds": 0.1},
    "gim",
    {"name": "lim", "moments": 4},
    {"name": "masked", "codes": 8},
    {"name": "waveform", "channels": [4, 4, 4], "rows": ROWS, "seconds": 9.0},
    {"name": "waveform_stft", "channels": [4, 4, 4], "rows": ROWS, "seconds": 9.0},
    "log_mel",
    "piano_roll",
    "beats",
    "tempo",
    "key",
    "chord",
    "teacher:loudness",
]


def a_score(row: int) -> Score:
    notes = np.array([[0.1 * row, 0.7, 60 + row, 0, 90], [0.5, 0.9, 50, 0, 90]], np.float32)
    beats = np.array([[0.1, 1], [0.3 + 0.1 * row, 2]], np.float32)
    return Score(notes, beats, 90.0 + 10 * row, row)


def a_batch(rows: list[int]) -> Batch:
    """Rows of a batch whose partners are far apart, and of which only the first are labelled."""
    random = torch.Generator().manual_seed(1)
    audio = torch.randn(ROWS, FRAMES * 20, generator=random)[rows] * torch.linspace(0.1, 1, 1000)
    values = np.arange(2.0 * ROWS).reshape(ROWS, 1, 2).astype(np.float32)
    return Batch(
        CleanAudio(audio, GRID),
        torch.tensor([0, 1, 2, 3, 0, 1, 2, 9])[rows],
        [a_score(row) if row < 3 else None for row in rows],
        random=random,
        taught=[
            {"loudness": Taught(values[row], np.array([0.1]), 0.2)} if row < 2 else {}
            for row in rows
        ],
    )


def learnt(worker: Worker, rows: list[int]) -> dict[str, Tensor]:
    """Return a worker's loss, and its gradients."""
    torch.manual_seed(2)
    for parameter in worker.parameters():  # a last layer of zeros passes nothing on
        parameter.data += 0.1 * torch.randn(parameter.shape)
    frames = torch.randn(ROWS, FRAMES, DIM)[rows].requires_grad_()
    masked = torch.zeros(ROWS, FRAMES, dtype=torch.bool)
    masked[0, 10:30] = masked[2, 20:50] = True
    batch = a_batch(rows)
    worker.measure(batch)
    loss = worker.loss(frames, batch, Extras(masked=masked[rows]))
    loss.backward()
    gradients = torch.cat([p.grad.flatten() for p in worker.parameters() if p.grad is not None])
    assert frames.grad is not None
    return {"loss": loss.detach(), "frames": frames.grad, "gradients": gradients}


def main(rank: int, processes: int, meeting: Path, out: Path) -> None:
    """Compute losses, gradients and statistics of this process's share of the rows."""
    if processes > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes
        )
    torch.manual_seed(0)
    rows = torch.arange(ROWS).chunk(processes)[rank].tolist()
    lesson = Lesson(Loudness("patches").facts, np.array([3.0, 4.0]), np.diag([9.0, 9.0]))
    configs = worker_configs(ENTRIES, hidden=8)
    workers = make_workers(configs, DIM, GRID, {"loudness": lesson})
    found: dict[str, Any] = {name: learnt(worker, rows) for name, worker in workers.items()}
    torch.manual_seed(0)
    values = torch.randn(8, 3)[rows]
    values[values > 1] = float("nan")
    moments = RunningMoments(3)
    moments.add(values[:1])
    moments.add(values[1:] if rank == 0 else values[:0])
    torch.save(found | {"values": values, "moments": moments.state_dict()}, out)
    if processes > 1:
        distributed.barrier()
        distributed.destroy_process_group()  # left alive, its threads may abort the exit


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
