"""Every parameter of the public calls against what it may be and what it may not."""

import inspect
import math
import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import musicssl
from musicssl import hear
from musicssl.encoders import State
from musicssl.errors import AudioError, MusicSSLError, shown
from musicssl.inference.options import EmbedOptions, Settings
from musicssl.model import MusicEncoder

RATE = 22_050
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(2_000) / RATE)).astype(np.float32)


class Spiteful:
    """Raises whatever is asked of it."""

    def _raise(self, *_: object) -> Any:
        raise RuntimeError("no answer")

    __repr__ = __str__ = __len__ = __iter__ = __bool__ = __eq__ = __hash__ = _raise  # type: ignore[assignment]
    __float__ = __index__ = __fspath__ = __getitem__ = __array__ = _raise


class Endless(list[int]):
    """A list without an end."""

    def __iter__(self) -> Iterator[int]:
        return count()


def ids(value: object) -> str:
    return re.sub(" at 0x[0-9a-f]+", "", shown(value))[:40]  # the same in every process of tests


# fmt: off
META = torch.zeros((), device="meta")
# what no parameter of any kind can be
NOTHING = [object(), Spiteful(), 1j, {"a": 1}, b"mean", Ellipsis, print, np.zeros((2, 2)), META]
NO_TEXT = [
    *NOTHING, 0, 1, 2.5, True, math.nan, [], ["mean"], ("mean",), {"mean"}, np.array("mean"),
]
NO_CHOICE = [*NO_TEXT, "", "Mean", "\0", "x" * 10_000, "mean "]
NO_NUMBER = [
    *NOTHING, "", "2", "inf", [], [2], (2,), range(2), {2}, math.nan, True, np.bool_(True),
    np.array([2]), np.array("2"), np.array(2, object), np.complex64(2), np.datetime64(2, "s"),
    torch.tensor(True), torch.tensor([2]), torch.tensor(2j), Decimal("NaN"),
]
NOT_POSITIVE = [
    0, 0.0, -0.0, -1, -math.inf, np.float32(-1), np.array(0), -(10**400), torch.tensor(-1),
]
NO_COUNT = [
    *NO_NUMBER, *NOT_POSITIVE, 1e-9, 1.5, 2.0, np.float64(2), math.inf, torch.tensor(2.0),
]
LISTS = (list, tuple, range)
NO_LAYERS = [
    *(x for x in NO_NUMBER if not isinstance(x, LISTS) and getattr(x, "ndim", 0) != 1),
    0.0, 1.0, "first", "-1", [], (), [0, 1.5], [True], [[0]], ["0"], {0: 1}, {0, 1}, frozenset({0}),
    np.array([0.0]), np.array([[0]]), np.array([], int), np.array("all"), np.array(0, object),
    np.array([True]), torch.tensor([0.5]), b"\0", bytearray(b"\0"), [0] * 10_000, Endless(),
]
NO_LAYER = [*NO_LAYERS, 99, -99, 2**63, 10**30, [0, 99]]
NO_DEVICE = [
    *NOTHING, None, 0, 1, True, "", "\0", "x" * 1000, ["cpu"], "gpu", "CPU", "cpu:5", "cpu:-1",
    "cuda:", "cuda:x", "cuda:-1", "cuda:99", "cuda:99999999999999999999", "meta", "xpu", "hpu",
    "vulkan", "xla", "mps:7", "privateuseone",
    torch.device("meta"), torch.device("cpu:5"), torch.device("xpu"),
]
NO_DTYPE = [
    *NO_TEXT, None, "", "double", "float64", torch.float64, torch.int8, torch.complex64, np.float32,
]
NO_MODEL = [
    *NOTHING, 0, True, math.nan, [], {"weight": META}, torch.nn.Linear(1, 1), MusicEncoder, os,
    "", "\0", "a\0b", "no-such-model", "./no/such/folder", "x" * 300, "~nobody-at-all/model",
    Path("musicssl-small"), Path("a\0b"),
]
NO_FLAG = [*NOTHING, None, 0, 1, "yes", "", [], np.bool_(True)]
NO_PATH = [*NOTHING, 0, True, "", "\0", [], [Path("a")], Path("a\0b")]
NO_AUDIO = [
    *(x for x in NOTHING if not isinstance(x, np.ndarray)), None, 0, 2.5, True, 10**400,
    "", "\0", "no-such.wav", Path("no-such.wav"), np.array("no.wav"), np.array(["no.wav"]),
    [[]], [None], [0.1, 0.2], [TONE, None], [[TONE]], [TONE, "no.wav"], (TONE, 2 * RATE),
    set(), {"array": TONE}, TONE.tolist(),
    memoryview(TONE), bytes(8), TONE > 0, TONE * 1e9, TONE[:0], TONE[0], TONE[None, None],
    *(TONE.astype(kind) for kind in (object, complex, "U", np.int64, np.uint16)),
    *(np.zeros(shape) for shape in ((0, 0), (0, 9), (9, 0), (9, 2000), (16, 8), (1, 1, 9))),
    *(np.zeros(9, kind) for kind in ("M8[s]", "V4", [("left", "f4")])), np.full(9, math.nan),
    np.ma.masked_array(TONE, TONE > 0), np.rec.fromarrays([TONE], names="left"),
    *(torch.zeros(9, dtype=kind) for kind in (torch.bool, torch.int64, torch.complex64)),
    *(torch.zeros(shape) for shape in ((), (0,), (12, 99), (2, 2, 2))),
    torch.zeros(9, device="meta"), torch.zeros(9, dtype=torch.complex64).conj(),
    torch.zeros(9).to_sparse(), torch.zeros(9).to(torch.float8_e5m2),
    FakeTensorMode().from_tensor(torch.zeros(9)),
    torch.nested.nested_tensor([torch.zeros(9)], layout=torch.jagged),
]
NO_RATE = [
    *NO_NUMBER, *NOT_POSITIVE, math.inf, 44.1, 44_100.5, 999, 1_000_001, 10**400,
    [RATE], (RATE, RATE), np.array([RATE]), torch.tensor([RATE]),
]
NO_BATCH = [
    *NOTHING, None, TONE, [TONE], "a.wav",
    *(torch.zeros(shape) for shape in ((9,), (1, 0), (0, 9), (1, 1, 9))),
    *(torch.zeros(1, 9, dtype=kind) for kind in (torch.int16, torch.bool, torch.complex64)),
    torch.zeros(1, 9, device="meta"),
]
NO_SAMPLES = [
    *NOTHING, 2, [2], np.array([2]),
    *map(torch.tensor, (2, [2, 2], [2.0], [True], [[2]], [2j])),
]

