"""crema: weights of Keras read without it, the network as described, and chords that are heard."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from numpy.typing import NDArray

from musicssl.errors import DependencyError, ModelError
from musicssl_training.teachers import base, crema, load_teacher
from musicssl_training.teachers.crema import (
    BINS,
    HOP,
    LOWEST,
    OCTAVE,
    RATE,
    Crema,
    Network,
    harmonics,
    magnitudes,
    read_keras,
)

Weights = dict[str, NDArray[Any]]
FILTERS, CELLS = 6, 4
HEADS = {"chord_pitch": 12, "chord_root": 13, "chord_bass": 13}


def some_weights(seed: int = 0) -> Weights:
    """Those of such a network with fewer filters and cells."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        fan = np.prod(shape[:-1]) if len(shape) > 1 else 4
        return (rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)

    out: Weights = {}
    for number, size in enumerate((2, 1, FILTERS, 2 * CELLS), 1):
        name = f"batch_normalization_{number}"
        out[f"{name}/gamma"], out[f"{name}/beta"] = 1 + normal(size), normal(size)
        out[f"{name}/moving_mean"] = normal(size) - (40 if number == 1 else 0)
        out[f"{name}/moving_variance"] = np.abs(normal(size)) + (400 if number == 1 else 0.5)
    for number, shape in enumerate(((5, 5, 2, 1), (1, BINS, 1, FILTERS)), 1):
        out[f"conv2d_{number}/kernel"] = normal(*shape)
        out[f"conv2d_{number}/bias"] = normal(shape[-1])
    for number, size in enumerate((FILTERS, 2 * CELLS), 1):
        for way in ("forward", "backward"):
            name = f"bidirectional_{number}/{way}_gru_{number}"
            out[f"{name}/kernel"] = 3 * normal(size, 3 * CELLS)
            out[f"{name}/recurrent_kernel"] = 3 * normal(CELLS, 3 * CELLS)
            out[f"{name}/bias"] = normal(3 * CELLS)
    for name, size in HEADS.items():
        out[f"{name}/kernel"], out[f"{name}/bias"] = 2 * normal(2 * CELLS, size), normal(size)
    return out


