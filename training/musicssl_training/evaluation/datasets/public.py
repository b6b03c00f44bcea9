"""Loaders for public MIR datasets: GTZAN, MagnaTagATune, NSynth, MTG-Jamendo and others."""

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from musicssl.errors import shown
from musicssl_training.evaluation.datasets.collection import Clip, Collection, Column
from musicssl_training.evaluation.datasets.table import SPLIT_NAMES, check_part
from musicssl_training.evaluation.errors import DataError
from musicssl_training.midi.theory import KEYS, parse_key

Row = dict[str, Any]  # columns of one clip


def read_gtzan(root: Path) -> Collection:
    """Load GTZAN (Tzanetakis and Cook, 2002) through mirdata, with the fault-filtered split.

    ``train_filtered.txt``, ``valid_filtered.txt`` and ``test_filtered.txt`` in `root` list the
    443, 197 and 290 clips of Kereliuk, Sturm and Larsen, "Deep learning and music adversaries",
    2015: without repeated and broken clips, and with no artist on both sides.

    Raises
    ------
    DataError
        If a list or a clip is missing, or a clip is in two lists.
    """
    lists = {
        part: _lines(
            root / f"{part}_filtered.txt",
            "gtzan",
            "The lists of jongpillee/music_dataset_split, GTZAN_split.",
        )
        for part in ("train", "valid", "test")
    }
    stems = {Path(line).stem: part for part, lines in lists.items() for line in lines}
    if sum(map(len, lists.values())) != len(stems):
        raise DataError("gtzan: a clip is in two of the lists of the filtered split.")
    rows = [
        (Path(track.audio_path), {"genre": track.genre, "part": stems[name]})
        for name, track in _mirdata("gtzan_genre", root).items()
        if name in stems
    ]
    return _collect("gtzan", root, rows, "mirdata, gtzan_genre")


def read_giantsteps(root: Path) -> Collection:
    """Load GiantSteps key (Knees et al., 2015) through mirdata, for cross-validation.

    Clips without exactly one key are left out.
    """
    rows = []
    for track in _mirdata("giantsteps_key", root).values():
        key = parse_key(str(track.key), mode_needed=True)
        if key >= 0:
            rows.append((Path(track.audio_path), {"key": KEYS[key]}))
    return _collect("giantsteps", root, rows, "mirdata, giantsteps_key")


def read_ballroom(root: Path) -> Collection:
    """Load Ballroom (Gouyon et al., 2006) through mirdata: dance and tempo.

    Raises
    ------
    DataError
        If mirdata does not know it, or a tempo is no number.
    """
    rows = []
    for name, track in _mirdata("ballroom", root).items():
        try:
            tempo = float(track.tempo or 0)
        except ValueError as error:  # mirdata reads it now
            raise DataError(f"ballroom: the tempo of track {name!r}: {error}.") from error
        rows.append((Path(track.audio_path), {"genre": track.genre, "tempo": tempo}))
    return _collect("ballroom", root, rows, "mirdata, ballroom")


def read_magnatagatune(root: Path) -> Collection:
    """Load MagnaTagATune (Law et al., 2009): the 50 most frequent tags.

    ``annotations_final.csv`` and the sixteen folders ``0`` to ``f``: 0 to b train, c validates,
    d to f test, as in Lee et al., "Sample-level deep convolutional neural networks", 2017, and
    in MARBLE. Clips without any of the tags are left out.
    """
    table = _table(root / "annotations_final.csv", "magnatagatune", ("mp3_path",), delimiter="\t")
    names = [name for name in table[0] if name not in ("clip_id", "mp3_path")]
    counts = {name: sum(row[name] == "1" for row in table) for name in names}
    top = sorted(sorted(names), key=lambda name: -counts[name])[:50]
    rows = []
    for row in table:
        tags = {f"tag:{name}": float(row[name] == "1") for name in top}
        side = "0123456789abc".find(row["mp3_path"][0])
        if any(tags.values()):
            part = "test" if side < 0 else "valid" if side == 12 else "train"
            rows.append((root / row["mp3_path"], {**tags, "part": part}))
    return _collect("magnatagatune", root, rows, "https://mirg.city.ac.uk/codeapps")


