"""Checkpoints, layers, loading, the one call."""

import contextlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

import musicssl
from musicssl import kept
from musicssl.checkpoint import ModelConfig
from musicssl.encoders import DilatedConfig
from musicssl.errors import AudioError, ConfigError, ModelError, OutputError
from musicssl.inference.options import EmbedOptions
from musicssl.model import MusicEncoder, load_model

RATE = 22_050
TONE = (0.3 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> MusicEncoder:
    torch.manual_seed(0)
    config = DilatedConfig(dim=16, inner=24, pitch_channels=(2, 3), mel_channels=8)
    return MusicEncoder(ModelConfig(encoder=config)).requires_grad_(False).eval()


def edited(folder: Path, tmp_path: Path, **changes: object) -> Path:
    """Return a copy of a checkpoint whose config.json is changed."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    return tmp_path


def test_saved_and_loaded_is_the_same(model: MusicEncoder, tmp_path: Path) -> None:
    saved = load_model(model.save_pretrained(tmp_path / "a", dtype="fp32"), device="cpu")
    assert saved.config == model.config
    assert np.array_equal(saved.embed(TONE, RATE), model.embed(TONE, RATE))
    assert saved.weights_sha256
    assert saved.model_id == "a"
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]


def test_half_precision_on_disk_is_near(model: MusicEncoder, tmp_path: Path) -> None:
    half = load_model(model.save_pretrained(tmp_path), device="cpu")
    assert next(half.parameters()).dtype is torch.float32
    a, b = model.embed(TONE, RATE), half.embed(TONE, RATE)
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.9999


def test_config_is_its_own_inverse(model: MusicEncoder) -> None:
    values = json.loads(json.dumps(model.config.to_dict()))
    assert ModelConfig.from_dict(values) == model.config
    assert ModelConfig.from_dict(values).to_dict() == values


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format is 2; this version reads format 1"),
        ({"poolin": "mean"}, "Did you mean 'pooling'"),
        ({"pooling": "median"}, "'median' is unknown; choose from max, mean"),
        ({"layer": "all"}, "config.layer must be a list, got 'all'"),
        ({"encoder": {"name": "dilate"}}, "Did you mean 'dilated'"),
        ({"encoder": {"name": "dilated", "dims": 3}}, "Did you mean 'dim'"),
        ({"encoder": {"name": "dilated", "dim": "3"}}, "dim must be of type int, got '3'"),
        ({"encoder": {"name": "dilated", "dim": 32}}, "weights do not fit"),
        ({"encoder": None}, "must be a mapping with a 'name'"),
    ],
)
def test_strict_loading(
    tiny_model_folder: Path, tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(edited(tiny_model_folder, tmp_path, **changes))


def test_missing_and_extra_weights_are_refused(model: MusicEncoder, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = safetensors.torch.load_file(file)
    for changed in (dict(list(tensors.items())[1:]), tensors | {"more": torch.zeros(1)}):
        safetensors.torch.save_file(changed, file)
        with pytest.raises(ModelError, match="weights do not fit"):
            load_model(tmp_path)


def test_damaged_files_are_named(model: MusicEncoder, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"model\.safetensors is damaged"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json is not JSON"):
        load_model(tmp_path)
    file.unlink()
    with pytest.raises(ModelError, match=r"has no model\.safetensors"):
        load_model(tmp_path)


def test_layers(model: MusicEncoder) -> None:
    audio = torch.from_numpy(TONE)[None]
    every = model(audio, layer="all")
    assert every.shape == (1, 25, model.layers * 16)
    chosen = model(audio, layer=[3, 0, 3])
    parts = every.split(16, dim=2)
    assert torch.equal(chosen, torch.cat([parts[3], parts[0], parts[3]], dim=2))
    assert torch.equal(model(audio), parts[-1])
    assert torch.equal(model(audio, layer=-2), model(audio, layer=model.layers - 2))
    for bad in (model.layers, -model.layers - 1, [], "first", [0, 1.5]):
        with pytest.raises(ConfigError, match="layer"):
            model(audio, layer=bad)


def test_forward_refuses_other_shapes(model: MusicEncoder) -> None:
    for shape in ((100,), (1, 0), (1, 1, 100)):
        with pytest.raises(AudioError, match="shape"):
            model(torch.zeros(shape))


def test_standardisation_is_part_of_the_model(model: MusicEncoder) -> None:
    moved = MusicEncoder(model.config).requires_grad_(False).eval()
    moved.load_state_dict(model.state_dict())
    moved.centre += 1
    moved.spread *= 2
    expected = (model.embed(TONE, RATE) - 1) / 2
    np.testing.assert_allclose(moved.embed(TONE, RATE), expected, atol=1e-6)


def test_gradients_flow_for_fine_tuning(model: MusicEncoder) -> None:
    tuned = MusicEncoder(model.config).train()
    tuned(torch.from_numpy(TONE)[None]).square().mean().backward()
    assert all(p.grad is not None for p in tuned.encoder.stem.parameters())


def test_one_call(tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    monkeypatch.setattr(kept, "_models", {})
    monkeypatch.setattr(kept, "load_model", lambda *a, **k: loads.append(a) or load_model(*a, **k))
    one = musicssl.get_embedding(TONE, RATE, model=tiny_model_folder, device="cpu")
    two = musicssl.get_embedding(
        [TONE, TONE], RATE, model=str(tiny_model_folder), device="cpu", level="frame"
    )
    assert len(loads) == 1
    loaded = load_model(tiny_model_folder, device="cpu")
    assert one.shape == (loaded.clip_dim,)
    assert [type(item).__name__ for item in two] == ["Embedding", "Embedding"]
    assert np.array_equal(musicssl.get_embedding(TONE, RATE, model=loaded), one)
    with pytest.raises(ConfigError, match="a loaded model was given"):
        musicssl.get_embedding(TONE, RATE, model=loaded, revision="main")


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What `get_embedding` loads, from nothing loaded on."""
    loads: list[object] = []
    monkeypatch.setattr(kept, "_models", {})
    monkeypatch.setattr(kept, "load_model", lambda m, **k: loads.append(m) or load_model(m, **k))
    return loads


def checkpoint(folder: Path, seed: int) -> Path:
    """Save a tiny model of its own weights."""
    torch.manual_seed(seed)
    config = DilatedConfig(dim=8, inner=8, pitch_channels=(1, 1), mel_channels=4, dilations=(1,))
    return MusicEncoder(ModelConfig(encoder=config)).save_pretrained(folder)


def test_one_checkpoint_by_any_name_is_loaded_once(
    loads: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint(tmp_path / "a", 0)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    names = [folder, str(folder), "a", "./a", Path("a"), "other/../a", f"{folder}/"]
    with contextlib.suppress(OSError):  # where links are not allowed
        (tmp_path / "link").symlink_to("a")
        names.append("link")
    for name in names:
        musicssl.get_embedding(TONE, RATE, model=name, device="cpu")
    assert len(loads) == 1
    for name in (None, "musicssl-small"):
        musicssl.get_embedding(TONE, RATE, model=name, device="cpu")
    assert len(loads) == 2


def test_a_path_is_never_a_bundled_name(loads: list[object]) -> None:
    musicssl.get_embedding(TONE, RATE, model="musicssl-small", device="cpu")
    with pytest.raises(ModelError):
        musicssl.get_embedding(TONE, RATE, model=Path("musicssl-small"), device="cpu")


def test_a_relative_name_means_the_folder_that_it_means_now(
    loads: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for i, place in enumerate(("here", "there", "here")):
        if i < 2:
            checkpoint(tmp_path / place / "a", i)
        monkeypatch.chdir(tmp_path / place)
        found.append(musicssl.get_embedding(TONE, RATE, model="a", device="cpu"))
    assert len(loads) == 2
    assert np.array_equal(found[0], found[2])
    assert not np.allclose(found[0], found[1])


def test_a_folder_whose_files_changed_is_loaded_anew(loads: list[object], tmp_path: Path) -> None:
    found = []
    for seed in (0, 1, 1):
        if len(found) < 2:
            checkpoint(tmp_path / "a", seed)
        found.append(musicssl.get_embedding(TONE, RATE, model=tmp_path / "a", device="cpu"))
    assert len(loads) == 2
    assert len(kept._models) == 1  # the one before is let go
    assert not np.allclose(found[0], found[1])
    assert np.array_equal(found[1], found[2])


def test_a_model_that_is_there_does_not_wait_for_another_to_load(
    loads: list[object], tmp_path: Path
) -> None:
    options = {"model": checkpoint(tmp_path / "a", 0), "device": "cpu"}
    musicssl.get_embedding(TONE, RATE, **options)
    with kept._loading:
        thread = threading.Thread(
            target=musicssl.get_embedding, args=(TONE, RATE), kwargs=options, daemon=True
        )
        thread.start()
        thread.join(60)
        assert not thread.is_alive()


def test_a_folder_that_cannot_be_written_to_is_named(model: MusicEncoder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"cannot write to .*file"):
            model.save_pretrained(folder)


def test_lists_of_numbers_and_of_rates(model: MusicEncoder) -> None:
    with pytest.raises(AudioError, match="a list of numbers"):
        model.embed([0.0, 0.1], RATE)
    with pytest.raises(AudioError, match="2 rates for one sound"):
        model.embed(TONE, [RATE, RATE])


def test_dtype_of_a_loaded_model(tiny_model_folder: Path) -> None:
    loaded = load_model(tiny_model_folder, device="cpu", dtype="fp32")
    assert EmbedOptions().resolve(loaded).dtype is torch.float32
    with pytest.raises(ConfigError, match="dtype 'double' is unknown"):
        load_model(tiny_model_folder, device="cpu", dtype="double")