def write_keras(file: Path, weights: Weights) -> None:
    """Write weights as Keras 2 does, those of its optimizer too."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(file, "w") as opened:
        for name, value in weights.items():
            layer, *cell, weight = name.split("/")
            path = "/".join([layer, layer, *cell, f"{weight}:0"])
            opened[f"model_weights/{path}"] = value
        opened["optimizer_weights/Adam/iterations:0"] = 7


def reference(weights: Weights, x: NDArray[np.float32]) -> NDArray[np.float64]:
    """Probabilities, (frames, 38), layer by layer as Keras defines them, in float64."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    frames = len(x)

    def norm(x: NDArray[np.float64], number: int) -> NDArray[np.float64]:
        gamma, beta, mean, variance = (
            w[f"batch_normalization_{number}/{part}"]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta

    def gate(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.clip(0.2 * x + 0.5, 0, 1)

    def heard(x: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        now, out = np.zeros(CELLS), []
        update, reset, fresh = np.split(w[f"{name}/recurrent_kernel"], 3, axis=1)
        for frame in x @ w[f"{name}/kernel"] + w[f"{name}/bias"]:
            z, r, h = np.split(frame, 3)
            z, r = gate(z + now @ update), gate(r + now @ reset)
            now = z * now + (1 - z) * np.tanh(h + (r * now) @ fresh)
            out.append(now)
        return np.array(out)

    def both(x: NDArray[np.float64], number: int) -> NDArray[np.float64]:
        name = f"bidirectional_{number}"
        ahead = heard(x, f"{name}/forward_gru_{number}")
        back = heard(x[::-1], f"{name}/backward_gru_{number}")
        return np.concatenate([ahead, back[::-1]], axis=1)

    padded = np.pad(norm(x.astype(np.float64), 1), ((2, 2), (2, 2), (0, 0)))
    y = np.full((frames, BINS), w["conv2d_1/bias"][0])
    for time in range(5):
        for bin_ in range(5):
            part = padded[time : time + frames, bin_ : bin_ + BINS]
            y += part @ w["conv2d_1/kernel"][time, bin_, :, 0]
    y = norm(np.maximum(0, y)[..., None], 2)[..., 0]
    y = np.maximum(0, y @ w["conv2d_2/kernel"][0, :, 0] + w["conv2d_2/bias"])
    y = both(norm(both(norm(y, 3), 1), 4), 2)
    pitch, root, bass = (y @ w[f"{name}/kernel"] + w[f"{name}/bias"] for name in HEADS)
    some = [np.exp(head) / np.exp(head).sum(axis=1, keepdims=True) for head in (root, bass)]
    return np.concatenate([1 / (1 + np.exp(-pitch)), *some], axis=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_keras(tmp_path / "model.h5", some_weights())
    return tmp_path / "model.h5"


def chord(pitches: list[int], seconds: float, rate: int = RATE) -> NDArray[np.float32]:
    """Decaying tones with five overtones each."""
    time = np.arange(round(seconds * rate)) / rate
    tones = [
        np.sin(2 * np.pi * 440 * 2 ** ((pitch - 69) / 12) * part * time) / part
        for pitch in pitches
        for part in range(1, 7)
    ]
    return (0.05 * np.sum(tones, axis=0) * np.exp(-0.8 * time)).astype(np.float32)


def test_the_network_is_the_one_that_was_described() -> None:
    weights = some_weights(1)
    x = -80 * np.random.default_rng(0).random((30, BINS, 2), np.float32)
    network = Network(weights).eval()
    with torch.inference_mode():
        found = torch.cat(network(torch.from_numpy(x)), dim=1).numpy()
    wanted = reference(weights, x)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert wanted.std(axis=0).mean() > 0.02  # frames differ
    del weights["bidirectional_2/backward_gru_2/bias"]
    with pytest.raises(ModelError, match=r"crema's chords: .*backward_gru_2/bias"):
        Network(weights)


def test_weights_are_read_as_keras_wrote_them(file: Path) -> None:
    wanted, found = some_weights(), read_keras(file)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], value)


def test_what_cannot_be_read_says_why(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install = r"pip install --no-deps crema==0\.2\.0"
    with pytest.raises(ModelError, match=install):
        read_keras(file.with_name("elsewhere.h5"))
    whole = file.read_bytes()
    for damaged in (b"", b"weights", whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        with pytest.raises(ModelError, match=install):
            read_keras(file)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DependencyError, match=r"pip install 'musicssl-training\[hdf5\]'"):
        read_keras(file)


def test_another_model_of_keras_is_refused(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "model.h5", "w") as opened:
        opened["weights"] = np.zeros(3)
    with pytest.raises(ModelError, match="model_weights"):
        read_keras(tmp_path / "model.h5")
    write_keras(tmp_path / "model.h5", {"dense/kernel": np.zeros((2, 2))})
    with pytest.raises(ModelError, match="not the weights of crema's chords"):
        Crema(tmp_path / "model.h5")


def test_a_changed_package_says_what_to_install(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "package_folder", lambda name, install: tmp_path / name)
    path = tmp_path / "crema" / crema.WEIGHTS
    path.parent.mkdir(parents=True)
    file.rename(path)
    with pytest.raises(ModelError, match=r"SHA-256.*not 08b80e5b648e.*crema==0\.2\.0"):
        load_teacher("crema")
    monkeypatch.setattr(crema, "SHA256", base.sha256_of(path))
    facts = load_teacher("crema").facts
    assert (facts.name, facts.kind, facts.size) == ("crema", "frames", 38)
    assert facts.hop == pytest.approx(4096 / 44_100)
    assert facts.licence.startswith("BSD-2-Clause")


@pytest.mark.parametrize("kept", [10, 512])
def test_spectra_are_those_that_the_network_learned_from(
    monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Those of librosa at 44.1 kHz, one transform for each of the two harmonics."""
    from librosa import amplitude_to_db, cqt

    monkeypatch.setattr(crema, "KEPT", kept)
    parts = [chord([41, 53, 57, 60], 1.5, 44_100), chord([47, 62, 66, 90], 1.5, 44_100)]
    silence = np.zeros(44_100, np.float32)  # what is cut off within a sound, rings
    audio = np.concatenate([silence, *parts, silence, *parts, silence])
    wanted = np.stack(
        [
            amplitude_to_db(
                np.abs(
                    cqt(
                        audio,
                        sr=44_100,
                        hop_length=4096,
                        fmin=harmonic * LOWEST,
                        n_bins=BINS,
                        bins_per_octave=OCTAVE,
                    )
                ),
                ref=np.max,
            ).T
            for harmonic in (1, 2)
        ],
        axis=2,
    )
    half = soxr.resample(audio, 44_100, RATE)
    blocks = [half[first : first + 9999] for first in range(0, len(half), 9999)]
    found = harmonics(np.concatenate([*magnitudes(blocks)]))
    assert len(found) == len(half) // HOP  # the last, which sounds in part, is not heard
    loud = wanted[: len(found)] > -60
    assert loud.mean() > 0.1
    error = np.abs(found - wanted[: len(found)])[loud]
    assert np.quantile(error, 0.99) < 0.05
    assert error.mean() < 0.01


def test_decibels_are_relative_to_the_loudest_place_of_each_harmonic() -> None:
    magnitude = np.full((3, BINS + OCTAVE), 1e-9, np.float32)
    magnitude[1, 0], magnitude[2, 60] = 10, 1
    found = harmonics(magnitude)
    assert found.shape == (3, BINS, 2)
    np.testing.assert_allclose(found[[1, 2], [0, 60], 0], [0, -20], atol=1e-5)
    np.testing.assert_allclose(found[2, 60 - OCTAVE, 1], 0, atol=1e-5)
    assert (np.sort(found, axis=None)[:-3] == -80).all()
    np.testing.assert_array_equal(harmonics(np.zeros_like(magnitude)), -80)  # no peak in silence


def test_a_recording_is_heard_as_one_whatever_the_blocks(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crema, "KEPT", 20)
    teacher = Crema(file)
    audio = np.concatenate([chord([48, 52, 55], 2.0), chord([45, 57, 60], 2.2)])
    given = harmonics(np.concatenate([*magnitudes([audio])]))
    wanted = reference(some_weights(), given)
    for block in (5000, 220_500):
        parts = [audio[first : first + block] for first in range(0, len(audio), block)]
        found = np.concatenate([*teacher.values(parts)])
        assert found.shape == (len(audio) // HOP, 38)
        np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert [*teacher.values([audio[: HOP - 1]])] == []
    assert [*teacher.values([])] == []


@pytest.mark.skipif(find_spec("crema") is None, reason="crema is not installed")
def test_chords_are_those_that_sound() -> None:
    pytest.importorskip("h5py")
    chords = {  # root, bass, pitch classes
        (0, 0, (0, 4, 7)): [36, 48, 52, 55, 60],
        (9, 9, (0, 4, 9)): [45, 57, 60, 64],
        (5, 5, (0, 5, 9)): [41, 53, 57, 60, 65],
        (7, 7, (2, 5, 7, 11)): [43, 55, 59, 62, 65],
        (3, 3, (3, 7, 10)): [39, 51, 55, 58],
    }
    audio = np.concatenate([chord(pitches, 2) for pitches in chords.values()])
    found = np.concatenate([*load_teacher("crema").values([audio, np.zeros_like(audio)])])
    for number, (root, bass, classes) in enumerate(chords):
        first, last = ((2 * number + after) * RATE / HOP for after in (0.5, 1.7))
        mean = found[round(first) : round(last)].mean(axis=0)
        assert (mean[12:25].argmax(), mean[25:].argmax()) == (root, bass)
        assert tuple(np.flatnonzero(mean[:12] > 0.5)) == classes
    assert (found[-60:, 12:25].argmax(axis=1) == 12).all()  # silence has no chord
