"""From the corpus to the encoder's output: reading, distorting, encoding."""

from dataclasses import replace

import torch
from torch import Tensor

from musicssl.frontends import Spectra
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
from musicssl_training.targets.features import CleanAudio
from musicssl_training.train.prefetch import Ahead
from musicssl_training.train.state import Run
from musicssl_training.workers import Batch


def batches(run: Run) -> Ahead[list[Batch]]:
    """Return the batches of the steps to come, read while the one before is learnt from."""
    return Ahead(lambda step: read(run, step), run.progress.step)


def read(run: Run, step: int) -> list[Batch]:
    """Return what one step hears, in the parts in which it is heard, still on the CPU."""
    config, random = run.config, run.generator(step, "read")
    drawn = run.sampler.draw(step)
    audio = torch.from_numpy(drawn.audio)
    decibels = (torch.rand(len(audio), 1, generator=random) * 2 - 1) * config.data.gain_db
    peak = audio.abs().amax(dim=1, keepdim=True).clamp(min=1e-3)
    audio = audio * torch.minimum(10 ** (decibels / 20), 1 / peak)
    audio, spans = isolate(audio, config.data.isolated, random, run.grid.sample_rate)
    scores = [
        score and score.within(first, last)
        for score, (first, last) in zip(drawn.scores, spans.tolist(), strict=True)
    ]
    taught = [
        {name: part for name, one in row.items() if (part := one.within(first, last))}
        for row, (first, last) in zip(drawn.taught, spans.tolist(), strict=True)
    ]
    recordings, starts = torch.from_numpy(drawn.recordings), torch.from_numpy(drawn.starts)
    parts = []
    for rows in torch.arange(len(audio)).chunk(config.optim.accumulate):
        some = slice(int(rows[0]), int(rows[-1]) + 1)
        sound = CleanAudio(audio[some], run.grid)
        known = scores[some], None, random, starts[some], taught[some]
        parts.append(Batch(sound, recordings[some], *known))
    return parts


def moved(run: Run, batch: Batch) -> Batch:
    """Return a batch on the device of the run."""
    device = run.fabric.device
    if batch.sound.audio.device == device:
        return batch
    return replace(
        batch,
        sound=CleanAudio(batch.sound.audio.to(device, non_blocking=True), run.grid),
        recordings=batch.recordings.to(device),
        starts=None if batch.starts is None else batch.starts.to(device),
    )


def hear(run: Run, batch: Batch) -> tuple[Tensor, list[Tensor | slice]]:
    """Return the encoder's output for the distorted batch, and the rows of it for each worker."""
    count = len(batch.recordings)
    rows: list[Tensor | slice] = []
    views: list[Tensor] = []
    for worker in run.workers.values():
        view = worker.view(batch)  # type: ignore[operator]
        if view is None:
            rows.append(slice(count))
            continue
        first = count + sum(map(len, views))
        views.append(view)
        extra = range(first, first + len(view))
        rows.append(torch.tensor([*range(count), *extra], device=view.device))
    with torch.no_grad():
        heard, batch.masked = distorted(run, batch)
        if views:
            others = torch.cat(views)
            if isinstance(heard, Tensor):
                heard = torch.cat([heard, others])
            else:
                more = run.spectrum(others, heard.mel.shape[2])  # type: ignore[misc]
                heard = Spectra(*(torch.cat(pair) for pair in zip(heard, more, strict=True)))
    return run.encode(heard), rows


def distorted_in(run: Run) -> str:
    """Return where the input is distorted: "spectrum", "wave" or "both"."""
    if run.config.augment_in != "auto":
        return run.config.augment_in
    return "wave" if run.spectrum is None else "spectrum"


def uses_augmentation(run: Run) -> bool:
    """Return whether the encoder hears any excerpt other than as it is."""
    where, config = distorted_in(run), run.config
    if config.mask.excerpts:
        return True
    in_spectrum = where != "wave" and config.augment_spectrogram.clean < 1
    return in_spectrum or (where != "spectrum" and config.augment_waveform.clean < 1)


def distorted(run: Run, batch: Batch) -> tuple[Tensor | Spectra, Tensor | None]:
    """Return what the encoder is to hear instead of the clean audio, and the frames it misses."""
    config, spectrum, sound = run.config, run.spectrum, batch.sound
    audio, masked, rate = sound.audio, None, run.grid.sample_rate
    where = distorted_in(run)
    blocks = draw_blocks(audio, config.mask, rate, batch.random)
    if where != "spectrum":
        waves = augment_waveform(
            audio, config.augment_waveform, rate, batch.random, batch.recordings
        )
        audio = silence_audio(waves.audio, blocks, rate)
        masked = silent_frames(waves.masked | blocks, run.encoder.hop)
    if spectrum is None:
        return audio, masked
    shape, each = spectrum.config, run.encoder.hop // spectrum.config.hop  # spectra a frame
    if where == "spectrum" and shape.hop == run.grid.hop:  # the targets need the transforms too
        spectra = spectrum.from_power(sound.power(shape.pitch_fft), sound.power(shape.mel_fft))
    else:
        spectra = spectrum(audio, each * run.encoder.frames(audio.shape[1]))
    if where == "wave":
        return spectra, masked
    found = augment_spectrogram(
        spectra, config.augment_spectrogram, shape, batch.random, batch.recordings
    )
    heard, silent = silence_spectra(found.spectra, blocks, shape.hop)
    missed = masked_frames(silent | found.masked, each, spectrum.reach, shape.hop)
    return heard, missed if masked is None else masked | missed
