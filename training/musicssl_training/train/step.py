"""Parts of a training step: losses, gradients at the encoder's output, clipping, EMA, undoing."""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from musicssl.encoders import Encoder, Features
from musicssl.errors import MusicSSLError
from musicssl_training.train.config import OptimConfig
from musicssl_training.train.inputs import EncoderInput
from musicssl_training.train.state import STATE, TrainState
from musicssl_training.weighting import output_gram
from musicssl_training.workers import Batch, Extras, WorkerDict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepResult:
    """Outcome of one step."""

    losses: dict[str, float]  # of the workers that asked something, over all processes
    weights: dict[str, float]
    norm: float  # of the encoder's gradient, before clipping
    norm_heads: float  # of the workers'
    waiting: float  # seconds, for data
    gram: Tensor | None = None  # of the workers' gradients, every `compare_every` steps

    @property
    def finite(self) -> bool:
        """Whether something could be learnt from it."""
        values = (self.norm, self.norm_heads, *self.losses.values(), *self.weights.values())
        return all(map(math.isfinite, values))


class HeadInput(NamedTuple):
    """Input of one worker: a layer as leaves of its own, cut off from the encoder."""

    frames: Tensor  # (batch, frames, dim), of the batch
    extras: Extras
    rows: slice  # of the encoder's whole output, its further views' rows
    columns: slice  # of the encoder's whole output, its layer's

    def gradients(self) -> Iterator[tuple[tuple[slice, slice, slice], Tensor]]:
        """Yield places in the encoder's output, and the gradient that came back for them."""
        if self.frames.grad is not None:
            yield (slice(len(self.frames)), slice(None), self.columns), self.frames.grad
        view = self.extras.view_frames
        if view is not None and view.grad is not None:
            yield (self.rows, slice(None), self.columns), view.grad


def read_layers(encoder: Encoder, features: Features, layers: Sequence[int]) -> Tensor:
    """Return layers of the encoder side by side, (rows, frames, layers * dim).

    Parameters
    ----------
    layers
        Each once, in ascending order; those after the last of them are not computed.
    """
    found = encoder.encode(features, layers[-1])
    return found[layers[0]] if len(layers) == 1 else torch.cat([found[k] for k in layers], dim=-1)


def split_output(
    frames: Tensor, inputs: EncoderInput, workers: Mapping[str, int]
) -> dict[str, HeadInput]:
    """Return each worker's own copy of the encoder's output.

    A backward pass through all heads then leaves every worker's gradient at its own copy: they
    can be weighed, and compared, before they go on into the encoder together.

    Parameters
    ----------
    frames
        The encoder's output for the batch and the views behind it, from `read_layers`.
    inputs
        What the encoder heard.
    workers
        The layer that each reads, by its name; `frames` holds these layers and no others.
    """
    heads, first = {}, inputs.batch
    layers = sorted(set(workers.values()))
    dim = frames.shape[-1] // len(layers)
    for name, layer in workers.items():
        place = layers.index(layer)
        columns = slice(place * dim, (place + 1) * dim)
        view, rows, view_frames = inputs.views.get(name), slice(0), None
        if view is not None:
            rows = slice(first, first := first + len(view.audio))
            view_frames = frames.detach()[rows, :, columns].requires_grad_()
        extras = Extras(views=view, view_frames=view_frames, masked=inputs.masked)
        own = frames.detach()[: inputs.batch, :, columns].requires_grad_()
        heads[name] = HeadInput(own, extras, rows, columns)
    return heads


def find_losses(
    workers: WorkerDict, heads: Mapping[str, HeadInput], batch: Batch, fabric: Fabric
) -> Tensor:
    """Return every worker's loss in this process, (workers,), in fp32."""
    with fabric.autocast():
        losses = [
            worker.loss(heads[name].frames, batch, heads[name].extras).float()
            for name, worker in workers.items()
        ]
    return torch.stack(losses)


def find_live(
    workers: WorkerDict, heads: Mapping[str, HeadInput], batch: Batch, fabric: Fabric
) -> Tensor:
    """Return which workers ask something in any process, (workers,), bool."""
    asks = [worker.asks(batch, heads[name].extras) for name, worker in workers.items()]
    live = torch.tensor(asks, dtype=torch.float32, device=fabric.device)
    return all_reduce(live, fabric, "sum") > 0


