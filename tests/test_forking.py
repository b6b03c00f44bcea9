"""Forks, the end of the process, and what torch was told to do by default."""

import copy
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch

import musicssl
from musicssl import forking
from musicssl.checkpoint import ModelConfig
from musicssl.encoders import (
    DilatedConfig,
    EncoderConfig,
    PaseAttentionConfig,
    PaseConfig,
    PasePlusConfig,
)
from musicssl.errors import ConfigError, ModelError
from musicssl.inference import batching, device
from musicssl.inference.options import EmbedOptions
from musicssl.model import MusicEncoder

BEGIN = """
    import os, sys, threading, time
    import numpy as np
    import torch
    import musicssl
    from musicssl import kept
    noise = (0.1 * np.random.default_rng(0).standard_normal(220_500)).astype(np.float32)
"""
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
small = {"channels": (2, 2), "kernels": (31, 320), "strides": (1, 160), "dim": 8}
ENCODERS = [
    DilatedConfig(dim=16, inner=24, pitch_channels=(2, 3), mel_channels=8),
    PaseConfig(**small),
    PasePlusConfig(**small, hidden=6),
    PaseAttentionConfig(**small, hidden=8, heads=2, window=20),
]


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code in a process of its own, for a minute at most."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BEGIN) + textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@forks
def test_a_fork_after_use_works() -> None:
    done = run("""
        import multiprocessing
        def embedding(i):
            return musicssl.get_embedding(noise, 22_050), torch.get_num_threads()
        torch.set_num_threads(2)
        expected, threads = embedding(0)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            found, inside = pool.apply_async(embedding, [0]).get(timeout=30)
        print(threads, inside, np.abs(found - expected).max() < 1e-4, torch.get_num_threads())
    """)
    assert done.stdout.split() == ["2", "1", "True", "2"], done.stderr


@forks
def test_a_fork_that_loads_and_calls_the_model_itself_works() -> None:
    done = run("""
        torch.set_num_threads(2)
        audio = torch.from_numpy(noise)[None]
        musicssl.load_model(device="cpu")(audio)
        pid = os.fork()
        if not pid:
            import signal; signal.alarm(30)
            musicssl.load_model(device="cpu")(audio)
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """)
    assert done.stdout.split() == ["7"], done.stderr


@forks
def test_a_fork_while_a_model_is_being_loaded_works() -> None:
    done = run("""
        held, end = threading.Event(), threading.Event()
        def hold():
            with kept._loading:
                held.set()
                end.wait()
        threading.Thread(target=hold).start()
        held.wait()
        pid = os.fork()
        if not pid:
            import signal; signal.alarm(30)
            musicssl.get_embedding(noise, 22_050)
            os._exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        end.set()
    """)
    assert done.stdout.split() == ["7"], done.stderr


