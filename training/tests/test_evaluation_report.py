"""The page, its figures, the card, and encoders trained on a task."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from huggingface_hub.repocard_data import model_index_to_eval_results

from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig
from musicssl.errors import ConfigError
from musicssl.model import MusicEncoder
from musicssl_training.evaluation.datasets import Clip, Collection
from musicssl_training.evaluation.embedders.adapters import BaselineEmbedder, ModelEmbedder
from musicssl_training.evaluation.errors import LeakError
from musicssl_training.evaluation.protocol.bootstrap import draw_groups
from musicssl_training.evaluation.protocol.finetune import (
    FINE_TUNED,
    ClipAudio,
    FineTuneConfig,
    FineTunedModel,
    fine_tune,
)
from musicssl_training.evaluation.protocol.labels import Multiclass, Multilabel, Regression
from musicssl_training.evaluation.protocol.scoring import (
    Result,
    TaskInstance,
    score_predictions,
)
from musicssl_training.evaluation.protocol.splits import Split, make_splits
from musicssl_training.evaluation.report import figures
from musicssl_training.evaluation.report.html import render_page
from musicssl_training.evaluation.report.model_card import fill_card, model_index
from musicssl_training.evaluation.report.results import Difference, Map, Report, read_report
from musicssl_training.evaluation.report.tables import SUPERVISED, rows, table
from musicssl_training.evaluation.suite import EvaluateConfig, evaluate

CLASSES = ["a < b", "c", "d"]
LOOK = Path(__file__).parents[2] / "benchmarks" / "look.py"


def result(model: str, score: float, **changes: Any) -> Result:
    values: dict[str, Any] = {
        **{"task": "genre", "probe": "linear", "regime": "100%", "metric": "accuracy"},
        **{"low": score - 0.1, "high": score + 0.1, "chance": 1 / 3, "n_items": 60, "n_groups": 9},
        **{"seeds": [score], "split": "0123456789ab", "seconds": 1.5, "classes": CLASSES},
        "per_class": dict.fromkeys(CLASSES, score),
        "confusion": [[8.0, 1, 1], [5, 5, 0], [0, 0, 0]],
    }
    return Result(model=model, score=score, **values | changes)


@pytest.fixture
def report() -> Report:
    xy = np.random.default_rng(0).standard_normal((60, 2)).tolist()
    labels = [CLASSES[i % 3] for i in range(60)]
    found = Report(data={"emotify": "0a1b2c"}, spaces={"mine": "mine@1/clip", "other": "other@2"})
    for regime in ("100%", "10%", "1%"):
        found.results += [result("mine", 0.7, regime=regime), result("other", 0.5, regime=regime)]
    found.results += [result("mine", 0.6, probe="knn"), result("mine", 0.5, metric="macro_f1")]
    same: dict[str, Any] = {"task": "genre", "probe": "linear", "regime": "100%"}
    found.differences.append(
        Difference(
            a="mine", b="other", difference=0.2, low=0.1, high=0.3, metric="accuracy", **same
        )
    )
    items = [f"{i}.wav" for i in range(60)]
    found.maps = [
        Map(model=m, task="genre", xy=xy, labels=labels, items=items) for m in found.spaces
    ]
    found.note_missing("key", "no folder <rendered> & nothing else")
    return found


class Balance(HTMLParser):
    """Whether every element that is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, name: str, attrs: object) -> None:
        self.seen.add(name)
        if name != "meta":
            self.open.append(name)

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name


def test_the_page_is_whole_and_needs_nothing_else(report: Report) -> None:
    html = render_page(report)
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert not parser.open
    assert not {"script", "link", "img", "iframe"} & parser.seen
    assert not re.search(r"url\(|@import|(src|href)=\"(?!#)", html)
    for words in (
        *("a &lt; b", "0123456789ab", "no folder &lt;rendered&gt; &amp; nothing else", "0a1b2c"),
        *("mine@1/clip", "Every class: recall", "Confusion matrices", "+10.0 to +30.0"),
        *("prefers-color-scheme: dark", report.versions["numpy"], "embedding, all collections"),
    ):
        assert words in html
    assert html == render_page(report)


