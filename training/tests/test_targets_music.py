"""Pitch and rhythm targets, against librosa and against sounds whose truth is known."""

import functools
import itertools
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from musicssl.errors import ConfigError
from musicssl.frontends import DualSpectrum, DualSpectrumConfig
from musicssl_training.targets import Target, pitch, rhythm
from musicssl_training.targets.features import CleanAudio, FrameGrid
from musicssl_training.targets.onset_bands import OnsetBands
from musicssl_training.targets.vqt import VariableQ

Array = NDArray[Any]
GRIDS = {"22050": FrameGrid(22_050, 441, 2), "16000": FrameGrid(16_000, 160, 1)}
TARGETS: dict[str, type[Target]] = {
    "vqt": pitch.Vqt,
    "salience": pitch.Salience,
    "notes": pitch.Notes,
    "chroma_peaks": pitch.ChromaPeaks,
    "chroma": pitch.Chroma,
    "tonnetz": pitch.Tonnetz,
    "chroma_vqt": pitch.ChromaVqt,
    "cens": pitch.Cens,
    "onsets": rhythm.Onsets,
    "tempogram": rhythm.Tempogram,
    "fourier_tempogram": rhythm.FourierTempogram,
    "beat_pulse": rhythm.BeatPulse,
}
CHROMAS = ("chroma_peaks", "chroma", "chroma_vqt", "cens")


def tones(pitches: list[float], rate: int, seconds: float, harmonics: int = 1) -> Array:
    t = np.arange(round(seconds * rate)) / rate
    hertz = [h * 440 * 2 ** ((p - 69) / 12) for p in pitches for h in range(1, harmonics + 1)]
    waves = [0.1 * np.sin(2 * np.pi * f * t) for f in hertz if f < rate / 2.2]
    audio: Array = np.array(waves, dtype=np.float32).sum(axis=0)
    return audio


def clicks(bpm: float, rate: int, seconds: float = 8.0) -> Array:
    """Noise bursts of 20 ms from 0.1 s on, every fourth twice as loud."""
    audio = np.zeros(round(seconds * rate), dtype=np.float32)
    length = round(0.02 * rate)
    for i, beat in enumerate(np.arange(0.1, seconds - 0.1, 60 / bpm)):
        noise = np.random.default_rng(0).uniform(-0.3, 0.3, length)
        audio[round(beat * rate) :][:length] = noise * (2 if i % 4 == 0 else 1)
    return audio


@functools.cache
def music(rate: int, seconds: float = 7.04, seed: int = 0) -> Array:
    """Decaying chords of eight harmonics twice a second, a scale above, clicks, a little noise."""
    rng = np.random.default_rng(seed)
    audio = 0.2 * clicks(120, rate, seconds) + 1e-4 * rng.standard_normal(round(seconds * rate))
    for i, beat in enumerate(np.arange(0.1, seconds - 0.1, 0.5)):
        root = int(rng.integers(40, 64))
        sound = tones([root, root + 3 + i % 2, root + 7, 72 + i], rate, 1.0, harmonics=8)
        t = np.arange(len(sound)) / rate
        start = round(beat * rate)
        end = min(len(audio), start + len(sound))
        audio[start:end] += (0.3 * sound * np.exp(-4 * t) * np.minimum(1, t / 0.01))[: end - start]
    return audio.astype(np.float32)


def sound_of(audio: Array, grid: FrameGrid) -> CleanAudio:
    return CleanAudio(torch.from_numpy(np.atleast_2d(audio)), grid)


def pairs(values: Array, grid: FrameGrid) -> Array:
    """Average target frames as targets do: (size, target frames) to (frames, size)."""
    frames = values.shape[1] // grid.stride
    averaged: Array = values.T[: frames * grid.stride].reshape(frames, grid.stride, -1).mean(axis=1)
    return averaged


def close(out: torch.Tensor, expected: Array, atol: float) -> None:
    """Compare one clip's (frames, size); librosa gives a frame more at the end."""
    frames = min(out.shape[1], len(expected))
    assert frames > 100
    loud = slice(20, frames)  # before the first note, only faint noise
    np.testing.assert_allclose(out[0, loud].numpy(), expected[loud], atol=atol)


