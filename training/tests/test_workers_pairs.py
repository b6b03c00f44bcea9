"""Contrast and PASE's yes-or-no workers: what they ask, and what cannot answer it."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from musicssl.errors import ConfigError
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import Batch, Extras, Worker
from musicssl_training.workers.contrastive import (
    Contrastive,
    ContrastiveConfig,
    Segments,
    SegmentsConfig,
    Stretches,
)
from musicssl_training.workers.pairing import (
    Gim,
    GimConfig,
    Lim,
    LimConfig,
    Spc,
    SpcConfig,
    StretchViews,
    pair_weights,
)

GRID = FrameGrid(sample_rate=1000, hop=40)  # 25 frames a second
DIM = 8


def lim(**settings: Any) -> Lim:
    return Lim(LimConfig(**settings), DIM, GRID)


def gim(**settings: Any) -> Gim:
    return Gim(GimConfig(**settings), DIM, GRID)


def contrast(**settings: Any) -> Contrastive:
    return Contrastive(ContrastiveConfig(**settings), DIM, GRID)


def segments(**settings: Any) -> Segments:
    return Segments(SegmentsConfig(**settings), DIM, GRID)


def bare(**settings: Any) -> Contrastive:
    """A worker that compares what it hears as it is."""
    worker = contrast(**settings)
    worker.head = nn.Sequential(nn.Identity())
    return worker


def of(recordings: list[int] | Tensor, sources: list[int] | None = None) -> Stretches:
    """As many excerpts as recordings are named, which do not overlap."""
    owners = torch.as_tensor(recordings)
    where = None if sources is None else torch.tensor(sources)
    return Stretches(owners, torch.arange(len(owners)), None, where, 1.0)


def a_batch(recordings: list[int], starts: list[float] | None = None) -> Batch:
    return Batch(
        CleanAudio(torch.zeros(len(recordings), 1000), GRID),
        torch.tensor(recordings),
        random=torch.Generator().manual_seed(0),
        starts=None if starts is None else torch.tensor(starts),
    )


def test_every_pair_of_the_batch_is_asked_about() -> None:
    yes, no = pair_weights(a_batch([5, 5, 7, 7, 9, 9]))
    same = torch.tensor([5, 5, 7, 7, 9, 9])
    same = (same[:, None] == same).float()
    assert torch.equal(yes, same - torch.eye(6))
    torch.testing.assert_close(no, (1 - same) / 4)


@pytest.mark.parametrize("per_recording", [2, 3])
def test_what_one_excerpt_shows_cannot_tell_the_answer(per_recording: int) -> None:
    """As anchor and as context, every excerpt weighs the same in yes and in no."""
    recordings = torch.arange(4).repeat_interleave(per_recording).tolist()
    yes, no = pair_weights(a_batch(recordings))
    for dim in (0, 1):
        torch.testing.assert_close(yes.sum(dim=dim), no.sum(dim=dim))
        torch.testing.assert_close(yes.sum(dim=dim), torch.ones(len(recordings)))


def test_excerpts_that_overlap_are_no_partners() -> None:
    yes, no = pair_weights(a_batch([1, 1, 2, 2, 3, 3], [0.0, 0.9, 0.0, 1.0, 3.0, 0.0]))
    assert yes[0, 1] == yes[1, 0] == 0
    assert yes[2, 3] == yes[3, 2] == yes[4, 5] == 1
    assert no[0].sum() == no[:, 0].sum() == 0  # it would count as a no alone
    assert no[2].tolist() == [0, 0, 0, 0, 0.5, 0.5]


@pytest.mark.parametrize("make", [lim, gim])
def test_gain_alone_does_not_tell_pairs_apart(make: Callable[..., Gim]) -> None:
    """Frames that know nothing but a gain, drawn for each excerpt: a guess stays the best."""
    torch.manual_seed(0)
    worker = make(hidden=16)
    optimizer = torch.optim.Adam(worker.parameters(), lr=3e-3)
    batch = a_batch([0, 0, 1, 1, 2, 2, 3, 3])
    losses = []
    for _ in range(300):
        gains = torch.randn(8, 1, 1)
        loss = worker.loss(gains.expand(-1, 25, DIM), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-100:]) / 100 > 0.98


@pytest.mark.parametrize("make", [lim, gim, contrast, segments])
@pytest.mark.parametrize("recordings", [[1, 2, 3, 4], [1, 1, 1, 1], [1]])
def test_batches_without_partners_or_others_ask_nothing(
    make: Callable[[], Worker], recordings: list[int]
) -> None:
    worker, batch = make(), a_batch(recordings)
    frames = torch.randn(len(recordings), 25, DIM, requires_grad=True)
    loss = worker.loss(frames, batch)
    loss.backward()
    assert loss.item() == 0
    assert not worker.asks(batch)
    assert worker.asks(a_batch([1, 1, 2, 2]))
    assert math.isnan(worker.metrics()["accuracy"])
    assert frames.grad is not None
    assert not frames.grad.any()


def test_contrast_is_small_where_partners_agree() -> None:
    worker = bare(size=4)
    heard = torch.eye(4).repeat_interleave(3, dim=0)
    recordings = torch.arange(4).repeat_interleave(3)
    assert worker.compare(heard, of(recordings)).item() < 1e-3
    assert worker.metrics()["accuracy"] == 1
    wrong = recordings % 2 * 7 + torch.arange(12) % 2
    assert worker.compare(heard, of(wrong)).item() > 1
    assert worker.metrics()["accuracy"] < 0.5


def test_contrast_of_pairs_is_the_usual_cross_entropy() -> None:
    worker = bare(size=6, temperature=0.3)
    heard = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    unit = nn.functional.normalize(heard, dim=1)
    logits = (unit @ unit.T / 0.3).fill_diagonal_(-torch.inf)
    expected = nn.functional.cross_entropy(logits, torch.arange(10) ^ 1) / math.log(9)
    found = worker.compare(heard, of(torch.arange(5).repeat_interleave(2)))
    torch.testing.assert_close(found, expected)
    right = (logits.argmax(dim=1) == torch.arange(10) ^ 1).float().mean()
    assert worker.metrics()["accuracy"] == pytest.approx(right.item())


def test_candidates_may_be_those_of_the_same_source_alone() -> None:
    """A codec, or a SoundFont, tells the others: they are no candidates."""
    heard = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    recordings, sources = [1, 1, 2, 2, 3, 3, 4, 4], [0, 0, 0, 0, 1, 1, 2, 2]
    worker = bare(size=6, temperature=0.3, candidates="source")
    found = worker.compare(heard, of(recordings, sources))
    unit = nn.functional.normalize(heard[:4], dim=1)  # the others have nobody to be told from
    logits = (unit @ unit.T / 0.3).fill_diagonal_(-torch.inf)
    expected = nn.functional.cross_entropy(logits, torch.arange(4) ^ 1) / math.log(3)
    torch.testing.assert_close(found, expected)
    unknown = worker.compare(heard, of(recordings))
    torch.testing.assert_close(
        unknown, bare(size=6, temperature=0.3).compare(heard, of(recordings))
    )


def test_vectors_of_a_saved_state_of_earlier_versions_are_left_out() -> None:
    state = contrast().state_dict()
    assert not {"memory", "owners"} & {*state}
    old = {"memory": torch.zeros(4096, 128), "owners": torch.zeros(4096, dtype=torch.int64)}
    contrast().load_state_dict(dict(state) | old)


def test_overlapping_excerpts_are_not_looked_for() -> None:
    worker = contrast()
    frames = torch.randn(4, 25, DIM)
    apart = worker.loss(frames, a_batch([1, 1, 2, 2], [0.0, 2.0, 0.0, 2.0]))
    torch.testing.assert_close(apart, worker.loss(frames, a_batch([1, 1, 2, 2])))
    overlapping = a_batch([1, 1, 2, 2], [0.0, 0.5, 0.0, 0.9])
    assert worker.loss(frames, overlapping).item() == 0
    assert not worker.asks(overlapping)


def test_segments_are_looked_for_in_other_excerpts_alone() -> None:
    """Two stretches of one excerpt heard the same surroundings and the same distortion."""
    worker = segments(seconds=0.2)
    worker.head = nn.Sequential(nn.Identity())
    frames = torch.zeros(4, 25, DIM)
    frames[torch.arange(4), :, torch.arange(4)] = 1.0  # every excerpt has a sound of its own
    worker.loss(frames, a_batch([1, 1, 2, 2]))
    assert worker.metrics()["accuracy"] == 0
    frames[1], frames[3] = frames[0].clone(), frames[2].clone()
    assert worker.loss(frames, a_batch([1, 1, 2, 2])).item() < 0.01
    assert worker.metrics()["accuracy"] == 1
    overlapping = a_batch([1, 1, 2, 2], [0.0, 0.9, 0.0, 0.9])
    assert worker.loss(frames, overlapping).item() == 0


def spc(dim: int = 1, **settings: Any) -> Spc:
    return Spc(SpcConfig(**settings), dim, GRID)


def times(rows: int) -> Batch:
    """Excerpts of 4 s whose samples say where they are: excerpt * 10,000 + sample."""
    audio = torch.arange(rows)[:, None] * 10_000.0 + torch.arange(4000)
    return Batch(CleanAudio(audio, GRID), torch.arange(rows), random=torch.Generator())


@pytest.mark.parametrize("seconds", [0.4, 1.0, 1.9, 50.0])
@pytest.mark.parametrize("rows", [1, 3, 20])
def test_stretches_are_cut_from_one_excerpt_with_a_gap_between(rows: int, seconds: float) -> None:
    worker = spc(seconds=seconds, share=0.6)
    batch = times(rows)
    before = batch.sound.audio.clone()
    firsts = []
    for _ in range(20):
        views = worker.extra_views(batch)
        assert torch.equal(batch.sound.audio, before)
        assert views.audio.shape[1] == 4000
        length = views.frames * 40
        assert length == min(round(seconds * 25) * 40, (100 - 4) // 2 * 40)
        used = views.audio[:, : views.per_row * length].reshape(2, -1, length)
        pairs = torch.arange(used.shape[1])
        middle = slice(20, -20)  # fades
        first = used[views.earlier, pairs][:, middle]
        second = used[1 - views.earlier, pairs][:, middle]
        torch.testing.assert_close(second - first, torch.full_like(first, length + 160))
        owners = (first[:, 0] / 10_000).floor()
        assert owners.unique().numel() == len(pairs)
        assert not views.audio[:, views.per_row * length :].any()
        firsts += (first[:, 0] % 10_000 - 20).tolist()
    latest = 4000 - 2 * length - 160
    assert 0 <= min(firsts) <= max(firsts) <= latest
    assert max(firsts) - min(firsts) >= 0.5 * latest


def test_the_place_in_the_views_does_not_tell_the_order() -> None:
    worker, batch = spc(share=1.0), times(20)
    coins = torch.cat([worker.extra_views(batch).earlier for _ in range(50)])
    assert len(coins) > 500
    assert abs(coins.float().mean() - 0.5) < 0.1


class Asked(nn.Module):
    """A head that notes what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.heard.append(x)
        return x[..., :1] * 0


