"""`musicssl-embed`: what it prints, where, and how it ends."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tqdm import tqdm

import musicssl
from musicssl.checkpoint import ModelConfig
from musicssl.cli.main import build_parser, main
from musicssl.encoders import PasePlusConfig
from musicssl.model import MusicEncoder

ROOT = Path(musicssl.__file__).parent.parent
Out = pytest.CaptureFixture[str]


@pytest.fixture
def music(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for i, name in enumerate(("a/one.wav", "b/two.flac", "one.wav")):
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(9000 + 4000 * i), 22_050)
    return tmp_path / "music"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def embed(tiny_model_folder: Path, out: Path) -> Any:
    """Return the command with the model and the folder filled in."""
    return lambda *args: main([*map(str, args), "--model", str(tiny_model_folder), "-o", str(out)])


def command(*args: Any, **options: Any) -> "subprocess.Popen[str]":
    """Start the command in a process of its own."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", "musicssl.cli.main", *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        **options,
    )


def results(out: Path) -> set[str]:
    found = (p.relative_to(out) for p in out.rglob("*") if p.is_file())
    return {p.as_posix() for p in found if p.parts[0] not in (".musicssl", "manifest.jsonl")}


WHOLE = {"a/one.wav.npz", "b/two.flac.npz", "one.wav.npz", "space.json"}


# What it does


def test_a_folder(embed: Any, music: Path, out: Path, capsys: Out) -> None:
    assert embed(music) == 0
    assert results(out) == WHOLE
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()  # no terminal, no bar
    assert re.match(
        r"3 embedded; [\d.]+ s of audio in [\d.]+ s, \d+ x real time; results are in \S+ "
        r"\(tiny@\w{8}/clip/mean/layers=2/soxr\)$",
        line,
    )
    assert embed(music) == 0
    assert capsys.readouterr().err.startswith("0 embedded, 3 there already; ")


def test_an_encoder_with_memory_goes_on_from_chunk_to_chunk(out: Path, tmp_path: Path) -> None:
    config = PasePlusConfig(channels=(2, 2), kernels=(31, 320), strides=(1, 160), dim=8, hidden=6)
    torch.manual_seed(0)
    model = MusicEncoder(ModelConfig(encoder=config)).save_pretrained(tmp_path / "model")
    music, rng = tmp_path / "music", np.random.default_rng(0)
    music.mkdir()
    for name, seconds in (("a.wav", 9), ("b.wav", 0.3), ("c.wav", 4)):
        soundfile.write(music / name, 0.1 * rng.standard_normal(round(seconds * 16_000)), 16_000)
    options = ["--level", "frame", "--chunk-seconds", "1", "--batch-seconds", "3", "-q"]
    assert main([str(music), "--model", str(model), "-o", str(out), *options]) == 0
    for name in ("a.wav", "b.wav", "c.wav"):
        whole = musicssl.get_embedding(music / name, model=model, level="frame", device="cpu")
        with np.load(out / f"{name}.npz") as found:
            assert np.array_equal(found["times"], whole.times)
            np.testing.assert_allclose(found["embedding"], whole.values, atol=1e-5)