EMBEDDING: dict[str, list[Any]] = {
    "level": [*NO_CHOICE, None, "mean", "clips"],
    "pooling": [*NO_CHOICE, "median", "frame"],
    "layer": NO_LAYER,
    "dtype": NO_DTYPE,
    "chunk_seconds": [*NO_NUMBER, *NOT_POSITIVE, 1e-300, 1e-5, 0.03],
}
SOUND: dict[str, list[Any]] = {
    "batch_size": NO_COUNT,
    "resampler": [*NO_CHOICE, None, "soxr_hq", "linear"],
    "channel_axis": [*NO_NUMBER, 2, -3, 0.0, 1.0, "first", 10**30],
    "mono": [*NO_CHOICE, None, "sum"],
    "sr": NO_RATE,
    "layr": [3],
    "sampling_rate": [RATE],
}
LOADING: dict[str, list[Any]] = {
    "model": NO_MODEL,
    "revision": [*NO_TEXT, "", "a\0b", "main"],  # of a folder there is none
    "cache_dir": NO_PATH,
    "local_files_only": NO_FLAG,
}
TOKEN: dict[str, list[Any]] = {"token": [*NOTHING, 0, 2.5, [], ["hf_"]]}
SECONDS: dict[str, list[Any]] = {"batch_seconds": [*NO_NUMBER, *NOT_POSITIVE]}
NO_FLAG = [1, "yes", None, []]
WRONG: dict[str, dict[str, list[Any]]] = {
    "embed": {"audio": NO_AUDIO, **EMBEDDING, **SECONDS, **SOUND},
    "get_embedding": {
        "audio": NO_AUDIO, **EMBEDDING, **SOUND,
        "model": NO_MODEL, "revision": LOADING["revision"], "device": NO_DEVICE,
    },
    "embed_folder": {
        **EMBEDDING, **SECONDS, **LOADING, "device": NO_DEVICE, "resampler": SOUND["resampler"],
        "paths": [None, 5, 2.0, True, b"a.wav", object(), [5], [None], ["a.wav", 5], {"a.wav": 1}],
        "out": [*NO_PATH, None, 5, "\ud800"],
        "format": NO_CHOICE, "on_error": [*NO_CHOICE, None], "mono": [*NO_CHOICE, None],
        "jobs": NO_COUNT,
        "shard": ["1/2", 1, (1,), (1, 2, 3), (0, 2), (3, 2), (1.5, 2), (True, 2), object(), {}],
        "extensions": [None, 5, ".wav", b".wav", [5], [None], [""]],
        "on_file": [5, "print", object()],
        "overwrite": NO_FLAG, "replace_foreign": NO_FLAG, "prune": NO_FLAG, "dry_run": NO_FLAG,
    },
    "resolve": {**EMBEDDING, **SECONDS, "batch_size": NO_COUNT},
    "forward": {"audio": NO_BATCH, "samples": NO_SAMPLES, "layer": NO_LAYER},
    "resume": {
        "audio": NO_BATCH, "samples": NO_SAMPLES, "layer": NO_LAYER,
        "state": [*NOTHING, 0, True, "", None, torch.zeros(1)],
    },
    "pick_layers": {"layer": NO_LAYER},
    "save_pretrained": {
        "folder": [*NO_PATH, None, Path(__file__)], "dtype": [*NO_CHOICE, "bf16", None],
    },
    "load_model": {**LOADING, **TOKEN, "device": NO_DEVICE, "dtype": NO_DTYPE},
    "from_pretrained": LOADING | TOKEN,
    "MusicEncoder": {"config": [*NOTHING, None, 0, "musicssl-small", {"encoder": {}}]},
    "Settings": {
        "pooling": [*NO_CHOICE, None],
        "layers": NO_LAYERS,
        "dtype": [*NOTHING, None, "fp32", torch.float64, 0],
        "chunk_seconds": [*NO_NUMBER, *NOT_POSITIVE, None],
        "batch_seconds": [*NO_NUMBER, *NOT_POSITIVE, None],
        "batch_size": [*NO_COUNT, None],
    },
    "frame_times": {
        "n_frames": [*NO_NUMBER, None, -1, 1.5, 2.0, math.inf, 10**9 + 1, 10**30],
        "hop": [*NO_COUNT, None, 10**7],
        "sample_rate": [*NO_NUMBER, *NOT_POSITIVE, None, math.inf],
        "first": [*NO_NUMBER, None, -1, 1.5, 10**30],
    },
    "hear.load_model": {
        "model_file_path": [x for x in NO_MODEL if not (isinstance(x, str) and x == "")],
    },
    "hear.get_scene_embeddings": {
        "audio": [x for x in NO_BATCH if getattr(x, "dtype", None) is not torch.int16],
        "model": [*NOTHING, None, "musicssl-small", torch.nn.Linear(1, 1)],
    },
    "hear.get_timestamp_embeddings": {
        "audio": [*NOTHING, None, torch.zeros(9), torch.full((1, 9), math.nan)],
        "model": [*NOTHING, None],
    },
}
# fmt: on
UNNAMED = ("audio", "model", "model_file_path", "config", "layr", "sampling_rate", "state")
CASES = [
    pytest.param(function, parameter, value, id=f"{function}-{parameter}-{i}-{ids(value)}")
    for function, parameters in WRONG.items()
    for parameter, values in parameters.items()
    for i, value in enumerate(values)
]


