"""What a pack's index says of recordings: styles, and which instruments play where."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musicssl_training.data import Pack, open_sources, write_pack
from musicssl_training.data.recordings import RATE
from musicssl_training.data.truth import FEWEST, known_styles
from musicssl_training.midi.activity import PARTS, read_activity
from musicssl_training.midi.charts import STYLES
from musicssl_training.midi.score import Score, merge
from musicssl_training.targets import score as targets
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import Batch, make_workers, worker_configs

NOTES, BEATS = np.zeros((0, 5), np.float32), np.zeros((0, 2), np.float32)
VOICE, GUITAR, DRUMS = (PARTS.index(name) for name in ("voice", "guitar", "drums"))
SAID: dict[str, Any] = {
    "voice": {"plays": [[1.0, 2.0], [4.0, 5.0]], "unclear": [[1.5, 3.0]]},
    "drums": {},
}
SILENT, UNKNOWN = 0.0, float("nan")


def heard(score: Score, part: int, frames: int = 6) -> list[float]:
    """Return what `families` says of a part, half seconds apart."""
    column: list[float] = targets.families([score], frames, 0.5)[0, :, part].tolist()
    return column


def same(found: list[float], expected: list[float]) -> None:
    np.testing.assert_array_equal(found, expected)


def a_recording(said: dict[str, Any]) -> Score:
    return Score(NOTES, BEATS, activity=read_activity(said))


def test_parts_play_are_silent_or_unclear_as_the_index_says() -> None:
    score = a_recording(SAID)
    same(heard(score, VOICE, 10), [0, 0, 1, 1, UNKNOWN, UNKNOWN, 0, 0, 1, 1])
    same(heard(score, DRUMS), [SILENT] * 6)
    same(heard(score, GUITAR), [UNKNOWN] * 6)  # nobody named it
    part = score.cut(1.5, 2.0)
    same(heard(part, VOICE, 4), [1, UNKNOWN, UNKNOWN, 0])
    same(heard(part, GUITAR, 4), [UNKNOWN] * 4)
    assert part.activity is not None
    assert part.activity[:, :2].min() == 0
    assert part.activity[:, 1].max() == 2
    assert part.within(0.0, 2.0) is part  # heard whole
    same(heard(part.within(0.0, 0.9), VOICE, 4), [1, UNKNOWN, SILENT, SILENT])
    same(heard(part.within(0.5, 1.0), GUITAR, 4), [SILENT, UNKNOWN, SILENT, SILENT])


def test_pitches_are_unknown_where_there_is_more_than_notes() -> None:
    notes = np.array([[0.0, 1.0, 60, 40, 90]], np.float32)
    played, recorded = Score(notes, BEATS), a_recording(SAID)
    for target in (targets.piano_roll, targets.onset_roll, targets.chord):
        found = target([played, recorded, merge(played, recorded)], 4, 0.5)
        assert not found[0].isnan().any()
        assert found[0].any()
        assert found[1:].isnan().all()


def test_what_sounds_together_plays_where_either_does() -> None:
    strings = PARTS.index("strings")
    played = Score(np.array([[0.0, 1.0, 60, 40, 90]], np.float32), BEATS)
    other: dict[str, Any] = {name: {} for name in PARTS} | {"voice": {"plays": [[2.5, 3.0]]}}
    both = merge(a_recording(SAID), a_recording(other))
    same(heard(both, VOICE), [0, 0, 1, 1, UNKNOWN, 1])
    same(heard(both, GUITAR), [UNKNOWN] * 6)
    same(heard(both, DRUMS), [SILENT] * 6)
    mixed = merge(played, a_recording({name: {} for name in PARTS}))
    same(heard(mixed, strings), [1, 1, 1, 0, 0, 0])
    assert merge(played, played).activity is None


def test_a_second_is_known_if_the_part_plays_in_any_of_it() -> None:
    grid = FrameGrid(sample_rate=1000, hop=250)  # four frames a second
    worker = make_workers(worker_configs(["families"]), 4, grid)["families"]
    score = a_recording({"voice": {"plays": [[0.0, 0.25]], "unclear": [[0.25, 1.5]]}})
    batch = Batch(CleanAudio(torch.zeros(1, 4000), grid), torch.arange(1), [score])
    sound = CleanAudio(torch.zeros(1, 4000), grid)
    labels = worker.labels(batch, 16)  # type: ignore[operator]
    same(labels[0, :, VOICE].tolist(), [1, UNKNOWN, 0, 0])
    assert worker.asks(batch)
    unknown = Batch(sound, torch.arange(1), [a_recording({})])
    assert not worker.asks(unknown)
    worker.measure(batch)
    frames = torch.randn(1, 16, 4, requires_grad=True)
    torch.nn.init.normal_(worker.head[2].weight)  # type: ignore[index, union-attr]
    worker.loss(frames, batch).backward()
    assert frames.grad is not None
    assert frames.grad[0, :4].abs().min() > 0
    assert frames.grad[0, 4:8].abs().max() == 0  # of an unclear second nothing is asked


def a_pack(folder: Path, *facts: dict[str, Any], scored: bool) -> Path:
    """A pack of recordings of 3 s, of which the index says `facts`."""
    rows = [{"path": str(i), "source": "s", "licence": "CC0"} | f for i, f in enumerate(facts)]

    def read(row: dict[str, Any]) -> Any:
        score = Score(np.array([[0, 1, 60, 0, 90]], np.float32), BEATS) if scored else None
        return np.full(3 * RATE, 0.1, np.float32), {"sample_rate": RATE}, score

    write_pack(rows, folder, read)
    return folder


@pytest.mark.parametrize("rate", [RATE, 16_000])
def test_recordings_with_and_without_stems_share_a_pack(rate: int, tmp_path: Path) -> None:
    folder = a_pack(tmp_path / "pack", {}, {"activity": SAID}, scored=False)
    assert not (folder / "scores.jsonl").exists()
    (source,) = open_sources([str(folder)], rate)
    assert source.score(0, 0, rate) is None
    score = source.score(1, rate, rate)
    assert score is not None
    same(heard(score, VOICE, 2), [1, 1])
    same(heard(score, DRUMS, 2), [SILENT] * 2)


def test_styles_are_those_of_the_index_where_enough_files_have_them(tmp_path: Path) -> None:
    given = [("rock", f"a{i}") for i in range(FEWEST)]
    given += [("reggae", f"b{i % (FEWEST - 1)}") for i in range(2 * FEWEST)]  # of one file too few
    given += [("yodel", f"c{i}") for i in range(FEWEST)] + [("", f"d{i}") for i in range(FEWEST)]
    rows: list[dict[str, Any]] = [{"style": style, "group": group} for style, group in given]
    rows = [row | {"path": str(i)} for i, row in enumerate([*rows, {}])]
    expected = ["rock"] * FEWEST + [""] * (len(rows) - FEWEST)
    assert known_styles(rows) == expected
    pack = Pack.open(a_pack(tmp_path / "scored", *rows, scored=True))
    scores = [pack.score(item, 0, 1000) for item in range(len(rows))]
    assert [score and score.style for score in scores] == expected
    found = targets.style([score for score in scores if score])
    assert found.tolist() == [list(STYLES).index(name) if name else -1 for name in expected]
    recordings = Pack.open(a_pack(tmp_path / "not", *rows, scored=False))
    assert recordings.score(0, 0, 1000) is None  # a genre that somebody wrote there


def test_a_style_is_that_of_the_whole_excerpt() -> None:
    rock, jazz = Score(NOTES, BEATS, style="rock"), Score(NOTES, BEATS, style="jazz")
    note = Score(np.array([[0, 9, 60, 0, 90], [5, 9, 60, 0, 90]], np.float32), BEATS, style="rock")
    assert note.cut(1.0, 7.0).style == "rock"
    assert note.within(1.0, 2.0).style == ""
    assert merge(rock, rock).style == "rock"
    assert merge(rock, jazz).style == ""


def test_a_pack_without_these_columns_is_as_before(tmp_path: Path) -> None:
    folder = a_pack(tmp_path / "pack", {}, {}, scored=True)
    rows = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    place = {"start", "samples", "audio_hash"}
    assert set(rows[0]) == {"path", "source", "licence", "sample_rate"} | place
    score = Pack.open(folder).score(0, 0, RATE)
    assert score is not None
    assert (score.style, score.activity) == ("", None)
