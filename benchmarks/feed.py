"""How many cores must decode to feed an encoder of a given speed: measured costs, simulated queue.

    python benchmarks/feed.py [--speeds 5000 20000 50000] [--check]

What one core needs to decode, mix and resample a second of audio is measured for each format, and
so is what it costs to copy its samples into a batch. Then files of many lengths go through a
simulated queue: cores take one file after the other and may be ahead by two files each; the encoder
takes batches of 600 s and is busy for their length divided by its speed. The cores are the
fewest that keep it at work for 95 % of the time. `--check` does the same with threads that sleep,
and compares.
"""

import argparse
import contextlib
import heapq
import io
import math
import queue
import threading
import time
from collections import deque

import numpy as np
from decoding import KINDS, encode, music

from musicssl.audio import open_source

RATE = 22_050  # Hz, of the model
BATCH = 600.0  # seconds
AHEAD = 6 * BATCH  # seconds of decoded audio that may wait, and for each core at least
AHEAD_CORE = 450.0  # two tracks, 40 MB
FORMATS = ("MP3, 192 kbit/s", "m4a, AAC", "FLAC", "Ogg Vorbis", "Opus")
FED = 0.95


def lengths(count: int, seed: int = 0) -> np.ndarray:
    """Return lengths of tracks: most of 2 to 7 minutes, in the middle 225 s."""
    found: np.ndarray = np.random.default_rng(seed).lognormal(math.log(225), 0.4, count)
    return found.clip(20, 1800)


def decode(data: bytes) -> np.ndarray:
    """Return a file's samples."""
    with open_source(io.BytesIO(data), sample_rate=RATE) as source:
        return np.concatenate(list(source.blocks()))


def decoding_cost(data: bytes, seconds: float, repeats: int = 3) -> float:
    """Return the seconds of a core that a second of audio takes, the least of several."""
    costs = []
    for _ in range(repeats):
        began = time.thread_time()
        decode(data)
        costs.append((time.thread_time() - began) / seconds)
    return min(costs)


def copying_cost(repeats: int = 5) -> float:
    """Return the seconds that it takes to copy a second of samples into a batch."""
    samples = np.ones(round(BATCH * RATE), np.float32)
    batch = np.zeros_like(samples)
    costs = []
    for _ in range(repeats):
        began = time.perf_counter()
        np.copyto(batch, samples)
        costs.append((time.perf_counter() - began) / BATCH)
    return min(costs)


def simulate(
    cores: int, speed: float, *, cost: float, copy: float, files: np.ndarray, batch: float = BATCH
) -> float:
    """Return how many times real time the encoder does, from the first batch to the last files.

    Parameters
    ----------
    cores
        That decode.
    speed
        Of the encoder, x real time.
    cost, copy
        Seconds for a second of audio.
    files
        Lengths in seconds.
    batch
        Seconds of audio encoded at once.
    """
    waiting: deque[float] = deque(files)
    events: list[tuple[float, bool, float]] = []  # when, whether of the encoder, seconds of audio
    most = max(AHEAD, AHEAD_CORE * cores)
    now = held = done = 0.0  # held: decoded, and not yet taken by the encoder
    active, encoding = 0, False
    first: float | None = None
    while waiting:  # cores that end one after the other say nothing of the rate
        while waiting and active < cores and held < most:
            length = waiting.popleft()
            heapq.heappush(events, (now + length * cost, False, length))
            active += 1
        if not encoding and held >= batch:
            first = now if first is None else first
            heapq.heappush(events, (now + batch * (copy + 1 / speed), True, batch))
            held -= batch
            encoding = True
        now, of_encoder, seconds = heapq.heappop(events)
        if of_encoder:
            done += seconds
            encoding = False
        else:
            held += seconds
            active -= 1
    return done / (now - (first or 0.0))


def cores_for(speed: float, cost: float, copy: float) -> int | None:
    """Return the fewest cores that feed an encoder; None if no number does."""
    files = lengths(4_000)
    most = speed / (1 + speed * copy)  # what copying leaves
    if most < FED * speed:
        return None
    low, high = 1, max(2, math.ceil(3 * speed * cost))
    while low < high:
        middle = (low + high) // 2
        fed = simulate(middle, speed, cost=cost, copy=copy, files=files) >= FED * speed
        low, high = (low, middle) if fed else (middle + 1, high)
    return low


def check(cores: int, speed: float, cost: float, files: np.ndarray) -> float:
    """Return what `simulate` does, of threads that sleep in place of decoding and encoding."""
    waiting = deque(files)
    decoded: queue.Queue[float] = queue.Queue()

    def work() -> None:
        with contextlib.suppress(IndexError):
            while True:
                length = waiting.popleft()
                time.sleep(length * cost)
                decoded.put(length)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(cores)]
    for thread in threads:
        thread.start()
    held = done = 0.0
    first: float | None = None
    while waiting:
        while held < BATCH:
            held += decoded.get()
        first = time.perf_counter() if first is None else first
        time.sleep(BATCH / speed)
        held -= BATCH
        done += BATCH
    return done / (time.perf_counter() - (first or 0.0))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--speeds", type=float, nargs="*", default=[5_000, 20_000, 50_000])
    parser.add_argument("--seconds", type=float, default=60.0, help="of the file that is decoded")
    parser.add_argument("--check", action="store_true", help="compare with threads that sleep")
    args = parser.parse_args()
    copy = copying_cost()
    print(f"copying: {RATE * 4 / copy / 1e9:.1f} GB/s, {1 / copy:,.0f} x real time\n")
    audio = music(args.seconds)
    found = {name: encode(audio, *KINDS[name]) for name in FORMATS}
    costs = {name: decoding_cost(data, args.seconds) for name, data in found.items()}
    head = [
        "encoder, x real time",
        *(f"{name} ({1 / costs[name]:,.0f} x a core)" for name in costs),
    ]
    print("| " + " | ".join(head) + " |\n|" + "---:|" * len(head))
    for speed in args.speeds:
        cells = []
        for cost in costs.values():
            own = cores_for(speed, cost, 0.0)
            with_copy = cores_for(speed, cost, copy)
            cells.append(f"{own}" + ("" if with_copy else " *"))
        print(f"| {speed:,.0f} | " + " | ".join(cells) + " |")
    print("\n*: only if samples are copied while the GPU computes: else copying takes over 5 %.")
    if args.check:
        cost, files = 1 / 830, lengths(400)
        print(
            "\n| cores | encoder, x real time | threads that sleep | simulated |\n|" + "---:|" * 4
        )
        for cores, speed in ((3, 5_000.0), (6, 5_000.0), (12, 20_000.0), (24, 20_000.0)):
            model = simulate(cores, speed, cost=cost, copy=0.0, files=files)
            slept = check(cores, speed, cost, files)
            print(f"| {cores} | {speed:,.0f} | {slept:,.0f} | {model:,.0f} |")


if __name__ == "__main__":
    main()
