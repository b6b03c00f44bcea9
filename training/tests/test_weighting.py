"""Weightings against their formulas, against torchjd, and against what theory says of scale."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional as F

from musicssl.config import from_dict, named_from_dict, named_to_dict
from musicssl.errors import ConfigError
from musicssl_training.weighting import (
    WEIGHTINGS,
    Weighting,
    make_weighting,
    output_gradients,
    output_gram,
)

CONFIGS = {name: config for name, (_, config) in WEIGHTINGS.items()}
GRAM = [name for name, (kind, _) in WEIGHTINGS.items() if kind.needs_gram]
BALANCE = [name for name in GRAM if name != "gradnorm"]
QUICK = {"stch": {"warm_up": 4, "average": 2}, "dwa": {"window": 2}, "gradnorm": {"reference": 2}}


def make(name: str, count: int = 3, **settings: Any) -> Weighting:
    config = from_dict(CONFIGS[name], QUICK.get(name, {}) | settings, "weighting")
    return make_weighting(config, [f"worker{k}" for k in range(count)])


def sequence(workers: int, steps: int, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Losses that fall at several rates, and gradients with all kinds of angles."""
    random = torch.Generator().manual_seed(seed)
    losses = torch.rand(steps, workers, generator=random) + torch.linspace(0.2, 3, workers)
    rows = (
        torch.randn(steps, workers, 40, generator=random) * torch.linspace(0.1, 2, workers)[:, None]
    )
    return [(loss, output_gram(g)) for loss, g in zip(losses, rows, strict=True)]


def settle(weighting: Weighting, losses: Tensor, gram: Tensor, steps: int = 2000) -> Tensor:
    """Return the weights after many equal steps."""
    weights = torch.empty(0)
    for _ in range(steps):
        weights = weighting(losses, gram)
    return weights


def of_two(first: float, second: float, cosine: float) -> Tensor:
    """The Gram matrix of two gradients with these norms."""
    product = first * second * cosine
    return torch.tensor([[first**2, product], [product, second**2]])


