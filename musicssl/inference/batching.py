"""Audio sources to embeddings: chunks of any number of files in batches, with exact context."""

import contextlib
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from musicssl import forking
from musicssl.encoders import State
from musicssl.errors import ModelError, MusicSSLError
from musicssl.frames import frame_times
from musicssl.freezing import evaluating
from musicssl.inference.chunking import Chunk, Cutter
from musicssl.inference.crew import Crew, one_thread
from musicssl.inference.device import warn_once
from musicssl.inference.jobs import AudioStream, Job, PartedStream, Piece, Round, events_of
from musicssl.inference.options import Settings
from musicssl.inference.precision import in_full_precision
from musicssl.inference.results import Embedding, Result
from musicssl.inference.windows import Windows
from musicssl.network import Network
from musicssl.pooling import POOLINGS, NoPooling, Pool

_GPU = forking.Lock()  # threads take turns on it; meanwhile the others decode


@dataclass
class Engine:
    """Embeds sources; memory is set by the settings, not by the sources.

    Everything happens in the calling thread, torch's one thread, unless there is a `crew`: then
    that encodes, one batch in each of its threads. Batches are the same either way.
    """

    model: Network
    settings: Settings
    crew: Crew | None = None
    pending: list[Piece] = field(default_factory=list, init=False)
    rounds: deque[Round] = field(default_factory=deque, init=False)  # with the crew

    def __post_init__(self) -> None:
        forking.heed_fork()
        self.model = in_full_precision(self.model)

    def run(
        self, sources: Iterable[AudioStream | PartedStream | MusicSSLError]
    ) -> Iterator[Result]:
        """Yield one result a source or part, in order; what was wrong with one stands in its place.

        Yields
        ------
        numpy.ndarray, Embedding or MusicSSLError
            As soon as it is known, perhaps before the source is read to its end.
        """
        forking.heed_fork()
        jobs: deque[Job] = deque()
        for source in sources:
            count = len(source) if isinstance(source, PartedStream) else 1
            new = [Job(self._pool(), self._cutter()) for _ in range(count)]
            jobs.extend(new)
            if isinstance(source, MusicSSLError):
                new[0].error = source
            else:
                for _ in self._read(source, new):
                    yield from self._ready(jobs)
            yield from self._ready(jobs)
        self._encode_pending()
        for job in jobs:
            while not job.done:
                self._finish_round()
            yield self._result(job)

    def _ready(self, jobs: deque[Job]) -> Iterator[Result]:
        while self.rounds and self.rounds[0].done:
            self._finish_round()
        while jobs and jobs[0].done:
            yield self._result(jobs.popleft())

    def _pool(self) -> Pool:
        """Return what takes the frames of one source."""
        settings, kind = self.settings, POOLINGS[self.settings.pooling]
        if settings.window is None or settings.hop is None:
            return kind()
        frame_rate = Fraction(self.model.sample_rate, self.model.hop)
        return Windows(kind, settings.window, settings.hop, frame_rate)

    def _cutter(self) -> Cutter:
        model, length = self.model, self.settings.chunk_seconds * self.model.sample_rate
        chunk = None if math.isinf(length) else round(length)
        return Cutter(hop=model.hop, context=model.context, chunk=chunk)

    def _read(self, source: AudioStream | PartedStream, jobs: list[Job]) -> Iterator[None]:
        """Cut a source into pieces, encoding whenever enough of them wait; yield in between."""
        try:
            with source:
                for i, event in events_of(source):
                    job = jobs[i]
                    if isinstance(event, MusicSSLError):
                        self._give_up([job], event)
                    elif job.cutter is not None:
                        self._take(
                            job, job.cutter.rest() if event is None else job.cutter.add(event)
                        )
                        job.cutter = None if event is None else job.cutter
                    yield
        except ModelError:  # concerns every source of the batch, not only this one
            raise
        except MusicSSLError as error:
            self._give_up([job for job in jobs if job.cutter is not None], error)

    def _give_up(self, jobs: list[Job], error: MusicSSLError) -> None:
        """Let an error stand for results; what waits of them is not encoded."""
        for job in jobs:
            job.error = error
        self.pending = [piece for piece in self.pending if piece.job.error is None]

    def _take(self, job: Job, pieces: Iterable[tuple[Chunk, NDArray[np.float32]]]) -> None:
        for piece in pieces:
            self.pending.append(Piece(job, *piece))
            job.waiting += 1
            seconds = sum(len(p.audio) for p in self.pending) / self.model.sample_rate
            full = len(self.pending) >= self.settings.batch_size
            if full or seconds >= self.settings.batch_seconds:
                self._encode_pending()

    def _encode_pending(self) -> None:
        """Encode what waits, in batches of pieces of nearly one length, and pool it in order."""
        pieces, self.pending = self.pending, []
        if not pieces:
            return
        round_ = Round(pieces)
        batches = list(self._batches(pieces))
        self.rounds.append(round_)
        if self.crew is None:
            with one_thread():
                round_.encode(self._encode, batches)
        elif self.model.encoder.memory:  # each batch needs what the one before has left
            while len(self.rounds) > 1:
                self._finish_round()
            round_.tasks = [self.crew.submit(partial(round_.encode, self._encode, batches))]
        else:
            round_.tasks = [
                self.crew.submit(partial(round_.encode, self._encode, [batch])) for batch in batches
            ]
        while len(self.rounds) > (self.crew.jobs if self.crew else 0):
            self._finish_round()

    def _finish_round(self) -> None:
        """Wait for the oldest batches, and pool their frames."""
        round_ = self.rounds.popleft()
        for task in round_.tasks:
            task.wait()
        for piece in round_.pieces:
            piece.job.pool.add(round_.frames.pop(piece))
            piece.job.waiting -= 1

    def _batches(self, pieces: list[Piece]) -> Iterator[list[Piece]]:
        for turn in self._turns(pieces):
            batch: list[Piece] = []
            for piece in sorted(turn, key=lambda piece: len(piece.audio)):
                if batch and len(piece.audio) > 1.1 * len(batch[0].audio) + self.model.hop:
                    yield batch
                    batch = []
                batch.append(piece)
            yield batch

    def _turns(self, pieces: list[Piece]) -> list[list[Piece]]:
        """Return the pieces in turns to be encoded one after the other.

        One turn, unless the encoder has memory: then the first piece of each source, the second...
        """
        if not self.model.encoder.memory:
            return [pieces] if pieces else []
        queues: dict[Job, list[Piece]] = {}
        for piece in pieces:
            queues.setdefault(piece.job, []).append(piece)
        longest = max(map(len, queues.values()), default=0)
        return [[q[i] for q in queues.values() if i < len(q)] for i in range(longest)]

    def _encode(self, batch: list[Piece]) -> dict[Piece, NDArray[np.float32]]:
        """Return the frames that count of every piece, each (frames, dim)."""
        with forking.uninterrupted(), _default_device():
            return self._encode_batch(batch)

    def _encode_batch(self, batch: list[Piece]) -> dict[Piece, NDArray[np.float32]]:
        """Do so; no tensor survives this, so that none is freed where the process may end."""
        lengths = [len(piece.audio) for piece in batch]
        audio = torch.zeros(len(batch), max(lengths), dtype=torch.float32)
        for row, piece in zip(audio, batch, strict=True):
            row[: len(piece.audio)] = torch.from_numpy(piece.audio)
        state = self._recall(batch)
        values, after = compute(self.model, audio, torch.tensor(lengths), self.settings, state)
        out = values.numpy()
        if after is not None:
            for piece, memory in zip(batch, after, strict=True):
                piece.job.memory = memory
        return {
            piece: row[piece.chunk.skip : piece.chunk.skip + piece.chunk.frames].copy()
            for row, piece in zip(out, batch, strict=True)
        }

    def _recall(self, batch: list[Piece]) -> State | None:
        """Return where the pieces stand in their recordings, for encoders with memory."""
        size = self.model.encoder.memory
        if not size:
            return None
        chunks = [piece.chunk for piece in batch]
        beginning = torch.zeros(size, dtype=torch.float32)
        return State(
            skip=torch.tensor([chunk.skip for chunk in chunks]),
            frames=torch.tensor([chunk.frames for chunk in chunks]),
            before=torch.stack(
                [beginning if p.job.memory is None else p.job.memory for p in batch]
            ),
        )

    def _result(self, job: Job) -> Result:
        if job.error:
            return job.error
        values = job.pool.result()
        if isinstance(job.pool, Windows):
            return Embedding(values, job.pool.times(len(values)))
        if not isinstance(job.pool, NoPooling):
            return values
        model = self.model
        return Embedding(
            values, frame_times(len(values), hop=model.hop, sample_rate=model.sample_rate)
        )


