"""Running the steps of a comparison, each once."""

import json
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy.steps import EXTERNAL, STORE, Comparison, Row
from hpa_model.runs.pretraining import ENCODER_FILE

PIXELS = 128
# Of the synthetic samples: also the numbers of the folders that they are drawn into.
SEEDS = {STORE: 1, EXTERNAL: 2}


def prepare(out: Path, comparison: Comparison) -> None:
    """Draw and convert the samples that the steps read, if they are not there."""
    for store, seed in SEEDS.items():
        if not any(store in step.command.split() for step in comparison.steps):
            continue
        folder = Path(f"drawn-{seed}")
        if not (out / store).exists():
            sizes = f"--samples {comparison.n_samples} --test {comparison.n_test}"
            run_hpa(out, f"synth {folder} {sizes} --uniform --seed {seed}")
        for part in ("train", "test") if store == STORE else ("train",):
            labels = f" --labels {folder}/train.csv" if part == "train" else ""
            run_hpa(out, f"convert {folder}/{part} {store} --part {part} --image-size {PIXELS}{labels}")
    for command in comparison.preparations:
        run_hpa(out, command)


def run_steps(out: Path, comparison: Comparison, rows: Sequence[Row]) -> None:
    """Run the steps of rows that are not finished, and predict the held-out samples with each."""
    for step in comparison.select(rows):
        if not is_finished(out / step.name):
            run_hpa(out, f"{step.command} --out {step.name}", times=seconds_file(out, step.name))
    for row in rows if comparison.scores_test else ():
        submission = name_submission(row)
        if not (out / submission).exists():
            run_hpa(out, f"predict {row.step} {STORE} --part test --out {submission} {row.predict}".rstrip())


def run_hpa(out: Path, command: str, *, times: Path | None = None) -> None:
    """Run a command of `hpa` in folder `out`; print it first, and add its seconds to a file."""
    print(f"hpa {command}", flush=True)
    began, before = time.perf_counter(), _count_seconds()
    try:
        subprocess.run([sys.executable, "-m", "cli", *shlex.split(command)], cwd=out, check=True, stdout=sys.stderr)
    finally:
        if times is not None:
            spent = {"seconds": time.perf_counter() - began, "processor_seconds": _count_seconds() - before}
            earlier = json.loads(times.read_text()) if times.exists() else dict.fromkeys(spent, 0.0)
            times.write_text(json.dumps({name: value + earlier[name] for name, value in spent.items()}) + "\n")


def _count_seconds() -> float:
    """Return the processor seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def is_finished(folder: Path) -> bool:
    """Tell whether the folder of a step has the file that is written last."""
    return (folder / "report.html").exists() or (folder / ENCODER_FILE).exists()


def seconds_file(out: Path, name: str) -> Path:
    """Return the file with the seconds of a step."""
    return out / f"{name}.json"


def name_submission(row: Row) -> str:
    """Return the file name of the predictions of a row for the held-out samples."""
    return "-".join([row.step, *row.predict.replace("--", "").split()]) + ".csv"
