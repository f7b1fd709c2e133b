"""Pre-trainings that are killed at random steps, for `make test-slow`."""

import random
from pathlib import Path

import pytest

from hpa_data.synth import write_samples
from hpa_model.runs.check import verify_run
from tests.builders import convert
from tests.slow.contents import assert_same_work
from tests.slow.killing import after_checkpoints, finish, kill_when

pytestmark = pytest.mark.slow

# The smallest images that each takes, or that leave its decoder something to do; masks fit into them.
NETWORKS = {
    "gapnet": ("--image-size", "76"),
    "gapnet-pl": ("--image-size", "32", "--mask-patch", "4"),
    "deepyeast": ("--image-size", "32", "--mask-patch", "4"),
}


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a store with 40 labeled samples and 20 without labels."""
    folder = tmp_path_factory.mktemp("synthetic")
    write_samples(folder / "samples", n_samples=40, n_test=20, seed=0)
    convert(folder / "samples" / "train", folder / "a.zarr", labels=folder / "samples" / "train.csv")
    convert(folder / "samples" / "test", folder / "a.zarr", part="test")
    return folder / "a.zarr"


@pytest.mark.parametrize("name", NETWORKS)
def test_three_kills_at_random_steps_change_no_byte_of_an_encoder(name: str, synthetic: Path, tmp_path: Path) -> None:
    words = [
        *("pretrain", synthetic, "--model", name, "--part", "train", "--part", "test", "--epochs", "3", "--seed", "5"),
        *("--batch-size", "8", "--mask", "0.3", "--noise", "0.05", "--symmetries", *NETWORKS[name]),
        *("--set", "deterministic=true", "--checkpoint-minutes", "0"),
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"  # of which each holds a folder of the same name
    whole.mkdir()
    killed.mkdir()
    finish(*words, "--out", "encoder", cwd=whole)
    rng, n_killed = random.Random(0), 0
    while n_killed < 3:
        reached = after_checkpoints(killed / "encoder", "checkpoint.npz", rng.randrange(1, 6))
        n_killed += kill_when(reached, *words, "--out", "encoder", cwd=killed)
    finish(*words, "--out", "encoder", cwd=killed)
    found = verify_run(killed / "encoder")
    assert (found.findings, found.unsealed) == ((), ())
    assert_same_work(whole, killed)
