"""Measure a model in PyTorch and, exported, in onnxruntime, on one thread."""

import argparse
import tempfile
from pathlib import Path

import onnxruntime
import torch
from models import MODEL_HELP, load
from timing import Row, best, machine, music, table, threads

from musicssl import MusicEncoder


def session_of(model: MusicEncoder, dtype: str) -> onnxruntime.InferenceSession:
    """Return a model, exported, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        data = model.export_onnx(Path(folder) / "model.onnx", dtype=dtype, check=False).read_bytes()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help=MODEL_HELP)
    parser.add_argument("--repeats", type=int, default=5, help="of each; the least counts")
    parser.add_argument("--seconds", type=int, default=30, help="of music, in one piece")
    args = parser.parse_args()
    model = load(args.model)
    audio = torch.from_numpy(music(model.sample_rate, args.seconds))[None]
    data = {"audio": audio.numpy()}
    print(table([machine()]), end="\n\n")
    rows: list[Row] = []
    with threads(1), torch.inference_mode():
        calls = {"PyTorch": lambda: model.pool(model(audio))}
        for dtype in ("fp32", "fp16"):
            session = session_of(model, dtype)
            calls[f"onnxruntime, {dtype} file"] = lambda s=session: s.run(["frames", "clip"], data)
        for name, call in calls.items():
            took = best(call, args.repeats).wall
            rows.append({"1 thread": name, "s": took, "x real time": args.seconds / took})
    print(table(rows))


if __name__ == "__main__":
    main()
