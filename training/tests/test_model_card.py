"""A model card says what its run knows, and nothing else."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from musicssl.checkpoint import ModelConfig
from musicssl.checkpoint.bundled import bundled_models
from musicssl.config import from_dict
from musicssl.encoders import PasePlusConfig
from musicssl.errors import ConfigError
from musicssl.model import MusicEncoder, load_model
from musicssl_training.release.export import ReleaseConfig
from musicssl_training.release.model_card import card, kinds
from musicssl_training.train.record import players_of
from musicssl_training.workers import SELECTIONS, WORKERS

CONFIGS = Path(__file__).parent.parent / "configs"
PRIVATE = ReleaseConfig(summary="Mine.", data_licences="all rights are mine", licence="other")


@pytest.fixture(scope="module")
def model() -> MusicEncoder:
    return load_model("musicssl-small", device="cpu")


def facts(*workers: str, **others: Any) -> dict[str, Any]:
    """What training.json says of a short run on two packs of one folder each."""
    sources = [{"source": "mine", "licence": "unknown", "recordings": 2, "hours": 0.5}]
    copied = [{"source": "theirs", "licence": "CC BY 4.0", "recordings": 1, "hours": 0.25}]
    return {
        "settings": {
            "workers": list(workers),
            "weighting": {"name": "equal"},
            "precision": "fp32",
            "data": {"recordings": 2, "per_recording": 2, "seconds": 3.0},
        },
        "steps": 4,
        "hours_heard": 0.1,
        "hours_of_computing": 0.01,
        "distorted": True,
        "cosine_of_fp16_to_fp32": 1.0,
        "data": [{"pack": "a", "sources": sources}, {"pack": "b", "sources": sources + copied}],
    } | others


def before(model: str, *workers: str) -> dict[str, Any]:
    """What is told of a model that came before."""
    told = facts(*workers, model=model, weights_sha256=model)
    del told["data"]
    return told


def text(*args: Any) -> str:
    return " ".join(card("mine", *args).split())


def test_the_card_of_a_private_folder_claims_nothing_that_nobody_checked(
    model: MusicEncoder,
) -> None:
    told = text(model, facts("log_mel"), PRIVATE)
    for claim in ("free licences", "GPL", "share-alike", "label", "SoundFonts", "CC-BY-SA"):
        assert claim not in told
    assert "licence other |" in told
    assert "1.2 hours. Licences of the recordings and scores, as the packs state them: " in told
    assert "as the packs state them: CC BY 4.0; unknown." in told
    assert "1 worker (log_mel), its loss weighted by" in told
    assert "2 workers (log_mel, mfcc), their losses" in text(
        model, facts("log_mel", "mfcc"), PRIVATE
    )
    notes = text(model, facts("log_mel"), replace(PRIVATE, data_notes="Mine alone.\n"))
    assert "1.2 hours. Mine alone. Licences" in notes


def test_the_card_of_a_repository_loads_it_from_there(model: MusicEncoder) -> None:
    told = card("mine", model, facts("log_mel"), PRIVATE, "owner/theirs")
    assert 'get_embedding("song.flac", model="owner/theirs")' in told
    assert "# mine" in told
    assert 'get_embedding("song.flac", model="mine")' in text(model, facts("log_mel"), PRIVATE)


def test_the_card_of_an_encoder_with_memory_says_that_it_hears_everything_before(
    model: MusicEncoder,
) -> None:
    assert "each hears 4.9 s to both sides" in text(model, facts("log_mel"), PRIVATE)
    config = PasePlusConfig(channels=(4, 4), kernels=(251, 20), strides=(8, 10), dim=6, hidden=4)
    recurrent = MusicEncoder(ModelConfig(encoder=config))
    told = text(recurrent, facts("log_mel"), PRIVATE)
    assert "s ahead, and everything before |" in told
    assert "both sides" not in told


def test_what_played_the_scores_is_listed_with_its_licence(model: MusicEncoder) -> None:
    assert "Scores were played" not in text(model, facts("log_mel"), PRIVATE)
    sax = {"name": "Sax", "licence": "CC0-1.0"}
    items = [
        {"font": "B.sf2", "instruments": [sax, {"name": "Kit", "licence": "CC-BY-4.0"}]},
        {"font": "A.sf2", "instruments": [sax]},
        {"font": "A.sf2"},
        {"path": "recording.flac", "instruments": "many"},
    ]
    told = facts("log_mel")
    told["data"][0] |= players_of(items)
    assert told["data"][0]["instruments"][1] == sax | {"recordings": 2}
    assert (
        "Scores were played by the SoundFonts A.sf2, B.sf2 and the sampled instruments "
        "Kit (CC-BY-4.0), Sax (CC0-1.0). | pack |"
    ) in text(model, told, PRIVATE)
    assert players_of(items[3:]) == {}


def test_teachers_without_a_hash_are_all_listed(model: MusicEncoder) -> None:
    one = {"name": "aa", "model": "a meter", "sha256": "", "licence": "CC0", "trained_on": "a"}
    others = [one | {"name": "bb", "model": "a clock"}, one | {"licence": "MIT"}]
    first = before("first", "teacher:aa") | {"teachers": [one | {"values_sha256": {"a": "1"}}]}
    told = text(model, facts("teacher:bb", teachers=[one, *others], began_with=first), PRIVATE)
    assert told.count("| aa | a meter | CC0 | a |") == 1
    assert "| bb | a clock | CC0 | a |" in told
    assert "| aa | a meter | MIT | a |" in told


def test_a_licence_must_be_stated() -> None:
    with pytest.raises(ConfigError, match="about lacks licence"):
        from_dict(ReleaseConfig, {"summary": "Mine.", "data_licences": "mine"}, "about")
    with pytest.raises(ConfigError, match="licence is empty"):
        replace(PRIVATE, licence=" ")


ONLY = "Self-supervised only"


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        (("log_mel", "mfcc:context=3", "contrast"), f"{ONLY}: no worker used scores or"),
        (("key", "log_mel"), "Of the workers, key used scores; the others are self-supervised."),
        (
            ("style", "log_mel"),
            "Of the workers, style used scores; the others are self-supervised.",
        ),
        (("score",), ", ".join(SELECTIONS["score"]) + " used scores."),
        (("teacher:musicnn-msd",), "Of the workers, one imitates musicnn-msd."),
        (
            ("beats", "teacher:mine", "notes"),
            "beats used scores; one imitates mine; the others are self-supervised.",
        ),
    ],
)
def test_workers_are_called_what_they_are(
    workers: tuple[str, ...], said: str, model: MusicEncoder
) -> None:
    told = text(model, facts(*workers), PRIVATE)
    assert said in told
    assert (ONLY in told) == said.startswith(ONLY)
    front = yaml.safe_load(card("mine", model, facts(*workers), PRIVATE).split("---\n")[1])
    assert ("self-supervised" in front["tags"]) == ("self-supervised" in said.lower())


def test_a_worker_of_ones_own_is_not_called_self_supervised(
    model: MusicEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WORKERS, "mine", WORKERS["log_mel"])
    told = text(model, facts("mine", "mfcc"), PRIVATE)
    assert "it is not known here what mine learnt from; the others are self-supervised." in told
    assert ONLY not in told


def test_an_encoder_is_as_self_supervised_as_those_before_it(model: MusicEncoder) -> None:
    plain = facts("log_mel", began_with=before("first", "mfcc"))
    assert ONLY in text(model, plain, PRIVATE)
    first = before("first", "key", "mfcc")
    later = facts("log_mel", averaged_with=[before("second", "mfcc") | {"began_with": first}])
    told = text(model, later, PRIVATE)
    assert ONLY not in told
    assert "Of the workers, all are self-supervised." in told
    assert "Of the workers of first, key used scores; the others are self-supervised." in told


def test_of_a_model_without_provenance_nothing_is_claimed(model: MusicEncoder) -> None:
    silent = {"model": "silent", "weights_sha256": "5"}
    told = text(model, facts("log_mel", began_with=silent), PRIVATE)
    assert ONLY not in told
    assert "Of the workers of silent, it is not known here what all of them learnt from." in told
    assert "1.2 hours, without those of silent, which are not known here." in told


@pytest.mark.parametrize("name", bundled_models())
def test_a_bundled_card_is_what_a_release_writes_today(name: str) -> None:
    folder = bundled_models()[name]
    about = (CONFIGS / f"{name}.about.toml").read_text("utf-8")
    config = from_dict(ReleaseConfig, tomllib.loads(about), "about")
    known = json.loads((folder / "training.json").read_text("utf-8"))
    written = card(name, load_model(name, device="cpu"), known, config).split("---\n", 2)
    stored = (folder / "README.md").read_text("utf-8").split("---\n", 2)
    assert stored[2] == written[2]
    front = yaml.safe_load(stored[1])
    del front["model-index"]  # `evaluate --card` adds it
    assert front == yaml.safe_load(written[1])


def test_a_worker_with_a_label_learns_from_what_it_is_and_not_from_what_it_is_called() -> None:
    labeled: Any = {"name": "key", "label": "chroma"}
    assert kinds(facts("mfcc:context=7", labeled)) == {
        "audio": ["mfcc:context=7"],
        "scores": ["chroma"],
        "teachers": [],
        "unknown": [],
    }


def test_a_worker_with_a_label_imitates_its_teacher(model: MusicEncoder) -> None:
    labeled: Any = {"name": "teacher:mine", "label": "low", "layer": 0}
    told = text(model, facts("teacher:mine", labeled), PRIVATE)
    assert "Of the workers, one imitates mine; low imitates mine." in told
