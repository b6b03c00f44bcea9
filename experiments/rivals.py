"""Other embeddings, as functions that `musicssl-train evaluate` can measure beside ours.

    export PYTHONPATH=experiments
    musicssl-train evaluate musicssl-small rivals:musicnn_msd rivals:crepe_tiny --data FOLDER

Each is what its authors offer, with weights that a package or a checkout of theirs brings; none is
part of musicssl. Frames are pooled to mean and standard deviation, as those of every function are.

References
----------
musicnn: Pons and Serra, 2019 (``pip install --no-deps musicnn==0.1.0``).
CREPE: Kim et al., 2018, in torchcrepe (``pip install --no-deps torchcrepe``).
BYOL-A: Niizumi et al., 2021. The environment names a checkout of nttcslab/byol-a, which has its own
licence (``BYOL_A``), and mean and deviation of the data's log-mel spectra, as its authors subtract
and divide (``BYOL_A_STATISTICS=-3.2,3.7``; `byol_a_statistics` finds them).
EfficientAT: Schmid et al., 2023. The environment names released weights (``EFFICIENTAT``), such
as ``mn04_as_mAP_432.pt``.
"""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from librosa.filters import mel
from numpy.typing import NDArray
from torch import Tensor, nn

from musicssl.audio import open_source
from musicssl_training.evaluation.datasets import Clip
from musicssl_training.evaluation.embedders.spec import make_embedder

RATE = 16_000  # Hz, of all but EfficientAT
PATCH = 3 * RATE  # samples of musicnn's shortest input
SHORTEST = 3_200  # samples at 32 kHz, that EfficientAT hears
CREPE_HOP, CREPE_WINDOW = 320, 1024  # samples
BYOL_WINDOW = 0.95  # seconds, on which it was trained

Audio = NDArray[np.float32]
Embed = Callable[[Audio, int], Any]


def at_rate(rate: int) -> Callable[[Embed], Embed]:
    """Return a decorator that marks a function as taking audio at a rate in Hz."""

    def mark(function: Embed) -> Embed:
        function.sample_rate = rate  # type: ignore[attr-defined]
        return function

    return mark


at_16_khz = at_rate(RATE)


@cache
def _musicnn(data: str) -> Any:
    from musicssl_training.teachers.musicnn import Musicnn

    return Musicnn(data)


def _penultimate(audio: Audio, data: str) -> Audio:
    """Return the 200 penultimate values of each patch of 3 s; a shorter sound is repeated."""
    if len(audio) < PATCH + RATE:
        audio = np.resize(audio, PATCH + RATE)
    return np.concatenate([*_musicnn(data).values([audio])])


@at_16_khz
def musicnn_msd(audio: Audio, sr: int) -> Audio:
    """Return musicnn's values, trained on tags of the Million Song Dataset."""
    return _penultimate(audio, "MSD")


@at_16_khz
def musicnn_mtt(audio: Audio, sr: int) -> Audio:
    """Return musicnn's values, trained on tags of MagnaTagATune."""
    return _penultimate(audio, "MTT")


@cache
def _efficientat() -> Any:
    from musicssl_training.teachers.efficientat import EfficientAt

    return EfficientAt(Path(os.environ["EFFICIENTAT"]))


@at_rate(32_000)
@torch.inference_mode()
def efficientat(audio: Audio, sr: int) -> Audio:
    """Return the mean feature maps of each patch of 3 s, or of a shorter sound."""
    teacher = _efficientat()
    patches = [*teacher.values([audio])]
    if patches:
        return np.concatenate(patches)
    padded = np.pad(audio, (0, max(0, SHORTEST - len(audio))))
    features: Tensor = teacher.network(teacher.log_mel(torch.from_numpy(padded[None])))[0]
    return features.numpy()


@cache
def _crepe() -> nn.Module:
    import torchcrepe

    network = torchcrepe.Crepe("tiny")
    file = Path(torchcrepe.__file__).parent / "assets" / "tiny.pth"
    network.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
    return network.eval()


@at_16_khz
@torch.inference_mode()
def crepe_tiny(audio: Audio, sr: int) -> Tensor:
    """Return CREPE's pitch embedding of a frame every 20 ms."""
    padded = np.pad(audio, (CREPE_WINDOW // 2, CREPE_WINDOW // 2))
    frames = torch.from_numpy(padded).unfold(0, CREPE_WINDOW, CREPE_HOP)
    frames = frames - frames.mean(dim=1, keepdim=True)
    frames = frames / frames.std(dim=1, keepdim=True).clamp(min=1e-10)
    found = [_crepe()(part, embed=True).flatten(1) for part in frames.split(256)]
    return torch.cat(found)


@cache
def _byol_a() -> nn.Module:
    folder = Path(os.environ["BYOL_A"])
    sys.path.append(str(folder))
    models = importlib.import_module("byol_a.models")
    network: nn.Module = models.AudioNTT2020(n_mels=64, d=512)
    file = folder / "pretrained_weights" / "AudioNTT2020-BYOLA-64x96d512.pth"
    network.load_state_dict(torch.load(file, weights_only=True, map_location="cpu"))
    return network.eval()


def _byol_a_log_mel(audio: Audio) -> Tensor:
    """Return (bands, frames); a sound shorter than an excerpt gets silence around it."""
    missing = max(0, int(BYOL_WINDOW * RATE) - len(audio))
    wave = torch.from_numpy(np.pad(audio, (missing // 2, missing - missing // 2)))
    window = torch.hann_window(1024)
    spectra = torch.stft(wave, 1024, 160, window=window, return_complex=True, pad_mode="constant")
    filters = torch.from_numpy(mel(sr=RATE, n_fft=1024, n_mels=64, fmin=60, fmax=7800))
    return (filters @ spectra.abs().square() + np.finfo(float).eps).log()


@at_16_khz
@torch.inference_mode()
def byol_a(audio: Audio, sr: int) -> Tensor:
    """Return BYOL-A's 512 values of the whole clip."""
    mean, deviation = map(float, os.environ["BYOL_A_STATISTICS"].split(","))
    log_mel = (_byol_a_log_mel(audio) - mean) / deviation
    found: Tensor = _byol_a()(log_mel[None, None])[0]
    return found


def byol_a_statistics(sounds: Iterable[Audio]) -> tuple[float, float]:
    """Return mean and standard deviation of the log-mel spectra of sounds at 16 kHz."""
    values = torch.cat([_byol_a_log_mel(audio).flatten() for audio in sounds])
    return values.mean().item(), values.std().item()


def main(argv: list[str] | None = None) -> int:
    """Print how fast embeddings are: seconds of audio per CPU second, on one thread."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="as for `evaluate`")
    parser.add_argument("--music", type=Path, nargs="+", required=True, help="audio files")
    parser.add_argument("--repeats", type=int, default=2)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    for name in [*args.models] * args.repeats:
        embedder = make_embedder(name)
        clips = [Clip(id=file.name, path=file) for file in args.music]
        audio = []
        for file in args.music:
            with open_source(file, sample_rate=embedder.sample_rate) as source:
                audio.append(np.concatenate(list(source.blocks())))
        embedder.embed(clips[:1], audio[:1])  # what happens once does not count
        began = time.process_time()
        embedder.embed(clips, audio)
        took = time.process_time() - began
        print(f"{name:24} {sum(map(len, audio)) / embedder.sample_rate / took:8,.0f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
