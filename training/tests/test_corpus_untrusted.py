"""Archives and repositories are untrusted: nothing leads out of the folder, nothing is run."""

import errno
import gzip
import io
import logging
import lzma
import os
import random
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from corpus_sources import deb, link, repository, song, tar, zipped

from musicssl_training.corpus import extraction, git, members
from musicssl_training.corpus.debian import check_deb, deb_facts, find_deb
from musicssl_training.corpus.errors import ArchiveError, UnavailableError
from musicssl_training.corpus.extraction import Wanted
from musicssl_training.corpus.git import find_mirror, git_members, open_objects
from musicssl_training.corpus.members import Member, Refused, deb_members, folder_members
from musicssl_training.corpus.obtain import Places, obtain
from musicssl_training.corpus.recipe import DebianSource, FolderSource, GitSource

SONG = song(1, 2)
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")


def package(**more: object) -> DebianSource:
    facts = {"name": "p", "what": "songs", "include": ("**",), "licence": "CC0-1.0", "note": "mine"}
    values = facts | {"package": "pp", "version": "1:2", "sha256": 64 * "0"} | more
    return DebianSource(**values)  # type: ignore[arg-type]


def checkout(commit: str, **more: object) -> GitSource:
    facts = {"name": "g", "what": "songs", "include": ("**",), "licence": "CC0-1.0", "note": "mine"}
    return GitSource(**(facts | {"repository": "a/b", "commit": commit} | more))  # type: ignore[arg-type]


def everything(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if not file.is_dir()}


def written(tmp_path: Path, data: bytes) -> Path:
    file = tmp_path / "p.deb"
    file.write_bytes(data)
    return file


def test_nothing_of_a_package_leads_out_of_the_folder(tmp_path: Path) -> None:
    entries = {
        "./good.wav": SONG,
        "/absolute.wav": SONG,
        "../above.wav": SONG,
        "a/../../above2.wav": SONG,
        "dir": link("dir", "/tmp"),
        "dir/inside.wav": SONG,
        "hard.wav": link("hard.wav", "good.wav", tarfile.LNKTYPE),
        "pipe.wav": link("pipe.wav", "", tarfile.FIFOTYPE),
        "./good.wav ": SONG,
        "back\\slash.wav": SONG,
        f"{'long' * 100}.wav": SONG,
        "good.wav": b"again",
        "more.zip": zipped({"in.wav": SONG, "../out.wav": SONG, "/abs.wav": SONG}),
    }
    file = written(tmp_path, deb(tar(entries)))
    into = tmp_path / "box" / "into"
    into.mkdir(parents=True)
    spec = package(include=("**", "more.zip!/**"), exclude=())
    loot = extraction.take(spec, deb_members(file), into)
    assert everything(tmp_path / "box") == {
        f"into/music/{name}"
        for name in ("good.wav", "good.wav ", "dir/inside.wav", "more.zip!/in.wav")
    }
    assert not (into / "music" / "dir").is_symlink()
    assert (into / "music" / "good.wav").read_bytes() == SONG
    refused = set(loot.left_out)
    assert loot.left_out["good.wav"].startswith("cannot be written")
    assert {"/absolute.wav", "../above.wav", "a/../../above2.wav", "dir", "hard.wav"} <= refused
    assert {"pipe.wav", "back\\slash.wav", "more.zip!/../out.wav", f"{'long' * 100}.wav"} <= refused


def test_a_link_in_a_zip_is_no_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("link.wav")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("file.wav", SONG)
    found = list(members.zip_members(buffer, "a.zip"))
    assert [(type(one), one.path) for one in found] == [
        (Refused, "a.zip!/link.wav"),
        (Member, "a.zip!/file.wav"),
    ]


