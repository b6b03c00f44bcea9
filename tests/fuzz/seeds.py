"""Make the files to be mutated: a few seconds of the example music in every format at hand.

Encoders: ffmpeg, lame, oggenc, opusenc, sox (with its mp3 and amr formats) and libsndfile. Seeds
whose encoder is missing are left out, and said. `make(folder)` writes each once.
"""

import hashlib
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from compare import RATE
from containers import dff, dsf, join
from numpy.typing import NDArray

MUSIC = Path(__file__).parents[2] / "examples" / "music"
FF = "ffmpeg -v error -nostdin -y -bitexact -i {wav} -fflags +bitexact -flags:a +bitexact "
VIDEO = (
    "ffmpeg -v error -nostdin -y -f lavfi -i testsrc=size=64x48:rate=5:duration=4 -bitexact"
    " -i {wav} -fflags +bitexact -flags +bitexact -map 0:v -map 1:a -c:v mpeg4 -b:v 40k -shortest "
)


@dataclass(frozen=True)
class Recipe:
    """How a seed is made; the encoder's input is a WAV file of that rate and channels."""

    how: str  # a command line, "sndfile FORMAT SUBTYPE", or "join A B ..." of other seeds
    rate: int = 44_100
    channels: int = 2
    seconds: float = 5.0

    def encode(self, wav: Path, out: Path, others: dict[str, "Seed"]) -> None:
        """Write the seed to `out`."""
        verb, *words = self.how.split()
        if verb == "sndfile":
            audio, rate = soundfile.read(wav, dtype="int16")
            soundfile.write(out, audio, rate, format=words[0], subtype=words[1])
        elif verb == "join":
            out.write_bytes(join([others[word].path.read_bytes() for word in words]))
        elif verb in BUILDERS:
            out.write_bytes(BUILDERS[verb](*soundfile.read(wav, dtype="float64", always_2d=True)))
        else:
            command = [word.format(wav=wav, out=out) for word in (verb, *words)]
            subprocess.run(command, check=True, capture_output=True, timeout=120)


@dataclass(frozen=True)
class Seed:
    """A file and what is to be heard in it: mono at 22,050 Hz."""

    name: str
    path: Path
    truth: NDArray[np.float32]


BUILDERS = {"dsf": dsf, "dff": dff}