@pytest.fixture(scope="module")
def calls(
    model: MusicEncoder, tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Callable[..., Any]]:
    """The public functions, with right values for all that they need."""
    folder = tmp_path_factory.mktemp("calls")
    sf.write(folder / "a.wav", TONE, RATE)
    batch = torch.from_numpy(TONE)[None]
    start = State(torch.tensor([0]), torch.tensor([1]), torch.zeros(1, 0))
    sounds = {"audio": batch, "model": hear.load_model(str(tiny_model_folder))}
    tiny: dict[str, Any] = {"model": tiny_model_folder}
    return {
        "embed": partial(model.embed, audio=TONE, sr=RATE),
        "get_embedding": partial(musicssl.get_embedding, audio=TONE, sr=RATE, **tiny),
        "resolve": lambda **given: EmbedOptions(**given).resolve(model),
        "forward": partial(model, audio=batch),
        "resume": partial(model.resume, audio=batch, samples=None, state=start),
        "pick_layers": partial(model.pick_layers, layer=0),
        "save_pretrained": partial(model.save_pretrained, folder=folder / "saved"),
        "load_model": partial(musicssl.load_model, **tiny, device="cpu"),
        "from_pretrained": partial(MusicEncoder.from_pretrained, **tiny),
        "MusicEncoder": partial(MusicEncoder, config=model.config),
        "Settings": partial(Settings, pooling="mean", layers=(0,)),
        "frame_times": partial(musicssl.frame_times, n_frames=2, hop=441, sample_rate=RATE),
        "hear.load_model": partial(hear.load_model, model_file_path=str(tiny_model_folder)),
        "hear.get_scene_embeddings": partial(hear.get_scene_embeddings, **sounds),
        "hear.get_timestamp_embeddings": partial(hear.get_timestamp_embeddings, **sounds),
        "embed_folder": partial(
            musicssl.embed_folder, paths=folder / "a.wav", out=folder / "out", device="cpu", **tiny
        ),
    }