def test_the_best_is_bold_only_where_the_paired_interval_says_so(report: Report) -> None:
    assert '<td class="best">70.0' in render_page(report)
    report.differences[0] = replace(report.differences[0], low=-0.01)
    assert '<td class="best">' not in render_page(report)


def test_a_page_of_tags_frames_and_numbers_is_made_too(report: Report) -> None:
    plain: dict[str, Any] = {"confusion": [], "task": "onsets", "metric": "pr_auc"}
    report.results = [result("mine", -0.2, **plain, per_class={"onset": -0.2}, regime="5-shot")]
    report.differences, report.maps = [], []
    html = render_page(report)
    assert "onsets" in html
    assert "Confusion" not in html
    assert "<svg" in render_page(
        Report(results=[result("mine", 1.0, low=1.0, high=1.0, chance=1.0)])
    )
    assert "Not measured" not in render_page(Report())


def test_results_survive_their_file(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "results.json")
    assert read_report(tmp_path / "results.json") == report
    (tmp_path / "results.json").write_text('{"format": 99}')
    with pytest.raises(ConfigError, match="format 99; this version reads 1"):
        read_report(tmp_path / "results.json")
    with pytest.raises(ConfigError, match=r"not the results\.json of an evaluation"):
        read_report(tmp_path / "none.json")


def test_a_confusion_matrix_writes_shares_of_its_rows() -> None:
    svg = figures.confusion_matrix(result("mine", 0.5))
    assert [int(n) for n in re.findall(r">(\d+)</text>", svg)] == [80, 10, 10, 50, 50]


def test_a_dollar_sign_in_a_name_is_no_formula() -> None:
    names = ["a$\\frac$", "$b$", "c"]
    svg = figures.confusion_matrix(result("mine", 0.5, classes=names))
    assert "a$\\frac$</text>" in svg
    assert "$b$</text>" in svg


def test_colors_of_labels() -> None:
    few, legend = figures.color_labels(["b", "a", "b"])
    assert few == {"a": "k0", "b": "k1"}
    assert legend == {"k0": "a", "k1": "b"}
    many, legend = figures.color_labels([str(chr(97 + i)) for i in range(20)] + ["t"])
    assert sum(c == "other" for c in many.values()) == 8
    assert many["t"] != "other"
    assert legend["other"] == "8 others"
    tempi, legend = figures.color_labels([f"{t:.2f}" for t in range(60, 180, 5)])
    assert len(set(tempi.values())) == figures.SHADES
    assert legend["s0"] == "60 to 70"
    assert tempi["60.00"] == "s0"
    assert tempi["175.00"] == "s7"


def test_of_many_classes_the_most_frequent_are_listed(report: Report) -> None:
    names = [f"class {i:02}" for i in range(40)]
    counts = np.eye(40) * np.where(np.arange(40) % 4 == 0, 1, 5)  # every fourth is rare
    many: dict[str, Any] = {"classes": names, "per_class": dict.fromkeys(names, 0.5)}
    report.results = [
        result("mine", 0.5, **many, confusion=counts.tolist())
    ]  # "other": a map alone
    html = render_page(report)
    assert "Every class: recall, the 30 most frequent of 40" in html
    listed = re.findall(r"<tr><td>class (\d\d)</td>", html)
    assert listed == [f"{i:02}" for i in range(40) if i % 4 != 0]
    report.results = [result("mine", 0.5, **many, confusion=[])]  # tags: how frequent is not known
    assert len(re.findall(r"<tr><td>class (\d\d)</td>", render_page(report))) == 40


