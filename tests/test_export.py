"""Exports: torch.export with free shapes, and ONNX files in onnxruntime, for every encoder."""

import copy
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from musicssl import ConfigError, DependencyError, ModelError, MusicEncoder, OutputError
from musicssl.checkpoint import ModelConfig
from musicssl.cli.commands import main
from musicssl.encoders import ENCODERS, EncoderConfig
from musicssl.encoders.pase import qrnn
from musicssl.export import onnx as export_module
from musicssl.export.check import largest_difference
from musicssl.folder.api import embed_folder

if not hasattr(torch.compiler, "is_exporting"):
    pytest.skip("torch is older than 2.7", allow_module_level=True)
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

WAVE = {"channels": (2, 2, 3, 3, 4, 4, 4, 4), "dim": 6}
TINY: dict[str, dict[str, Any]] = {
    "dilated": {
        **{"dim": 8, "inner": 64, "pitch_channels": (1, 2), "mel_channels": 4},
        **{"dilations": (1, 2, 3), "kernel": 5},
    },
    "pase": WAVE,
    "pase_plus": WAVE | {"hidden": 5},
    "pase_attention": WAVE | {"hidden": 8, "heads": 2, "window": 5},
}


def tiny(name: str) -> MusicEncoder:
    kind: type[EncoderConfig] = ENCODERS[name][1]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MusicEncoder(
            ModelConfig(encoder=kind(**TINY[name]), pooling="meanstd", layer=(0, -1))
        )
        model.centre.normal_()
        model.spread.uniform_(0.5, 2)
    with torch.no_grad():
        for weight in model.state_dict().values():
            weight.copy_(weight.half())  # so that 16 bits hold it
    return model.requires_grad_(False).eval()


MODELS = {name: tiny(name) for name in ENCODERS}


def music(batch: int, samples: int) -> torch.Tensor:
    """Return fading tones over noise, another one in each row."""
    random = np.random.default_rng(samples)
    seconds = np.arange(samples) / 16_000
    tones = np.sin(np.outer(random.uniform(300, 30_000, batch), seconds)) * np.exp(-seconds)
    audio = 0.5 * tones + 0.01 * random.standard_normal((batch, samples))
    return torch.from_numpy(audio.astype(np.float32))


class Export(NamedTuple):
    model: MusicEncoder
    path: Path
    program: Any  # of torch.export


