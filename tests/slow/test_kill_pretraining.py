"""Pre-trainings that are killed at random steps, for `make test-slow`."""

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from hpa_data.synth import write_samples
from hpa_model.runs.check import verify_run
from hpa_model.runs.models import load_model
from tests.builders import HPA, convert

pytestmark = pytest.mark.slow


def test_three_kills_at_random_steps_change_no_weight_of_an_encoder(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples", n_samples=40, n_test=20, seed=0)
    convert(tmp_path / "samples" / "train", tmp_path / "a.zarr", labels=tmp_path / "samples" / "train.csv")
    convert(tmp_path / "samples" / "test", tmp_path / "a.zarr", part="test")
    command = [
        *(HPA, "pretrain", tmp_path / "a.zarr", "--part", "train", "--part", "test", "--epochs", "3"),
        *("--batch-size", "8", "--image-size", "76", "--mask", "0.3", "--noise", "0.05", "--symmetries", "--seed", "5"),
        *("--set", "deterministic=true", "--checkpoint-minutes", "0"),
    ]
    subprocess.run([*command, "--out", tmp_path / "whole"], check=True, capture_output=True)
    rng, out, killed = random.Random(0), tmp_path / "killed", 0
    while killed < 3:
        process = subprocess.Popen([*command, "--out", out], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Some steps after the start, counted by checkpoints: each step writes one.
        n_steps, seen, last = rng.randrange(1, 6), 0, 0.0
        while process.poll() is None and seen < n_steps:
            time.sleep(0.002)
            for saved in out.glob("checkpoint.npz"):
                written = saved.stat().st_mtime
                seen, last = (seen + 1, written) if written > last else (seen, last)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        assert process.wait() in {0, -signal.SIGKILL}
    subprocess.run([*command, "--out", out], check=True, capture_output=True)
    found = verify_run(out)
    assert (found.findings, found.unsealed) == ((), ())
    for name in ("encoder.keras", "best.keras", "last.keras"):
        one, other = (load_model(folder / name).get_weights() for folder in (tmp_path / "whole", out))
        assert all((a == b).all() for a, b in zip(one, other, strict=True))
    # But for speed and seconds, the histories are the same.
    rows = [
        [line.split(",")[:5] for line in (folder / "history.csv").read_text().splitlines()]
        for folder in (tmp_path / "whole", out)
    ]
    assert rows[0] == rows[1]
