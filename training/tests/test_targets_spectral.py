"""Spectral and prosodic targets, against librosa, scipy and theory."""

from collections.abc import Callable

import librosa
import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicssl.errors import ConfigError
from musicssl_training.targets import Target, banks, prosody, spectral, timbre
from musicssl_training.targets.features import CleanAudio, FrameGrid

GRIDS = {"music": FrameGrid(22_050, 441, 2), "speech": FrameGrid(16_000, 160, 1)}
TARGETS: dict[str, Callable[[FrameGrid], Target]] = {
    "log_mel": spectral.LogMel,
    "log_mel_long": lambda grid: spectral.LogMel(grid, n_mels=128, n_fft=4096, once=True),
    "lps": spectral.Lps,
    "lps_whole": lambda grid: spectral.Lps(grid, bands=0),
    "lps_long": lambda grid: spectral.Lps(grid, n_fft=4096, bands=200, once=True),
    "mfcc": lambda grid: spectral.Mfcc(grid, order=2),
    "mfcc_long": lambda grid: spectral.Mfcc(grid, n_mels=128, n_fft=4096, once=True),
    "gammatone": spectral.Gammatone,
    "gammatone_long": lambda grid: spectral.Gammatone(grid, n_fft=4096, once=True),
    "waveform": spectral.Waveform,
    "context": lambda grid: spectral.Context(grid, spectral.Mfcc(grid)),
    "prosody": prosody.Prosody,
    "loudness": prosody.Loudness,
    "shape": timbre.Shape,
    "contrast": timbre.Contrast,
    "harmonic_percussive": timbre.HarmonicPercussive,
}


@pytest.fixture(params=GRIDS)
def grid(request: pytest.FixtureRequest) -> FrameGrid:
    return GRIDS[request.param]


def music(rate: int, seconds: float = 2.5) -> NDArray[np.float32]:
    """Chords that decay, bursts of noise, clicks, and a little noise all along."""
    rng = np.random.default_rng(0)
    t = np.arange(round(seconds * rate)) / rate
    out = 1e-4 * rng.standard_normal(len(t))
    for start, pitches in ((0.0, (48, 64, 67)), (0.7, (53, 57, 72)), (1.5, (43, 59, 62, 77))):
        since = np.clip(t - start, 0, None)
        for pitch in pitches:
            hertz = 440 * 2 ** ((pitch - 69) / 12)
            for k in range(1, 7):
                out += 0.08 / k * np.sin(2 * np.pi * hertz * k * since) * np.exp(-3 * k * since)
    for start in (0.4, 1.1, 1.9):
        burst = slice(round(start * rate), round((start + 0.08) * rate))
        out[burst] += 0.1 * rng.standard_normal(burst.stop - burst.start)
    out[[round(0.9 * rate), round(2.2 * rate)]] += 0.7
    return out.astype(np.float32)


def sine(hertz: float, rate: int, seconds: float = 1.0) -> NDArray[np.float32]:
    phase = 2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate
    return np.sin(phase).astype(np.float32)


def sound_of(audio: NDArray[np.float32], grid: FrameGrid) -> CleanAudio:
    return CleanAudio(torch.from_numpy(np.asarray(audio, np.float32))[None], grid)


def frames_of(values: Tensor, grid: FrameGrid) -> NDArray[np.float32]:
    """Undo `FrameGrid.join`: (1, steps, stride * n) to (n, frames)."""
    return values[0].reshape(values.shape[1] * grid.stride, -1).T.numpy()


