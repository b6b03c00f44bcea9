"""Stages that hold the model: samples to vectors, in Ray's workers."""

import json
import logging
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from musicssl.errors import ModelError, MusicSSLError
from musicssl.folder.reading import Reading
from musicssl.folder.records import Record
from musicssl.inference.batching import Engine
from musicssl.inference.jobs import AudioStream, PartedStream
from musicssl.inference.options import Settings
from musicssl.inference.results import Embedding, Result
from musicssl.model import MusicEncoder
from musicssl.ray.decoding import Decode, Decoding, failure

log = logging.getLogger(__name__)

BATCHES = 4  # of audio that are decoded at a time: among many, lengths are more alike
ENCODED = pa.schema({"record": pa.binary(), "values": pa.binary(), "times": pa.binary()})


class _Samples:
    """Samples that are there, as an `AudioStream`."""

    def __init__(self, audio: NDArray[np.float32]) -> None:
        self.audio = audio

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield all of them."""
        yield self.audio


class Encode:
    """The stage that holds the model, on a GPU where it has one: samples to vectors.

    Parameters
    ----------
    model
        On the CPU, or Ray's reference to it.
    settings
        Of the engine, which makes batches of pieces of nearly one length.
    decoding
        For what is too long to come as samples.
    device
        Where to compute.
    """

    def __init__(
        self, model: Any, settings: Settings, decoding: Decoding, device: str = "cpu"
    ) -> None:
        if not isinstance(model, MusicEncoder):
            import ray

            model = ray.get(model)
        if device == "cpu":
            torch.set_num_threads(1)  # every core has an actor or decodes
        self.model: MusicEncoder = model.to(device)
        self.settings, self.decoding = settings, decoding

    def __call__(self, block: pa.Table) -> pa.Table:
        """Encode a block of `DECODED` rows, to `ENCODED` ones in the same order."""
        lines = [json.loads(cell.as_py()) for cell in block.column("record")]
        todo = [i for i, line in enumerate(lines) if line.get("status") in (None, "ok")]
        try:
            found = self._encoded(block, todo, self.settings)
        except ModelError:
            raise
        except Exception as error:
            log.debug("a block failed; its files are tried alone", exc_info=error)
            found = [self._alone(block, i) for i in todo]
        data: dict[str, list[bytes | None]] = {name: [] for name in ENCODED.names}
        results = dict(zip(todo, found, strict=True))
        for i, line in enumerate(lines):
            record, result = results.get(i, (line, None))
            values, times = result if isinstance(result, Embedding) else (result, None)
            data["record"].append(json.dumps(record).encode())
            data["values"].append(None if values is None else np.asarray(values).tobytes())
            data["times"].append(None if times is None else np.asarray(times).tobytes())
        return pa.table(data, schema=ENCODED)

    def _alone(self, block: pa.Table, i: int) -> tuple[Record, Result | None]:
        try:
            (found,) = self._encoded(block, [i], replace(self.settings, batch_size=1))
        except Exception as error:
            record = json.loads(block.column("record")[i].as_py())
            what = f"{type(error).__name__}: {error}"
            return record | {"status": "failed", "error": what}, None
        return found

    def _encoded(
        self, block: pa.Table, rows: list[int], settings: Settings
    ) -> list[tuple[Record, Result | None]]:
        readings: dict[int, Reading] = {}

        def sources() -> Iterator[AudioStream | PartedStream | MusicSSLError]:
            for i in rows:
                item = block.column("item")[i].as_py()
                if item is None:
                    buffer = block.column("audio")[i].as_buffer()
                    yield _Samples(np.frombuffer(buffer, np.float32))
                else:
                    readings[i], stream = self.decoding.opened(pickle.loads(item))
                    yield stream

        out: list[tuple[Record, Result | None]] = []
        for i, result in zip(rows, Engine(self.model, settings).run(sources()), strict=True):
            reading = readings.get(i)
            if reading is None:
                record = json.loads(block.column("record")[i].as_py())
                if isinstance(result, MusicSSLError):
                    record |= {"status": "failed", "error": str(result)}
            elif isinstance(result, MusicSSLError):
                record = failure(reading.item, reading.seen, result)
            else:
                record = self.decoding.describe(reading)
            out.append((record, None if isinstance(result, MusicSSLError) else result))
        return out


class DecodeEncode:
    """Both stages in one process, one core: what was decoded need not travel.

    Parameters
    ----------
    decode
        The first stage.
    model, settings
        As for `Encode`.
    """

    def __init__(self, decode: Decode, model: Any, settings: Settings) -> None:
        self.decode = decode
        self.encode = Encode(model, settings, decode.decoding)
        self._most = 4 * BATCHES * settings.batch_seconds * decode.decoding.sample_rate  # bytes

    def __call__(self, items: pa.Table) -> Iterator[pa.Table]:
        """Decode and encode.

        Yields
        ------
        pyarrow.Table
            As `ENCODED`.
        """
        rows: list[pa.Table] = []
        for row in self.decode(items):
            rows.append(row)
            if sum(one.nbytes for one in rows) >= self._most:
                yield self.encode(pa.concat_tables(rows))
                rows = []
        if rows:
            yield self.encode(pa.concat_tables(rows))
