"""Recordings that come as stems, added up."""

import hashlib
from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
import soundfile
from numpy.typing import NDArray

from musicssl.audio import open_source
from musicssl.errors import AudioError
from musicssl_training.corpus.extraction import Loot, Taken
from musicssl_training.corpus.patterns import matcher
from musicssl_training.corpus.recipe import SourceSpec

MIX = "mix.flac"  # in the folder of its stems


def mix_stems(spec: SourceSpec, music: Path, loot: Loot) -> None:
    """Replace the stems among what was taken by their sums, one a folder; the files stay.

    A mix's hash is that of its stems' hashes, so that it does not depend on the FLAC encoder.
    """
    is_stem = matcher(spec.add)
    folders: dict[str, list[Taken]] = defaultdict(list)
    for file in sorted(loot.files, key=lambda file: file.path):
        path = PurePosixPath(file.path)
        if is_stem(path.name):
            folders[str(path.parent)].append(file)
    for folder, stems in folders.items():
        mix = f"{folder}/{MIX}".removeprefix("./")
        loot.files = [file for file in loot.files if file not in stems]
        try:
            _write_sum([music / stem.path for stem in stems], music / mix)
        except AudioError as error:
            loot.left_out[mix] = f"a stem cannot be read: {error}"
            continue
        digest = hashlib.sha256("".join(stem.sha256 for stem in stems).encode()).hexdigest()
        loot.files.append(Taken(mix, digest, (music / mix).stat().st_size))
    loot.files.sort(key=lambda file: file.path)


def _write_sum(stems: list[Path], out: Path) -> None:
    """Write the sum of mono stems, quieter if it would clip."""
    with open_source(stems[0], sample_rate=22_050) as first:
        rate = first.native_rate
    total: NDArray[np.float32] = np.zeros(0, np.float32)
    for stem in stems:
        with open_source(stem, sample_rate=rate) as source:
            audio = np.concatenate(list(source.blocks()))
        length = max(len(total), len(audio))
        total = np.pad(total, (0, length - len(total)))
        total[: len(audio)] += audio
    total /= max(1.0, float(np.abs(total).max(initial=0)))
    soundfile.write(out, total, rate, format="FLAC", subtype="PCM_16")