def stretches(first: list[float], second: list[float]) -> Extras:
    """Two pairs of stretches of ten frames in two rows each; of the second, the halves change."""
    one, two = (torch.tensor(x).repeat_interleave(10)[:, None] for x in (first, second))
    earlier, later = torch.cat([one[:10], two[10:]]), torch.cat([two[:10], one[10:]])
    rows = torch.stack([earlier, later])
    pad = torch.full((2, 7, 1), 99.0)  # the rest of the row
    views = StretchViews(torch.zeros(2, 10), torch.tensor([0, 1]), 10, 2)
    return Extras(views=views, view_frames=torch.cat([rows, pad], dim=1))


def test_spc_asks_both_ways_about_pairs_of_one_excerpt() -> None:
    worker = spc(anchors=30)
    worker.head = asked = Asked()  # type: ignore[assignment]
    loss = worker.loss(torch.zeros(2, 10, 1), a_batch([1, 2]), stretches([1, 2], [11, 12]))
    assert loss.item() == pytest.approx(1)
    yes, no = asked.heard  # (pairs, anchors, 1 + window)
    assert yes.shape == no.shape == (2, 30, 6)
    for pair, (before, after) in enumerate([(1.0, 11.0), (2.0, 12.0)]):
        assert yes[pair].unique(dim=0).tolist() == [[before] + [after] * 5]
        assert no[pair].unique(dim=0).tolist() == [[after] + [before] * 5]


def test_spc_learns_the_sign() -> None:
    """Frames that rise with time: what is higher comes after."""
    worker = spc()
    weights = torch.tensor([[-5.0, 1, 1, 1, 1, 1]])
    worker.head = nn.Sequential(nn.Linear(6, 1, bias=False))  # type: ignore[assignment]
    worker.head[0].weight.data = weights
    frames, batch = torch.zeros(2, 10, 1), a_batch([1, 2])
    assert worker.loss(frames, batch, stretches([1, 2], [11, 12])).item() < 1e-3
    assert worker.metrics()["accuracy"] == 1
    assert worker.loss(frames, batch, stretches([11, 12], [1, 2])).item() > 10
    assert worker.loss(frames, batch).item() == 0  # without views


def test_spc_refuses_excerpts_too_short_to_ask() -> None:
    short = Batch(CleanAudio(torch.zeros(1, 520), GRID), torch.tensor([1]))
    with pytest.raises(ConfigError, match="at least 14 frames, got 13"):
        spc().extra_views(short)