RECIPES: dict[str, Recipe] = {
    "pcm16.wav": Recipe(FF + "-c:a pcm_s16le {out}"),
    "pcm24.wav": Recipe(FF + "-c:a pcm_s24le {out}", 48_000),
    "float.wav": Recipe(FF + "-c:a pcm_f32le {out}", 22_050, 1),
    "double.wav": Recipe(FF + "-c:a pcm_f64le {out}", 16_000, 1),
    "u8.wav": Recipe(FF + "-c:a pcm_u8 {out}", 11_025, 1),
    "alaw.wav": Recipe(FF + "-c:a pcm_alaw {out}", 8_000, 1),
    "mulaw.wav": Recipe(FF + "-c:a pcm_mulaw {out}", 8_000, 1),
    "ima.wav": Recipe(FF + "-c:a adpcm_ima_wav {out}"),
    "msadpcm.wav": Recipe(FF + "-c:a adpcm_ms {out}"),
    "gsm.wav": Recipe(FF + "-c:a libgsm_ms {out}", 8_000, 1),
    "six.wav": Recipe(FF + "-c:a pcm_s16le {out}", 22_050, 6, 3),
    "mp3.wav": Recipe(FF + "-c:a libmp3lame {out}"),
    "pcm16.w64": Recipe(FF + "-c:a pcm_s16le {out}", 22_050),
    "pcm16.rf64": Recipe(FF + "-c:a pcm_s16le -rf64 always -f wav {out}", 22_050),
    "pcm16.aiff": Recipe(FF + "-c:a pcm_s16be {out}"),
    "float.aifc": Recipe(FF + "-c:a pcm_f32be -f aiff {out}", 22_050, 1),
    "sowt.aiff": Recipe(FF + "-c:a pcm_s16le {out}", 22_050),
    "pcm16.au": Recipe(FF + "-c:a pcm_s16be {out}", 22_050),
    "mulaw.au": Recipe(FF + "-c:a pcm_mulaw {out}", 8_000, 1),
    "pcm16.caf": Recipe(FF + "-c:a pcm_s16be {out}", 22_050),
    "alac.caf": Recipe(FF + "-c:a alac {out}"),
    "voc.voc": Recipe("sndfile VOC PCM_16", 22_050, 1),
    "nist.sph": Recipe("sndfile NIST PCM_16", 16_000, 1),
    "ircam.sf": Recipe("sndfile IRCAM PCM_16", 22_050, 1),
    "avr.avr": Recipe("sndfile AVR PCM_16", 22_050, 1),
    "svx.8svx": Recipe("sndfile SVX PCM_S8", 22_050, 1),
    "paf.paf": Recipe("sndfile PAF PCM_16", 22_050, 1),
    "sds.sds": Recipe("sndfile SDS PCM_16", 22_050, 1, 3),
    "flac.flac": Recipe("flac -s -f -o {out} {wav}"),
    "flac24.flac": Recipe(FF + "-c:a flac -sample_fmt s32 {out}", 96_000, 1, 3),
    "mono.flac": Recipe(FF + "-c:a flac {out}", 16_000, 1),
    "flac.oga": Recipe(FF + "-c:a flac -f ogg {out}"),
    "vorbis.ogg": Recipe("oggenc -Q -q 3 --serial 1 -o {out} {wav}"),
    "vorbis_low.ogg": Recipe(FF + "-c:a libvorbis -q:a 1 {out}", 22_050, 1),
    "opus.opus": Recipe("opusenc --quiet --serial 2 --bitrate 96 {wav} {out}", 48_000),
    "opus_ff.opus": Recipe(FF + "-c:a libopus -b:a 48k {out}", 48_000, 1),
    "speex.spx": Recipe(FF + "-c:a libspeex {out}", 16_000, 1),
    "cbr_tag.mp3": Recipe("lame --quiet -b 128 {wav} {out}"),
    "cbr_bare.mp3": Recipe("lame --quiet -t -b 160 {wav} {out}"),
    "vbr_tag.mp3": Recipe("lame --quiet -V 4 {wav} {out}"),
    "vbr_bare.mp3": Recipe("lame --quiet -t -V 2 {wav} {out}"),
    "abr_bare.mp3": Recipe("lame --quiet -t --abr 120 {wav} {out}"),
    "mpeg2.mp3": Recipe("lame --quiet -t -V 5 {wav} {out}", 22_050, 1),
    "id3.mp3": Recipe("lame --quiet --id3v2-only --tt Song --ta Nobody -b 96 {wav} {out}"),
    "layer2.mp2": Recipe(FF + "-c:a mp2 -b:a 192k {out}"),
    "aac.aac": Recipe(FF + "-c:a aac -b:a 96k -f adts {out}"),
    "aac.m4a": Recipe(FF + "-c:a aac -b:a 128k {out}"),
    "faststart.m4a": Recipe(FF + "-c:a aac -movflags +faststart {out}", 48_000),
    "fragmented.m4a": Recipe(FF + "-c:a aac -movflags +frag_keyframe+empty_moov -f mp4 {out}"),
    "alac.m4a": Recipe(FF + "-c:a alac {out}"),
    "video.mp4": Recipe(VIDEO + "-c:a aac {out}", 44_100, 2, 4),
    "video.mkv": Recipe(VIDEO + "-c:a ac3 {out}", 48_000, 2, 4),
    "video.avi": Recipe(VIDEO + "-c:a libmp3lame {out}", 44_100, 2, 4),
    "pcm.mov": Recipe(FF + "-c:a pcm_s16le {out}", 22_050),
    "amr.3gp": Recipe(FF + "-c:a aac -f 3gp {out}", 22_050, 1),
    "wma2.wma": Recipe(FF + "-c:a wmav2 -b:a 96k {out}"),
    "wma1.wma": Recipe(FF + "-c:a wmav1 -b:a 64k {out}", 22_050, 1),
    "wavpack.wv": Recipe(FF + "-c:a wavpack {out}"),
    "tta.tta": Recipe(FF + "-c:a tta {out}"),
    "ac3.ac3": Recipe(FF + "-c:a ac3 -b:a 160k {out}", 48_000),
    "eac3.eac3": Recipe(FF + "-c:a eac3 -b:a 160k {out}", 48_000),
    "dts.dts": Recipe(FF + "-c:a dca -strict -2 {out}", 48_000),
    "amr.amr": Recipe("sox {wav} -t amr-nb {out}", 8_000, 1),
    "amrwb.awb": Recipe("sox {wav} -t amr-wb {out}", 16_000, 1),
    "vorbis.mka": Recipe(FF + "-c:a libvorbis {out}"),
    "flac.mka": Recipe(FF + "-c:a flac {out}"),
    "opus.webm": Recipe(FF + "-c:a libopus {out}", 48_000),
    "dsd.dsf": Recipe("dsf", 44_100, 1, 1.5),
    "dsd.dff": Recipe("dff", 44_100, 1, 1.5),
    "chained.ogg": Recipe("join vorbis.ogg vorbis_low.ogg"),
    "chained.opus": Recipe("join opus.opus opus_ff.opus"),
    "chained.oga": Recipe("join flac.oga vorbis.ogg"),
    "joined.mp3": Recipe("join cbr_tag.mp3 vbr_tag.mp3"),
    "joined_rates.mp3": Recipe("join cbr_bare.mp3 mpeg2.mp3"),
    "joined_id3.mp3": Recipe("join vbr_bare.mp3 id3.mp3"),
    "joined.flac": Recipe("join flac.flac mono.flac"),
    "joined_rates.aac": Recipe("join aac.aac adts48.aac adts22mono.aac"),
    "adts48.aac": Recipe(FF + "-c:a aac -f adts {out}", 48_000, 2, 3),
    "adts22mono.aac": Recipe(FF + "-c:a aac -f adts {out}", 22_050, 1, 3),
}


