"""`export_onnx`: a model as one ONNX file, front end included, for audio of any length."""

import copy
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from musicssl import arguments, forking
from musicssl.atomic import atomic_write
from musicssl.checkpoint.bundled import bundled_models, describe_model
from musicssl.errors import ConfigError, DependencyError, ModelError, OutputError, pick
from musicssl.export.check import largest_difference
from musicssl.export.halves import store_in_halves
from musicssl.inference.options import EmbedOptions, Settings
from musicssl.inference.precision import in_full_precision
from musicssl.network import Layer, Network
from musicssl.space import Space

TOLERANCE = 1e-4  # between onnxruntime and torch, of standardized values
OPSET = 20
DTYPES = {"fp32": False, "fp16": True}  # of the weights in the file
PRODUCER = "musicssl"  # near the beginning of a file that may be replaced
_HEAD = 100  # bytes, in which it is


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was written."""

    path: Path
    size: int  # bytes
    difference: float | None  # largest from torch, where it was checked


class _Graph(nn.Module):
    """Audio to frames and to clips, as the file has them."""

    def __init__(self, model: Network, settings: Settings) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(self, audio: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.model(audio, layer=self.settings.layers)
        return frames, self.model.pool(frames, pooling=self.settings.pooling)


def export_onnx(
    model: Network,
    path: str | Path,
    *,
    layer: Layer = None,
    pooling: str | None = None,
    dtype: str = "fp32",
    check: bool | None = None,
    license: str | None = None,
    on_start: Callable[[], object] = lambda: None,
) -> Exported:
    """Write a model as an ONNX file; see `MusicEncoder.export_onnx`.

    `on_start` is called when nothing is left that would refuse it.

    Raises
    ------
    ConfigError
        If there is no such layer, pooling or dtype.
    DependencyError
        If a package is missing.
    ModelError
        If the file would not give what the model gives.
    OutputError
        If the file cannot be written, or something else is in its place.
    """
    path = arguments.path(path, "path")
    halves = pick(DTYPES, dtype, "dtype")
    if check is not None:
        arguments.flag(check, "check")
    if license is not None:
        arguments.text(license, "license")
    settings = EmbedOptions(layer=layer, pooling=pooling).resolve(model)
    if settings.pooling == "none":
        raise ConfigError("pooling must be mean, max or meanstd: the frames are an output anyway.")
    check = need_packages(check)
    _only_over_an_export(path)
    on_start()
    own = _copied(model, halves=halves)
    proto = _traced(_Graph(own, settings), own)
    if halves:
        store_in_halves(proto)
    facts = _facts(model, own, settings, license)
    for key, value in facts.items():
        proto.metadata_props.add(key=key, value=value)
    data: bytes = proto.SerializeToString()
    difference = _checked(data, own, settings) if check else None
    try:
        with atomic_write(path) as file:
            file.write(data)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}.") from error
    return Exported(path, len(data), difference)


def need_packages(check: bool | None) -> bool:
    """Refuse to begin without what exporting takes.

    Parameters
    ----------
    check
        As in `MusicEncoder.export_onnx`.

    Returns
    -------
    bool
        Whether to check the file.

    Raises
    ------
    DependencyError
        If a package is missing, or too old.
    """
    if check is None:
        check = find_spec("onnxruntime") is not None
    if not hasattr(torch.compiler, "is_exporting"):
        raise DependencyError(
            f"exporting needs torch 2.7 or newer, and this is {torch.__version__}."
        )
    names = ("onnx", "onnxscript", *(["onnxruntime"] if check else []))
    missing = [name for name in names if find_spec(name) is None]
    if missing:
        raise DependencyError(
            f"exporting needs {' and '.join(missing)}: pip install 'musicssl[onnx]'."
        )
    return check


def _only_over_an_export(path: Path) -> None:
    """Raise an OutputError if there is no such folder, or something that no earlier export is."""
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}.")
    if not os.path.lexists(path):
        return
    if path.is_dir():
        raise OutputError(f"{path} is a folder; expected the name of a file, such as model.onnx.")
    try:
        if path.is_file():
            with path.open("rb") as file:
                if PRODUCER.encode() in file.read(_HEAD):
                    return
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}.") from error
    raise OutputError(
        f"{path} is there already and is no exported model; remove it or choose another name."
    )


def _copied(model: Network, *, halves: bool) -> Network:
    """Return a copy to trace, in fp32 on the CPU, its weights rounded if they will be."""
    with torch.no_grad():
        own = copy.deepcopy(in_full_precision(model)).to("cpu").eval().requires_grad_(False)
        if halves:
            for tensor in own.state_dict().values():
                tensor.copy_(tensor.half())
                if not tensor.isfinite().all():
                    raise ModelError("a weight is too large for fp16; export with dtype='fp32'.")
    return own


def _traced(graph: _Graph, model: Network) -> Any:
    """Return the graph as a ModelProto whose batch and samples are free."""
    free = torch.export.Dim.DYNAMIC
    example = torch.zeros(2, 3 * model.hop + 1)  # no more frames: nothing depends on them
    with _quiet(), forking.uninterrupted(), torch.no_grad():
        program: Any = torch.onnx.export(
            graph.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["audio"],
            output_names=["frames", "clip"],
            dynamic_shapes={"audio": {0: free, 1: free}},
            verbose=False,
        )
    proto = program.model_proto
    names = {"audio": ("batch", "samples"), "frames": ("batch", "frames"), "clip": ("batch",)}
    for value in (*proto.graph.input, *proto.graph.output):
        for name, dimension in zip(
            names[value.name], value.type.tensor_type.shape.dim, strict=False
        ):
            dimension.dim_param = name
        del value.metadata_props[:]
    del proto.graph.value_info[:]  # these name the dimensions otherwise
    for node in proto.graph.node:
        del node.metadata_props[:]  # traces of this machine's own files
        node.doc_string = ""
    proto.producer_name, proto.producer_version = PRODUCER, _version()
    return proto


def _version() -> str:
    from musicssl import __version__

    return __version__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what the exporter says of packages that this model does not need."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        log.setLevel(before)


def _facts(model: Network, own: Network, settings: Settings, license: str | None) -> dict[str, str]:
    """Return what a user of the file must know, as its metadata."""
    frames = EmbedOptions(level="frame", layer=settings.layers).resolve(own)
    return {
        "model": model.model_id,
        "revision": model.revision or "",
        "space": Space.of(own, settings).id,
        "frame_space": Space.of(own, frames).id,
        "sample_rate": str(model.sample_rate),
        "hop": str(model.hop),
        "context": str(model.context),
        "layers": json.dumps(list(settings.layers)),
        "pooling": settings.pooling,
        "license": license or _license(model),
    }


def _license(model: Network) -> str:
    """Return the licence of the weights, as far as it is known."""
    folder = bundled_models().get(model.model_id)
    if folder is None or not model.weights_sha256:
        return "not stated"
    return describe_model(folder).weights_licence


def _checked(data: bytes, model: Network, settings: Settings) -> float:
    """Return the largest difference from torch, which must be small."""
    difference = largest_difference(data, model, settings)
    if not difference <= TOLERANCE:
        raise ModelError(
            f"the exported model differs from this one by {difference:.2g} in onnxruntime; "
            f"at most {TOLERANCE:g} is allowed, so nothing was written."
        )
    return difference