@pytest.mark.parametrize(("function", "parameter", "value"), CASES)
def test_wrong(
    calls: dict[str, Callable[..., Any]], function: str, parameter: str, value: Any
) -> None:
    with pytest.raises(MusicSSLError) as caught:
        calls[function](**{parameter: value})
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 600
    if parameter not in UNNAMED and not isinstance(value, Path):
        assert parameter.removesuffix("s") in message


@pytest.mark.parametrize("function", WRONG)
def test_the_calls_are_right_otherwise(calls: dict[str, Callable[..., Any]], function: str) -> None:
    calls[function]()


RIGHT: dict[str, list[tuple[Any, Any]]] = {  # other forms of what stands second
    "level": [(np.str_("frame"), "frame")],
    "pooling": [(None, "mean"), (np.str_("max"), "max")],
    "layer": [
        *((form(1), 1) for form in (np.int64, np.uint8, np.array, torch.tensor)),
        *((form([2, 0]), [2, 0]) for form in (tuple, np.array, torch.tensor, iter, deque)),
        *((range(3), "all"), (-1, 2), (None, 2), ("auto", 2), ([np.int8(-2)], 1)),
    ],
    "dtype": [(x, "fp32") for x in ("auto", "float32", torch.float32, np.str_("fp32"))],
    "batch_size": [(form(1), 1) for form in (np.int64, np.array, torch.tensor)] + [(10**30, None)],
    "batch_seconds": [
        *((form(0.5), 0.5) for form in (np.float16, np.array, torch.tensor, Fraction, Decimal)),
        *((1e-300, None), (math.inf, None), (1.7e308, None), (np.int8(3), 3), (True + 1, 2)),
    ],
    "chunk_seconds": [
        *((form(0.5), 0.5) for form in (np.float32, np.array, torch.tensor, Fraction, Decimal)),
        *(
            (0.04, None),
            (math.inf, None),
            (np.float64("inf"), None),
            (1.7e308, None),
            (10**400, None),
        ),
    ],
    "resampler": [(np.str_("soxr"), "soxr")],
    "mono": [(np.str_("mean"), "mean"), ("left", "mean"), ("right", "mean")],
    "channel_axis": [(None, 0), (np.int64(-1), -1), (torch.tensor(-2), -2)],
    "sr": [
        (form(RATE), RATE)
        for form in (float, np.int32, np.float32, np.array, torch.tensor, Fraction, Decimal)
    ],
}


@pytest.mark.parametrize(
    ("parameter", "value", "plain"),
    [
        pytest.param(name, *pair, id=f"{name}-{i}-{ids(pair[0])}")
        for name, pairs in RIGHT.items()
        for i, pair in enumerate(pairs)
    ],
)
def test_right(model: MusicEncoder, parameter: str, value: Any, plain: Any) -> None:
    usual = {"sr": RATE, "level": "frame" if parameter == "level" else "clip"}
    (got, *_), (expected, *_) = (
        model.embed([TONE], **(usual | {parameter: x})) for x in (value, plain)
    )
    np.testing.assert_allclose(got[0], expected[0], atol=1e-5)


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor, lambda x: np.array(x, "f4")])
def test_rates_in_any_list(model: MusicEncoder, form: Callable[[Any], Any]) -> None:
    expected = model.embed([TONE, TONE], [RATE, 44_100])
    assert np.array_equal(model.embed([TONE, TONE], form([RATE, 44_100])), expected)
    with pytest.raises(MusicSSLError, match="sr is a list of 2 rates for one sound"):
        model.embed(TONE, form([RATE, RATE]))
    with pytest.raises(MusicSSLError, match="1 sample rates for 2 sounds"):
        model.embed([TONE, TONE], form([RATE]))


@pytest.mark.parametrize("wrong", [True, "22050", -1, math.nan, [RATE], 44.1])
def test_a_wrong_rate_in_a_list_is_named(model: MusicEncoder, wrong: Any) -> None:
    with pytest.raises(MusicSSLError, match=r"\[1\]"):
        model.embed([TONE, TONE], [RATE, wrong])


