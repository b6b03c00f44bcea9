"""The table in docs/behaviour.md, row by row."""

import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import torch

from musicssl.errors import AudioError
from musicssl.model import MusicEncoder

RATE = 22_050
TABLE = Path(__file__).parent.parent / "docs" / "behaviour.md"


def tone(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    n = max(1, round(seconds * rate))
    return (0.3 * np.sin(2 * np.pi * 440 * np.arange(n) / rate)).astype(np.float32)


def finite(result: Any) -> None:
    assert np.isfinite(np.asarray(result)).all()


# Every entry stands as a row of the table in the documentation, by its name.
ROWS: dict[str, Callable[[MusicEncoder, Path], None]] = {}
SAID = {  # in the log
    "truncated file": ["only its first"],
    "damaged spot": ["skipped"],
    "channels in opposite phase": ["opposite phase"],
}


def row(name: str) -> Callable[[Callable[[MusicEncoder, Path], None]], None]:
    def keep(check: Callable[[MusicEncoder, Path], None]) -> None:
        ROWS[name] = check

    return keep


@row("empty")
def _(model: MusicEncoder, folder: Path) -> None:
    with pytest.raises(AudioError, match="empty"):
        model.embed(np.zeros(0, np.float32), RATE)
    sf.write(folder / "empty.wav", np.zeros(0), RATE)
    with pytest.raises(AudioError, match=r"empty\.wav"):
        model.embed(folder / "empty.wav")


@row("shorter than one frame")
def _(model: MusicEncoder, folder: Path) -> None:
    values, times = model.embed(tone(0.0001), RATE, level="frame")
    assert values.shape == (1, model.dim)
    assert times.tolist() == [0.0]
    finite(values)


@row("shorter than the context")
def _(model: MusicEncoder, folder: Path) -> None:
    clip = tone(0.5)
    alone, padded = model.embed(clip, RATE), model.embed([clip, tone(9)], RATE)[0]
    np.testing.assert_allclose(alone, padded, atol=1e-5)
    finite(alone)


@row("silence")
def _(model: MusicEncoder, folder: Path) -> None:
    finite(model.embed(np.zeros(RATE, np.float32), RATE))


@row("NaN or infinity")
def _(model: MusicEncoder, folder: Path) -> None:
    for bad in (np.nan, np.inf, -np.inf):
        clip = tone()
        clip[11_025:11_030] = bad
        with pytest.raises(AudioError, match=r"5 of .* are NaN or infinite, the first at 0\.5"):
            model.embed(clip, RATE)


@row("constant (DC)")
def _(model: MusicEncoder, folder: Path) -> None:
    finite(model.embed(np.ones(RATE, np.float32), RATE))


@row("clipped, or peaks above 1")
def _(model: MusicEncoder, folder: Path) -> None:
    finite(model.embed(10 * tone(), RATE))
    finite(model.embed(np.clip(10 * tone(), -1, 1), RATE))


@row("integers stored as floats")
def _(model: MusicEncoder, folder: Path) -> None:
    with pytest.raises(AudioError, match="divide by 32768"):
        model.embed(tone() * 32_767, RATE)


@row("integer samples")
def _(model: MusicEncoder, folder: Path) -> None:
    expected = model.embed(tone(), RATE)
    as_int16 = (tone() * 32_768).astype(np.int16)
    as_int32 = (tone().astype(np.float64) * 2**31).astype(np.int32)
    for clip in (as_int16, as_int32):
        np.testing.assert_allclose(model.embed(clip, RATE), expected, atol=5e-3)
    finite(model.embed((tone() * 127 + 128).astype(np.uint8), RATE))
    with pytest.raises(AudioError, match="bool"):
        model.embed(tone() > 0, RATE)


@row("masked samples")
def _(model: MusicEncoder, folder: Path) -> None:
    loud = tone()
    loud[100:200] = 50
    masked = np.ma.masked_array(loud, loud > 1)
    with pytest.raises(AudioError, match=r"some samples are masked.*filled\(0\)"):
        model.embed(masked, RATE)
    silent = np.where(loud > 1, 0, loud)
    assert np.array_equal(model.embed(masked.filled(0), RATE), model.embed(silent, RATE))
    unmasked = model.embed(np.ma.masked_array(tone(), False), RATE)
    assert np.array_equal(unmasked, model.embed(tone(), RATE))


@row("tensors without values, quantized, nested, sparse, complex or float8")
def _(model: MusicEncoder, folder: Path) -> None:
    real = torch.from_numpy(tone())
    with warnings.catch_warnings():  # that some are on their way out of torch
        warnings.simplefilter("ignore", UserWarning)
        odd = {
            "meta": real.to("meta"),
            "quantized": torch.quantize_per_tensor(real, 0.1, 0, torch.qint8),
            "nested": torch.nested.nested_tensor([real, real[:100]]),
            "sparse": real.to_sparse(),
            "complex64": real.to(torch.complex64).conj(),
            "float8_e4m3fn": real.to(torch.float8_e4m3fn),
        }
    for kind, sound in odd.items():
        with pytest.raises(AudioError, match=kind):
            model.embed(sound, RATE)
    negated = torch.complex(real, -real).conj().imag  # a view with its sign pending
    assert torch.equal(model.embed(negated, RATE), model.embed(real, RATE))


@row("1 kHz to 1 MHz")
def _(model: MusicEncoder, folder: Path) -> None:
    for rate in (1_000, 8_000, 44_100, 192_000, 1_000_000):
        values, _ = model.embed(tone(0.5, rate), rate, level="frame")
        assert len(values) == 13  # 0.5 s at 25 Hz
        finite(values)


@row("other rates")
def _(model: MusicEncoder, folder: Path) -> None:
    for rate, message in ((1, "expected 1,000"), (44.1, "Is that kHz"), (2e6, "1,000,000 Hz")):
        with pytest.raises(AudioError, match=message):
            model.embed(tone(), rate)
    with pytest.raises(AudioError, match="sr"):
        model.embed(tone())


@row("1 to 8 channels")
def _(model: MusicEncoder, folder: Path) -> None:
    expected = model.embed(tone(), RATE)
    for channels in (1, 2, 8):
        many = np.tile(tone(), (channels, 1))
        np.testing.assert_allclose(model.embed(many, RATE), expected, atol=1e-4)
        along_last = model.embed(many.T, RATE, channel_axis=-1)
        np.testing.assert_allclose(along_last, expected, atol=1e-4)


@row("9 to 64 channels")
def _(model: MusicEncoder, folder: Path) -> None:
    expected = model.embed(tone(), RATE)
    for channels in (9, 64):
        many = np.tile(tone(), (channels, 1))
        for sound in (many, torch.from_numpy(many)):
            with pytest.raises(AudioError, match=r"several sounds, pass list\(audio\)"):
                model.embed(sound, RATE)
        np.testing.assert_allclose(model.embed(many, RATE, channel_axis=0), expected, atol=1e-4)
        along_last = model.embed(many.T, RATE, channel_axis=1)
        np.testing.assert_allclose(along_last, expected, atol=1e-4)
    sf.write(folder / "many.wav", np.tile(tone(), (9, 1)).T, RATE)  # a file says what it holds
    np.testing.assert_allclose(model.embed(folder / "many.wav"), expected, atol=1e-3)


@row("0 channels, more than 64, transposed")
def _(model: MusicEncoder, folder: Path) -> None:
    with pytest.raises(AudioError, match="channels"):
        model.embed(np.zeros((0, 100), np.float32), RATE)
    with pytest.raises(AudioError, match="65 channels; expected 1 to 64"):
        model.embed(np.zeros((65, 100), np.float32), RATE, channel_axis=0)
    with pytest.raises(AudioError, match="channel_axis"):
        model.embed(np.tile(tone(), (2, 1)).T, RATE)


@row("truncated file")
def _(model: MusicEncoder, folder: Path) -> None:
    sf.write(folder / "whole.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 5 * RATE), RATE)
    data = (folder / "whole.flac").read_bytes()
    (folder / "cut.flac").write_bytes(data[: len(data) // 2])
    values, times = model.embed(folder / "cut.flac", level="frame")
    assert 1 < times[-1] < 3
    finite(values)


@row("damaged spot")
def _(model: MusicEncoder, folder: Path) -> None:
    sf.write(folder / "a.flac", np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE), RATE)
    data = bytearray((folder / "a.flac").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    (folder / "a.flac").write_bytes(data)
    _, times = model.embed(folder / "a.flac", level="frame")
    assert 9 < times[-1] <= 10


@row("joined files")
def _(model: MusicEncoder, folder: Path) -> None:
    for name, rate in (("a.ogg", RATE), ("b.ogg", 44_100)):
        sf.write(folder / name, tone(2, rate), rate, format="OGG")
    joined = (folder / "a.ogg").read_bytes() + (folder / "b.ogg").read_bytes()
    (folder / "joined.ogg").write_bytes(joined)
    values, times = model.embed(folder / "joined.ogg", level="frame")
    assert times[-1] == pytest.approx(4, abs=0.1)
    np.testing.assert_allclose(values[20:30], values[70:80], atol=0.05)


@row("file or file object that fails while it is read")
def _(model: MusicEncoder, folder: Path) -> None:
    class Share(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 200_000:
                raise TimeoutError("the share is gone")
            return super().read(size)

    buffer = io.BytesIO()
    sf.write(buffer, tone(20), RATE, format="WAV")
    with pytest.raises(AudioError, match="the share is gone"):
        model.embed(Share(buffer.getvalue()))


@row("channels in opposite phase")
def _(model: MusicEncoder, folder: Path) -> None:
    opposite = np.stack([tone(), -tone()])
    finite(model.embed(opposite, RATE))
    left = model.embed(opposite, RATE, mono="left")
    np.testing.assert_allclose(left, model.embed(tone(), RATE), atol=1e-5)
    np.testing.assert_allclose(
        model.embed(opposite, RATE, mono="right"), model.embed(-tone(), RATE), atol=1e-5
    )


@row("renamed file")
def _(model: MusicEncoder, folder: Path) -> None:
    sf.write(folder / "a.wav", tone(), RATE)
    (folder / "a.wav").rename(folder / "a.mp3")
    np.testing.assert_allclose(model.embed(folder / "a.mp3"), model.embed(tone(), RATE), atol=1e-3)


@row("not audio")
def _(model: MusicEncoder, folder: Path) -> None:
    (folder / "text.mp3").write_text("not a song\n" * 200)
    with pytest.raises(AudioError, match=r"text\.mp3"):
        model.embed(folder / "text.mp3")


@row("no such file, or unreadable")
def _(model: MusicEncoder, folder: Path) -> None:
    with pytest.raises(AudioError, match=r"gone\.wav"):
        model.embed(folder / "gone.wav")
    sf.write(folder / "locked.wav", tone(), RATE)
    (folder / "locked.wav").chmod(0)
    if not os.access(folder / "locked.wav", os.R_OK):  # root may read everything
        with pytest.raises(AudioError, match=r"locked\.wav"):
            model.embed(folder / "locked.wav")


@row("directory given as a file")
def _(model: MusicEncoder, folder: Path) -> None:
    with pytest.raises(AudioError, match="directory"):
        model.embed(folder)


@row("file object")
def _(model: MusicEncoder, folder: Path) -> None:
    buffer = io.BytesIO()
    sf.write(buffer, tone(), RATE, format="FLAC")
    buffer.seek(0)
    np.testing.assert_allclose(model.embed(buffer), model.embed(tone(), RATE), atol=1e-3)
    assert not buffer.closed


@row("one bad item in a list")
def _(model: MusicEncoder, folder: Path) -> None:
    with pytest.raises(AudioError, match=r"audio\[1\]: .*NaN"):
        model.embed([tone(), np.full(100, np.nan, np.float32)], RATE)


@row("tensors")
def _(model: MusicEncoder, folder: Path) -> None:
    out = model.embed(torch.from_numpy(tone()), RATE)
    assert isinstance(out, torch.Tensor)
    np.testing.assert_allclose(out.numpy(), model.embed(tone(), RATE), atol=1e-6)
    values, times = model.embed(torch.from_numpy(tone()), RATE, level="frame")
    assert isinstance(values, torch.Tensor)
    assert isinstance(times, torch.Tensor)


@row("mixed lists")
def _(model: MusicEncoder, folder: Path) -> None:
    sf.write(folder / "c.wav", tone(), RATE)
    out = model.embed([tone(), torch.from_numpy(tone()), folder / "c.wav"], RATE)
    assert isinstance(out, np.ndarray)
    assert out.shape == (3, model.clip_dim)
    two = model.embed([tone(), tone(1, 44_100)], [RATE, 44_100])
    np.testing.assert_allclose(two[0], two[1], atol=0.05)
    with pytest.raises(AudioError, match="1 sample rates for 2 sounds"):
        model.embed([tone(), tone()], [RATE])


@row("`sr` of a file")
def _(model: MusicEncoder, folder: Path) -> None:
    sf.write(folder / "a.wav", tone(), RATE)
    expected = model.embed(folder / "a.wav")
    assert np.array_equal(model.embed(folder / "a.wav", RATE), expected)
    assert np.array_equal(model.embed([folder / "a.wav"], [None]), [expected])
    for audio in (folder / "a.wav", [folder / "a.wav"]):
        with pytest.raises(AudioError, match="the file says 22050 Hz"):
            model.embed(audio, 44_100)


@row("samples and rate as a pair")
def _(model: MusicEncoder, folder: Path) -> None:
    expected = model.embed(tone(), RATE)
    assert np.array_equal(model.embed((tone(), RATE)), expected)
    both = model.embed([(tone(), RATE), tone()], [None, RATE])
    np.testing.assert_allclose(both, np.stack([expected, expected]), atol=1e-5)
    with pytest.raises(AudioError, match=r"22050.*44100|44100.*22050"):
        model.embed((tone(), RATE), 44_100)


@pytest.mark.parametrize("name", ROWS)
def test_row(
    name: str, model: MusicEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", "musicssl"):
        ROWS[name](model, tmp_path)
    for words in SAID.get(name, ()):
        assert words in caplog.text


def test_the_documentation_has_these_rows() -> None:
    text, _, _ = TABLE.read_text(encoding="utf-8").partition("## And in odd circumstances")
    lines = text.splitlines()
    documented = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert documented[1:] == list(ROWS)
