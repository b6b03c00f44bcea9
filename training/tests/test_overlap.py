"""Labelled music among what an encoder is trained on is found, by its sound and by its name."""

from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from musicssl_training.cli import main
from musicssl_training.evaluation.fingerprint import RATE, Index, landmarks
from musicssl_training.evaluation.overlap import LEAST

PER_SECOND = 3  # notes


def tune(seed: int, seconds: float) -> np.ndarray:
    """Notes with overtones, each of its own pitch and length."""
    random = np.random.default_rng(seed)
    out = np.zeros(round(seconds * RATE), np.float32)
    for begin in random.uniform(0, seconds - 0.5, round(seconds * PER_SECOND)):
        t = np.arange(round(random.uniform(0.2, 0.5) * RATE)) / RATE
        pitch = 110 * 2 ** (random.integers(36) / 12)
        note = sum(np.sin(2 * np.pi * k * pitch * t) / k for k in range(1, 6)) * np.exp(-4 * t)
        start = round(begin * RATE)
        out[start : start + len(t)] += 0.1 * note[: len(out) - start]
    return out


def test_a_clip_is_found_where_it_lies_however_it_was_cut_and_coded(tmp_path: Path) -> None:
    whole = tune(0, 60)
    cut = round(20.013 * RATE)
    sf.write(tmp_path / "clip.ogg", 0.4 * whole[cut : cut + 10 * RATE], RATE)
    coded, _ = sf.read(tmp_path / "clip.ogg", dtype="float32")
    others = [landmarks(tune(seed, 10)) for seed in range(1, 6)]
    index = Index([*others, landmarks(coded)])
    assert not index.few.any()
    (match,) = index.heard_in(landmarks(whole), LEAST)
    assert match.clip == 5
    assert match.share > 0.1
    assert match.second == pytest.approx(20.013, abs=0.05)


def test_silence_and_short_sounds_are_found_nowhere() -> None:
    quiet = landmarks(np.zeros(RATE, np.float32))
    index = Index([quiet, landmarks(tune(0, 1)[:2000])])
    assert index.few.all()
    assert index.heard_in(landmarks(tune(0, 20)), LEAST) == []
    assert index.heard_in(quiet, LEAST) == []


def labelled(root: Path, clip: np.ndarray, artist: str) -> None:
    """A folder as Emotify's with one clip."""
    root.mkdir(parents=True)
    sf.write(root / "1.wav", clip, RATE)
    emotions = (
        "amazement,solemnity,tenderness,nostalgia,calmness,power,joyful_activation,tension,sadness"
    )
    shares = ",".join("0.5" for _ in emotions.split(","))
    (root / "items.csv").write_text(f"path,genre,artist,{emotions}\n1.wav,rock,{artist},{shares}\n")


@pytest.mark.parametrize(
    ("clip", "artist", "why"),
    [
        (tune(0, 30)[5 * RATE : 15 * RATE], "nobody", "of its fingerprint, from 5.0 s"),
        (tune(7, 10), "the  band", "artist 'the  band'"),
        (tune(7, 10), "nobody", ""),
    ],
)
def test_the_command_lists_what_is_in_both(
    clip: np.ndarray, artist: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sf.write(tmp_path / "a.flac", tune(0, 30), RATE)
    (tmp_path / "index.csv").write_text("path,source,licence,artist\na.flac,s,CC0,The Band\n")
    assert main(["pack", str(tmp_path / "index.csv"), str(tmp_path / "pack")]) == 0
    labelled(tmp_path / "emotify", clip, artist)
    code = main(["overlap", str(tmp_path / "pack"), "--data", str(tmp_path)])
    error = capsys.readouterr().err
    if not why:
        assert code == 0
        return
    assert code == 2
    assert "labelled music is in the corpus, 1 x:\nemotify/1.wav: " in error
    assert why in error
    assert error.rstrip().endswith("of pack/a.flac")