def _default_device() -> contextlib.AbstractContextManager[object]:
    """Make new tensors come to the CPU, as they do unless torch was told otherwise."""
    as_usual = torch.empty(0).device.type == "cpu"
    return contextlib.nullcontext() if as_usual else torch.device("cpu")


def compute(
    model: Network,
    audio: Tensor,
    samples: Tensor,
    settings: Settings,
    state: State | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the frames of a batch, (batch, frames, dim), in fp32 on the CPU.

    And, given a `state`, what is remembered after them.

    The encoder runs in ``settings.dtype``. Where that overflows, the batch is done again in fp32
    and a warning says so, once.

    Raises
    ------
    ModelError
        If fp32 gives non-finite values too: the weights are damaged.
    """
    device = model.device
    if device.type == "cuda" and forking.cuda_is_lost():
        raise ModelError(
            "the model is on a GPU that a forked process cannot use; start the process with "
            "multiprocessing's 'spawn' or 'forkserver', or load the model there on the CPU."
        )
    rows = None if int(samples.min()) == audio.shape[1] else samples

    def frames(dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        half = dtype is not torch.float32
        autocast = torch.autocast(device.type, dtype, enabled=half)
        with torch.inference_mode(), evaluating(model), autocast:
            if state is None:
                return model(audio.to(device), rows, layer=settings.layers).float().cpu(), None
            out, after = model.resume(audio.to(device), rows, state, layer=settings.layers)
            return out.float().cpu(), after.cpu()

    with _GPU if device.type != "cpu" else contextlib.nullcontext():
        out, after = frames(settings.dtype)
        if settings.dtype is not torch.float32 and not out.isfinite().all():
            warn_once(f"{settings.dtype} overflowed in a batch; that batch was done in fp32.")
            out, after = frames(torch.float32)
    if not out.isfinite().all():
        raise ModelError("the model gave non-finite values for finite audio: damaged weights?")
    return out, after
