"""Batches from the corpus, and what the encoder gets of them: augmented features and views."""

import hashlib
from typing import NamedTuple

import torch
from torch import Tensor

from musicssl.encoders import Encoder, Features
from musicssl.frontends import DualSpectrum, Spectra
from musicssl_training.augment import (
    augment_spectrogram,
    augment_waveform,
    draw_blocks,
    isolate,
    masked_frames,
    silence_audio,
    silence_spectra,
    silent_frames,
)
from musicssl_training.data import Sampler
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.train.config import PretrainConfig
from musicssl_training.workers import Batch, Views, WorkerDict


class EncoderInput(NamedTuple):
    """Input of the encoder: the augmented batch, and behind it the workers' further views."""

    features: Features  # (batch + rows of all views, ...)
    batch: int  # rows of the batch itself
    masked: Tensor | None  # (batch, frames), true where the encoder hears nothing
    views: dict[str, Views]  # by worker, in the order of their rows


def load_batch(sampler: Sampler, step: int, grid: FrameGrid, config: PretrainConfig) -> list[Batch]:
    """Return what one step hears, in ``optim.accumulate`` parts of whole recordings, on the CPU."""
    random = make_generator(config.seed, step, sampler.rank)
    drawn = sampler.draw(step)
    audio = torch.from_numpy(drawn.audio)
    decibels = (torch.rand(len(audio), 1, generator=random) * 2 - 1) * config.data.gain_db
    peak = audio.abs().amax(dim=1, keepdim=True).clamp(min=1e-3)
    audio = audio * torch.minimum(10 ** (decibels / 20), 1 / peak)
    audio, spans = isolate(audio, config.data.isolated, random, grid.sample_rate)
    whole = (audio.shape[1] - 0.5) / grid.sample_rate  # of an excerpt, but for rounding
    scores = [
        score.within(first, last) if score is not None and last - first < whole else score
        for score, (first, last) in zip(drawn.scores, spans.tolist(), strict=True)
    ]
    taught = [
        {name: part for name, one in row.items() if (part := one.within(first, last))}
        for row, (first, last) in zip(drawn.taught, spans.tolist(), strict=True)
    ]
    rows = len(audio) // config.optim.accumulate
    return [
        Batch(
            CleanAudio(audio[first : first + rows], grid),
            recordings=torch.from_numpy(drawn.recordings[first : first + rows]),
            scores=scores[first : first + rows],
            random=random,
            starts=torch.from_numpy(drawn.starts[first : first + rows]),
            taught=taught[first : first + rows],
            sources=torch.from_numpy(drawn.sources[first : first + rows]),
        )
        for first in range(0, len(audio), rows)
    ]


def make_generator(seed: int, step: int, rank: int) -> torch.Generator:
    """Return random numbers that depend on nothing but seed, step and process."""
    digest = hashlib.sha256(f"{seed}/{step}/{rank}/read".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@torch.no_grad()
def make_encoder_input(
    batch: Batch, encoder: Encoder, workers: WorkerDict, config: PretrainConfig
) -> EncoderInput:
    """Return what the encoder is to hear of a batch.

    Parameters
    ----------
    batch
        On the encoder's device; its random numbers are used up.
    encoder
        Its front end makes the features.
    workers
        Those that ask for further views get them, as they are.
    config
        Says how the batch itself is augmented.
    """
    asked = ((name, worker.extra_views(batch)) for name, worker in workers.items())
    views = {name: view for name, view in asked if view is not None}
    features, masked = augment(batch, encoder, config)
    if views:
        others = torch.cat([view.audio for view in views.values()])
        features = features.cat(encoder.frontend(others))
    return EncoderInput(features, len(batch.recordings), masked, views)


def augment(
    batch: Batch, encoder: Encoder, config: PretrainConfig
) -> tuple[Features, Tensor | None]:
    """Return the batch's augmented features, and the frames of which nothing is left."""
    audio, masked, rate = batch.sound.audio, None, encoder.sample_rate
    where = augmented_in(encoder, config)
    blocks = draw_blocks(audio, config.mask, rate, batch.random)
    if where != "spectrum":
        waves = augment_waveform(
            audio, config.augment_waveform, rate, batch.random, batch.recordings
        )
        audio = silence_audio(waves.audio, blocks, rate)
        masked = silent_frames(waves.masked | blocks, encoder.hop)
    front = encoder.spectrogram
    if front is None or where == "wave":
        return encoder.frontend(audio), masked
    if where == "both":
        spectra = front(audio, encoder.frames(audio.shape[1]) * encoder.hop // front.config.hop)
    else:
        spectra = clean_spectra(batch.sound, front)
    found = augment_spectrogram(
        spectra, config.augment_spectrogram, front.config, batch.random, batch.recordings
    )
    heard, silent = silence_spectra(found.spectra, blocks, front.config.hop)
    each = encoder.hop // front.config.hop  # spectra per frame
    missed = masked_frames(silent | found.masked, each, front.reach, front.config.hop)
    return Features(heard), missed if masked is None else masked | missed


def clean_spectra(sound: CleanAudio, front: DualSpectrum) -> Spectra:
    """Return the spectra of the clean audio.

    On the targets' grid its transforms are those that targets need too, and computed once.
    """
    shape = front.config
    if shape.hop == sound.grid.hop:
        return front.from_power(sound.power(shape.pitch_fft), sound.power(shape.mel_fft))
    spectra: Spectra = front(sound.audio, sound.frames * sound.grid.hop // shape.hop)
    return spectra


def augmented_in(encoder: Encoder, config: PretrainConfig) -> str:
    """Return where the input is augmented: "spectrum", "wave" or "both"."""
    if config.augment_in != "auto":
        return config.augment_in
    return "wave" if encoder.spectrogram is None else "spectrum"


def uses_augmentation(encoder: Encoder, config: PretrainConfig) -> bool:
    """Return whether the encoder hears any excerpt other than as it is."""
    where = augmented_in(encoder, config)
    if config.mask.excerpts:
        return True
    in_spectrum = where != "wave" and config.augment_spectrogram.clean < 1
    return in_spectrum or (where != "spectrum" and config.augment_waveform.clean < 1)