def make(name: str, folder: Path) -> Export:
    """Export a model; of `dilated` the weights are stored in halves."""
    programs = []
    trace = torch.onnx.export

    def kept(*arguments: Any, **choices: Any) -> Any:
        programs.append(trace(*arguments, **choices))
        return programs[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", kept)
        patch.setattr(qrnn, "GROUP", 32)  # fewer rounds are sooner traced
        path = folder / f"{name}.onnx"
        dtype = "fp16" if name == "dilated" else "fp32"
        assert MODELS[name].export_onnx(path, dtype=dtype, check=True) == path
    return Export(MODELS[name], path, programs[0].exported_program)


@pytest.fixture(scope="module")
def dilated(tmp_path_factory: pytest.TempPathFactory) -> Export:
    return make("dilated", tmp_path_factory.mktemp("dilated"))


@pytest.fixture(scope="module", params=ENCODERS)
def exported(
    request: pytest.FixtureRequest, dilated: Export, tmp_path_factory: pytest.TempPathFactory
) -> Export:
    if request.param == "dilated":
        return dilated
    return make(request.param, tmp_path_factory.mktemp("onnx"))


def run(path: Path, audio: torch.Tensor) -> list[NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found: list[NDArray[np.float32]] = session.run(["frames", "clip"], {"audio": audio.numpy()})
    return found


def test_onnxruntime_gives_what_the_model_gives_whatever_the_shape(exported: Export) -> None:
    model, path, _ = exported
    hop = model.hop
    for batch, samples in (
        (1, 1),
        (3, 2),
        (2, hop),
        (1, hop + 1),
        (4, 15 * hop),
        (1, 17 * hop - 3),
    ):
        audio = music(batch, samples)
        frames, clip = run(path, audio)
        assert frames.shape == (batch, -(-samples // hop), model.dim)
        np.testing.assert_allclose(frames, model(audio).numpy(), atol=1e-4, rtol=0)
        expected = np.stack([model.embed(row.numpy(), model.sample_rate) for row in audio])
        np.testing.assert_allclose(clip, expected, atol=1e-4, rtol=0)
    audio = music(1, 10 * model.sample_rate)
    frames, _ = run(path, audio)
    np.testing.assert_allclose(frames, model(audio).numpy(), atol=1e-4, rtol=0)
    assert np.abs(np.diff(frames, axis=1)).max() > 0.001  # it hears what happens


def test_one_file_says_what_it_is(exported: Export) -> None:
    model, path, _ = exported
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    proto = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(proto)
    facts = {entry.key: entry.value for entry in proto.metadata_props}
    name = model.config.encoder.name
    last = model.layers - 1
    assert facts.pop("space").startswith("unsaved@")
    assert facts.pop("frame_space").endswith(f"/frame/layers=0+{last}/soxr")
    assert facts == {
        "model": "unsaved",
        "revision": "",
        "sample_rate": str(model.sample_rate),
        "hop": str(model.hop),
        "context": str(model.context),
        "layers": json.dumps([0, last]),
        "pooling": "meanstd",
        "license": "not stated",
    }, name
    dims = [
        [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    ]
    values = model.dim
    assert dims == [["batch", "samples"], ["batch", "frames", values], ["batch", 2 * values]]
    assert str(Path(torch.__file__).parent).encode() not in path.read_bytes()


def test_torch_export_leaves_batch_and_length_free(exported: Export) -> None:
    model, _, program = exported
    module = program.module()
    for batch, samples in ((1, model.hop + 1), (3, 10_000), (2, 60_001)):
        audio = music(batch, samples)
        frames, clip = module(audio)
        torch.testing.assert_close(frames, model(audio), atol=2e-5, rtol=0)
        torch.testing.assert_close(clip, model.pool(frames), atol=2e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 2, 17, 1023, 1024, 1025, 5000])
def test_the_exported_recurrence_is_the_recurrence(frames: int) -> None:
    random = torch.Generator().manual_seed(frames)
    decay, value = torch.rand(2, 2, frames, 3, generator=random)
    start = torch.rand(2, 3, generator=random)
    found = qrnn._exported_scan(decay, value, start)
    torch.testing.assert_close(found, qrnn._scan(decay, value, start), atol=1e-5, rtol=0)


def test_halves_lose_nothing_that_they_hold(dilated: Export) -> None:
    proto = onnx.load(dilated.path)
    kinds = {weight.name: weight.data_type for weight in proto.graph.initializer}
    float16, float32 = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    assert kinds["model.encoder.spectrum.window_pitch"] == float32
    assert float16 in kinds.values()
    large = [w for w in proto.graph.initializer if w.data_type == float32 and np.prod(w.dims) > 255]
    for weight in large:  # what stays would lose something
        values = onnx.numpy_helper.to_array(weight)
        assert (values.astype(np.float16) != values).any()


def test_halves_are_the_checkpoint_that_fp16_would_be(tmp_path: Path) -> None:
    model = copy.deepcopy(MODELS["dilated"])
    with torch.no_grad():
        for weight in model.state_dict().values():
            weight.mul_(1.0001)
    rounded = export_module._copied(model, halves=True)
    saved = MusicEncoder.from_pretrained(model.save_pretrained(tmp_path / "fp16", dtype="fp16"))
    for name, weight in saved.state_dict().items():
        assert torch.equal(weight, rounded.state_dict()[name])
    assert not torch.equal(rounded.centre, model.centre)
    model.centre[0, 0] = 1e6
    with pytest.raises(ModelError, match="too large for fp16; export with dtype='fp32'"):
        export_module._copied(model, halves=True)


def test_a_difference_is_found(dilated: Export) -> None:
    model = copy.deepcopy(dilated.model)
    settings = export_module.EmbedOptions().resolve(model)
    data = dilated.path.read_bytes()
    assert largest_difference(data, model, settings) < 1e-4
    model.centre += 0.5
    assert largest_difference(data, model, settings) > 0.1
    other = export_module.EmbedOptions(layer=[0, 1, 2]).resolve(model)
    assert largest_difference(data, model, other) == float("inf")
    with pytest.raises(ModelError, match="onnxruntime cannot run the exported model"):
        largest_difference(b"no model", model, settings)


def test_what_differs_is_not_written(
    dilated: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_traced", lambda *_: onnx.load(dilated.path))
    path = tmp_path / "model.onnx"
    with pytest.raises(ModelError, match=r"differs from this one by .* nothing was written"):
        MODELS["dilated"].export_onnx(path, layer=[1, 2])
    assert not any(tmp_path.iterdir())
    monkeypatch.setattr(export_module, "find_spec", lambda name: name != "onnxruntime" or None)
    assert MODELS["dilated"].export_onnx(path, layer=[1, 2]).is_file()  # not checked
    monkeypatch.setattr(export_module, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match=r"needs onnx and onnxscript: pip install"):
        MODELS["dilated"].export_onnx(path)


def test_only_an_export_is_replaced(
    dilated: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_traced", lambda *_: onnx.load(dilated.path))
    model, mine = MODELS["dilated"], tmp_path / "mine.onnx"
    mine.write_bytes(b"precious")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "nowhere")
    for name in ("mine.onnx", "link.onnx"):
        with pytest.raises(OutputError, match="there already and is no exported model"):
            model.export_onnx(tmp_path / name)
    assert mine.read_bytes() == b"precious"
    with pytest.raises(OutputError, match="is a folder"):
        model.export_onnx(tmp_path)
    again = tmp_path / "again.onnx"
    again.write_bytes(dilated.path.read_bytes())
    model.export_onnx(again, check=False)
    with pytest.raises(OutputError, match="cannot write"):
        model.export_onnx(tmp_path / "nowhere" / "model.onnx", check=False)


def test_the_command_says_what_it_wrote(
    dilated: Export,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(export_module, "_traced", lambda *_: onnx.load(dilated.path))
    folder = MODELS["dilated"].save_pretrained(tmp_path / "mine")
    path = tmp_path / "out.onnx"
    choices = ["--layer", "0,3", "--pooling", "meanstd", "--dtype", "fp16", "--license", "CC0-1.0"]
    assert main(["export", str(folder), "-o", str(path), *choices]) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        rf"musicssl export: mine is in {path}: 0\.\d MB, within \de-0[5-8] of torch in "
        r"onnxruntime, 0\.0001 is allowed",
        said,
    )
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert (facts["model"], facts["license"]) == ("mine", "CC0-1.0")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Mine\n")
    assert main(["export", str(folder), "-o", str(path), *choices[:-2], "--no-check"]) == 0
    assert "not checked" in capsys.readouterr().err
    facts = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert facts["license"] == "cc-by-4.0"
    assert main(["export", str(folder), "-o", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert main(["export", "no-model", "-o", str(path)]) == 4
    monkeypatch.setattr(export_module, "find_spec", lambda name: name != "onnxscript" or None)
    capsys.readouterr()
    sound = tmp_path / "a.wav"
    soundfile.write(sound, np.random.default_rng(0).standard_normal(4000) / 9, 16_000)
    embed_folder(sound, tmp_path / "results", model=folder)
    for command in (["export", str(folder)], ["page", str(tmp_path / "results")]):
        assert main([*command, "-o", str(tmp_path / "new")]) == 2
        said = capsys.readouterr().err
        assert "exporting needs onnxscript" in said and "writing" not in said
        assert not (tmp_path / "new").exists()


def test_what_is_no_sound_stays_in_its_row(dilated: Export) -> None:
    model, path, _ = dilated
    audio = music(3, 60 * model.hop)
    good = run(path, audio)
    for wrong in (float("nan"), float("inf"), 1e30):
        loud = audio.clone()
        loud[0, 50 * model.hop] = wrong
        frames, clip = run(path, loud)
        assert np.isnan(frames[0]).any() and np.isnan(clip[0]).any()
        far = 50 - -(-model.context // model.hop) - 1
        np.testing.assert_allclose(frames[0, :far], good[0][0, :far], atol=1e-5)
        np.testing.assert_allclose(frames[1:], good[0][1:], atol=1e-5)
        np.testing.assert_allclose(clip[1:], good[1][1:], atol=1e-5)
    frames, clip = run(path, 1e6 * audio)
    np.testing.assert_allclose(frames, model(1e6 * audio).numpy(), atol=1e-4)
    frames, clip = run(path, audio[:0])
    assert frames.shape == (0, 60, model.dim) and clip.shape == (0, 2 * model.dim)
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        run(path, audio[:, :0])


def test_choices_are_checked_first(tmp_path: Path) -> None:
    model: Any = MODELS["dilated"]
    for choice, message in (
        ({"layer": 9}, "layer 9 does not exist"),
        ({"pooling": "none"}, "the frames are an output anyway"),
        ({"pooling": "men"}, "Did you mean 'mean'"),
        ({"dtype": "int8"}, "dtype 'int8' is unknown"),
        ({"check": "yes"}, "check must be True or False"),
        ({"license": 1}, "license must be a string"),
    ):
        with pytest.raises(ConfigError, match=message):
            model.export_onnx(tmp_path / "model.onnx", **choice)
    assert not any(tmp_path.iterdir())
