"""Ten thousand damaged files, by path, by file object and by the folder command.

    python tests/fuzz/campaign.py --out FOLDER --jobs 2     # all, or what is left of them
    python tests/fuzz/campaign.py --out FOLDER --only 4711  # one case, told at length
    python tests/fuzz/campaign.py --out FOLDER --again      # those that failed, once more
    python tests/fuzz/campaign.py --out FOLDER --report     # the tables alone

Needs the package with PyAV, and ffmpeg, lame, flac, oggenc, opusenc and sox as commands. Results
stand in FOLDER/results.jsonl, a line a case, the last one counts; files with a finding are kept in
FOLDER/kept. `seeds.py` says what is mutated, `mutate.py` how, `judge.py` what counts as what.
"""

import argparse
import json
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import folder as command
import numpy as np
import reference
import seeds as seed_files
from compare import alike, seconds
from judge import FINDINGS, Heard, judge
from mutate import Case, case
from reference import Worker, ffmpeg
from tables import print_tables, versions

BATCH = 500


class Campaign:
    """A folder of results, and the workers that add to it."""

    def __init__(self, out: Path, jobs: int, with_command: bool) -> None:
        self.out, self.jobs, self.with_command = out, jobs, with_command
        self.seeds = seed_files.make(out / "seeds")
        self.results = out / "results.jsonl"
        self._check_seeds()
        self.model = command.make_model(out / "model") if with_command else out
        self._workers = threading.local()
        self._all_workers: list[Worker] = []

    def read(self) -> dict[int, dict[str, Any]]:
        """Return the last record of each case."""
        if not self.results.exists():
            return {}
        lines = self.results.read_text().splitlines()
        return {record["number"]: record for record in map(json.loads, lines)}

    def run(self, numbers: list[int]) -> None:
        """Do these cases, a batch after the other."""
        for start in range(0, len(numbers), BATCH):
            batch = numbers[start : start + BATCH]
            records = self._batch(batch)
            with self.results.open("a") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
            loud = [record for record in records if _loud(record)]
            print(f"{start + len(batch)} of {len(numbers)}; findings in {len(loud)}", flush=True)

    def close(self) -> None:
        """End the workers."""
        for worker in self._all_workers:
            worker.close()

    def _batch(self, numbers: list[int]) -> list[dict[str, Any]]:
        files = self.out / "batch"
        shutil.rmtree(files, ignore_errors=True)
        files.mkdir()
        with ThreadPoolExecutor(self.jobs) as pool:
            records = list(pool.map(lambda number: self.one(number, files), numbers))
        if self.with_command:
            self._command(files, records)
        for record in filter(_loud, records):
            (self.out / "kept").mkdir(exist_ok=True)
            shutil.copyfile(files / record["name"], self.out / "kept" / record["name"])
        shutil.rmtree(files)
        return records

    def one(self, number: int, files: Path) -> dict[str, Any]:
        """Make a case and hear it in both ways; its file stays in `files`."""
        made = case(number, self.seeds)
        path = files / made.name
        path.write_bytes(made.data)
        record: dict[str, Any] = {
            "number": number,
            "name": made.name,
            "seed": made.seed.name,
            "others": [other.name for other in made.others],
            "what": made.what,
            "bytes": len(made.data),
        }
        heard = self._hear(made, path)
        findings = judge(heard)
        return record | {
            "path": heard.path,
            "object": heard.object,
            "ffmpeg": "timed out" if heard.timed_out else round(seconds(heard.theirs), 3),
            "findings": [list(finding) for finding in findings],
        }

    def _hear(self, made: Case, path: Path) -> Heard:
        if not hasattr(self._workers, "worker"):
            self._workers.worker = Worker()
            self._all_workers.append(self._workers.worker)
        worker: Worker = self._workers.worker
        save = self.out / f"heard-{made.number}.npy"
        ours = np.empty(0, np.float32)
        by_path = worker.hear(path, "path", save)
        if save.exists():
            ours = np.load(save)
            save.unlink()
        by_object = worker.hear(path, "object", None)
        theirs, words = ffmpeg(path)
        named_alike = True
        if by_path.get("digest") != by_object.get("digest"):
            bare = self.out / f"nameless-{made.number}"
            bare.write_bytes(made.data)
            nameless, _ = ffmpeg(bare)
            bare.unlink()
            near = abs(len(nameless) - len(theirs)) <= 0.03 * len(theirs)
            both = by_path["outcome"] == by_object["outcome"] or len(theirs) > 0
            named_alike = both and near and alike(nameless, theirs)
        truths = [seed.truth for seed in (made.seed, *made.others)]
        late, unharmed = words == "timed out", made.number < 0
        return Heard(by_path, by_object, ours, theirs, late, truths, named_alike, unharmed)

    def _command(self, files: Path, records: list[dict[str, Any]]) -> None:
        """Run the folder command on a batch and add what it does otherwise."""
        out = self.out / "embedded"
        shutil.rmtree(out, ignore_errors=True)
        passed = {record["name"] for record in records if _no_audio(record)}
        manifest, wrong = command.embed(files, out, self.model, self.jobs, passed)
        for text in wrong:
            records[0]["findings"].append(["command", f"the whole batch: {text}"])
        for record in records:
            if record["name"] in manifest:
                line = manifest[record["name"]]
                record["command"] = line["status"]
                if text := command.differs(line, record["path"]):
                    record["findings"].append(["command", text])

    def _check_seeds(self) -> None:
        """Other seeds would be other cases under the same numbers."""
        path, number = self.out / "seeds.txt", seed_files.digest(self.seeds)
        if not path.exists():
            path.write_text(number + "\n")
        elif path.read_text().strip() != number:
            sys.exit(f"{self.out} was begun with other seeds; use another folder.")


def _no_audio(record: dict[str, Any]) -> bool:
    """Whether a file is a film without sound or the like, which folders may hold unsaid."""
    return "holds no audio" in record["path"].get("message", "")


def _loud(record: dict[str, Any]) -> bool:
    return any(kind in FINDINGS for kind, _ in record["findings"])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the results")
    add("--count", type=int, default=10_000, help="cases (default: %(default)s)")
    add("--only", type=int, metavar="N", help="this case alone; its file stays in OUT")
    add("--again", action="store_true", help="the cases that have findings")
    add("--controls", action="store_true", help="the seeds, unharmed")
    add("--report", action="store_true", help="print the tables alone")
    add("--jobs", type=int, default=1, help="files at a time (default: %(default)s)")
    add("--ffmpeg", default="ffmpeg", help="the command to compare with (default: %(default)s)")
    add("--no-command", action="store_true", help="leave out the folder command")
    args = parser.parse_args()
    reference.command_name = args.ffmpeg
    args.out.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(args.out.resolve(), args.jobs, not args.no_command)
    try:
        if args.only is not None:
            print(json.dumps(campaign.one(args.only, campaign.out), indent=2))
            return
        if not args.report:
            campaign.run(_numbers(args, campaign))
    finally:
        campaign.close()
    print_tables(campaign.read(), versions())


def _numbers(args: argparse.Namespace, campaign: Campaign) -> list[int]:
    done = campaign.read()
    if args.controls:
        return [-1 - i for i in range(len(campaign.seeds))]
    if args.again:
        return sorted(number for number, record in done.items() if _loud(record))
    return [number for number in range(args.count) if number not in done]


if __name__ == "__main__":
    main()
