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
    MaskConfig,
    SpectrogramAugmentConfig,
    WaveformAugmentConfig,
    augment_spectrogram,
    augment_waveform,
    draw_blocks,
    effects,
    filters,
    isolate,
    masked_frames,
    silence_audio,
    silence_spectra,
    silent_frames,
)
from musicssl_training.augment.random import Draw
from musicssl_training.augment.reverb import impulse_responses
from musicssl_training.train.config import read_config

RATE = 22_050
CPU = torch.device("cpu")
SHARES = (
    *("mix", "noise", "equalize", "reverb", "band_stop", "low_pass", "clip", "gain"),
    *("quantize", "time_mask", "packets"),
)
SHAPE = DualSpectrumConfig()
FRONT = DualSpectrum(SHAPE)


def only(*names: str, **options: Any) -> WaveformAugmentConfig:
    """Settings under which these distortions always happen, and no others."""
    shares: dict[str, Any] = {name: float(name in names) for name in SHARES}
    return WaveformAugmentConfig(clean=0.0, **shares, **options)


def spectra_only(name: str, **options: Any) -> SpectrogramAugmentConfig:
    """Settings under which this always happens to spectra, and nothing else."""
    shares: dict[str, Any] = {key: float(key == name) for key in ("mix", "equalize", "noise")}
    options |= {"time_masks": 0, "band_masks": 0}
    return SpectrogramAugmentConfig(clean=0.0, **shares, **options)


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


@pytest.mark.parametrize(
    "config",
    [
        SpectrogramAugmentConfig(clean=0.5, mix_db=(1.0, 2.0)),
        WaveformAugmentConfig(clean=0.5, mix_db=(1.0, 2.0)),
        MaskConfig(time=0.5, seconds=(0.2, 0.4)),
    ],
)
def test_configs_survive_a_round_trip(config: Any) -> None:
    assert from_dict(type(config), to_dict(config), "augment") == config


