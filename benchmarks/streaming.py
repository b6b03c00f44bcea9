"""Measure what a `Stream` takes of one core, by the length of its blocks and of its chunks."""

import argparse

import torch
from models import MODEL_HELP, load
from timing import Row, Took, best, machine, music, table, threads

from musicssl import MusicEncoder, Stream

RATE = 44_100


def cost(model: MusicEncoder, block: float, chunk: float | None, seconds: int, repeats: int) -> Row:
    """Time a stream in its steady state: its context is full before the clock runs."""
    audio = music(RATE, 20 + seconds)
    size = round(block * RATE)

    def feed(stream: Stream, first: int, last: int) -> None:
        for start in range(first, last, size):
            stream.push(audio[start : min(start + size, last)])

    took = Took(float("inf"), float("inf"))
    for _ in range(repeats):
        stream = Stream(model, RATE, chunk_seconds=chunk)
        feed(stream, 0, 20 * RATE)
        once = best(lambda stream=stream: feed(stream, 20 * RATE, len(audio)), 1)
        took = Took(min(took.wall, once.wall), min(took.cpu, once.cpu))
    return {
        "block, s": block,
        "chunk_seconds": chunk,
        "look-ahead, s": round(stream.lookahead, 2),
        "CPU time, % of one core": 100 * took.cpu / seconds,
        "wall time, % of the music": 100 * took.wall / seconds,
    }


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument("--repeats", type=int, default=3, help="of each; the least counts")
    parser.add_argument("--seconds", type=int, default=10, help="of music, after the first 20")
    args = parser.parse_args()
    model = load(args.model)
    print(table([machine()]), end="\n\n")
    cases = ((10.0, None), (1.0, None), (0.1, None), (0.01, None), (0.01, 1.0), (0.01, 0.2))
    with threads(1), torch.inference_mode():
        rows = [cost(model, *case, args.seconds, args.repeats) for case in cases]
    print(table(rows))


if __name__ == "__main__":
    main()
