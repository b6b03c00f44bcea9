"""Parts of files: what comes before them is not decoded where the rest is the same without."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from musicssl.audio import open_source

RATES = (22_050, 44_100, 48_000, 16_000, 44_101)


class Counting(io.BytesIO):
    """A file in memory that counts the bytes that are read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def encoded(seconds: float, rate: int, format: str, subtype: str | None = None) -> bytes:
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, (round(seconds * rate), 2))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, subtype=subtype)
    return file.getvalue()


def heard(audio: Any, start: int, sr: int | None = None, **choices: Any) -> tuple[np.ndarray, int]:
    """Return what is heard after skipping towards `start`, and where that begins."""
    with open_source(audio, sr, sample_rate=22_050, **choices) as source:
        at = source.skip(start)
        return np.concatenate(list(source.blocks())), at


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("AIFF", "PCM_24"), ("FLAC", "PCM_16"), ("AU", "ULAW")],
)
@pytest.mark.parametrize("rate", [22_050, 48_000])
def test_a_seek_gives_the_very_same(format: str, subtype: str, rate: int) -> None:
    data = encoded(6.0, rate, format, subtype)
    whole, _ = heard(io.BytesIO(data), 0)
    file, start = Counting(data), round(4.2 * 22_050)
    rest, at = heard(file, start)
    assert 0 < at <= start
    np.testing.assert_allclose(rest[start - at :], whole[start:], atol=1e-6)
    assert len(rest) == len(whole) - at
    if format != "FLAC":  # which is read through, but not decoded, to see where it ends
        assert file.taken < 0.7 * len(data)


@pytest.mark.parametrize(
    ("resampler", "rate"),
    [*(("soxr", rate) for rate in RATES), ("torchaudio", 44_100)],
)
def test_resamplers_do_not_hear_what_was_skipped(resampler: str, rate: int) -> None:
    if resampler != "soxr":
        pytest.importorskip(resampler)
    samples = np.random.default_rng(0).uniform(-0.3, 0.3, 4 * rate).astype(np.float32)
    whole, _ = heard(samples, 0, rate, resampler=resampler)
    rest, at = heard(samples, 22_050 * 3, rate, resampler=resampler)
    assert at >= 22_050
    np.testing.assert_allclose(rest[66_150 - at :], whole[66_150:], atol=1e-6)


@pytest.mark.parametrize(
    ("format", "subtype"), [("OGG", "VORBIS"), ("MP3", None), ("WAV", "MS_ADPCM")]
)
def test_what_cannot_be_sought_exactly_is_decoded(format: str, subtype: str | None) -> None:
    data = encoded(4.0, 22_050, format, subtype)
    whole, _ = heard(io.BytesIO(data), 0)
    rest, at = heard(io.BytesIO(data), 66_150)
    assert at == 0
    np.testing.assert_array_equal(rest, whole)


def test_beyond_the_end_nothing_is_skipped() -> None:
    for format in ("WAV", "FLAC"):
        rest, at = heard(io.BytesIO(encoded(1.0, 22_050, format)), 22_050)
        assert (len(rest), at) == (22_050, 0)


def test_joined_flacs_are_heard_to_the_end() -> None:
    data = encoded(3.0, 22_050, "FLAC")
    rest, at = heard(io.BytesIO(data + data), 44_100)
    assert at == 44_100 and len(rest) == 88_200
    one, _ = heard(io.BytesIO(data), 0)
    np.testing.assert_allclose(rest, np.concatenate([one, one])[44_100:], atol=1e-6)


def test_a_header_that_says_too_little_ends_nothing() -> None:
    data = bytearray(encoded(6.0, 22_050, "FLAC"))
    data[22:26] = (3 * 22_050).to_bytes(4, "big")  # of the total, the lower 32 of 36 bits
    whole, _ = heard(io.BytesIO(bytes(data)), 0)
    rest, at = heard(io.BytesIO(bytes(data)), 44_100)
    assert (len(whole), at) == (6 * 22_050, 0)
    np.testing.assert_array_equal(rest, whole)


def test_a_damaged_flac_is_heard_as_far_as_it_goes(tmp_path: Path) -> None:
    data = bytearray(encoded(6.0, 22_050, "FLAC"))
    data[len(data) * 3 // 4 :][:5000] = bytes(5000)
    rest, at = heard(io.BytesIO(bytes(data)), 44_100)
    assert at in (0, 44_100) and np.isfinite(rest).all()
    assert len(rest) + at >= 4 * 22_050


def test_not_a_number_is_named_by_its_place_in_the_file() -> None:
    samples = np.zeros(4 * 22_050, np.float32)
    samples[3 * 22_050] = np.nan
    with pytest.raises(ValueError, match=r"the first at 3\.000000 s"):
        heard(samples, 44_100, 22_050)
