"""Folders that want memory, time or code: each is one line of ModelError, quickly and cheaply.

All are loaded by one process, which may take little more memory than the true model does.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import musicssl
from musicssl.errors import ModelError

resource = pytest.importorskip("resource", reason="needs limits on memory")

MEGABYTES = 400  # above what the process takes before
SECONDS = 20  # for one folder, and the machine may be busy
Change = Callable[[Path], None]
Header = dict[str, Any]


class Skip(Exception):
    """This machine cannot make such a folder."""


# changes of config.json


def raw(data: bytes) -> Change:
    return lambda folder: (folder / "config.json").write_bytes(data) and None


def encoder(key: str, value: str) -> Change:
    """Give a key of the encoder (or ``spectrum.key``) a value, written as it stands."""

    def change(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text())
        inner = config["encoder"]
        *above, last = key.split(".")
        for name in above:
            inner = inner[name]
        inner[last] = "@@"
        path.write_text(json.dumps(config).replace('"@@"', value))

    return change


def top(**values: Any) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def other(name: str, **shape: Any) -> Change:
    """Ask for another encoder than the weights are of."""
    return top(encoder={"name": name} | shape)


def pasted(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


NUMBERS = {
    **{"-1": "-1", "0": "0", "100001": "100001", "10**9": str(10**9), "2**63": str(2**63)},
    **{"1e400": "1e400", "NaN": "NaN", "-Infinity": "-Infinity", "null": "null", "string": '"8"'},
    **{"true": "true", "3.5": "3.5", "[]": "[]", "{}": "{}", "5000 digits": "9" * 5000},
}
CONFIGS: dict[str, Change] = {
    f"{key} = {name}": encoder(key, value)
    for key in ("dim", "inner", "kernel", "mel_channels", "spectrum.hop", "spectrum.pitch_fft")
    for name, value in NUMBERS.items()
    if (key, name) != ("spectrum.hop", "100001")
}
CONFIGS |= {
    f"{key} = {value}"[:60]: encoder(key, value)
    for key, value in [
        ("spectrum.sample_rate", "0"),
        ("spectrum.sample_rate", "1e9"),
        ("spectrum.pitch_low", "0"),
        ("spectrum.pitch_low", "-1e300"),
        ("spectrum.pitch_low", "1e-320"),
        ("spectrum.pitch_octaves", "1000000"),
        ("spectrum.pitch_bands_per_octave", "1000000000"),
        ("spectrum.mels", "1000000000"),
        ("spectrum.mels", "1000000000000000000000"),
        ("spectrum.knee", "0"),
        ("spectrum.knee", "-1e-6"),
        ("spectrum", "5"),
        ("spectrum", "null"),
        ("pitch_channels", "[1000000000, 1000000000]"),
        ("pitch_channels", "[2]"),
        ("pitch_channels", "[2, [2]]"),
        ("pitch_channels", "8"),
        ("dilations", "[]"),
        ("dilations", "[0]"),
        ("dilations", "[1000000000]"),
        ("dilations", f"{[1] * 300}"),
        ("dilations", str([16_384] * 255)),
        ("name", "[]"),
        ("name", "{}"),
        ("name", "null"),
        ("name", '"__class__"'),
        ("name", '"' + "d" * 900_000 + '"'),
        ("name", '"dilated\\n\\u001b[31mred"'),
        ("dim\\u0000", "5"),
        ("x" * 100_000, "5"),
        ("__post_init__", "5"),
    ]
}
CONFIGS |= {
    "dilations of a third of a million": encoder("dilations", f"{[1] * 300_000}"),
    "large within the limits": other(
        "dilated", dim=32_768, inner=32_768, mel_channels=32_768, dilations=[1] * 255
    ),
    "a large filter bank": other(
        "dilated", spectrum={"pitch_fft": 65_536, "pitch_bands_per_octave": 256, "mels": 1024}
    ),
    "pase without end": other("pase", channels=[2] * 33, kernels=[9] * 33, strides=[1] + [2] * 32),
    "pase of long strides": other(
        "pase", channels=[2] * 9, kernels=[30_000] * 9, strides=[1] + [15_000] * 8
    ),
    "pase with gaps": other("pase", channels=[4, 4], kernels=[3, 3], strides=[1, 9]),
    "pase of even sincs": other("pase", channels=[4, 4], kernels=[4, 4], strides=[1, 1]),
    "pase without blocks": other("pase", channels=[], kernels=[], strides=[]),
    "pase_plus of width -1": other("pase_plus", hidden=-1),
    "attention of a wide window": other("pase_attention", window=10**9),
    "attention of no heads": other("pase_attention", heads=0),
    "attention of many angles": other(
        "pase_attention", hidden=32_768, heads=1, window=4096, attention_layers=64
    ),
    "another encoder": other("pase"),
    "layer of a million zeros": top(layer=[0] * 330_000),
    "layer of many": top(layer=[0] * 300),
    "layer that is not there": top(layer=[100]),
    "layer far away": top(layer=[-(2**70)]),
    "no layer": top(layer=[]),
    "layer in layers": top(layer=[[[0]]]),
    "layer of true": top(layer=[True]),
    "pooling of a list": top(pooling=["mean"]),
    "pooling of null": top(pooling=None),
    "long pooling": top(pooling="mean" * 200_000),
    "format as true": top(format=True),
    "format as a float": top(format=1.0),
    "format of a list": top(format=[1]),
    "no encoder": top(encoder=None),
    "an unknown key of many lines": top(**{"a\nb": 1}),
    "a key twice": pasted('"format": 1,', '"format": 1, "format": 1,'),
    "a key of the encoder twice": pasted('"dim": 16,', '"dim": 16, "dim": 16,'),
    "a number": raw(b"5"),
    "null": raw(b"null"),
    "a string": raw(b'"format"'),
    "a list": raw(b"[]"),
    "nothing": raw(b""),
    "spaces": raw(b" " * 999_999),
    "half": raw(b'{"format": 1, "enc'),
    "deep lists": raw(b"[" * 100_000),
    "deep mappings": raw(b'{"encoder":' * 90_000),
    "deep and whole": raw(b"[" * 900 + b"]" * 900),
    "deep in the encoder": encoder("dim", "[" * 700 + "]" * 700),
    "not UTF-8": raw(b'{"format": "\xff\xfe"}'),
    "UTF-16": raw('{"format": 1}'.encode("utf-16")),
    "a byte order mark": raw(b"\xef\xbb\xbf" + b'{"format": 1}'),
    "a lone surrogate": raw(b'{"format": 1, "\\ud800": 1}'),
    "NUL bytes": raw(bytes(1000)),
    "a pickle": raw(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system."),
}


# changes of model.safetensors


def read(folder: Path) -> tuple[Header, bytes]:
    data = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write(folder: Path, header: Header | bytes, data: bytes, length: int | None = None) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    (folder / "model.safetensors").write_bytes(length.to_bytes(8, "little") + text + data)


def entry(**changes: Any) -> Change:
    """Change what the header says of the first tensor in the file."""

    def change(folder: Path) -> None:
        header, data = read(folder)
        first = min((k for k in header if k != "__metadata__"), key=lambda k: offsets(header, k))
        header[first] |= changes
        write(folder, header, data)

    return change


def offsets(header: Header, name: str) -> list[int]:
    return header[name]["data_offsets"]


def weights(dtype: str, size: int, name: str = "") -> Change:
    """Give one tensor, or all, another kind of numbers, and so many bytes a number."""

    def change(folder: Path) -> None:
        header, at = {}, 0
        for key, value in read(folder)[0].items():
            if key != "__metadata__":
                kind, width = (dtype, size) if name in ("", key) else ("F16", 2)
                count = (value["data_offsets"][1] - value["data_offsets"][0]) // 2
                span = [at, at + count * width]
                header[key], at = value | {"dtype": kind, "data_offsets": span}, span[1]
        write(folder, header, bytes(at))

    return change


def header(**changes: Any) -> Change:
    def change(folder: Path) -> None:
        values, data = read(folder)
        write(folder, {k: v for k, v in (values | changes).items() if v is not None}, data)

    return change


def filled(pattern: bytes) -> Change:
    def change(folder: Path) -> None:
        values, data = read(folder)
        write(folder, values, pattern * (len(data) // len(pattern)))

    return change


def cut(count: int) -> Change:
    return lambda folder: os.truncate(
        folder / "model.safetensors", (folder / "model.safetensors").stat().st_size + count
    )


def text(data: bytes, length: int | None = None) -> Change:
    return lambda folder: write(folder, data, b"", length)


def sparse(folder: Path) -> None:
    """20 GB that take no room, which a header describes rightly."""
    size = 20 * 10**9
    values = {"x": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}
    write(folder, values, b"")
    os.truncate(folder / "model.safetensors", (folder / "model.safetensors").stat().st_size + size)


def many(folder: Path) -> None:
    """As many empty tensors as a header can hold."""
    values = {f"{i}": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]} for i in range(15_000)}
    write(folder, values, b"")


def pointer(folder: Path) -> None:
    """What a clone holds where Git LFS is not installed."""
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 7000000\n"
    (folder / "model.safetensors").write_text(text)


WEIGHTS: dict[str, Change] = {
    "a header of 2**63 bytes": text(b"{}", 2**63),
    "a header of 2**64 - 1 bytes": text(b"{}", 2**64 - 1),
    "a header of more than the file": text(b"{}", 1000),
    "a header of 100 MB": text(b" " * 100_000_000),
    "a header of half its length": text(b'{"a": {}}', 4),
    "no header": text(b""),
    "an empty file": lambda folder: (folder / "model.safetensors").write_bytes(b"") and None,
    "seven bytes": lambda folder: (folder / "model.safetensors").write_bytes(bytes(7)) and None,
    "a header of NULs": text(bytes(1000)),
    "a deep header": text(b'{"a":' * 100_000),
    "a header that is a list": text(b"[]"),
    "a header that is not UTF-8": text(b'{"\xff": 1}'),
    "a pickle of torch": text(b"PK\x03\x04 archive/data.pkl"),
    "HTML": lambda folder: (folder / "model.safetensors").write_bytes(b"<html>" * 99) and None,
    "a pointer of Git LFS": lambda folder: pointer(folder),
    "no tensors": text(b"{}"),
    "20 GB of nothing": sparse,
    "very many tensors": many,
    "one byte less": cut(-1),
    "half": cut(-5000),
    "one byte more": cut(1),
    "100 MB more": cut(100_000_000),
    "dtype of a list": entry(dtype=[]),
    "an unknown dtype": entry(dtype="F4"),
    "a dtype of many lines": entry(dtype="F16\nF16"),
    "no shape": entry(shape=None),
    "a negative shape": entry(shape=[-1]),
    "a shape of floats": entry(shape=[1.0]),
    "a shape of true": entry(shape=[True]),
    "a shape of 2**62": entry(shape=[2**62]),
    "a shape beyond 64 bits": entry(shape=[2**40] * 3),
    "a shape of a thousand axes": entry(shape=[1] * 1000),
    "a shape that is not the encoder's": entry(shape=[1]),
    "offsets that are turned": entry(data_offsets=[64, 0]),
    "negative offsets": entry(data_offsets=[-64, 0]),
    "offsets beyond the file": entry(data_offsets=[0, 2**40]),
    "three offsets": entry(data_offsets=[0, 1, 2]),
    "offsets that are strings": entry(data_offsets=["0", "2"]),
    "offsets of another's": entry(data_offsets=[2, 34]),
    "one key too many": entry(code="import os"),
    "an entry that is a number": header(centre=5),
    "a tensor is missing": header(centre=None),
    "a tensor too many": header(more={"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}),
    "a name of many lines": header(
        **{"a\nb": {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}}
    ),
    "a name of 100 kB": header(
        **{"n" * 100_000: {"dtype": "F16", "shape": [0], "data_offsets": [0, 0]}}
    ),
    "NaN": filled(b"\x00\x7e"),
    "infinity": filled(b"\x00\x7c"),
    "int8": weights("I8", 1),
    "bool": weights("BOOL", 1),
    "int64": weights("I64", 8),
    "float64": weights("F64", 8),
    "complex64": weights("C64", 8),
    "float8": weights("F8_E4M3", 1),
    "float8 of the other kind": weights("F8_E5M2", 1),
    "uint16": weights("U16", 2),
    "one int8 among floats": weights("I8", 1, "centre"),
}


# what stands in a file's place


def instead(name: str, put: Callable[[Path], Any]) -> Change:
    def change(folder: Path) -> None:
        (folder / name).unlink()
        put(folder / name)

    return change


def denied(path: Path) -> None:
    path.touch(mode=0)
    if os.access(path, os.R_OK):
        raise Skip("this user may read everything")


PLACES: dict[str, Change] = {
    f"{name}: {what}": instead(name, put)
    for name in ("config.json", "model.safetensors")
    for what, put in {
        "nothing": lambda path: None,
        "a folder": Path.mkdir,
        "a pipe": os.mkfifo,
        "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to nowhere": lambda path: path.symlink_to("nowhere"),
        "a link to an endless device": lambda path: path.symlink_to("/dev/zero"),
        "a link to a terminal": lambda path: path.symlink_to("/dev/tty"),
        "a file that may not be read": denied,
        "a file of 1 GB": lambda path: (path.touch(), os.truncate(path, 2**30)),
    }.items()
}
HOSTILE = (
    {f"config: {name}": change for name, change in CONFIGS.items()}
    | {f"weights: {name}": change for name, change in WEIGHTS.items()}
    | PLACES
)
HARMLESS: dict[str, Change] = {
    "nothing": lambda folder: None,
    "fp32": weights("F32", 4),
    "bf16": weights("BF16", 2),
    "metadata": header(__metadata__={"format": "pt", "more": "x"}),
    "no metadata": header(__metadata__=None),
    "several layers": top(layer=[0, -1, 1]),
    "an int for a float": encoder("spectrum.pitch_low", "33"),
    "no choice of layers": lambda folder: pasted(',\n  "pooling": "mean"', "")(folder),
}


def load_all(source: str, work: str) -> None:
    """Load every folder, and print what became of it; in a process of its own."""
    import signal

    import musicssl

    class Late(BaseException):
        pass

    def late(*_: object) -> None:
        raise Late(f"still going after {SECONDS} s")

    def load(change: Change) -> tuple[str, str]:
        folder = Path(work) / "a\nfolder"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            change(folder)
            musicssl.load_model(folder, device="cpu")
            return "loaded", ""
        except BaseException as error:
            return type(error).__name__, str(error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    assert musicssl.load_model  # loads torch, before any clock runs
    signal.signal(signal.SIGALRM, late)
    load(HARMLESS["nothing"])
    if Path("/proc/self/statm").exists():
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
        limit = taken + MEGABYTES * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(json.dumps({name: load(change) for name, change in (HOSTILE | HARMLESS).items()}))


@pytest.fixture(scope="module")
def outcomes(
    tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    here = Path(__file__)
    code = f"import sys; sys.path[:0] = {[str(here.parent), str(here.parent.parent)]!r}; "
    code += f"import {here.stem} as this; this.load_all(*sys.argv[1:])"
    arguments = [str(tiny_model_folder), str(tmp_path_factory.mktemp("hostile"))]
    out = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert out.returncode == 0, out.stderr[-2000:]
    found: dict[str, list[str]] = json.loads(out.stdout)
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_is_refused_in_one_line(outcomes: dict[str, list[str]], name: str) -> None:
    kind, message = outcomes[name]
    if kind == "Skip":
        pytest.skip(message)
    assert kind == "ModelError", message
    assert 20 < len(message) < 1000
    assert message.isprintable()


@pytest.mark.parametrize("name", HARMLESS)
def test_other_ways_to_write_a_checkpoint_load(outcomes: dict[str, list[str]], name: str) -> None:
    assert outcomes[name] == ["loaded", ""]


@pytest.mark.parametrize(
    ("change", "message"),
    [("a pointer of Git LFS", "git lfs pull"), ("HTML", "is a web page")],
)
def test_what_stands_in_the_place_of_weights_is_named(
    tiny_model_folder: Path, tmp_path: Path, change: str, message: str
) -> None:
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "model"))
    WEIGHTS[change](folder)
    with pytest.raises(ModelError, match=message):
        musicssl.load_model(folder)
