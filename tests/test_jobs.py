"""Several sounds at a time: the same results in order, bounded, and nothing left behind."""

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import musicssl
from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig, PasePlusConfig
from musicssl.errors import AudioError, ConfigError
from musicssl.inference import ahead, crew, inputs, running
from musicssl.inference.batching import Engine
from musicssl.inference.crew import Crew, default_jobs, start_thread
from musicssl.model import MusicEncoder

RATE = 22_050


@pytest.fixture(scope="module")
def model() -> MusicEncoder:
    torch.manual_seed(0)
    config = DilatedConfig(dim=8, inner=8, pitch_channels=(1, 1), mel_channels=4, dilations=(1, 2))
    return MusicEncoder(ModelConfig(encoder=config)).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def remembering() -> MusicEncoder:
    torch.manual_seed(0)
    config = PasePlusConfig(channels=(2, 2), kernels=(31, 320), strides=(1, 160), dim=4, hidden=4)
    return MusicEncoder(ModelConfig(encoder=config)).requires_grad_(False).eval()


def noise(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Return quiet noise."""
    count = max(1, round(seconds * rate))
    return (0.1 * np.random.default_rng(seed).standard_normal(count)).astype(np.float32)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Nine files of 0.1 s to 3 s."""
    folder = tmp_path_factory.mktemp("sounds")
    paths = [folder / f"{i}.wav" for i in range(9)]
    for i, path in enumerate(paths):
        soundfile.write(path, noise(0.1 + (i * 7 % 9) * 0.36, i), RATE)
    return paths


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch with two threads in this one."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("level", ["clip", "frame"])
@pytest.mark.parametrize("batch_seconds", [0.5, 2.0, 100.0])
def test_results_are_the_same_to_the_bit_whatever_jobs_is(
    model: MusicEncoder, files: list[Path], level: str, batch_seconds: float
) -> None:
    options: dict[str, Any] = {"level": level, "batch_seconds": batch_seconds}
    one, three = (model.embed(files, jobs=jobs, **options) for jobs in (1, 3))
    for a, b in zip(one, three, strict=True):
        pairs = [(a, b)] if level == "clip" else [(a.values, b.values), (a.times, b.times)]
        assert all(np.array_equal(*pair) for pair in pairs)


def test_encoders_with_memory_give_the_same(remembering: MusicEncoder) -> None:
    clips = [noise(seconds, i, 16_000) for i, seconds in enumerate((2.0, 0.3, 1.2))]
    options: dict[str, Any] = {"level": "frame", "chunk_seconds": 0.4, "batch_seconds": 0.5}
    one, three = (remembering.embed(clips, 16_000, jobs=n, **options) for n in (1, 3))
    for a, b in zip(one, three, strict=True):
        assert np.array_equal(a.values, b.values)
    alone = remembering.embed(clips[0], 16_000, jobs=3, level="frame").values
    np.testing.assert_allclose(alone, one[0].values, atol=1e-5)


def test_segments_of_one_file_are_read_together_and_come_in_order(
    model: MusicEncoder, files: list[Path]
) -> None:
    parts = [musicssl.Segment(files[i], i / 50, 0.1 + i / 50) for i in (3, 0, 3, 1)]
    one, two = (model.embed([*parts, files[4]], jobs=n) for n in (1, 2))
    assert np.array_equal(one, two)


def test_an_error_names_its_place_and_leaves_no_thread(
    model: MusicEncoder, files: list[Path], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no music")
    before = threading.active_count()
    with pytest.raises(AudioError, match=r"audio\[2\]: .*bad\.wav"):
        model.embed([*files[:2], bad, *files[2:], tmp_path / "gone.wav"], jobs=2)
    assert threading.active_count() == before
    some = model.embed([bad, *files[:3], bad, files[3]], jobs=2, on_error="skip")
    assert [x is None for x in some] == [True, False, False, False, True, False]
    assert np.array_equal(np.stack([some[1], some[2]]), model.embed(files[:3], jobs=1)[:2])
    assert threading.active_count() == before


def test_what_an_encoder_raises_comes_out(
    model: MusicEncoder, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of order")

    before = threading.active_count()
    monkeypatch.setattr("musicssl.inference.batching.compute", broken)
    with pytest.raises(RuntimeError, match="out of order"):
        model.embed(files, jobs=2)
    assert threading.active_count() == before


def test_few_sources_are_open_at_once(
    model: MusicEncoder, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the list is."""
    lock, now, most = threading.Lock(), [0], [0]
    opened = inputs.open_source

    def counting(*args: Any, **kwargs: Any) -> Any:
        source = opened(*args, **kwargs)
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        close = source.close

        def closing() -> None:
            nonlocal close
            with lock:
                now[0] -= close is not None
                done, close = close, None
            if done is not None:
                done()

        source.close = closing
        return source

    monkeypatch.setattr(inputs, "open_source", counting)
    model.embed(files * 20, jobs=2)
    assert now[0] == 0
    assert 1 <= most[0] <= 4


def test_batches_under_way_are_bounded(
    model: MusicEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So memory does not depend on how long a recording is, nor on how slow the encoder is."""
    waiting, most = set[int](), [0]
    submit = Crew.submit

    def counting(self: Crew, call: Callable[[], object]) -> crew.Task:
        def counted() -> None:
            call()
            waiting.discard(id(call))

        waiting.add(id(call))
        most[0] = max(most[0], len(waiting))
        return submit(self, counted)

    monkeypatch.setattr(Crew, "submit", counting)
    model.embed(noise(40), RATE, jobs=2, chunk_seconds=1.0, batch_seconds=1.0)
    assert 2 <= most[0] <= 3


def test_open_files_are_read_by_one_thread_in_turn(
    model: MusicEncoder, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members of an archive share its file: two threads would read each other's bytes."""
    threads = set()

    class Member(io.BytesIO):
        def read(self, *args: Any) -> bytes:
            threads.add(threading.get_ident())
            return super().read(*args)

    members = [Member(path.read_bytes()) for path in files]
    assert np.array_equal(model.embed(members, jobs=3), model.embed(files, jobs=1))
    assert threads == {threading.get_ident()}


def test_a_long_sound_is_divided_among_threads(
    model: MusicEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = noise(6.0)
    whole = model.embed(clip, RATE, jobs=1, level="frame")
    lengths: list[float] = []
    divided = running._divided

    def noting(*args: Any) -> Any:
        settings = divided(*args)
        lengths.append(settings.chunk_seconds)
        return settings

    batches: list[int] = []
    encode = Engine._encode_batch

    def counting(self: Engine, batch: list[Any]) -> Any:
        batches.append(len(batch))
        return encode(self, batch)

    monkeypatch.setattr(running, "_divided", noting)
    monkeypatch.setattr(Engine, "_encode_batch", counting)
    found = model.embed(clip, RATE, jobs=3, level="frame")
    np.testing.assert_allclose(found.values, whole.values, atol=1e-5)
    assert lengths == [2.0]
    assert batches == [1, 1, 1]  # a thread each
    model.embed(clip, RATE, jobs=64)  # not into pieces that are mostly context
    assert lengths[1:] == [3 * model.context / RATE]
    model.embed(clip, RATE, jobs=3, chunk_seconds=5.0)  # as it was told
    assert len(lengths) == 2


@pytest.mark.usefixtures("two_threads")
def test_no_operation_is_shared_among_threads(
    model: MusicEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    compute = running.Engine._encode_batch

    def noting(self: Any, batch: Any) -> Any:
        seen.add(torch.get_num_threads())
        return compute(self, batch)

    monkeypatch.setattr(running.Engine, "_encode_batch", noting)
    for jobs in (1, 2, None):
        model.embed([noise(0.2), noise(0.3)], RATE, jobs=jobs)
    assert seen == {1}
    assert torch.get_num_threads() == 2
    later = list[int]()
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [2]


@pytest.mark.usefixtures("two_threads")
def test_one_job_per_core_unless_torch_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    monkeypatch.setattr(crew, "usable_cores", lambda: 16)
    assert default_jobs(cpu) == 2
    assert default_jobs(gpu) == 8
    monkeypatch.setattr(crew, "usable_cores", lambda: 1)  # a container's quota
    assert default_jobs(cpu) == default_jobs(gpu) == 1
    monkeypatch.setattr(crew, "usable_cores", lambda: 16)
    torch.set_num_threads(1)  # as a DataLoader does in its workers
    assert default_jobs(cpu) == 1


def test_where_torch_has_one_thread_none_is_started(
    model: MusicEncoder, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        monkeypatch.setattr(threading.Thread, "start", None)
        assert len(model.embed(files)) == len(files)
    finally:
        torch.set_num_threads(before)


def test_progress_is_told_for_every_sound(
    model: MusicEncoder, files: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[tuple[int, int]] = []
    model.embed(
        [files[0], files[0].with_name("none"), files[1]],
        on_error="skip",
        jobs=2,
        progress=lambda *n: told.append(n),
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert not capsys.readouterr().err
    model.embed(files, progress=True)
    assert "9/9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs must be"),
        ({"jobs": "two"}, "jobs must be"),
        ({"progress": "yes"}, "progress must be True, False or a function"),
    ],
)
def test_wrong_choices_are_told(model: MusicEncoder, options: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model.embed(noise(0.1), RATE, **options)


def test_tasks_that_were_not_begun_are_left() -> None:
    held, done = threading.Event(), []
    with Crew(1) as one:
        task = one.submit(held.wait)
        for _ in range(5):
            one.submit(lambda: done.append(1))
        threading.Timer(0.01, held.set).start()
        one._over = True
    assert task.done
    assert not done


def test_a_thread_has_one_thread_of_torch() -> None:
    before, found = torch.get_num_threads(), list[int]()
    torch.set_num_threads(3)
    try:
        start_thread(lambda: found.append(torch.get_num_threads()), "one").join()
        assert found == [1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_what_was_read_ahead_and_is_not_wanted_is_closed(files: list[Path]) -> None:
    before = threading.active_count()
    closed = threading.Event()

    class Endless:
        def __enter__(self) -> "Endless":
            return self

        def __exit__(self, *_: object) -> None:
            closed.set()

        def blocks(self) -> Iterator[np.ndarray]:
            while True:
                yield np.zeros(10, np.float32)

    sources = ahead.open_ahead([ahead.Opening(Endless)] * 5, jobs=2)
    with next(sources) as first:
        assert next(iter(first.events()))[0] == 0
    sources.close()
    assert closed.wait(5)
    assert threading.active_count() == before


def test_the_folder_command_gives_idle_cores_chunks(
    model: MusicEncoder, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file, three cores: no operation is shared; torch has as many threads as before."""
    seen, crews = set(), list[int]()
    compute, begin = running.Engine._encode_batch, Crew.__init__

    def noting(self: Any, batch: Any) -> Any:
        seen.add(torch.get_num_threads())
        return compute(self, batch)

    def counting(self: Crew, jobs: int) -> None:
        crews.append(jobs)
        begin(self, jobs)

    monkeypatch.setattr("musicssl.folder.planning.usable_cores", lambda: 3)
    monkeypatch.setattr(running.Engine, "_encode_batch", noting)
    monkeypatch.setattr("musicssl.folder.threads.Crew.__init__", counting)
    before = torch.get_num_threads()
    options: dict[str, Any] = {"level": "frame", "chunk_seconds": 0.5, "batch_seconds": 0.5}
    musicssl.embed_folder(files[4], tmp_path, model=model, format="npy", **options)
    assert crews == [3]
    (found,) = (path for path in tmp_path.glob("*.npy") if "times" not in path.name)
    expected = model.embed(files[4], jobs=1, **options)
    assert np.array_equal(np.load(found), expected.values)
    assert seen == {1}
    assert torch.get_num_threads() == before
