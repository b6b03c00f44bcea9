"""What becomes of streams, names and lists never decides whether music is embedded."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from folder_trees import manifest, noise, tree
from tqdm import tqdm

import musicssl
from musicssl.cli.main import main
from musicssl.cli.progress import BAR
from musicssl.cli.terminal import one_line, printable, put_name, say
from musicssl.errors import AudioError
from musicssl.folder import reading

ROOT = Path(musicssl.__file__).parent.parent
posix = pytest.mark.skipif(os.name != "posix", reason="needs descriptors and signals")
Out = pytest.CaptureFixture[str]
NAMES = ["a/one.wav", "bad.mp3", "two.wav"]


@pytest.fixture
def music(tmp_path: Path) -> Path:
    for i, name in enumerate(NAMES):
        noise(tmp_path / "music" / name, 0.2, i)
    (tmp_path / "music" / "bad.mp3").write_text("x")
    return tmp_path / "music"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def embed(tiny_model_folder: Path, out: Path) -> Any:
    return lambda *args: main([*map(str, args), "--model", str(tiny_model_folder), "-o", str(out)])


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, error: Exception, terminal: bool = False) -> None:
        super().__init__()
        self.error, self.terminal = error, terminal

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


STREAMS: list[Any] = [
    None,
    Broken(OSError(28, "No space left on device")),
    Broken(BrokenPipeError(32, "Broken pipe")),
    Broken(ValueError("I/O operation on closed file")),
    Broken(OSError(5, "Input/output error"), terminal=True),
]


@pytest.mark.parametrize("stream", STREAMS, ids=lambda s: repr(getattr(s, "error", None)))
@pytest.mark.parametrize("option", ["-v", "-q", "--json"])
def test_all_is_embedded_whatever_becomes_of_the_streams(
    option: str, stream: Any, embed: Any, music: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for names in (["stderr"], ["stdout"], ["stdout", "stderr"]):
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(sys, name, stream)
            assert embed(music, option, "--overwrite") == 1  # bad.mp3
        assert set(tree(out)) == {"a/one.wav.npz", "two.wav.npz", "space.json"}


def test_errors_are_errors_without_stderr(
    embed: Any, music: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert embed(music / "gone") == 2
    assert embed(music, "--ext", "xyz") == 3
    assert capsys.readouterr().out == ""  # print(file=None) goes to stdout


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "No space left"), 2), (BrokenPipeError(32, "x"), 0)]
)
def test_what_stdout_was_asked_for_and_does_not_take(
    error: OSError, code: int, embed: Any, music: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(error))
    for args in ([music, "--dry-run"], ["--list-models"]):
        assert embed(*args) == code
        said = capsys.readouterr().err
        assert ("No space left" in said) == (code == 2) and len(said.splitlines()) <= 1


def run(code: str, *args: Any, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    """Run the command as a process of its own, after some code."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-c", f"import sys, os\n{code}\nsys.exit(cli.main())", *map(str, args)],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        timeout=120,
        check=False,
        **options,
    )


CHATTER = """
from musicssl.cli import main as cli
from musicssl.folder import reading
opened = reading.open_source
def chatter(*args, **options):
    os.write(1, b"Error A : E0\\n")
    os.write(2, b"Note: Illegal Audio-MPEG-Header\\n")
    return opened(*args, **options)
reading.open_source = chatter
"""


@posix
def test_what_decoders_print_goes_nowhere(music: Path, out: Path, tiny_model_folder: Path) -> None:
    done = run(
        CHATTER, music, "-o", out, "--model", tiny_model_folder, "--json", capture_output=True
    )
    assert json.loads(done.stdout)["done"] == 2 and done.returncode == 1
    failed, end, names = done.stderr.decode().splitlines()
    assert failed.startswith("musicssl-embed: failed: bad.mp3: ")
    assert end.startswith("2 embedded, 1 failed; ") and names.startswith("failed: bad.mp3; see ")


