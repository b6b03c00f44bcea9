"""`write_page`: a folder with a page, a model for it, and a collection to look songs up in."""

import base64
import html
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from musicssl import arguments
from musicssl.atomic import atomic_write, atomic_write_text
from musicssl.errors import ConfigError, OutputError
from musicssl.export import export_onnx, need_packages
from musicssl.folder.paths import writing
from musicssl.library import EmbeddingTable
from musicssl.maps.html import filled, json_in_html, links, only_over_own, unicode_text
from musicssl.model import MusicEncoder
from musicssl.search.query import Embedder
from musicssl.search.standardize import Standardizer

RUNTIME = "https://cdn.jsdelivr.net/npm/onnxruntime-web@1.30.0/dist/"
_FILES = ("ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
# of the first of them at that address, which loads the others
_INTEGRITY = "sha384-Bw6URI+Gvoadw0do7/QrSHUC9D1vCYYK5OSqChFyhyV5mzPL4oe2rOAFljAnS8Sq"
_MARK = b'<meta name="generator" content="musicssl page">'  # in page.html


def write_page(
    table: EmbeddingTable,
    folder: str | Path,
    *,
    model: str | Path | MusicEncoder | None = None,
    title: str = "Songs like yours",
    runtime: str | Path | None = None,
    check: bool | None = None,
    on_start: Callable[[], object] = lambda: None,
) -> Path:
    """Write a page on which a song is dropped and those of a collection that are like it are shown.

    The song is embedded in the browser and goes nowhere. Browsers load the model only from a web
    server, such as ``python -m http.server``.

    Parameters
    ----------
    table
        The collection: what `musicssl.load_embeddings` returned.
    folder
        For ``index.html`` and ``model.onnx``. The page links to the music relative to it.
    model
        What made the embeddings; None for what they say.
    title
        Of the page.
    runtime
        Folder with the files of the npm package onnxruntime-web (its `dist`), which are copied, or
        the address of such a folder. None for a public address, so that visitors need the network.
    check
        As in `MusicEncoder.export_onnx`.
    on_start
        Called when nothing is left that would refuse it.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    ConfigError
        If a choice does not exist.
    DependencyError
        If a package of ``musicssl[onnx]`` is missing.
    ModelError
        If the model cannot be loaded, or is not what made the embeddings.
    OutputError
        If the page cannot be written, or something else is in its place.
    """
    if not len(table):
        raise OutputError("there are no songs, and nothing to compare with.")
    folder = arguments.path(folder, "folder")
    page = folder / "index.html"
    only_over_own(page, _MARK, "page of songs")
    address, copied = _runtime(runtime)
    check = need_packages(check)
    encoder = Embedder(table.space, table.settings, model, "cpu").load()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    layers = list(table.settings["layers"])
    pooling = table.settings["pooling"]
    export_onnx(
        encoder,
        folder / "model.onnx",
        layer=layers,
        pooling=pooling,
        dtype="fp16",
        check=check,
        on_start=on_start,
    )
    for file in copied:
        with writing(folder / file.name), atomic_write(folder / file.name) as out:
            out.write(file.read_bytes())
    data = _collection(table, page) | {
        "hop": encoder.hop,
        "context": encoder.context,
        "sampleRate": encoder.sample_rate,
        "remembers": bool(encoder.encoder.memory),
        "pooling": pooling,
        "mono": table.settings.get("mono", "mean"),
        "runtime": address,
        "integrity": _INTEGRITY if address == RUNTIME else "",
    }
    text = filled(
        "musicssl.browser",
        title=html.escape(unicode_text(title)),
        origin=html.escape(_origin(address)),
        data=json_in_html(data),
    )
    with writing(page):
        atomic_write_text(page, text)
    return page


def _runtime(runtime: str | Path | None) -> tuple[str, list[Path]]:
    """Return the address of onnxruntime-web, as the page sees it, and files to copy."""
    if runtime is None:
        return RUNTIME, []
    if isinstance(runtime, str) and re.match(r"https?://", runtime):
        return runtime.rstrip("/") + "/", []
    files = [arguments.path(runtime, "runtime") / name for name in _FILES]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise ConfigError(
            f"runtime must be an address or a folder with {', '.join(_FILES)}, files of the npm "
            f"package onnxruntime-web; {os.fspath(runtime)} lacks {', '.join(missing)}."
        )
    return "./", files


def _origin(address: str) -> str:
    """Return where scripts may come from besides the page's own place."""
    found = re.match(r"https?://[\w.:\[\]-]+", address)
    return found[0] if found else ""


def _collection(table: EmbeddingTable, page: Path) -> dict[str, Any]:
    """Return the songs and their standardized vectors, as the page reads them."""
    standardizer = Standardizer.fit(table.values)
    units, _ = standardizer.units(table.values)
    return {
        "names": table.sources,
        "links": links(table, page),
        "units": _base64(units),
        "center": _base64(standardizer.center),
        "scale": _base64(standardizer.scale),
    }


def _base64(values: NDArray[Any]) -> str:
    """Return numbers as the bytes of a Float32Array."""
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode("ascii")
