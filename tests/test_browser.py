"""The page that finds songs like a song: in a browser where there is one.

The runtime is a stand-in that asks the test's own server for the frames, so nothing of
onnxruntime-web is needed. Where ONNXRUNTIME_WEB names a folder with its files, that is used.
"""

import json
import os
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from musicssl import ConfigError, EmbeddingTable, ModelError, MusicEncoder, OutputError
from musicssl.browser import page as page_module
from musicssl.browser import write_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
REAL = os.environ.get("ONNXRUNTIME_WEB")
RATE = 44_100
NAMES = ["a/</script><img src=x onerror=window.pwned=1>.wav", "b/low & slow.wav", "b/noise.wav"]
STUB = """
const ort = { env: { wasm: {} }, Tensor: class { constructor(kind, data, dims) {
  this.data = data; this.dims = dims; } } };
ort.InferenceSession = { create: async (bytes) => ({ run: async (feeds) => {
  if (bytes.length !== 5) throw new Error("no model");
  const answer = await fetch("/run", { method: "POST", body: feeds.audio.data });
  const data = new Float32Array(await answer.arrayBuffer());
  return { frames: { data, dims: [1, data.length / 16, 16] } }; } }) };
"""


class Server(SimpleHTTPRequestHandler):
    """Files of the folder, the frames of posted audio, and reports of the page."""

    def __init__(self, model: MusicEncoder, reports: Any, *rest: Any, **more: Any) -> None:
        self.model, self.reports = model, reports
        super().__init__(*rest, **more)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/report":
            self.reports.put(json.loads(body))
            answer = b""
        else:
            audio = torch.from_numpy(np.frombuffer(body, "<f4").copy())[None]
            with torch.inference_mode():
                answer = self.model(audio).numpy().tobytes()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> MusicEncoder:
    return MusicEncoder.from_pretrained(tiny_model_folder)


def songs() -> list[Any]:
    """Return a tone, another with noise, longer than a chunk, and noise."""
    random = np.random.default_rng(0)
    seconds = np.arange(24 * RATE) / RATE
    high = np.sin(2 * np.pi * 880 * seconds[:90_000]) * np.exp(-seconds[:90_000])
    low = np.sin(2 * np.pi * 110 * seconds) * np.sin(seconds)
    hiss = random.uniform(-0.1, 0.1, len(low))  # also above what the model hears
    return [0.5 * high, 0.5 * low + hiss, random.uniform(-0.5, 0.5, 80_000)]


@pytest.fixture(scope="module")
def table(model: MusicEncoder) -> EmbeddingTable:
    """Three songs in the tiny model's space."""
    settings = {
        "model": "tiny",
        "weights_sha256": model.weights_sha256,
        "pooling": "meanstd",
        "layers": [2],
        "resampler": "soxr",
    }
    clips = [clip.astype(np.float32) for clip in songs()]
    values: Any = model.embed(clips, RATE, pooling="meanstd", layer=2)
    return EmbeddingTable(values, NAMES, [f"/music/{name}" for name in NAMES], {}, "", settings)


def write(table: EmbeddingTable, folder: Path, model: Any, **choices: Any) -> Path:
    """Write a page, with a model of five bytes unless a real runtime reads it."""
    if REAL:
        return write_page(table, folder, model=model, runtime=REAL, **choices)
    runtime = folder.parent / "runtime"
    runtime.mkdir(exist_ok=True)
    for name in page_module._FILES:
        (runtime / name).write_text(STUB if name.endswith("min.js") else "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "export_onnx", lambda _, path, **k: path.write_bytes(b"model"))
        return write_page(table, folder, model=model, runtime=runtime, **choices)


@pytest.fixture(scope="module")
def served(
    table: EmbeddingTable, model: MusicEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, str, Any]]:
    """The page's folder, its address, and what it reports."""
    root = tmp_path_factory.mktemp("site")
    page = write(table, root / "page", model, title="<i>Mine</i> & yours")
    soundfile.write(root / "page" / "song.wav", songs()[1], RATE, subtype="FLOAT")
    reports: Any = queue.Queue()
    handler = partial(Server, model, reports, directory=root)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield page.parent, f"http://127.0.0.1:{server.server_address[1]}/page/", reports
        server.shutdown()


