"""Decode five minutes of stereo in each format, as it is done and by other decoders: x real time.

    python benchmarks/decoding.py [--seconds 300]

One thread; what counts is CPU time. The music is that of examples/music, one clip after the other,
encoded by PyAV. Others are the command `ffmpeg` through a pipe, if there is one, and minimp3,
dr_flac and stb_vorbis, if the package miniaudio is installed.
"""

import argparse
import io
import math
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib import import_module
from typing import Any

import av
import numpy as np
import soundfile
from timing import MUSIC, Row, table

from musicssl.audio import open_source
from musicssl.audio.decoder import Decoder
from musicssl.audio.ffmpeg import FFmpegDecoder
from musicssl.audio.sndfile import SoundFileDecoder
from musicssl.audio.stream import ByteStream

RATE = 44_100
# name: codec and container for PyAV, or format and subtype for libsndfile
KINDS: dict[str, tuple[str, str]] = {
    "WAV, 16 bit": ("WAV", "PCM_16"),
    "AIFF, 24 bit": ("AIFF", "PCM_24"),
    "FLAC": ("flac", "flac"),
    "MP3, 192 kbit/s": ("libmp3lame", "mp3"),
    "Ogg Vorbis": ("OGG", "VORBIS"),
    "Opus": ("libopus", "ogg"),
    "m4a, AAC": ("aac", "ipod"),
    "m4a, ALAC": ("alac", "ipod"),
    "WMA": ("wmav2", "asf"),
    "WavPack": ("wavpack", "wv"),
}


def music(seconds: float) -> np.ndarray[Any, Any]:
    """Return stereo music, shape (2, samples)."""
    clips = []
    for path in sorted(MUSIC.glob("*.ogg")):
        with open_source(path, sample_rate=RATE) as source:
            clips.append(np.concatenate(list(source.blocks())))
    mono = np.concatenate(clips)
    mono = np.tile(mono, int(seconds * RATE / len(mono)) + 1)[: int(seconds * RATE)]
    return np.stack([mono, 0.8 * mono + 0.1 * np.roll(mono, 441)]).astype(np.float32)


def encode(audio: np.ndarray[Any, Any], codec: str, container: str) -> bytes:
    """Return a whole file."""
    out = io.BytesIO()
    if codec.isupper():
        with soundfile.SoundFile(out, "w", RATE, 2, format=codec, subtype=container) as file:
            for start in range(0, audio.shape[1], 4096):
                file.write(audio.T[start : start + 4096])
        return out.getvalue()
    rate = 48_000 if codec == "libopus" else RATE
    with av.open(out, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = "stereo", 192_000
        kind = stream.codec_context.codec.audio_formats[0].name
        convert = av.AudioResampler(format=kind, layout="stereo", rate=rate)
        frame = av.AudioFrame.from_ndarray(audio, format="fltp", layout="stereo")
        frame.sample_rate, frame.time_base, frame.pts = RATE, Fraction(1, RATE), 0
        for part in [*convert.resample(frame), *convert.resample(None)]:
            file.mux(stream.encode(part))
        file.mux(stream.encode(None))
    return out.getvalue()


def piped(path: str) -> Iterator[bytes]:
    """Yield what the command ffmpeg writes to a pipe."""
    if (command := shutil.which("ffmpeg")) is None:
        raise ValueError("no ffmpeg")
    run = [command, "-v", "quiet", "-threads", "1", "-i", path, "-f", "f32le", "-"]
    with subprocess.Popen(run, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while block := process.stdout.read(2**20):
            yield block


def small_libraries(data: bytes) -> Iterator[Any]:
    """Yield what minimp3, dr_flac or stb_vorbis decode."""
    try:
        miniaudio = import_module("miniaudio")
        yield miniaudio.decode(data, miniaudio.SampleFormat.FLOAT32, 2, RATE)
    except Exception as error:  # it is missing, or does not know the format
        raise ValueError("not decoded") from error


def cpu() -> float:
    """Return the seconds of this thread and of processes that have ended."""
    there = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.thread_time() + there.ru_utime + there.ru_stime


def rate_of(blocks: Callable[[], Iterator[Any]], seconds: float) -> float | None:
    """Return x real time, the best of three, None where it cannot be decoded."""
    times = []
    try:
        for _ in range(3):
            start = cpu()
            for _ in blocks():
                pass
            times.append(cpu() - start)
    except ValueError:
        return None
    return seconds / min(times)


def rates(data: bytes, path: str, seconds: float) -> dict[str, float | None]:
    """Return x real time by what decodes."""

    def decoder(make: type[Decoder]) -> Iterator[Any]:
        return make(ByteStream(io.BytesIO(data))).read()  # type: ignore[call-arg]

    def source() -> Iterator[Any]:
        return open_source(io.BytesIO(data), sample_rate=22_050).blocks()

    calls: dict[str, Callable[[], Iterator[Any]]] = {
        "libsndfile": lambda: decoder(SoundFileDecoder),
        "FFmpeg by PyAV": lambda: decoder(FFmpegDecoder),
        "ffmpeg, piped": lambda: piped(path),
        "minimp3 and the like": lambda: small_libraries(data),
        "as it is done": source,
    }
    return {name: rate_of(call, seconds) for name, call in calls.items()}


def main() -> None:
    """Print a row a format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    seconds = parser.parse_args().seconds
    audio = music(seconds)
    for i, (name, kind) in enumerate(KINDS.items()):
        data = encode(audio, *kind)
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            found = rates(data, file.name, seconds)
        most = max(rate for rate in found.values() if rate)
        lasts = found["as it is done"] or math.nan
        row: Row = {"format": name} | found | {"the fastest / as it is done": most / lasts}
        lines = table([row]).splitlines()
        print("\n".join(lines if i == 0 else lines[2:]), flush=True)


if __name__ == "__main__":
    main()
