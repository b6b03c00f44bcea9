"""Distortions, against what theory says of each."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from musicssl.config import from_dict, to_dict
from musicssl.errors import ConfigError
from musicssl.frontends import DualSpectrum, DualSpectrumConfig, Spectra
from musicssl_training.augment import (
    SpectrogramAugmentConfig,
    WaveformAugmentConfig,
    augment_waveform,
    distort,
    effects,
    filters,
    isolate,
)
from musicssl_training.augment.random import Draw
from musicssl_training.augment.reverb import impulse_responses

RATE = 22_050
CPU = torch.device("cpu")
SHARES = (
    *("mix", "noise", "equalise", "reverb", "band_stop", "low_pass", "clip", "gain"),
    *("quantise", "time_mask", "packets"),
)
SHAPE = DualSpectrumConfig()
FRONT = DualSpectrum(SHAPE)


def only(*names: str, **options: Any) -> WaveformAugmentConfig:
    """Settings under which these distortions always happen, and no others."""
    shares: dict[str, Any] = {name: float(name in names) for name in SHARES}
    return WaveformAugmentConfig(clean=0.0, **shares, **options)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(rows: int, samples: int, level: float = 0.1) -> Tensor:
    return (torch.randn(rows, samples, generator=generator(99)) * level).clamp(-1, 1)


def hear(audio: Tensor, config: WaveformAugmentConfig, seed: int = 0) -> Tensor:
    return augment_waveform(audio, config, RATE, generator(seed), torch.arange(len(audio))).audio


def decibels(power: Tensor) -> Tensor:
    return 10 * power.double().log10()


def level(audio: Tensor) -> Tensor:
    return decibels(audio.double().square().mean(dim=-1))


def spectra(rows: int, seconds: float = 1.0) -> Spectra:
    audio = noise(rows, round(seconds * RATE))
    made: Spectra = FRONT(audio, round(seconds * RATE / SHAPE.hop))
    return made


def band_level(audio: Tensor, low: float, high: float) -> Tensor:
    """Return the energy between two frequencies, in dB."""
    hertz = torch.fft.rfftfreq(audio.shape[-1], 1 / RATE)
    window = torch.hann_window(audio.shape[-1])
    power = torch.fft.rfft(audio * window).abs().square()
    return decibels(power[..., (hertz >= low) & (hertz <= high)].sum(dim=-1))


# --- settings


@pytest.mark.parametrize("kind", [SpectrogramAugmentConfig, WaveformAugmentConfig])
def test_configs_survive_a_round_trip(kind: type[Any]) -> None:
    config = replace(kind(), clean=0.5, mix_db=(1.0, 2.0))
    assert from_dict(kind, to_dict(config), "distort") == config


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (SpectrogramAugmentConfig, {"mix": 35.0}, "mix is a share, from 0 to 1; got 35.0"),
        (SpectrogramAugmentConfig, {"band_mask": -0.1}, "band_mask is a share"),
        (SpectrogramAugmentConfig, {"noise_power": (1e-4, 1e-7)}, "Swapped"),
        (SpectrogramAugmentConfig, {"noise_power": (0.0, 1e-7)}, "noise_power must lie in"),
        (SpectrogramAugmentConfig, {"time_masks": -1}, "time_masks must be at least 0, got -1"),
        (SpectrogramAugmentConfig, {"mix_db": (3.0,)}, "mix_db must be two numbers"),
        *[
            (WaveformAugmentConfig, {name: 1.5}, f"{name} is a share")
            for name in (*SHARES, "clean")
        ],
        (WaveformAugmentConfig, {"noise_db": (20.0, 10.0)}, "starts at 20 and ends at 10. Swapped"),
        (WaveformAugmentConfig, {"reverb_seconds": (0.0, 1.0)}, "reverb_seconds must lie in"),
        (WaveformAugmentConfig, {"packet_loss": (0.0, 20.0)}, "packet_loss must lie in"),
        (WaveformAugmentConfig, {"gain_db": (math.nan, 1.0)}, "gain_db must be two numbers"),
        (WaveformAugmentConfig, {"packet_seconds": 0.0}, "packet_seconds must be at least 0.001"),
        (WaveformAugmentConfig, {"quantise_bits": (0, 8)}, "quantise_bits must lie in"),
    ],
)
def test_wrong_settings_are_named(kind: type[Any], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        kind(**wrong)


# --- choices


def test_only_other_recordings_are_mixed_in() -> None:
    recordings = torch.tensor([3, 3, 3, 5, 5, 8])
    draw = Draw(6, generator(), CPU)
    seen = set()
    for _ in range(200):
        partner, present = draw.another(recordings)
        assert present.all()
        assert (recordings[partner] != recordings).all()
        seen |= {(i, int(p)) for i, p in enumerate(partner)}
    allowed = {(i, j) for i in range(6) for j in range(6) if recordings[i] != recordings[j]}
    assert seen == allowed


def test_one_recording_alone_is_mixed_with_nothing() -> None:
    audio, same = noise(3, 4000), torch.zeros(3, dtype=torch.int64)
    assert torch.equal(augment_waveform(audio, only("mix"), RATE, generator(), same).audio, audio)
    x = spectra(3)
    config = SpectrogramAugmentConfig(
        clean=0.0, mix=1.0, equalise=0.0, noise=0.0, time_masks=0, band_masks=0
    )
    heard = distort(x, config, SHAPE, generator(), same).spectra
    torch.testing.assert_close(heard.mel, x.mel, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SHARES)
def test_shares_are_honoured(name: str) -> None:
    rows = 3000
    audio = noise(rows, 300, 0.2)
    options = to_dict(only(name, packet_loss=(1.0, 1.0))) | {name: 0.3, "clean": 0.2}
    config = from_dict(WaveformAugmentConfig, options, "wave")
    changed = (hear(audio, config) != audio).any(dim=1).float().mean().item()
    expected = 0.3 * 0.8
    assert abs(changed - expected) < 4 * math.sqrt(expected * (1 - expected) / rows)


def test_clean_is_the_input_bit_for_bit() -> None:
    audio = noise(5, 8000)
    everything = replace(only(*SHARES), clean=1.0)
    found = augment_waveform(audio, everything, RATE, generator(), torch.arange(5))
    assert torch.equal(found.audio, audio)
    assert not found.masked.any()
    x = spectra(4)
    heard = distort(x, SpectrogramAugmentConfig(clean=1.0), SHAPE, generator(), torch.arange(4))
    assert torch.equal(heard.spectra.pitch, x.pitch)
    assert torch.equal(heard.spectra.mel, x.mel)
    assert not heard.masked.any()


@pytest.mark.parametrize("name", SHARES)
def test_each_distorts_bounded_and_repeatably_and_leaves_its_input(name: str) -> None:
    audio = noise(4, 9001, 0.5)
    before = audio.clone()
    heard = hear(audio, only(name))
    assert torch.equal(audio, before)
    assert heard.shape == audio.shape
    assert heard.dtype == torch.float32
    assert heard.abs().max() <= 1
    assert not torch.equal(heard, audio)
    assert torch.equal(hear(audio, only(name)), heard)
    assert not torch.equal(hear(audio, only(name), seed=1), heard)


@pytest.mark.parametrize("samples", [1, 2, 50, 5001])
def test_silence_stays_silent_and_short_audio_finite(samples: int) -> None:
    audio = torch.zeros(4, samples)
    audio[2:] = noise(2, samples)
    config = replace(only(*SHARES), mix=0.0)
    heard = hear(audio, config)
    assert heard.isfinite().all()
    assert (heard[:2] == 0).all()
    assert hear(audio, only(*SHARES)).isfinite().all()


# --- sounds on top


@pytest.mark.parametrize("wanted", [0.0, 7.5, 20.0])
def test_another_recording_lies_so_far_below(wanted: float) -> None:
    audio = noise(6, 20_000) * torch.logspace(-2, 0, 6)[:, None]
    heard = hear(audio, only("mix", mix_db=(wanted, wanted)))
    torch.testing.assert_close(
        level(audio) - level(heard - audio), torch.full((6,), wanted).double(), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("wanted", [5.0, 30.0])
def test_noise_lies_so_far_below(wanted: float) -> None:
    audio = noise(6, 20_000)
    heard = hear(audio, only("noise", noise_db=(wanted, wanted)))
    torch.testing.assert_close(
        level(audio) - level(heard - audio), torch.full((6,), wanted).double(), atol=0.02, rtol=0
    )


@pytest.mark.parametrize("colour", [0.0, 1.0, 2.0])
def test_noise_has_its_colour(colour: float) -> None:
    draw = Draw(8, generator(), CPU)
    found = effects.coloured_noise(draw, torch.full((8, 1), colour), 4 * RATE, RATE)
    torch.testing.assert_close(found.square().mean(dim=1), torch.ones(8), atol=1e-4, rtol=0)
    hertz, power = scipy.signal.welch(found.numpy(), RATE, nperseg=4096)
    heard = (hertz > 100) & (hertz < 8000)
    slope = np.polyfit(np.log(hertz[heard]), np.log(power.mean(axis=0)[heard]), 1)[0]
    assert abs(slope + colour) < 0.05


# --- linear filters


def test_shelves_and_peaks_are_the_cookbooks() -> None:
    hertz = torch.linspace(0, RATE / 2, 4097)
    for centre, gain, q in ((80.0, 9.0, 0.7), (1000.0, -10.0, 3.0), (7000.0, 6.0, 1.0)):
        a, w0 = 10 ** (gain / 40), 2 * math.pi * centre / RATE
        cos, alpha = math.cos(w0), math.sin(w0) / (2 * q)
        ratio = filters.warped(hertz, RATE) / filters.warped(torch.tensor(centre), RATE)
        db = torch.tensor([[gain]])
        ours = filters.peak(ratio, db, torch.tensor([[q]]))[0]
        b = [1 + alpha * a, -2 * cos, 1 - alpha * a]
        theirs = scipy.signal.freqz(
            b, [1 + alpha / a, -2 * cos, 1 - alpha / a], hertz.double().numpy(), fs=RATE
        )[1]
        np.testing.assert_allclose(ours.numpy(), theirs, atol=2e-3)
        alpha = 2 * math.sqrt(a) * math.sin(w0) / 2 * math.sqrt(2)
        b = [a * (a + 1 - (a - 1) * cos + alpha), 2 * a * (a - 1 - (a + 1) * cos)]
        b += [a * (a + 1 - (a - 1) * cos - alpha)]
        c = [a + 1 + (a - 1) * cos + alpha, -2 * (a - 1 + (a + 1) * cos)]
        c += [a + 1 + (a - 1) * cos - alpha]
        theirs = scipy.signal.freqz(b, c, hertz.double().numpy(), fs=RATE)[1]
        np.testing.assert_allclose(filters.shelf(ratio, db)[0].numpy(), theirs, atol=2e-3)


def test_peaks_reach_their_gain_and_shelves_end_at_theirs() -> None:
    ratio = torch.tensor([1e-4, 1.0, 1e4])
    for gain in (-10.0, 6.0):
        db = torch.tensor([[gain]])
        peak = decibels(filters.peak(ratio, db, torch.tensor([[2.0]])).abs().square())[0]
        shelf = decibels(filters.shelf(ratio, db).abs().square())[0]
        np.testing.assert_allclose(peak, [0, gain, 0], atol=1e-3)
        np.testing.assert_allclose(shelf, [gain, gain / 2, 0], atol=1e-3)


def test_filters_do_in_the_time_domain_what_a_recursion_does() -> None:
    audio = noise(2, 6000)
    length = filters.fast_length(6000 + 4000)
    hertz = filters.frequencies(length, RATE, CPU)
    ratio = filters.warped(hertz, RATE) / filters.warped(torch.tensor(500.0), RATE)
    response = filters.peak(ratio, torch.tensor([[8.0]]), torch.tensor([[2.0]]))
    heard = filters.apply(audio, [(torch.tensor([False, True]), response)], length)
    a, w0 = 10 ** (8 / 40), 2 * math.pi * 500 / RATE
    alpha, cos = math.sin(w0) / 4, math.cos(w0)
    expected = scipy.signal.lfilter(
        [1 + alpha * a, -2 * cos, 1 - alpha * a],
        [1 + alpha / a, -2 * cos, 1 - alpha / a],
        audio[1].double().numpy(),
    )
    assert torch.equal(heard[0], audio[0])
    np.testing.assert_allclose(heard[1], expected, atol=1e-5)


def test_equalisers_stay_within_their_gain() -> None:
    impulse = torch.zeros(30, 8192)
    impulse[:, 0] = 0.1
    heard = hear(impulse, only("equalise", equalise_db=6.0, equalise_peaks=2))
    curve = decibels(torch.fft.rfft(heard / 0.1).abs().square())
    assert curve.abs().max() <= 3 * 6 + 0.1
    assert curve.abs().amax(dim=1).min() > 0.1


def test_band_stops_silence_their_band_alone() -> None:
    hertz = torch.linspace(0, RATE / 2, 5000)
    centre, octaves = torch.tensor([[1000.0]]), torch.tensor([[1.0]])
    gain = filters.band_stop(hertz, centre, octaves)[0]
    inside = (hertz / 1000).log2().abs() <= 0.5
    beyond = (hertz / 1000).log2().abs() >= 0.5 + filters.EDGE
    assert (gain[inside] == 0).all()
    assert (gain[beyond] == 1).all()
    audio = noise(1, RATE)
    length = filters.fast_length(RATE + 3000)
    response = filters.band_stop(filters.frequencies(length, RATE, CPU), centre, octaves)
    heard = filters.apply(audio, [(torch.ones(1).bool(), response)], length)
    assert band_level(audio, 720, 1400) - band_level(heard, 720, 1400) > 40
    for low, high in ((20, 640), (1520, 11_000)):
        assert abs(band_level(audio, low, high) - band_level(heard, low, high)) < 0.1


def test_low_pass_is_resampling_there_and_back() -> None:
    audio = noise(1, RATE)
    heard = hear(audio, only("low_pass", low_pass_rate=(8000.0, 8000.0)))
    assert band_level(audio, 4000, 11_000) - band_level(heard, 4000, 11_000) > 40
    assert abs(band_level(audio, 20, 3550) - band_level(heard, 20, 3550)) < 0.05
    same = hear(audio, only("low_pass", low_pass_rate=(50_000.0, 50_000.0)))
    torch.testing.assert_close(same, audio, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rt60", [0.2, 0.6, 1.5])
def test_reverberation_decays_by_60_db_in_rt60(rt60: float) -> None:
    """The slope from -5 to -35 dB of the backward-integrated energy (Schroeder 1965)."""
    rows, samples = 6, round(1.3 * rt60 * RATE)
    wanted = torch.full((rows, 1), rt60)
    found = impulse_responses(
        Draw(rows, generator(), CPU), wanted, torch.zeros(rows, 1), samples, RATE
    )
    for response in found[:, 1:].double():
        left = decibels(response.square().flip(0).cumsum(0).flip(0).clamp(min=1e-30))
        fallen = (left - left[0]).numpy()
        used = (fallen <= -5) & (fallen >= -35)
        slope = np.polyfit(np.arange(samples - 1)[used] / RATE, fallen[used], 1)[0]
        assert abs(-60 / slope / rt60 - 1) < 0.15


@pytest.mark.parametrize("wanted", [-3.0, 10.0])
def test_rooms_keep_the_level_and_the_time(wanted: float) -> None:
    found = impulse_responses(
        Draw(5, generator(), CPU), torch.full((5, 1), 0.5), torch.full((5, 1), wanted), RATE, RATE
    )
    direct, rest = found[:, 0].square(), found[:, 1:].square().sum(dim=1)
    torch.testing.assert_close(direct + rest, torch.ones(5), atol=1e-4, rtol=0)
    np.testing.assert_allclose(decibels(direct / rest), wanted, atol=0.01)
    assert (found[:, 1 : round(0.002 * RATE)] == 0).all()
    early = (found[:, round(0.004 * RATE) : round(0.012 * RATE)] != 0).float().mean()
    assert 0 < early < 0.1  # reflections are sparse at first
    assert (found[:, round(0.06 * RATE) : round(0.1 * RATE)] != 0).float().mean() > 0.999


def test_reverberation_is_convolution() -> None:
    audio = torch.zeros(3, RATE)
    audio[:, 100], audio[:, 5000] = 0.3, -0.2
    heard = hear(audio, only("reverb", reverb_seconds=(0.2, 0.2), reverb_db=(6.0, 6.0)))
    share = math.sqrt(1 / (1 + 10 ** (-6 / 10)))
    assert heard[:, :100].abs().max() < 1e-6  # nothing is heard before it sounds
    np.testing.assert_allclose(heard[:, 100], 0.3 * share, rtol=1e-4)
    response = heard[:, 100:5000] / 0.3
    torch.testing.assert_close(heard[:, 5000:9900], -0.2 * response, atol=1e-6, rtol=0)


# --- overload and coarse numbers


def test_hard_and_soft_overload() -> None:
    audio = torch.linspace(-0.8, 0.8, 1001)[None]
    asked = torch.tensor([20 * math.log10(2)])
    hard, soft = (effects.clip(audio, asked, soft=kind)[0] for kind in (False, True))
    torch.testing.assert_close(hard, audio[0].clamp(-0.4, 0.4))
    torch.testing.assert_close(soft, 0.4 * torch.tanh(audio[0] / 0.4))
    many = hear(audio.expand(400, -1), only("clip", clip_db=(12.0, 12.0), clip_soft=0.25))
    flat = (many[:, 0] == many[:, 1]).float().mean()
    assert abs(flat - 0.75) < 0.09


def test_gain_is_what_was_asked_or_up_to_full_scale() -> None:
    audio = noise(2, 5000, 0.05)
    audio[1] /= audio[1].abs().max()
    up = hear(audio, only("gain", gain_db=(5.0, 5.0)))
    torch.testing.assert_close(up[0], audio[0] * 10 ** (5 / 20))
    torch.testing.assert_close(up[1], audio[1])  # turned down again, not clipped
    down = hear(audio, only("gain", gain_db=(-5.0, -5.0)))
    torch.testing.assert_close(down, audio * 10 ** (-5 / 20))


@pytest.mark.parametrize("bits", [7, 12])
def test_coarse_numbers_err_as_bennett_says(bits: int) -> None:
    audio = 0.999 * torch.sin(torch.arange(60_000) * 0.1234567)[None]
    heard = hear(audio, only("quantise", quantise_bits=(bits, bits)))
    assert len(set(heard[0].tolist())) <= 2**bits + 1
    assert abs(level(audio) - level(heard - audio) - (6.02 * bits + 1.76)) < 0.3


# --- gaps


def test_masked_says_where_the_sound_is_gone() -> None:
    audio = noise(20, RATE) + 0.3
    config = only("time_mask", time_masks=2, time_mask_seconds=(0.1, 0.2))
    heard, masked = augment_waveform(audio, config, RATE, generator(), torch.arange(20))
    assert masked.dtype == torch.bool
    assert (heard[masked] == 0).all()
    assert (heard[~masked & (audio.abs() > 1e-3)] != 0).all()
    seconds = masked.sum(dim=1) / RATE
    assert (seconds >= 0.1).all()
    assert (seconds <= 0.4).all()
    fade = round(0.005 * RATE)
    near = torch.nn.functional.max_pool1d(masked[:, None].float(), 2 * fade + 1, 1, fade)[:, 0]
    assert torch.equal(heard[near == 0], audio[near == 0])


def test_packets_are_lost_whole() -> None:
    audio = noise(200, 4410) + 0.5
    config = only("packets", packet_seconds=0.02, packet_loss=(0.1, 0.1))
    heard, masked = augment_waveform(audio, config, RATE, generator(), torch.arange(200))
    packets = masked.reshape(200, -1, 441)
    assert torch.equal(packets.any(dim=2), packets.all(dim=2))
    assert abs(masked.float().mean() - 0.1) < 0.03
    assert torch.equal(heard, audio.masked_fill(masked, 0))


# --- spectra


def test_masked_spectra_are_silent_in_all_bands() -> None:
    x = spectra(8, 3.0)
    config = SpectrogramAugmentConfig(clean=0.3, noise=1.0, band_mask=0.3)
    heard, masked = distort(x, config, SHAPE, generator(), torch.arange(8) // 2)
    assert masked.shape == (8, x.mel.shape[2])
    for values in heard:
        assert torch.equal((values == 0).all(dim=1), masked)
    assert masked.any(dim=1).any()
    for before, after in zip(x, heard, strict=True):
        clean = (before == after).flatten(1).all(dim=1)
        assert clean.any()
        assert not clean.all()
        assert not masked[clean].any()


def test_spectra_are_mixed_as_powers_turned_down() -> None:
    x = spectra(2)
    config = SpectrogramAugmentConfig(
        clean=0.0, mix=1.0, mix_db=(6.0, 6.0), equalise=0.0, noise=0.0, time_masks=0, band_masks=0
    )
    heard = distort(x, config, SHAPE, generator(), torch.tensor([4, 7])).spectra
    for clean, mixed in zip(x, heard, strict=True):
        power = 10 ** clean.double() - 1
        expected = torch.log10(1 + power + power.flip(0) * 10**-0.6)
        torch.testing.assert_close(mixed.double(), expected, atol=1e-4, rtol=0)


def test_spectra_repeat_and_stay_untouched() -> None:
    x = spectra(4)
    before = [values.clone() for values in x]
    first, second = (
        distort(x, SpectrogramAugmentConfig(), SHAPE, generator(3), torch.arange(4))
        for _ in range(2)
    )
    for a, b, clean, kept in zip(first.spectra, second.spectra, x, before, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(clean, kept)
    silent = Spectra(*(torch.zeros_like(values) for values in x))
    heard = distort(silent, SpectrogramAugmentConfig(), SHAPE, generator(), torch.arange(4)).spectra
    assert all(values.isfinite().all() for values in heard)


# --- stretches


def test_isolated_excerpts_sound_where_the_spans_say() -> None:
    audio = noise(300, 4 * 2205, 0.2) + 0.3
    rate = 2205
    heard, spans = isolate(audio, 0.6, generator(), rate)
    index = torch.arange(audio.shape[1])
    edges = (spans.double() * rate).round().long()
    inside = (index >= edges[:, :1]) & (index < edges[:, 1:])
    assert (heard[~inside] == 0).all()
    assert (heard[inside & (audio.abs() > 1e-3)] != 0).all()
    chosen = ~((spans[:, 0] == 0) & (spans[:, 1] == 4))
    assert torch.equal(heard[~chosen], audio[~chosen])
    assert abs(chosen.float().mean() - 0.6) < 4 * math.sqrt(0.24 / 300)
    length = (spans[:, 1] - spans[:, 0])[chosen]
    assert length.min() >= 0.3 - 1e-3
    assert length.max() <= 3 + 1e-3
    assert 0.38 < (spans[chosen, 0] == 0).float().mean() < 0.64
    fade = round(0.005 * rate)
    edges = edges[chosen]
    deep = (index >= edges[:, :1] + fade) & (index < edges[:, 1:] - fade)
    assert torch.equal(heard[chosen][deep], audio[chosen][deep])
    at_start = chosen & (spans[:, 0] == 0)
    assert torch.equal(heard[at_start, :5], audio[at_start, :5])  # cut by the excerpt alone


def test_isolating_none_or_very_short_excerpts() -> None:
    audio = noise(3, 1000)
    heard, spans = isolate(audio, 0.0, generator(), RATE)
    assert torch.equal(heard, audio)
    torch.testing.assert_close(spans, torch.tensor([[0.0, 1000 / RATE]] * 3))
    heard, spans = isolate(audio, 1.0, generator(), RATE)  # shorter than the shortest stretch
    assert torch.equal(heard, audio)
    torch.testing.assert_close(spans, torch.tensor([[0.0, 1000 / RATE]] * 3))
    with pytest.raises(ConfigError, match="from 0 to 1, got 25"):
        isolate(audio, 25, generator(), RATE)
