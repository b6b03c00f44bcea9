"""Render the ABC scores in `scores/` to Ogg Vorbis with abc2midi, FluidSynth and a SoundFont."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

HERE = Path(__file__).parent
FONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
SAMPLE_RATE = 44_100  # Hz
MAX_SECONDS = 30.0
FADE_SECONDS = 0.3
SILENCE = 10 ** (-46 / 20)  # amplitude below which the decay of the last note is cut
PEAK = 10 ** (-1.5 / 20)  # full scale is 1; decoding adds up to 1 dB
RMS = 10 ** (-18 / 20)  # aimed at, by pressing down the loudest moments
MAX_BOOST = 2.0  # but no further than this
COMPRESSION_LEVEL = 0.9  # of soundfile: 0 is the largest file, 1 the smallest
BLOCK = 65_536  # frames in one write: libsndfile overflows its stack on a long Vorbis write


def synthesise(score: Path, font: Path, folder: Path) -> NDArray[np.float32]:
    """Return the sound of one ABC score, (samples,) at `SAMPLE_RATE`; `folder` is scratch."""
    midi, wav = folder / f"{score.stem}.mid", folder / f"{score.stem}.wav"
    abc = subprocess.run(
        ["abc2midi", str(score), "-o", str(midi)], capture_output=True, text=True, check=True
    )
    problems = [line for line in abc.stdout.splitlines() if line.startswith(("Warning", "Error"))]
    if problems:
        raise ValueError(f"{score.name}: abc2midi says {'; '.join(problems)}.")
    options = ["-ni", "-q", "-g", "0.4", "-r", str(SAMPLE_RATE), "-O", "float", "-T", "wav"]
    subprocess.run(
        ["fluidsynth", *options, "-F", str(wav), str(font), str(midi)],
        capture_output=True,
        check=True,
    )
    audio, _ = soundfile.read(wav, dtype="float32", always_2d=True)
    mono: NDArray[np.float32] = audio.mean(axis=1)
    return mono


def master(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (samples,) without silence at the ends, faded out, peaking at `PEAK`."""
    audio = audio / np.abs(audio).max()
    loud = np.flatnonzero(np.abs(audio) > SILENCE)
    audio = audio[loud[0] : loud[-1] + 1][: int(MAX_SECONDS * SAMPLE_RATE)]
    boost = np.clip(RMS / np.sqrt(np.mean(audio**2)), 0.01, MAX_BOOST)
    audio = np.tanh(boost * audio) / np.tanh(boost)  # a small boost is nearly linear
    fade = int(FADE_SECONDS * SAMPLE_RATE)
    audio[-fade:] *= np.linspace(1, 0, fade, dtype=audio.dtype) ** 2
    mastered: NDArray[np.float32] = (PEAK * audio / np.abs(audio).max()).astype(np.float32)
    return mastered


def write_vorbis(path: Path, audio: NDArray[np.float32]) -> None:
    """Write audio, (samples,) at `SAMPLE_RATE`, in blocks."""
    with soundfile.SoundFile(
        path,
        "w",
        SAMPLE_RATE,
        channels=1,
        format="OGG",
        subtype="VORBIS",
        compression_level=COMPRESSION_LEVEL,
    ) as file:
        for start in range(0, len(audio), BLOCK):
            file.write(audio[start : start + BLOCK])


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--font", type=Path, default=FONT, help="SoundFont, default %(default)s")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the .ogg files")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Render every score; return the exit code."""
    args = build_parser().parse_args(argv)
    needed = {
        "abc2midi (Debian package abcmidi)": shutil.which("abc2midi") is not None,
        "fluidsynth (Debian package fluidsynth)": shutil.which("fluidsynth") is not None,
        f"the font {args.font} (Debian package fluid-soundfont-gm)": args.font.is_file(),
    }
    missing = [name for name, found in needed.items() if not found]
    if missing:
        print(f"render.py: not found: {'; '.join(missing)}.", file=sys.stderr)
        return 2
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for score in sorted((HERE / "scores").glob("*.abc")):
            audio = master(synthesise(score, args.font, Path(folder)))
            write_vorbis(args.out / f"{score.stem}.ogg", audio)
            print(f"{score.stem}.ogg: {len(audio) / SAMPLE_RATE:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
