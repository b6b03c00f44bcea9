"""Recordings that come as stems, added up, with when each of the stems sounds."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from musicssl.audio import open_source
from musicssl.errors import AudioError
from musicssl_training.corpus.extraction import Loot, Taken
from musicssl_training.corpus.patterns import matcher
from musicssl_training.corpus.recipe import SourceSpec
from musicssl_training.corpus.stems import (
    Sounding,
    family_activity,
    find_sounding,
    measure_levels,
    rule_for,
)

MIX = "mix.flac"  # in the folder of its stems
WITHOUT = "mix-without-{}.flac"  # the same, without those of a family


@dataclass
class Mix:
    """A sum of stems in the making."""

    file: str
    stems: list[Taken]
    total: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def add(self, audio: NDArray[np.float32]) -> None:
        """Add a stem, which may be longer or shorter than those before."""
        self.total = np.pad(self.total, (0, max(0, len(audio) - len(self.total))))
        self.total[: len(audio)] += audio


def mix_stems(spec: SourceSpec, music: Path, loot: Loot) -> None:
    """Replace the stems among what was taken by their sums; the files stay.

    One sum a folder, and one without each of the families that the recipe says where there are
    stems of it. A mix's hash is that of its stems' hashes, so that it does not depend on the FLAC
    encoder. Beside each is written when its stems sound.
    """
    is_stem = matcher(spec.add)
    folders: dict[str, list[Taken]] = defaultdict(list)
    for file in sorted(loot.files, key=lambda file: file.path):
        path = PurePosixPath(file.path)
        if is_stem(path.name):
            folders[str(path.parent)].append(file)
    for folder, stems in folders.items():
        loot.files = [file for file in loot.files if file not in stems]
        mixes = _mixes(spec, folder, stems)
        there = [file for mix in mixes for file in (mix.file, beside(mix.file))]
        if taken := [file for file in there if (music / file).exists()]:
            loot.left_out[mixes[0].file] = f"the source has a file {taken[0]}"
            continue
        try:
            _write_sums(mixes, stems, music)
        except AudioError as error:
            for mix in mixes:
                loot.left_out[mix.file] = f"a stem cannot be read: {error}"
            continue
        for mix in mixes:
            digest = hashlib.sha256("".join(stem.sha256 for stem in mix.stems).encode()).hexdigest()
            loot.files.append(Taken(mix.file, digest, (music / mix.file).stat().st_size))
            loot.mixed.append(mix.file)
    loot.files.sort(key=lambda file: file.path)


def beside(mix: str) -> str:
    """Return the path of what is known of a mix's stems."""
    return f"{mix.removesuffix('.flac')}.stems.json"


def read_activity_of(spec: SourceSpec, music: Path, mix: str) -> dict[str, Sounding] | None:
    """Return when each instrument family plays in a mix; None if the recipe knows no stems."""
    if not spec.stems:
        return None
    said = json.loads((music / beside(mix)).read_text(encoding="utf-8"))
    return family_activity(said, spec.stems)


def unnamed_stems(spec: SourceSpec, music: Path, mixes: Sequence[str]) -> list[str]:
    """Return the names of stems in mixes that no rule of the recipe names, the most frequent first.

    While they sound, nothing is known of the families that they might hold.
    """
    rule_of = rule_for(spec.stems)
    names = Counter(
        name
        for mix in mixes
        for name in json.loads((music / beside(mix)).read_text(encoding="utf-8"))
        if rule_of(name) is None
    )
    return [name for name, _ in names.most_common()]


def _mixes(spec: SourceSpec, folder: str, stems: list[Taken]) -> list[Mix]:
    """Return what is to be made of the stems of a folder."""
    rule_of = rule_for(spec.stems)
    rules = [rule_of(PurePosixPath(stem.path).name) for stem in stems]
    families = [rule.family if rule else "" for rule in rules]
    out = [Mix(f"{folder}/{MIX}".removeprefix("./"), stems)]
    for left_out in spec.without:
        kept = [stem for stem, own in zip(stems, families, strict=True) if own != left_out]
        if 0 < len(kept) < len(stems):
            out.append(Mix(f"{folder}/{WITHOUT.format(left_out)}".removeprefix("./"), kept))
    return out


def _write_sums(mixes: Sequence[Mix], stems: Sequence[Taken], music: Path) -> None:
    """Write sums of mono stems, quieter if they would clip, and when the stems sound in them."""
    rates = []
    for stem in stems:
        with open_source(music / stem.path, sample_rate=22_050) as source:
            rates.append(source.native_rate)
    rate = max(rates)
    levels: dict[str, NDArray[np.float64]] = {}
    for stem in stems:
        with open_source(music / stem.path, sample_rate=rate) as source:
            audio = np.concatenate(list(source.blocks()))
        levels[stem.path] = measure_levels(audio, rate)
        for mix in mixes:
            if stem in mix.stems:
                mix.add(audio)
    for mix in mixes:
        gain = 1 / max(1.0, float(np.abs(mix.total).max(initial=0)))
        soundfile.write(music / mix.file, mix.total * gain, rate, format="FLAC", subtype="PCM_16")
        said = {
            PurePosixPath(stem.path).name: find_sounding(levels[stem.path], gain)
            for stem in mix.stems
        }
        _write_json(music / beside(mix.file), said)


def _write_json(file: Path, values: Mapping[str, Any]) -> None:
    lines = (f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(values[key])}" for key in values)
    file.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
