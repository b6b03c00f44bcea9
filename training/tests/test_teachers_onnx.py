"""Teachers that hear in pieces: every frame once, where it belongs, whatever the blocks."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from musicssl.errors import DependencyError, ModelError
from musicssl_training.teachers.basic_pitch import (
    BEGINNING,
    INPUT,
    NOTES,
    SIZE,
    SOUNDING,
    BasicPitch,
)
from musicssl_training.teachers.onnx import Arrays, load_network
from musicssl_training.teachers.pieces import covering, pieces
from musicssl_training.teachers.swift_f0 import MIDDLE, SwiftF0

HOP = 256
LENGTHS = [1, 768, 40_000, 36_096, 36_097, 200_000]


def cut(audio: NDArray[np.float32], size: int) -> list[NDArray[np.float32]]:
    return [audio[first : first + size] for first in range(0, len(audio), size)]


@given(
    length=st.integers(0, 60),
    block=st.integers(1, 30),
    size=st.integers(1, 20),
    step=st.integers(1, 20),
    around=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_pieces_are_those_of_the_whole(
    length: int, block: int, size: int, step: int, around: tuple[int, int]
) -> None:
    audio = np.arange(1, length + 1, dtype=np.float32)
    step = min(step, size)
    whole = np.pad(audio, around)
    wanted = [whole[i : i + size] for i in range(0, len(whole) - size + 1, step)]
    found = [*pieces(cut(audio, block), size, step, *around)]
    assert [piece.tolist() for piece in found] == [piece.tolist() for piece in wanted]


@given(
    length=st.integers(0, 60),
    block=st.integers(1, 30),
    step=st.integers(1, 7),
    steps=st.integers(1, 5),
    around=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_every_step_is_covered_once(
    length: int, block: int, step: int, steps: int, around: tuple[int, int]
) -> None:
    audio = np.arange(1, length + 1, dtype=np.float32)
    before, size = around[0], around[0] + steps * step + around[1]
    found, whole = [], 0
    for piece, begun, complete in covering(cut(audio, block), size, step, steps, before):
        assert complete <= begun <= steps
        found += piece[before::step][:begun].tolist()
        whole += complete
    assert found == audio[::step].tolist()
    assert whole == length // step


class Echo:
    """In place of a network: says of each frame the sample at its centre."""

    asked = 0

    def pitches(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        self.asked += 1
        audio = inputs[INPUT]
        assert audio.shape == (1, SIZE, 1)
        frames = np.repeat(audio[:, ::HOP], NOTES, axis=2)
        assert frames.shape == (1, 172, NOTES)
        return {SOUNDING: frames, BEGINNING: 2 * frames}

    def pitch(self, inputs: Arrays) -> dict[str, NDArray[np.float32]]:
        self.asked += 1
        audio = inputs["audio"][:, ::HOP]
        return {"pitch": MIDDLE * 2**audio, "confidence": np.full_like(audio, 0.5)}


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("block", [10_000, 220_500])
def test_notes_lie_where_they_sound(length: int, block: int) -> None:
    echo = Echo()
    teacher = BasicPitch(echo.pitches, "")
    audio = np.linspace(0.1, 0.9, length, dtype=np.float32)
    found = np.concatenate([*teacher.values(cut(audio, block))])
    steps = -(-length // (3 * HOP))
    assert found.shape == (steps, 2 * NOTES)
    assert echo.asked == -(-steps // 47)
    around = np.pad(audio[::HOP], (1, 2))[: 3 * steps].reshape(steps, 3)
    np.testing.assert_allclose(found[:, 0], around.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found[:, NOTES], 2 * around.max(axis=1), rtol=1e-5)
    assert teacher.facts.hop == 3 * HOP / teacher.sample_rate


@pytest.mark.parametrize("length", [*LENGTHS, 1024 * HOP, 1024 * HOP + 1])
def test_pitch_lies_where_it_sounds_and_silence_has_none(length: int) -> None:
    echo = Echo()
    teacher = SwiftF0(echo.pitch, "")
    audio = np.linspace(0.01, 2, length, dtype=np.float32)
    found = np.concatenate([*teacher.values(cut(audio, 160_000))])
    frames = -(-length // HOP)
    assert found.shape == (frames, 4)
    assert echo.asked == -(-frames // 1024)
    octaves = audio[::HOP]
    np.testing.assert_allclose(found[:, 0], 0.5)
    np.testing.assert_allclose(found[:, 1], 0.5 * octaves, atol=1e-5)
    np.testing.assert_allclose(found[:, 2:] * 2, circle(octaves), atol=1e-4)
    silence = np.concatenate([*teacher.values([0.0001 * audio])])
    assert not silence[np.arange(frames) * HOP / max(1, length) < 0.4].any()
    assert [*teacher.values([])] == []


def circle(octaves: NDArray[np.float32]) -> NDArray[np.float32]:
    turn = 2 * np.pi * octaves
    return np.column_stack([np.cos(turn), np.sin(turn)])


def test_what_a_network_needs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"pip install 'musicssl-training\[onnx\]'"):
        load_network(tmp_path / "model.onnx")
    made = []

    def session(file: str, options: SimpleNamespace, providers: list[str]) -> SimpleNamespace:
        if not Path(file).exists():
            raise RuntimeError("NO_SUCHFILE")
        made.append((options.intra_op_num_threads, options.inter_op_num_threads, providers))
        outputs = [SimpleNamespace(name="a"), SimpleNamespace(name="b")]
        return SimpleNamespace(get_outputs=lambda: outputs, run=lambda names, given: [*names])

    fake = SimpleNamespace(SessionOptions=SimpleNamespace, InferenceSession=session)
    monkeypatch.setitem(sys.modules, "onnxruntime", fake)
    with pytest.raises(ModelError, match="cannot be read by onnxruntime: NO_SUCHFILE"):
        load_network(tmp_path / "model.onnx")
    (tmp_path / "model.onnx").touch()
    assert load_network(tmp_path / "model.onnx")({}) == {"a": "a", "b": "b"}
    assert made == [(1, 1, ["CPUExecutionProvider"])]
