"""`musicssl.Index`: exact search, its odd cases, and what is kept on disk."""

import errno
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from folder_trees import noise
from hypothesis import given, settings
from hypothesis import strategies as st

import musicssl
from musicssl import ConfigError, DependencyError, Index, ModelError, OutputError, embed_folder
from musicssl.search.neighbors import SEARCHERS, Exact

PACKAGES = {"faiss": "faiss", "usearch": "usearch"}
RANDOM = np.random.default_rng(0)


def cloud(n: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    """Values whose means and spreads differ widely, as those of unstandardized features do."""
    random = np.random.default_rng(seed)
    scale = 10.0 ** random.uniform(-2, 2, dim)
    return (random.standard_normal((n, dim)) + random.uniform(-3, 3, dim)) * scale


def cosines(values: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The definition, in float64."""
    center, spread = values.mean(0), values.std(0)
    x, q = (values - center) / spread, (query - center) / spread
    return x @ q / np.linalg.norm(x, axis=1) / np.linalg.norm(q)


def same(found: list[musicssl.Neighbor], expected: list[musicssl.Neighbor]) -> None:
    assert [n.name for n in found] == [n.name for n in expected]
    assert [n.score for n in found] == pytest.approx([n.score for n in expected], abs=1e-5)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for seed in range(5):
        noise(folder / f"{seed % 2}/{seed}.wav", seed=seed)
    return folder


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path) -> musicssl.MusicEncoder:
    return musicssl.load_model(tiny_model_folder, device="cpu")


@pytest.fixture(scope="module")
def out(
    music: Path, model: musicssl.MusicEncoder, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("out")
    embed_folder(music, out, model=model)
    return out


def test_scores_are_cosines_of_standardized_vectors() -> None:
    values, query = cloud(200), cloud(1, seed=1)[0]
    expected = cosines(values, query)
    found = Index(values).search(query, k=200)
    assert [n.row for n in found] == np.argsort(-expected).tolist()
    np.testing.assert_allclose([n.score for n in found], np.sort(expected)[::-1], atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 40), k=st.integers(1, 50), queries=st.integers(1, 5), seed=st.integers(0, 9)
)
def test_exact_search_is_a_full_sort(n: int, k: int, queries: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    units = random.integers(-2, 3, (n, 3)).astype(np.float32)  # with many ties
    asked = random.integers(-2, 3, (queries, 3)).astype(np.float32)
    scores, rows = Exact(units).search(asked, min(k, n))
    for line, (query, got) in enumerate(zip(asked, rows, strict=True)):
        every = units @ query
        assert got.tolist() == np.lexsort((np.arange(n), -every))[:k].tolist()
        np.testing.assert_array_equal(scores[line], every[got])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    units, asked = cloud(100).astype(np.float32), cloud(3, seed=1).astype(np.float32)
    whole = Exact(units).search(asked, 7)
    monkeypatch.setattr("musicssl.search.neighbors._BLOCK_SCORES", 30)
    scores, rows = Exact(units).search(asked, 7)
    np.testing.assert_allclose(scores, whole[0], rtol=1e-6)
    np.testing.assert_array_equal(rows, whole[1])


def test_a_value_without_spread_and_one_of_mere_rounding_do_not_count() -> None:
    values = cloud(50)
    expected = [n.row for n in Index(values).search("3", k=49)]
    constant = np.full((50, 1), 0.1)
    rounding = np.float32(1e6) * (1 + 1e-7 * RANDOM.integers(0, 2, (50, 1)))
    wider = np.hstack([values, constant, rounding])
    index = Index(wider)
    assert [n.row for n in index.search("3", k=49)] == expected
    shifted = wider[3] + np.eye(18)[16] * 1e9  # what is searched for may differ there
    assert [n.row for n in index.search(shifted, k=50)] == [3, *expected]


def test_of_duplicates_all_are_found_in_their_order() -> None:
    values = np.repeat(cloud(4), 3, axis=0)
    found = Index(values).search("4", k=3)
    assert [n.row for n in found[:2]] == [3, 5]  # not itself
    assert [n.score for n in found[:2]] == pytest.approx([1, 1])
    assert all(n.score <= 1 for n in found)
    assert [n.row for n in Index(values).search("4", k=3, include_self=True)] == [3, 4, 5]


@pytest.mark.parametrize("values", [[[1.0, 2.0]], [[1.0, 2.0]] * 3])
def test_a_collection_without_any_spread_is_searched_as_it_is(values: list[list[float]]) -> None:
    found = Index(values).search([2.0, 4.0], k=5)
    assert [n.row for n in found] == list(range(len(values)))
    assert found[0].score == pytest.approx(1)
    assert len(Index(values).search("0")) == len(values) - 1


def test_the_very_mean_is_like_nothing() -> None:
    index = Index([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]])
    assert [n.score for n in index.search("4")] == [0, 0, 0, 0]


@pytest.mark.parametrize("k", [4, 5, 100])
def test_there_are_no_more_neighbors_than_vectors(k: int) -> None:
    index = Index(cloud(5))
    assert len(index.search("0", k=k)) == 4
    assert len(index.search(cloud(1)[0], k=k)) == min(k, 5)


def test_several_queries_are_as_many_lists() -> None:
    values = cloud(20)
    index = Index(values)
    alone = [index.search(row, k=3) for row in values[:4]]
    for several in (values[:4], torch.tensor(values[:4]), list(values[:4]), iter(values[:4])):
        found = index.search_many(several, k=3)
        assert [[n.row for n in f] for f in found] == [[n.row for n in f] for f in alone]
    mixed = index.search_many(["0", values[1]], k=3)
    assert [n.row for n in mixed[1]] == [n.row for n in alone[1]]
    assert index.search_many([]) == []
    names = np.array(["0", "1"], dtype=object)
    same(index.search_many(names)[1], index.search("1"))
    with pytest.raises(ConfigError, match="which search_many takes"):
        index.search(values[:4])
    with pytest.raises(ConfigError, match="queries must be a list"):
        index.search_many("0")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([[0.0, 1.0], [np.nan, 1.0]]), r"values\[1\] holds NaN"),
        ([[0.0, 1e300]], "infinite"),
        (np.zeros((0, 3)), r"shape \(n, dim\), got \(0, 3\)"),
        (np.zeros(3), r"shape \(n, dim\)"),
        (np.zeros((2, 2, 2)), r"shape \(n, dim\)"),
        ([[1.0, 2.0], [1.0]], "must be numbers"),
        ([["a", "b"]], "must be numbers"),
        (5, "must be numbers"),
        (np.ones((2, 2), complex), "must be numbers"),
    ],
)
def test_what_is_no_vectors_is_refused(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Index(values)


def test_names_must_fit() -> None:
    values = cloud(3)
    with pytest.raises(ConfigError, match="3 vectors, 2 names"):
        Index(values, ["a", "b"])
    with pytest.raises(ConfigError, match="name 'a' is given twice"):
        Index(values, ["a", "b", "a"])
    with pytest.raises(ConfigError, match=r"names\[1\] must be a string"):
        Index(values, ["a", 1, "c"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="names must be a list"):
        Index(values, "abc")
    with pytest.raises(ConfigError, match="Did you mean 'faiss'"):
        Index(values, method="fais")


@pytest.mark.parametrize("k", [0, -1, 1.5, "3", None])
def test_k_is_a_positive_number(k: Any) -> None:
    with pytest.raises(ConfigError, match="k must be"):
        Index(cloud(3)).search("0", k=k)


def test_queries_that_do_not_fit_are_refused() -> None:
    index = Index(cloud(3), ["songs/lost in space.mp3", "b", "c"])
    with pytest.raises(ConfigError, match=r"has 3 values, the index's vectors have 16.*sr="):
        index.search(np.zeros(3))
    with pytest.raises(ConfigError, match="NaN"):
        index.search(np.full(16, np.nan))
    with pytest.raises(ConfigError, match=r"nor a name in the index\. Did you mean 'songs/lost"):
        index.search("Lost in space.flac")
    with pytest.raises(ConfigError, match="neither a file nor a name"):
        index.search("x")
    with pytest.raises(ConfigError, match="bare vectors"):
        index.search(np.zeros(22_050), sr=22_050)


def test_a_folder_is_searched_by_file_name_audio_and_vector(
    out: Path, music: Path, model: musicssl.MusicEncoder, tmp_path: Path
) -> None:
    index = Index.from_folder(out, model=model)
    assert len(index) == 5 and index.dim == model.clip_dim and "tiny@" in index.space
    path = music / "1/3.wav"
    by_name = index.search("1/3.wav", k=4)
    assert [n.name for n in by_name] == [n.name for n in index.search(path, k=4)]
    assert "1/3.wav" not in [n.name for n in by_name]
    assert by_name[0].path == str(music / by_name[0].name)
    audio, rate = soundfile.read(path, dtype="float32")
    copy = tmp_path / "copy.wav"
    soundfile.write(copy, audio, rate, subtype="FLOAT")
    with path.open("rb") as file:
        queries: list[tuple[Any, dict[str, Any]]] = [
            (copy, {}),
            (str(copy), {}),
            (file, {}),
            (audio, {"sr": rate}),
            (torch.from_numpy(audio), {"sr": rate}),
            (model.embed(path), {}),
        ]
        for query, choices in queries:
            found = index.search(query, k=4, **choices)
            assert found[0].name == "1/3.wav", query
            assert found[0].score == pytest.approx(1, abs=1e-3)
            assert [n.name for n in found[1:]] == [n.name for n in by_name[:3]]


def test_a_file_in_the_index_is_not_embedded_again(
    out: Path, music: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musicssl.model.load_model", None)
    monkeypatch.chdir(music / "1")
    assert len(Index.from_folder(out).search("3.wav")) == 4


def test_a_file_of_which_there_are_parts_is_embedded_as_a_whole(
    music: Path, model: musicssl.MusicEncoder, tmp_path: Path
) -> None:
    file, other = music / "0/0.wav", music / "1/1.wav"
    parts = [musicssl.Segment(one, 0, end) for one in (file, other) for end in (0.1, 0.3)]
    embed_folder(parts, tmp_path / "parts", model=model)
    index = Index.from_folder(tmp_path / "parts", model=model)
    expected = index.search(model.embed(file), k=4)
    same(index.search(file, k=4, include_self=True), expected)
    same(index.search(file, k=4), [n for n in expected if n.path != str(file)])


def test_what_embeds_must_be_what_made_the_index(
    out: Path, music: Path, model: musicssl.MusicEncoder, tmp_path: Path
) -> None:
    other = noise(tmp_path / "other.wav", seed=9)
    with pytest.raises(ModelError, match=r"model 'tiny' that made this index cannot be.*model="):
        Index.from_folder(out).search(other)
    with pytest.raises(ModelError, match="cannot be compared"):
        Index.from_folder(out, model="musicssl-small").search(other)
    embed_folder(music, tmp_path / "max", model=model, pooling="max", layer=[0, 1])
    index = Index.from_folder(tmp_path / "max", model=model)
    query = model.embed(other, pooling="max", layer=[0, 1])
    assert index.search(other) == index.search(query)


def test_other_spaces_are_not_added(
    out: Path, music: Path, model: musicssl.MusicEncoder, tmp_path: Path
) -> None:
    embed_folder(music, tmp_path / "max", model=model, pooling="max")
    index = Index.from_folder(out)
    before = index.search("1/3.wav")
    with pytest.raises(OutputError, match="cannot be compared"):
        index.add(tmp_path / "max")
    with pytest.raises(ConfigError, match=r"name '0/0\.wav' is given twice"):
        index.add(out)
    with pytest.raises(ConfigError, match="has 3 values"):
        index.add(np.zeros((1, 3)), ["new"])
    assert index.search("1/3.wav") == before


def test_added_vectors_are_as_if_they_had_been_there() -> None:
    values = cloud(60)
    names = [f"n{i}" for i in range(60)]
    grown = Index(values[:30], names[:30])
    grown.search("n0")
    for part in (slice(30, 31), slice(31, 60)):
        grown.add(values[part], names[part], paths=[f"/{name}" for name in names[part]])
    at_once = Index(values, names)
    for query in ("n0", "n45", values[7] + 1):
        found, expected = grown.search(query, k=59), at_once.search(query, k=59)
        assert [n.name for n in found] == [n.name for n in expected]
        np.testing.assert_allclose([n.score for n in found], [n.score for n in expected], atol=1e-5)
    assert grown.paths[29:31] == ["n29", "/n30"]
    unnamed = Index(values[:2])
    unnamed.add(values[2:4])
    assert unnamed.names == ["0", "1", "2", "3"]


def test_an_index_is_kept_and_memory_mapped(tmp_path: Path, out: Path) -> None:
    index = Index.from_folder(out)
    again = Index.load(index.save(tmp_path / "index"))
    assert isinstance(again._stored.units, np.memmap)
    assert again.search("0/4.wav") == index.search("0/4.wav")
    assert (again.names, again.paths, again.space) == (index.names, index.paths, index.space)
    again.add(np.ones((1, index.dim)), ["one"])
    again.save(tmp_path / "index")  # in place of the file that it was read from
    assert len(Index.load(tmp_path / "index")) == 6
    left = {path.name for path in (tmp_path / "index").iterdir()}
    assert left == {"index.json", "units.npy", "lengths.npy", "center.npy", "scale.npy"}


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    with pytest.raises(OutputError, match="something else than an index"):
        Index(cloud(3)).save(out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    with pytest.raises(OutputError, match="holds no index"):
        Index.load(tmp_path)


def test_files_that_are_called_as_those_of_an_index_are_left_alone(tmp_path: Path) -> None:
    site = {"index.json": '{"my": "site"}', "units.npy": "mine", "graph.faiss": "mine"}
    for name, text in site.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(OutputError, match="something else than an index"):
        Index(cloud(3)).save(tmp_path)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == site


def test_an_index_whose_saving_was_cut_short_is_refused_and_saved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, index = tmp_path / "index", Index(cloud(3))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for _ in range(2):  # into no folder, and into one with an index
        with monkeypatch.context() as patch:
            patch.setattr(np, "save", full)
            with pytest.raises(OutputError, match="No space left"):
                index.save(folder)
        with pytest.raises(OutputError, match="save it again"):
            Index.load(folder)
        index.save(folder)
        assert len(Index.load(folder)) == 3


def test_names_that_are_too_long_for_files_are_told_in_one_line(tmp_path: Path) -> None:
    index, long = Index(cloud(3), ["a", "b", "x" * 5000]), tmp_path / ("y" * 5000)
    assert len(index.search("x" * 5000)) == 2
    with pytest.raises(ConfigError, match="neither a file nor a name"):
        index.search("y" * 5000)
    for call in (index.save, Index.load, Index.from_folder):
        with pytest.raises(OutputError):
            call(long)


def test_a_file_that_may_not_be_looked_at_is_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, stat = tmp_path / "secret", Path.stat

    def refused(path: Path, **choices: Any) -> os.stat_result:
        if path.is_relative_to(secret):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **choices)

    index = Index(cloud(3), ["a", "b", "c"], paths=["a", "b", str(secret / "c.wav")])
    monkeypatch.setattr(Path, "stat", refused)
    assert index.search(secret / "c.wav", include_self=True)[0].name == "c"
    for call in (index.save, Index.load, Index.from_folder):
        with pytest.raises(OutputError, match="Permission denied"):
            call(secret)


def test_names_that_are_files_are_not_embedded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    noise(tmp_path / "mine.wav")
    (tmp_path / "folder").mkdir()
    index = Index(cloud(3), ["mine.wav", "folder", "other"])
    for query in ("mine.wav", "./mine.wav", tmp_path / "mine.wav", "folder"):
        assert len(index.search(query)) == 2  # bare vectors, which cannot be embedded again


def test_a_name_is_found_in_either_unicode_form() -> None:
    index = Index(cloud(3), ["cafe\u0301.wav", "b\u00fc.wav", "c"])
    assert len(index.search("caf\u00e9.wav")) == len(index.search("bu\u0308.wav")) == 2


def test_settings_must_say_all_that_embedding_needs(tmp_path: Path) -> None:
    index = Index(cloud(3), space="x", settings={"model": "musicssl-small"})
    with pytest.raises(ConfigError, match="weights_sha256"):
        index.search(noise(tmp_path / "a.wav"))


@pytest.mark.parametrize("damage", ["units", "names", "format", "json", "missing"])
def test_a_damaged_index_is_refused(tmp_path: Path, damage: str) -> None:
    folder = Index(cloud(3)).save(tmp_path / "index")
    about = folder / "index.json"
    values = json.loads(about.read_text())
    if damage == "units":
        np.save(folder / "units.npy", np.zeros((3, 4), np.float32))
    elif damage == "missing":
        (folder / "scale.npy").unlink()
    elif damage == "json":
        about.write_text("{")
    else:
        about.write_text(json.dumps(values | {damage: ["a"] if damage == "names" else 7}))
    with pytest.raises(OutputError, match="cannot be read"):
        Index.load(folder)


def test_vectors_on_disk_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    Index(cloud(30)).save(tmp_path / "index")
    file = tmp_path / "index" / "units.npy"
    units = np.load(file)
    units[7, 3] = np.nan
    np.save(file, units)
    index = Index.load(tmp_path / "index")
    for query in ("2", "7", cloud(1)[0]):
        with pytest.raises(OutputError, match=r"index is damaged: vector 7 holds NaN"):
            index.search(query, 2)
    np.save(tmp_path / "index" / "center.npy", np.full(16, np.inf))
    with pytest.raises(OutputError, match=r"center\.npy holds NaN or infinity"):
        Index.load(tmp_path / "index")


@pytest.mark.parametrize("method", [name for name in SEARCHERS if name != "exact"])
def test_a_graph_finds_the_same_on_small_data(method: str, tmp_path: Path) -> None:
    if not importlib.util.find_spec(PACKAGES[method]):
        pytest.skip(f"{method} is not installed")
    values = cloud(500, dim=8)
    exact, graph = Index(values), Index(values, method=method)
    for query in ("0", "17", values[3] * 1.1):
        same(graph.search(query, k=10), exact.search(query, k=10))
    assert len(graph.search("0", k=1000)) == 499
    folder = graph.save(tmp_path / "index")
    assert (folder / f"graph.{method}").is_file()
    again = Index.load(folder, method=method)
    same(again.search("5"), exact.search("5"))
    again.add(cloud(1, dim=8, seed=5), ["new"])
    assert len(again.search("new", k=600)) == 500
    exact.save(folder)  # whose graph is not that of what is there now
    assert not (folder / f"graph.{method}").exists()


@pytest.mark.parametrize("method", [name for name in SEARCHERS if name != "exact"])
def test_without_its_package_a_graph_says_what_to_install(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package: Any = SEARCHERS[method]
    monkeypatch.setitem(sys.modules, package.package, None)
    with pytest.raises(DependencyError, match=rf"pip install 'musicssl\[{method}\]'"):
        Index(cloud(3), method=method).search("0")


def test_a_search_by_name_does_without_torch(tmp_path: Path, out: Path) -> None:
    folder = Index(cloud(3), ["a", "b", "c"]).save(tmp_path / "index")
    code = (
        "import sys; from musicssl import Index; _, folder, out = sys.argv; "
        "print(len(Index.load(folder).search('a')), len(Index.from_folder(out).search('0/0.wav')), "
        "'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(folder), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "2 4 False\n"