def alike(a: Array, b: Array) -> float:
    frames = min(len(a), len(b))
    return float(np.corrcoef(a[:frames].ravel(), b[:frames].ravel())[0, 1])


@pytest.fixture(params=GRIDS)
def grid(request: pytest.FixtureRequest) -> FrameGrid:
    return GRIDS[request.param]


@pytest.mark.parametrize("name", TARGETS)
def test_sizes_and_extremes(name: str, grid: FrameGrid) -> None:
    target, rate = TARGETS[name](grid), grid.sample_rate
    noise = np.random.default_rng(0).uniform(-1, 1, (2, 2 * rate)).astype(np.float32)
    short = [np.full(n, 0.5, dtype=np.float32) for n in (1, grid.hop, 3000)]
    for audio in (noise, np.zeros_like(noise), *short):
        sound = sound_of(audio, grid)
        out = target(sound)
        assert out.shape == (
            len(sound.audio),
            sound.frames // grid.stride // target.pool,
            target.size,
        )
        assert out.dtype == torch.float32
        assert out.isfinite().all()
        assert out.abs().max() < 10 if out.numel() else True


@pytest.mark.parametrize("name", TARGETS)
def test_silence_is_zero_and_faint_noise_is_no_chord(name: str, grid: FrameGrid) -> None:
    target = TARGETS[name](grid)
    noise = np.random.default_rng(0).standard_normal(3 * grid.sample_rate).astype(np.float32)
    assert target(sound_of(0 * noise, grid)).abs().max() == 0
    if name in CHROMAS:
        assert target(sound_of(1e-5 * noise, grid)).abs().max() < 0.02


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_heard_beyond_the_reach(name: str, grid: FrameGrid) -> None:
    target = TARGETS[name](grid)
    audio = music(grid.sample_rate, 8)
    steps = len(audio) // (grid.hop * grid.stride * target.pool)
    step = steps // 2
    centre = (step + 0.5) * grid.hop * grid.stride * target.pool
    margin = target.reach * grid.sample_rate
    other = np.random.default_rng(1).permutation(audio)
    other[int(centre - margin) : int(centre + margin) + 1] = audio[
        int(centre - margin) : int(centre + margin) + 1
    ]
    both = target(sound_of(np.stack([audio, other]), grid))
    assert (both[0] - both[1]).abs().max() > 0.1
    # filters cut off in frequency hear a little beyond their length
    leaks = any(isinstance(module, VariableQ) for module in target.modules())
    atol = 0.05 if leaks else 1e-4
    torch.testing.assert_close(both[0, step], both[1, step], atol=atol, rtol=0)


@pytest.mark.parametrize("name", TARGETS)
def test_a_batch_is_its_clips(name: str) -> None:
    grid = GRIDS["22050"]
    target = TARGETS[name](grid)
    clips = np.stack([music(grid.sample_rate, 3, seed) for seed in range(2)])
    together = target(sound_of(clips, grid))
    alone = torch.cat([target(sound_of(clip, grid)) for clip in clips])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("bands", "sharpness"), [(12, 1.0), (12, 2.0), (24, 1.0)])
def test_variable_q_is_librosas(bands: int, sharpness: float, grid: FrameGrid) -> None:
    audio, rate = music(grid.sample_rate), grid.sample_rate
    transform = VariableQ(grid, bands=bands, sharpness=sharpness)
    settings: dict[str, Any] = {"sr": rate, "gamma": None, "filter_scale": sharpness}
    reference = librosa.vqt(
        audio,
        hop_length=grid.hop,
        fmin=librosa.note_to_hz("C1"),
        n_bins=7 * bands,
        bins_per_octave=bands,
        pad_mode="constant",
        **settings,
    )
    lengths, _ = librosa.filters.wavelet_lengths(freqs=transform.hertz, **settings)
    reference = np.abs(reference).T * 2 / np.sqrt(lengths)  # a full-scale sine gives 1
    assert transform.reach == pytest.approx(lengths[0] / 2)
    out = transform(sound_of(audio, grid))[0].sqrt().numpy()
    assert alike(out, reference) > 0.999
    assert alike(np.log1p(out**2 / 1e-6), np.log1p(reference**2 / 1e-6)) > 0.999


