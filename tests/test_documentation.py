"""What the documentation and the distributions must hold beside running code."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import musicssl

ROOT = Path(__file__).parent.parent
TRAINING = ROOT / "training"
needs_training = pytest.mark.skipif(not TRAINING.is_dir(), reason="no training package beside it")
LICENCES = ("LICENSE", "LICENSE-CC-BY-SA-4.0")


def project(folder: Path) -> dict[str, Any]:
    text = (folder / "pyproject.toml").read_text(encoding="utf-8")
    found: dict[str, Any] = tomllib.loads(text)["project"]
    return found


def test_every_public_name_has_a_page() -> None:
    listed = re.findall(
        r"^   (musicssl\.\S+)$", (ROOT / "docs/api.md").read_text(encoding="utf-8"), re.M
    )
    assert {f"musicssl.{name}" for name in musicssl.__all__} <= set(listed)
    hear = {"load_model", "get_scene_embeddings", "get_timestamp_embeddings"}
    assert {f"musicssl.hear.{name}" for name in hear} <= set(listed)
    assert len(listed) == len(set(listed))


def test_every_page_is_in_the_table_of_contents() -> None:
    docs = ROOT / "docs"
    index = (docs / "index.md").read_text(encoding="utf-8")
    entries = "\n".join(re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL)).split()
    made = {"more", "api", "_build"}  # written while the site is built
    pages = {p.relative_to(docs).with_suffix("").as_posix() for p in docs.rglob("*.md")}
    assert {page for page in pages if page.split("/")[0] not in made} - {"index"} <= set(entries)


@pytest.mark.parametrize("file", ["README.md", "CHANGELOG.md"])
def test_links_lead_to_files(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    # not in the sdist:
    outside = ("training/", "benchmarks/", "experiments/", "CONTRIBUTING.md", "SECURITY.md")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        if TRAINING.is_dir() or not target.startswith(outside):
            assert (ROOT / target).exists(), target


def test_the_licence_covers_code_and_weights() -> None:
    facts = project(ROOT)
    assert facts["license"] == "MIT AND CC-BY-SA-4.0"
    assert facts["license-files"] == list(LICENCES)
    for info in musicssl.list_models():
        assert info.weights_licence.upper() in facts["license"]
    weights = (ROOT / LICENCES[1]).read_text(encoding="utf-8")
    assert weights.startswith("Attribution-ShareAlike 4.0 International\n")


@needs_training
@pytest.mark.parametrize("name", LICENCES)
def test_both_distributions_have_the_licences(name: str) -> None:
    assert (TRAINING / name).read_bytes() == (ROOT / name).read_bytes()
    assert name in project(TRAINING)["license-files"]


@needs_training
def test_both_distributions_are_typed_and_say_the_same_of_python() -> None:
    for folder, package in ((ROOT, "musicssl"), (TRAINING, "musicssl_training")):
        assert (folder / package / "py.typed").is_file()
        facts = project(folder)
        assert "Typing :: Typed" in facts["classifiers"]
        assert facts["requires-python"] == project(ROOT)["requires-python"]
        assert facts["classifiers"] == project(ROOT)["classifiers"]
