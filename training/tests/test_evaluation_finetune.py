"""Encoders fine-tuned on a task."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch

from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig
from musicssl.model import MusicEncoder
from musicssl_training.evaluation.datasets import Clip, Collection
from musicssl_training.evaluation.embedders.adapters import BaselineEmbedder, ModelEmbedder
from musicssl_training.evaluation.errors import LeakError
from musicssl_training.evaluation.protocol import finetune
from musicssl_training.evaluation.protocol.bootstrap import draw_groups
from musicssl_training.evaluation.protocol.finetune import (
    FINE_TUNED,
    ClipAudio,
    FineTuneConfig,
    FineTunedModel,
    fine_tune,
)
from musicssl_training.evaluation.protocol.labels import Multiclass
from musicssl_training.evaluation.protocol.scoring import (
    TaskInstance,
    score_predictions,
)
from musicssl_training.evaluation.protocol.splits import Split, make_splits
from musicssl_training.evaluation.report.html import render_page
from musicssl_training.evaluation.suite import EvaluateConfig, evaluate


@pytest.fixture
def toy(tmp_path: Path) -> tuple[ModelEmbedder, Collection, TaskInstance]:
    """Steady tones and rough ones, and a very small encoder."""
    rng = np.random.default_rng(0)
    clips = []
    for i in range(40):
        t = np.arange(int(22_050 * (0.25 + 0.01 * (i % 3)))) / 22_050
        sound = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 900) * t)
        sf.write(
            tmp_path / f"{i}.wav", sound if i % 2 else 0.1 * rng.standard_normal(len(t)), 22_050
        )
        clips.append(Clip(f"{i}.wav", tmp_path / f"{i}.wav"))
    torch.manual_seed(0)
    config = DilatedConfig(dim=16, inner=16, pitch_channels=(2, 3), mel_channels=8, dilations=(1,))
    model = MusicEncoder(ModelConfig(encoder=config, pooling="mean", layer=(-1,))).eval()
    groups = np.array([str(i // 4) for i in range(40)])
    labels = Multiclass(np.arange(40) % 2, ("noise", "tone"))
    splits = [make_splits(groups, None, range(1))[0][:1]]
    tested = np.sort(splits[0][0].test)
    ids = [clip.id for clip in clips]
    draws = draw_groups(groups[tested], 20)
    problem = TaskInstance("toy", ids, labels, groups, ("accuracy",), splits, tested, draws)
    return ModelEmbedder(model, "random"), Collection("toy", tuple(clips), {}), problem


def test_a_trained_encoder_tells_tones_from_noise_and_repeats_bit_for_bit(toy: Any) -> None:
    embedder, data, problem = toy
    before = [p.clone() for p in embedder.model.parameters()]
    config = FineTuneConfig(steps=20, batch=8, seconds=0.1, windows=2, checks=2)
    (first,), (second,) = (fine_tune(embedder, data, problem, config) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    ((found, _),) = score_predictions(
        [first], problem, 1.0, model="m", probe=FINE_TUNED, regime="100%"
    )
    assert found.score == 1
    assert found.split == problem.hash
    assert all(torch.equal(a, b) for a, b in zip(before, embedder.model.parameters(), strict=True))


def test_trained_encoders_stand_beside_the_probes(toy: Any, tmp_path: Path) -> None:
    embedder, data, problem = toy
    rows = [
        f"{c.id},{y},{g}"
        for c, y, g in zip(data.clips, problem.labels.y, problem.groups, strict=True)
    ]
    (tmp_path / "items.csv").write_text("\n".join(["path,class,machine", *rows]))
    config = EvaluateConfig(
        tasks=("drum class",),
        probes=("linear",),
        regimes=("100%",),
        seeds=2,
        fine_tune=FineTuneConfig(steps=2, batch=4, seconds=0.1, checks=1),
    )
    roots = {"drum_machines": tmp_path}
    found = evaluate([embedder, BaselineEmbedder("mfcc")], roots, tmp_path / "cache", config)
    tuned = [r for r in found.results if r.probe == FINE_TUNED]
    assert [(r.model, r.metric, len(r.seeds)) for r in tuned] == [
        ("random", "accuracy", 1),
        ("random", "macro_f1", 1),
    ]
    assert tuned[0].split == found.results[0].split
    assert "<th>supervised</th>" in render_page(found)


def test_training_an_encoder_refuses_a_leak(toy: Any) -> None:
    embedder, data, problem = toy
    everything = np.arange(40)
    leaking = replace(problem, splits=[[Split(everything[::2], everything[:0], everything[1::2])]])
    with pytest.raises(LeakError, match="training and test"):
        fine_tune(embedder, data, leaking, FineTuneConfig(steps=1))


def test_of_whole_songs_the_middle_is_kept_where_memory_is_short(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, data, _ = toy
    whole = ClipAudio(data, 22_050, 0.1)
    monkeypatch.setattr(finetune, "MEMORY", 2 * 40 * 3000)
    some = ClipAudio(data, 22_050, 0.1)
    assert {len(clip) for clip in some.clips} == {3000}
    first = (len(whole.clips[0]) - 3000) // 2
    np.testing.assert_array_equal(some.clips[0], whole.clips[0][first : first + 3000])
    assert len(ClipAudio(data, 22_050, 0.2).clips[0]) == 4410  # an excerpt at least


def test_only_what_the_layer_needs_is_trained(toy: Any) -> None:
    embedder, _, _ = toy
    net = FineTunedModel(embedder.model, 0, 3)
    named = dict(net.model.encoder.named_parameters())
    assert {n for n, p in named.items() if not p.requires_grad} == {
        name for name in named if not name.startswith("stem.")
    }


def test_a_short_clip_scores_alone_as_in_a_batch(toy: Any) -> None:
    embedder, data, _ = toy
    sounds = ClipAudio(data, 22_050, 0.27)
    net = FineTunedModel(embedder.model, None, 3).eval()
    with torch.inference_mode():
        together = net(*sounds.batch(np.arange(3), [0.0] * 3))
        for i in range(3):
            alone = net(*sounds.batch(np.array([i]), [0.0]))
            torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=0)
