"""An ordinary script of a user's: passes ``mypy --strict`` and pyright without a cast.

Never run; `tests/test_typing.py` has it checked.
"""

from pathlib import Path
from typing import BinaryIO, assert_type

import numpy as np
import torch
from numpy.typing import NDArray

import musicssl
from musicssl import hear

tone: NDArray[np.float64] = np.sin(np.arange(22_050))
files = sorted(Path("Music").glob("*.flac"))
tensor = torch.zeros(22_050)


def clips(binary: BinaryIO) -> None:
    """One vector per clip, whatever the audio comes in."""
    assert_type(musicssl.get_embedding("song.flac"), NDArray[np.float32])
    assert_type(musicssl.get_embedding(Path("song.flac"), level="clip"), NDArray[np.float32])
    assert_type(musicssl.get_embedding(binary), NDArray[np.float32])
    assert_type(musicssl.get_embedding(tone, 22_050, pooling="max"), NDArray[np.float32])
    assert_type(musicssl.get_embedding(files, layer=[2, 5]), NDArray[np.float32])
    assert_type(musicssl.get_embedding(["a.wav", "b.wav"]), NDArray[np.float32])
    assert_type(musicssl.get_embedding([tone, tone], [22_050, 44_100]), NDArray[np.float32])
    mixed: list[str | NDArray[np.float64]] = [tone, "a.wav"]
    assert_type(musicssl.get_embedding(mixed, [22_050, None]), NDArray[np.float32])
    assert_type(musicssl.get_embedding(tensor, 22_050), torch.Tensor)
    assert_type(musicssl.get_embedding([tensor, tensor], 22_050), torch.Tensor)
    similarity = float(musicssl.get_embedding("a.wav") @ musicssl.get_embedding("b.wav"))
    print(f"{similarity:.2f}")


def frames() -> None:
    """Frames with their times."""
    values, times = musicssl.get_embedding("song.flac", level="frame")
    assert_type(values, NDArray[np.float32])
    assert_type(times, NDArray[np.float64])
    np.savez("song.npz", values=values, times=times)
    for clip in musicssl.get_embedding(files, level="frame"):
        print(clip.values.mean(axis=0), float(clip.times[-1]))
    embedding: musicssl.Embedding = musicssl.get_embedding(tone, 22_050, level="frame")
    print(embedding.values[embedding.times < 1].shape)
    on_device = musicssl.get_embedding(tensor, 22_050, level="frame")
    print(on_device.values.softmax(dim=1).to("cpu"), on_device.times.device)
    several = musicssl.get_embedding([tensor, tensor], 22_050, level="frame")
    print(torch.cat([one.values for one in several]))


def models(name: str | None) -> None:
    """A model that is kept, and its options."""
    model = musicssl.load_model(name, device="cpu", dtype="bf16")
    assert_type(model, musicssl.MusicEncoder)
    vectors = model.embed(files, batch_seconds=60.0, mono="left")
    assert_type(vectors, NDArray[np.float32])
    values, times = model.embed(tone, 22_050, level="frame", layer="all", chunk_seconds=10.0)
    print(values.shape, times.shape, model.dim * model.frame_rate)
    assert_type(model.embed(tensor, model.sample_rate), torch.Tensor)
    scenes = hear.get_scene_embeddings(torch.zeros(2, 22_050), model)
    assert_type(scenes, torch.Tensor)
    model.save_pretrained("checkpoint")
    for info in musicssl.list_models():
        print(info.name, info.dim, info.weights_licence)


def folders(on_error: str = "skip") -> None:
    """A folder, and what came of it."""
    summary = musicssl.embed_folder("Music", "embeddings", level="frame", on_error=on_error)
    print(summary.done, summary.failures)


def windows() -> None:
    """One vector per window, with its time."""
    values, times = musicssl.get_embedding("song.flac", window=10, hop=5)
    assert_type(values, NDArray[np.float32])
    assert_type(times, NDArray[np.float64])
    found = musicssl.get_embedding(files, window=10.0, pooling="meanstd")
    assert_type(found, list[musicssl.Embedding])
    model = musicssl.load_model()
    assert_type(model.embed(tone, 22_050, window=1, batch_seconds=60), musicssl.Embedding)
    on_device = model.embed(tensor, 22_050, window=1)
    print(on_device.values.softmax(dim=1))


def parts_of_files() -> None:
    """Segments are sounds, alone and in lists."""
    tracks = musicssl.read_segments("album.cue")
    assert_type(musicssl.get_embedding(tracks), NDArray[np.float32])
    assert_type(musicssl.get_embedding(tracks, level="frame"), list[musicssl.Embedding])
    chorus = musicssl.Segment("song.flac", 61.5, 84)
    assert_type(musicssl.get_embedding(chorus, window=5), musicssl.Embedding)
    assert_type(musicssl.get_embedding([chorus, "song.flac"]), NDArray[np.float32])
    print(musicssl.embed_folder(tracks, format="parquet", metadata="tags.csv").done)


def what_cannot_be_used() -> None:
    """None stands where a file cannot be used."""
    vectors = musicssl.get_embedding(files, on_error="skip")
    assert_type(vectors, list[NDArray[np.float32] | None])
    kept = np.stack([vector for vector in vectors if vector is not None])
    print(kept.shape, [path for path, one in zip(files, vectors, strict=True) if one is None])
    frames = musicssl.get_embedding(files, level="frame", on_error="skip")
    assert_type(frames, list[musicssl.Embedding | None])
    model = musicssl.load_model()
    assert_type(model.embed(files, window=3, on_error="skip"), list[musicssl.Embedding | None])
    assert_type(model.embed(files, on_error="raise"), NDArray[np.float32])


def any_level(level: str) -> None:
    """A level that is known at run time only: any kind of embedding."""
    found = musicssl.get_embedding("song.flac", level=level)
    if isinstance(found, musicssl.Embedding):
        print(found.times)


def several_forms(waveform: torch.Tensor) -> None:
    """Iterators and lists of several kinds are lists of sounds."""
    paths = (path for path in ["a.ogg", "b.ogg"])
    assert_type(musicssl.get_embedding(paths), NDArray[np.float32])
    assert_type(musicssl.get_embedding(map(str, ["a.ogg"])), NDArray[np.float32])
    assert_type(musicssl.get_embedding(["a.ogg", Path("b.ogg")]), NDArray[np.float32])
    assert_type(musicssl.get_embedding(paths, level="frame"), list[musicssl.Embedding])
    assert_type(musicssl.get_embedding([waveform], 22_050), torch.Tensor)
    model = musicssl.load_model()
    assert_type(model.embed(paths), NDArray[np.float32])
    assert_type(model.embed(iter([waveform]), 22_050), torch.Tensor)
