"""Augmentation of the input waveform; the targets stay clean.

What is on top (music, noise) meets one linear chain (equalizer, room, band-stops, low-pass: one
transform there and back), then what is not linear (overload, gain, coarse numbers), then gaps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from musicssl_training.augment import effects, filters
from musicssl_training.augment.random import Draw
from musicssl_training.augment.ranges import check_amounts, check_ranges, check_shares
from musicssl_training.augment.reverb import impulse_responses

LOWEST = 60.0  # Hz: equalizers and band-stops are centerd between here and 0.45 of the rate
RINGING = 0.1  # seconds in which filters ring, at least
FADE = 0.005  # seconds around a masked stretch


@dataclass(frozen=True, kw_only=True)
class WaveformAugmentConfig:
    """Shares of excerpts, and strengths; pairs of numbers are ranges.

    What shares choose is independent of each other, and applied in this order.
    """

    clean: float = 0.15  # share of excerpts left alone
    mix: float = 0.35  # another recording on top
    mix_db: tuple[float, ...] = (3.0, 20.0)  # mean square of ours over the other's
    noise: float = 0.25
    noise_db: tuple[float, ...] = (10.0, 40.0)  # mean square of the sound over the noise's
    noise_color: tuple[float, ...] = (0.0, 2.0)  # a of power 1 / f^a: white 0, pink 1, brown 2
    equalize: float = 0.5
    equalize_db: float = 10.0  # largest gain or loss of a shelf or peak
    equalize_peaks: int = 2  # beside one shelf
    equalize_q: tuple[float, ...] = (0.5, 4.0)
    reverb: float = 0.25
    reverb_seconds: tuple[float, ...] = (0.15, 1.5)  # to decay by 60 dB
    reverb_db: tuple[float, ...] = (-3.0, 15.0)  # energy of the direct sound over the rest
    band_stop: float = 0.25
    band_stops: int = 2
    band_stop_octaves: tuple[float, ...] = (0.25, 1.5)
    low_pass: float = 0.15
    low_pass_rate: tuple[float, ...] = (8_000.0, 16_000.0)  # Hz, resampled to and back
    clip: float = 0.15
    clip_db: tuple[float, ...] = (3.0, 18.0)  # below the peak
    clip_soft: float = 0.5  # share of the clipped
    gain: float = 0.2
    gain_db: tuple[float, ...] = (-6.0, 6.0)
    quantize: float = 0.1
    quantize_bits: tuple[int, ...] = (7, 12)
    time_mask: float = 0.5
    time_masks: int = 4
    time_mask_seconds: tuple[float, ...] = (0.05, 0.4)
    packets: float = 0.05  # lost ones
    packet_seconds: float = 0.02
    packet_loss: tuple[float, ...] = (0.02, 0.2)  # share of the packets

    def __post_init__(self) -> None:
        check_shares(self, "clean", "mix", "noise", "equalize", "reverb", "band_stop", "low_pass")
        check_shares(self, "clip", "clip_soft", "gain", "quantize", "time_mask", "packets")
        check_amounts(self, "equalize_db", "equalize_peaks", "band_stops", "time_masks")
        check_amounts(self, "packet_seconds", least=0.001)
        check_ranges(self, "mix_db", "noise_db", "reverb_db", "clip_db", "gain_db")
        check_ranges(self, "noise_color", least=0, most=4)
        check_ranges(self, "equalize_q", "band_stop_octaves", "reverb_seconds", least=0.01)
        check_ranges(self, "low_pass_rate", least=100)
        check_ranges(self, "quantize_bits", least=1, most=24)
        check_ranges(self, "time_mask_seconds", least=0)
        check_ranges(self, "packet_loss", least=0, most=1)


class AugmentedAudio(NamedTuple):
    """The augmented input, and where it was silenced."""

    audio: Tensor  # (batch, samples), in [-1, 1]
    masked: Tensor  # (batch, samples), true where silence took the sound's place


@torch.no_grad()
def augment_waveform(
    audio: Tensor,
    config: WaveformAugmentConfig,
    sample_rate: int,
    random: torch.Generator,
    recordings: Tensor,
) -> AugmentedAudio:
    """Augment the audio of a batch.

    Parameters
    ----------
    audio
        Clean, (batch, samples), in [-1, 1].
    config
        How often and how much.
    sample_rate
        Hz.
    random
        A generator on the CPU: the same on any device.
    recordings
        Shape (batch,), int64: a row is mixed only with one of another recording.

    Returns
    -------
    AugmentedAudio
        On the device of the audio; rows left alone are the same bit for bit. What would exceed
        full scale is turned down.
    """
    draw = Draw(len(audio), random, audio.device, config.clean)
    heard = mix_sounds(audio.float(), config, sample_rate, draw, recordings)
    heard = apply_filters(heard, config, sample_rate, draw)
    heard = saturate(heard, config, draw)
    return mask_time(heard, config, sample_rate, draw)


def mix_sounds(
    audio: Tensor, config: WaveformAugmentConfig, sample_rate: int, draw: Draw, recordings: Tensor
) -> Tensor:
    """Put other recordings and noise on top."""
    out = audio.clone()
    partner, present = draw.another(recordings)
    if (rows := draw.rows(config.mix)).any():
        decibels = draw.uniform(config.mix_db, int(rows.sum()))
        other = audio[partner[rows]] * present[rows][:, None]
        out[rows] = effects.mix_at_snr(out[rows], other, decibels)
    if (rows := draw.rows(config.noise)).any():
        color = draw.uniform(config.noise_color, int(rows.sum()), 1)
        noise = effects.colored_noise(draw, color, audio.shape[1], sample_rate)
        out[rows] = effects.mix_at_snr(out[rows], noise, draw.uniform(config.noise_db, len(noise)))
    return out


def apply_filters(
    audio: Tensor, config: WaveformAugmentConfig, sample_rate: int, draw: Draw
) -> Tensor:
    """Send the sound through equalizers, rooms, band-stops and low-passes."""
    room = int(max(RINGING, config.reverb_seconds[1]) * sample_rate)
    length = filters.fast_length(audio.shape[1] + room)
    hertz = filters.frequencies(length, sample_rate, audio.device)
    found = []
    for share, respond in (
        (config.equalize, equalizers),
        (config.reverb, rooms),
        (config.band_stop, band_stops),
        (config.low_pass, low_passes),
    ):
        if (rows := draw.rows(share)).any():
            found.append((rows, respond(hertz, int(rows.sum()), config, sample_rate, draw)))
    return filters.apply(audio, found, length) if found else audio


def equalizers(
    hertz: Tensor, rows: int, config: WaveformAugmentConfig, sample_rate: int, draw: Draw
) -> Tensor:
    """Return the responses of a shelf and some peaks, (rows, bins)."""
    place = filters.prewarp(hertz, sample_rate)
    span, gains = (LOWEST, 0.45 * sample_rate), (-config.equalize_db, config.equalize_db)
    corner = filters.prewarp(draw.log_uniform(span, rows, 1), sample_rate)
    response = filters.shelf(place / corner, draw.uniform(gains, rows, 1))
    for _ in range(config.equalize_peaks):
        center = filters.prewarp(draw.log_uniform(span, rows, 1), sample_rate)
        q = draw.log_uniform(config.equalize_q, rows, 1)
        response *= filters.peak(place / center, draw.uniform(gains, rows, 1), q)
    return response


def rooms(
    hertz: Tensor, rows: int, config: WaveformAugmentConfig, sample_rate: int, draw: Draw
) -> Tensor:
    """Return the responses of rooms, (rows, bins)."""
    rt60 = draw.log_uniform(config.reverb_seconds, rows, 1)
    decibels = draw.uniform(config.reverb_db, rows, 1)
    samples = int(config.reverb_seconds[1] * sample_rate) + 1
    response = impulse_responses(draw, rt60, decibels, samples, sample_rate)
    out: Tensor = torch.fft.rfft(response, 2 * (len(hertz) - 1))
    return out


def band_stops(
    hertz: Tensor, rows: int, config: WaveformAugmentConfig, sample_rate: int, draw: Draw
) -> Tensor:
    """Return the gains of some band-stops in a row, (rows, bins)."""
    gain = torch.ones(rows, len(hertz), device=hertz.device)
    for _ in range(config.band_stops):
        center = draw.log_uniform((LOWEST, 0.45 * sample_rate), rows, 1)
        gain *= filters.band_stop(hertz, center, draw.uniform(config.band_stop_octaves, rows, 1))
    return gain


def low_passes(
    hertz: Tensor, rows: int, config: WaveformAugmentConfig, sample_rate: int, draw: Draw
) -> Tensor:
    """Return the gains of low-passes, (rows, bins)."""
    return filters.low_pass(hertz, draw.log_uniform(config.low_pass_rate, rows, 1))


def saturate(audio: Tensor, config: WaveformAugmentConfig, draw: Draw) -> Tensor:
    """Clip, turn up or down, keep within full scale, and round."""
    out = audio.clone()
    clipped, softly = draw.rows(config.clip), draw.rows(config.clip_soft)
    for rows, soft in ((clipped & ~softly, False), (clipped & softly, True)):
        if rows.any():
            decibels = draw.uniform(config.clip_db, int(rows.sum()))
            out[rows] = effects.clip(out[rows], decibels, soft=soft)
    if (rows := draw.rows(config.gain)).any():
        out[rows] *= 10 ** (draw.uniform(config.gain_db, int(rows.sum()), 1) / 20)
    above = effects.peaks(out).clamp(min=1)
    out /= torch.where(draw.touched.to(out.device)[:, None], above, 1.0)
    if (rows := draw.rows(config.quantize)).any():
        low, high = config.quantize_bits
        bits = draw.uniform((low, high + 1), int(rows.sum())).floor()
        out[rows] = effects.quantize(out[rows], bits.clamp(max=high))
    return out


def mask_time(
    audio: Tensor, config: WaveformAugmentConfig, sample_rate: int, draw: Draw
) -> AugmentedAudio:
    """Silence random stretches, and packets that got lost."""
    out, samples = audio.clone(), audio.shape[1]
    masked = torch.zeros_like(audio, dtype=torch.bool)
    fade = round(FADE * sample_rate)
    limits = tuple(seconds * sample_rate for seconds in config.time_mask_seconds)
    for row in draw.rows(config.time_mask).nonzero().ravel().tolist():
        for first, last in draw.spans(limits, samples, (config.time_masks,)).tolist():
            around, gain = effects.gap_gain(first, last, samples, fade, audio.device)
            out[row, around] *= gain
            masked[row, first:last] = True
    if (rows := draw.rows(config.packets)).any():
        count, packet = int(rows.sum()), max(1, round(config.packet_seconds * sample_rate))
        share = draw.uniform(config.packet_loss, count, 1)
        lost = draw.uniform((0.0, 1.0), count, -(-samples // packet)) < share
        lost = lost.repeat_interleave(packet, dim=1)[:, :samples]
        out[rows] = out[rows].masked_fill(lost, 0.0)
        masked[rows] |= lost
    return AugmentedAudio(out, masked)
