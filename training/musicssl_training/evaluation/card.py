"""The `model-index` of a model card, from an evaluation's results."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, metadata_load, metadata_save
from huggingface_hub.repocard_data import eval_results_to_model_index

from musicssl.errors import ConfigError, nearest
from musicssl_training.evaluation.metrics import MEAN, METRICS
from musicssl_training.evaluation.results import Report, Result
from musicssl_training.evaluation.tasks import TASKS

HUB_TASK = "audio-classification"  # of the tasks that the Hub knows, the nearest


def model_index(report: Report, model: str, name: str = "", url: str = "") -> list[dict[str, Any]]:
    """Return what the front matter of a model card has under ``model-index``.

    The linear probe's score for every task and metric with all labels, as a share of 1. The
    interval, split and data stand beside the metric as its arguments.

    Parameters
    ----------
    report
        What was measured; see `read_report`.
    model
        Which of its models.
    name
        Of the card's model, where it differs.
    url
        Where the whole report is to be seen; may be empty.

    Raises
    ------
    ConfigError
        If the report has no such model, or no linear probe of it.
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
    """Put ``model-index`` into the front matter of a model card; the rest of it stays.

    Raises
    ------
    ConfigError
        If there is no such card, or the report has not measured the model.
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
        },
        source_name="musicssl-train evaluate" if url else None,
        source_url=url or None,
    )