def test_one_rate_means_the_same_for_a_file_alone_and_in_a_list(
    model: MusicEncoder, tmp_path: Path
) -> None:
    file = tmp_path / "a.wav"
    sf.write(file, TONE, RATE, subtype="FLOAT")
    expected = model.embed(TONE, RATE)
    assert np.array_equal(model.embed(file, RATE), expected)
    for rate in (RATE, [None, RATE], (RATE, RATE)):
        together = model.embed([file, TONE], rate)
        np.testing.assert_allclose(together, [expected, expected], atol=1e-5)
    for audio in (file, [file], [TONE, file]):
        with pytest.raises(MusicSSLError, match=r"sr=44100 was given, but the file says 22050"):
            model.embed(audio, 44_100)


def test_unknown_keywords_name_the_nearest(model: MusicEncoder) -> None:
    for function in (model.embed, partial(musicssl.get_embedding, model=model)):
        for name, meant in (
            *(
                ("layr", "layer"),
                ("layers", "layer"),
                ("pool", "pooling"),
                ("chunksize", "chunk_seconds"),
            ),
            *(
                ("sample_rate", "sr"),
                ("fs", "sr"),
                ("batchsize", "batch_size"),
                ("monos", "mono"),
            ),
        ):
            with pytest.raises(
                MusicSSLError, match=f"no parameter '{name}'. Did you mean '{meant}'"
            ):
                function(TONE, RATE, **{name: 1})
        with pytest.raises(MusicSSLError, match=r"has no parameter 'zzz'\.$"):
            function(TONE, RATE, zzz=1)


@pytest.mark.parametrize("name", ["y", "waveform", "audi", "file"])
def test_audio_by_another_name_is_told(name: str, model: MusicEncoder) -> None:
    for function in (model.embed, partial(musicssl.get_embedding, model=model)):
        with pytest.raises(MusicSSLError, match=f"no parameter '{name}'. Did you mean 'audio'"):
            function(**{name: TONE}, sr=RATE)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        ("", "^the path is empty; expected that of a file"),
        ([TONE, ""], r"audio\[1\]: the path is empty"),
        ({"a.wav"}, r"audio \(set\): expected a path.*; pass several as a list"),
        ({"a": "a.wav"}.values(), r"audio \(dict_values\): .*; pass several as a list"),
        (5, r"or torch tensor\.$"),
    ],
)
def test_what_is_no_sound_is_told_with_what_would_be(
    audio: Any, message: str, model: MusicEncoder
) -> None:
    with pytest.raises(AudioError, match=message):
        model.embed(audio, [RATE, None] if isinstance(audio, list) else None)


def test_an_open_sound_file_is_no_binary_file(model: MusicEncoder, tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", TONE, RATE)
    with sf.SoundFile(tmp_path / "a.wav") as file:
        with pytest.raises(AudioError, match=r"not bytes. Pass the path, or the samples with"):
            model.embed(file)
        expected = model.embed(tmp_path / "a.wav")
        file.seek(0)
        np.testing.assert_allclose(model.embed((file.read(), file.samplerate)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda **k: musicssl.embed_folder(".", **k), "embed_folder has no parameter 'windw'"),
        (lambda **k: musicssl.load_embeddings(".", **k), "load_embeddings has no parameter"),
        (lambda **k: musicssl.pool(None, [0, 1], **k), "pool has no parameter 'windw'"),
        (lambda **k: musicssl.Index([[1.0]], ["a"], **k), "Index has no parameter 'windw'"),
        (lambda **k: musicssl.Index.load(".", **k), "Index.load has no parameter 'windw'"),
        (lambda **k: musicssl.Index.from_folder(".", **k), "Index.from_folder has no parameter"),
        (lambda **k: musicssl.Stream(None, 16_000, **k), "Stream has no parameter 'windw'"),
    ],
)
def test_unknown_keywords_everywhere(call: Any, message: str) -> None:
    with pytest.raises(MusicSSLError, match=message):
        call(windw=1)
    with pytest.raises(MusicSSLError, match=r"no parameter 'windw'. Did you mean 'window'"):
        musicssl.embed_folder(".", windw=1)  # type: ignore[call-arg]


def test_embed_offers_what_get_embedding_offers() -> None:
    one, other = (
        dict(inspect.signature(f).parameters) for f in (musicssl.get_embedding, MusicEncoder.embed)
    )
    for name in set(one) - {"model", "revision", "device", "unknown"}:
        assert (other[name].default, other[name].annotation) == (
            one[name].default,
            one[name].annotation,
        )


def test_a_token_is_never_shown(tiny_model_folder: Path) -> None:
    with pytest.raises(MusicSSLError) as caught:
        musicssl.load_model(tiny_model_folder, token=["hf_secret"])
    assert "hf_secret" not in str(caught.value)
