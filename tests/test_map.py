"""Maps: the plane, the colors, and the page, in a browser where there is one."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import numpy as np
import pytest
from folder_trees import noise

from musicssl import ConfigError, DependencyError, EmbeddingTable, OutputError
from musicssl.maps import PROJECTIONS, write_map
from musicssl.maps.coloring import coloring, folders
from musicssl.maps.projection import project

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
HOSTILE = [
    "</script><script>window.pwned=1</script>.wav",
    "a/<img src=x onerror='window.pwned=1'>.wav",
    'a/"><b>bold</b>&amp;&lt;.wav',
    "a/line\nbreak\r\tand tab.wav",
    "b/\u202egnp.exe \u0645\u0631\u062d\u0628\u0627.wav",
    "b/" + "long" * 50 + ".wav",
    "b/javascript:window.pwned=1.wav",
    "b/100%25 #1?.wav",
    "c/{{data}}<!-- ]]> \u2028.wav",
    "c/`${window.pwned=1}`.wav",
    "c/__proto__",
    "c/not unicode \udcff.wav",
]


def table(names: list[str], folder: Path, **columns: list[Any]) -> EmbeddingTable:
    values = np.random.default_rng(0).standard_normal((len(names), 8)).astype(np.float32)
    return EmbeddingTable(values, names, [str(folder / name) for name in names], columns)


def page_data(page: Path) -> Any:
    """Return the data as a browser would read them."""
    text = page.read_text(encoding="utf-8")
    (found,) = re.findall(r'<script id="data" type="application/json">(.*?)</script>', text, re.S)
    return json.loads(found)


def in_browser(page: Path, script: str, width: int = 1000, dark: bool = False) -> Any:
    """Run a script in a frame with a copy of a page, and return what it calls `report` with."""
    if BROWSER is None:
        pytest.skip("there is no Chromium")
    call = "const report = (x) => parent.postMessage(JSON.stringify(x), '*');"
    text = page.read_text(encoding="utf-8")
    inner = page.with_name("inner.html")
    added = f"<script>{call}(async () => {{{script}}})();</script></body>"
    inner.write_text(text.replace("</body>", added), encoding="utf-8")
    outer = page.with_name("outer.html")  # a frame may be narrower than any window
    outer.write_text(
        f"<!doctype html><iframe src=inner.html style='width:{width}px;height:800px;border:0'>"
        "</iframe><script>onmessage = (event) => { const p = document.createElement('pre');"
        " p.textContent = event.data; document.body.append(p); };</script>",
        encoding="utf-8",
    )
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={page.parent / 'profile'}", "--virtual-time-budget=5000"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", outer.as_uri()]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    found = re.search(rb"<pre>(.*)</pre>", done.stdout, re.S)
    assert found, done.stdout[-500:] + done.stderr[-500:]
    return json.loads(html.unescape(found[1].decode()))


KEY = """const key = (k, target = map) =>
  target.dispatchEvent(new KeyboardEvent("keydown", {key: k, bubbles: true}));"""


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    return write_map(table(HOSTILE, folder), folder / "map.html", title="<b>A & B</b>")


def test_names_of_any_kind_come_through_as_they_are(hostile: Path) -> None:
    text = hostile.read_text(encoding="utf-8")
    assert text.count("<script") == text.count("</script") == 2
    assert "<img" not in text and "<title>&lt;b&gt;A &amp; B&lt;/b&gt;</title>" in text
    assert "\u2028" not in text and "\u202e" not in text
    data = page_data(hostile)
    assert data["names"] == HOSTILE
    for name, link in zip(HOSTILE, data["links"], strict=True):
        assert re.fullmatch(r"[\w/.~%-]+", link, re.ASCII), link
        assert unquote(link, errors="surrogateescape") == name
        assert urljoin("file:///here/map.html", link).startswith("file:///here/")


def test_no_name_is_code_in_a_browser(hostile: Path) -> None:
    found = in_browser(
        hostile,
        KEY
        + """
        const map = $("map"), shown = [];
        for (let i = 0; i < n; i++) { choose(i, true); hovered = -1; hover(...place(i));
          shown.push($("now").firstChild.data); }
        await new Promise((next) => setTimeout(next, 500));
        const texts = [...document.querySelectorAll("#list .name")].map((x) => x.textContent);
        report({pwned: window.pwned ?? null, images: document.querySelectorAll("img, b").length,
          shown, texts, tip: $("tip").textContent, title: document.title});
        """,
    )
    assert found["pwned"] is None and found["images"] == 0
    last = [name.rpartition("/")[2] for name in HOSTILE]
    assert found["shown"][:-1] == last[:-1]  # the last one's is replaced in print
    assert found["title"] == "<b>A & B</b>"
    assert set(found["texts"]) <= {*last, found["shown"][-1]}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    names = [f"{'abc'[i % 3]}/song {i}.wav" for i in range(30)]
    noise(folder / names[0])
    shades = {"duration": [float(i) for i in range(30)]}
    return write_map(table(names, folder, **shades), folder / "map.html")


def test_keys_walk_play_search_and_clear(page: Path) -> None:
    found = in_browser(
        page,
        KEY
        + """
        const map = $("map"); map.focus();
        const walk = [];
        for (const k of ["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "ArrowRight"]) {
          key(k); walk.push(chosen); }
        const now = $("now").textContent, src = $("audio").getAttribute("src");
        const alike = $("list").children.length;
        const zoomed = (key("+"), view.zoom), fitted = (key("0"), view.zoom);
        key("/", document); const searching = document.activeElement.id;
        $("search").value = "SONG 1 b"; search();
        const hits = [...document.querySelectorAll("#list .name")].map((x) => x.textContent);
        key("Escape", document);
        report({walk, now, src, alike, zoomed, fitted, searching, hits, after: chosen,
          all: $("list").children.length, live: $("now").getAttribute("aria-live")});
        """,
    )
    assert -1 not in found["walk"] and len(set(found["walk"])) > 1
    i = found["walk"][-1]
    assert f"song {i}.wav" in found["now"] and found["src"] == page_data(page)["links"][i]
    assert found["alike"] == 8 and found["zoomed"] == 1.5 and found["fitted"] == 1
    assert found["searching"] == "search"
    assert found["hits"] == [f"song {i}.wav" for i in (1, 10, 13, 16, 19)]
    assert (found["after"], found["all"], found["live"]) == (-1, 30, "polite")


def test_a_click_chooses_and_the_file_loads(page: Path) -> None:
    found = in_browser(
        page,
        """
        const map = $("map"), box = map.getBoundingClientRect(), [x, y] = place(0);
        const at = {clientX: box.left + x, clientY: box.top + y, pointerType: "mouse"};
        map.setPointerCapture = () => {};
        map.dispatchEvent(new PointerEvent("pointermove", at));
        const tip = $("tip").textContent;
        map.dispatchEvent(new PointerEvent("pointerdown", at));
        map.dispatchEvent(new PointerEvent("pointerup", at));
        const loaded = await new Promise((next) => {
          $("audio").addEventListener("loadedmetadata", () => next($("audio").duration));
          $("audio").addEventListener("error", () => next("error"));
          $("audio").preload = "auto"; $("audio").load(); });
        const good = $("trouble").hidden;
        choose(1, false);
        await new Promise((next) => {
          $("audio").addEventListener("error", next); $("audio").load(); });
        report({tip, chosen, loaded, good, trouble: $("trouble").textContent});
        """,
    )
    assert found["tip"] == "a/song 0.wav"
    assert found["loaded"] == pytest.approx(0.3, abs=0.01) and found["good"]
    assert found["trouble"] == "Cannot be played here: b/song 1.wav"


def test_groups_are_switched_and_scales_have_ends(page: Path) -> None:
    found = in_browser(
        page,
        """
        const buttons = [...document.querySelectorAll("#legend button")];
        const labels = buttons.map((x) => x.textContent);
        const drawn = () => data.names.filter((_, i) => visible(i)).length;
        buttons[0].click();
        const fewer = drawn(), pressed = buttons[0].getAttribute("aria-pressed");
        $("color").value = "1"; $("color").dispatchEvent(new Event("change"));
        report({labels, fewer, pressed, drawn: drawn(), scale: $("legend").textContent,
          different: new Set(colors).size});
        """,
    )
    assert found["labels"] == ["a (10)", "b (10)", "c (10)"]
    assert (found["fewer"], found["pressed"], found["drawn"]) == (20, "false", 30)
    assert found["scale"] == "029" and found["different"] > 20


@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_can_be_read(hostile: Path, dark: bool) -> None:
    found = in_browser(
        hostile,
        """
        const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((c) => c / 255).map(
          (c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
          .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
        const probe = document.createElement("i"); document.body.append(probe);
        const shade = (name) => { probe.style.color = `var(${name})`;
          return light(rgb(getComputedStyle(probe).color)); };
        const against = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const paper = shade("--paper"), contrast = {};
        const names = ["ink", "soft", "c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];
        for (const name of names.map((x) => `--${x}`))
          contrast[name] = against(shade(name), paper);
        choose(5, false);
        const small = [...document.querySelectorAll("button, input, select")]
          .filter((x) => x.offsetHeight && x.offsetHeight < 30).map((x) => x.id || x.className);
        report({wide: document.documentElement.scrollWidth, contrast, small,
          dark: matchMedia("(prefers-color-scheme: dark)").matches, tall: $("map").clientHeight});
        """,
        width=375,
        dark=dark,
    )
    assert found["wide"] <= 375 and found["tall"] >= 300 and found["small"] == []
    assert found["dark"] is dark
    contrast = found["contrast"]
    assert min(contrast["--ink"], contrast["--soft"]) >= 4.5  # WCAG 2.2, text
    assert min(contrast.values()) >= 3  # and graphics


def test_folders_are_those_that_differ_first() -> None:
    assert folders(["x/a/1", "x/b/2", "x/b/c/3"]) == ["a", "b", "b"]
    assert folders(["1", "a/2"]) == ["", "a"]
    assert folders(["a/1", "a/2"]) == ["", ""]


def test_colors_are_groups_or_a_scale() -> None:
    years = coloring("year", [str(1990 + i) for i in range(20)] + [""])
    assert (years["low"], years["high"], years["values"][-1]) == (1990, 2009, None)
    assert coloring("few", [1, 2, 1])["labels"] == ["1", "2"]
    assert "labels" in coloring("mixed", [*map(str, range(20)), "x"])
    many = coloring("many", ["common"] * 5 + [f"rare {i}" for i in range(20)])
    assert len(many["labels"]) == 8 and many["other"] == 7 and many["labels"][0] == "common"
    assert sum(many["counts"]) == 25
    assert coloring("none", [float("nan"), None, "a"])["labels"] == ["", "a", "nan"]


def test_columns_of_a_csv_are_joined_by_name(tmp_path: Path) -> None:
    csv = tmp_path / "tags.csv"
    csv.write_text("\ufefffile,genre\nsong 1,jazz\nb/2.wav,rock\nnowhere,x\n", encoding="utf-8")
    songs = table(["a/song 1.wav", "b/2.wav", "c/3.wav"], tmp_path)
    page = write_map(songs, tmp_path / "map.html", metadata=csv, color="genre")
    first = page_data(page)["colorings"][0]
    assert (first["name"], first["texts"]) == ("genre", ["jazz", "rock", ""])
    with pytest.raises(ConfigError, match=r"no column 'gender'.*Did you mean 'genre'"):
        write_map(songs, page, metadata=csv, color="gender")
    for text, message in (("a,b\n1,2\n", "no column of files"), ("file,b\nx,2\n", "names none")):
        csv.write_text(text)
        with pytest.raises(ConfigError, match=message):
            write_map(songs, page, metadata=csv)
    with pytest.raises(ConfigError, match="cannot be read"):
        write_map(songs, page, metadata=tmp_path / "nowhere.csv")


@pytest.mark.parametrize("n", [1, 2, 3, 40])
@pytest.mark.parametrize("method", PROJECTIONS)
def test_every_projection_fills_the_square_and_repeats(method: str, n: int) -> None:
    units = np.random.default_rng(0).standard_normal((n, 6)).astype(np.float32)
    units[: n // 2, 0] += 20
    try:
        plane = project(units, method)
    except DependencyError as error:
        pytest.skip(str(error))
    assert plane.shape == (n, 2) and plane.min() >= 0 and plane.max() <= 1
    np.testing.assert_array_equal(plane, project(units, method))
    if n == 40:
        near, far = plane[:20].mean(0), plane[20:].mean(0)
        assert np.linalg.norm(near - far) > 2 * plane[:20].std()


def test_the_plane_of_pca_is_that_of_scikit_learn() -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    units = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    expected = decomposition.PCA(2).fit_transform(units)
    found = PROJECTIONS["pca"](units)
    for i in (0, 1):
        assert abs(np.corrcoef(expected[:, i], found[:, i])[0, 1]) == pytest.approx(1, abs=1e-6)


def test_equal_vectors_and_one_value_are_points_too(tmp_path: Path) -> None:
    same = EmbeddingTable(np.ones((3, 4), np.float32), ["a", "b", "c"], ["/a", "/b", "/c"])
    data = page_data(write_map(same, tmp_path / "map.html"))
    assert data["x"] == data["y"] == [0.5] * 3
    thin = EmbeddingTable(np.arange(3, dtype=np.float32)[:, None], ["a", "b", "c"], ["/a"] * 3)
    assert page_data(write_map(thin, tmp_path / "map.html"))["y"] == [0.5] * 3


def test_links_are_relative_to_the_page(tmp_path: Path) -> None:
    songs = EmbeddingTable(np.ones((1, 2), np.float32), ["s"], [str(tmp_path / "music/s.wav")])
    (tmp_path / "pages").mkdir()
    page = write_map(songs, tmp_path / "pages/map.html")
    assert page_data(page)["links"] == ["../music/s.wav"]
    with pytest.raises(OutputError, match="is a folder"):
        write_map(songs, tmp_path)
    with pytest.raises(OutputError, match="cannot write"):
        write_map(songs, tmp_path / "nowhere/map.html")
    with pytest.raises(ConfigError, match="method"):
        write_map(songs, page, method="pac")


@pytest.mark.parametrize("kind", ["file", "link", "loop", "fifo"])
def test_nothing_but_a_map_is_replaced(kind: str, tmp_path: Path) -> None:
    page, mine = tmp_path / "map.html", tmp_path / "mine.html"
    mine.write_text("<!doctype html>precious")
    if kind == "fifo":
        os.mkfifo(page)
    elif kind == "file":
        page.write_bytes(mine.read_bytes())
    else:
        page.symlink_to(mine if kind == "link" else page)
    before = page.lstat()
    with pytest.raises(OutputError):
        write_map(table(["a"], tmp_path), page)
    assert page.lstat() == before and mine.read_text() == "<!doctype html>precious"
    page.unlink()
    first = write_map(table(["a"], tmp_path), page).read_text(encoding="utf-8")
    assert write_map(table(["b"], tmp_path), page).read_text(encoding="utf-8") != first


def test_a_title_that_is_no_unicode_is_shown_as_far_as_it_is(tmp_path: Path) -> None:
    page = write_map(table(["a"], tmp_path), tmp_path / "map.html", title="caf\udce9 \U0001f3b5")
    assert "<title>caf\ufffd \U0001f3b5</title>" in page.read_text(encoding="utf-8")


def test_the_largest_numbers_are_colors_too(tmp_path: Path) -> None:
    names = [f"{i}.wav" for i in range(12)]
    metadata = tmp_path / "facts.csv"
    largest = float(np.finfo(np.float64).max)
    lines = [f"{name},{largest * ((i + 1) / 12)!r}" for i, name in enumerate(names)]
    metadata.write_text("\n".join(["file,size", *lines]))
    page = write_map(table(names, tmp_path), tmp_path / "map.html", metadata=metadata, color="size")
    assert page_data(page)["colorings"][0]["high"] == largest
