"""Sources of music that are the same bytes everywhere: a Debian package, a git repository."""

import io
import os
import random
import subprocess
import tarfile
import wave
import zipfile
from pathlib import Path

import numpy as np

RATE = 11_025  # Hz


def song(seed: int, seconds: float = 12) -> bytes:
    """A WAV file of square waves, computed in integers alone."""
    draw = random.Random(seed).random
    out = np.zeros(round(seconds * RATE), np.int64)
    for _ in range(round(4 * seconds)):
        length = round((0.2 + 0.4 * draw()) * RATE)
        start, period = int(draw() * (len(out) - length)), 12 + int(draw() * 88)
        t = np.arange(length)
        out[start : start + length] += np.where(t % period * 2 < period, 1, -1) * (
            2500 * (length - t) // length
        )
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(np.clip(out, -32768, 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def tar(entries: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """A tar archive; entries that are no content are written as they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in entries.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """A link in a tar archive."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped(entries: dict[str, bytes]) -> bytes:
    """A zip archive, not compressed: that would differ between versions of zlib."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, content)
    return buffer.getvalue()


def deb(
    data: bytes, package: str = "tiny-songs", version: str = "1:1.0-1", suffix: str = ""
) -> bytes:
    """A Debian package around a tar archive that is packed as `suffix` says."""
    control = f"Package: {package}\nVersion: {version}\nArchitecture: all\n".encode()
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar": tar({"./control": control}),
        f"data.tar{suffix}": data,
    }
    out = b"!<arch>\n"
    for name, content in parts.items():
        head = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n"
        out += head.encode() + content + b"\n" * (len(content) % 2)
    return out


def tiny_deb(folder: Path) -> Path:
    """The package that training/corpora/tiny.toml names: songs, stems, songs in a zip, a copy."""
    songs = {
        "./usr/share/doc/tiny-songs/copyright": b"Files: *\nLicense: CC0-1.0\n",
        "./usr/share/tiny/one.wav": song(1),
        "./usr/share/tiny/copy-of-one.wav": song(1),
        "./usr/share/tiny/theme.txt": b"no music",
        "./usr/share/tiny/band/guitar.wav": song(2),
        "./usr/share/tiny/band/rest.wav": song(3),
        "./usr/share/tiny/more.pk3": zipped({"music/two.wav": song(4), "music/read.me": b"no"}),
        "./usr/share/tiny/linked.wav": link("./usr/share/tiny/linked.wav", "/etc/passwd"),
    }
    file = folder / "tiny-songs_1%3a1.0-1_all.deb"
    file.write_bytes(deb(tar(songs)))
    return file


def repository(folder: Path, files: dict[str, bytes]) -> str:
    """Commit files in a new repository at a fixed time, and return the commit."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    for role in ("AUTHOR", "COMMITTER"):
        environment[f"GIT_{role}_NAME"] = "Nobody"
        environment[f"GIT_{role}_EMAIL"] = "nobody@example.org"
        environment[f"GIT_{role}_DATE"] = "2020-01-01T00:00:00Z"

    def git(*command: str) -> str:
        settings = ["-c", "init.defaultBranch=main", "-c", "core.autocrlf=false"]
        done = subprocess.run(
            ["git", *settings, *command],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message=songs")
    return git("rev-parse", "HEAD")


def tiny_repository(mirror: Path) -> str:
    """The repository that training/corpora/tiny.toml names, in a mirror; return its commit."""
    files = {
        "LICENSE": b"CC BY 4.0 for music/, and nothing for drafts/\n",
        "music/three.wav": song(5),
        "music/old/four.wav": song(6),
        "music/broken.wav": b"RIFF, and then nothing",
        "drafts/five.wav": song(7),
    }
    return repository(mirror / "nobody+tiny-songs", files)
