"""The `model-index` of a Hugging Face model card, from the results of an evaluation."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, metadata_load, metadata_save
from huggingface_hub.repocard_data import eval_results_to_model_index

from musicssl.errors import ConfigError, nearest
from musicssl_training.evaluation.protocol.metrics import MEAN, METRICS
from musicssl_training.evaluation.protocol.scoring import Result
from musicssl_training.evaluation.report.results import Report
from musicssl_training.evaluation.tasks import TASKS

HUB_TASK = "audio-classification"  # the nearest of the Hub's task types


def model_index(report: Report, model: str, name: str = "", url: str = "") -> list[dict[str, Any]]:
    """Return the ``model-index`` of a model card's front matter.

    It holds the linear probe's score, from 0 to 1, for every task and metric with all labels.
    Interval, chance, number of seeds, split and what the model learned from are arguments of the
    metric.

    Parameters
    ----------
    report
        The report; see `read_report`.
    model
        Name of the model in the report.
    name
        Name of the model on the card, if different.
    url
        Address of the full report; may be empty.

    Raises
    ------
    ConfigError
        If the report has no linear probe of such a model.
    """
    found = [r for r in report.results if (r.model, r.probe, r.regime) == (model, "linear", "100%")]
    if not found:
        known = dict.fromkeys(r.model for r in report.results)
        raise ConfigError(
            f"the report holds no linear probe of {model!r} with all labels."
            f"{nearest(model, known)} It has {', '.join(known) or 'no results'}."
        )
    results = [_entry(report, r, url) for r in found if r.task != MEAN]
    index: list[dict[str, Any]] = eval_results_to_model_index(name or model, results)
    return index


def fill_card(file: Path, report: Report, model: str, url: str = "") -> None:
    """Set ``model-index`` in the front matter of a model card; the rest is unchanged.

    Raises
    ------
    ConfigError
        If the card does not exist, or the report has no linear probe of the model.
    """
    if not file.is_file():
        raise ConfigError(f"{file} does not exist; a release writes it: `musicssl-train release`.")
    found = model_index(report, model, file.resolve().parent.name, url)
    metadata_save(file, (metadata_load(file) or {}) | {"model-index": found})


def _entry(report: Report, result: Result, url: str) -> EvalResult:
    collection = TASKS[result.task].collection if result.task in TASKS else result.task
    return EvalResult(
        task_type=HUB_TASK,
        task_name=f"{result.task}, linear probe",
        dataset_type=collection,
        dataset_name=collection,
        dataset_config=result.task,
        dataset_revision=report.data.get(collection),
        metric_type=result.metric,
        metric_name=METRICS[result.metric].title,
        metric_value=round(result.score, 4),
        metric_args={
            "low": round(result.low, 4),
            "high": round(result.high, 4),
            "chance": round(result.chance, 4),
            "seeds": len(result.seeds),
            "split": result.split,
            "learned_from": report.supervision.get(result.model, "unknown"),
        },
        source_name="musicssl-train evaluate" if url else None,
        source_url=url or None,
    )