def stack_gradients(heads: Mapping[str, HeadInput], output: Tensor) -> Tensor:
    """Return the workers' gradients at the encoder's output, (workers, *output.shape).

    Parameters
    ----------
    heads
        From `split_output`, after the backward pass.
    output
        The encoder's output.
    """
    gradients = output.new_zeros(len(heads), *output.shape)
    for gradient, head in zip(gradients, heads.values(), strict=True):
        for place, part in head.gradients():
            gradient[place] = part
    return gradients


def weighted_gradient(heads: Mapping[str, HeadInput], weights: Tensor, output: Tensor) -> Tensor:
    """Return what goes on into the encoder: the workers' gradients, each times its weight."""
    total = torch.zeros_like(output)
    pairs = zip(heads.values(), weights, strict=True)
    for head, weight in reversed(list(pairs)):  # in the order in which autograd adds them up
        for place, part in head.gradients():
            total[place] += part * weight.to(part)
    return total


def gradient_gram(gradients: Tensor, scale: float, fabric: Fabric) -> Tensor:
    """Return the scalar products of the workers' gradients, (workers, workers), of all processes.

    `scale` is what the losses were multiplied by.
    """
    return all_reduce(output_gram(gradients) / scale**2, fabric, "mean") / fabric.world_size


def all_reduce(values: Tensor, fabric: Fabric, how: str) -> Tensor:
    """Return the "mean" or "sum" over all processes, detached."""
    out = fabric.all_reduce(values.detach(), reduce_op=how)
    assert isinstance(out, Tensor)
    return out


def all_reduce_gradients(parameters: Sequence[nn.Parameter], fabric: Fabric) -> None:
    """Average the gradients over all processes, in one message.

    What no process has a gradient of, such as a layer that no worker reads, still has none: of a
    zero, weight decay would make a step.
    """
    if fabric.world_size == 1:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    known = gradients[0].new_tensor([p.grad is not None for p in parameters])
    mean = all_reduce(torch.cat([known, *(g.flatten() for g in gradients)]), fabric, "mean")
    known, *parts = torch.split(mean, [len(known), *(p.numel() for p in parameters)])
    for parameter, part, share in zip(parameters, parts, known.tolist(), strict=True):
        parameter.grad = part.view_as(parameter) if share > 0 else None


def clip_gradients(state: TrainState, optim: OptimConfig) -> tuple[float, float]:
    """Clip encoder and heads apart, and return the norms that their gradients had.

    Together, the heads, which learn with weight 1 whatever the weighting, would decide by how much
    the encoder's gradient is shortened.
    """
    state.scaler.unscale_(state.optimizer)
    encoder = clip_grad_norm_(state.encoder.parameters(), optim.clip)
    heads = clip_grad_norm_(state.workers.parameters(), optim.clip_heads)
    return encoder.item(), heads.item()


def copy_buffers(*modules: nn.Module) -> list[Tensor]:
    """Return copies of all buffers: running statistics, memories, what a weighting knows."""
    return [buffer.clone() for module in modules for buffer in module.buffers()]


@torch.no_grad()
def put_back_buffers(saved: Sequence[Tensor], *modules: nn.Module) -> None:
    """Make the buffers again what `copy_buffers` found."""
    buffers = (buffer for module in modules for buffer in module.buffers())
    for buffer, before in zip(buffers, saved, strict=True):
        buffer.copy_(before)


def by_name(
    workers: WorkerDict, values: Tensor | None, kept: Tensor | None = None
) -> dict[str, float]:
    """Return one value per worker, by its name; of those alone where `kept` is true."""
    if values is None:
        return {}
    chosen = [True] * len(workers) if kept is None else kept.tolist()
    named = zip(workers, values.tolist(), chosen, strict=True)
    return {name: value for name, value, keep in named if keep}


def hours_of(batch: Batch, fabric: Fabric) -> float:
    """Return the hours of audio in this part of a batch, over all processes."""
    sound = batch.sound
    return fabric.world_size * sound.audio.numel() / sound.grid.sample_rate / 3600


def report_skipped_step(
    result: StepResult, step: int, in_a_row: int, patience: int, folder: Path
) -> None:
    """Say that a step was left out, and give up after too many.

    Raises
    ------
    MusicSSLError
        After `patience` of them in a row.
    """
    wrong = [name for name, loss in result.losses.items() if not math.isfinite(loss)]
    what = f"the loss of {', '.join(wrong)}" if wrong else "the gradient"
    log.warning("step %d left out: %s is not finite", step, what)
    if in_a_row >= patience:
        raise MusicSSLError(
            f"{what} was not finite for {in_a_row} steps in a row, up to step {step}; "
            f"{folder / STATE} is of before. A lower optim.learning_rate or precision fp32 "
            "may help; look at log.jsonl for where it began."
        )
