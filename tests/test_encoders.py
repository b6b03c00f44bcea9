import pytest
import torch

from musicssl.config import from_dict, to_dict
from musicssl.encoders import ENCODERS, Encoder
from musicssl.errors import ConfigError
from musicssl.windows import cut

TINY = {"dilated": {"dim": 16, "inner": 24, "pitch_channels": (2, 3), "mel_channels": 8}}


def make(name: str) -> Encoder:
    torch.manual_seed(0)
    kind, config = ENCODERS[name]
    encoder: Encoder = kind(config(**TINY[name])).eval()  # type: ignore[call-arg]
    return encoder


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1)) * 0.1


@pytest.mark.parametrize("name", ENCODERS)
class TestEveryEncoder:
    def test_config_survives_json(self, name: str) -> None:
        kind = ENCODERS[name][1]
        config = kind(**TINY[name])
        assert from_dict(kind, to_dict(config), "config") == config

    def test_config_refuses_unknown_keys(self, name: str) -> None:
        with pytest.raises(ConfigError, match="Did you mean 'dim'"):
            from_dict(ENCODERS[name][1], {"dims": 3}, "config")

    @pytest.mark.parametrize("samples", [1, 881, 882, 883, 40_000])
    def test_shapes(self, name: str, samples: int) -> None:
        encoder = make(name)
        layers = encoder(noise(2, samples))
        assert len(layers) == encoder.n_layers
        for layer in layers:
            assert layer.shape == (2, -(-samples // encoder.hop), encoder.dim)
            assert layer.isfinite().all()

    def test_gradient_reaches_every_parameter(self, name: str) -> None:
        encoder = make(name).train()
        torch.stack([layer.square().mean() for layer in encoder(noise(2, 30_000))]).sum().backward()
        for parameter, value in encoder.named_parameters():
            assert value.grad is not None, parameter
            assert value.grad.abs().max() > 0, parameter

    def test_hears_its_context_and_no_further(self, name: str) -> None:
        encoder = make(name)
        middle = -(-encoder.context // encoder.hop) + 10
        audio = noise(1, 2 * middle * encoder.hop).requires_grad_()
        (encoder(audio)[-1][0, middle] @ noise(encoder.dim)).backward()
        assert audio.grad is not None
        heard = audio.grad[0].nonzero()[:, 0] - middle * encoder.hop
        assert -encoder.context <= heard.min() < -0.95 * encoder.context
        assert 0.95 * encoder.context < heard.max() <= encoder.context

    def test_chunked_equals_whole(self, name: str) -> None:
        encoder = make(name)
        audio = noise(1, 22_050 * 31 + 77)
        with torch.inference_mode():  # without gradients, long audio is done in blocks
            whole = encoder(audio)
        cuts = cut([audio[0].numpy()], hop=encoder.hop, context=encoder.context, chunk=150_000)
        parts = [
            [layer[:, skip : skip + frames] for layer in encoder(torch.from_numpy(stretch)[None])]
            for (skip, _, frames), stretch in cuts
        ]
        assert len(parts) > 2
        for i, layer in enumerate(whole):
            joined = torch.cat([part[i] for part in parts], dim=1)
            torch.testing.assert_close(joined, layer, atol=1e-5, rtol=0)

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
