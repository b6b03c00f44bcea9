"""One of several processes of a run: rank, processes, rendezvous file, output."""

import sys
from pathlib import Path

import torch
from torch import distributed

from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import Batch
from musicssl_training.workers.contrast import Contrast
from musicssl_training.workers.statistics import RunningMoments


def main(rank: int, processes: int, meeting: Path, out: Path) -> None:
    """Compute a loss, its gradients and statistics of this process's share of the rows."""
    if processes > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes
        )
    torch.manual_seed(0)
    rows = torch.arange(8).chunk(processes)[rank]
    frames = torch.randn(8, 5, 6)[rows].requires_grad_()
    recordings = torch.tensor([0, 1, 2, 3, 0, 1, 2, 9])[rows]  # partners in other processes
    sound = CleanAudio(torch.zeros(len(rows), 100), FrameGrid(1000, 20))
    worker = Contrast(6, size=4, hidden=8)
    loss = worker.loss(frames, Batch(sound, recordings))
    loss.backward()
    values = torch.randn(8, 3)[rows]
    values[values > 1] = float("nan")
    moments = RunningMoments(3)
    moments.add(values[:1])
    moments.add(values[1:] if rank == 0 else values[:0])
    gradients = torch.cat([p.grad.flatten() for p in worker.parameters() if p.grad is not None])
    found = {"loss": loss.detach(), "frames": frames.grad, "gradients": gradients}
    torch.save(found | {"values": values, "moments": moments.state_dict()}, out)
    if processes > 1:
        distributed.barrier()
        distributed.destroy_process_group()  # left alive, its threads may abort the exit


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
