"""EfficientAT: the network as its papers define it, and checkpoints that are something else."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from musicssl.errors import ModelError
from musicssl_training.teachers import load_teacher
from musicssl_training.teachers.efficientat import PATCH, STEP, EfficientAt, mel_bands

# of MobileNetV3-large: kernel, stride, squeeze and excitation, hard swish; channels are small here
LAYERS = (
    (3, 1, 0, 0), (3, 2, 0, 0), (3, 1, 0, 0), (5, 2, 1, 0), (5, 1, 1, 0), (5, 1, 1, 0),
    (3, 2, 0, 1), (3, 1, 0, 1), (3, 1, 0, 1), (3, 1, 0, 1), (3, 1, 1, 1), (3, 1, 1, 1),
    (5, 2, 1, 1), (5, 1, 1, 1), (5, 1, 1, 1),
)  # fmt: skip
WIDE, NARROW, LAST = 12, 8, 16
NAME = "mn04_as_mAP_432.pt"
Weights = dict[str, Tensor]


def some_weights() -> Weights:
    """Random weights of a very narrow network, whose first block does not widen."""
    out: Weights = {}
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def convolution(name: str, channels: int, inputs: int, kernel: int) -> None:
        scale = (inputs * kernel**2) ** -0.5
        out[f"{name}.0.weight"] = normal(channels, inputs, kernel, kernel) * scale
        out[f"{name}.1.weight"] = normal(channels).exp()
        out[f"{name}.1.bias"] = normal(channels)
        out[f"{name}.1.running_mean"] = normal(channels)
        out[f"{name}.1.running_var"] = normal(channels).exp()

    def linear(name: str, outputs: int, inputs: int) -> None:
        out[f"{name}.weight"], out[f"{name}.bias"] = normal(outputs, inputs), normal(outputs)

    convolution("features.0", NARROW, 1, 3)
    for number, (kernel, _, excite, _) in enumerate(LAYERS, 1):
        name, wide = f"features.{number}.block", NARROW if number == 1 else WIDE
        parts = iter(range(9))
        if number > 1:
            convolution(f"{name}.{next(parts)}", wide, NARROW, 1)
        convolution(f"{name}.{next(parts)}", wide, 1, kernel)
        if excite:
            part = f"{name}.{next(parts)}.conc_se_layers.0"
            linear(f"{part}.fc1", 4, wide)
            linear(f"{part}.fc2", wide, 4)
        convolution(f"{name}.{next(parts)}", NARROW, wide, 1)
    convolution("features.16", LAST, NARROW, 1)
    linear("classifier.2", 20, LAST)
    linear("classifier.5", 527, 20)
    return out


def reference(weights: Weights, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits of one patch, written as plainly as can be, in float64."""
    w = {name: value.double() for name, value in weights.items()}

    def convolution(x: Tensor, name: str, stride: int = 1, groups: int = 1) -> Tensor:
        kernel = w[f"{name}.0.weight"]
        x = F.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2, groups=groups)
        moments = w[f"{name}.1.running_mean"], w[f"{name}.1.running_var"]
        return F.batch_norm(x, *moments, w[f"{name}.1.weight"], w[f"{name}.1.bias"], eps=1e-3)

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    x = audio.double()[1:] - 0.97 * audio.double()[:-1]
    window = torch.hann_window(800, periodic=False, dtype=torch.float64)
    power = torch.stft(x, 1024, 320, 800, window, return_complex=True).abs() ** 2
    bands = torch.from_numpy(mel_bands()).double()
    x = ((((bands @ power) + 1e-5).log() + 4.5) / 5)[None, None]
    x = F.hardswish(convolution(x, "features.0", 2))
    for number, (_, stride, excite, hard) in enumerate(LAYERS, 1):
        activation = F.hardswish if hard else F.relu
        parts: Iterator[str] = (f"features.{number}.block.{part}" for part in range(9))
        y = x
        if number > 1:
            y = activation(convolution(y, next(parts)))
        y = activation(convolution(y, next(parts), stride, y.shape[1]))
        if excite:
            part = next(parts) + ".conc_se_layers.0"
            factor = linear(linear(y.mean((2, 3)), f"{part}.fc1").relu(), f"{part}.fc2").sigmoid()
            y = y * factor[..., None, None]
        y = convolution(y, next(parts))
        x = y + x if stride == 1 else y
    features = F.hardswish(convolution(x, "features.16")).mean((2, 3))[0]
    return features, linear(F.hardswish(linear(features, "classifier.2")), "classifier.5")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(some_weights(), tmp_path / NAME)
    return tmp_path / NAME


def test_patches_have_the_features_and_tags_of_the_network(file: Path) -> None:
    teacher = load_teacher(f"efficientat:{file}")
    assert isinstance(teacher, EfficientAt)
    rng = np.random.default_rng(0)
    audio = (0.1 * rng.standard_normal(PATCH + 2 * STEP + 100)).astype(np.float32)
    heard = list(teacher.hear(iter(np.array_split(audio, 7))))
    features, logits = (np.concatenate(parts) for parts in zip(*heard, strict=True))
    assert features.shape == (3, teacher.facts.size) == (3, LAST)
    assert (teacher.facts.name, teacher.facts.hop, teacher.facts.window) == (
        "efficientat-mn04", 1.5, 3.0,
    )  # fmt: skip
    for number in range(3):
        piece = torch.from_numpy(audio[number * STEP : number * STEP + PATCH])
        ours, theirs = (features[number], logits[number]), reference(some_weights(), piece)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-4 * float(b.abs().max()))


def test_recordings_shorter_than_a_patch_have_no_values(file: Path) -> None:
    assert not list(EfficientAt(file).values([np.zeros(PATCH - 1, np.float32)]))


def test_mel_bands_are_those_of_kaldi() -> None:
    bands = mel_bands()
    assert bands.shape == (128, 513)
    hertz = np.arange(513) * 31.25
    edges = 700 * (np.exp(np.linspace(0, 1127 * np.log1p(15_000 / 700), 130) / 1127) - 1)
    for number in (0, 40, 127):
        inside = (hertz > edges[number]) & (hertz < edges[number + 2])
        np.testing.assert_array_equal(bands[number] > 0, inside)
    middle = hertz[bands[100].argmax()]
    assert abs(middle - edges[101]) <= 31.25 / 2 + 1e-6
    assert bands[:, hertz >= 15_000].max() == 0


def test_other_files_are_refused(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ModelError, match=r"mn04_as_mAP_432\.pt"):
        EfficientAt(tmp_path / "mn10_as_hop_15_mAP_463.pt")
    with pytest.raises(ModelError, match="there is no file"):
        EfficientAt(tmp_path / "mn10_as_mAP_471.pt")
    weights = some_weights()
    del weights["features.4.block.1.0.weight"]
    torch.save(weights, file)
    with pytest.raises(ModelError, match=r"features\.4"):
        EfficientAt(file)
    torch.save({"epoch": 3}, file)
    with pytest.raises(ModelError, match="no weights"):
        EfficientAt(file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be read"):
        EfficientAt(file)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("a pickle was executed",)


def test_a_checkpoint_executes_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"features.0.0.weight": Harmful()}, file)
    with pytest.raises(ModelError, match="holds more than tensors"):
        EfficientAt(file)
    assert "executed" not in capsys.readouterr().out