def test_a_gpu_lost_in_a_fork_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnGpu:
        device = torch.device("cuda")

    monkeypatch.setattr(forking, "cuda_is_lost", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    settings = EmbedOptions().resolve(musicssl.load_model(device="cpu"))
    with pytest.raises(ModelError, match=r"on a GPU that a forked process cannot use.*'spawn'"):
        batching.compute(OnGpu(), torch.zeros(1, 9), torch.tensor([9]), settings)  # type: ignore[arg-type]
    for name in ("auto", "cuda", "cuda:0"):
        with pytest.raises(ConfigError, match=r"a forked process cannot use the GPU.*'spawn'"):
            device.pick_device(name)
    assert device.pick_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("rate", ["22050", "44100"])
def test_the_process_may_end_while_a_daemon_thread_embeds(rate: str) -> None:
    for wait in ("0.0", "0.02"):
        code = """
            begun = threading.Event()
            def work():
                while True:
                    musicssl.get_embedding(noise, int(sys.argv[1]))
                    begun.set()
            threading.Thread(target=work, daemon=True).start()
            begun.wait()
            time.sleep(float(sys.argv[2]))
        """
        done = run(code, rate, wait)
        assert done.returncode == 0, (done.returncode, done.stderr)


def test_the_end_waits_for_native_code_and_lets_no_more_begin() -> None:
    done = run("""
        from musicssl import forking
        inside, waited = threading.Event(), []
        def work():
            with forking.uninterrupted():
                inside.set()
                time.sleep(0.3)
                print("finished", flush=True)
            with forking.uninterrupted():
                print("began again", flush=True)
        threading.Thread(target=work, daemon=True).start()
        inside.wait()
    """)
    assert done.stdout.split() == ["finished"], done.stderr
    assert done.returncode == 0


@pytest.fixture
def torchs_defaults() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


def noise(seconds: float = 1.0, rate: int = 22_050) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (0.1 * rng.standard_normal(round(seconds * rate))).astype(np.float32)


@pytest.fixture(params=ENCODERS, ids=lambda config: config.name)
def model(request: pytest.FixtureRequest) -> MusicEncoder:
    torch.manual_seed(0)
    config: EncoderConfig = request.param
    return MusicEncoder(ModelConfig(encoder=config)).requires_grad_(False).eval()


@pytest.mark.usefixtures("torchs_defaults")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_torchs_default_dtype_changes_nothing(
    model: MusicEncoder, tmp_path: Path, dtype: torch.dtype
) -> None:
    folder, rate = model.save_pretrained(tmp_path, dtype="fp32"), model.sample_rate
    audio = torch.from_numpy(noise())
    expected, frames = model.embed([noise(), audio], rate), model(audio[None])
    torch.set_default_dtype(dtype)
    loaded = musicssl.load_model(folder, device="cpu")
    for one in (model, loaded):
        assert all(x.dtype is torch.float32 for x in (*one.parameters(), *one.buffers()))
        assert np.array_equal(one.embed([noise(), audio], rate), expected)
        assert torch.equal(one(audio[None]), frames)
    made = MusicEncoder(model.config)
    assert all(x.dtype is torch.float32 for x in (*made.parameters(), *made.buffers()))


@pytest.mark.usefixtures("torchs_defaults")
@pytest.mark.parametrize("wide", [True, False])
def test_torchs_default_device_changes_nothing(
    model: MusicEncoder, tmp_path: Path, wide: bool
) -> None:
    folder, rate = model.save_pretrained(tmp_path, dtype="fp32"), model.sample_rate
    audio = torch.from_numpy(noise(3))
    expected = model.embed([noise(3), audio], rate, chunk_seconds=0.5)
    values, times = model.embed(audio, rate, level="frame")
    with torch.device("cpu" if wide else "meta"):
        if wide:
            torch.set_default_device("meta")
        loaded = musicssl.load_model(folder, device="cpu")
        for one in (model, loaded):
            got = one.embed([noise(3), audio], rate, chunk_seconds=0.5)
            assert np.array_equal(got, expected)
            assert torch.equal(one.embed(audio, rate, level="frame").values, values)
            assert torch.equal(one.embed(audio, rate, level="frame").times, times)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-5), (torch.float16, 3e-3), (torch.bfloat16, 3e-2)],
    ids=str,
)
def test_a_model_that_was_cast_embeds_as_before(
    model: MusicEncoder, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, tolerance: float
) -> None:
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: False)
    device._warned.clear()
    cast = copy.deepcopy(model).to(dtype)
    clip, rate = noise(2, model.sample_rate), model.sample_rate
    expected, frames = model.embed(clip, rate), model(torch.from_numpy(clip)[None])
    if dtype is torch.float64:
        got = cast.embed(clip, rate)
    else:
        with pytest.warns(RuntimeWarning, match=r"using fp32\.$") as caught:
            got = cast.embed(clip, rate)
        assert len(caught) == 1
    assert got.dtype == np.float32
    assert np.abs(got - expected).max() < tolerance * frames.std()
    assert np.array_equal(cast.embed(clip, rate, dtype="fp32"), got)
    # the weights stay what they were made, what the spectra are made of never changes
    assert all(x.dtype is dtype for x in cast.encoder.parameters())
    kept = dict(cast.named_buffers())
    for name, buffer in model.named_buffers():
        if "running" not in name:
            assert torch.equal(kept[name], buffer)
    # and it can be called with audio of either kind
    for audio in (torch.from_numpy(clip), torch.from_numpy(clip).to(dtype)):
        out = cast(audio[None])
        assert (out - frames).abs().max() < 20 * tolerance * frames.std()


def test_half_weights_are_computed_in_their_precision_where_that_is_fast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "cpu_has_bf16", lambda: True)
    model = MusicEncoder(ModelConfig(encoder=ENCODERS[0]))
    assert EmbedOptions().resolve(model).dtype is torch.float32
    model.bfloat16()
    assert EmbedOptions().resolve(model).dtype is torch.bfloat16
    assert EmbedOptions(dtype="fp32").resolve(model).dtype is torch.float32
    model.dtype = "fp32"
    assert EmbedOptions().resolve(model).dtype is torch.float32
    model.double()
    model.dtype = "auto"
    assert EmbedOptions().resolve(model).dtype is torch.float32


def test_a_cast_model_is_no_longer_the_file_that_it_came_from(
    tiny_model_folder: Path, tmp_path: Path
) -> None:
    model = musicssl.load_model(tiny_model_folder, device="cpu")
    (tmp_path / "in").mkdir()
    sf.write(tmp_path / "in" / "a.wav", noise(), 22_050)
    found = []
    for change in (lambda: model.to("cpu").float(), model.bfloat16, model.float):
        change()
        found.append(model.weights_sha256)
        done = musicssl.embed_folder(tmp_path / "in", tmp_path / f"{len(found)}", model=model)
        assert (done.done, done.failed) == (1, 0)
    assert len(found[0]) == 64
    assert found[1:] == ["", ""]


def test_a_model_without_weights_is_an_error() -> None:
    model = MusicEncoder(ModelConfig(encoder=ENCODERS[0])).to("meta")
    with pytest.raises(ModelError, match="'meta', which holds no weights"):
        model.embed(noise(), 22_050)


def test_a_model_loaded_in_inference_mode_can_be_trained(tiny_model_folder: Path) -> None:
    with torch.inference_mode():
        model = musicssl.load_model(tiny_model_folder, device="cpu")
        inside = model.embed(noise(), 22_050)
    assert np.array_equal(model.embed(noise(), 22_050), inside)
    model.requires_grad_(True).train()(torch.from_numpy(noise())[None]).sum().backward()
    with torch.no_grad():
        assert np.array_equal(model.eval().embed(noise(), 22_050), inside)