@posix
def test_closed_descriptors(music: Path, out: Path, tiny_model_folder: Path) -> None:
    """Files that are opened under the numbers 1 and 2 must not take what is printed."""

    def close() -> None:
        for number in (0, 1, 2):
            os.close(number)

    done = run(CHATTER, music, "-o", out, "--model", tiny_model_folder, "--json", preexec_fn=close)
    assert done.returncode == 1
    assert set(tree(out)) == {"a/one.wav.npz", "two.wav.npz", "space.json"}
    assert set(manifest(out)) == set(NAMES)
    assert b"Error A" not in b"".join(p.read_bytes() for p in out.rglob("*") if p.is_file())


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_streams_of_a_process(music: Path, out: Path, tiny_model_folder: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(
            "from musicssl.cli import main as cli",
            *(music, "-o", out, "--model", tiny_model_folder, "--json", "-v"),
            stdout=full,
            stderr=full,
        )
    assert done.returncode == 1 and set(manifest(out)) == set(NAMES)


@posix
def test_ctrl_c_in_the_first_moments() -> None:
    code = """
from musicssl.cli import main as cli
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
def build_parser():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000000):
        pass
    return 1 / 0
cli.build_parser = build_parser
"""
    done = run(code, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


# Names


def test_printable() -> None:
    assert printable("日本 é 👩‍🎤.wav") == "日本 é 👩‍🎤.wav"
    assert printable("a\x1b]0;x\x07\n\u202eb\x9b\udce9") == (
        "a\\x1b]0;x\\x07\\n\\u202eb\\x9b\\udce9"
    )
    assert one_line("several\n   lines\r\nhere") == "several lines here"
    assert len(one_line(10_000 * "x")) < 2100


@posix
def test_names_do_not_reach_the_terminal_as_they_are(
    embed: Any, tmp_path: Path, capsys: Out
) -> None:
    name = "\x1b[2J\nmusicssl-embed: done.mp3"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_text("x")
    noise(tmp_path / "in" / f"{name}.wav")
    assert embed(tmp_path / "in", "-v") == 1
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\\x1b[2J\\nmusicssl-embed: done.mp3" in said
    assert not re.search(r"^musicssl-embed: done", said, re.MULTILINE)


def listed(names: list[bytes], folder: Path, *options: str) -> bytes:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert main([str(folder), "--dry-run", *options, "-o", str(folder / "out")]) == 0
    assert isinstance(stdout.buffer, io.BytesIO)
    return stdout.buffer.getvalue()


@posix
def test_dry_run_writes_names_as_they_are(tmp_path: Path, tiny_model_folder: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    names = [b"caf\xe9.wav", b"new\nline.wav", "日本.wav".encode()]
    try:
        for name in names:
            (folder / os.fsdecode(name)).touch()
    except OSError:
        pytest.skip("this file system has Unicode names only")
    whole = [os.fsencode(folder) + b"/" + name for name in names]
    model = ["--model", str(tiny_model_folder)]
    assert listed(names, folder, *model) == b"".join(name + b"\n" for name in whole)
    assert listed(names, folder, "-0", *model) == b"".join(name + b"\0" for name in whole)


def test_names_on_a_terminal_are_safe() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    put_name("a\x1b.wav", terminal, end=b"\0")
    put_name("b", None)
    assert terminal.getvalue() == "a\\x1b.wav\n"


def test_say_tells_whether_it_was_heard(capsys: Out) -> None:
    assert say("x") and capsys.readouterr().err == "x\n"
    assert not say("x", Broken(OSError(28, "")))


# Lists


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_lists_in_any_encoding(
    encoding: str, end: str, embed: Any, music: Path, tmp_path: Path, out: Path
) -> None:
    noise(music / "日本.wav")
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    text = mark + end.join([str(music / "two.wav"), "", str(music / "日本.wav"), ""])
    (tmp_path / "list").write_bytes(text.encode(encoding))
    assert embed("--files-from", tmp_path / "list") == 0
    assert {Path(name).name for name in manifest(out)} == {"two.wav", "日本.wav"}


def test_lists_with_nul(embed: Any, music: Path, tmp_path: Path, out: Path) -> None:
    names = [os.fsencode(music / "two.wav"), os.fsencode(music / "a\nb.wav")]
    if os.name == "posix":
        noise(music / "a\nb.wav")
    (tmp_path / "list").write_bytes(b"\0".join(names) + b"\0")
    assert embed("--files-from", tmp_path / "list", "-0") == (0 if os.name == "posix" else 1)
    assert len(manifest(out)) == 2


def test_one_bad_line_costs_only_itself(
    embed: Any, music: Path, tmp_path: Path, out: Path, capsys: Out
) -> None:
    lines = [b"a\0b.wav", b"/" + 300 * b"n" + b".wav", 5000 * b"x/", os.fsencode(music / "two.wav")]
    (tmp_path / "list").write_bytes(b"\n".join(lines))
    assert embed("--files-from", tmp_path / "list", "--json") == 1
    summary = json.loads(capsys.readouterr().out)
    assert (summary["done"], summary["failed"]) == (1, 3)
    assert "--null" in summary["failures"][0]["error"]
    assert embed("--files-from", tmp_path / "list") == 1  # and again, over its own manifest


@pytest.mark.parametrize("stdin", [None, SimpleNamespace(buffer=io.BytesIO())])
def test_stdin_that_is_closed(
    stdin: Any, embed: Any, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    if stdin is not None:
        stdin.buffer.close()
    monkeypatch.setattr(sys, "stdin", stdin)
    assert embed("--files-from", "-") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "path", [300 * "n", 5000 * "x/", "nul\0", "{music}/two.wav/inside", "{music}/gone\x1b[2J"]
)
def test_paths_that_cannot_be_looked_at(path: str, embed: Any, music: Path, capsys: Out) -> None:
    assert embed(path.format(music=music)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("musicssl-embed: error: ") and "\x1b" not in line


@pytest.mark.parametrize("shard", ["1/99999999999999999999", f"1/{6000 * '9'}", "0/3", "-1/3"])
def test_shards_that_do_not_exist(shard: str, embed: Any, music: Path, capsys: Out) -> None:
    try:
        code = embed(music, f"--shard={shard}")
    except SystemExit as leave:
        code = leave.code
    assert code == 2 and len(capsys.readouterr().err.splitlines()) == 1


@posix
def test_a_current_folder_that_was_removed(
    embed: Any, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    assert embed("x.wav") == 2
    (tmp_path / "list").write_text(str(music / "two.wav"))
    assert embed("--files-from", tmp_path / "list") == 0
    assert embed(music / "two.wav") == 0
    assert main([str(music), "-q"]) == 2  # into ./embeddings
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)


# What is said


def test_a_narrow_bar_keeps_the_time_left() -> None:
    said = "2.5 files/s, 7:12 of audio, 70 x real time, 3 failed"
    for columns in (60, 80, 200):
        line = tqdm.format_meter(
            15, 277, 6.0, ncols=columns, bar_format=BAR, postfix=said, unit="files"
        )
        assert re.search(r"15/277 files, \d\d:\d\d left", line) and len(line) <= columns


def test_what_was_passed_over_is_one_line(embed: Any, music: Path, capsys: Out) -> None:
    for name in ("x.jpg", "y.jpg", "z.txt", ".hidden"):
        (music / name).touch()
    embed(music)
    assert "passed over 4 files: 2 .jpg, 1 .txt, 1 hidden" in capsys.readouterr().err.splitlines()
    embed(music, "--dry-run")
    assert "passed over 4 files: 2 .jpg, 1 .txt, 1 hidden" in capsys.readouterr().err.splitlines()
    assert embed(music, "--ext", "ogg", "--json") == 3
    said = capsys.readouterr()
    assert "no music files found; passed over 7 files: 2 .jpg, 2 .wav, " in said.err
    assert json.loads(said.out)["passed_over"][".wav"] == 2


def test_moved_and_pruned_are_said(embed: Any, music: Path, capsys: Out) -> None:
    (music / "bad.mp3").unlink()
    noise(music / "three.wav", 0.4, 3)
    embed(music)
    (music / "two.wav").rename(music / "2.wav")
    (music / "three.wav").unlink()
    capsys.readouterr()
    assert embed(music, "--prune", "--dry-run") == 0
    assert capsys.readouterr().err == "0 to embed, 1 there already, 1 moved, 1 to prune\n"
    assert embed(music, "--prune", "-v") == 0
    was, line = capsys.readouterr().err.splitlines()
    assert was == "2.wav: was two.wav"
    assert line.startswith("0 embedded, 1 there already, 1 moved, 1 pruned; results are in ")


def test_replace_foreign_and_other_names_of_options(
    embed: Any, music: Path, out: Path, tiny_model_folder: Path
) -> None:
    (out / "a").mkdir(parents=True)
    (out / "a" / "one.wav.npz").write_text("mine")
    args = [str(music / "a"), str(music / "two.wav"), "--model", str(tiny_model_folder)]
    assert main([*args, "--output", str(out), "--pooling", "max", "--overwrite"]) == 1
    assert main([*args, "--out", str(out), "--pool", "max", "--replace-foreign"]) == 0


def test_mono(embed: Any, tmp_path: Path, out: Path, tiny_model_folder: Path) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.uniform(-0.3, 0.3, (2, 22_050))
    soundfile.write(tmp_path / "x.wav", np.stack([left, right], 1), 22_050, "FLOAT")
    soundfile.write(tmp_path / "right.wav", right, 22_050, "FLOAT")
    assert embed(tmp_path / "x.wav", "--mono", "right") == 0
    alone = musicssl.get_embedding(tmp_path / "right.wav", model=tiny_model_folder)
    np.testing.assert_allclose(np.load(out / "x.wav.npz")["embedding"], alone, atol=1e-5)
    assert json.loads((out / "space.json").read_text())["space"].endswith("/soxr/mono=right")
    assert embed(tmp_path / "x.wav") == 2  # of another space
    assert embed(tmp_path / "x.wav", "--mono", "middle") == 2
    assert embed(tmp_path / "x.wav", "--overwrite") == 0
    space = json.loads((out / "space.json").read_text())
    assert space["space"].endswith("/soxr") and "mono" not in space


def test_the_manifest_says_what_was_heard(embed: Any, tmp_path: Path, out: Path) -> None:
    noise(tmp_path / "in" / "cut.wav", 2)
    noise(tmp_path / "in" / "whole.wav", 2)
    data = (tmp_path / "in" / "cut.wav").read_bytes()
    (tmp_path / "in" / "cut.wav").write_bytes(data[: len(data) // 2])
    assert embed(tmp_path / "in", "-q") == 0
    cut, whole = manifest(out)["cut.wav"], manifest(out)["whole.wav"]
    assert cut["truncated"] and cut["duration"] == pytest.approx(1, abs=0.01)
    assert cut["duration_promised"] == pytest.approx(2, abs=0.01)
    assert not whole["truncated"] and whole["damaged"] == 0
    assert whole["duration"] == whole["duration_promised"] == pytest.approx(2, abs=0.01)


def test_an_error_of_the_medium_is_tried_again(
    embed: Any, music: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = reading.open_source

    def dying(path: Path, **options: Any) -> Any:
        source = opened(path, **options)

        def blocks() -> Any:
            yield np.zeros(900, np.float32)
            raise AudioError(f"{path}: Input/output error")

        source.blocks = blocks  # type: ignore[method-assign]
        return source

    with monkeypatch.context() as patch:
        patch.setattr(reading, "open_source", dying)
        assert embed(music / "two.wav") == 1
    assert manifest(out)["two.wav"]["error"] == "Input/output error"
    assert embed(music / "two.wav") == 0 and manifest(out)["two.wav"]["status"] == "ok"
