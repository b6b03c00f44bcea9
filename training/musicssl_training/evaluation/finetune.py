"""The whole encoder trained on a task, on the same splits as the probes.

With pre-trained weights that is fine-tuning; with random ones it is what the architecture learns
from the task's labels alone, the supervised baseline. The budget is fixed and small, the same for
all; the validation items choose the moment at which to stop.
"""

import copy
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musicssl.model import Layer, MusicEncoder
from musicssl_training.evaluation.collection import Collection
from musicssl_training.evaluation.embedders import ModelEmbedder
from musicssl_training.evaluation.labels import Labels
from musicssl_training.evaluation.measure import Problem, alike
from musicssl_training.evaluation.metrics import METRICS
from musicssl_training.evaluation.probes import LOSSES
from musicssl_training.evaluation.splits import Split, check_leaks

log = logging.getLogger(__name__)
Array = NDArray[np.float64]
PEAK = 32767  # sounds wait in memory as 16-bit samples


@dataclass(frozen=True, kw_only=True)
class FineTuneConfig:
    """How an encoder is trained on a task.

    Attributes
    ----------
    seconds
        Of an excerpt, drawn anew at random for each step.
    windows
        Excerpts of a clip, evenly spread, whose scores are averaged in validation and test.
    rate, head_rate
        Largest learning rates of the encoder and of the linear layer on top; each rises over the
        first tenth of the steps and falls to 0 as a cosine.
    checks
        How often the validation items are asked.
    seeds
        Of the task's, how many: one is a whole cross-validation.
    """

    steps: int = 150
    batch: int = 16
    seconds: float = 3.0
    windows: int = 3
    rate: float = 5e-4
    head_rate: float = 2e-3
    checks: int = 6
    seeds: int = 1


class Sounds:
    """Clips at a model's rate, and excerpts of them."""

    def __init__(self, data: Collection, sample_rate: int, seconds: float) -> None:
        read = (clip.read(sample_rate) for clip in data.clips)
        self.audio = [(np.clip(a, -1, 1) * PEAK).astype(np.int16) for a in read]
        self.size = round(seconds * sample_rate)

    def batch(self, items: NDArray[np.int64], places: Iterable[float]) -> tuple[Tensor, Tensor]:
        """Return excerpts, (items, samples), and how many samples of each are sound.

        Parameters
        ----------
        items
            Which clips.
        places
            Where in each: 0 is its beginning, 1 as near to its end as possible.
        """
        cut = []
        for item, place in zip(items, places, strict=True):
            sound = self.audio[item]
            first = round(place * max(0, len(sound) - self.size))
            cut.append(torch.from_numpy(sound[first : first + self.size].astype(np.float32)))
        lengths = torch.tensor([len(sound) for sound in cut])
        return nn.utils.rnn.pad_sequence(cut, batch_first=True) / PEAK, lengths