def make(folder: Path) -> dict[str, Seed]:
    """Write what is missing of the seeds to `folder` and return those that could be made."""
    folder.mkdir(parents=True, exist_ok=True)
    songs = sorted(MUSIC.glob("*.ogg"))
    seeds: dict[str, Seed] = {}
    ordered = sorted(RECIPES, key=lambda name: RECIPES[name].how.startswith("join"))
    for name in ordered:
        recipe = RECIPES[name]
        out = folder / name
        song = songs[sorted(RECIPES).index(name) % len(songs)]
        joined = recipe.how.split()[1:] if recipe.how.startswith("join") else []
        try:
            truth = (
                np.concatenate([seeds[part].truth for part in joined])
                if joined
                else _excerpt(song, RATE, recipe.seconds)
            )
            if not out.exists():
                _encode(recipe, song, out, seeds)
        except (OSError, KeyError, subprocess.SubprocessError) as error:
            out.unlink(missing_ok=True)
            print(f"left out: {name} ({getattr(error, 'stderr', None) or error})")
            continue
        seeds[name] = Seed(name, out, truth)
    return {name: seeds[name] for name in sorted(seeds)}


def digest(seeds: dict[str, Seed]) -> str:
    """Return a number for all seeds: with another one, case numbers mean other files."""
    total = hashlib.sha256()
    for seed in seeds.values():
        total.update(seed.path.read_bytes())
    return total.hexdigest()[:16]


def _encode(recipe: Recipe, song: Path, out: Path, seeds: dict[str, Seed]) -> None:
    wav = out.with_name(out.name + ".source.wav")
    part = out.with_name("part-" + out.name)
    mono = _excerpt(song, recipe.rate, recipe.seconds)
    levels = np.linspace(1, 0.6, recipe.channels)
    soundfile.write(wav, mono[:, None] * levels, recipe.rate, subtype="PCM_16")
    try:
        recipe.encode(wav, part, seeds)
        shutil.move(part, out)
    finally:
        wav.unlink(missing_ok=True)
        part.unlink(missing_ok=True)


def _excerpt(song: Path, rate: int, seconds: float) -> NDArray[np.float32]:
    """Return the beginning of the music at `rate`; songs begin with a note, not with silence."""
    native = soundfile.info(song).samplerate
    audio, native = soundfile.read(song, frames=round(seconds * native), dtype="float32")
    excerpt: NDArray[np.float32] = soxr.resample(audio, native, rate) if native != rate else audio
    return np.clip(excerpt, -0.99, 0.99)
