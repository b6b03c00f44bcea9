from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicssl.errors import AudioError, ConfigError
from musicssl.frames import frame_count, frame_times
from musicssl.inference.chunking import cut


@given(st.integers(0, 10**9), st.integers(1, 5000))
def test_last_frame_lies_inside_the_audio(samples: int, hop: int) -> None:
    n = frame_count(samples, hop)
    assert (n - 1) * hop < samples or n == 0
    assert n * hop >= samples


def test_times_do_not_drift() -> None:
    frames = frame_count(3 * 3600 * 22_050, 882)
    times = frame_times(frames, hop=882, sample_rate=22_050)
    assert times[-1] == (frames - 1) * 882 / 22_050
    assert np.abs(times * 25 - np.arange(frames)).max() < 1e-9


def test_times_refuse_negative_counts() -> None:
    with pytest.raises(AudioError, match="at least 0, got -1"):
        frame_times(-1, hop=1, sample_rate=1)


@given(
    samples=st.integers(1, 400),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=10),
    hop=st.integers(1, 7),
    context=st.integers(0, 30),
    chunk=st.integers(1, 80),
)
def test_cut_covers_every_frame_once_with_its_context(
    samples: int, sizes: list[int], hop: int, context: int, chunk: int
) -> None:
    audio = np.arange(samples, dtype=np.float32)
    edges = np.cumsum([0, *(sizes * samples)])
    blocks = [audio[a:b] for a, b in pairwise(edges) if a < samples]
    seen: list[int] = []
    for piece, stretch in cut(blocks, hop=hop, context=context, chunk=chunk):
        start = (piece.first - piece.skip) * hop
        assert np.array_equal(stretch, audio[start : start + len(stretch)])
        assert start <= max(0, piece.first * hop - context)
        last = (piece.first + piece.frames - 1) * hop
        assert start + len(stretch) >= min(samples, last + context)
        assert piece.frames <= frame_count(chunk, hop) + frame_count(context, hop)
        seen += range(piece.first, piece.first + piece.frames)
    assert seen == list(range(frame_count(samples, hop)))


def test_short_audio_stays_whole() -> None:
    pieces = list(cut([np.zeros(100, np.float32)], hop=10, context=50, chunk=60))
    assert [tuple(piece) for piece, _ in pieces] == [(0, 0, 10)]


def test_no_audio_has_no_pieces() -> None:
    assert not list(cut([], hop=10, context=5, chunk=20))


def test_no_chunk_is_one_piece() -> None:
    blocks = [np.zeros(100, np.float32)] * 50
    ((piece, stretch),) = cut(blocks, hop=10, context=50, chunk=None)
    assert tuple(piece) == (0, 0, 500)
    assert len(stretch) == 5_000


@pytest.mark.parametrize(("hop", "chunk"), [(10, 0), (10, -1), (0, 10), (-1, 10)])
def test_chunks_without_an_end_are_refused(hop: int, chunk: int) -> None:
    with pytest.raises(ConfigError, match="at least 1 sample"):
        next(cut([np.zeros(100, np.float32)], hop=hop, context=5, chunk=chunk))


def test_times_far_on_are_exact() -> None:
    times = frame_times(2, hop=10**6, sample_rate=16_000, first=10**9)
    assert times.tolist() == [10**15 / 16_000, (10**15 + 10**6) / 16_000]
