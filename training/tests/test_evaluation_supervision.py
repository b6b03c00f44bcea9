"""Reports say what each model learned from: sound alone, scores, or teachers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig
from musicssl.model import MusicEncoder
from musicssl_training.evaluation.embedders.adapters import FunctionEmbedder, ModelEmbedder
from musicssl_training.evaluation.embedders.spec import make_embedder
from musicssl_training.evaluation.embedders.supervision import supervision
from musicssl_training.evaluation.protocol.scoring import Result
from musicssl_training.evaluation.report.html import render_page
from musicssl_training.evaluation.report.model_card import model_index
from musicssl_training.evaluation.report.results import Report, read_report
from musicssl_training.evaluation.report.tables import table

MUSICNN = {"name": "musicnn", "sha256": "5f"}


def facts(*workers: Any, **more: Any) -> dict[str, Any]:
    """A training.json's."""
    return {"model": "m", "settings": {"workers": list(workers)}} | more


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (facts("music", "contrast"), "self-supervised"),
        (facts("mfcc:context=7"), "self-supervised"),
        (facts("music", "beats"), "self-supervised + scores"),
        (facts("all"), "self-supervised + scores"),
        (facts("all", "-score"), "self-supervised"),
        (facts("all-but-score"), "self-supervised"),
        (facts("music", "style"), "self-supervised + scores"),
        (facts("score"), "scores"),
        (
            facts({"name": "contrast", "temperature": 0.2}, {"name": "key"}),
            "self-supervised + scores",
        ),
        (facts("mfcc", "teacher:musicnn"), "self-supervised + teachers (musicnn)"),
        (facts("mfcc", began_with=facts("mfcc", "chord")), "self-supervised + scores"),
        (
            facts("mfcc", averaged_with=[facts("mfcc", teachers=[MUSICNN])]),
            "self-supervised + teachers (musicnn)",
        ),
        (facts("mfcc", began_with={"model": "old"}), "self-supervised + unknown"),
        (facts("a worker of a later version"), "unknown"),
        ({}, "unknown"),
        ({"settings": None}, "unknown"),
    ],
)
def test_what_a_model_learned_from_is_told_by_all_of_its_stages(
    given: dict[str, Any], expected: str
) -> None:
    assert supervision(given) == expected


def test_embedders_tell_what_they_learned_from(tmp_path: Path) -> None:
    config = ModelConfig(encoder=DilatedConfig(dim=8, inner=8, dilations=(1,)), layer=(0,))
    MusicEncoder(config).save_pretrained(tmp_path / "mine")
    assert make_embedder(str(tmp_path / "mine")).supervision == "unknown"
    (tmp_path / "mine" / "training.json").write_text(json.dumps(facts("speech")))
    assert make_embedder(str(tmp_path / "mine")).supervision == "self-supervised"
    assert make_embedder(f"random={tmp_path / 'mine'}").supervision == "untrained"
    assert make_embedder("mfcc").supervision == "hand-crafted"
    assert ModelEmbedder(MusicEncoder(config), "run").supervision == "unknown"

    def tagger(audio: np.ndarray, sr: int) -> np.ndarray:
        return audio[:3]

    assert FunctionEmbedder(tagger, "tagger").supervision == "unknown"
    tagger.supervision = "tags"  # type: ignore[attr-defined]
    assert FunctionEmbedder(tagger, "tagger").supervision == "tags"


def test_tables_page_card_and_file_say_it(tmp_path: Path) -> None:
    rest: dict[str, Any] = {"task": "genre", "probe": "linear", "regime": "100%"}
    rest |= {"metric": "accuracy", "n_items": 9, "n_groups": 3, "split": "5a", "seconds": 0.0}
    told = {"mine": "self-supervised + scores", "mfcc": "hand-crafted"}
    report = Report(supervision=told)
    for model in told:
        report.results.append(
            Result(model=model, score=0.5, low=0.4, high=0.6, chance=0.1, seeds=[0.5], **rest)
        )
    last = table(report).splitlines()[-1]
    assert last == "| *learned from* |  |  | *self-supervised + scores* | *hand-crafted* |"
    assert '<small class="badge">self-supervised + scores</small>' in render_page(report)
    (entry,) = model_index(report, "mine")[0]["results"]
    assert entry["metrics"][0]["args"]["learned_from"] == "self-supervised + scores"
    report.write(tmp_path / "results.json")
    assert read_report(tmp_path / "results.json").supervision == told
