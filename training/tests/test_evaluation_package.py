"""The evaluation as a whole: imports between its packages, its settings, and embedding spaces."""

import argparse
import ast
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

import musicssl_training.evaluation
from musicssl import embed_folder
from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig
from musicssl.errors import ConfigError
from musicssl.model import MusicEncoder
from musicssl_training.cli.evaluate import add_evaluate, make_config
from musicssl_training.evaluation.embedders.adapters import ModelEmbedder
from musicssl_training.evaluation.protocol.regimes import FULL, Regime
from musicssl_training.evaluation.suite import EvaluateConfig

PACKAGE = "musicssl_training.evaluation"
# a package or module may import those of the lines before its own
ORDER = [
    "errors",
    "datasets",
    "embedders",
    "protocol",
    "tasks",
    "instances",
    "report",
    "leakage",
    "own",
    "suite",
    "quick_score",
]


def imported(path: Path) -> set[str]:
    """Return what a file imports from the evaluation, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == PACKAGE:
            names |= {f"{PACKAGE}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    parts = (name.removeprefix(f"{PACKAGE}.").split(".")[0] for name in names if PACKAGE in name)
    return set(parts)


def test_imports_within_the_evaluation_point_one_way() -> None:
    root = Path(musicssl_training.evaluation.__file__).parent
    seen = set()
    for path in root.rglob("*.py"):
        (own, *_) = path.relative_to(root).with_suffix("").parts
        if own == "__init__":
            continue
        assert own in ORDER, f"{path.name}: say in ORDER where it belongs"
        seen |= {(own, target) for target in imported(path) - {own}}
    assert len(seen) > 15, "the imports were not read"
    wrong = [pair for pair in seen if ORDER.index(pair[1]) >= ORDER.index(pair[0])]
    assert not wrong


def test_regimes_of_labels() -> None:
    texts = ["100%", "5-shot", "1%", "10%", "20-shot"]
    regimes = [Regime.parse(text) for text in texts]
    assert [str(regime) for regime in regimes] == texts
    assert [str(r) for r in sorted(regimes)] == ["5-shot", "20-shot", "1%", "10%", "100%"]
    assert [regime for regime in regimes if regime.is_full] == [FULL]
    assert [regime.count(50) for regime in regimes] == [50, 5, 0.5, 5, 20]
    for text in ("", "%", "10", "0%", "-1%", "1.5%", "-shot", "ten-shot"):
        with pytest.raises(ConfigError, match=r"neither as '10%' nor as '5-shot'"):
            Regime.parse(text)


@pytest.mark.parametrize(
    ("options", "seeds", "probes"),
    [
        ([], 5, ("linear", "mlp", "knn")),
        (["--quick"], 3, ("linear",)),
        (["--quick", "--seeds", "10"], 10, ("linear",)),
        (["--quick", "--seeds", "5", "--probe", "mlp"], 5, ("mlp",)),
    ],
)
def test_what_is_asked_for_wins_over_quick(
    options: list[str], seeds: int, probes: tuple[str, ...]
) -> None:
    parser = argparse.ArgumentParser()
    add_evaluate(parser)
    config: EvaluateConfig = make_config(parser.parse_args(["mfcc", "-o", "report", *options]))
    assert (config.seeds, config.probes) == (seeds, probes)
    assert (config.regimes == ("100%",)) is bool(options)
    with pytest.raises(ConfigError, match="seeds must be at least 1"):
        make_config(parser.parse_args(["mfcc", "-o", "report", "--seeds", "0"]))


def test_an_unsaved_model_has_the_space_that_the_folder_command_writes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = DilatedConfig(dim=16, inner=16, pitch_channels=(2, 3), mel_channels=8, dilations=(1,))
    model = MusicEncoder(ModelConfig(encoder=shape, pooling="mean", layer=(-1,))).eval()
    sf.write(tmp_path / "a.wav", 0.1 * np.sin(np.arange(22_050)), 22_050)
    embed_folder(tmp_path / "a.wav", tmp_path / "out", model=model)
    written = json.loads((tmp_path / "out/space.json").read_text())
    assert ModelEmbedder(model, "mine").space == written["space"]