def test_a_sine_lands_in_its_band_with_its_level(grid: FrameGrid) -> None:
    sound = sound_of(tones([69], grid.sample_rate, 1), grid)  # A4, amplitude 0.1
    levels = {"vqt": 0.01, "salience": 0.01 / 3.3616**2, "notes": None}  # the weights' sum
    for name, level in levels.items():
        middle = TARGETS[name](grid)(sound)[0, 10:-10].mean(dim=0)
        assert middle.argmax() == 45  # semitones above C1
        if level:
            assert middle.max().item() == pytest.approx(np.log10(1 + level / 1e-6), abs=0.05)
    for name in CHROMAS:
        assert (TARGETS[name](grid)(sound)[0, 10:-10].argmax(dim=1) == 9).all()


@pytest.mark.parametrize("name", ["vqt", "notes"])
def test_a_note_begins_in_its_step(name: str, grid: FrameGrid) -> None:
    note = tones([69], grid.sample_rate, 2)
    note[: grid.sample_rate] = 0
    level = TARGETS[name](grid)(sound_of(note, grid))[0, :-10, 45]
    half = int((level > level[-1] + 2 * np.log10(0.5)).int().argmax())  # of the amplitude
    centre = (half + 0.5) * grid.stride / grid.rate
    assert centre == pytest.approx(1, abs=0.03)


def test_transposition_moves_notes_and_rolls_chroma(grid: FrameGrid) -> None:
    rate, chord = grid.sample_rate, [60, 64, 67]
    for name in ("vqt", "salience", "notes", *CHROMAS):
        target = TARGETS[name](grid)
        base, moved = (
            target(sound_of(tones([p + shift for p in chord], rate, 1), grid))[0, 10:-10].mean(
                dim=0
            )
            for shift in (0, 5)
        )
        if target.size == 12:
            assert set(base.topk(3).indices.tolist()) == {0, 4, 7}
            assert set(moved.topk(3).indices.tolist()) == {5, 9, 0}
        assert alike(base.roll(5).numpy(), moved.numpy()) > 0.9, name
        assert alike(base.numpy(), moved.numpy()) < 0.8, name


def test_salience_is_librosas_and_finds_the_missing_fundamental(grid: FrameGrid) -> None:
    target = pitch.Salience(grid)
    sound = sound_of(music(grid.sample_rate), grid)
    harmonics: Any = np.arange(1, 6)
    expected = librosa.salience(
        target.transform(sound)[0].sqrt().T.numpy(),
        freqs=target.transform.hertz,
        harmonics=harmonics - 1e-12 * (harmonics > 1),  # an octave is a band, in spite of rounding
        weights=0.8 ** (harmonics - 1),
        filter_peaks=False,
        fill_value=0,
    )
    close(target(sound), pairs(np.log10(1 + expected**2 / 1e-6), grid), 1e-4)
    upper = tones(
        [57 + 12, 57 + 12 * np.log2(3), 57 + 24, 57 + 12 * np.log2(5)], grid.sample_rate, 1
    )
    out = target(sound_of(upper, grid))[0, 10:-10].mean(dim=0)
    assert out[:40].argmax() == 57 - 24


def test_notes_are_the_front_ends(grid: FrameGrid) -> None:
    audio = torch.from_numpy(music(grid.sample_rate))[None]
    sound = CleanAudio(audio, grid)
    front = DualSpectrum(DualSpectrumConfig(sample_rate=grid.sample_rate, hop=grid.hop))
    quarters = F.avg_pool1d(front(audio, sound.frames).pitch, grid.stride).transpose(1, 2)
    expected = F.avg_pool1d(F.pad(quarters, (1, 1), mode="replicate"), 3, 2)
    torch.testing.assert_close(pitch.Notes(grid)(sound), expected, atol=1e-4, rtol=0)


def test_chroma_and_tonnetz_are_librosas(grid: FrameGrid) -> None:
    audio, rate = music(grid.sample_rate), grid.sample_rate
    sound = sound_of(audio, grid)
    expected = librosa.feature.chroma_stft(
        y=audio, sr=rate, n_fft=4096, hop_length=grid.hop, tuning=0, pad_mode="constant"
    )
    close(pitch.Chroma(grid)(sound), pairs(expected, grid), 2e-5)
    expected = librosa.feature.tonnetz(chroma=expected, sr=rate)
    close(pitch.Tonnetz(grid)(sound), pairs(expected, grid), 2e-5)