def read_nsynth(root: Path) -> Collection:
    """Load NSynth (Engel et al., 2017) from ``nsynth-train``, ``nsynth-valid``, ``nsynth-test``.

    The published split, by instrument. Pitch has 88 classes, MIDI 21 to 108, as in HEAR.
    """
    rows = []
    for part in ("train", "valid", "test"):
        folder = root / f"nsynth-{part}"
        file = folder / "examples.json"
        for name, facts in sorted(_json(file, "nsynth").items()):
            pitch = int(_number(facts["pitch"], f"nsynth: {file}: the pitch of {name!r}"))
            row = {
                "pitch": str(pitch) if 21 <= pitch <= 108 else "",
                "family": facts["instrument_family_str"],
                "instrument": facts["instrument_str"],
                "part": part,
            }
            rows.append((folder / "audio" / f"{name}.wav", row))
    return _collect("nsynth", root, rows, "https://magenta.tensorflow.org/datasets/nsynth")


def read_emo(root: Path) -> Collection:
    """Load EMO (Soleymani et al., "1000 songs for emotional analysis of music", 2013).

    ``annotations/static_annotations.csv`` (song_id, mean_arousal, mean_valence) and
    ``annotations/songs_info.csv`` (song_id, Artist), the clips in ``clips_45seconds/ID.mp3``.
    Grouped by artist; five folds, where MARBLE draws one split.
    """
    folder = root / "annotations"
    artists = {
        row["song_id"].strip(): row["Artist"].strip()
        for row in _table(folder / "songs_info.csv", "emo", ("song_id", "Artist"))
    }
    rows, file = [], folder / "static_annotations.csv"
    for row in _table(file, "emo", ("song_id", "mean_arousal", "mean_valence")):
        number = row["song_id"].strip()
        values = {
            name: _number(row[f"mean_{name}"], f"emo: {file}: mean_{name} of song {number!r}")
            for name in ("valence", "arousal")
        }
        facts = {**values, "group": artists.get(number) or number}
        rows.append((root / "clips_45seconds" / f"{number}.mp3", facts))
    return _collect("emo", root, rows, "https://cvml.unige.ch/databases/emoMusic")


def read_jamendo(root: Path) -> Collection:
    """Load MTG-Jamendo (Bogdanov et al., 2019): the top 50 tags, split 0.

    ``data/splits/split-0/autotagging_top50tags-train.tsv``, ``-validation`` and ``-test`` of the
    dataset's repository, and the recordings in ``audio/``, or as named in ``audio-low/``.
    """
    rows, tags = [], set()
    for part in ("train", "validation", "test"):
        file = root / "data/splits/split-0" / f"autotagging_top50tags-{part}.tsv"
        for line in _lines(file, "jamendo", "https://github.com/MTG/mtg-jamendo-dataset")[1:]:
            _, artist, _, path, _, *found = line.split("\t")
            tags.update(found)
            rows.append((path, artist, SPLIT_NAMES[part], set(found)))
    low = (root / "audio-low").is_dir()
    return _collect(
        "jamendo",
        root,
        [
            (
                root
                / (f"audio-low/{path.removesuffix('.mp3')}.low.mp3" if low else f"audio/{path}"),
                {"artist": artist, "part": part}
                | {f"tag:{t.rpartition('---')[2]}": float(t in found) for t in sorted(tags)},
            )
            for path, artist, part, found in rows
        ],
        "https://github.com/MTG/mtg-jamendo-dataset",
    )


