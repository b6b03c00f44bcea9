"""Trees of music and of results, for tests of the folder command."""

from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from musicssl.folder.records import read_lines


def noise(path: Path, seconds: float = 0.3, seed: int = 0) -> Path:
    """Write a short WAV whose content depends on the seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, round(22_050 * seconds))
    with path.open("wb") as file:  # by descriptor: any name will do
        soundfile.write(file, samples, 22_050, format="WAV")
    return path


def everything(folder: Path) -> dict[str, bytes | str | None]:
    """Return each path below a folder: a file's bytes, a link's target, None for a folder."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = str(path.readlink())
        else:
            found[name] = None if path.is_dir() else path.read_bytes()
    return found


def tree(out: Path) -> dict[str, bytes]:
    """Return all files but the manifests and what is no result."""
    found = (path for path in out.rglob("*") if path.is_file() and ".musicssl" not in path.parts)
    names = {path.relative_to(out).as_posix(): path for path in found}
    return {name: path.read_bytes() for name, path in names.items() if "manifest" not in name}


def manifest(out: Path) -> dict[str, dict[str, Any]]:
    """Return the manifest by source."""
    return {record["source"]: record for record in read_lines(out / "manifest.jsonl")}