def test_folded_chroma_is_librosas(grid: FrameGrid) -> None:
    audio, rate = music(grid.sample_rate), grid.sample_rate
    sound, target = sound_of(audio, grid), pitch.ChromaVqt(grid)
    bands = target.transform(sound)[0].sqrt().T.numpy()
    settings: dict[str, Any] = {"sr": rate, "hop_length": grid.hop, "bins_per_octave": 12}
    expected = librosa.feature.chroma_vqt(V=bands, intervals="equal", n_octaves=7, **settings)
    loud = bands.max(axis=0) > 1e-3
    assert loud.mean() > 0.9
    expected = np.where(loud, expected, target.fine(sound)[0].T.numpy())
    close(target(sound), pairs(expected, grid), 1e-5)
    constant = librosa.feature.chroma_cqt(y=audio, sr=rate, hop_length=grid.hop, tuning=0)
    assert alike(target(sound)[0].numpy(), pairs(constant, grid)) > 0.75


def test_cens_is_librosas(grid: FrameGrid) -> None:
    audio, rate = music(grid.sample_rate), grid.sample_rate
    sound, target = sound_of(audio, grid), pitch.Cens(grid)
    bands = target.chroma.transform(sound)[0].sqrt().T.numpy()
    expected = librosa.feature.chroma_cens(
        C=bands,
        sr=rate,
        hop_length=grid.hop,
        bins_per_octave=12,
        win_len_smooth=len(target.window),
    )
    assert len(target.window) / grid.rate == pytest.approx(0.95, abs=0.02)
    out, expected = target(sound), pairs(expected, grid)
    assert (
        alike(out[0].numpy(), expected) > 0.99
    )  # a share at the edge of a step may fall otherwise
    edge = round(2 * target.reach * grid.rate / grid.stride)
    np.testing.assert_allclose(out[0, edge:-edge], expected[edge : out.shape[1] - edge], atol=0.05)


def test_onsets_are_librosas(grid: FrameGrid) -> None:
    audio, rate = music(grid.sample_rate), grid.sample_rate
    sound, bands = sound_of(audio, grid), OnsetBands(grid)
    mel = librosa.feature.melspectrogram(
        y=audio, sr=rate, n_fft=1024, hop_length=grid.hop, n_mels=64, htk=True, norm=None,
        pad_mode="constant",
    )  # fmt: skip
    mel = 10 * np.log10(1e-6 + mel / 256**2)
    edges = np.cumsum([0, *(len(part) for part in np.array_split(np.arange(64), 6))])
    settings: dict[str, Any] = {"sr": rate, "hop_length": grid.hop, "n_fft": 1024, "lag": bands.lag}
    settings["channels"] = [slice(a, b) for a, b in itertools.pairwise(edges)]
    settings["center"] = False  # ours are put back by half a window less the lag
    expected = later(librosa.onset.onset_strength_multi(S=mel, **settings).T / 10, bands.delay)
    # their triangles are narrower than a bin where ours are widened
    edge = slice(20, -20)  # nothing rises where a spectrum leaves the audio
    assert alike(bands(sound)[0].numpy()[edge], expected[edge]) > 0.99
    power = sound.power(1024)[0].numpy()[:, : bands.bank.shape[1]] @ bands.bank.T.numpy()
    own = librosa.onset.onset_strength_multi(S=10 * np.log10(1e-6 + power.T), **settings).T / 10
    own = later(own, bands.delay)
    np.testing.assert_allclose(bands(sound)[0, edge], own[edge], atol=1e-4)
    sides = own.reshape(-1, 6 * grid.stride)[edge]
    np.testing.assert_allclose(rhythm.Onsets(grid)(sound)[0, edge] ** 2, sides, atol=1e-4)
    torch.testing.assert_close(
        rhythm.Onsets(grid, root=False)(sound).sqrt(), rhythm.Onsets(grid)(sound)
    )


def later(curves: Array, frames: float) -> Array:
    """Return curves, (frames, bands), delayed by linear interpolation."""
    places = np.arange(len(curves))
    delayed = [np.interp(places - frames, places, curve) for curve in curves.T]
    out: Array = np.stack(delayed, axis=1)
    return out