def both(audio: NDArray[np.float32], target: Target, grid: FrameGrid) -> NDArray[np.float32]:
    """Return the target's frames that librosa has, too: those centred in the audio."""
    values = frames_of(target(sound_of(audio, grid)), grid)
    return values[:, : 1 + len(audio) // grid.hop]


def stft(audio: NDArray[np.float32], grid: FrameGrid, n_fft: int) -> NDArray[np.float32]:
    """Return magnitudes of librosa's frames, a full-scale sine being 1."""
    frames = np.abs(librosa.stft(audio, n_fft=n_fft, hop_length=grid.hop)) * 4 / n_fft
    return frames[:, : grid.stride * -(-len(audio) // (grid.hop * grid.stride))]


def correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def log(power: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.log10(1 + power / banks.KNEE)


@pytest.mark.parametrize("name", TARGETS)
def test_shapes_bounds_and_independence(name: str, grid: FrameGrid) -> None:
    target = TARGETS[name](grid).eval()
    assert not list(target.parameters())
    assert not target.state_dict()
    noise = torch.rand(3, 9999, generator=torch.Generator().manual_seed(0)) * 2 - 1
    noise[1] = 0
    for audio in (noise, noise[:, :1], torch.ones(2, 4000), 1e-30 * noise):
        sound = CleanAudio(audio, grid)
        values = target(sound)
        assert values.dtype == torch.float32
        assert values.shape == (len(audio), sound.frames // grid.stride // target.pool, target.size)
        assert values.isfinite().all()
        assert values.abs().max() < 100
        alone = target(CleanAudio(audio[1:2], grid))
        torch.testing.assert_close(values[1:2], alone, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"waveform"}))  # levelled by the excerpt
def test_nothing_is_heard_beyond_reach(name: str, grid: FrameGrid) -> None:
    target = TARGETS[name](grid)
    audio = torch.from_numpy(music(grid.sample_rate))[None] * 0.5
    hop, middle = grid.hop * grid.stride, audio.shape[1] // (grid.hop * grid.stride) // 2
    far = round(target.reach * grid.sample_rate)
    changed = audio.clone()
    changed[:, middle * hop + far + 1 :] = 0.3
    changed[:, : max(middle * hop - far, 0)] = -0.3
    a, b = target(CleanAudio(audio, grid))[:, middle], target(CleanAudio(changed, grid))[:, middle]
    if name == "prosody":  # F0 is interpolated through unvoiced frames
        a, b = a[:, 1:], b[:, 1:]
    torch.testing.assert_close(a, b, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(
    "name",
    sorted(set(TARGETS) - {"waveform", "prosody", "context", "contrast"}),  # a click has none
)
def test_a_click_is_heard_where_it_is(name: str, grid: FrameGrid) -> None:
    target, hop = TARGETS[name](grid), grid.hop * grid.stride
    audio = np.zeros(41 * hop, np.float32)
    audio[20 * hop] = 1
    values = target(sound_of(audio, grid))[0]
    change = (values - values[0]).abs().amax(dim=1)
    heard = (change > 1e-3).nonzero().ravel()
    assert change[20] >= 0.8 * change.max()
    assert abs((heard[0] + heard[-1]).item() / 2 - 20) <= 1
    assert (heard[-1] - 20) * hop <= target.reach * grid.sample_rate + hop


@pytest.mark.parametrize(("n_mels", "n_fft"), [(64, 1024), (128, 4096)])
def test_mel_is_librosas(n_mels: int, n_fft: int, grid: FrameGrid) -> None:
    audio = music(grid.sample_rate)
    ours = both(audio, spectral.LogMel(grid, n_mels, n_fft), grid)
    theirs = (
        librosa.feature.melspectrogram(
            y=audio,
            sr=grid.sample_rate,
            n_fft=n_fft,
            hop_length=grid.hop,
            n_mels=n_mels,
            norm=None,
        )[:, : ours.shape[1]]
        * (4 / n_fft) ** 2
    )
    power = (10 ** ours.astype(np.float64) - 1) * banks.KNEE
    np.testing.assert_allclose(power, theirs, rtol=2e-4, atol=1e-12)


def test_mel_bands_narrower_than_bins_are_refused(grid: FrameGrid) -> None:
    with pytest.raises(ConfigError, match="fewer bands or a longer transform"):
        spectral.LogMel(grid, n_mels=256, n_fft=512)


def test_whole_lps_is_librosas_spectrum(grid: FrameGrid) -> None:
    audio = music(grid.sample_rate)
    ours = both(audio, spectral.Lps(grid, n_fft=2048, bands=0), grid)
    theirs = log(stft(audio, grid, 2048) ** 2)
    assert ours.shape[0] == 1025
    np.testing.assert_allclose(ours, theirs[:, : ours.shape[1]], atol=1e-3)


def test_grouped_lps_is_the_mean_of_its_bins(grid: FrameGrid) -> None:
    audio = music(grid.sample_rate)
    target = spectral.Lps(grid, n_fft=1024, bands=100, whole_below=400.0)
    ours = both(audio, target, grid)
    power = stft(audio, grid, 1024)[:, : ours.shape[1]] ** 2
    alone = int((librosa.fft_frequencies(sr=grid.sample_rate, n_fft=1024) < 400).sum())
    size = -(-(513 - alone) // (100 - alone))
    above = [power[i : i + size].mean(axis=0) for i in range(alone, 513, size)]
    theirs = log(np.concatenate([power[:alone], np.stack(above)]))
    assert ours.shape == theirs.shape
    assert len(ours) <= 100
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    with pytest.raises(ConfigError, match="bins lie below whole_below"):
        spectral.Lps(grid, n_fft=4096, bands=64)


@pytest.mark.parametrize(("n_mels", "n_fft"), [(64, 1024), (128, 4096)])
def test_mfcc_and_its_slopes_are_librosas(n_mels: int, n_fft: int, grid: FrameGrid) -> None:
    audio = music(grid.sample_rate)
    sound = sound_of(audio, grid)
    mel = frames_of(spectral.LogMel(grid, n_mels, n_fft)(sound), grid)
    ours = frames_of(spectral.Mfcc(grid, 20, 2, n_mels, n_fft)(sound), grid)
    static = librosa.feature.mfcc(S=mel, n_mfcc=20)
    slopes = [librosa.feature.delta(static, order=order, mode="nearest") for order in (1, 2)]
    np.testing.assert_allclose(ours, np.concatenate([static, *slopes]), atol=1e-4)


def test_mfcc_follows_librosas_defaults(grid: FrameGrid) -> None:
    """They differ: librosa levels bands by width, and floors 80 dB below the excerpt's peak."""
    audio = music(grid.sample_rate)
    ours = both(audio, spectral.Mfcc(grid, 20, 0), grid)
    theirs = librosa.feature.mfcc(
        y=audio, sr=grid.sample_rate, n_mfcc=20, n_mels=64, n_fft=1024, hop_length=grid.hop
    )[:, : ours.shape[1]]
    each = [correlation(a, b) for a, b in zip(ours, theirs, strict=True)]
    assert np.median(each) > 0.93
    assert min(each) > 0.7


def test_slopes_of_a_parabola() -> None:
    t = torch.arange(30.0)
    values = (0.5 * t**2 - 3 * t)[None, :, None].repeat(2, 1, 3)
    inner = slice(4, -4)
    torch.testing.assert_close(spectral.slope(values, 1)[0, inner, 1], t[inner] - 3)
    torch.testing.assert_close(spectral.slope(values, 2)[1, inner, 2], torch.ones(22))


@pytest.mark.parametrize("kind", [spectral.LogMel, spectral.Lps, spectral.Gammatone])
def test_once_is_the_first_frame_of_each_step(kind: type[Target], grid: FrameGrid) -> None:
    sound = sound_of(music(grid.sample_rate), grid)
    all_frames, target = kind(grid)(sound), kind(grid, once=True)
    assert target.size * grid.stride == all_frames.shape[2]
    torch.testing.assert_close(target(sound), all_frames[..., : target.size])


def test_gammatone_responses_are_scipys(grid: FrameGrid) -> None:
    filters = banks.gammatone_filters(grid.sample_rate, 4096, 32, 80.0)
    rate = 21.4 * np.log10(1 + 4.37e-3 * np.array([80, grid.sample_rate / 2]))
    centres = (10 ** (np.linspace(*rate, 34)[1:-1] / 21.4) - 1) / 4.37e-3
    for band in (1, 8, 16, 24):
        taps, _ = scipy.signal.gammatone(
            centres[band], "fir", numtaps=grid.sample_rate // 4, fs=grid.sample_rate
        )
        bins = librosa.fft_frequencies(sr=grid.sample_rate, n_fft=4096)
        power = np.abs(scipy.signal.freqz(taps, worN=bins, fs=grid.sample_rate)[1]) ** 2
        ours = filters[band].numpy()
        near = ours > 1e-3
        np.testing.assert_allclose(
            10 * np.log10(ours[near]), 10 * np.log10(power[near] / power.max()), atol=0.3
        )


def test_gammatone_bands_are_filtered_power(grid: FrameGrid) -> None:
    audio = music(grid.sample_rate)
    power = stft(audio, grid, 1024) ** 2
    filters = banks.gammatone_filters(grid.sample_rate, 1024, 64, 50.0).numpy()
    ours = both(audio, spectral.Gammatone(grid), grid)
    np.testing.assert_allclose(ours, log(filters @ power)[:, : ours.shape[1]], atol=1e-3)


@pytest.mark.parametrize("weighting", prosody.WEIGHTINGS)
def test_weighting_curves(weighting: str) -> None:
    hertz = torch.linspace(20, 10_000, 500, dtype=torch.float64)
    gain = 10 * prosody.WEIGHTINGS[weighting](hertz).log10()
    if weighting == "A":
        np.testing.assert_allclose(gain, librosa.A_weighting(hertz.numpy()), atol=0.01)
        table = {10**1.5: -39.4, 100: -19.1, 1000: 0.0, 10**3.3: 1.2, 10**3.9: -1.1}  # IEC 61672-1
        places = torch.tensor([0.0, *table], dtype=torch.float64)
        gain = 10 * prosody.WEIGHTINGS[weighting](places).log10()
        assert gain[0].isneginf()
        np.testing.assert_allclose(gain[1:], list(table.values()), atol=0.06)
    else:  # BS.1770: a sine of 997 Hz at 0 dBFS is -3.01 LUFS, with the constant of -0.691 dB
        at_997 = prosody.WEIGHTINGS[weighting](torch.tensor([997.0], dtype=torch.float64))
        assert 10 * at_997.log10().item() == pytest.approx(0.691, abs=0.005)
        assert gain[-1].item() == pytest.approx(4.0, abs=0.1)
        assert gain[0] < -10


@pytest.mark.parametrize("weighting", prosody.WEIGHTINGS)
def test_loudness_of_tones(weighting: str, grid: FrameGrid) -> None:
    for hertz in (200.0, 1000.0, 5000.0):
        audio = 0.1 * sine(hertz, grid.sample_rate)
        ours = both(audio, prosody.Loudness(grid, weighting), grid)[0]
        gain = prosody.WEIGHTINGS[weighting](torch.tensor([hertz], dtype=torch.float64)).item()
        inner = ours[len(ours) // 4 : -len(ours) // 4]
        np.testing.assert_allclose(inner, np.log10(0.005 * gain / banks.KNEE), atol=0.02)


def test_energy_and_zero_crossings_are_librosas(grid: FrameGrid) -> None:
    audio = music(grid.sample_rate)
    values = prosody.Prosody(grid)(sound_of(audio, grid))[0, :, 2:]
    energy, changes = (x.flatten().numpy() for x in values.tensor_split(2, dim=1))
    size, n = 2 * grid.hop, 1 + len(audio) // grid.hop
    rms = librosa.feature.rms(y=audio, frame_length=size, hop_length=grid.hop)[0]
    np.testing.assert_allclose(energy[:n], log(rms[: len(energy)] ** 2), atol=1e-3)
    rate = librosa.feature.zero_crossing_rate(audio, frame_length=size, hop_length=grid.hop)[0]
    np.testing.assert_allclose(changes[:n], rate[: len(changes)], atol=1e-6)


def melody(
    audio: NDArray[np.float32], grid: FrameGrid
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return F0 in Hz and voicing of each encoder frame."""
    octaves, voiced = prosody.Prosody(grid)(sound_of(audio, grid))[0, :, :2].T.numpy()
    return np.asarray(2**octaves * np.sqrt(60 * 1000)), voiced == 1


@pytest.mark.parametrize(
    ("hertz", "partials"),
    [
        (hertz, partials)
        for partials in ((1.0,), (1.0, 0.7, 0.5, 0.4, 0.3), (0.0, 0.5, 1.0, 0.5))
        for hertz in (65.0, 110.0, 196.3, 440.0, 700.0, 950.0)
        if partials[0] or hertz < 500  # without the fundamental, two partials below 1.5 kHz must be
    ],
)
def test_f0_of_steady_tones(hertz: float, partials: tuple[float, ...], grid: FrameGrid) -> None:
    rng = np.random.default_rng(0)
    audio = 0.01 * rng.standard_normal(grid.sample_rate).astype(np.float32)
    for k, amplitude in enumerate(partials, 1):
        audio += 0.2 * amplitude * sine(k * hertz, grid.sample_rate)
    f0, voiced = melody(audio, grid)
    assert voiced.mean() > 0.95
    cents = 1200 * np.log2(f0 / hertz)[voiced]
    assert np.median(np.abs(cents)) < 15
    assert np.mean(np.abs(cents) < 50) > 0.9


@pytest.mark.parametrize("colour", ["white", "low"])
def test_noise_and_silence_are_unvoiced(colour: str, grid: FrameGrid) -> None:
    audio = 0.3 * np.random.default_rng(0).standard_normal(4 * grid.sample_rate)
    if colour == "low":
        audio = scipy.signal.lfilter([0.02], [1, -0.98], audio) * 5
    assert melody(audio.astype(np.float32), grid)[1].mean() < 0.05
    silent = prosody.Prosody(grid)(CleanAudio(torch.zeros(2, 9999), grid))
    assert (silent == 0).all()


def test_f0_follows_a_glide_as_pyin_does(grid: FrameGrid) -> None:
    rate, seconds = grid.sample_rate, 1.2
    t = np.arange(round(seconds * rate)) / rate
    octaves = t / seconds
    phase = 2 * np.pi * 150 * seconds / np.log(2) * 2**octaves
    audio = sum(0.3 / k * np.sin(k * phase) for k in range(1, 5)).astype(np.float32)
    f0, heard = melody(audio, grid)
    every = 4 // grid.stride
    hop = every * grid.stride * grid.hop
    pyin, voiced, _ = librosa.pyin(
        audio,
        fmin=100,
        fmax=450,
        sr=rate,
        frame_length=2048,
        hop_length=hop,
        resolution=0.2,
        max_transition_rate=15,
    )
    n = min(len(pyin), len(f0[::every]))
    sure = voiced[:n] & heard[::every][:n]
    assert sure.mean() > 0.85
    cents = 1200 * np.abs(np.log2(f0[::every][:n][sure] / pyin[:n][sure]))
    assert np.median(cents) < 25
    assert np.quantile(cents, 0.9) < 50


def test_f0_is_interpolated_through_unvoiced_frames() -> None:
    values = torch.tensor([[9.0, 1.0, 9.0, 9.0, 4.0, 9.0], [9.0] * 6])
    voiced = torch.tensor([[0, 1, 0, 0, 1, 0], [0] * 6]).bool()
    expected = torch.tensor([[1.0, 1.0, 2.0, 3.0, 4.0, 4.0], [0.0] * 6])
    torch.testing.assert_close(prosody.through_unvoiced(values, voiced), expected)


def test_f0_beyond_what_the_window_resolves_is_refused(grid: FrameGrid) -> None:
    with pytest.raises(ConfigError, match="cannot be measured in 1024 samples"):
        prosody.Prosody(grid, n_fft=1024)


def test_shape_is_librosas(grid: FrameGrid) -> None:
    audio = music(grid.sample_rate)
    ours = both(audio, timbre.Shape(grid), grid)
    magnitude = stft(audio, grid, 1024)[:, : ours.shape[1]]
    heard = magnitude.sum(axis=0) / (magnitude.sum(axis=0) + timbre.QUIET)
    for row, measure in enumerate(
        (
            librosa.feature.spectral_centroid,
            librosa.feature.spectral_bandwidth,
            librosa.feature.spectral_rolloff,
        )
    ):
        theirs = np.log1p(measure(S=magnitude, sr=grid.sample_rate, n_fft=1024)[0] * heard / 700)
        np.testing.assert_allclose(ours[row], theirs, atol=5e-3)
    flatness = librosa.feature.spectral_flatness(S=magnitude, amin=banks.KNEE)[0]
    np.testing.assert_allclose(ours[3], np.log10(flatness), atol=1e-3)
    rate = librosa.feature.zero_crossing_rate(
        audio, frame_length=2 * grid.hop, hop_length=grid.hop
    )[0]
    np.testing.assert_allclose(ours[4], rate[: ours.shape[1]], atol=1e-6)


@pytest.mark.parametrize("n_fft", [1024, 2048])
def test_contrast_follows_librosas(n_fft: int, grid: FrameGrid) -> None:
    audio = music(grid.sample_rate)
    ours = both(audio, timbre.Contrast(grid, n_fft), grid)
    magnitude = np.maximum(stft(audio, grid, n_fft)[:, : ours.shape[1]], banks.KNEE**0.5)
    theirs = librosa.feature.spectral_contrast(S=magnitude, sr=grid.sample_rate, n_fft=n_fft) / 5
    assert ours.shape == theirs.shape
    for row in range(len(ours)):
        assert correlation(ours[row], theirs[row]) > 0.98
    assert np.abs(ours - theirs).mean() < 0.1  # decades of power


@pytest.mark.parametrize("groups", [1, 2, 3, 7])
def test_extremes_are_those_of_interleaved_groups(groups: int) -> None:
    values = torch.rand(2, 5, 23, generator=torch.Generator().manual_seed(0))
    expected = torch.stack([values[..., i::groups].amax(dim=-1) for i in range(groups)], dim=-1)
    assert (timbre._extremes(values, groups, largest=True) == expected).all()


@pytest.mark.parametrize("shape", [(2, 40, 20), (1, 1, 3), (1, 7, 64)])
@pytest.mark.parametrize("spacing", [1, 3])
def test_median_is_scipys(shape: tuple[int, int, int], spacing: int) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    taps = np.zeros((1, 1, (timbre.TAPS - 1) * spacing + 1), bool)
    taps[..., ::spacing] = True
    along = scipy.ndimage.median_filter(values.numpy(), footprint=taps, mode="reflect")
    assert (timbre.median(values, 2, spacing).numpy() == along).all()
    across = scipy.ndimage.median_filter(
        values.numpy(), footprint=taps.transpose(0, 2, 1), mode="reflect"
    )
    assert (timbre.median(values, 1, spacing).numpy() == across).all()


def test_harmonic_and_percussive_parts_are_librosas() -> None:
    grid = GRIDS["music"]
    target, sound = timbre.HarmonicPercussive(grid), sound_of(music(grid.sample_rate), grid)
    steady, sudden = target.split(sound)
    power = target.bank.power(sound)[0].reshape(-1, 2, 64).mean(dim=1).T.numpy()
    theirs = librosa.decompose.hpss(np.sqrt(power), kernel_size=timbre.TAPS)
    for ours, part in zip((steady, sudden), theirs, strict=True):
        np.testing.assert_allclose(ours[0].T, part**2, rtol=1e-3, atol=1e-9)


def test_chords_are_harmonic_and_clicks_percussive(grid: FrameGrid) -> None:
    target = timbre.HarmonicPercussive(grid, bands=1)
    tone = 0.1 * sine(440.0, grid.sample_rate, 2.0)
    click = np.zeros_like(tone)
    click[len(click) // 2] = 1
    middle = len(click) // 2 // (grid.hop * grid.stride)
    steady, sudden = target(sound_of(tone, grid))[0, middle]
    assert steady > sudden + 1
    steady, sudden = target(sound_of(click, grid))[0, middle]
    assert sudden > steady + 1


def test_waveform_is_cut_around_frames_and_levelled(grid: FrameGrid) -> None:
    hop = grid.hop * grid.stride
    audio = music(grid.sample_rate)
    values = spectral.Waveform(grid)(sound_of(audio, grid))[0]
    level = np.sqrt(np.mean(audio**2))
    middle = audio[5 * hop - hop // 2 :][:hop]
    np.testing.assert_allclose(values[5].numpy() * level, middle, atol=1e-6)
    np.testing.assert_allclose(values[1:-1].square().mean().item(), 1, atol=0.2)


def test_context_is_padded_and_feature_major(grid: FrameGrid) -> None:
    audio = music(grid.sample_rate)
    target = spectral.Mfcc(grid)
    plain = target(sound_of(audio, grid))
    wide = spectral.Context(grid, target, 5)(sound_of(audio, grid))
    steps = plain.shape[1]
    wide = wide.reshape(1, steps, target.size, 5)
    for offset in range(5):
        for step in (0, 1, 10, steps - 1):
            source = step + offset - 2
            expected = plain[0, source] if 0 <= source < steps else torch.zeros(target.size)
            torch.testing.assert_close(wide[0, step, :, offset], expected)
    with pytest.raises(ConfigError, match="odd and positive"):
        spectral.Context(grid, target, 4)
