"""A Ray cluster of two nodes on this machine that loses its driver, a worker and a node.

Some 200 pieces are embedded by the local command and, into a data set, by a cluster. Its driver is
killed after the first parts; a second one goes on, of whose workers one is killed, and then a whole
node. At the end each file must be there once, with the local command's vector to 1e-6.

    pip install 'musicssl[ray]'
    python benchmarks/cluster.py [--files 200] [--model FOLDER]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

STORE = 200_000_000  # bytes of each node's object store
RATE = 22_050


def main() -> int:
    """Run it, print what came of it as JSON, and return 0 if all is right."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the longest file")
    parser.add_argument("--model", default=None)
    parser.add_argument("--drive", nargs=3, metavar=("MUSIC", "OUT", "ADDRESS"), help="(itself)")
    args = parser.parse_args()
    if args.drive:
        drive(*args.drive, args.model)
        return 0
    with tempfile.TemporaryDirectory(prefix="musicssl-cluster-") as folder:
        found = trial(Path(folder), args)
    print(json.dumps(found, indent=2))
    return 0 if found["right"] else 1


def drive(music: str, out: str, address: str, model: str | None) -> None:
    """Be the driver."""
    import musicssl.ray
    from musicssl.folder import dataset

    dataset.PART_SECONDS = 2.0  # small parts, so that something is there when it is killed
    summary = musicssl.ray.embed(music, out, address=address, model=model)
    Path(f"{out}.json").write_text(json.dumps(summary.to_dict()), encoding="utf-8")


def trial(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Embed with and without a cluster, and compare."""
    from ray.cluster_utils import Cluster

    import musicssl

    music = folder / "music"
    make(music, args.files, args.seconds)
    local = musicssl.embed_folder(music, folder / "local", model=args.model, device="cpu")
    out = folder / "out"
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False},
    )
    times: dict[str, float] = {}
    try:
        second = cluster.add_node(num_cpus=1, object_store_memory=STORE)
        command = [sys.executable, __file__, "--drive", str(music), str(out), cluster.address]
        command += ["--model", args.model] if args.model else []
        times["first driver, killed"], parts = kill_driver(command, out)
        began = time.perf_counter()
        driver = subprocess.Popen(command)
        wait_for(lambda: len(names(out)) > parts, driver)
        killed = kill_worker()
        wait_for(lambda: len(names(out)) > parts + 1, driver)
        lost = len(names(out))
        cluster.remove_node(second)
        code = driver.wait()
        times["second driver"] = round(time.perf_counter() - began, 1)
        if code:
            raise SystemExit(f"the second driver ended with {code}")
        summary = json.loads(Path(f"{out}.json").read_text(encoding="utf-8"))
    finally:
        cluster.shutdown()
    return {
        "local": {"done": local.done, "failed": local.failed, "seconds": local.wall_seconds},
        "seconds": times,
        "parts when the driver was killed": parts,
        "a worker was killed": killed,
        "parts when a node was lost": lost,
        "parts": len(names(out)),
        "second driver": {name: summary[name] for name in ("done", "skipped", "failed")},
        **compare(folder),
    }


def make(music: Path, files: int, seconds: float) -> None:
    """Write noise of many lengths, and one file that is none."""
    music.mkdir()
    rng = np.random.default_rng(0)
    for i in range(files):
        length = round(RATE * seconds * rng.uniform(0.2, 1))
        soundfile.write(music / f"{i:04}.flac", rng.uniform(-0.3, 0.3, length), RATE)
    (music / "bad.mp3").write_bytes(b"no music")


def names(out: Path) -> list[str]:
    """Return the parts that are there."""
    return sorted(path.name for path in (out / "parts").glob("part-*.parquet"))


def wait_for(condition: Callable[[], bool], driver: subprocess.Popen[bytes]) -> None:
    """Wait until something is so, or the driver has ended."""
    while not condition() and driver.poll() is None:
        time.sleep(0.1)


def kill_driver(command: list[str], out: Path) -> tuple[float, int]:
    """Start a driver, kill it after two parts; return its seconds and the parts."""
    began = time.perf_counter()
    driver = subprocess.Popen(command)
    wait_for(lambda: len(names(out)) >= 2, driver)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    return round(time.perf_counter() - began, 1), len(names(out))


def kill_worker() -> str:
    """Kill a process that holds the model; return what it was."""
    import psutil

    for process in psutil.process_iter(["pid", "name", "cmdline"]):
        title = " ".join(process.info["cmdline"] or [])
        if "MapWorker" in title and process.info["pid"] != os.getpid():
            process.kill()
            return title.split("(")[0]
    return ""


def compare(folder: Path) -> dict[str, object]:
    """Compare the data set with what the local command has given."""
    import musicssl
    from musicssl.folder.dataset import read_parts
    from musicssl.folder.places import place_of

    one, two = (musicssl.load_embeddings(folder / name) for name in ("local", "out"))
    rows = [
        row["source"]
        for part in read_parts(place_of(folder / "out"), ["source", "status"])
        for row in part.to_pylist()
        if row["status"] == "ok"
    ]
    twice = [source for source, count in Counter(rows).items() if count > 1]
    same = two.sources == one.sources and two.space == one.space
    apart = float(np.abs(one.values - two.values).max()) if same else float("inf")
    right = same and apart <= 1e-6 and not twice
    return {"files": len(two), "twice": twice, "largest difference": apart, "right": right}


if __name__ == "__main__":
    sys.exit(main())