def in_browser(served: Any, script: str, width: int = 1000, dark: bool = False) -> Any:
    """Run a script in a frame with a copy of the page, and return what it reports."""
    if BROWSER is None:
        pytest.skip("there is no Chromium")
    folder, address, reports = served
    call = "const report = (x) => fetch('/report', {method: 'POST', body: JSON.stringify(x)});"
    added = f"""<script>{call} (async () => {{
      const bytes = await (await fetch("song.wav")).arrayBuffer();
      const song = new File([bytes], "my <b>song</b>.wav");
      {script}
    }})().catch((error) => report({{error: String(error)}}));</script></body>"""
    text = (folder / "index.html").read_text(encoding="utf-8")
    (folder / "inner.html").write_text(text.replace("</body>", added), encoding="utf-8")
    (folder / "outer.html").write_text(
        f"<!doctype html><iframe src=inner.html style='width:{width}px;height:800px;border:0'>"
    )
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"]
    command += [f"--user-data-dir={folder.parent / 'profile'}"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}"]
    browser = subprocess.Popen(
        [*command, f"{address}outer.html"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        return reports.get(timeout=120)
    finally:
        browser.terminate()
        browser.wait(timeout=30)


def test_a_dropped_song_is_found_in_its_collection(
    served: Any, model: MusicEncoder, table: EmbeddingTable
) -> None:
    found = in_browser(
        served,
        """
        const files = new DataTransfer();
        files.items.add(song);
        dispatchEvent(new DragEvent("drop", { dataTransfer: files, cancelable: true }));
        const during = { busy, status: $("status").textContent, disabled: $("choose").disabled };
        const vector = await (async () => { while (busy) await breath(); return take(song); })();
        const rows = [...document.querySelectorAll("#list button")];
        const own = $("audio").getAttribute("src").slice(0, 5);
        rows[1].click();
        report({ vector: Array.from(vector), during,
          names: rows.map((row) => row.querySelector(".name").textContent),
          scores: rows.map((row) => Number(row.querySelector(".score").textContent)),
          heading: $("found-title").textContent, status: $("status").textContent, own,
          now: $("now").textContent, src: $("audio").getAttribute("src"),
          current: rows.map((row) => row.getAttribute("aria-current")),
          pwned: window.pwned ?? null, made: document.querySelectorAll("img, b, i").length,
          title: document.title, left: $("progress").hidden && !$("choose").disabled });
        """,
    )
    assert "error" not in found
    assert found["during"]["busy"] and found["during"]["disabled"]
    assert found["during"]["status"] == "Listening to my <b>song</b>.wav …"
    np.testing.assert_allclose(found["vector"], table.values[1], atol=0.005, rtol=0)
    assert found["names"][0] == "low & slow.wav" and len(found["names"]) == 3
    assert found["scores"][0] == 1 and found["scores"] == sorted(found["scores"], reverse=True)
    assert found["heading"] == "Most like my <b>song</b>.wav" and found["own"] == "blob:"
    assert re.fullmatch(r"Heard in \d+\.\d s\.", found["status"]) and found["left"]
    assert found["now"] == found["names"][1] and found["current"] == [None, "true", None]
    assert found["src"].startswith("../") or found["src"].startswith("/")
    assert found["pwned"] is None and found["made"] == 0
    assert found["title"] == "<i>Mine</i> & yours"


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_can_be_read_and_says_what_is_wrong(served: Any, dark: bool) -> None:
    found = in_browser(
        served,
        """
        await take(new File(["no music"], "notes.txt"));
        const wrong = [$("trouble").textContent, $("trouble").hidden, $("found").hidden];
        await take(song);
        const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map(
          (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
          .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const probe = document.createElement("s"); document.body.append(probe);
        const shade = (name) => { probe.style.color = `var(${name})`;
          return light(rgb(getComputedStyle(probe).color)); };
        const against = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const pairs = [["--ink", "--paper"], ["--ink", "--panel"], ["--ink", "--bar"],
          ["--soft", "--paper"], ["--soft", "--panel"], ["--bad", "--paper"],
          ["--paper", "--accent"]];
        report({ wrong, wide: document.documentElement.scrollWidth,
          contrast: pairs.map(([a, b]) => against(shade(a), shade(b))),
          good: $("trouble").hidden && !$("found").hidden,
          small: [...document.querySelectorAll("button")].filter((x) => x.offsetHeight < 44).length,
          dark: matchMedia("(prefers-color-scheme: dark)").matches });
        """,
        width=375,
        dark=dark,
    )
    assert found["wrong"] == ["notes.txt: this browser cannot decode it; is it music?", False, True]
    assert found["wide"] <= 375 and found["small"] == 0 and found["good"]
    assert found["dark"] is dark
    assert min(found["contrast"]) >= 4.5  # WCAG 2.2, text


def test_the_page_is_data_and_links(table: EmbeddingTable, model: Any, tmp_path: Path) -> None:
    page = write(table, tmp_path / "page", model)
    assert page == tmp_path / "page" / "index.html"
    files = {file.name for file in page.parent.iterdir()}
    assert files == {"index.html", "model.onnx", *page_module._FILES}
    text = page.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script") == 2 and "<img" not in text
    (found,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    data = json.loads(found)
    assert data["names"] == NAMES and data["links"][1].endswith("/music/b/low%20%26%20slow.wav")
    assert (data["hop"], data["sampleRate"], data["remembers"]) == (882, 22_050, False)
    assert data["runtime"] == "./" and data["integrity"] == ""


def test_the_runtime_is_a_folder_an_address_or_public(
    table: EmbeddingTable, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_module, "export_onnx", lambda *_, **k: None)
    page = write_page(table, tmp_path / "a", model=model)
    text = page.read_text(encoding="utf-8")
    assert page_module.RUNTIME in text and "sha384-" in text
    assert "connect-src 'self' https://cdn.jsdelivr.net;" in text
    page = write_page(table, tmp_path / "b", model=model, runtime="http://localhost:8000/ort")
    text = page.read_text(encoding="utf-8")
    assert '"runtime":"http://localhost:8000/ort/"' in text and "sha384-" not in text
    with pytest.raises(ConfigError, match=r"npm package onnxruntime-web; .* lacks ort\.wasm"):
        write_page(table, tmp_path / "c", model=model, runtime=tmp_path)


def test_only_a_page_of_the_same_space_is_written(
    table: EmbeddingTable, model: Any, tmp_path: Path
) -> None:
    (tmp_path / "page").mkdir()
    mine = tmp_path / "page" / "index.html"
    mine.write_text("<!doctype html>precious")
    with pytest.raises(OutputError, match="is no page of songs"):
        write(table, tmp_path / "page", model)
    assert mine.read_text() == "<!doctype html>precious"
    mine.unlink()
    write(table, tmp_path / "page", model)
    write(table, tmp_path / "page", model)  # its own is replaced
    other = MusicEncoder(model.config).eval()
    with pytest.raises(ModelError, match="cannot be compared"):
        write(table, tmp_path / "other", other)
    bare = EmbeddingTable(table.values, NAMES, table.paths)
    with pytest.raises(ConfigError, match="does not say which model made them"):
        write(bare, tmp_path / "other", model)
    none = EmbeddingTable(table.values[:0], [], [], {}, "", table.settings)
    with pytest.raises(OutputError, match="there are no songs"):
        write(none, tmp_path / "other", model)
    assert not (tmp_path / "other").exists()
