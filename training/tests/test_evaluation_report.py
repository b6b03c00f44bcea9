"""The page, its figures, and the card."""

import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub.repocard_data import model_index_to_eval_results

from musicssl.errors import ConfigError
from musicssl_training.evaluation.protocol.finetune import (
    FINE_TUNED,
)
from musicssl_training.evaluation.protocol.labels import Multilabel, Regression
from musicssl_training.evaluation.protocol.scoring import (
    Result,
)
from musicssl_training.evaluation.report import figures
from musicssl_training.evaluation.report.html import render_page
from musicssl_training.evaluation.report.model_card import fill_card, model_index
from musicssl_training.evaluation.report.results import Difference, Map, Report, read_report
from musicssl_training.evaluation.report.tables import SUPERVISED, rows, table

CLASSES = ["a < b", "c", "d"]
LOOK = Path(__file__).parents[2] / "experiments" / "look.py"


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
    plain: dict[str, Any] = {"confusion": [], "task": "onsets", "metric": "average_precision"}
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
    with pytest.raises(ConfigError, match="format 99; this version reads 2"):
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


@pytest.mark.skipif(not LOOK.is_file(), reason="the experiments are not in this distribution")
def test_looking_without_a_browser_says_what_to_install(tmp_path: Path) -> None:
    call = [sys.executable, str(LOOK), "x.html", "-o", str(tmp_path), "--browser", "no-such"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "none of no-such is installed here. Install one" in done.stderr