@pytest.mark.parametrize(
    ("suffix", "packed"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)],
)
def test_packages_of_any_packing_and_their_sizes_are_bounded(
    suffix: str, packed: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = packed(tar({"./a.wav": SONG, "./big": bytes(10**6)}))  # type: ignore[operator]
    file = written(tmp_path, deb(data, suffix=suffix))
    found = [one.path for one in deb_members(file)]
    assert found == ["a.wav", "big"]
    assert deb_facts(file)["Version"] == "1:1.0-1"
    monkeypatch.setattr(extraction, "MAX_FILE", len(SONG) - 1)
    with pytest.raises(ArchiveError, match=r"a.wav has more than"):
        extraction.take(package(include=("*.wav",)), deb_members(file), tmp_path / "1")
    monkeypatch.undo()
    monkeypatch.setattr(extraction, "MAX_SOURCE", len(SONG) + 10)
    with pytest.raises(ArchiveError, match=r"big has more than 10 bytes"):
        extraction.take(package(), deb_members(file), tmp_path / "2")
    monkeypatch.undo()
    monkeypatch.setattr(members, "MAX_UNPACKED", 10**5)
    with pytest.raises(ArchiveError, match="unpacks to more than 100,000 bytes"):
        list(deb_members(file))


@pytest.mark.parametrize("size", [63, 64, 65])
def test_xz_whose_pieces_end_where_the_reader_stops_is_whole(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "BLOCK", 64)  # noise is stored as it is: 64 bytes give 64
    noise = random.Random(0).randbytes(5000)
    stream = members._Unpacking(io.BytesIO(lzma.compress(noise)), ".xz")
    assert b"".join(iter(lambda: stream.read(size), b"")) == noise


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "not a Debian package"),
        (lambda data: data[: len(data) // 2], "damaged|cut short"),
        (lambda data: data.replace(b"data.tar", b"date.tar"), "has no data.tar"),
        (lambda data: data.replace(b"data.tar.xz", b"data.tar.q "), "packed as .q"),
        (lambda data: data[:-400] + bytes(100) + data[-300:], "damaged"),
    ],
)
def test_damaged_packages_say_so(damage: object, message: str, tmp_path: Path) -> None:
    whole = deb(lzma.compress(tar({"./a.wav": SONG})), suffix=".xz")
    file = written(tmp_path, damage(whole))  # type: ignore[operator]
    with pytest.raises(ArchiveError, match=message):
        extraction.take(package(), deb_members(file), tmp_path / "out")


