"""Try an installed musicssl, and musicssl-training where it is there: not the checkout.

Run it outside the repository, with the Python that they are installed for.
"""

import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import numpy as np

import musicssl


def check(distribution: str, package: str) -> None:
    """Look for licences and types where an installer puts them."""
    files = [str(file).replace("\\", "/") for file in metadata.files(distribution) or ()]
    for name in ("LICENSE", "LICENSE-CC-BY-SA-4.0"):
        assert any(file.endswith(f".dist-info/licenses/{name}") for file in files), name
    assert f"{package}/py.typed" in files
    assert not any(file.startswith("tests/") for file in files)
    if metadata.version(distribution) != musicssl.__version__:
        raise SystemExit(f"{distribution} is not of version {musicssl.__version__}.")


def call(command: str, *arguments: str) -> str:
    """Return what a command of this environment prints."""
    path = Path(sysconfig.get_path("scripts")) / command
    return subprocess.run([path, *arguments], check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Embed a tone with the bundled weights, and start the commands."""
    assert "site-packages" in str(Path(musicssl.__file__)), musicssl.__file__
    check("musicssl", "musicssl")
    tone = np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    vector = musicssl.get_embedding(tone, sr=44_100, device="cpu")
    assert vector.shape == (512,) and np.isfinite(vector).all()
    assert "musicssl-small" in call("musicssl-embed", "--list-models")
    print(f"musicssl {musicssl.__version__} on Python {sys.version.split()[0]}: ok")
    try:
        metadata.version("musicssl-training")
    except metadata.PackageNotFoundError:
        return
    check("musicssl-training", "musicssl_training")
    assert "pretrain" in call("musicssl-train", "--help")
    print("musicssl-training: ok")


if __name__ == "__main__":
    main()
