"""Contrast and PASE's yes-or-no workers: what they ask, and what cannot answer it."""

import math

import pytest
import torch
from torch import Tensor, nn

from musicssl.errors import ConfigError
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.workers import Batch
from musicssl_training.workers.contrast import Contrast, Segments
from musicssl_training.workers.pairing import Gim, Lim, Spc, pair_weights

GRID = FrameGrid(sample_rate=1000, hop=40)  # 25 frames a second
DIM = 8


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


@pytest.mark.parametrize("kind", [Lim, Gim])
def test_gain_alone_does_not_tell_pairs_apart(kind: type[Gim]) -> None:
    """Frames that know nothing but a gain, drawn for each excerpt: a guess stays the best."""
    torch.manual_seed(0)
    worker = kind(DIM, hidden=16)
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


@pytest.mark.parametrize(
    "worker", [Lim(DIM), Gim(DIM), Contrast(DIM).eval(), Segments(DIM, GRID).eval()]
)
@pytest.mark.parametrize("recordings", [[1, 2, 3, 4], [1, 1, 1, 1], [1]])
def test_batches_without_partners_or_others_give_zero(
    worker: Gim | Contrast, recordings: list[int]
) -> None:
    frames = torch.randn(len(recordings), 25, DIM, requires_grad=True)
    loss = worker.loss(frames, a_batch(recordings))
    loss.backward()
    if len(set(recordings)) == 1 or isinstance(worker, Gim) or type(worker) is Contrast:
        assert loss.item() == 0
    assert frames.grad is not None
    assert frames.grad.isfinite().all()


def test_contrast_is_small_where_partners_agree() -> None:
    worker = Contrast(DIM, size=4, memory=0)
    worker.head = nn.Sequential(nn.Identity())
    heard = torch.eye(4).repeat_interleave(3, dim=0)
    recordings = torch.arange(4).repeat_interleave(3)
    assert worker.compare(heard, recordings, None, 1.0).item() < 1e-3
    assert worker.compare(heard, recordings % 2 * 7 + torch.arange(12) % 2, None, 1.0).item() > 1


def test_contrast_of_pairs_is_the_usual_cross_entropy() -> None:
    worker = Contrast(DIM, size=6, temperature=0.3, memory=0)
    worker.head = nn.Sequential(nn.Identity())
    heard = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    unit = nn.functional.normalize(heard, dim=1)
    logits = (unit @ unit.T / 0.3).fill_diagonal_(-torch.inf)
    expected = nn.functional.cross_entropy(logits, torch.arange(10) ^ 1) / math.log(9)
    found = worker.compare(heard, torch.arange(5).repeat_interleave(2), None, 1.0)
    torch.testing.assert_close(found, expected)


def test_earlier_batches_are_candidates_but_for_the_same_recording() -> None:
    worker = Contrast(DIM, size=6, temperature=0.3, memory=7)
    worker.head = nn.Sequential(nn.Identity())
    random = torch.Generator().manual_seed(0)
    old, new = torch.randn(2, 4, 6, generator=random)
    worker.compare(old, torch.tensor([5, 5, 6, 6]), None, 1.0)
    assert worker.owners.tolist() == [5, 5, 6, 6, -1, -1, -1]
    before = {key: value.clone() for key, value in worker.state_dict().items()}
    found = worker.compare(new, torch.tensor([6, 6, 7, 7]), None, 1.0)
    unit = nn.functional.normalize(torch.cat([new, old]), dim=1)
    logits = (unit[:4] @ unit.T / 0.3).masked_fill(torch.eye(4, 8, dtype=torch.bool), -torch.inf)
    logits[:2, 6:] = -torch.inf  # of recording 6, as they are
    wrong = nn.functional.cross_entropy(logits, torch.arange(4) ^ 1, reduction="none")
    chance = torch.tensor([5.0, 5.0, 7.0, 7.0]).log()
    torch.testing.assert_close(found, (wrong / chance).mean())
    assert worker.owners.tolist() == [6, 6, 7, 7, 5, 5, 6]
    other = Contrast(DIM, size=6, temperature=0.3, memory=7)
    other.head = nn.Sequential(nn.Identity())
    other.load_state_dict(before)
    again = other.eval().compare(new, torch.tensor([6, 6, 7, 7]), None, 1.0)
    torch.testing.assert_close(again, found)
    assert other.owners.tolist() == [5, 5, 6, 6, -1, -1, -1]


def test_overlapping_excerpts_are_not_looked_for() -> None:
    worker = Contrast(DIM).eval()
    frames = torch.randn(4, 25, DIM)
    apart = worker.loss(frames, a_batch([1, 1, 2, 2], [0.0, 2.0, 0.0, 2.0]))
    torch.testing.assert_close(apart, worker.loss(frames, a_batch([1, 1, 2, 2])))
    assert worker.loss(frames, a_batch([1, 1, 2, 2], [0.0, 0.5, 0.0, 0.9])).item() == 0


class Asked(nn.Module):
    """A head that notes what it hears."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.heard.append(x)
        return x[..., :1] * 0


def test_spc_asks_about_after_and_before() -> None:
    worker = Spc(1, GRID, gap_seconds=0.16, window=5, anchors=50)
    worker.head = asked = Asked()  # type: ignore[assignment]
    frames = torch.arange(60.0)[None, :, None].expand(2, -1, -1)
    worker.loss(frames, a_batch([1, 2]))
    after, before = (x[0] for x in asked.heard)  # (anchors, 1 + window)
    assert torch.equal(after[:, 1:] - after[:, :1], torch.arange(4.0, 9.0).expand(50, -1))
    assert torch.equal(before[:, 1:] - before[:, :1], torch.arange(-8.0, -3.0).expand(50, -1))
    assert after[:, 0].unique().numel() > 20
    assert before.min() >= 0
    assert after.max() <= 59


def test_spc_learns_the_sign() -> None:
    """Frames that rise with time: what is higher comes after."""
    worker = Spc(1, GRID)
    weights = torch.tensor([[-5.0, 1, 1, 1, 1, 1]])
    worker.head = nn.Sequential(nn.Linear(6, 1, bias=False))  # type: ignore[assignment]
    worker.head[0].weight.data = weights
    rising = torch.arange(60.0)[None, :, None]
    assert worker.loss(rising, a_batch([1])).item() < 1e-3
    assert worker.loss(-rising, a_batch([1])).item() > 10


def test_spc_refuses_excerpts_too_short_to_ask() -> None:
    with pytest.raises(ConfigError, match="more than 16 frames, got 16"):
        Spc(1, GRID).loss(torch.zeros(1, 16, 1), a_batch([1]))
