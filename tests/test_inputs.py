"""The forms in which audio comes from other libraries."""

import io
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from folder_trees import noise

import musicssl
from musicssl import AudioError, ConfigError, MusicEncoder

RATE = 22_050


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return noise(tmp_path_factory.mktemp("music") / "noise.wav", seconds=1.0)


@pytest.fixture(scope="module")
def samples(file: Path) -> np.ndarray:
    audio: np.ndarray = soundfile.read(file, dtype="float32")[0]
    return audio


@pytest.fixture(scope="module")
def expected(file: Path, model: MusicEncoder) -> np.ndarray:
    return model.embed(file)


def forms(file: Path, samples: np.ndarray) -> dict[str, Any]:
    """The same sound in every form that is one sound."""
    data = file.read_bytes()
    decoded = SimpleNamespace(
        data=torch.from_numpy(samples)[None], sample_rate=RATE, pts_seconds=0.0
    )
    return {
        "librosa.load": (samples, RATE),
        "a float rate": (samples, float(RATE)),
        "torchaudio.load": (torch.from_numpy(samples)[None], RATE),
        "datasets, decoded": {"array": samples, "sampling_rate": RATE, "path": None},
        "datasets, as lists": {"array": samples.tolist(), "sampling_rate": RATE},
        "datasets, bytes": {"bytes": data, "path": "elsewhere.wav"},
        "datasets, path": {"bytes": None, "path": str(file)},
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "a file in memory": io.BytesIO(data),
        "torchcodec, samples": decoded,
        "torchcodec, decoder": SimpleNamespace(get_all_samples=lambda: decoded),
    }


