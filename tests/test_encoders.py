import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from musicssl.checkpoint import ModelConfig
from musicssl.config import from_dict, to_dict
from musicssl.encoders import ENCODERS, Dilated, DilatedConfig, Encoder, Features, State
from musicssl.encoders.pase.trunk import BatchNorm
from musicssl.errors import ConfigError
from musicssl.inference.chunking import cut
from musicssl.model import MusicEncoder

WAVE = {"channels": (4, 4, 6, 6, 8, 8, 8, 8), "dim": 12}
TINY = {
    "dilated": {"dim": 16, "inner": 24, "pitch_channels": (2, 3), "mel_channels": 8},
    "pase": WAVE,
    "pase_plus": WAVE | {"hidden": 10},
    "pase_attention": WAVE | {"hidden": 12, "heads": 3, "window": 5},
}
TINY["dilated, pitch_every=2"] = TINY["dilated"] | {"pitch_every": 2}


def make(name: str) -> Encoder:
    torch.manual_seed(0)
    kind, config = ENCODERS[name.partition(",")[0]]
    encoder: Encoder = kind(config(**TINY[name]))  # type: ignore[call-arg]
    settle(encoder)
    return encoder


def settle(encoder: Encoder) -> None:
    """Let batch normalisations hear some noise, as training would."""
    norms = [module for module in encoder.modules() if isinstance(module, BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        encoder.train()(noise(2, 20_000))
    for norm in norms:
        norm.momentum = BatchNorm.momentum
    encoder.eval()


def in_chunks(encoder: Encoder, audio: torch.Tensor, chunk: int) -> list[torch.Tensor]:
    """Return the layers of (1, samples), chunk by chunk."""
    memory = torch.zeros(1, encoder.memory)
    parts = []
    cuts = cut([audio[0].numpy()], hop=encoder.hop, context=encoder.context, chunk=chunk)
    for (skip, _, frames), stretch in cuts:
        state = State(torch.tensor([skip]), torch.tensor([frames]), memory)
        layers, memory = encoder.resume(torch.from_numpy(stretch)[None], None, state)
        parts.append([layer[:, skip : skip + frames] for layer in layers])
    assert len(parts) > 2
    return [torch.cat(layer, dim=1) for layer in zip(*parts, strict=True)]


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 0.1


@pytest.mark.parametrize("name", TINY)
class TestEveryEncoder:
    def test_config_survives_json(self, name: str) -> None:
        kind = type(make(name).config)
        config = kind(**TINY[name])
        text = json.dumps(to_dict(config))
        assert from_dict(kind, json.loads(text), "config") == config

    @pytest.mark.parametrize("dtype", ["fp32", "fp16"])
    def test_checkpoint_survives(self, name: str, dtype: str, tmp_path: Path) -> None:
        encoder = make(name)
        model = MusicEncoder(ModelConfig(encoder=encoder.config)).requires_grad_(False).eval()
        model.encoder.load_state_dict(encoder.state_dict())
        loaded = MusicEncoder.from_pretrained(model.save_pretrained(tmp_path / "a", dtype=dtype))
        assert loaded.config == model.config
        clip, rate = noise(30_000).numpy(), model.sample_rate
        a, b = loaded.embed(clip, rate), model.embed(clip, rate)
        assert np.abs(b).max() > 0
        np.testing.assert_allclose(a, b, rtol=0, atol=0 if dtype == "fp32" else 0.02)

    def test_config_refuses_unknown_keys(self, name: str) -> None:
        with pytest.raises(ConfigError, match="Did you mean 'dim'"):
            from_dict(type(make(name).config), {"dims": 3}, "config")

    def test_front_end_and_trunk_make_the_whole(self, name: str) -> None:
        encoder, audio = make(name), noise(2, 12_345)
        audio[1, 7000:] = 0
        samples = torch.tensor([12_345, 7000])
        features = encoder.frontend(audio, samples)
        assert features.inside is not None
        assert features.inside.sum(dim=1).tolist() == [encoder.frames(n) for n in samples.tolist()]
        if encoder.spectrogram is None:
            assert torch.equal(features.values[0], audio)
        for a, b in zip(encoder.encode(features), encoder(audio, samples), strict=True):
            assert torch.equal(a, b)
        twice = encoder.frontend(audio).cat(encoder.frontend(audio[:1]))
        for values, one in zip(twice.values, encoder.frontend(audio).values, strict=True):
            assert torch.equal(values[:2], one)
            assert torch.equal(values[2], one[0])

    def test_a_state_is_read_only(self, name: str) -> None:
        encoder, audio = make(name), noise(1, 9000)
        frames = torch.tensor([encoder.frames(9000)])
        state = State(torch.tensor([0]), frames, torch.zeros(1, encoder.memory))
        layers, after = encoder.resume(audio, None, state)
        assert after.shape == state.before.shape
        assert not state.before.any()
        torch.testing.assert_close(layers[-1], encoder(audio)[-1])

    def test_shapes(self, name: str) -> None:
        encoder = make(name)
        for samples in (1, encoder.hop - 1, encoder.hop, encoder.hop + 1, 40_000):
            layers = encoder(noise(2, samples))
            assert len(layers) == encoder.n_layers
            for layer in layers:
                assert layer.shape == (2, -(-samples // encoder.hop), encoder.dim)
                assert layer.isfinite().all()

    def test_layers_up_to_the_last_that_is_needed(self, name: str) -> None:
        encoder, audio = make(name), noise(2, 20_000)
        every = encoder(audio)
        for last in range(encoder.n_layers):
            layers = encoder(audio, last=last)
            assert len(layers) > last
            assert all(torch.equal(a, b) for a, b in zip(layers, every, strict=False))

    def test_gradient_reaches_every_parameter(self, name: str) -> None:
        encoder = make(name)
        layers = torch.stack(encoder(noise(2, 30_000)))
        (layers * noise(*layers.shape)).sum().backward()
        for parameter, value in encoder.named_parameters():
            assert value.grad is not None, parameter
            assert value.grad.abs().max() > 0, parameter

    def test_hears_its_context_and_no_further(self, name: str) -> None:
        encoder = make(name)
        middle = -(-encoder.context // encoder.hop) + 10
        audio = noise(1, 2 * middle * encoder.hop).requires_grad_()
        (encoder(audio)[-1][0, middle] @ noise(encoder.dim)).backward()
        assert audio.grad is not None
        heard = audio.grad[0].abs()
        centre = middle * encoder.hop
        first, last = (int(heard.nonzero()[i, 0]) - centre for i in (0, -1))
        if encoder.memory:
            assert first < -encoder.context
        else:
            assert -encoder.context <= first
        assert first < -0.95 * encoder.context
        assert 0.95 * encoder.context < last <= encoder.context

    def test_is_centred_where_it_says(self, name: str) -> None:
        encoder = make(name)
        at = 25 * encoder.hop
        click = torch.zeros(1, 2 * at)
        click[0, at] = 1.0
        with torch.no_grad():
            change = (encoder(click)[0] - encoder(0 * click)[0])[0].square().sum(dim=1)
        centre = (change * torch.arange(len(change))).sum() / change.sum()
        assert abs(float(centre) * encoder.hop - at) < 0.01 * encoder.sample_rate

    def test_chunked_equals_whole(self, name: str) -> None:
        encoder = make(name)
        audio = noise(1, 22_050 * 31 + 77)
        with torch.inference_mode():  # without gradients, long audio is done in blocks
            whole = encoder(audio)
            chunked = in_chunks(encoder, audio, 150_000)
        for a, b in zip(chunked, whole, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)

    def test_padding_changes_nothing(self, name: str) -> None:
        encoder = make(name)
        lengths = [50_000, 33_333, 882, 1]
        audio = noise(len(lengths), max(lengths))
        for row, length in zip(audio, lengths, strict=True):
            row[length:] = 0
        together = encoder(audio, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = encoder(audio[row : row + 1, :length])
            for a, b in zip(alone, together, strict=True):
                torch.testing.assert_close(b[row, : a.shape[1]], a[0], atol=1e-5, rtol=0)


class Own(Dilated):
    """A user's: its constants come from wherever torch makes tensors."""

    taps: torch.Tensor

    def __init__(self, config: DilatedConfig) -> None:
        super().__init__(config)
        self.register_buffer("taps", torch.linspace(0, 1, 5), persistent=False)


@dataclass(frozen=True, kw_only=True)
class OwnConfig(DilatedConfig):
    name: ClassVar[str] = "own"


def test_an_own_encoder_loads_with_its_constants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENCODERS, "own", (Own, OwnConfig))
    model = MusicEncoder(ModelConfig(encoder=OwnConfig(**TINY["dilated"]))).eval()  # type: ignore[arg-type]
    loaded = MusicEncoder.from_pretrained(model.save_pretrained(tmp_path, dtype="fp32"))
    assert torch.equal(loaded.encoder.taps, torch.linspace(0, 1, 5))
    clip = noise(30_000).numpy()
    assert np.array_equal(loaded.embed(clip, 22_050), model.embed(clip, 22_050))


@pytest.mark.parametrize("name", TINY)
def test_loading_leaves_torchs_random_numbers_alone(name: str, tmp_path: Path) -> None:
    folder = MusicEncoder(ModelConfig(encoder=make(name).config)).save_pretrained(tmp_path)
    before = torch.get_rng_state()
    MusicEncoder.from_pretrained(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_blocks_after_the_last_layer_that_is_asked_for_do_not_run() -> None:
    config = ModelConfig(encoder=DilatedConfig(**TINY["dilated"]), layer=(2,))  # type: ignore[arg-type]
    model = MusicEncoder(config).eval()
    assert isinstance(model.encoder, Dilated)
    ran: list[int] = []
    for i, block in enumerate(model.encoder.blocks):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    with torch.no_grad():
        model(noise(1, 20_000))
        assert ran == [0, 1]
        ran.clear()
        model(noise(1, 20_000), layer=[1, -1])
    assert ran == [*range(len(model.encoder.blocks))]


def test_every_other_pitch_spectrum_gives_the_same_from_all_of_them() -> None:
    encoder, audio = make("dilated, pitch_every=2"), noise(2, 30_000)
    assert isinstance(encoder, Dilated)
    half = encoder.frontend(audio)
    pitch, mel = half.values
    assert (pitch.shape[2], mel.shape[2]) == (encoder.frames(30_000), 2 * encoder.frames(30_000))
    whole = Features(tuple(encoder.spectrum(audio, mel.shape[2])))
    torch.testing.assert_close(whole.values[0][..., ::2], pitch)
    for a, b in zip(encoder.encode(half), encoder.encode(whole), strict=True):
        torch.testing.assert_close(a, b)
