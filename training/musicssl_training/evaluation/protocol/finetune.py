"""Fine-tuning of whole encoders on a task, on the same splits as the probes.

From random weights this is the supervised baseline: what the architecture learns from the task's
labels alone. The training budget is small and the same for all; the best of a few checkpoints is
selected on the validation items.
"""

import copy
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musicssl.model import MusicEncoder
from musicssl.network import Layer
from musicssl_training.evaluation.datasets import Audio, Collection
from musicssl_training.evaluation.embedders.adapters import ModelEmbedder
from musicssl_training.evaluation.protocol.scoring import TaskInstance
from musicssl_training.evaluation.protocol.splits import Split, check_leaks

log = logging.getLogger(__name__)
Array = NDArray[np.float64]
FINE_TUNED = "fine-tuned"  # stands for a probe
PEAK = 32767  # clips are kept in memory as 16-bit samples
MEMORY = 2**32  # bytes for all of them


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """Settings of fine-tuning.

    Attributes
    ----------
    seconds
        Length of an excerpt, drawn at random for each step.
    windows
        Evenly spaced excerpts of a clip whose predictions are averaged in validation and test.
    rate, head_rate
        Peak learning rates of the encoder and of the linear layer on top; each rises over the
        first tenth of the steps and decays to 0 along a cosine.
    checks
        Number of validations.
    seeds
        How many of the task's seeds are used; each is a whole cross-validation.
    """

    steps: int = 150
    batch: int = 16
    seconds: float = 3.0
    windows: int = 3
    rate: float = 5e-4
    head_rate: float = 2e-3
    checks: int = 6
    seeds: int = 1


class ClipAudio:
    """Decoded clips at a model's sample rate, to cut excerpts from.

    Of whole songs the middle is kept, as much of each as all of them together have memory for.
    """

    def __init__(self, data: Collection, sample_rate: int, seconds: float) -> None:
        self.size = round(seconds * sample_rate)
        longest = max(self.size, MEMORY // (2 * len(data.clips)))
        self.clips = [_middle(clip.read(sample_rate), longest) for clip in data.clips]

    def batch(self, items: NDArray[np.int64], places: Iterable[float]) -> tuple[Tensor, Tensor]:
        """Return padded excerpts, (items, samples), and the length of each in samples.

        Parameters
        ----------
        items
            Indices of the clips.
        places
            Relative position of each excerpt: 0 is the start of the clip, 1 its end.
        """
        excerpts = []
        for item, place in zip(items, places, strict=True):
            clip = self.clips[item]
            first = round(place * max(0, len(clip) - self.size))
            excerpts.append(torch.from_numpy(clip[first : first + self.size].astype(np.float32)))
        lengths = torch.tensor([len(excerpt) for excerpt in excerpts])
        return nn.utils.rnn.pad_sequence(excerpts, batch_first=True) / PEAK, lengths


def _middle(audio: Audio, longest: int) -> NDArray[np.int16]:
    """Return the middle of a clip in 16 bits."""
    first = max(0, len(audio) - longest) // 2
    return (np.clip(audio[first : first + longest], -1, 1) * PEAK).astype(np.int16)


class FineTunedModel(nn.Module):
    """An encoder and a linear layer on the mean and deviation over time of its frames."""

    def __init__(self, model: MusicEncoder, layer: Layer, names: int) -> None:
        super().__init__()
        self.model, self.layer = copy.deepcopy(model).freeze().unfreeze(layer), layer
        self.names = names
        dim = 2 * len(model.pick_layers(layer)) * model.encoder.dim
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, names))

    def forward(self, audio: Tensor, samples: Tensor) -> Tensor:
        """Return outputs, (batch, names), for audio (batch, samples) of `samples` valid samples."""
        frames = self.model(audio, samples, layer=self.layer)
        pooled = self.model.pool(frames, samples, pooling="meanstd")
        outputs: Tensor = self.head(pooled)
        return outputs


