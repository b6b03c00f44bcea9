"""PASE, PASE+ and the variant: parameter counts, formulas, alignment, memory over chunks."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from musicssl.checkpoint import ModelConfig
from musicssl.encoders import ENCODERS, PaseAttentionConfig, PaseConfig, PasePlusConfig, State
from musicssl.encoders.pase.attention import LocalAttention, within
from musicssl.encoders.pase.qrnn import Qrnn, linear_recurrence
from musicssl.encoders.pase.trunk import BatchNorm, Trunk
from musicssl.errors import ConfigError
from musicssl.frontends import SincFilters
from musicssl.frontends.mel import mel_frequencies
from musicssl.inference.results import Embedding
from musicssl.model import MusicEncoder

RATE = 16_000
SMALL = (6, 6, 8, 8, 10, 10, 12, 12)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def settled(module: nn.Module, audio: torch.Tensor, *more: int) -> nn.Module:
    """Return it in evaluation mode, its batch normalisations used to some audio."""
    norms = [part for part in module.modules() if isinstance(part, BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        module.train()(audio, *more)
    return module.requires_grad_(False).eval()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("pase", 5_818_020), ("pase_plus", 7_832_896), ("pase_attention", 7_903_808)],
)
def test_parameters_and_frames_are_those_published(name: str, parameters: int) -> None:
    kind, config = ENCODERS[name]
    encoder = kind(config()).eval()
    assert sum(p.numel() for p in encoder.parameters()) == parameters
    with torch.inference_mode():
        assert encoder(noise(1, 100_000))[-1].shape == (1, 625, encoder.dim)
    assert encoder.hop / encoder.sample_rate == 0.01
    assert encoder.dim == (100 if name == "pase" else 256)


def test_the_trunk_hears_148_ms() -> None:
    config = PaseConfig()
    trunk = Trunk(SMALL, config.kernels, config.strides, RATE)
    assert trunk.field == 2370
    assert trunk.hop == 160


def test_prelu_begins_as_relu() -> None:
    config = PaseConfig(channels=SMALL)
    slopes = [
        p
        for m in ENCODERS["pase"][0](config).modules()
        if isinstance(m, nn.PReLU)
        for p in [m.weight]
    ]
    assert [len(slope) for slope in slopes] == list(SMALL)
    assert not any(slope.any() for slope in slopes)


def test_sinc_edges_are_equally_spaced_in_mel() -> None:
    filters = SincFilters(64, 251, RATE)
    assert sum(p.numel() for p in filters.parameters()) == 128
    edges = torch.cat([filters.low_hz, (filters.low_hz + filters.band_hz)[-1:]]).detach().double()
    mel = 2595 * torch.log10(1 + edges / 700)
    torch.testing.assert_close(mel.diff(), mel.diff().mean().expand(64), rtol=1e-3, atol=0)
    assert float(edges[0]) == pytest.approx(30)
    assert float(edges[-1]) == pytest.approx(7900)
    torch.testing.assert_close((filters.low_hz + filters.band_hz)[:-1], filters.low_hz[1:])
    assert len(mel_frequencies(4, 0, 100)) == 4


def test_sinc_kernels_follow_the_formula() -> None:
    filters = SincFilters(8, 251, RATE)
    with torch.no_grad():
        filters.low_hz[2] *= -1  # edges use the absolute values
    kernels = filters.kernels().detach().double().numpy()
    t = np.arange(-125, 126) / RATE
    window = 0.54 + 0.46 * np.cos(2 * np.pi * np.arange(-125, 126) / 250)
    for k in range(8):
        low = 50 + abs(filters.low_hz[k].item())
        high = min(max(low + 50 + abs(filters.band_hz[k].item()), 50), RATE / 2)
        # sinc(x) is sin(pi x) / (pi x)
        band = 2 * high * np.sinc(2 * high * t) - 2 * low * np.sinc(2 * low * t)
        np.testing.assert_allclose(kernels[k], window * band / (2 * (high - low)), atol=2e-5)
        assert kernels[k, 125] == 1
        assert np.array_equal(kernels[k], kernels[k, ::-1])


def test_sinc_filters_pass_their_band() -> None:
    filters = SincFilters(16, 251, RATE)
    low, high = filters.bands()
    t = torch.arange(RATE // 4) / RATE
    for k in (3, 8, 12):
        inside = torch.sin(2 * torch.pi * (low[k] + high[k]).detach() / 2 * t)
        outside = torch.sin(2 * torch.pi * (high[k].detach() + 500) * t)
        heard = [filters(x[None])[0, k].std() for x in (inside, outside)]
        assert heard[0] > 100 * heard[1]


def test_sinc_filters_stay_in_fp32() -> None:
    filters, audio = SincFilters(4, 251, RATE), noise(1, 2000)
    with torch.autocast("cpu", torch.bfloat16):
        out = filters(audio)
    assert torch.equal(out, filters(audio))


def test_even_sinc_kernels_are_refused() -> None:
    with pytest.raises(ConfigError, match="must be odd, got 250"):
        SincFilters(4, 250, RATE)


@pytest.mark.parametrize("stride", [2, 3, 4, 8])
@pytest.mark.parametrize("samples", [251, 252, 1850, 1851, 5000])
def test_strided_sinc_filters_are_every_so_many_of_the_others(stride: int, samples: int) -> None:
    audio = noise(2, samples)
    every, some = SincFilters(4, 251, RATE)(audio), SincFilters(4, 251, RATE, stride)(audio)
    torch.testing.assert_close(some, every[..., ::stride], atol=1e-5, rtol=0)


def by_the_letter(
    trunk: Trunk, audio: torch.Tensor, strides: tuple[int, ...]
) -> list[torch.Tensor]:
    """Run the trunk's blocks as PASE does, each with its input reflected at both ends."""
    x, hop, out = audio[:, None], 1, []
    kernels = PaseConfig().kernels
    for block, kernel, stride in zip(trunk.blocks, kernels, strides, strict=True):
        even = stride > 1 or kernel % 2 == 0
        filters = block[0].kernels()[:, None] if hop == 1 and not out else block[0].weight
        bias = block[0].bias if out else None
        padded = F.pad(x, (kernel // 2 - even, kernel // 2), mode="reflect")
        x = block[2](block[1](F.conv1d(padded, filters, bias, stride=stride)))
        hop *= stride
        assert x.shape[2] == audio.shape[1] // hop
        out.append(x)
    return [y.unflatten(2, (-1, y.shape[2] // x.shape[2])).mean(dim=3).transpose(1, 2) for y in out]


@pytest.mark.parametrize(
    ("strides", "earlier"),
    [
        ((1, 10, 2, 1, 2, 1, 2, 2), 150),
        ((2, 5, 2, 1, 2, 1, 2, 2), 152),
        ((4, 5, 1, 1, 2, 1, 2, 2), 143),
    ],
)
def test_the_trunk_is_that_of_the_letter_some_samples_earlier(
    strides: tuple[int, ...], earlier: int
) -> None:
    torch.manual_seed(0)
    config = PaseConfig(strides=strides)
    trunk = Trunk(SMALL, config.kernels, config.strides, RATE)
    assert trunk.hop == 160
    audio = noise(2, 9600)
    settled(trunk, audio, 60)
    last, pooled = trunk(audio, 60)
    later = F.pad(audio, (earlier, -earlier))
    inner = slice(8, -8)  # where nothing is reflected
    letter = by_the_letter(trunk, later, strides)
    for ours, theirs in zip([*pooled, last], letter, strict=True):
        torch.testing.assert_close(ours[:, inner], theirs[:, inner], atol=1e-5, rtol=0)


def test_blocks_of_long_audio_change_nothing() -> None:
    torch.manual_seed(0)
    config = PaseConfig()
    trunk = Trunk(SMALL, config.kernels, config.strides, RATE)
    audio = noise(3, RATE * 8)
    settled(trunk, audio, 800)
    blocked = trunk(audio, 800)[0]
    with torch.enable_grad():
        torch.testing.assert_close(blocked, trunk(audio, 800)[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_is_that_of_torch(affine: bool) -> None:
    ours, theirs = BatchNorm(5, affine=affine), nn.BatchNorm1d(5, affine=affine)
    for seed in range(3):
        x = 2 * noise(4, 5, 7, seed=seed) + 1
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x))
    names = set(theirs.state_dict()) - {"num_batches_tracked"}
    assert set(ours.state_dict()) == names


def plain_recurrence(decay: torch.Tensor, value: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    states = [start]
    for t in range(value.shape[1]):
        states.append(decay[:, t] * states[-1] + value[:, t])
    return torch.stack(states[1:], dim=1)


@pytest.mark.parametrize("frames", [1, 2, 15, 16, 17, 256, 257, 1000])
def test_recurrence_and_its_gradient_are_those_of_a_loop(frames: int) -> None:
    decay = noise(2, frames, 3).mul(4).sigmoid()
    decay[:, ::5], decay[:, 3::7] = 0.0, 1.0
    inputs = [decay, noise(2, frames, 3, seed=2), noise(2, 3, seed=3)]
    weight = noise(2, frames, 3, seed=4)
    results = []
    for function, kind in ((linear_recurrence, torch.float32), (plain_recurrence, torch.float64)):
        leaves = [x.to(kind).requires_grad_() for x in inputs]
        out = function(*leaves)
        gradients = torch.autograd.grad((out * weight).sum(), leaves)
        results.append([x.float() for x in (out, *gradients)])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


def test_recurrence_is_safe_where_everything_is_forgotten_or_kept() -> None:
    for decay in (0.0, 1e-30, 1.0):
        value = torch.full((1, 5000, 1), 1e-3, requires_grad=True)
        out = linear_recurrence(torch.full_like(value, decay), value, torch.ones(1, 1))
        out.sum().backward()
        assert out.isfinite().all()
        assert value.grad is not None
        assert value.grad.isfinite().all()
    torch.testing.assert_close(out[0, -1], torch.tensor([6.0]), rtol=1e-5, atol=0)


def test_qrnn_is_that_of_a_loop() -> None:
    torch.manual_seed(0)
    layer = Qrnn(4, 3)
    x = noise(2, 40, 4)
    weight, bias = layer.gates.weight, layer.gates.bias
    c, before, expected = torch.zeros(2, 3), torch.zeros(2, 4), []
    for t in range(40):
        gates = torch.cat([x[:, t], before], dim=1) @ weight.T + bias
        z, f, o = gates[:, :3].tanh(), gates[:, 3:6].sigmoid(), gates[:, 6:].sigmoid()
        c, before = f * z + (1 - f) * c, x[:, t]
        expected.append(o * c)
    torch.testing.assert_close(layer(x), torch.stack(expected, dim=1), atol=1e-6, rtol=0)


def test_qrnn_resumes_where_it_was_with_rows_at_different_places() -> None:
    torch.manual_seed(0)
    layer = Qrnn(4, 3).requires_grad_(False)
    x = noise(2, 50, 4)
    whole = layer(x)
    state = State(torch.tensor([0, 0]), torch.tensor([20, 9]), torch.zeros(2, layer.memory))
    _, after = layer.resume(x[:, :25], state)
    rest = State(torch.tensor([4, 1]), torch.tensor([26, 29]), after)
    stretches = torch.stack([x[0, 16:46], x[1, 8:38]])
    stretches[:, 0] = 1e3  # before what counts lies what must not be heard
    out, _ = layer.resume(stretches, rest)
    torch.testing.assert_close(out[0, 4:30], whole[0, 20:46], atol=1e-6, rtol=0)
    torch.testing.assert_close(out[1, 1:30], whole[1, 9:38], atol=1e-6, rtol=0)


def test_local_attention_is_attention_under_a_band() -> None:
    torch.manual_seed(0)
    layer = LocalAttention(8, 2, window=3).requires_grad_(False)
    x, lengths = noise(2, 11, 8), torch.tensor([11, 6])
    inside = torch.arange(11) < lengths[:, None]
    query, key, value = layer.attend(layer.norm_1(x)).view(2, 11, 3, 2, 4).unbind(2)
    speeds = torch.tensor([1.0, 0.01])
    heard = torch.zeros(2, 11, 2, 4)
    for row, frame, head in np.ndindex(2, 11, 2):
        near = [j for j in range(11) if j == frame or (abs(j - frame) <= 3 and inside[row, j])]
        scores = []
        for j in near:
            a, b = (
                torch.complex(v[row, i, head, :2], v[row, i, head, 2:])
                for v, i in ((query, frame), (key, j))
            )
            scores.append((a.conj() * b * torch.exp(1j * (j - frame) * speeds)).real.sum() / 2)
        weights = torch.stack(scores).softmax(dim=0)
        heard[row, frame, head] = weights @ value[row, near, head]
    y = x + layer.merge(heard.flatten(2))
    expected = y + layer.reduce(F.gelu(layer.expand(layer.norm_2(y))))
    out = layer(x, within(inside, 3))
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


def music(seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * RATE)) / RATE
    tones = sum(0.1 * np.sin(2 * np.pi * hertz * t) for hertz in rng.uniform(80, 3000, 3))
    return (tones * (t % 0.4 < 0.2) + 0.01 * rng.standard_normal(len(t))).astype(np.float32)


@pytest.fixture(scope="module")
def plus() -> MusicEncoder:
    torch.manual_seed(0)
    model = MusicEncoder(ModelConfig(encoder=PasePlusConfig()))
    settled(model.encoder, torch.from_numpy(np.stack([music(2, seed) for seed in range(3)])))
    return model.requires_grad_(False).eval()


def test_pase_plus_in_chunks_among_other_clips_is_that_in_one_piece(plus: MusicEncoder) -> None:
    clips = [music(seconds, seed) for seed, seconds in enumerate((40, 0.9, 7.3))]
    options = {"level": "frame", "chunk_seconds": 3, "batch_seconds": 20}
    chunked = plus.embed(clips, RATE, **options)
    for clip, result in zip(clips, chunked, strict=True):
        whole = plus.embed(clip, RATE, level="frame")
        assert isinstance(result, Embedding)
        assert whole.values.std() > 0.3
        np.testing.assert_allclose(result.values, whole.values, atol=1e-5)
        assert np.array_equal(result.times, np.arange(-(-len(clip) // 160)) / 100)


@pytest.mark.parametrize("name", ["pase", "pase_plus", "pase_attention"])
def test_half_precision_is_near_full(name: str) -> None:
    torch.manual_seed(0)
    kind, config = ENCODERS[name]
    encoder = kind(config(channels=SMALL, dim=16))  # type: ignore[call-arg]
    audio = noise(2, 16_000)
    settled(encoder, audio)
    state = State(torch.tensor([0, 8]), torch.tensor([90, 80]), torch.zeros(2, encoder.memory))
    full = encoder.resume(audio, None, state)[0][-1]
    with torch.autocast("cpu", torch.bfloat16):
        half = encoder.resume(audio, None, state)[0][-1].float()
    cosine = F.cosine_similarity(full[:, 8:88], half[:, 8:88], dim=2)
    assert cosine.mean() > 0.999


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (PaseConfig, {"kernels": (251, 20)}, "equally many, at least two, got 8, 2 and 8"),
        (PaseConfig, {"strides": (9, 10, 2, 1, 2, 1, 2, 2)}, "strides must be 1 to 8, got 9"),
        (PaseConfig, {"strides": (1, 12, 2, 1, 2, 1, 2, 2)}, "a stride of 12 leave gaps"),
        (PaseAttentionConfig, {"heads": 3}, "a multiple of 2 \\* heads, got 256 and 3"),
        (PaseAttentionConfig, {"window": 0}, "window must be between 1 and 4,096, got 0"),
    ],
)
def test_impossible_shapes_are_refused(kind: type, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**change)