class Toy(nn.Module):
    """A small encoder with three heads that share nothing."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = nn.Sequential(nn.Linear(6, 10), nn.Tanh(), nn.Linear(10, 8))
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(8, 5), nn.PReLU(), nn.Linear(5, size)) for size in (1, 3, 4)
        )
        self.audio = torch.randn(4, 7, 6)
        self.targets = [torch.randn(4, 7, size) for size in (1, 3, 4)]

    def losses(self, frames: Tensor) -> dict[str, Tensor]:
        pairs = zip(self.heads, self.targets, strict=True)
        return {f"worker{k}": F.mse_loss(h(frames), t) for k, (h, t) in enumerate(pairs)}


def flat(gradients: Any) -> Tensor:
    return torch.cat([g.flatten() for g in gradients])


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_encoder_learns_from_the_weighted_sum_and_heads_from_the_plain_one(name: str) -> None:
    toy, weighting = Toy(), make(name)
    for step in sequence(3, 6):
        weighting(*step)  # past every warm-up
    encoded = toy.encoder(toy.audio)
    leaf = encoded.detach().requires_grad_()
    losses = toy.losses(leaf)
    gradients = output_gradients(losses, leaf)
    weights = weighting(torch.stack([*losses.values()]).detach(), output_gram(gradients))
    encoded.backward(torch.einsum("k,k...->...", weights, gradients))
    encoder = [*toy.encoder.parameters()]
    heads = [*toy.heads.parameters()]
    got, got_heads = flat(p.grad for p in encoder), flat(p.grad for p in heads)

    each = toy.losses(toy.encoder(toy.audio)).values()
    weighted = sum(w * loss for w, loss in zip(weights, each, strict=True))
    assert isinstance(weighted, Tensor)
    assert torch.allclose(got, flat(torch.autograd.grad(weighted, encoder)), rtol=1e-4, atol=1e-6)
    plain = sum(toy.losses(toy.encoder(toy.audio)).values())
    assert isinstance(plain, Tensor)
    assert torch.allclose(got_heads, flat(torch.autograd.grad(plain, heads)), atol=1e-6)


@pytest.mark.parametrize("name", [n for n in WEIGHTINGS if n not in ("equal", "static")])
def test_weights_are_not_equal_for_unequal_workers(name: str) -> None:
    weighting = make(name)
    weights = [weighting(*step) for step in sequence(3, 8)][-1]
    assert weights.isfinite().all()
    assert weights.abs().mean().item() == pytest.approx(1, abs=1e-5)
    assert weights.std() > 1e-3


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_workers_alike_weigh_alike(name: str) -> None:
    weighting = make(name, 4)
    steps = 4000 if name == "rlw" else 20
    weights = torch.stack(
        [weighting(torch.full((4,), 0.7), 0.3 * torch.eye(4)) for _ in range(steps)]
    )
    assert torch.allclose(weights.mean(dim=0), torch.ones(4), atol=0.05 if name == "rlw" else 1e-5)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_one_worker_weighs_one(name: str) -> None:
    weighting = make(name, 1)
    for losses, gram in sequence(1, 6):
        assert weighting(losses, gram).item() == pytest.approx(1)


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("dead", [1, 3])
def test_workers_without_gradient_or_loss_do_no_harm(name: str, dead: int) -> None:
    weighting = make(name)
    for losses, gram in sequence(3, 8):
        losses[:dead] = 0
        gram[:dead] = gram[:, :dead] = 0
        weights = weighting(losses, gram)
        assert weights.isfinite().all()
    if name in BALANCE:
        assert weights[:dead] == pytest.approx(torch.ones(dead))
    if name in BALANCE and dead == 1:
        alone = make(name, 2)(losses[1:], gram[1:, 1:])
        assert torch.allclose(weights[1:], alone, atol=1e-5)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_copy_with_the_saved_state_goes_on_bitwise(name: str) -> None:
    steps = sequence(3, 12)
    for cut in (0, 1, 3, 7):
        first, second = make(name), make(name)
        for step in steps[:cut]:
            first(*step)
        second.load_state_dict({k: v.clone() for k, v in first.state_dict().items()})
        for step in steps[cut:]:
            assert torch.equal(first(*step), second(*step))
    assert list(first.parameters()) == []


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_arguments_stay_as_they_were(name: str) -> None:
    weighting = make(name)
    for losses, gram in sequence(3, 8):
        before = losses.clone(), gram.clone()
        weighting(losses, gram)
        assert torch.equal(losses, before[0])
        assert torch.equal(gram, before[1])


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_bad_numbers_give_weights_that_say_so_and_leave_no_trace(name: str) -> None:
    """A run leaves such a step out; it must go on as if it had not been."""
    first, second = make(name), make(name)
    for losses, gram in sequence(3, 8):
        bad = losses.clone()
        bad[1] = math.nan
        assert first(bad, gram).isnan().all()
        if name in GRAM:
            broken = gram.clone()
            broken[2, 2] = math.inf
            assert first(losses, broken).isnan().all()
        live = torch.tensor([True, False, True])  # what an absent worker says does not matter
        assert make(name)(bad, gram, live).isfinite().all()
        assert torch.equal(first(losses, gram), second(losses, gram))
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key])


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_shapes_are_checked(name: str) -> None:
    losses, gram = sequence(3, 1)[0]
    with pytest.raises(ConfigError, match=r"losses have shape \(2,\); expected \(3,\)"):
        make(name)(losses[:2], gram)
    with pytest.raises(ConfigError, match=r"gram has shape"):
        make(name)(losses, gram[:2])
    if name in GRAM:
        with pytest.raises(ConfigError, match="needs the Gram matrix"):
            make(name)(losses)


ABSENT = torch.tensor([True, True, True, False])


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_worker_that_asks_nothing_does_not_change_what_is_known_of_it(name: str) -> None:
    """Its loss and gradient are zero then, which must not look like a worker that is done."""
    weighting = make(name, 4)
    for step, (losses, gram) in enumerate(sequence(4, 30)):
        absent = step % 2 == 1
        before = {key: value.clone() for key, value in weighting.state_dict().items()}
        if absent:
            losses[3] = 0
            gram[3] = gram[:, 3] = 0
        weights = weighting(losses, gram, ABSENT if absent else None)
        assert weights.isfinite().all()
        if absent:
            assert weights[3].item() == pytest.approx(1, abs=1e-5)
            assert weights[:3].abs().mean().item() == pytest.approx(1, abs=1e-5)
            for key, value in weighting.state_dict().items():
                if key != "random.state":
                    assert torch.equal(value[..., 3], before[key][..., 3]), key


@pytest.mark.parametrize("name", [name for name in WEIGHTINGS if name != "rlw"])
def test_the_others_weigh_what_they_would_without_the_absent_one(name: str) -> None:
    losses, gram = sequence(4, 1)[0]
    gram = gram + 0.1 * torch.diag(gram.diagonal())
    zero = losses.clone(), gram.clone()
    zero[0][3] = 0
    zero[1][3] = zero[1][:, 3] = 0
    weighting, without = make(name, 4), make(name, 3)
    for step in range(400):
        weights = weighting(*zero, ABSENT) if step % 2 else weighting(losses, gram)
        alone = without(losses[:3], gram[:3, :3])
        if name == "pcgrad":  # draws an order
            continue
        if step % 2 and step > 360:
            torch.testing.assert_close(weights[:3], alone, rtol=0.03, atol=1e-3)
    assert weights.abs().max() < 3.01


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_if_nobody_asks_anything_nothing_happens(name: str) -> None:
    weighting = make(name)
    losses, gram = sequence(3, 1)[0]
    before = {key: value.clone() for key, value in weighting.state_dict().items()}
    live = torch.zeros(3, dtype=torch.bool)
    assert torch.equal(weighting(0 * losses, 0 * gram, live), torch.ones(3))
    for key, value in weighting.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("name", ["dwa", "gradnorm", "famo", "stch"])
def test_a_state_with_one_count_of_steps_can_be_read(name: str) -> None:
    old = make(name).state_dict()
    old["steps"] = torch.tensor(7)
    weighting = make(name)
    weighting.load_state_dict(old)
    assert weighting.steps.tolist() == [7, 7, 7]  # type: ignore[operator, union-attr]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_config_survives_json(name: str) -> None:
    config = CONFIGS[name]()
    assert config.name == name
    assert named_from_dict(CONFIGS, named_to_dict(config), "weighting") == config


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("static", {"workers": ["worker0"]}, "one a worker, got 0 for 1"),
        ("static", {"workers": ["worker0"], "weights": [-1.0]}, "must be 0 or more"),
        ("static", {"workers": ["worker9"], "weights": [1.0]}, "Did you mean 'worker"),
        ("static", {"others": 0.0}, "all 0"),
        ("static", {"workers": ["a", "a"], "weights": [1.0, 1.0]}, "twice: a, a"),
        ("uncertainty", {"floor": 0.0}, "must be positive"),
        ("stch", {"average": 5}, "between 1 and weighting.warm_up"),
        ("stch", {"smoothness": 0.0}, "smoothness must be positive"),
        ("dwa", {"window": 0}, "at least 1"),
        ("gradnorm", {"reference": 0}, "at least 1"),
        ("famo", {"betas": [0.9]}, "two from"),
        ("famo", {"decay": -1.0}, "0 or more"),
        ("mgda", {"divisor": "l1"}, "choose from l2, loss, loss\\+, none"),
        ("cagrad", {"radius": 1.5}, r"\[0, 1\)"),
    ],
)
def test_settings_are_checked(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(name, **settings)


def test_no_workers_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one worker"):
        make("equal", 0)


# What becomes of worker 0's share of the step when its loss is multiplied by 1000: its weight
# changes by this factor relative to the others.
SCALED = {
    "equal": 1.0,
    "static": 1.0,
    "rlw": 1.0,
    "dwa": 1.0,  # rates do not change: the scaled worker dominates
    "pcgrad": None,
    "cagrad": None,
    "upgrad": None,
    "log": 1e-3,  # its part of the step is what it was
    "uncertainty": 1e-3,
    "stch": 1e-3,
    "famo": 1e-3,
    "gradnorm": 1e-3,
    "imtl_g": 1e-3,
    "nash_mtl": 1e-3,
    "mgda": 1e-6,  # for orthogonal gradients w = 1 / |g| ** 2
    "aligned_mtl": 1e-3,  # for orthogonal gradients w = 1 / |g|
}


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_loss_a_thousand_times_larger(name: str) -> None:
    losses, norms, large = (
        torch.tensor([0.5, 0.8, 1.1]),
        torch.tensor([0.3, 0.7, 0.5]),
        torch.ones(3),
    )
    large[0] = 1000
    expected = SCALED[name] or 1.0  # nothing opposes: the plain mean
    normal = settle(make(name), losses, torch.diag(norms**2))
    scaled = settle(make(name), losses * large, torch.diag((norms * large) ** 2))
    if name == "cagrad":  # leans on the worst off, which is not the scaled one
        assert (scaled[0] / scaled[1]) < (normal[0] / normal[1])
        return
    factors = scaled / normal
    assert (factors[0] / factors[1]).item() == pytest.approx(expected, rel=0.03)
    assert (factors[2] / factors[1]).item() == pytest.approx(1, rel=0.03)


@pytest.mark.parametrize("name", ["log", "imtl_g", "nash_mtl"])
def test_direction_does_not_depend_on_the_scale_of_a_loss(name: str) -> None:
    losses, gram = sequence(4, 1)[0]
    large = torch.tensor([1000.0, 1, 1, 1])
    step = make(name, 4)(losses, gram)
    again = make(name, 4)(losses * large, gram * large * large[:, None]) * large
    assert F.cosine_similarity(step, again, dim=0) > 0.99999


def test_uncertainty_finds_the_inverse_loss_down_to_its_floor() -> None:
    losses = torch.tensor([4.0, 1.0, 0.25, 0.001])
    weights = settle(make("uncertainty", 4, normalize=False), losses, torch.eye(4))
    assert weights == pytest.approx(torch.tensor([0.25, 1.0, 4.0, 10.0]), rel=1e-3)


def test_static_by_name() -> None:
    settings: dict[str, Any] = {
        "workers": ["worker2", "worker0"],
        "weights": [3.0, 0.0],
        "others": 1.5,
    }
    assert make("static", normalize=False, **settings)(torch.ones(3)).tolist() == [0, 1.5, 3]
    assert make("static", **settings)(torch.ones(3)).tolist() == [0, 1, 2]


def test_dwa_formula() -> None:
    losses = torch.tensor([[1.0, 1.0], [3.0, 1.0], [1.0, 1.0], [1.0, 3.0]])
    weighting = make("dwa", 2, window=2, temperature=0.5)
    weights = [weighting(loss) for loss in losses]
    assert all(torch.equal(w, torch.ones(2)) for w in weights[:3])
    assert weights[3] == pytest.approx(2 * torch.tensor([0.5, 2.0]).div(0.5).softmax(0))


def test_gradnorm_evens_out_norms_then_rates() -> None:
    gram = torch.diag(torch.tensor([1.0, 100.0, 0.01]) ** 2)
    weighting = make("gradnorm", reference=1)
    weighting(torch.ones(3), gram)
    left = torch.tensor([0.2, 0.4, 0.6])
    norms = settle(weighting, left, gram) * gram.diagonal().sqrt()
    rate = left / left.mean()
    assert norms / norms[0] == pytest.approx((rate / rate[0]) ** 1.5, rel=0.01)


def test_famo_favours_the_slow() -> None:
    weighting = make("famo", 2)
    for step in range(300):
        weights = weighting(torch.tensor([0.99**step, 0.999**step]))
    shares = weights * torch.tensor([0.99**step, 0.999**step])
    assert shares[1] > 1.5 * shares[0]


def test_famo_is_adam_on_the_logits() -> None:
    steps = [losses for losses, _ in sequence(3, 30)]
    weighting = make("famo", normalize=False)
    logits = torch.zeros(3, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.025, weight_decay=1e-3)
    weighting(steps[0])
    for before, now in itertools.pairwise(steps):
        (share,) = torch.autograd.grad(logits.softmax(0), logits, before.log() - now.log())
        logits.grad = share
        adam.step()
        expected = logits.detach().softmax(0) / now
        assert torch.allclose(weighting(now), expected / expected.sum(), atol=1e-6)


def test_stch_is_the_gradient_of_a_smooth_maximum() -> None:
    weighting = make("stch", normalize=False, smoothness=0.3)
    steps = [losses for losses, _ in sequence(3, 5)]
    for losses in steps[:4]:
        assert torch.allclose(weighting(losses), 1 / losses)
    nadir = (steps[2] + steps[3]) / 2
    losses = steps[4].requires_grad_()
    value = 3 * 0.3 * ((losses / nadir).log() / 0.3).logsumexp(0)
    assert torch.allclose(weighting(losses.detach()), torch.autograd.grad(value, losses)[0])


def closed_mgda(m: Tensor) -> Tensor:
    first = ((m[1, 1] - m[0, 1]) / (m[0, 0] + m[1, 1] - 2 * m[0, 1])).clamp(0, 1)
    return torch.stack([first, 1 - first])


def closed_projection(m: Tensor) -> Tensor:
    return torch.ones(2) - m[0, 1].clamp(max=0) / m.diagonal()


def closed_bisector(m: Tensor) -> Tensor:
    return m.diagonal().rsqrt()


def searched_cagrad(m: Tensor) -> Tensor:
    first = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    shares = torch.stack([first, 1 - first])
    m = m.double()
    reach = 0.5 * m.mean().sqrt()
    size = (shares * (m @ shares)).sum(0).sqrt()
    best = (m.mean(0) @ shares + reach * size).argmin()
    return (0.5 + reach / size[best] * shares[:, best]).float()


def eigen_aligned(m: Tensor) -> Tensor:
    values, axes = torch.linalg.eigh(m.double())
    scaled: Tensor = values.min().sqrt() * axes @ torch.diag(values.rsqrt()) @ axes.T
    return scaled.mean(dim=1).float()


@pytest.mark.parametrize("cosine", [-0.9, -0.3, 0.4])
@pytest.mark.parametrize("second", [1.0, 3.0])
@pytest.mark.parametrize(
    ("name", "closed"),
    [
        ("mgda", closed_mgda),
        ("pcgrad", closed_projection),
        ("upgrad", closed_projection),
        ("imtl_g", closed_bisector),
        ("nash_mtl", closed_bisector),
        ("cagrad", searched_cagrad),
        ("aligned_mtl", eigen_aligned),
    ],
)
def test_two_gradients_in_closed_form(
    name: str, closed: Callable[[Tensor], Tensor], cosine: float, second: float
) -> None:
    gram = of_two(1, second, cosine)
    expected = closed(gram)
    expected = expected / expected.abs().mean()
    assert make(name, 2)(torch.ones(2), gram) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("workers", [2, 5, 12, 40])
def test_no_worker_is_opposed(workers: int) -> None:
    for seed in range(3):
        losses, gram = sequence(workers, 1, seed)[0]
        gram = gram + 1e-3 * torch.diag(gram.diagonal())
        size = gram.diagonal().sqrt()
        for name in ("mgda", "nash_mtl", "upgrad", "imtl_g"):
            weights = make(name, workers)(losses, gram)
            along = gram @ weights / size
            assert along.min() > -1e-3 * along.abs().max()
            if name == "imtl_g":
                assert along == pytest.approx(along.mean().expand(workers), rel=1e-2)
        nash = make("nash_mtl", workers, normalize=False)(losses, gram)
        assert nash * (gram @ nash) == pytest.approx(torch.ones(workers), rel=1e-3)


@pytest.mark.parametrize("workers", [3, 7])
def test_upgrad_and_cagrad_against_a_general_solver(workers: int) -> None:
    losses, gram = sequence(workers, 1)[0]
    m = gram.double().numpy()
    mean = np.full(workers, 1 / workers)
    settings: dict[str, Any] = {"method": "SLSQP", "options": {"ftol": 1e-14, "maxiter": 500}}
    total = np.zeros(workers)
    for own in np.eye(workers):
        bounds = [(low, None) for low in own]
        found = minimize(
            lambda v: v @ m @ v, own, jac=lambda v: 2 * m @ v, bounds=bounds, **settings
        )
        total += found.x
    upgrad = make("upgrad", workers)(losses, gram).double().numpy()
    assert upgrad == pytest.approx(total / total.mean(), abs=2e-3)

    reach = 0.5 * np.sqrt(mean @ m @ mean)
    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
    found = minimize(
        lambda w: mean @ m @ w + reach * np.sqrt(w @ m @ w),
        mean,
        bounds=[(0, 1)] * workers,
        constraints=simplex,
        **settings,
    )
    mixed = mean + reach / np.sqrt(found.x @ m @ found.x) * found.x
    cagrad = make("cagrad", workers)(losses, gram).double().numpy()
    assert cagrad == pytest.approx(mixed / mixed.mean(), abs=2e-3)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("mgda", "MGDA"), ("pcgrad", "PCGrad"), ("imtl_g", "IMTLG"), ("aligned_mtl", "AlignedMTL")],
)
@pytest.mark.parametrize("workers", [2, 4])
def test_combined_gradient_is_torchjds(name: str, theirs: str, workers: int) -> None:
    aggregation = pytest.importorskip("torchjd.aggregation")
    settings = {"epsilon": 1e-6, "max_iters": 20_000} if theirs == "MGDA" else {}
    for seed in range(5):
        random = torch.Generator().manual_seed(seed)
        jacobian = torch.randn(workers, 30, generator=random, dtype=torch.float64)
        aggregate, weighting = getattr(aggregation, theirs)(**settings), make(name, workers)
        draws = 100 if name == "pcgrad" and workers > 2 else 1
        with torch.random.fork_rng(devices=[]):  # theirs draws from the global generator
            torch.manual_seed(0)
            expected = sum(aggregate(jacobian) for _ in range(draws))
        gram = output_gram(jacobian)
        weights = sum(weighting(torch.ones(workers), gram).double() for _ in range(draws))
        cosine = F.cosine_similarity(weights @ jacobian, expected, dim=0)
        if name == "imtl_g":  # theirs may point uphill
            cosine = cosine.abs()
        assert cosine > (0.999 if draws > 1 else 0.9999)


def test_pcgrad_order_is_random_but_repeatable() -> None:
    losses, gram = sequence(6, 1)[0]
    first, second, other = make("pcgrad", 6), make("pcgrad", 6), make("pcgrad", 6, seed=1)
    weights = [first(losses, gram) for _ in range(4)]
    assert all(torch.equal(w, second(losses, gram)) for w in weights)
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], other(losses, gram))


def test_mgda_by_direction_ignores_norms() -> None:
    losses, gram = sequence(4, 1)[0]
    large = torch.tensor([100.0, 1, 1, 1])
    step = make("mgda", 4, divisor="l2")(losses, gram)
    again = make("mgda", 4, divisor="l2")(losses, gram * large * large[:, None]) * large
    assert F.cosine_similarity(step, again, dim=0) > 0.99999


@pytest.mark.parametrize("name", BALANCE)
def test_copies_and_opposites_stay_bounded(name: str) -> None:
    row = torch.randn(1, 5000, generator=torch.Generator().manual_seed(0))
    for rows in (row.repeat(3, 1), torch.cat([row, -row, 0.5 * row])):
        assert make(name)(torch.ones(3), output_gram(rows)).abs().max() < 3.01


def test_output_gradients_are_each_losses_own() -> None:
    toy = Toy()
    leaf = toy.encoder(toy.audio).detach().requires_grad_()
    losses = toy.losses(leaf) | {"constant": torch.tensor(1.0)}
    gradients = output_gradients(losses, leaf)
    assert leaf.grad is None
    for name, gradient in zip(losses, gradients, strict=True):
        if name == "constant":
            assert not gradient.any()
        else:
            assert torch.equal(gradient, torch.autograd.grad(toy.losses(leaf)[name], leaf)[0])
    for type_ in (torch.float32, torch.bfloat16):
        rows = gradients.to(type_)
        exact = rows.double().flatten(1) @ rows.double().flatten(1).T
        assert output_gram(rows).dtype == torch.float32
        assert torch.allclose(output_gram(rows).double(), exact, rtol=1e-5, atol=1e-9)


def test_output_gradients_refuse_what_is_no_leaf() -> None:
    toy = Toy()
    frames = toy.encoder(toy.audio)
    with pytest.raises(ConfigError, match="frames must be a leaf"):
        output_gradients(toy.losses(frames), frames)
