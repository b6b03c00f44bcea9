"""What a step hears: in groups of one recording, the same whoever asks, and in the right shares."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from musicssl.errors import AudioError, ConfigError
from musicssl_training.data import Sampler
from musicssl_training.data.placement import draw_starts, redraw_start
from musicssl_training.midi.score import Score

RATE, SECONDS = 1000, 2.0


class Numbers:
    """Recordings whose samples say which they are and where."""

    def __init__(self, name: str, lengths: Sequence[int], broken: Sequence[int] = ()) -> None:
        self.name, self.broken = name, broken
        self.items = [{"path": f"{i}", "samples": n} for i, n in enumerate(lengths)]

    def excerpt(self, item: int, start: int, samples: int) -> NDArray[np.float32]:
        if item in self.broken:
            raise AudioError(f"{self.name}/{item} is broken.")
        places = np.arange(start, start + samples) / self.items[item]["samples"]
        return (0.5 * places + 0.01 * (item + 1)).astype(np.float32)

    def score(self, item: int, start: int, samples: int) -> Score | None:
        if self.name != "scored":
            return None
        note = [[0.0, 1.0, 60.0 + item, 0.0, 100.0]]
        return Score(np.array(note, np.float32), np.zeros((0, 2), np.float32), 120.0, 3)

    def digest(self) -> str:
        return self.name


def sampler(sources: Sequence[Any], **options: Any) -> Sampler:
    shares = options.pop("shares", [1.0] * len(sources))
    given = {"seconds": SECONDS, "seed": 3, "recordings": 4} | options
    return Sampler(sources, shares, sample_rate=RATE, **given)


def test_excerpts_of_a_recording_lie_side_by_side() -> None:
    drawn = sampler([Numbers("a", [9000] * 20)], per_recording=3).draw(0)
    assert drawn.audio.shape == (12, 2000)
    assert np.array_equal(
        drawn.recordings.reshape(4, 3)[:, :1].repeat(3, 1).ravel(), drawn.recordings
    )
    first = 0.5 * drawn.starts * RATE / 9000 + 0.01 * (drawn.recordings + 1)
    np.testing.assert_allclose(drawn.audio[:, 0], first, atol=1e-6)


def test_a_step_is_the_same_in_any_order_and_for_any_number_of_processes() -> None:
    source = Numbers("a", [9000] * 20)
    one = sampler([source])
    late = one.draw(7)
    one.draw(0)
    np.testing.assert_array_equal(one.draw(7).audio, late.audio)
    parts = [sampler([source], rank=rank, ranks=2).draw(7) for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate([part.audio for part in parts]), late.audio)
    assert not np.array_equal(one.draw(8).audio, late.audio)
    assert not np.array_equal(sampler([source], seed=4).draw(7).audio, late.audio)


def test_sources_have_their_shares_and_long_recordings_their_root() -> None:
    sources = [Numbers("a", [3000, 12_000]), Numbers("b", [5000])]
    drawn = sampler(sources, shares=[3, 1], recordings=4000, per_recording=1).draw(0)
    counts = np.bincount(drawn.recordings, minlength=3) / 4000
    np.testing.assert_allclose(counts, [0.25, 0.5, 0.25], atol=0.03)


def test_a_share_of_each_part_comes_from_one_source() -> None:
    sources = [Numbers(name, [9000] * 50) for name in "abc"]
    options: dict[str, Any] = {"recordings": 24, "parts": 2, "per_recording": 1}
    mixed = sampler(sources, same_source=0.75, **options)
    common = Counter()
    for step in range(40):
        drawn = mixed.draw(step)
        for part in drawn.sources.reshape(2, 12):
            assert len(set(part[:9])) == 1  # three quarters of twelve
            common[int(part[0])] += 1
        halves = [
            sampler(sources, same_source=0.75, rank=rank, ranks=2, **options).draw(step).sources
            for rank in range(2)
        ]
        both = np.concatenate([half.reshape(2, 6) for half in halves], axis=1).ravel()
        np.testing.assert_array_equal(both, drawn.sources)
    assert min(common[k] for k in range(3)) > 80 / 3 / 2  # each source has its turn
    plain = sampler(sources, **options).draw(3)
    none = sampler(sources, same_source=0.0, **options).draw(3)
    np.testing.assert_array_equal(none.audio, plain.audio)


def test_recordings_that_cannot_be_read_are_replaced(caplog: pytest.LogCaptureFixture) -> None:
    drawn = sampler([Numbers("a", [9000] * 4, broken=[1])], recordings=40).draw(0)
    assert set(drawn.recordings) == {0, 2, 3}
    assert caplog.text.count("a/1 is broken") == 1
    with pytest.raises(AudioError, match="in a row cannot be read"):
        sampler([Numbers("a", [9000], broken=[0])]).draw(0)


def test_excerpts_of_a_recording_do_not_overlap_where_there_is_room() -> None:
    lengths = np.random.default_rng(0).uniform(20, 56.25, 200)  # seconds, as rendered music has
    source = Numbers("a", [round(RATE * seconds) for seconds in lengths])
    drawn = sampler([source], seconds=7.04, recordings=600).draw(0)
    first, second = drawn.starts.reshape(-1, 2).T
    assert (abs(first - second) >= 7.04 - 1e-3).all()
    assert 0.4 < (first < second).mean() < 0.6  # neither is always the earlier one
    three = sampler([Numbers("a", [6000, 6001, 7000] * 9)], per_recording=3, recordings=300).draw(0)
    assert (np.diff(np.sort(three.starts.reshape(-1, 3)), axis=1) >= 2 - 1e-3).all()


def test_short_recordings_give_excerpts_that_overlap() -> None:
    drawn = sampler([Numbers("a", [3000] * 9)], recordings=200).draw(0)
    assert drawn.starts.min() >= 0
    assert drawn.starts.max() <= 1
    assert len(np.unique(drawn.starts)) > 100


@pytest.mark.parametrize(("length", "samples", "count"), [(9, 2, 2), (9, 2, 3), (8, 4, 2)])
def test_placements_without_overlap_are_equally_likely(
    length: int, samples: int, count: int
) -> None:
    rng = np.random.default_rng(0)
    drawn = [tuple(draw_starts(length, samples, count, rng)) for _ in range(12_000)]
    places = itertools.product(range(length - samples + 1), repeat=count)
    wanted = {p for p in places if (np.diff(np.sort(p)) >= samples).all()}
    counts = Counter(drawn)
    assert set(counts) == wanted
    expected = len(drawn) / len(wanted)
    chi = sum((counts[place] - expected) ** 2 / expected for place in wanted)
    assert chi < len(wanted) + 5 * (2 * len(wanted)) ** 0.5  # mean and 5 standard deviations


@pytest.mark.parametrize(
    ("others", "wanted"),
    [
        ([4], {0, 1, 7, 8, 9}),
        ([2, 8], {5}),
        ([8, 2], {5}),
        ([0, 3, 6], {9}),
        ([2, 6, 9], set(range(10))),  # no room: anywhere
    ],
)
def test_a_start_is_drawn_anew_beside_the_others(others: list[int], wanted: set[int]) -> None:
    rng = np.random.default_rng(0)
    counts = Counter(redraw_start(12, 3, np.array(others), rng) for _ in range(3000))
    assert set(counts) == wanted
    assert min(counts.values()) > 0.7 * 3000 / len(wanted)


class HalfSilent(Numbers):
    """Recordings of which the first half is silent."""

    def excerpt(self, item: int, start: int, samples: int) -> NDArray[np.float32]:
        audible = np.arange(start, start + samples) >= self.items[item]["samples"] / 2
        return (0.5 * audible).astype(np.float32)


def test_excerpts_that_replace_silent_ones_do_not_overlap_either() -> None:
    drawn = sampler([HalfSilent("a", [20_000] * 9)], recordings=300).draw(0)
    starts = np.sort(drawn.starts.reshape(-1, 2))
    assert (np.diff(starts, axis=1) >= 2 - 1e-3).all()
    silent = np.abs(drawn.audio).max(axis=1) == 0
    assert silent.mean() < 0.05  # 0.4 of those drawn at first are


def test_layers_hold_both_scores() -> None:
    source = Numbers("scored", [9000] * 20)
    plain = sampler([source]).draw(5)
    mixed = sampler([source], layered=1.0).draw(5)
    assert all(len(score.notes) == 1 for score in plain.scores if score)
    counts = [len(score.notes) for score in mixed.scores if score]
    assert sorted(set(counts)) in ([2], [1, 2])  # 1 where a recording would lie on itself
    assert counts.count(2) >= 6
    assert np.abs(mixed.audio).max() <= 1
    unknown = sampler([Numbers("a", [9000] * 20)], layered=1.0).draw(5)
    assert unknown.scores == [None] * 8


def test_what_does_not_fit_is_said() -> None:
    source = Numbers("a", [1000])
    with pytest.raises(ConfigError, match="no recording is longer than an excerpt"):
        sampler([source])
    with pytest.raises(ConfigError, match="1 sources but 2 shares"):
        sampler([source], shares=[1, 1])
    with pytest.raises(ConfigError, match="must be a multiple of 3: 3 processes"):
        sampler([Numbers("a", [9000])], ranks=3)
