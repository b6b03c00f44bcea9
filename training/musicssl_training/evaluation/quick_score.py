"""Quick scores of one encoder, for choices that are made while or after it is trained."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from musicssl.errors import ConfigError, MusicSSLError, pick
from musicssl.model import MusicEncoder
from musicssl.network import Layer
from musicssl_training.evaluation.datasets import Collection
from musicssl_training.evaluation.embedders.adapters import ModelEmbedder
from musicssl_training.evaluation.embedders.base import Embedder
from musicssl_training.evaluation.embedders.cache import embed_some
from musicssl_training.evaluation.embedders.spec import make_embedder
from musicssl_training.evaluation.errors import DataError
from musicssl_training.evaluation.instances import Prepared, clips_of, partition, prepare
from musicssl_training.evaluation.protocol.metrics import METRICS
from musicssl_training.evaluation.protocol.regimes import FULL
from musicssl_training.evaluation.protocol.scoring import predict
from musicssl_training.evaluation.suite import read_collection
from musicssl_training.evaluation.tasks import TASKS

log = logging.getLogger(__name__)


def score_encoder(
    model: MusicEncoder | Embedder | str | Path,
    roots: Mapping[str, Path],
    tasks: Sequence[str] = (),
    *,
    part: str = "development",
    seed: int = 0,
    cache: Path | None = None,
    layer: Layer = None,
    pooling: str | None = None,
) -> dict[str, float]:
    """Return the linear probe's leading metric on each task, with all labels and one seed.

    The same as `evaluate` with one probe, regime and seed, without intervals and maps.

    Parameters
    ----------
    model
        A model, an embedder, a checkpoint folder, or what `make_embedder` reads.
    roots
        Folder of each available collection, by the keys of `COLLECTIONS`.
    tasks
        Keys of `TASKS`; none: all on those collections.
    part
        "development", "test" or "all"; see `split_collection`.
    seed
        Of splits and probe.
    cache
        Folder for embeddings, in which several calls find those of the same weights; None: they
        are not kept.
    layer, pooling
        Of a model; None: its own. An embedder has its own.

    Returns
    -------
    dict
        In the order of `tasks`, or of `TASKS`. Tasks that cannot be measured are logged and left
        out.

    Raises
    ------
    ConfigError
        For an unknown task or part, or options that the embedder does not have.
    LeakError
        If training and test of a task share a group.
    """
    named = tasks or [name for name, task in TASKS.items() if task.collection in roots]
    chosen = {name: pick(TASKS, name, "task") for name in named}
    embedder = _make_embedder(model, layer, pooling)
    scores: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for collection in dict.fromkeys(task.collection for task in chosen.values()):
            here = [name for name, task in chosen.items() if task.collection == collection]
            try:
                data = read_collection(collection, roots)
                scores |= _score_collection(
                    embedder, data, here, part, seed, cache or Path(scratch)
                )
            except DataError as error:
                log.warning("%s is not measured: %s", ", ".join(here), error)
    return {name: scores[name] for name in chosen if name in scores}


def _make_embedder(
    model: MusicEncoder | Embedder | str | Path, layer: Layer, pooling: str | None
) -> Embedder:
    given = {"layer": layer, "pooling": pooling}
    options = {name: value for name, value in given.items() if value is not None}
    if isinstance(model, str | Path):
        model = make_embedder(str(model))
        if options and isinstance(model, ModelEmbedder):
            return ModelEmbedder(model.model, model.name, **(model.options | options))
    if isinstance(model, MusicEncoder):
        return ModelEmbedder(model, model.model_id, **options)
    if options:
        raise ConfigError(f"{model.name} is an embedder as it is; layer and pooling are a model's.")
    return model


def _score_collection(
    embedder: Embedder, data: Collection, tasks: Sequence[str], part: str, seed: int, cache: Path
) -> dict[str, float]:
    scores, halves = {}, partition(data)
    asked, _ = clips_of(part, data, halves)
    for level in ("clip", "frame"):
        here = [name for name in tasks if TASKS[name].level == level]
        found = embed_some(data, asked, [embedder], cache, level)[embedder.name] if here else None
        if isinstance(found, MusicSSLError):
            log.warning("%s: not measured: %s", ", ".join(here), found)
            continue
        for name in here:
            assert found is not None
            try:
                scores[name] = _score_task(
                    prepare(
                        name,
                        TASKS[name],
                        data,
                        {embedder.name: found},
                        part=part,
                        seeds=range(seed, seed + 1),
                        halves=halves,
                    )
                )
            except DataError as error:
                log.warning("%s is not measured: %s", name, error)
    return scores


def _score_task(task: Prepared) -> float:
    """Return the leading metric of the linear probe with all labels.

    Raises
    ------
    DataError
        If the predictions are not finite.
    """
    instance = task.instance
    ((_, x),) = task.values.items()
    with threadpool_limits(1):
        predictions = predict(x, instance, "linear", FULL)
    assert predictions is not None
    if not np.isfinite(predictions[0]).all():
        raise DataError(f"{instance.name}: the predictions are not finite.")
    exact = METRICS[instance.metrics[0]].exact
    score = exact(instance.labels.take(instance.tested), predictions[0])
    return float(score)
