"""`musicssl.sklearn.MusicEmbedder` as scikit-learn and its users expect a transformer to be."""

import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from folder_trees import noise

import musicssl
from musicssl import AudioError, ConfigError

sklearn = pytest.importorskip("sklearn", minversion="1.6")
pd = pytest.importorskip("pandas")

import joblib  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.compose import make_column_transformer  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

import musicssl.sklearn as module  # noqa: E402
from musicssl.sklearn import MusicEmbedder  # noqa: E402


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("music")
    return [noise(folder / f"{i}.wav", seconds=0.2 + 0.05 * i, seed=i) for i in range(8)]


@pytest.fixture(scope="module")
def expected(files: list[Path], tiny_model_folder: Path) -> np.ndarray:
    return musicssl.get_embedding(files, model=tiny_model_folder, device="cpu")


@pytest.fixture
def embedder(tiny_model_folder: Path) -> MusicEmbedder:
    return MusicEmbedder(tiny_model_folder, device="cpu")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Everything that is embedded."""
    seen: list[Any] = []
    embed = musicssl.get_embedding

    def count(audio: list[Any], *args: Any, **choices: Any) -> Any:
        seen.extend(audio)
        return embed(audio, *args, **choices)

    monkeypatch.setattr(module, "get_embedding", count)
    return seen


def test_lists_arrays_series_and_columns_of_paths_are_the_same(
    files: list[Path], expected: np.ndarray, embedder: MusicEmbedder
) -> None:
    texts = [str(file) for file in files]
    frame = pd.DataFrame({"path": texts, "n": range(8)}, index=list("abcdefgh"))
    several: list[Any] = [
        files,
        texts,
        tuple(texts),
        np.array(texts),
        np.array(files, dtype=object),
        np.array(texts)[:, None],
        frame["path"],
        frame["path"].astype("category").astype(object),
        frame[["path"]],
        iter(texts),
    ]
    for X in several:
        np.testing.assert_allclose(embedder.transform(X), expected, atol=1e-6)
    assert embedder.fit_transform(files).dtype == np.float32


def test_arrays_and_tensors_are_sounds(
    files: list[Path], expected: np.ndarray, embedder: MusicEmbedder
) -> None:
    sounds = [soundfile.read(file, dtype="float32")[0] for file in files]
    embedder.set_params(sr=22_050)
    np.testing.assert_allclose(embedder.transform(sounds), expected, atol=1e-4)
    objects = np.empty(8, object)
    objects[:] = sounds
    np.testing.assert_allclose(embedder.transform(objects), expected, atol=1e-4)
    same = np.stack([sound[:4000] for sound in sounds])
    one = embedder.transform(same)
    np.testing.assert_allclose(embedder.transform(torch.from_numpy(same)), one, atol=1e-6)
    np.testing.assert_allclose(embedder.transform(same[:, None].repeat(2, 1)), one, atol=1e-6)


@pytest.mark.parametrize("X", ["song.mp3", Path("song.mp3"), b"x", 5, None, np.zeros(9), {"a": 1}])
def test_what_is_no_list_of_sounds_is_refused(X: Any, embedder: MusicEmbedder) -> None:
    with pytest.raises(AudioError, match="X"):
        embedder.transform(X)
    with pytest.raises(AudioError, match="X"):
        embedder.fit(X)


def test_sounds_that_scikit_learn_would_refuse_when_fitting_are_refused(
    embedder: MusicEmbedder,
) -> None:
    embedder.set_params(sr=1000).fit(np.full((2, 900), np.nan))
    with pytest.raises(AudioError, match=r"audio\[0\].*(NaN|finite)"):
        embedder.transform(np.full((2, 900), np.nan))


def test_an_iterator_that_fitting_would_empty_is_refused(
    files: list[Path], embedder: MusicEmbedder
) -> None:
    with pytest.raises(AudioError, match=r"pass list\(X\)"):
        embedder.fit_transform(iter(files))


def test_what_cannot_be_hashed_is_embedded_without_memory(
    tmp_path: Path, files: list[Path], expected: np.ndarray, embedder: MusicEmbedder
) -> None:
    audio, rate = soundfile.read(files[0], dtype="float32")
    samples = SimpleNamespace(data=torch.from_numpy(audio)[None], sample_rate=rate, pts_seconds=0.0)
    decoder = SimpleNamespace(get_all_samples=lambda: samples)
    embedder.set_params(memory=tmp_path / "memory")
    found = embedder.transform([decoder, files[1]])
    np.testing.assert_allclose(found, expected[:2], atol=1e-4)
    with pytest.raises(AudioError, match="expected a path"):
        embedder.transform([lambda: None])


def test_nothing_in_nothing_out(embedder: MusicEmbedder) -> None:
    dim = embedder._n_features_out
    assert embedder.transform([]).shape == (0, dim)
    assert embedder.transform(np.array([], dtype=object)).shape == (0, dim)


def test_wrong_settings_show_when_it_is_fitted(files: list[Path], embedder: MusicEmbedder) -> None:
    for wrong in ({"layer": 99}, {"pooling": "men"}, {"pooling": "none"}, {"device": "tpu"}):
        with pytest.raises(ConfigError):
            clone(embedder).set_params(**wrong).fit(files)
    with pytest.raises(musicssl.ModelError):
        MusicEmbedder("no-such-model").fit(files)
    bad = clone(embedder).fit(files)
    with pytest.raises(AudioError, match=r"audio\[1\]"):
        bad.transform([files[0], "nowhere.wav"])


def test_clone_and_pickle_keep_settings_and_results(
    files: list[Path], expected: np.ndarray, embedder: MusicEmbedder, tiny_model_folder: Path
) -> None:
    loaded = MusicEmbedder(musicssl.load_model(tiny_model_folder, device="cpu"), layer=-1)
    for one in (embedder.fit(files), loaded.fit(files)):
        for other in (clone(one), pickle.loads(pickle.dumps(one))):
            assert other.get_params().keys() == one.get_params().keys()
            np.testing.assert_array_equal(other.transform(files), one.transform(files))
    assert clone(embedder).get_params() == embedder.get_params()
    assert len(pickle.dumps(embedder)) < 2000  # the model's name, not its weights


def test_names_of_features_and_data_frames(
    files: list[Path], expected: np.ndarray, embedder: MusicEmbedder
) -> None:
    names = embedder.get_feature_names_out()
    assert names[0] == "musicembedder0" and len(names) == expected.shape[1]
    paths = pd.Series([str(file) for file in files], index=list("abcdefgh"))
    frame = embedder.set_output(transform="pandas").transform(paths)
    assert frame.columns.tolist() == names.tolist()
    np.testing.assert_allclose(frame.to_numpy(), expected, atol=1e-6)
    assert embedder.set_output(transform="pandas").transform(files).shape == expected.shape
    table = pd.DataFrame({"path": paths, "n": range(8)})
    columns = make_column_transformer((embedder, "path"), ("passthrough", ["n"]))
    both = columns.fit_transform(table)
    assert both.shape == (8, expected.shape[1] + 1)
    assert columns.get_feature_names_out()[-1] == "passthrough__n"


@pytest.mark.parametrize("pooling", ["mean", "max", "meanstd"])
@pytest.mark.parametrize("layer", [0, -1, [1, 0], "all", None])
def test_what_memory_gives_is_what_embedding_gives(
    pooling: str, layer: Any, files: list[Path], embedder: MusicEmbedder, tmp_path: Path
) -> None:
    embedder.set_params(layer=layer, pooling=pooling)
    kept = clone(embedder).set_params(memory=tmp_path)
    plain = embedder.transform(files)
    assert kept.transform(files).shape[1] == kept._n_features_out == plain.shape[1]
    for _ in range(2):
        np.testing.assert_allclose(kept.transform(files), plain, atol=1e-6)


def test_memory_embeds_what_is_new_or_has_changed(
    tmp_path: Path, embedder: MusicEmbedder, heard: list[Any]
) -> None:
    files = [noise(tmp_path / f"{i}.wav", seed=i) for i in range(3)]
    embedder.set_params(memory=joblib.Memory(tmp_path / "memory", verbose=0))
    first = embedder.transform(files[:2])
    assert len(heard) == 2
    np.testing.assert_array_equal(embedder.transform([*files, files[1]])[:2], first)
    assert heard[2:] == [files[2]]
    noise(files[0], seconds=0.4, seed=9)
    assert not np.array_equal(embedder.transform(files)[0], first[0])
    assert heard[3:] == [files[0]]
    samples = [np.random.default_rng(i).uniform(-1, 1, 4000) for i in range(2)]
    embedder.set_params(sr=22_050)
    embedder.transform(samples)
    embedder.transform(samples[::-1])
    assert len(heard) == 6
    embedder.set_params(sr=16_000).transform(samples)
    assert len(heard) == 8
    embedder.set_params(sr=None)
    for data in ({"path": str(files[0])}, {"bytes": None, "path": str(files[0])}):
        before = embedder.transform([data])  # of Hugging Face datasets, not decoded
        noise(files[0], seconds=0.4, seed=int(before.size + len(data)))
        assert not np.array_equal(embedder.transform([data]), before)
    with files[1].open("rb") as file:  # has no name to be kept under
        embedder.set_params(sr=None).transform([file])
        file.seek(0)
        np.testing.assert_allclose(embedder.transform([file])[0], first[1], atol=1e-6)


def test_a_search_over_layers_and_poolings_hears_each_file_once(
    files: list[Path], embedder: MusicEmbedder, heard: list[Any], tmp_path: Path
) -> None:
    pipeline = make_pipeline(
        embedder.set_params(memory=str(tmp_path)), StandardScaler(), LogisticRegression()
    )
    grid = {
        "musicembedder__layer": [0, 1, "all"],
        "musicembedder__pooling": ["mean", "meanstd"],
    }
    search = GridSearchCV(pipeline, grid, cv=2)
    search.fit(np.array(files), [0, 1] * 4)
    assert sorted(heard) == files
    assert len(search.cv_results_["params"]) == 6
    assert search.predict(files).shape == (8,)
    assert len(heard) == 8


def test_pipelines_split_and_score_series(files: list[Path], embedder: MusicEmbedder) -> None:
    paths = pd.Series([str(file) for file in files])
    train, test, y, _ = train_test_split(paths, [0, 1] * 4, random_state=0)
    pipeline = make_pipeline(embedder, LogisticRegression())
    assert pipeline.fit(train, y).predict(test).shape == (2,)
    assert cross_val_score(pipeline, paths, [0, 1] * 4, cv=2).shape == (2,)


def test_jobs_keep_the_order(
    files: list[Path], expected: np.ndarray, embedder: MusicEmbedder
) -> None:
    with joblib.parallel_config("threading"):
        np.testing.assert_allclose(
            clone(embedder).set_params(n_jobs=3).transform(files), expected, atol=1e-6
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_jobs": 0}, "n_jobs must not be 0"),
        ({"n_jobs": 1.5}, r"n_jobs must be a whole number, got 1\.5"),
        ({"n_jobs": "all"}, "n_jobs must be a whole number, got 'all'"),
        ({"memory": 3}, r"memory must be a folder or a joblib\.Memory, got 3"),
    ],
)
def test_jobs_and_memory_that_make_no_sense_are_refused(
    files: list[Path], embedder: MusicEmbedder, settings: dict[str, Any], message: str
) -> None:
    wrong = clone(embedder).set_params(**settings)
    for call in (wrong.fit, wrong.transform):
        with pytest.raises(ConfigError, match=message):
            call(files[:1])


def test_without_scikit_learn_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "import musicssl\n"
        "try: import musicssl.sklearn\n"
        "except musicssl.DependencyError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'musicssl[sklearn]'" in done.stdout
    assert "scikit-learn" in done.stdout


SOUND = "X is a list of sounds, whose lengths may differ, and no table of features: "
EXCEPTIONS = {
    "check_n_features_in": SOUND + "there is no n_features_in_",
    "check_n_features_in_after_fitting": SOUND + "there is no n_features_in_",
    "check_dtype_object": SOUND + "numbers as objects are none",
    "check_estimators_dtypes": "audio of int64 has no scale, and is refused",
    "check_fit_idempotent": "audio lies in [-1, 1], and 100 is refused",
    "check_estimators_nan_inf": "fit does not read the sounds; transform refuses NaN",
    "check_estimators_empty_data_messages": "no sounds are embedded to no vectors",
}


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [MusicEmbedder(sr=1000, device="cpu")],
    expected_failed_checks=lambda estimator: EXCEPTIONS,
)
def test_scikit_learn_checks(estimator: Any, check: Any, tiny_model_folder: Path) -> None:
    check(estimator.set_params(model=tiny_model_folder))
