"""BeatNet: madmom's spectra, the network as the paper has it, and beats where they are heard."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicssl.errors import ModelError
from musicssl_training.teachers import base, beatnet, load_teacher
from musicssl_training.teachers.beatnet import HOP, RATE, WINDOW, BeatNet, LogBands, triangles

Array = NDArray[np.float64]
SIZE, FILTERS, HIDDEN, CELLS = 272, 2, 7, 5


def some_weights(seed: int = 0) -> dict[str, Tensor]:
    """Those of a BeatNet with fewer cells."""
    shapes: dict[str, tuple[int, ...]] = {
        "conv1.weight": (FILTERS, 1, 10),
        "conv1.bias": (FILTERS,),
        "linear0.weight": (HIDDEN, FILTERS * 131),
        "linear0.bias": (HIDDEN,),
        "linear.weight": (3, CELLS),
        "linear.bias": (3,),
    }
    for layer, given in ((0, HIDDEN), (1, CELLS)):
        shapes |= {
            f"lstm.weight_ih_l{layer}": (4 * CELLS, given),
            f"lstm.weight_hh_l{layer}": (4 * CELLS, CELLS),
            f"lstm.bias_ih_l{layer}": (4 * CELLS,),
            f"lstm.bias_hh_l{layer}": (4 * CELLS,),
        }
    random = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=random) * (3 / shape[-1] ** 0.5 if len(shape) > 1 else 1)
        for name, shape in shapes.items()
    }


def reference_bands(audio: NDArray[np.float32]) -> Array:
    """(frames, 272): frame by frame and band by band, in float64."""
    tones = [440 * 2 ** (number / 24) for number in range(-120, 130)]
    tones = [tone for tone in tones if 30 <= tone <= 17_000]
    hertz = np.arange(705) * RATE / 1410
    centers = sorted({int(np.abs(hertz - tone).argmin()) for tone in tones})
    window = np.hanning(WINDOW)
    padded = np.pad(audio.astype(np.float64), (705, WINDOW))
    loud = []
    for first in range(0, len(audio), HOP):
        spectrum = np.abs(np.fft.fft(padded[first : first + WINDOW] * window))[:705]
        bands = []
        for below, center, above in zip(centers, centers[1:], centers[2:], strict=False):
            weights = np.zeros(705)
            for k in range(below, above):
                rises, falls = (k - below) / (center - below), (above - k) / (above - center)
                weights[k] = rises if k < center else falls
            bands.append(spectrum @ weights / weights.sum())
        loud.append(np.log10(1 + np.array(bands)))
    rise = np.maximum(0, np.diff(loud, axis=0, prepend=loud[:1]))
    return np.concatenate([loud, rise], axis=1)


def reference(weights: dict[str, Tensor], x: Array) -> Array:
    """Probabilities, (frames, 3), step by step in float64."""
    w = {name: value.double().numpy() for name, value in weights.items()}

    def sigmoid(x: Array) -> Array:
        return 1 / (1 + np.exp(-x))

    states = [(np.zeros(CELLS), np.zeros(CELLS)) for _ in range(2)]
    out = []
    for frame in x:
        parts = [
            np.convolve(frame, taps[0, ::-1], "valid") + bias
            for taps, bias in zip(w["conv1.weight"], w["conv1.bias"], strict=True)
        ]
        pooled = [np.maximum(0, part)[:262].reshape(-1, 2).max(axis=1) for part in parts]
        now = w["linear0.weight"] @ np.concatenate(pooled) + w["linear0.bias"]
        for layer, (hidden, cell) in enumerate(states):
            both = w[f"lstm.weight_ih_l{layer}"] @ now + w[f"lstm.bias_ih_l{layer}"]
            both += w[f"lstm.weight_hh_l{layer}"] @ hidden + w[f"lstm.bias_hh_l{layer}"]
            enter, forget, fresh, leave = both.reshape(4, CELLS)
            cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(fresh)
            now = sigmoid(leave) * np.tanh(cell)
            states[layer] = now, cell
        logits = np.exp(w["linear.weight"] @ now + w["linear.bias"])
        out.append(logits / logits.sum())
    return np.array(out)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.save(some_weights(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def noise(samples: int) -> NDArray[np.float32]:
    audio = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    return audio * np.abs(np.sin(np.arange(samples, dtype=np.float32) / 1500))


def test_bands_lie_a_quarter_tone_apart_where_bins_do() -> None:
    bands = triangles()
    assert bands.shape == (705, SIZE // 2)
    assert LogBands().size == SIZE
    np.testing.assert_allclose(bands.sum(axis=0), 1, rtol=1e-6)
    centers = bands.argmax(axis=0)
    assert (np.diff(centers) >= 1).all()
    assert centers[:3].tolist() == [3, 4, 5]  # narrower bands have no bin of their own
    high = centers[centers * RATE / 1410 > 3000] * RATE / 1410
    np.testing.assert_allclose(np.log2(high[1:] / high[:-1]) * 24, 1, atol=0.2)


@pytest.mark.parametrize("samples", [1, HOP, 4000, 9 * HOP + 1])
@pytest.mark.parametrize("kept", [3, 512])
def test_values_are_those_of_the_network_heard_in_one(
    file: Path, monkeypatch: pytest.MonkeyPatch, samples: int, kept: int
) -> None:
    monkeypatch.setattr(beatnet, "KEPT", kept)
    teacher, audio = BeatNet(file), noise(samples)
    probabilities = reference(some_weights(), reference_bands(audio))
    wanted = np.column_stack([probabilities[:, 0] + probabilities[:, 1], probabilities[:, 1]])
    for block in (700, 220_500):
        blocks = [audio[first : first + block] for first in range(0, samples, block)]
        found = np.concatenate([*teacher.values(blocks)])
        assert found.shape == (-(-samples // HOP), teacher.facts.size)
        np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert len(wanted) < 5 or wanted.std(axis=0).min() > 0.01  # frames differ


def test_facts_say_what_the_values_are(file: Path) -> None:
    teacher = BeatNet(file)
    facts = teacher.facts
    assert (facts.name, facts.kind, facts.hop) == ("beatnet", "frames", 0.02)
    assert facts.licence == "CC-BY-4.0"
    assert facts.sha256 == base.sha256_of(file)
    assert [*teacher.values([])] == []


def test_other_weights_are_refused(file: Path) -> None:
    weights = some_weights()
    narrow = weights | {"linear0.weight": torch.zeros(HIDDEN, 100)}
    for wrong, message in (
        ({"epoch": 3}, "no weights"),
        (narrow, "100 weights where 272 bands are heard"),
        ({name: weights[name] for name in weights if name != "linear.bias"}, "linear.bias"),
        ({name: weights[name] for name in weights if name != "conv1.weight"}, "conv1.weight"),
        (weights | {"gru.weight": torch.zeros(1)}, "gru.weight"),
    ):
        torch.save(wrong, file)
        with pytest.raises(ModelError, match=message):
            BeatNet(file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match="cannot be read"):
        BeatNet(file)
    file.unlink()
    with pytest.raises(ModelError, match=r"pip install --no-deps BeatNet==1\.1\.3"):
        BeatNet(file)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("a pickle was executed",)


def test_weights_execute_nothing(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(some_weights() | {"conv1.bias": Harmful()}, file)
    with pytest.raises(ModelError, match="cannot be read"):
        BeatNet(file)
    assert "executed" not in capsys.readouterr().out


def test_a_changed_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "package_folder", lambda name, install: tmp_path / name)
    with pytest.raises(ModelError, match=r"no file .*another version.*BeatNet==1\.1\.3"):
        load_teacher("beatnet")
    path = tmp_path / "BeatNet" / beatnet.WEIGHTS
    path.parent.mkdir(parents=True)
    torch.save(some_weights(), path)
    with pytest.raises(ModelError, match=r"SHA-256.*not 619091bc317c.*BeatNet==1\.1\.3"):
        load_teacher("beatnet")
    monkeypatch.setattr(beatnet, "SHA256", base.sha256_of(path))
    assert load_teacher("beatnet").facts.name == "beatnet"


@pytest.mark.skipif(find_spec("BeatNet") is None, reason="BeatNet is not installed")
def test_beats_are_where_a_drum_is_struck() -> None:
    time = np.arange(2000) / RATE
    stroke = np.exp(-110 * time) * np.sin(2 * np.pi * 900 * time)
    audio, beats = np.zeros(16 * RATE, np.float32), np.arange(0.5, 15.5, 0.6)
    for beat in beats:
        audio[round(beat * RATE) :][: len(time)] += 0.8 * stroke
    found = np.concatenate([*load_teacher("beatnet").values([audio])])[:, 0]

    def highest(times: Array) -> Array:
        around = np.rint(times[:, None] / 0.02 + np.arange(-3, 4)).astype(int)
        return found[around].max(axis=1)

    late = beats[beats > 4]
    assert (highest(late) > 0.5).all()
    assert (highest(late + 0.3) < 0.2).all()
