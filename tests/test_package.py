"""The package as a whole: what it imports, in which direction, and what it says of itself."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import musicssl

ROOT = Path(__file__).parent.parent
# a module may import those of the groups before its own
ORDER = [
    {"errors", "forking", "cores", "atomic", "exporting"}
    | {"constant_buffers", "pooling", "masked_pooling"},
    {"arguments", "config", "source_names", "tables"},
    {"frames"},
    {"audio", "frontends"},
    {"encoders", "segments"},
    {"checkpoint"},
    {"layers"},
    {"freezing"},
    {"network"},
    {"inference"},
    {"space"},
    {"export"},
    {"model"},
    {"kept"},
    {"embed"},
    {"folder", "hear", "stream"},
    {"library", "ray"},
    {"search"},
    {"maps", "sklearn"},
    {"browser"},
    {"cli"},
    {"__main__"},
]


def imports(path: Path) -> set[str]:
    """Return the top-level musicssl modules that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "musicssl":
            names = [f"musicssl.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        found |= {name.split(".")[1] for name in names if name.startswith("musicssl.")}
    return found


def test_imports_point_one_way() -> None:
    package = ROOT / "musicssl"
    level = {module: i for i, group in enumerate(ORDER) for module in group}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        if parts == ("__init__",):
            continue
        assert parts[0] in level, f"{path.name}: say in ORDER where it belongs"
        for target in imports(path) - {parts[0], "__version__"}:
            assert level[target] < level[parts[0]], f"{parts[0]} imports {target}"


def test_core_never_imports_training() -> None:
    for path in (ROOT / "musicssl").rglob("*.py"):
        assert "musicssl_training" not in path.read_text(encoding="utf-8")


def test_import_is_light() -> None:
    code = (
        "import sys, musicssl; dir(musicssl); "
        "print([m for m in ('torch', 'numpy', 'soundfile', 'huggingface_hub') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_first_embedding_loads_no_more_than_it_needs() -> None:
    """What is left of its time is torch's: it takes six sevenths."""
    code = (
        "import sys, numpy, musicssl; "
        "musicssl.get_embedding(numpy.zeros(2205, 'float32'), 22_050, device='cpu'); "
        "others = 'numpy.ma', 'huggingface_hub', 'sklearn', 'pandas', 'pyarrow', 'h5py'; "
        "print([name for name in others if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_public_name_is_there() -> None:
    for name in musicssl.__all__:
        assert getattr(musicssl, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'get_embeddings'"):
        musicssl.get_embeddings  # noqa: B018


def test_one_version_everywhere() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {musicssl.__version__}\n" in citation
    assert f"## {musicssl.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_dependencies_are_those_promised() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {entry.split(">")[0] for entry in project["dependencies"]}
    assert names == {
        *("numpy", "torch", "av", "soundfile", "soxr"),
        *("huggingface_hub", "safetensors", "tqdm"),
    }