class Tuned(nn.Module):
    """An encoder whose layer's mean and deviation over time go through one linear layer."""

    def __init__(self, model: MusicEncoder, layer: Layer, names: int) -> None:
        super().__init__()
        self.model, self.layer = copy.deepcopy(model).requires_grad_(True), layer
        self.names = names
        dim = 2 * len(model.pick_layers(layer)) * model.encoder.dim
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, names))

    def forward(self, audio: Tensor, samples: Tensor) -> Tensor:
        """Return scores, (batch, names), of audio (batch, samples) with that many real samples."""
        frames = self.model(audio, samples, layer=self.layer)
        count = -(-samples // self.model.hop)
        there = torch.arange(frames.shape[1], device=frames.device) < count[:, None]
        weights = (there / count[:, None])[..., None]
        mean = (weights * frames).sum(dim=1)
        spread = (weights * (frames - mean[:, None]).square()).sum(dim=1)
        scores: Tensor = self.head(torch.cat([mean, (spread + 1e-8).sqrt()], dim=1))
        return scores


def fine_tune(
    embedder: ModelEmbedder, data: Collection, problem: Problem, config: FineTuneConfig
) -> list[Array]:
    """Return the scores of the tested items, (tested, names), for the first seeds of a problem.

    Parameters
    ----------
    embedder
        Whose model and layer; its weights stay as they are.
    data
        Its clips are the problem's items.

    Raises
    ------
    LeakError
        If a split shares a group.
    """
    sounds = Sounds(data, embedder.sample_rate, config.seconds)
    out = []
    for seed, splits in enumerate(problem.splits[: config.seeds]):
        scores = np.zeros((len(problem.labels), len(problem.labels.names)))
        for number, split in enumerate(splits):
            check_leaks(split, problem.groups)
            found = _fold(embedder, sounds, problem, split, config, seed)
            scores[split.test] = alike(found) if problem.labels.kind == "tags" else found
            log.info("%s, %s, fold %d", problem.name, embedder.name, number)
        out.append(scores[problem.tested])
    return out


def _fold(
    embedder: ModelEmbedder,
    sounds: Sounds,
    problem: Problem,
    split: Split,
    config: FineTuneConfig,
    seed: int,
) -> Array:
    """Train on a split's training items; return the test items' scores at the best check."""
    labels, device = problem.labels, embedder.model.device
    centre, scale = _units(labels.take(split.train))
    targets = torch.from_numpy(((labels.targets - centre) / scale).astype(np.float32))
    score = METRICS[problem.metrics[0]].exact
    rng = np.random.default_rng([seed, 23])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Tuned(embedder.model, embedder.choices.get("layer"), len(labels.names)).to(device)
        descent = _Descent(net, config)
        checks = np.linspace(0, config.steps, config.checks + 1).round().astype(int)[1:]
        top, best = -np.inf, copy.deepcopy(net.state_dict())
        for step, (items, places) in enumerate(_draws(split.train, rng, config), start=1):
            audio, samples = (x.to(device) for x in sounds.batch(items, places))
            net.train()
            descent.step(LOSSES[labels.kind](net(audio, samples), targets[items].to(device)))
            if step in checks and len(split.valid):
                found = _scores(net, sounds, split.valid, config) * scale + centre
                value = score(labels.take(split.valid), found)
                if value > top:
                    top, best = value, copy.deepcopy(net.state_dict())
        if len(split.valid):
            net.load_state_dict(best)
    out: Array = _scores(net, sounds, split.test, config) * scale + centre
    return out


def _units(labels: Labels) -> tuple[Any, Any]:
    """Return what is taken off targets and what they are divided by: of numbers alone."""
    if labels.kind != "numbers":
        return 0.0, 1.0
    return labels.targets.mean(axis=0), labels.targets.std(axis=0) + 1e-9


def _draws(
    train: NDArray[np.int64], rng: np.random.Generator, config: FineTuneConfig
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Yield the items of each step, all once before any twice, and where their excerpts are."""
    waiting = np.empty(0, np.int64)
    for _ in range(config.steps):
        while len(waiting) < config.batch:
            waiting = np.concatenate([waiting, rng.permutation(train)])
        yield waiting[: config.batch], rng.random(config.batch)
        waiting = waiting[config.batch :]


class _Descent:
    """AdamW with a rate for the encoder and one for the head, rising and falling."""

    def __init__(self, net: Tuned, config: FineTuneConfig) -> None:
        rates = [config.rate, config.head_rate]
        parts = [net.model.parameters(), net.head.parameters()]
        groups = [{"params": part, "lr": rate} for part, rate in zip(parts, rates, strict=True)]
        self.net = net
        self.optimiser = torch.optim.AdamW(groups, weight_decay=0.01)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, rates, config.steps, pct_start=0.1
        )

    def step(self, loss: Tensor) -> None:
        """Make a step down a loss."""
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()


@torch.inference_mode()
def _scores(net: Tuned, sounds: Sounds, items: NDArray[np.int64], config: FineTuneConfig) -> Array:
    """Return the scores of clips, the mean of some excerpts of each, (items, names)."""
    net.eval()
    device = net.model.device
    longer = np.array([len(sounds.audio[item]) > sounds.size for item in items])
    total = np.zeros((len(items), net.names))
    for place in (np.arange(config.windows) + 0.5) / config.windows:
        heard = np.flatnonzero(longer) if place > 0.5 / config.windows else np.arange(len(items))
        for first in range(0, len(heard), 2 * config.batch):
            some = heard[first : first + 2 * config.batch]
            audio, samples = sounds.batch(items[some], [float(place)] * len(some))
            total[some] += net(audio.to(device), samples.to(device)).cpu().numpy()
    return total / np.where(longer, config.windows, 1)[:, None]
