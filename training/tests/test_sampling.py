"""What a step hears: in groups of one recording, the same whoever asks, and in the right shares."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from musicssl.errors import AudioError, ConfigError
from musicssl_training.data import Sampler
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


def test_recordings_that_cannot_be_read_are_replaced(caplog: pytest.LogCaptureFixture) -> None:
    drawn = sampler([Numbers("a", [9000] * 4, broken=[1])], recordings=40).draw(0)
    assert set(drawn.recordings) == {0, 2, 3}
    assert caplog.text.count("a/1 is broken") == 1
    with pytest.raises(AudioError, match="in a row cannot be read"):
        sampler([Numbers("a", [9000], broken=[0])]).draw(0)


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
    with pytest.raises(ConfigError, match="must be a multiple of the 3 processes"):
        sampler([Numbers("a", [9000])], ranks=3)
