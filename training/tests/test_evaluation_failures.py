"""What goes wrong with one model or one probe is noted; the rest of an evaluation is measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from numpy.typing import NDArray

from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig
from musicssl.errors import ConfigError
from musicssl.model import MusicEncoder
from musicssl_training.evaluation.embedders.adapters import (
    ArrayEmbedder,
    BaselineEmbedder,
    FunctionEmbedder,
    ModelEmbedder,
)
from musicssl_training.evaluation.embedders.base import Embedder
from musicssl_training.evaluation.embedders.spec import make_embedder
from musicssl_training.evaluation.protocol.finetune import FineTuneConfig
from musicssl_training.evaluation.protocol.probes import PROBES, standardize
from musicssl_training.evaluation.report.results import Report, read_report
from musicssl_training.evaluation.suite import EvaluateConfig, evaluate

RATE = 8000
QUICK: dict[str, Any] = {"regimes": ("100%",), "seeds": 1, "map_method": ""}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A collection of 36 tones, low and high, by six machines."""
    rows = ["path,class,machine"]
    t = np.arange(round(0.2 * RATE)) / RATE
    for i in range(36):
        high = i // 6 % 2
        sound = 0.3 * np.sin(2 * np.pi * (900 if high else 300) * (1 + 0.001 * i) * t)
        sf.write(tmp_path / f"{i}.wav", sound, RATE)
        rows.append(f"{i}.wav,{['low', 'high'][high]},m{i % 6}")
    (tmp_path / "items.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def run(embedders: list[Embedder], root: Path, **settings: Any) -> Report:
    config = EvaluateConfig(tasks=("drum class",), **QUICK | settings)
    report = evaluate(embedders, {"drum_machines": root}, root / "cache", config)
    report.write(root / "results.json")  # which holds no number that JSON has not
    assert read_report(root / "results.json") == report
    return report


def spectrum(audio: NDArray[np.float32], sr: int) -> NDArray[np.float32]:
    return np.abs(np.fft.rfft(audio[:1600]))[::8].astype(np.float32)


@pytest.mark.parametrize("probe", PROBES)
def test_an_embedding_near_the_largest_float_scores_as_one_of_ordinary_size(
    probe: str, root: Path
) -> None:
    def huge(audio: NDArray[np.float32], sr: int) -> NDArray[np.float32]:
        return spectrum(audio, sr) * np.float32(1e36)

    models: list[Embedder] = [FunctionEmbedder(f, f.__name__, "1") for f in (huge, spectrum)]
    report = run(models, root, probes=(probe,))
    scores = {r.model: r.score for r in report.results if r.metric == "accuracy"}
    assert scores["huge"] == pytest.approx(scores["spectrum"], abs=0.1)
    assert scores["huge"] > 0.7


def test_standardizing_does_not_overflow() -> None:
    x = np.array([[3e38], [1e38], [3e38], [1e38]], np.float32)
    (z,) = standardize(x)
    np.testing.assert_allclose(z[:, 0], [1, -1, 1, -1], atol=1e-6)


def test_a_probe_without_finite_predictions_is_noted(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(data: Any, metric: Any, seed: int) -> NDArray[np.float64]:
        out = PROBES["linear"](data, metric, seed)
        if data.train.shape[1] == 80:  # mfcc
            out[0, 0] = np.nan
        return out

    monkeypatch.setitem(PROBES, "diverging", diverge)
    models: list[Embedder] = [BaselineEmbedder("mfcc"), FunctionEmbedder(spectrum, "spectrum", "1")]
    report = run(models, root, probes=("diverging", "knn"))
    measured = {(r.model, r.probe) for r in report.results}
    assert measured == {("spectrum", "diverging"), ("mfcc", "knn"), ("spectrum", "knn")}
    (gap,) = (gap for gap in report.missing if gap["task"].startswith("drum class"))
    assert gap["task"] == "drum class (mfcc)"
    assert "mfcc, diverging probe, 100% of the labels: the predictions are not finite" in str(gap)


def test_fine_tuning_that_diverges_is_noted(root: Path) -> None:
    shape = DilatedConfig(dim=16, inner=16, pitch_channels=(2, 3), mel_channels=8, dilations=(1,))
    model = MusicEncoder(ModelConfig(encoder=shape, pooling="mean", layer=(-1,))).eval()
    config = FineTuneConfig(
        steps=3, batch=4, seconds=0.1, checks=3, rate=float("inf"), head_rate=float("inf")
    )
    report = run([ModelEmbedder(model, "mine")], root, probes=("knn",), fine_tune=config)
    assert {r.probe for r in report.results} == {"knn"}
    assert any("mine, fine-tuned probe" in gap["reason"] for gap in report.missing)


def test_a_function_of_the_wrong_shape_does_not_end_the_others(root: Path) -> None:
    def cube(audio: NDArray[np.float32], sr: int) -> NDArray[np.float32]:
        return np.zeros((2, 2, 2), np.float32)

    models: list[Embedder] = [FunctionEmbedder(f, f.__name__, "1") for f in (cube, spectrum)]
    report = run(models, root, probes=("knn",))
    assert {r.model for r in report.results} == {"spectrum"}
    assert any(gap["task"] == "drum class (cube)" for gap in report.missing)


def test_a_function_that_fails_on_one_recording_does_not_end_the_others(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard = []

    def fragile(audio: NDArray[np.float32], sr: int) -> NDArray[np.float32]:
        heard.append(audio)
        return np.ones(3, np.float32) / (5 - len(heard)) if len(heard) < 5 else heard[99]

    def words(audio: NDArray[np.float32], sr: int) -> NDArray[np.str_]:
        return np.array(["loud", "soft"])

    functions = (fragile, words, spectrum)
    report = run([FunctionEmbedder(f, f.__name__, "1") for f in functions], root, probes=("knn",))
    assert {r.model for r in report.results} == {"spectrum"}
    gaps = {gap["task"]: gap["reason"] for gap in report.missing}
    assert "'4.wav': IndexError: list index out of range" in gaps["drum class (fragile)"]
    assert "heard[99]" in caplog.text  # where it failed
    assert "of <U4, not numbers" in gaps["drum class (words)"]


@pytest.mark.parametrize(
    "write",
    [
        lambda file: np.savez(file, other=np.ones(3)),
        lambda file: np.savez(file, embedding=np.array([{}], object)),
        lambda file: file.write_bytes(b"no array"),
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"PK\x03\x04 and no more"),
    ],
)
def test_an_array_that_cannot_be_read_is_named(write: Callable[[Path], Any], root: Path) -> None:
    folder = root / "arrays"
    folder.mkdir()
    for i in range(36):
        np.savez(folder / f"{i}.wav.npz", embedding=np.ones(3) * i)
    write(folder / "7.wav.npz")
    report = run([ArrayEmbedder(folder, "arrays"), BaselineEmbedder("mfcc")], root, probes=("knn",))
    assert {r.model for r in report.results} == {"mfcc"}
    (gap,) = (gap for gap in report.missing if gap["task"] == "drum class (arrays)")
    assert "7.wav.npz holds no array to be read" in gap["reason"]


def test_frames_are_no_pooling_of_clips() -> None:
    config = ModelConfig(encoder=DilatedConfig(dim=8, inner=8, dilations=(1,)), layer=(0,))
    with pytest.raises(ConfigError, match="mine: pooling must be mean, max or meanstd"):
        ModelEmbedder(MusicEncoder(config), "mine", pooling="none")


def test_stored_arrays_have_no_frames(root: Path) -> None:
    from musicssl_training.evaluation.datasets import COLLECTIONS
    from musicssl_training.evaluation.embedders.cache import embed_collection

    data = COLLECTIONS["drum_machines"](root)
    arrays = ArrayEmbedder(root, "arrays")
    found = embed_collection(data, [arrays], root / "cache", "frame")
    assert "arrays has one vector per clip and no frames" in str(found["arrays"])


def test_one_embedding_under_two_names_is_told(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shape = DilatedConfig(dim=16, inner=16, pitch_channels=(2, 2), mel_channels=8, dilations=(1,))
    folder = MusicEncoder(ModelConfig(encoder=shape)).save_pretrained(tmp_path / "tiny")
    names = [f"random={folder}{tail}" for tail in ("", ":seed=1", ":seed=2")]
    run([make_embedder(name) for name in names], root)
    (told,) = [text for text in caplog.messages if "the same embedding" in text]
    assert told.startswith(f"{names[0]} and {names[1]} are")