def read_fma_small(root: Path) -> Collection:
    """Load FMA-small (Defferrard et al., 2017): 8 genres, with its published split by artist.

    ``fma_metadata/tracks.csv`` and ``fma_small/000/000002.mp3``.
    """
    file = root / "fma_metadata" / "tracks.csv"
    lines = list(csv.reader(_lines(file, "fma_small", "https://github.com/mdeff/fma")))
    keys = list(zip(lines[0], lines[1], strict=True))
    at = {
        name: keys.index(name)
        for name in (("set", "split"), ("set", "subset"), ("track", "genre_top"), ("artist", "id"))
    }
    rows = []
    for line in lines[3:]:
        split, subset, genre, artist = (line[i] for i in at.values())
        if subset == "small":
            number = f"{int(_number(line[0], f'fma_small: {file}: track_id')):06d}"
            path = root / "fma_small" / number[:3] / f"{number}.mp3"
            part = check_part(split, f"fma_small: {file}: track {number}")
            rows.append((path, {"genre": genre, "artist": artist, "part": part}))
    return _collect("fma_small", root, rows, "https://github.com/mdeff/fma")


def read_vocalset(root: Path) -> Collection:
    """Load VocalSet (Wilkins et al., 2018): technique and singer, taken from the paths.

    ``FULL/female1/scales/straight/f1_scales_straight_a.wav``. Technique: five folds of
    unseen singers; the ten techniques of the authors' paper.
    """
    techniques = {"belt", "breathy", "inhaled", "lip_trill", "spoken"}
    techniques |= {"straight", "trill", "trillo", "vibrato", "vocal_fry"}
    rows = []
    for path in sorted((root / "FULL").rglob("*.wav")):
        singer, technique = path.relative_to(root / "FULL").parts[0], path.parent.name
        rows.append(
            (path, {"singer": singer, "technique": technique if technique in techniques else ""})
        )
    return _collect("vocalset", root, rows, "https://zenodo.org/record/1193957")


def _mirdata(name: str, root: Path) -> dict[str, Any]:
    """Return the tracks of a dataset that mirdata loads."""
    try:
        import mirdata
    except ImportError as error:
        raise DataError(
            f"{name} is read by mirdata: pip install 'musicssl-training[datasets]' ({error})."
        ) from error
    try:
        return dict(mirdata.initialize(name, data_home=str(root)).load_tracks())
    except FileNotFoundError as error:
        raise DataError(
            f"{name}: {error}. Fetch mirdata's index once: python -c \"import mirdata; "
            f"mirdata.initialize('{name}').download(['index'])\"."
        ) from error


def _collect(name: str, root: Path, rows: Iterable[tuple[Path, Row]], advice: str) -> Collection:
    """Return rows as a collection; clip ids are paths relative to `root`."""
    found = list(rows)
    if not found:
        raise DataError(f"{name}: no recordings found in {root}. Get it from: {advice}.")
    clips = tuple(Clip(path.relative_to(root).as_posix(), path) for path, _ in found)
    columns: dict[str, Column] = {
        key: np.array([row[key] for _, row in found]) for key in found[0][1]
    }
    return Collection(name, clips, columns, advice=f"Get it from: {advice}.")


def _lines(file: Path, name: str, advice: str) -> list[str]:
    try:
        return [line for line in file.read_text("utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{name}: {file} cannot be read: {error}. {advice}") from error


def _table(file: Path, name: str, needed: Sequence[str], **options: Any) -> list[dict[str, str]]:
    lines = _lines(file, name, "")
    rows = list(csv.DictReader(lines, restval="", skipinitialspace=True, **options))
    if not rows:
        raise DataError(f"{name}: {file} has no rows.")
    for lacking in (column for column in needed if column not in rows[0]):
        raise DataError(f"{name}: {file} has no column {lacking!r}.")
    return rows


def _json(file: Path, name: str) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads("\n".join(_lines(file, name, "")))
    except json.JSONDecodeError as error:
        raise DataError(f"{name}: {file} is no JSON ({error}): copied in part?") from error
    return values


def _number(value: Any, what: str) -> float:
    """Return a finite number that `what` names, with its place, for messages."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise DataError(f"{what} is {shown(value)}, no finite number.")
    return found
