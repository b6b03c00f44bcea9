"""The pictures of a run: valid, of the size that was promised, the same every time."""

import itertools
import math
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread

from musicssl.errors import ConfigError
from musicssl_training.train.metrics import MetricLogger, gradient_statistics
from musicssl_training.train.plots import COLORS, draw, short, similar

STEPS = 40


def write(folder: Path, count: int) -> None:
    """Write the log of a run with so many workers, one of which fails once and then rises."""
    random = np.random.default_rng(0)
    names = [f"some_worker_{i}" for i in range(count)]
    with MetricLogger(folder, 0, tensorboard=False) as record:
        for step in range(1, STEPS + 1):
            losses = {n: 3 * math.exp(-step / (9 + i)) + 0.2 for i, n in enumerate(names)}
            losses[names[0]] = math.nan if step == 30 else 0.1 * step
            values: dict[str, float | dict[str, float]] = {
                "hours": step / 7,
                "wall": 2.0 * step,
                "waiting": 0.5,
                "effective_rank": 10.0 + step,
                "r2": {names[0]: math.nan if step == 30 else 0.01 * step},
                "accuracy": {n: 1 / (i + 1) for i, n in enumerate(names)},
                "loss": losses,
                "weight": {n: 1.0 + i * step for i, n in enumerate(names)},
            }
            if step % 10 == 0:
                rows = torch.from_numpy(random.standard_normal((count, 99)))
                values["gradient"], values["cosine"] = gradient_statistics(rows @ rows.T, names)
                values["probe"] = {"genre": 0.6 - 1 / step, "pitch class": 0.7}
            record.write(step, values)


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[tuple[str, mpl.transforms.Bbox]]]:
    """The words written in each picture that was drawn, and where in it, in pixels."""
    found: dict[str, list[tuple[str, mpl.transforms.Bbox]]] = {}
    save = Figure.savefig

    def look(figure: Figure, file: Path) -> None:
        save(figure, file)
        found[file.stem] = [
            (text.get_text(), text.get_window_extent())
            for text in figure.findobj(mpl.text.Text)
            if re.search("[a-z]", text.get_text())  # ticks beyond an axis are kept, but not shown
        ]

    monkeypatch.setattr(Figure, "savefig", look)
    return found


@pytest.mark.parametrize("count", [1, 5, 32])
def test_pictures_are_drawn_and_repeat(
    count: int, tmp_path: Path, texts: dict[str, list[tuple[str, mpl.transforms.Bbox]]]
) -> None:
    write(tmp_path, count)
    before = dict(mpl.rcParams)
    files = draw(tmp_path)
    names = ["losses", "weights", "r2", "accuracy", "rank"]
    names += ["cosines"] * (count > 1) + ["probes"]
    assert files == [tmp_path / "plots" / f"{name}.png" for name in names]
    for file in files:
        height, width, _ = imread(file).shape
        assert width == 900
        assert 400 < height < 1100
        assert imread(file).std() > 0.01
        for text, box in texts[file.stem]:
            inside = box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height
            assert inside, f"{text} leaves {file.stem}"
    for picture in ("losses", "weights"):
        labels = [(text, box) for text, box in texts[picture] if "some_worker" in text]
        assert len(labels) == count
        for (one, a), (other, b) in itertools.combinations(labels, 2):
            assert not a.overlaps(b), f"{one} on {other} in {picture}"
    with mpl.rc_context(rc={"font.size": 30, "axes.facecolor": "red"}):  # whatever a user has set
        again = draw(tmp_path, tmp_path / "again")
    assert [file.read_bytes() for file in files] == [file.read_bytes() for file in again]
    assert dict(mpl.rcParams) == before


def test_what_was_not_logged_is_not_drawn(tmp_path: Path) -> None:
    with MetricLogger(tmp_path, 0, tensorboard=False) as record:
        record.write(1, {"hours": 0.1, "loss": {"a": 1.0}})
    assert [file.name for file in draw(tmp_path)] == ["losses.png"]


def test_equal_weights_and_dead_gradients_are_drawn(tmp_path: Path) -> None:
    with MetricLogger(tmp_path, 0, tensorboard=False) as record:
        for step in (1, 2):
            same = {"a": 1.0, "b": 1.0, "c": 1.0}
            cosine = {"a-c": -1.0}
            record.write(step, {"hours": step / 10, "loss": same, "weight": same, "cosine": cosine})
    assert len(draw(tmp_path)) == 3


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no log\.jsonl"):
        draw(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"step": 1, "hours": 0.1, "log_mel": 1}\n')
    with pytest.raises(ConfigError, match="no losses: nothing to draw"):
        draw(tmp_path)
    assert not (tmp_path / "plots").exists()


def test_like_stands_beside_like() -> None:
    groups = np.array([0, 1, 0, 1, 2, 0])
    matrix = np.where(groups[:, None] == groups, 0.8, -0.1)
    np.fill_diagonal(matrix, np.nan)
    order = groups[similar(matrix)]
    assert sorted(similar(matrix)) == list(range(6))
    assert np.count_nonzero(np.diff(order)) == 2


@pytest.mark.parametrize(
    ("cosine", "text"), [(0.343, ".34"), (-0.5, "−.50"), (-0.004, "0"), (1.0, "1.00"), (0.0, "0")]
)
def test_cosines_are_written_short(cosine: float, text: str) -> None:
    assert short(cosine) == text


# what the colour-blind see of linear RGB (Machado, Oliveira and Fernandes, 2009, severity 1)
SEEN = {
    "full": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "no red": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no green": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no blue": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


@pytest.mark.parametrize("eyes", SEEN)
def test_colours_differ_for_the_colour_blind(eyes: str) -> None:
    rgb = np.array([to_rgb(colour) for colour in (*COLORS, "white")])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(SEEN[eyes]).T, 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750]]
    to_xyz += [[0.0193339, 0.1191920, 0.9503041]]
    xyz = linear @ np.array(to_xyz).T / [0.95047, 1, 1.08883]
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), (xyz * (29 / 3) ** 3 + 16) / 116)
    lightness, a, b = 116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])
    lab = np.stack([lightness, a, b], axis=1)  # CIELAB, in which about 2 can just be seen
    for one, other in itertools.combinations(range(len(lab)), 2):
        assert np.linalg.norm(lab[one] - lab[other]) > 15