def test_the_default_folder_is_embeddings(
    music: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(music.parent)
    assert main([str(music), "--model", str(tiny_model_folder), "-q"]) == 0
    assert results(music.parent / "embeddings") == WHOLE


def test_json(embed: Any, music: Path, out: Path, capsys: Out) -> None:
    (music / "bad.mp3").write_text("x")
    assert embed(music, "--json") == 1
    summary = json.loads(capsys.readouterr().out)
    assert summary["done"] == 3 and summary["failed"] == 1 and summary["exit_code"] == 1
    assert summary["out"] == str(out) and summary["found"] == 4
    assert [f["source"] for f in summary["failures"]] == ["bad.mp3"]
    assert summary["audio_seconds"] == pytest.approx(39_000 / 22_050, abs=1e-3)


def test_quiet_and_verbose(embed: Any, music: Path, capsys: Out) -> None:
    (music / "bad.mp3").write_text("x")
    assert embed(music, "-q") == 1
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    assert said.err.startswith("musicssl-embed: failed: bad.mp3: ")
    assert embed(music, "-v", "--overwrite") == 1
    assert re.search(r"^a/one\.wav: 0\.4 s in [\d.]+ s$", capsys.readouterr().err, re.MULTILINE)


def test_bad_files_are_named_and_the_rest_is_done(
    embed: Any, music: Path, out: Path, capsys: Out
) -> None:
    for i in range(7):
        (music / f"bad{i}.mp3").write_text("x")
    assert embed(music) == 1
    said = capsys.readouterr().err.splitlines()
    assert sum(line.startswith("musicssl-embed: failed: bad") for line in said) == 7
    assert "3 embedded, 7 failed" in said[-2]
    assert re.match(r"failed: (bad\d\.mp3, ){4}bad\d\.mp3 and more; see ", said[-1])
    assert results(out) == WHOLE
    assert embed(music, "--on-error", "stop", "--jobs", 1, "--overwrite") == 1
    assert "1 failed" in capsys.readouterr().err


def test_a_cut_off_file_is_used_and_said(embed: Any, music: Path, out: Path, capsys: Out) -> None:
    data = (music / "one.wav").read_bytes()
    (music / "one.wav").write_bytes(data[: len(data) // 2])
    assert embed(music / "one.wav") == 0
    assert "musicssl-embed: warning: " in capsys.readouterr().err
    assert json.loads((out / "manifest.jsonl").read_text())["truncated"] is True


def test_dry_run(embed: Any, music: Path, out: Path, capsys: Out) -> None:
    assert embed(music, "--dry-run") == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(music / n) for n in ("a/one.wav", "b/two.flac", "one.wav")]
    assert said.err == "3 to embed, 0 there already\n" and not out.exists()
    assert embed(music, "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["done"] == 3


def test_a_second_folder_with_the_same_names_is_refused_file_by_file(
    embed: Any, music: Path, out: Path, tmp_path: Path, capsys: Out
) -> None:
    assert embed(music) == 0
    second = tmp_path / "second"
    second.mkdir()
    soundfile.write(second / "one.wav", np.full(9000, 0.1), 22_050)
    capsys.readouterr()
    why = f"failed: one.wav: one.wav is already the result of {music / 'one.wav'}, which is still"
    for options in (["--dry-run"], []):
        assert embed(second, *options) == 1
        said = capsys.readouterr()
        assert said.out == "" and said.err.count(why) == 1
        assert ("1 would fail" if options else "1 failed") in said.err
        assert "see " not in said.err  # the manifest lists the other file
    assert embed(second, "--overwrite") == 0


@pytest.mark.parametrize("source", ["-", "list.txt"])
def test_files_from(
    source: str, embed: Any, music: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(music)
    lines = b"a/one.wav\r\n\nb/two.flac\n"
    if source == "-":
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(lines)))
    else:
        Path(source).write_bytes(lines)
    assert embed("--files-from", source) == 0
    assert results(out) == WHOLE - {"one.wav.npz"}


def test_files_from_with_missing_files(embed: Any, music: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{music / 'one.wav'}\n{music / 'gone.wav'}\n")
    assert embed("--files-from", tmp_path / "list") == 1


def test_ext_and_shard(embed: Any, music: Path, out: Path) -> None:
    assert embed(music, "--ext", "FLAC, .ogg") == 0
    assert results(out) == {"b/two.flac.npz", "space.json"}
    for i in (1, 2):
        assert embed(music, "--shard", f"{i}/2") == 0
    assert results(out) >= WHOLE
    assert embed(music) == 0
    assert results(out) == WHOLE


def test_every_other_option(embed: Any, music: Path, out: Path, tmp_path: Path) -> None:
    options = "--level frame --layer 0,2 --format npy --device cpu --dtype fp32 --resampler soxr"
    more = f"--jobs 2 --batch-seconds 5 --chunk-seconds 9 --offline --cache-dir {tmp_path}"
    assert embed(music, *options.split(), *more.split()) == 0
    assert np.load(out / "one.wav.npy").shape[1] == 32
    space = json.loads((out / "space.json").read_text())
    assert (space["level"], space["layers"], space["format"]) == ("frame", [0, 2], "npy")
    last = json.loads((out / "manifest.jsonl").read_text().splitlines()[-1])
    assert last["settings"]["batch_seconds"] == 5 and last["settings"]["chunk_seconds"] == 9
    assert embed(music, "--overwrite", "--pool", "meanstd", "--layer", "all") == 0
    with np.load(out / "one.wav.npz") as data:
        assert data["embedding"].shape == (96,)


def test_list_models(monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    from musicssl.checkpoint.bundled import ModelInfo

    info = ModelInfo(
        *("small", "bundled", None, 3_100_000, 768, 9, 25.0, 22_050, 6.2),
        *("MIT", "CC-BY-4.0", "CC0, CC-BY", "For everything."),
    )
    monkeypatch.setattr("musicssl.checkpoint.bundled.list_models", lambda: [info])
    assert main(["--list-models"]) == 0
    title, row = capsys.readouterr().out.splitlines()
    assert title.split() == ["name", "MB", "dim", "layers", "frames/s", "code", "weights", "data"]
    assert row.split() == ["small", "6.2", "768", "9", "25", "MIT", "CC-BY-4.0", "CC0,", "CC-BY"]
    assert main(["--list-models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["weights_licence"] == "CC-BY-4.0"


# How it refuses


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        ("", 2, "give either PATHs, --files-from or --segments;"),
        ("{music} --files-from -", 2, "give either PATHs, --files-from or --segments;"),
        ("{music} --frmat npz", 2, "unrecognized arguments: --frmat"),
        ("{music} --shard 3", 2, "'3' is not like 2/8"),
        ("{music} --shard 3/2", 2, "shard 3/2 does not exist"),
        ("{music} --layer x", 2, "'x' is not like 5"),
        ("{music} --layer 9", 2, "layer 9 does not exist"),
        ("{music} --format nzp", 2, "Did you mean 'npz'"),
        ("{music} --level frame --pool mean", 2, "does not pool"),
        ("{music} --device tpu9", 2, "device"),
        ("{music} --jobs 0", 2, "jobs must be positive"),
        ("{music}/gone", 2, "no such file or folder"),
        ("--files-from {music}/gone", 2, "No such file"),
        ("{music} --ext xyz", 3, "no music files found"),
        ("{music} --model {music}", 4, ""),
    ],
)
def test_errors_are_one_line(
    args: str, code: int, message: str, embed: Any, music: Path, out: Path, capsys: Out
) -> None:
    if "--model" in args:  # the last one counts
        words = [*args.format(music=music).split(), "-o", str(out)]
        found = main(words)
    else:
        try:
            found = embed(*args.format(music=music).split())
        except SystemExit as leave:
            found = int(str(leave.code))
    said = capsys.readouterr()
    assert found == code and said.out == "" and not out.exists()
    (line,) = said.err.splitlines()
    assert line.startswith("musicssl-embed: error: ") and message in line


def test_other_settings_are_refused(embed: Any, music: Path, capsys: Out) -> None:
    assert embed(music, "-q") == 0
    assert embed(music, "--pool", "max") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "pooling is mean there, max was asked for" in line


def test_help_names_every_choice() -> None:
    from musicssl.audio import RESAMPLERS
    from musicssl.folder.formats import FORMATS
    from musicssl.pooling import POOLINGS

    text = build_parser().format_help()
    for name in {*RESAMPLERS, *POOLINGS, *FORMATS, "float32", "bfloat16", "float16"} - {"none"}:
        assert re.search(rf"\b{name}\b", text), name
    assert max(map(len, text.splitlines())) <= 100


# As a process


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys\nfrom musicssl.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'soundfile', 'tqdm') if m in sys.modules])"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    assert done.stdout.splitlines()[-1] == "[]"


def long_music(folder: Path, n: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(n):
        noise = 0.1 * rng.standard_normal(100_000 + 20_000 * i)
        soundfile.write(folder / f"{i:02}.wav", noise, 22_050)


def wait_for_results(process: "subprocess.Popen[str]", out: Path, n: int) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if len(list(out.glob("*.npz"))) >= n:
            return
        time.sleep(0.005)
    pytest.fail(f"no results: {process.communicate()}")


def test_killed_and_run_again(tiny_model_folder: Path, tmp_path: Path) -> None:
    long_music(tmp_path / "music", 30)
    out, model = tmp_path / "out", ("--model", tiny_model_folder)
    process = command(tmp_path / "music", "-o", out, *model, "--batch-seconds", 1)
    wait_for_results(process, out, 3)
    process.kill()
    process.communicate()
    before = {path.name: path.read_bytes() for path in out.glob("*.npz")}
    assert 3 <= len(before) < 30
    for name, data in before.items():
        with np.load(out / name) as arrays:
            assert arrays["embedding"].shape == (16,), data
    assert main([str(tmp_path / "music"), "-o", str(out), *map(str, model), "-q"]) == 0
    assert main([str(tmp_path / "music"), "-o", str(tmp_path / "new"), *map(str, model), "-q"]) == 0
    assert results(out) == results(tmp_path / "new")
    for path in (tmp_path / "new").glob("*.npz"):
        with np.load(path) as new, np.load(out / path.name) as old:
            np.testing.assert_allclose(old["embedding"], new["embedding"], atol=1e-5)


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_interrupted_and_run_again(tiny_model_folder: Path, tmp_path: Path) -> None:
    long_music(tmp_path / "music", 30)
    out, model = tmp_path / "out", ("--model", tiny_model_folder)
    process = command(
        *(tmp_path / "music", "-o", out, *model, "--batch-seconds", 1, "--json"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # even if we ignore it
    )
    wait_for_results(process, out, 3)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    summary = json.loads(said)
    assert summary["interrupted"] and 3 <= summary["done"] < 30 and summary["exit_code"] == 130
    first, second = errors.splitlines()
    assert first.startswith(f"interrupted: {summary['done']} embedded; ")
    assert second == "run the same command again to go on"
    lines = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == summary["done"] == len(list(out.glob("*.npz")))
    assert all((out / line["output"]).exists() for line in lines)
    assert not (out / ".musicssl" / "part").exists()


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_a_bar_where_there_is_a_terminal(
    music: Path, out: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    class Eager(tqdm):  # type: ignore[type-arg]
        def __init__(self, **options: Any) -> None:
            super().__init__(mininterval=0, **options)

    (music / "bad.mp3").write_text("x")
    monkeypatch.setattr(
        "musicssl.cli.progress.tqdm", Eager
    )  # draws each file, however fast it went
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert main([str(music), "-o", str(out), "--model", str(tiny_model_folder)]) == 1
    text = terminal.getvalue()
    assert "files/s" in text and "x real time" in text and "1 failed" in text and " left" in text
    assert "\x1b[3" not in text  # no colours
    assert "musicssl-embed: failed: bad.mp3" in text
