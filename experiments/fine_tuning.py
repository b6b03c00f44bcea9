"""Fine-tuning of the last layers, beside a linear probe on frozen embeddings, on Emotify's genres.

python experiments/fine_tuning.py LABELED/emotify --above 4 2 --seeds 3

Whole artists are on one side of every split, five folds for each seed; the intervals are those of
`musicssl-train evaluate`. What stays frozen gives each clip's frames once, and training draws its
excerpts from them: the result of `load_model().unfreeze(above=4)` for a fraction of the time, but
for frames near an excerpt's ends, which hear beyond them here.
"""

import argparse
import copy
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from musicssl import MusicEncoder, load_model
from musicssl.encoders import Dilated
from musicssl_training.evaluation.datasets import COLLECTIONS, Collection
from musicssl_training.evaluation.protocol.bootstrap import interval
from musicssl_training.evaluation.protocol.labels import Multiclass
from musicssl_training.evaluation.protocol.regimes import FULL
from musicssl_training.evaluation.protocol.scoring import (
    Drawn,
    TaskInstance,
    make_instance,
    measure,
    score_predictions,
)
from musicssl_training.evaluation.protocol.splits import Split
from musicssl_training.evaluation.tasks import TASKS

CLIP = 20.0  # seconds of each clip, from its middle, that are heard
STEPS, BATCH, SECONDS, WINDOWS, CHECKS = 100, 16, 3.0, 3, 4
RATE, HEAD_RATE = 5e-4, 2e-3  # at their peaks


class Tuned(nn.Module):
    """The last blocks of an encoder, and a linear layer on their pooled frames."""

    def __init__(self, model: MusicEncoder, above: int, classes: int) -> None:
        super().__init__()
        assert isinstance(model.encoder, Dilated)
        (self.layer,) = model.pick_layers(None)
        self.model = [model]  # frozen, and no part of this
        self.blocks = copy.deepcopy(model.encoder.blocks[above : self.layer]).requires_grad_()
        dim = 2 * model.encoder.dim
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, classes) for frames (batch, frames, dim) of the layer below."""
        (model,) = self.model
        for block in self.blocks:
            x = block(x)
        x = (x - model.centre[self.layer]) / model.spread[self.layer]
        return self.head(model.pool(x, pooling="meanstd"))


@torch.inference_mode()
def frames_of(
    model: MusicEncoder, data: Collection, layers: list[int]
) -> tuple[NDArray[np.float32], dict[int, list[Tensor]]]:
    """Return each clip's embedding, and its frames of some layers in 16 bits."""
    (own,) = model.pick_layers(None)
    vectors, frames = [], {layer: [] for layer in layers}
    for clip in data.clips:
        audio = torch.from_numpy(data.read(clip, model.sample_rate))[None]
        size = round(CLIP * model.sample_rate)
        first = max(0, audio.shape[1] - size) // 2
        outputs = model.encoder(audio[:, first : first + size], None, own)
        values = (outputs[own] - model.centre[own]) / model.spread[own]
        vectors.append(model.pool(values)[0].numpy())
        for layer in layers:
            frames[layer].append(outputs[layer][0].half())
    return np.stack(vectors), frames


def excerpts(frames: list[Tensor], items: NDArray[np.int64], places: list[float], n: int) -> Tensor:
    """Return `n` frames of each item, at a place between 0 (its start) and 1 (its end)."""
    first = [round(p * (len(frames[i]) - n)) for i, p in zip(items, places, strict=True)]
    return torch.stack([frames[i][f : f + n] for i, f in zip(items, first, strict=True)]).float()


@torch.no_grad()
def predict(
    net: Tuned, frames: list[Tensor], items: NDArray[np.int64], n: int
) -> NDArray[np.float64]:
    """Return outputs, averaged over evenly spaced excerpts."""
    total = 0.0
    for place in (np.arange(WINDOWS) + 0.5) / WINDOWS:
        total = total + net(excerpts(frames, items, [place] * len(items), n)).double().numpy()
    return total / WINDOWS


def train(
    model: MusicEncoder,
    above: int,
    frames: list[Tensor],
    task: TaskInstance,
    split: Split,
    seed: int,
) -> NDArray[np.float64]:
    """Return predictions for the test items, at the check with the best validation score."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    n = round(SECONDS * model.frame_rate)
    net = Tuned(model, above, len(task.labels.names))
    parts = [{"params": net.blocks.parameters()}, {"params": net.head.parameters()}]
    optimizer = torch.optim.AdamW(parts, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [RATE, HEAD_RATE], STEPS, pct_start=0.1
    )
    best, kept, queue = -np.inf, None, np.empty(0, np.int64)
    for step in range(1, STEPS + 1):
        while len(queue) < BATCH:
            queue = np.concatenate([queue, rng.permutation(split.train)])
        items, queue = queue[:BATCH], queue[BATCH:]
        outputs = net(excerpts(frames, items, list(rng.random(BATCH)), n))
        loss = nn.functional.cross_entropy(outputs, torch.from_numpy(task.labels.y[items]))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % (STEPS // CHECKS) == 0:
            found = predict(net, frames, split.valid, n)
            score = task.selection_metric(task.labels.take(split.valid), found)
            if score > best:
                best, kept = score, predict(net, frames, split.test, n)
    assert kept is not None
    return kept


def show(name: str, found: list[Drawn], probe: list[Drawn]) -> None:
    """Print scores, their intervals, and the differences from the probe's."""
    for (result, draws), (other, others) in zip(found, probe, strict=True):
        low, high = (100 * x for x in interval(draws - others))
        print(
            f"{name:>12} {result.metric:>9} {100 * result.score:5.1f} "
            f"[{100 * result.low:.1f}, {100 * result.high:.1f}]  chance {100 * result.chance:.1f}  "
            f"seeds {' '.join(f'{100 * s:.1f}' for s in result.seeds)}  "
            f"minus probe {100 * (result.score - other.score):+.1f} [{low:.1f}, {high:.1f}]",
            flush=True,
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("emotify", type=Path)
    parser.add_argument("--above", type=int, nargs="+", default=[4, 2])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    data, kind = COLLECTIONS["emotify"](args.emotify), TASKS["genre"]
    labels = Multiclass.read(data, kind.labels)
    ids, groups = [clip.id for clip in data.clips], data.groups(kind.groups)
    task = make_instance("genre", kind.metrics, ids, labels, groups, None, range(args.seeds))
    model = load_model(device="cpu")
    vectors, frames = frames_of(model, data, args.above)
    probe = measure(vectors, task, model.model_id, "linear", FULL)
    show("linear probe", probe, probe)
    for above in args.above:
        predictions = []
        for seed, splits in enumerate(task.splits):
            out = np.zeros((len(labels), len(labels.names)))
            for split in splits:
                out[split.test] = train(model, above, frames[above], task, split, seed)
            predictions.append(out[task.tested])
        names = {"model": model.model_id, "probe": f"above {above}", "regime": "100%"}
        show(f"above {above}", score_predictions(predictions, task, 0.0, **names), probe)


if __name__ == "__main__":
    main()
