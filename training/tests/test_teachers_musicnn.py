"""musicnn: a checkpoint of TensorFlow's read without it, and the network as it was defined."""

import struct
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from musicssl.errors import ModelError
from musicssl_training.teachers.bundle import MAGIC, read_bundle
from musicssl_training.teachers.musicnn import FRAMES, Musicnn, Network

Weights = dict[str, NDArray[Any]]
TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
BLOCK = 12  # entries


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A table's block; keys share what they can with the one before."""
    out, before = b"", b""
    for key, value in entries:
        shared = next(
            (i for i, (a, b) in enumerate(zip(key, before, strict=False)) if a != b),
            min(len(key), len(before)),
        )
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out, before = out + key[shared:] + value, key
    return out + struct.pack("<II", 0, 1)


def write_bundle(
    folder: Path, tensors: Weights, compression: int = 0, header: bytes = b"\x08\x01"
) -> None:
    """Write a checkpoint as TensorFlow does, in several blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    entries, data = [(b"", header)], b""
    for name in sorted(tensors):
        value = tensors[name]
        shape = b"".join(field(2, field(1, size)) for size in value.shape)
        raw = np.ascontiguousarray(value).tobytes()
        told = field(1, TYPES[str(value.dtype)]) + field(2, shape)
        told += (field(4, len(data)) if data else b"") + field(5, len(raw))
        entries.append((name.encode(), told + varint(6 << 3 | 5) + b"\0\0\0\0"))
        data += raw
    entries.append((b"~text", field(1, 7)))  # not numbers
    table, index = b"", []
    for first in range(0, len(entries), BLOCK):
        some = entries[first : first + BLOCK]
        written = block(some)
        index.append((some[-1][0], varint(len(table)) + varint(len(written))))
        table += written + bytes([compression]) + b"\0\0\0\0"
    places = []
    for written in (block([]), block(index)):
        places.append(varint(len(table)) + varint(len(written)))
        table += written + b"\0\0\0\0\0"
    footer = b"".join(places).ljust(40, b"\0") + struct.pack("<Q", MAGIC)
    (folder / ".index").write_bytes(table + footer)
    (folder / ".data-00000-of-00001").write_bytes(data)


def some_weights(seed: int = 0) -> Weights:
    """Those of a musicnn with fewer filters; half of the normalisations turn values around."""
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        fan = np.prod(shape[:-1]) if len(shape) > 1 else 4
        return (rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32)

    kernels = [(7, 38, 1, 4), (7, 67, 1, 4), (128, 1, 1, 2), (64, 1, 1, 2), (32, 1, 1, 2)]
    kernels += [(7, 14, 1, 3), (7, 3, 1, 3), (7, 3, 1, 3)]
    channels = [1, *(kernel[-1] for kernel in kernels), 2 * (14 + 9), 5]
    out: Weights = {"global_step": np.array(7, np.int64)}
    for number, size in enumerate(channels):
        name = f"batch_normalization_{number}" if number else "batch_normalization"
        out[f"{name}/gamma"], out[f"{name}/beta"] = normal(size) * 2, normal(size)
        out[f"{name}/moving_mean"] = normal(size)
        out[f"{name}/moving_variance"] = np.abs(normal(size)) + np.float32(0.5)
    for number, kernel in enumerate(kernels):
        name = f"conv2d_{number}" if number else "conv2d"
        out[f"{name}/kernel"], out[f"{name}/bias"] = normal(*kernel), normal(kernel[-1])
    for name, shape in (("dense", (46, 5)), ("dense_1", (5, 50))):
        out[f"{name}/kernel"], out[f"{name}/bias"] = (
            normal(*shape),
            normal(shape[1]) + np.float32(2),
        )
    return out


def reference(weights: Weights, x: Tensor) -> tuple[Tensor, Tensor]:
    """The network step by step in the order in which it was defined, in 64-bit floats."""
    w = {name: torch.from_numpy(value.astype(np.float64)) for name, value in weights.items()}

    def name(kind: str, number: int) -> str:
        return f"{kind}_{number}" if number else kind

    def norm(x: Tensor, number: int) -> Tensor:
        of = name("batch_normalization", number)
        given = (w[f"{of}/{part}"] for part in ("moving_mean", "moving_variance", "gamma", "beta"))
        return F.batch_norm(x, *given, eps=1e-3)

    def conv(x: Tensor, number: int) -> Tensor:
        of = name("conv2d", number)
        found = F.conv2d(x, w[f"{of}/kernel"].permute(3, 2, 0, 1), w[f"{of}/bias"])
        return norm(found.relu(), number + 1)

    x = norm(x.double()[:, None], 0)  # (batch, 1, frames, bands)
    parts = [conv(F.pad(x, (0, 0, 3, 3)), number) for number in (0, 1)]
    for number, taps in ((2, 128), (3, 64), (4, 32)):  # "same": the odd one behind
        parts.append(conv(F.pad(x, (0, 0, (taps - 1) // 2, taps // 2)), number))
    front = torch.cat([part.amax(dim=3) for part in parts], dim=1)

    def middle(x: Tensor, number: int) -> Tensor:
        flat = x.transpose(1, 2)[:, None]  # (batch, 1, frames, channels)
        return conv(F.pad(flat, (0, 0, 3, 3)), number)[..., 0]

    one = middle(front, 5)
    two = middle(one, 6) + one
    three = middle(two, 7) + two
    whole = torch.cat([front, one, two, three], dim=1)
    both = torch.stack([whole.amax(dim=2), whole.mean(dim=2)], dim=2).flatten(1)
    hidden = norm(both, 9) @ w["dense/kernel"] + w["dense/bias"]
    penultimate = norm(hidden.relu(), 10)
    return penultimate, penultimate @ w["dense_1/kernel"] + w["dense_1/bias"]


def test_a_bundle_is_read_as_it_was_written(tmp_path: Path) -> None:
    weights = some_weights()
    write_bundle(tmp_path, weights)
    found = read_bundle(tmp_path)
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)
    for end in (".index", ".data-00000-of-00001"):
        (tmp_path / end).rename(tmp_path / f"model.ckpt{end}")
    assert read_bundle(tmp_path / "model.ckpt").keys() == weights.keys()


def test_bundles_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    weights = some_weights()
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        read_bundle(tmp_path)
    for given, message in (
        ({"compression": 1}, "it is compressed"),
        ({"header": b"\x08\x02"}, "several files"),
        ({"header": b"\x08\x01\x10\x01"}, "big-endian"),
    ):
        write_bundle(tmp_path, weights, **given)  # type: ignore[arg-type]
        with pytest.raises(ModelError, match=message):
            read_bundle(tmp_path)
    write_bundle(tmp_path, weights)
    index, data = tmp_path / ".index", tmp_path / ".data-00000-of-00001"
    whole = index.read_bytes()
    for damaged in (b"", whole[:-1], whole[: len(whole) // 2] + whole[-48:]):
        index.write_bytes(damaged)
        with pytest.raises(ModelError, match="no TensorFlow checkpoint"):
            read_bundle(tmp_path)
    index.write_bytes(whole)
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ModelError, match="copied in part"):
        read_bundle(tmp_path)


def test_the_network_is_the_one_that_was_defined() -> None:
    weights = some_weights(1)
    x = 5 * torch.rand(2, FRAMES, 96, generator=torch.Generator().manual_seed(0))
    network = Network(weights).eval()
    signs = [part.norm.factor.sign().tolist() for part in network.front]
    assert any(-1 in some for some in signs)
    with torch.inference_mode():
        for found, wanted in zip(network(x), reference(weights, x), strict=True):
            torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=1e-4)
    del weights["dense/bias"]
    with pytest.raises(ModelError, match="dense/bias' is missing"):
        Network(weights)


@pytest.mark.parametrize("size", [1000, 48_000, 160_000, 400_000])
def test_patches_are_librosas_spectrum_cut_up_whatever_the_blocks(
    tmp_path: Path, size: int
) -> None:
    write_bundle(tmp_path / "MTT_musicnn", some_weights(2))
    teacher = Musicnn("MTT", tmp_path)
    audio = 0.5 * np.random.default_rng(0).standard_normal(400_000).astype(np.float32)
    audio *= np.linspace(0, 1, len(audio), dtype=np.float32)
    power = librosa.feature.melspectrogram(y=audio, sr=16_000, n_fft=512, hop_length=256, n_mels=96)
    mels = np.log10(1 + 10_000 * power.T)
    count = len(mels) // FRAMES
    whole = torch.from_numpy(mels[: count * FRAMES].reshape(count, FRAMES, 96))
    blocks = [audio[first : first + size] for first in range(0, len(audio), size)]
    found = np.concatenate([*teacher.values(blocks)])
    assert found.shape == (8, 5)
    assert teacher.facts.size == 5
    with torch.inference_mode():
        wanted, _ = teacher.network(whole)
    np.testing.assert_allclose(found, wanted.numpy(), atol=2e-3)
    assert found.std(axis=0).max() > 0.02  # patches differ


def test_less_than_a_patch_says_nothing(tmp_path: Path) -> None:
    write_bundle(tmp_path / "MSD_musicnn", some_weights())
    teacher = Musicnn("MSD", tmp_path)
    assert [*teacher.values([np.zeros(40_000, np.float32)])] == []
    assert [*teacher.values([])] == []
    assert teacher.facts.name == "musicnn-msd"
    assert "last.fm" in teacher.facts.trained_on
    assert len(teacher.facts.sha256) == 64