class Column(Sequence[Any]):
    """As a column of Hugging Face datasets: a sequence that is no list."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: Any) -> Any:
        return self.items[i]


FORMS = list(forms(Path(__file__), np.zeros(1, np.float32)))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_sound_is_the_sound(
    form: str, file: Path, samples: np.ndarray, expected: np.ndarray, model: MusicEncoder
) -> None:
    alone = model.embed(forms(file, samples)[form])
    assert alone.shape == expected.shape
    assert isinstance(alone, torch.Tensor) is (form == "torchaudio.load")
    np.testing.assert_allclose(alone, expected, atol=1e-4)
    listed = model.embed([forms(file, samples)[form], file])
    assert isinstance(listed, np.ndarray)
    np.testing.assert_allclose(listed, [expected, expected], atol=1e-4)
    frames = model.embed([forms(file, samples)[form]], level="frame")
    assert len(frames[0].times) == 25


def test_torchcodec_itself(file: Path, expected: np.ndarray, model: MusicEncoder) -> None:
    try:
        from torchcodec.decoders import AudioDecoder
    except (ImportError, OSError, RuntimeError) as error:  # it also needs FFmpeg, and its own torch
        pytest.skip(f"torchcodec does not load: {error}"[:100])
    decoder = AudioDecoder(file)
    found = model.embed([decoder, decoder.get_all_samples()])
    np.testing.assert_allclose(found, [expected, expected], atol=1e-4)


def test_lists_come_in_every_form(
    file: Path, samples: np.ndarray, expected: np.ndarray, model: MusicEncoder
) -> None:
    pd = pytest.importorskip("pandas")
    two = [file, file]

    def generator() -> Iterator[Path]:
        yield from two

    several: list[Any] = [
        tuple(two),
        generator(),
        iter(two),
        map(str, two),
        np.array([str(path) for path in two]),
        np.array(two, dtype=object),
        pd.Series([str(path) for path in two], index=[5, 7]),
        deque(two),
        Column(two),
    ]
    for many in several:
        np.testing.assert_allclose(model.embed(many), [expected, expected], atol=1e-6)
    pairs = model.embed([(samples, RATE), (samples, RATE)])
    np.testing.assert_allclose(pairs, [expected, expected], atol=1e-4)
    np.testing.assert_allclose(model.embed(pd.Series(samples), RATE), expected, atol=1e-4)
    with pytest.raises(AudioError, match="a table; pass one of its columns"):
        model.embed(pd.DataFrame({"path": two}))


def test_arrays_of_arrow_are_lists_of_paths_or_one_sound(
    file: Path, samples: np.ndarray, expected: np.ndarray, model: MusicEncoder
) -> None:
    pa = pytest.importorskip("pyarrow")
    for many in (pa.array([str(file)] * 2), pa.chunked_array([[str(file)], [str(file)]])):
        np.testing.assert_allclose(model.embed(many), [expected, expected], atol=1e-6)
    np.testing.assert_allclose(model.embed(pa.array(samples), RATE), expected, atol=1e-4)


def test_several_channels_of_soundfile(samples: np.ndarray, model: MusicEncoder) -> None:
    channels = np.stack([samples, np.zeros_like(samples)])
    expected = model.embed(channels, RATE)
    np.testing.assert_array_equal(model.embed((channels.T, RATE)), expected)
    np.testing.assert_array_equal(model.embed([(channels.T, RATE)]), [expected])
    np.testing.assert_array_equal(model.embed((channels, RATE)), expected)
    np.testing.assert_array_equal(model.embed((channels, RATE), channel_axis=0), expected)
    for few in (channels[:, :8].T, np.zeros((100, 9))):  # which of the two is which?
        with pytest.raises(AudioError, match="channel_axis=1"):
            model.embed((few, RATE))


@pytest.mark.parametrize("number", [np.array, torch.tensor, np.int64])
def test_the_rate_of_a_pair_may_be_an_array_without_dimensions(
    number: Any, samples: np.ndarray, expected: np.ndarray, model: MusicEncoder
) -> None:
    np.testing.assert_allclose(model.embed((samples, number(RATE))), expected, atol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "meanstd"])
def test_nothing_in_nothing_out(pooling: str, model: MusicEncoder) -> None:
    options: dict[str, Any] = {"pooling": pooling, "layer": [0, 1]}
    dim = model.embed(np.zeros(RATE), RATE, **options).shape[0]
    nothing: list[Any] = [[], (), iter([]), np.array([], dtype=str)]
    for none in nothing:
        found = model.embed(none, **options)
        assert found.shape == (0, dim) and found.dtype == np.float32
    assert model.embed([], level="frame") == []


def test_sampling_rate_is_another_name_of_sr(samples: np.ndarray, model: MusicEncoder) -> None:
    expected = model.embed(samples, 16_000)
    np.testing.assert_array_equal(model.embed(samples, sampling_rate=16_000), expected)
    np.testing.assert_array_equal(
        musicssl.get_embedding(samples, sampling_rate=16_000, model=model), expected
    )
    with pytest.raises(AudioError, match="two names of the same"):
        model.embed(samples, 16_000, sampling_rate=16_000)


def test_rates_must_agree(samples: np.ndarray, model: MusicEncoder) -> None:
    pair = (samples, RATE)
    np.testing.assert_array_equal(model.embed(pair, RATE), model.embed(pair))
    for wrong in (pair, {"array": samples, "sampling_rate": RATE}):
        with pytest.raises(AudioError, match="sr is 16000, but the audio comes with the rate"):
            model.embed(wrong, 16_000)
    with pytest.raises(AudioError, match=r"audio\[1\]: sr is 16000"):
        model.embed([pair, pair], [None, 16_000])


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ({}, "a dict of nothing; expected 'array' and 'sampling_rate'"),
        ({"array": [0.0]}, "a dict of 'array'"),
        ({"bytes": None, "path": None}, "a dict of 'bytes': None, 'path': None"),
        ({"bytes": "text"}, r"audio\['bytes'\] must be bytes"),
        ({"array": [[0.0], [0.0, 0.1]], "sampling_rate": RATE}, r"audio\['array'\] is no array"),
        ((np.zeros(9), np.zeros(2)), "audio"),
        (range(9), "a list of numbers"),
        ([0.1, 0.2], "a list of numbers"),
        (iter([0.1, 0.2]), "a list of numbers"),
        (b"", "holds 0 bytes"),
        ((np.zeros(9), True), "audio"),
        ((np.zeros(9), "22050"), "audio"),
    ],
)
def test_what_has_no_audio_is_refused(audio: Any, message: str, model: MusicEncoder) -> None:
    with pytest.raises(AudioError, match=message):
        model.embed(audio)


@pytest.mark.parametrize(
    ("offset", "duration"), [(0.0, None), (0.25, None), (0.0, 0.5), (0.25, 0.5), (0.5, 99.0)]
)
def test_a_part_is_as_if_it_were_all(
    offset: float, duration: float | None, file: Path, samples: np.ndarray, model: MusicEncoder
) -> None:
    start = round(offset * RATE)
    stop = None if duration is None else start + round(duration * RATE)
    expected = model.embed(samples[start:stop], RATE, level="frame")
    part = model.embed(file, level="frame", offset=offset, duration=duration)
    np.testing.assert_allclose(part.values, expected.values, atol=1e-4)
    two = model.embed([file, (samples, RATE)], offset=offset, duration=duration)
    np.testing.assert_allclose(two, [expected.values.mean(0)] * 2, atol=1e-4)


def test_parts_cross_the_blocks_that_files_are_read_in(tmp_path: Path, model: MusicEncoder) -> None:
    long = noise(tmp_path / "long.wav", seconds=25.0)
    samples = soundfile.read(long, dtype="float32")[0]
    part = model.embed(long, offset=9.5, duration=11.0)
    expected = model.embed(samples[round(9.5 * RATE) : round(20.5 * RATE)], RATE)
    np.testing.assert_allclose(part, expected, atol=1e-5)


def test_parts_that_are_none_are_refused(file: Path, model: MusicEncoder) -> None:
    with pytest.raises(AudioError, match=r"offset is 1 s, but the audio lasts 1\.000 s"):
        model.embed(file, offset=1.0)
    wrong: list[dict[str, Any]] = [
        {"offset": -0.1},
        {"offset": None},
        {"offset": "1"},
        {"duration": 0},
        {"duration": float("nan")},
        {"duration": True},
    ]
    for choices in wrong:
        with pytest.raises(AudioError, match="must be a number of seconds"):
            model.embed(file, **choices)


def test_unknown_keywords_name_what_is_meant(file: Path, model: MusicEncoder) -> None:
    with pytest.raises(ConfigError, match=r"no parameter 'ofset'\. Did you mean 'offset'"):
        model.embed(file, ofset=1.0)  # type: ignore[call-overload]
