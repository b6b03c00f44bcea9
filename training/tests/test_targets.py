"""What the workers predict, against librosa and against sounds whose truth is known."""

import librosa
import numpy as np
import pytest
import torch

from musicssl.frontends import DualSpectrum, DualSpectrumConfig, Spectra
from musicssl_training import targets
from musicssl_training.workers import TARGETS

RATE = 22_050


@pytest.fixture(scope="module")
def spectrum() -> DualSpectrum:
    return DualSpectrum(DualSpectrumConfig())


def spectra_of(spectrum: DualSpectrum, audio: np.ndarray) -> Spectra:
    frames = -(-len(audio) // 882)
    return spectrum(torch.from_numpy(audio.astype(np.float32))[None], 2 * frames)


def chord(pitches: list[int], seconds: float = 2.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    hertz = [440 * 2 ** ((pitch - 69) / 12) for pitch in pitches]
    return sum(0.1 * np.sin(2 * np.pi * f * t) for f in hertz)


def clicks(bpm: float, seconds: float = 7.04) -> np.ndarray:
    audio = np.zeros(round(seconds * RATE))
    for beat in np.arange(0.1, seconds - 0.1, 60 / bpm):
        start = round(beat * RATE)
        length = min(500, len(audio) - start)
        audio[start : start + length] = np.random.default_rng(0).uniform(-0.5, 0.5, length)
    return audio


@pytest.mark.parametrize("name", TARGETS)
def test_sizes_and_silence(name: str, spectrum: DualSpectrum) -> None:
    target, size, pool = TARGETS[name]
    out = target(spectra_of(spectrum, np.zeros(round(7.04 * RATE))))
    assert out.shape == (1, 176 // pool, size)
    assert out.isfinite().all()


def test_mfcc_is_librosas() -> None:
    rng = np.random.default_rng(0)
    mel = rng.uniform(0, 5, (64, 80)).astype(np.float32)
    spectra = Spectra(torch.zeros(1, 168, 80), torch.from_numpy(mel)[None])
    out = targets.mfcc(spectra)[0].T.numpy()
    static = librosa.feature.mfcc(S=mel.reshape(64, 40, 2).mean(axis=2), n_mfcc=20)
    np.testing.assert_allclose(out[:20], static, atol=1e-4)
    slope = librosa.feature.delta(static, width=9, mode="nearest")
    np.testing.assert_allclose(out[20:], slope, atol=1e-4)


def test_chroma_of_a_chord_and_of_its_transpositions(spectrum: DualSpectrum) -> None:
    base = [60, 64, 67]
    c_major = targets.chroma(spectra_of(spectrum, chord(base)))[0, 10:-10].mean(dim=0)
    assert set(c_major.topk(3).indices.tolist()) == {0, 4, 7}
    for shift in (1, 5, 11):
        moved = chord([pitch + shift for pitch in base])
        out = targets.chroma(spectra_of(spectrum, moved))[0, 10:-10].mean(dim=0)
        assert set(out.topk(3).indices.tolist()) == {(p + shift) % 12 for p in (0, 4, 7)}


def test_onsets_are_where_the_clicks_are(spectrum: DualSpectrum) -> None:
    out = targets.onsets(spectra_of(spectrum, clicks(60)))[0].sum(dim=1)
    peaks = out.topk(7).indices.sort().values * 0.04
    np.testing.assert_allclose(peaks, [0.1, 1.1, 2.1, 3.1, 4.1, 5.1, 6.1], atol=0.06)


@pytest.mark.parametrize("bpm", [75, 96, 120, 150])
def test_tempogram_peaks_at_the_beat(spectrum: DualSpectrum, bpm: float) -> None:
    out = targets.tempogram(spectra_of(spectrum, clicks(bpm)))[0, 8:14].mean(dim=0)
    lags = np.geomspace(0.2, 2.0, targets.LAGS)
    best = lags[int(out[: targets.LAGS].argmax())]
    multiple = best / (60 / bpm)
    assert abs(multiple - round(multiple)) < 0.08
    assert round(multiple) >= 1


def test_autocorrelation_is_librosas(spectrum: DualSpectrum) -> None:
    spectra = spectra_of(spectrum, clicks(100))
    flux = targets._flux(spectra).mean(dim=1)[0].numpy()
    around = np.array([flux[max(0, i - 25) : i + 26].mean() for i in range(len(flux))])
    size, hop, step = 300, 16, 10
    padded = np.pad(flux - around, (size // 2 - hop // 2, size // 2))
    window = padded[step * hop :][:size] * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))
    whole = librosa.autocorrelate(window)
    expected = np.interp(np.geomspace(0.2, 2.0, targets.LAGS) * 50, np.arange(size), whole)
    out = targets.tempogram(spectra)[0, step, : targets.LAGS].numpy()
    np.testing.assert_allclose(out, expected / max(whole[0], 1e-3), atol=1e-4)


def test_contrast_tells_tones_from_noise(spectrum: DualSpectrum) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
    tones, rough = (
        targets.shape(spectra_of(spectrum, audio))[0, 10:-10, 3].mean()
        for audio in (chord([60, 64, 67]), noise)
    )
    assert tones > 2 * rough