@pytest.mark.parametrize("frame", [(22_050, 441, 4), (22_050, 441, 1), (16_000, 160, 1)])
@pytest.mark.parametrize("sound", ["clicks", "tones"])
def test_onsets_and_pulses_are_at_the_clicks(frame: tuple[int, int, int], sound: str) -> None:
    """On average over 13 clicks that fall all over the grid, to 5 ms."""
    grid = FrameGrid(*frame)
    rate, times = grid.sample_rate, 0.4 + 0.503 * np.arange(13)
    audio = np.zeros(7 * rate, dtype=np.float32)
    length = np.arange(round(0.3 * rate)) / rate
    decay = np.exp(-length / 0.1) * np.sin(2 * np.pi * 440 * length)
    for start in np.round(times * rate).astype(int):
        audio[start : start + (len(decay) if sound == "tones" else 1)] += (
            0.4 * decay if sound == "tones" else 0.8
        )
    curve = OnsetBands(grid)(sound_of(audio, grid))[0].mean(dim=1).numpy()
    places = np.arange(len(curve)) / grid.rate
    assert abs(np.mean([center(curve, places - at, 0.12) for at in times])) < 0.005
    if sound == "clicks":  # the predominant pulse of tones depends on how they decay
        pulse = rhythm.BeatPulse(grid)(sound_of(audio, grid))[0, :, 0].numpy()
        places = (np.arange(len(pulse)) + 0.5) * grid.stride / grid.rate - 0.5 / grid.rate
        assert abs(np.mean([center(pulse, places - at, 0.12) for at in times[3:-3]])) < 0.005


def center(curve: Array, places: Array, width: float) -> float:
    """Return the center of gravity of a curve within `width` of place 0."""
    near = np.abs(places) < width
    return float(np.average(places[near], weights=curve[near]))


def test_onsets_are_in_the_steps_of_the_clicks(grid: FrameGrid) -> None:
    onsets = rhythm.Onsets(grid)(sound_of(clicks(60, grid.sample_rate), grid))[0].sum(dim=1)
    step = grid.hop * grid.stride / grid.sample_rate
    peaks = onsets.topk(8).indices.sort().values * step
    if step < 0.02:  # several steps an onset
        onsets = F.max_pool1d(onsets[None], 9, 1, 4)[0].eq(onsets) * onsets
        peaks = onsets.topk(8).indices.sort().values * step
    np.testing.assert_allclose(peaks, 0.1 + np.arange(8), atol=0.025)


def test_an_excerpt_does_not_begin_with_an_onset(grid: FrameGrid) -> None:
    steady = tones([57], grid.sample_rate, 2, harmonics=6)
    out = rhythm.Onsets(grid, root=False)(sound_of(steady, grid))
    assert out.max() < 0.1


@pytest.mark.parametrize("bpm", [75, 96, 120, 150])
def test_tempograms_peak_at_the_beat(bpm: float, grid: FrameGrid) -> None:
    sound = sound_of(clicks(bpm, grid.sample_rate), grid)
    axis = np.geomspace(0.2, 2.0, 32), np.geomspace(0.5, 5.0, 32)
    lags = rhythm.Tempogram(grid, low=False)(sound)[0, 8:-8].mean(dim=0)
    near = np.abs(np.log2(axis[0] * bpm / 60)) < 0.4  # an octave down or up is as good
    assert abs(axis[0][near][lags[near].argmax()] * bpm / 60 - 1) < 0.05
    hertz = rhythm.FourierTempogram(grid, low=False)(sound)[0, 8:-8].mean(dim=0)
    near = np.abs(np.log2(axis[1] / bpm * 60)) < 0.4
    assert abs(axis[1][near][hertz[near].argmax()] / bpm * 60 - 1) < 0.05


