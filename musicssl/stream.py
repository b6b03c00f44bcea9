"""`Stream`: frame embeddings of audio that is still coming in."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicssl import arguments, forking
from musicssl.audio.arrays import MOST_UNSAID, open_array
from musicssl.audio.mix import MIXES, Mix
from musicssl.audio.opening import MOST_CHANNELS
from musicssl.audio.resample import RESAMPLERS
from musicssl.audio.source import Section, check_rate, check_samples
from musicssl.encoders import State
from musicssl.errors import AudioError, ConfigError, shown
from musicssl.inference.batching import compute
from musicssl.inference.chunking import Chunk, Cutter
from musicssl.inference.device import pick_device
from musicssl.inference.options import EmbedOptions
from musicssl.inference.precision import in_full_precision
from musicssl.inference.results import Embedding
from musicssl.inference.sounds import unwrap
from musicssl.kept import kept_model
from musicssl.model import MusicEncoder
from musicssl.network import Layer

MOST_SECONDS = 30.0  # encoded at once, besides context
PROBE_SAMPLES = 4096  # at the lower rate; a resampler holds back fewer

LONGEST_CHUNK = 600  # seconds


class Stream:
    """Frame embeddings of audio as it comes in: those that the whole would have.

    A frame hears the music around it, also what comes after it, so it is returned once that is
    there: see `lookahead`. Its context before is kept, so memory does not grow.

    Parameters
    ----------
    model
        A loaded model, or what `musicssl.load_model` takes.
    sr
        Hz, of all blocks.
    layer, dtype, resampler, mono
        As in `musicssl.get_embedding`.
    channel_axis
        Axis of the channels in blocks of two dimensions; None for (channels, samples) with up to
        8 channels.
    chunk_seconds
        Encode at least so many seconds of frames together. Each time, their context is encoded
        again: this, or longer blocks, make a stream cheaper, and this adds to `lookahead`. None
        for every frame as soon as it can be told.

    Raises
    ------
    AudioError
        If there is no such rate or axis.
    ConfigError
        If a choice does not exist here, or the model is in training mode.
    ModelError
        If the model cannot be loaded.

    Examples
    --------
    >>> import musicssl, numpy as np
    >>> stream = musicssl.Stream(musicssl.load_model(), 44_100)
    >>> for block in np.zeros((20, 22_050), np.float32):
    ...     values, times = stream.push(block)
    >>> values, times = stream.flush()
    """

    @arguments.strict
    def __init__(
        self,
        model: MusicEncoder | str | Path | None,
        sr: float,
        *,
        layer: Layer = None,
        dtype: str | torch.dtype = "auto",
        resampler: str = "soxr",
        channel_axis: int | None = None,
        mono: str = "mean",
        chunk_seconds: float | None = None,
    ) -> None:
        if not isinstance(model, MusicEncoder):
            model = kept_model(arguments.model_name(model), None, pick_device("auto"))
        if model.training:
            raise ConfigError(
                "the model is in training mode, where normalizations are over what is encoded "
                "together, and frames would depend on the blocks; call model.eval() first."
            )
        seconds = _checked_chunk(chunk_seconds, model)
        options = EmbedOptions(
            level="frame",
            layer=layer,
            dtype=dtype,
            resampler=resampler,
            channel_axis=channel_axis,
            mono=mono,
            chunk_seconds=seconds,
        )
        self.sr = check_rate(sr, "sr")
        self._settings = options.resolve(model)
        self._options = options
        self._model = in_full_precision(model)
        self._chunk = model.hop if seconds is None else round(seconds * self._rate)
        self._delay = self._resampler_delay()
        self._begin()

    @property
    def lookahead(self) -> float:
        """Seconds after which a frame is there, at most.

        A frame centered at `t` has been returned once the audio up to ``t + lookahead`` has been
        pushed: the encoder's context, the frames that are encoded together, and what the resampler
        holds back.
        """
        cutter = self._cutter
        return ((cutter.margin + cutter.step) * cutter.hop + 1) / self._rate + self._delay

    def push(self, block: Any, sr: float | None = None) -> Embedding:
        """Take the next samples, and return the frames that can now be told.

        Parameters
        ----------
        block
            An array or tensor, shape (samples,) or (channels, samples), of any length, also 0; in
            the types and scales of `musicssl.get_embedding`. All blocks have the same channels.
        sr
            Hz, to have it compared with that of the stream; also from blocks that bring a rate
            along, such as ``(samples, rate)``.

        Returns
        -------
        Embedding
            Values (frames, dim) and times (frames,) in seconds from the beginning of the stream;
            often of no frames. numpy arrays, float32.

        Raises
        ------
        AudioError
            If the block is no audio, has another rate or other channels than those before, or
            holds NaN, infinity or peaks that no audio has. The stream is then as it was.
        """
        samples, rate = unwrap(block, sr)
        if rate is not None and check_rate(rate, "sr") != self.sr:
            raise AudioError(
                f"the stream is at {self.sr:,} Hz, this block at {rate:,}; call flush(), and make "
                "another Stream for what follows."
            )
        parts = self._mono(samples)
        self._seconds += sum(map(len, parts)) / self.sr
        return self._encoded(
            piece for part in parts for piece in self._cutter.add(self._section.add(part))
        )

    def flush(self) -> Embedding:
        """Return the frames that are left, as if the audio ended here.

        The stream then is as new, for audio that begins at 0 s.

        Returns
        -------
        Embedding
            As of `push`; of no frames where there was no audio.
        """
        pieces = [*self._cutter.add(self._section.end()), *self._cutter.rest()]
        embedding = self._encoded(pieces)
        self._begin()
        return embedding

    @property
    def _rate(self) -> int:
        return self._model.sample_rate

    def _begin(self) -> None:
        """Forget what was heard."""
        model = self._model
        self._cutter = Cutter(
            hop=model.hop,
            context=model.context,
            chunk=self._chunk,
            most=round(MOST_SECONDS * model.sample_rate),
        )
        make = RESAMPLERS[self._options.resampler]
        self._section = Section(self.sr, model.sample_rate, make)
        self._mix: Mix = MIXES[self._options.mono]()
        self._memory = torch.zeros(1, model.encoder.memory, dtype=torch.float32, device="cpu")
        self._channels: int | None = None
        self._seconds = 0.0

    def _mono(self, samples: Any) -> list[NDArray[np.float32]]:
        """Return a block as mono audio in [-1, 1], in pieces; refuse it as a whole."""
        if not isinstance(samples, (np.ndarray, Tensor)):
            raise AudioError(
                "a block must be a numpy array or a torch tensor of samples, got "
                f"{shown(samples, kind=True)}."
            )
        axis = self._options.channel_axis
        if axis is None and samples.ndim == 2 and samples.shape[0] <= MOST_UNSAID:
            axis = 0  # however short the block is
        channels = 1 if samples.ndim < 2 else int(samples.shape[axis or 0])
        if samples.ndim in (1, 2) and self._channels not in (None, channels):
            raise AudioError(
                f"a block of shape {tuple(samples.shape)} has {channels:,} channels, those before "
                f"had {self._channels}; say channel_axis if this is the other way round."
            )
        if samples.ndim in (1, 2) and channels and 0 in samples.shape:
            return []
        decoder = open_array(samples, self.sr, axis)
        if not 1 <= decoder.channels <= MOST_CHANNELS:
            raise AudioError(f"{channels:,} channels; expected 1 to {MOST_CHANNELS}. Transposed?")
        parts, at = [], self._seconds
        for part in decoder.read():
            mono = self._mix(part)
            check_samples(part, mono, self.sr, at)
            at += len(mono) / self.sr
            parts.append(mono)
        self._channels = channels
        return parts

    def _encoded(self, pieces: Iterable[tuple[Chunk, NDArray[np.float32]]]) -> Embedding:
        """Return the frames that count of some stretches of audio."""
        values: list[NDArray[np.float32]] = []
        indices: list[NDArray[np.int64]] = []
        for chunk, audio in pieces:
            values.append(self._encode(chunk, audio))
            indices.append(np.arange(chunk.first, chunk.first + chunk.frames, dtype=np.int64))
        if not values:
            dim = len(self._settings.layers) * self._model.encoder.dim
            return Embedding(np.empty((0, dim), np.float32), np.empty(0))
        times = np.concatenate(indices) * self._model.hop / self._rate
        return Embedding(np.concatenate(values), times)

    def _encode(self, chunk: Chunk, audio: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the frames that count of one stretch, (frames, dim)."""
        with forking.uninterrupted(), torch.device("cpu"):  # wherever torch makes new tensors
            state = None
            if self._model.encoder.memory:
                skip, frames = torch.tensor([chunk.skip]), torch.tensor([chunk.frames])
                state = State(skip, frames, self._memory)
            samples = torch.tensor([len(audio)])
            row = torch.from_numpy(audio)[None]
            values, after = compute(self._model, row, samples, self._settings, state)
            if after is not None:
                self._memory = after
            return values[0, chunk.skip : chunk.skip + chunk.frames].numpy().copy()

    def _resampler_delay(self) -> float:
        """Return the most seconds that the resampler holds back, by asking one with silence."""
        section = Section(self.sr, self._rate, RESAMPLERS[self._options.resampler])
        if self.sr == self._rate:
            return 0.0
        block = np.zeros(max(1, self.sr // 1000), np.float32)
        pushed = given = 0
        delay = 0.0
        while pushed * min(self.sr, self._rate) < PROBE_SAMPLES * self.sr:
            given += len(section.add(block))
            pushed += len(block)
            delay = max(delay, pushed / self.sr - given / self._rate)
        return delay + len(block) / self.sr  # what a longer block may have hidden


def _checked_chunk(seconds: float | None, model: MusicEncoder) -> float | None:
    """Return the length of chunks; a stream waits for a whole one, which it holds.

    Raises
    ------
    ConfigError
        If it is shorter than a frame, or longer than anybody waits.
    """
    if seconds is None:
        return None
    frame = model.hop / model.sample_rate
    plain = arguments.number(seconds, "chunk_seconds", finite=False)
    if not frame <= plain <= LONGEST_CHUNK:
        raise ConfigError(
            f"chunk_seconds must be from {frame:g} s, one frame, to {LONGEST_CHUNK} s, for which a "
            f"stream waits and which it holds, got {shown(plain)}."
        )
    return plain