def test_names_without_end_are_not_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 2**33
    file = written(tmp_path, deb(info.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(ArchiveError, match="a header has 8,589,934,592 bytes"):
        list(deb_members(file))


def test_another_package_under_the_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pp_2_all.deb").write_bytes(deb(tar({"./a.wav": SONG}), "other", "3"))
    found = find_deb(package(), tmp_path)
    assert found is not None
    with pytest.raises(ArchiveError, match=r"of other, version 3\) has SHA-256"):
        check_deb(package(), found)
    assert find_deb(package(version="3"), tmp_path) is None


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    (secret / "deep").mkdir(parents=True)
    (secret / "deep" / "b.wav").write_bytes(SONG)
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.wav").write_bytes(SONG)
    try:
        (source / "file.wav").symlink_to(secret / "deep" / "b.wav")
        (source / "folder").symlink_to(secret, target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    found = {one.path: type(one) for one in folder_members(source)}
    assert found == {"a.wav": Member, "file.wav": Refused}
    spec = FolderSource(name="f", what="x", include=("**",), licence="CC0-1.0", note="x", path=".")
    (tmp_path / "out" / ".corpus").mkdir(parents=True)
    (tmp_path / "out" / "music").symlink_to(secret, target_is_directory=True)
    with pytest.raises(UnavailableError, match="is a link"):
        obtain(spec, tmp_path / "out", Places(source))
    assert everything(secret) == {"deep/b.wav"}


@needs_git
def test_settings_and_hooks_of_a_repository_are_not_read(tmp_path: Path) -> None:
    mirror = tmp_path / "mirror" / "a" / "b"
    commit = repository(mirror, {"a.wav": SONG, "b.wav": SONG, "x/L": b"CC0"})
    ran = tmp_path / "ran"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {ran}\n")
    script.chmod(0o755)
    with (mirror / ".git" / "config").open("a") as config:
        config.write(f"[core]\n\tfsmonitor = {script}\n\tsshCommand = {script}\n[extensions]\n")
        config.write(
            f'\tpartialClone = o\n[remote "o"]\n\turl = ext::{script}\n\tpromisor = true\n'
        )
        config.write(f'\tuploadpack = {script}\n[filter "f"]\n\tsmudge = {script}\n')
    (mirror / ".git" / "info").mkdir(exist_ok=True)
    (mirror / ".git" / "info" / "attributes").write_text("* filter=f diff=f\n")
    objects = mirror / ".git" / "objects"
    max(objects.glob("??/*"), key=lambda file: file.stat().st_size).unlink()  # would be fetched
    spec = checkout(commit, include=("*.wav",), evidence=("x/L",))
    found = find_mirror(spec, tmp_path / "mirror")
    assert found == mirror / ".git"
    missing: dict[str, str] = {}
    opened = open_objects(spec, found, tmp_path / "own")
    assert [one.path for one in git_members(opened, commit, Wanted(spec), missing)] == ["x/L"]
    assert set(missing) == {"a.wav", "b.wav"}
    assert not ran.exists()


def test_a_file_of_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(SONG)
    real = extraction._duplicate

    def duplicate_or_fail(file: Path, target: Path, link: bool) -> tuple[str, int]:
        found = real(file, target, link)
        if file.name == "a.wav":
            raise PermissionError(errno.EACCES, "Permission denied")
        return found

    monkeypatch.setattr(extraction, "_duplicate", duplicate_or_fail)
    spec = FolderSource(name="f", what="x", include=("**",), licence="CC0-1.0", note="x", path=".")
    loot = extraction.take(spec, folder_members(tmp_path), tmp_path / ".out")
    assert loot.missing == {"a.wav": "cannot be read: Permission denied"}
    assert everything(tmp_path / ".out") == {"music/b.wav"}


def test_the_size_of_what_is_being_fetched_counts_files_of_any_name(tmp_path: Path) -> None:
    (tmp_path / "objects" / "pack").mkdir(parents=True)
    (tmp_path / "objects" / "pack" / "tmp_pack_x").write_bytes(bytes(1000))
    (tmp_path / "HEAD").write_bytes(bytes(10))
    assert git.folder_size(tmp_path) == 1010


@needs_git
def test_links_in_a_repository_are_no_files(tmp_path: Path) -> None:
    mirror = tmp_path / "a+b"
    repository(mirror, {"a.wav": SONG})
    blob = subprocess.run(
        ["git", "hash-object", "-w", "--stdin"],
        input=b"/etc/passwd", cwd=mirror, check=True, capture_output=True,
    ).stdout.decode().strip()  # fmt: skip
    for command in (
        ["update-index", "--add", "--cacheinfo", f"120000,{blob},link.wav"],
        ["-c", "user.name=n", "-c", "user.email=n@example.org", "commit", "--quiet", "-m", "x"],
    ):
        subprocess.run(["git", *command], cwd=mirror, check=True, capture_output=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=mirror, check=True, capture_output=True, text=True
    ).stdout.strip()
    spec = checkout(head)
    opened = open_objects(spec, find_mirror(spec, tmp_path), tmp_path / "own")
    found = {one.path: type(one) for one in git_members(opened, head, Wanted(spec), {})}
    assert found == {"a.wav": Member, "link.wav": Refused}


@needs_git
def test_a_commit_is_fetched_without_its_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "there"
    commit = repository(there, {"a.wav": SONG, "L": b"CC0"})
    spec = checkout(commit)
    monkeypatch.setattr(GitSource, "url", property(lambda self: there.as_uri()))
    with pytest.raises(UnavailableError, match="'file' not allowed"):  # https alone is
        open_objects(spec, None, tmp_path / "refused")
    real = git.Objects.environment.fget  # type: ignore[attr-defined]
    local = property(lambda self: real(self) | {"GIT_ALLOW_PROTOCOL": "file"})
    monkeypatch.setattr(git.Objects, "environment", local)
    opened = open_objects(spec, None, tmp_path / "own")
    found = [one.path for one in git_members(opened, commit, Wanted(spec), {})]
    assert found == ["L", "a.wav"]
    monkeypatch.setattr(GitSource, "url", property(lambda self: (tmp_path / "no").as_uri()))
    with pytest.raises(UnavailableError, match=r"does not (exist|appear)"):
        open_objects(spec, None, tmp_path / "none")


def test_a_source_that_fails_leaves_what_was_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a.wav").write_bytes(SONG)
    spec = FolderSource(name="f", what="x", include=("**",), licence="CC0-1.0", note="x", path="f")
    out = tmp_path / "out"
    (out / ".corpus").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert [file.path for file in obtain(spec, out, Places(tmp_path)).files] == ["a.wav"]
        (tmp_path / "f" / "a.wav").rename(tmp_path / "f" / ".hidden")
        with pytest.raises(ArchiveError, match="holds none of"):
            obtain(spec, out, Places(tmp_path))
    assert everything(out / "music") == {"f/a.wav"}
    assert not list((out / ".corpus").glob("*.part"))


@pytest.mark.skipif(os.name == "nt", reason="scripts are not run there")
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'E: Version of pp was not found' >&2; exit 100", "E: Version of pp was not found"),
        ("exit 0", "nothing came"),
        ("cp {file} pp_1%3a2_all.deb", "SHA-256"),
    ],
)
def test_what_apt_says_is_said(
    script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    file = written(tmp_path, deb(tar({"./a.wav": SONG})))
    apt = tmp_path / "bin" / "apt-get"
    log = tmp_path / "asked"
    apt.write_text(f'#!/bin/sh\necho "$@" > {log}\n{script.format(file=file)}\n')
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "out" / ".corpus").mkdir(parents=True)
    with pytest.raises(UnavailableError, match=message):
        obtain(package(), tmp_path / "out", Places(tmp_path))
    assert log.read_text() == "-q download pp=1:2\n"  # never install
    assert everything(tmp_path / "out") == set()
