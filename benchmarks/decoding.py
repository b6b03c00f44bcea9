"""Decode five minutes of stereo in each format, with either decoder and as it is done: x real time.

    python benchmarks/decoding.py [--seconds 300]

One thread. The music is that of examples/music, one clip after the other, encoded by PyAV.
"""

import argparse
import io
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import soundfile
from timing import MUSIC

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


def rate_of(blocks: Callable[[], Iterator[Any]], seconds: float) -> str:
    """Return x real time, the best of three, or "-" where it cannot be decoded."""
    times = []
    try:
        for _ in range(3):
            start = time.thread_time()
            for _ in blocks():
                pass
            times.append(time.thread_time() - start)
    except ValueError:
        return "-"
    return f"{seconds / min(times):,.0f}"


def main() -> None:
    """Print a row a format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    seconds = parser.parse_args().seconds
    audio = music(seconds)
    print("| format | libsndfile | FFmpeg | as it is done, mono at 22,050 Hz included |")
    print("|---|---|---|---|")
    for name, kind in KINDS.items():
        data = encode(audio, *kind)

        def decoder(make: type[Decoder], data: bytes = data) -> Iterator[Any]:
            return make(ByteStream(io.BytesIO(data))).read()  # type: ignore[call-arg]

        def source(data: bytes = data) -> Iterator[Any]:
            return open_source(io.BytesIO(data), sample_rate=22_050).blocks()

        cells = [
            rate_of(lambda: decoder(SoundFileDecoder), seconds),
            rate_of(lambda: decoder(FFmpegDecoder), seconds),
            rate_of(source, seconds),
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