def test_the_own_models_stand_before_random_and_hand_crafted_ones(report: Report) -> None:
    order = ["log-mel", "random=mine", "mine", "handcrafted", "other"]
    report.results = [result(name, 0.5) for name in order]
    head = re.findall(r"<th>task</th>.*?</tr>", render_page(report))[0]
    assert re.findall(r"<th>([^<]*)</th>", head)[1:] == [
        *("mine", "other", "mine, random weights", "log-mel", "handcrafted", "chance")
    ]


def test_figures_take_their_colors_from_the_page(report: Report) -> None:
    html = render_page(report)
    style, _, body = html.partition("</style>")
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", body)) - {"c"}
    assert {"ground", "soft", "m0", "m1", "accent"} <= used
    assert used <= set(re.findall(r"--([a-z0-9-]+):", style))
    assert not re.search(r"(fill|stroke): #", body)
    assert "<title>mine, linear: 70.0 [60.0, 80.0]</title>" in body
    assert "<title>a &lt; b taken for c: 10.0 %</title>" in body


def test_labels_of_a_map() -> None:
    tags = Multilabel(np.array([[1.0, 1, 0], [1, 0, 0], [0, 0, 0]]), ("often", "rare", "never"))
    assert [tags.describe(i) for i in range(3)] == ["rare", "often", "none"]
    values = Regression(np.array([[9.0, 0.1], [8, 0.9], [9.5, 0.1]]), ("large", "small"))
    assert [values.describe(i) for i in range(3)] == ["large", "small", "large"]


def test_what_is_supervised_gets_a_column(report: Report) -> None:
    report.results.append(result("random", 0.4, probe=FINE_TUNED))
    first, second = rows(report)
    assert list(first.cells) == ["mine", "other", SUPERVISED]
    assert first.best == "mine"  # what is supervised does not compete
    assert SUPERVISED not in second.cells
    assert "| mine | other | supervised |" in table(report)


def test_the_card_says_what_the_hub_reads(report: Report, tmp_path: Path) -> None:
    index = model_index(report, "mine", "owner/mine", "https://example.org")
    name, found = model_index_to_eval_results(index)
    assert name == "owner/mine"
    assert {(r.dataset_config, r.metric_type, r.metric_value) for r in found} == {
        ("genre", "accuracy", 0.7),
        ("genre", "macro_f1", 0.5),
    }
    assert found[0].dataset_revision == "0a1b2c"
    assert found[0].metric_args["split"] == "0123456789ab"
    file = tmp_path / "README.md"
    file.write_text("---\nlicense: mit\nmusicssl:\n  dim: 3\n---\n\n# Mine\n")
    fill_card(file, report, "mine")
    fill_card(file, report, "mine")  # again, in the place of the first
    text = file.read_text()
    assert text.count("model-index:") == 1
    assert text.startswith("---\nlicense: mit\nmusicssl:\n  dim: 3\n")
    assert text.endswith("# Mine\n")
    with pytest.raises(ConfigError, match=r"no linear probe of 'mne'.*Did you mean 'mine'"):
        model_index(report, "mne")
    with pytest.raises(ConfigError, match="musicssl-train release"):
        fill_card(tmp_path / "none.md", report, "mine")


def test_looking_without_a_browser_says_what_to_install(tmp_path: Path) -> None:
    call = [sys.executable, str(LOOK), "x.html", "-o", str(tmp_path), "--browser", "no-such"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "none of no-such is installed here. Install one" in done.stderr


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
    splits = [make_splits(groups, None, 1)[0][:1]]
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


def test_a_short_clip_scores_alone_as_in_a_batch(toy: Any) -> None:
    embedder, data, _ = toy
    sounds = ClipAudio(data, 22_050, 0.27)
    net = FineTunedModel(embedder.model, None, 3).eval()
    with torch.inference_mode():
        together = net(*sounds.batch(np.arange(3), [0.0] * 3))
        for i in range(3):
            alone = net(*sounds.batch(np.array([i]), [0.0]))
            torch.testing.assert_close(alone[0], together[i], atol=1e-5, rtol=0)