def fine_tune(
    embedder: ModelEmbedder, data: Collection, task: TaskInstance, config: FineTuneConfig
) -> list[Array]:
    """Return predictions for the tested items, (tested, names), for the first seeds of a task.

    Parameters
    ----------
    embedder
        Provides model and layer; its weights are not changed.
    data
        Its clips are the task's items.

    Raises
    ------
    LeakError
        If a split shares a group.
    """
    audio = ClipAudio(data, embedder.sample_rate, config.seconds)
    out = []
    for seed, splits in enumerate(task.splits[: config.seeds]):
        predictions = np.zeros((len(task.labels), len(task.labels.names)))
        for number, split in enumerate(splits):
            check_leaks(split, task.groups)
            found = _train_fold(embedder, audio, task, split, config, seed)
            predictions[split.test] = task.labels.standardize_fold(found)
            log.info("%s, %s, fold %d", task.name, embedder.name, number)
        out.append(predictions[task.tested])
    return out


def _train_fold(
    embedder: ModelEmbedder,
    audio: ClipAudio,
    task: TaskInstance,
    split: Split,
    config: FineTuneConfig,
    seed: int,
) -> Array:
    """Train on a split's training items; return predictions for the test items at the best check.

    Without validation items, those after the last step; if no check has finite predictions, NaN.
    """
    labels, device = task.labels, embedder.model.device
    offset, scale = labels.take(split.train).units
    targets = torch.from_numpy(((labels.targets - offset) / scale).astype(np.float32))
    metric = task.selection_metric
    rng = np.random.default_rng([seed, 23])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = FineTunedModel(embedder.model, embedder.options.get("layer"), len(labels.names))
        optimizer = _Optimizer(net.to(device), config)
        checks = np.linspace(0, config.steps, config.checks + 1).round().astype(int)[1:]
        best_score, best = -np.inf, None
        for step, (items, places) in enumerate(_draw_batches(split.train, rng, config), start=1):
            excerpts, samples = (x.to(device) for x in audio.batch(items, places))
            net.train()
            optimizer.step(labels.loss(net(excerpts, samples), targets[items].to(device)))
            if step in checks and len(split.valid):
                found = _predict(net, audio, split.valid, config) * scale + offset
                score = metric(labels.take(split.valid), found)
                if score > best_score:
                    best_score, best = score, copy.deepcopy(net.state_dict())
        if best is not None:
            net.load_state_dict(best)
        elif len(split.valid):
            return np.full((len(split.test), len(labels.names)), np.nan)
    out: Array = _predict(net, audio, split.test, config) * scale + offset
    return out


def _draw_batches(
    train: NDArray[np.int64], rng: np.random.Generator, config: FineTuneConfig
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Yield the items of each step, each once per epoch, and the places of their excerpts."""
    queue = np.empty(0, np.int64)
    for _ in range(config.steps):
        while len(queue) < config.batch:
            queue = np.concatenate([queue, rng.permutation(train)])
        yield queue[: config.batch], rng.random(config.batch)
        queue = queue[config.batch :]


class _Optimizer:
    """AdamW with a one-cycle schedule, and different rates for encoder and head."""

    def __init__(self, net: FineTunedModel, config: FineTuneConfig) -> None:
        rates = [config.rate, config.head_rate]
        parts = [net.model.parameters(), net.head.parameters()]
        groups = [{"params": part, "lr": rate} for part, rate in zip(parts, rates, strict=True)]
        self.net = net
        self.optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rates, config.steps, pct_start=0.1
        )

    def step(self, loss: Tensor) -> None:
        """Take one optimization step on a loss."""
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()


@torch.inference_mode()
def _predict(
    net: FineTunedModel, audio: ClipAudio, items: NDArray[np.int64], config: FineTuneConfig
) -> Array:
    """Return predictions for clips, averaged over excerpts of each, (items, names)."""
    net.eval()
    device = net.model.device
    longer = np.array([len(audio.clips[item]) > audio.size for item in items])
    total = np.zeros((len(items), net.names))
    for place in (np.arange(config.windows) + 0.5) / config.windows:
        covered = np.flatnonzero(longer) if place > 0.5 / config.windows else np.arange(len(items))
        for first in range(0, len(covered), 2 * config.batch):
            some = covered[first : first + 2 * config.batch]
            excerpts, samples = audio.batch(items[some], [float(place)] * len(some))
            total[some] += net(excerpts.to(device), samples.to(device)).cpu().numpy()
    return total / np.where(longer, config.windows, 1)[:, None]