def test_tempograms_are_librosas(grid: FrameGrid) -> None:
    sound = sound_of(music(grid.sample_rate, 9), grid)
    target = rhythm.Tempogram(grid, low=True)
    fourier = rhythm.FourierTempogram(grid, bands=4, fastest=4.0)  # on bins of 1/6 Hz
    step = round(4.5 * grid.rate / target.step)
    place = round((step + 0.5) * target.step / target.onsets.factor)
    for band in range(2):
        curve = target.onsets.curves(sound)[0, band].numpy()
        window = np.hanning(target.window + 1)[:-1]
        around = curve[place - target.window // 2 :][: target.window]
        level = curve - (around * window).sum() / window.sum()
        settings: dict[str, Any] = {"onset_envelope": level, "win_length": target.window}
        theirs = librosa.feature.tempogram(norm=np.inf, **settings)[:, place]
        ours = target(sound)[0, step].unflatten(0, (2, -1))[band].numpy()
        np.testing.assert_allclose(ours, in_lag_bands(theirs, target.onsets.rate), atol=1e-4)
        theirs = librosa.feature.fourier_tempogram(**settings)[[3, 6, 12, 24], place]
        ours = fourier(sound)[0, step].unflatten(0, (2, -1))[band].numpy()
        np.testing.assert_allclose(ours, np.log10(1 + np.abs(theirs)), atol=1e-4)


def in_lag_bands(correlation: Array, rate: float) -> Array:
    """Return means in triangles that reach the neighbouring of 32 lags, or one sample at least."""
    centres = 0.2 * 10 ** (np.arange(-1, 33) / 31) * rate
    out = []
    for before, centre, after in zip(centres, centres[1:], centres[2:], strict=False):
        feet = min(before, centre - 1), centre, max(after, centre + 1)
        out.append(np.average(correlation, weights=np.interp(np.arange(300), feet, [0, 1, 0])))
    return np.array(out)


def test_the_low_band_hears_the_kick_alone(grid: FrameGrid) -> None:
    rate = grid.sample_rate
    t = np.arange(8 * rate) / rate
    kick = 0.5 * np.sin(2 * np.pi * 60 * t) * np.exp(-20 * (t % 0.75))  # 80 bpm
    hats = np.random.default_rng(0).standard_normal(len(t)) * np.exp(-60 * (t % 0.25)) * 0.1
    hats = np.diff(hats, n=4, prepend=np.zeros(4))  # high frequencies
    sound = sound_of((kick + 0.3 * hats).astype(np.float32), grid)
    out = rhythm.Tempogram(grid)(sound)[0, 10:-10].mean(dim=0).unflatten(0, (2, -1))
    lags = np.geomspace(0.2, 2.0, 32)
    quick = np.abs(lags - 0.25).argmin()
    assert out[0, quick] > out[1, quick] + 0.2
    assert abs(lags[out[1, :25].argmax()] - 0.75) < 0.05


def test_pulse_is_librosas_and_at_the_beats(grid: FrameGrid) -> None:
    target = rhythm.BeatPulse(grid)
    step = grid.hop * grid.stride / grid.sample_rate
    for audio in (clicks(120, grid.sample_rate), music(grid.sample_rate, 8)):
        sound = sound_of(audio, grid)
        out = target(sound)[0, :, 0].numpy()
        times = np.arange(len(out)) * step
        middle = (times > 1) & (times < 7)
        beats = np.abs((times - 0.1 + 0.25) % 0.5 - 0.25)
        assert out[middle & (beats < 0.02)].min() > 0.7
        assert out[middle & (beats > 0.2)].max() < 0.1
        expected = librosa.beat.plp(
            onset_envelope=target.onsets.curves(sound)[0, 0].numpy(),
            sr=target.onsets.rate, hop_length=1, win_length=target.window,
        )  # fmt: skip
        theirs = np.interp(times, np.arange(len(expected)) / target.onsets.rate, expected)
        assert np.corrcoef(out[middle], theirs[middle])[0, 1] > 0.95


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="fit into the transform"):
        VariableQ(GRIDS["22050"], bands=36)
    with pytest.raises(ConfigError, match="Nyquist"):
        VariableQ(GRIDS["16000"], octaves=8)
    with pytest.raises(ConfigError, match="onset bands must number 1 to 64"):
        OnsetBands(GRIDS["16000"], 65)
    with pytest.raises(ConfigError, match="half the window of 3 s"):
        rhythm.Tempogram(GRIDS["16000"], window_seconds=3)
    with pytest.raises(ConfigError, match="Beats a minute"):
        rhythm.FourierTempogram(GRIDS["16000"], slowest=30, fastest=300)