@pytest.mark.parametrize(
    ("kind", "wrong", "message"),
    [
        (SpectrogramAugmentConfig, {"mix": 35.0}, "mix is a share, from 0 to 1; got 35.0"),
        (SpectrogramAugmentConfig, {"band_mask": -0.1}, "band_mask is a share"),
        (SpectrogramAugmentConfig, {"noise_db": (40.0, 10.0)}, "Swapped"),
        (MaskConfig, {"time": 40.0}, "time is a share, from 0 to 1; got 40.0"),
        (MaskConfig, {"time": 0.95}, "at most 0.9; got 0.95"),
        (MaskConfig, {"seconds": (1.0, 0.3)}, "Swapped"),
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
        (WaveformAugmentConfig, {"quantize_bits": (0, 8)}, "quantize_bits must lie in"),
    ],
)
def test_wrong_settings_are_named(kind: type[Any], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        kind(**wrong)


def test_settings_of_older_runs_are_read_under_their_new_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = {"sources": ["a"], "shares": [1.0]}
    old: dict[str, Any] = {"data": data, "workers": ["chroma"], "distort_in": "both"}
    old["distort"] = {"equalise": 0.25, "noise_power": [1e-7, 1e-4]}
    old["wave"] = {"quantise_bits": [3, 4], "noise_colour": [1.0, 1.0], "equalise_q": [1.0, 2.0]}
    config = read_config(old)
    assert config.augment_in == "both"
    assert config.augment_spectrogram == SpectrogramAugmentConfig(equalize=0.25)
    assert "noise_power is no longer a setting" in caplog.text
    assert config.augment_waveform == WaveformAugmentConfig(
        quantize_bits=(3, 4), noise_color=(1.0, 1.0), equalize_q=(1.0, 2.0)
    )
    with pytest.raises(ConfigError, match="'distort_in' is the former name of 'augment_in'"):
        read_config(old | {"augment_in": "wave"})


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
    heard = augment_spectrogram(x, spectra_only("mix"), SHAPE, generator(), same).spectra
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
    heard = augment_spectrogram(
        x, SpectrogramAugmentConfig(clean=1.0), SHAPE, generator(), torch.arange(4)
    )
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


@pytest.mark.parametrize("color", [0.0, 1.0, 2.0])
def test_noise_has_its_color(color: float) -> None:
    draw = Draw(8, generator(), CPU)
    found = effects.colored_noise(draw, torch.full((8, 1), color), 4 * RATE, RATE)
    torch.testing.assert_close(found.square().mean(dim=1), torch.ones(8), atol=1e-4, rtol=0)
    hertz, power = scipy.signal.welch(found.numpy(), RATE, nperseg=4096)
    heard = (hertz > 100) & (hertz < 8000)
    slope = np.polyfit(np.log(hertz[heard]), np.log(power.mean(axis=0)[heard]), 1)[0]
    assert abs(slope + color) < 0.05


# --- linear filters


def test_shelves_and_peaks_are_the_cookbooks() -> None:
    hertz = torch.linspace(0, RATE / 2, 4097)
    for center, gain, q in ((80.0, 9.0, 0.7), (1000.0, -10.0, 3.0), (7000.0, 6.0, 1.0)):
        a, w0 = 10 ** (gain / 40), 2 * math.pi * center / RATE
        cos, alpha = math.cos(w0), math.sin(w0) / (2 * q)
        ratio = filters.prewarp(hertz, RATE) / filters.prewarp(torch.tensor(center), RATE)
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
    ratio = filters.prewarp(hertz, RATE) / filters.prewarp(torch.tensor(500.0), RATE)
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


def test_equalizers_stay_within_their_gain() -> None:
    impulse = torch.zeros(30, 8192)
    impulse[:, 0] = 0.1
    heard = hear(impulse, only("equalize", equalize_db=6.0, equalize_peaks=2))
    curve = decibels(torch.fft.rfft(heard / 0.1).abs().square())
    assert curve.abs().max() <= 3 * 6 + 0.1
    assert curve.abs().amax(dim=1).min() > 0.1


def test_band_stops_silence_their_band_alone() -> None:
    hertz = torch.linspace(0, RATE / 2, 5000)
    center, octaves = torch.tensor([[1000.0]]), torch.tensor([[1.0]])
    gain = filters.band_stop(hertz, center, octaves)[0]
    inside = (hertz / 1000).log2().abs() <= 0.5
    beyond = (hertz / 1000).log2().abs() >= 0.5 + filters.EDGE
    assert (gain[inside] == 0).all()
    assert (gain[beyond] == 1).all()
    audio = noise(1, RATE)
    length = filters.fast_length(RATE + 3000)
    response = filters.band_stop(filters.frequencies(length, RATE, CPU), center, octaves)
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
    heard = hear(audio, only("quantize", quantize_bits=(bits, bits)))
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
    heard, masked = augment_spectrogram(x, config, SHAPE, generator(), torch.arange(8) // 2)
    assert masked.shape == (8, x.mel.shape[2])
    for values in heard:
        assert torch.equal((values == 0).all(dim=1), masked)
    assert masked.any(dim=1).any()
    for before, after in zip(x, heard, strict=True):
        clean = (before == after).flatten(1).all(dim=1)
        assert clean.any()
        assert not clean.all()
        assert not masked[clean].any()


def added_level(clean: Spectra, heard: Spectra) -> Tensor:
    """Return how far what was added lies below each excerpt, in dB of mean powers."""
    before, after = (torch.expm1(x.mel.double() * math.log(10)) for x in (clean, heard))
    return decibels(before.mean(dim=(1, 2))) - decibels((after - before).mean(dim=(1, 2)))


@pytest.mark.parametrize("name", ["mix", "noise"])
@pytest.mark.parametrize("kind", [SpectrogramAugmentConfig, WaveformAugmentConfig])
def test_sounds_on_top_lie_in_the_range_below_whatever_the_levels(
    kind: type[Any], name: str
) -> None:
    audio = noise(60, RATE, 0.3) * torch.logspace(-3, 0, 60)[:, None]
    recordings, settings = torch.arange(60), {f"{name}_db": (3.0, 20.0)}
    if kind is WaveformAugmentConfig:
        heard = hear(audio, only(name, **settings))
        quiet = level(audio) < -25  # what is loud is turned down to full scale
        found = (level(audio) - level(heard - audio))[quiet]
    else:
        x = FRONT(audio, 50)
        config = spectra_only(name, **settings)
        heard = augment_spectrogram(x, config, SHAPE, generator(), recordings).spectra
        found = added_level(x, heard)
    assert found.min() > 3 - 0.1
    assert found.max() < 20 + 0.1
    assert found.max() - found.min() > 12  # and all over it


def test_the_same_range_means_the_same_in_spectra_and_wave() -> None:
    """A mix of waves and one of their spectra, each recording at another level and pitch."""
    time = torch.arange(2 * RATE) / RATE
    tones = [0.3 * (math.tau * hertz * time).sin() for hertz in (110.0, 700.0, 4000.0)]
    audio = torch.stack([*tones, *noise(3, 2 * RATE)]) * torch.logspace(-1, 0, 6)[:, None]
    recordings, wanted = torch.tensor([0, 1] * 3), (9.0, 9.0)
    waves = augment_waveform(audio, only("mix", mix_db=wanted), RATE, generator(), recordings)
    mixed = augment_spectrogram(
        FRONT(audio, 100), spectra_only("mix", mix_db=wanted), SHAPE, generator(), recordings
    )
    for heard in (FRONT(waves.audio, 100), mixed.spectra):
        found = added_level(FRONT(audio, 100), heard)
        torch.testing.assert_close(found, torch.full((6,), 9.0).double(), atol=0.6, rtol=0)


def test_nothing_is_added_to_silence_or_taken_from_it() -> None:
    audio = noise(3, RATE)
    audio[1] *= 1e-4  # -100 dB
    x = FRONT(audio, 50)
    pairs = torch.tensor([0, 1, 0])  # 0 and 2 can only be mixed with the silent one
    heard = augment_spectrogram(x, spectra_only("mix"), SHAPE, generator(), pairs).spectra
    torch.testing.assert_close(heard.mel, x.mel, atol=1e-5, rtol=0)
    heard = augment_spectrogram(x, spectra_only("noise"), SHAPE, generator(), pairs).spectra
    torch.testing.assert_close(heard.mel[1], x.mel[1], atol=1e-5, rtol=0)
    assert (heard.mel[[0, 2]] > x.mel[[0, 2]] + 1e-5).float().mean() > 0.99


def test_spectra_repeat_and_stay_untouched() -> None:
    x = spectra(4)
    before = [values.clone() for values in x]
    first, second = (
        augment_spectrogram(x, SpectrogramAugmentConfig(), SHAPE, generator(3), torch.arange(4))
        for _ in range(2)
    )
    for a, b, clean, kept in zip(first.spectra, second.spectra, x, before, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(clean, kept)
    silent = Spectra(*(torch.zeros_like(values) for values in x))
    heard = augment_spectrogram(
        silent, SpectrogramAugmentConfig(), SHAPE, generator(), torch.arange(4)
    ).spectra
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


# --- blocks


@pytest.mark.parametrize("time", [0.3, 0.5])
def test_blocks_cover_their_share_of_the_time_in_their_lengths(time: float) -> None:
    audio = torch.zeros(300, 7 * 1000)
    masked = draw_blocks(audio, MaskConfig(excerpts=0.6, time=time), 1000, generator())
    chosen = masked.any(dim=1)
    assert abs(chosen.float().mean() - 0.6) < 4 * math.sqrt(0.24 / 300)
    assert (masked[chosen].sum(dim=1) == round(time * 7000)).all()
    runs = torch.nn.functional.pad(masked[chosen].int(), (1, 1)).diff(dim=1)
    starts, ends = ((runs == sign).nonzero() for sign in (1, -1))
    length = (ends - starts)[:, 1]
    assert length.min() >= 300 - 1
    assert (length <= 1001).float().mean() > 0.9  # blocks that touch look like one
    assert length.float().std() > 150
    place = masked[chosen].float().mean(dim=0)
    inside = place[1000:6000]
    assert inside.min() > time - 0.15  # nowhere more than elsewhere
    assert inside.max() < time + 0.15


def test_blocks_in_excerpts_shorter_than_a_block_and_none_at_all() -> None:
    short = draw_blocks(torch.zeros(9, 500), MaskConfig(excerpts=1.0, time=0.4), 1000, generator())
    assert (short.sum(dim=1) == 200).all()
    assert not draw_blocks(torch.zeros(9, 500), MaskConfig(), 1000, generator()).any()


def test_frames_masked_in_spectra_are_heard_by_no_spectrum() -> None:
    """Noise that only sounds in the masked frames leaves every other spectrum silent."""
    audio = noise(6, 7 * RATE)
    hop, each = SHAPE.hop, 4
    count = -(-audio.shape[1] // (hop * each)) * each
    blocks = draw_blocks(audio, MaskConfig(excerpts=1.0, time=0.5), RATE, generator())
    _, silent = silence_spectra(FRONT(audio, count), blocks, hop)
    frames = masked_frames(silent, each, FRONT.reach, hop)
    assert frames.shape == (6, count // each)
    assert 0.2 < frames.float().mean() < 0.5
    inside = frames.repeat_interleave(each * hop, dim=1)[:, : audio.shape[1]]
    heard, _ = silence_spectra(FRONT(audio * inside, count), blocks, hop)
    assert all((x == 0).all() for x in heard)
    # and no frame is left out that could count: one more at either end is heard
    longer = torch.nn.functional.max_pool1d(frames[:, None].float(), 3, 1, 1)[:, 0].bool()
    inside = (longer & ~frames).repeat_interleave(each * hop, dim=1)[:, : audio.shape[1]]
    heard, _ = silence_spectra(FRONT(audio * inside, count), blocks, hop)
    assert all((x != 0).any() for x in heard)


def test_blocks_silence_the_audio_and_all_frames_in_them() -> None:
    audio = noise(4, 2 * RATE) + 0.3
    blocks = draw_blocks(audio, MaskConfig(excerpts=1.0, time=0.4), RATE, generator())
    heard = silence_audio(audio, blocks, RATE)
    assert (heard[blocks] == 0).all()
    fade = round(0.005 * RATE)
    near = torch.nn.functional.max_pool1d(blocks[:, None].float(), 2 * fade + 1, 1, fade)[:, 0]
    assert torch.equal(heard[near == 0], audio[near == 0])
    frames = silent_frames(blocks, 441)
    inside = frames.repeat_interleave(441, dim=1)[:, : audio.shape[1]]
    assert (heard[inside] == 0).all()
    assert frames.float().mean() > 0.3
