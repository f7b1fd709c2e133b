"""A source of images, what a local conversion makes of it, and clusters."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_data.dataset import HPA_2018
from tests.builders import write_sample, write_table
from tests.slow.cluster.commands import N_SAMPLES, Cluster, convert


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 512 labeled samples with 12 different images, two of which cannot be read."""
    folder = tmp_path_factory.mktemp("cluster")
    for index in range(12):
        coarse = np.random.default_rng(index).integers(0, 256, (16, 16, 4), np.uint8)
        write_sample(folder / "first", f"a{index}", cv2.resize(coarse, (512, 512), interpolation=cv2.INTER_NEAREST))
    (folder / "train").mkdir()
    for index in range(N_SAMPLES):
        for channel in HPA_2018.channel_names:
            os.link(folder / "first" / f"a{index % 12}_{channel}.png", folder / "train" / f"s{index:04}_{channel}.png")
    for index in (100, 300):
        file = folder / "train" / f"s{index:04}_green.png"
        file.unlink()
        file.write_bytes(b"not an image")
    write_table(folder / "train.csv", {f"s{index:04}": str(index % 28) for index in range(N_SAMPLES)})
    return folder


@pytest.fixture(scope="module")
def local(source: Path) -> Path:
    """Convert without a cluster."""
    command = convert(source, source / "local.zarr")
    assert command.end() == 1, command.errors
    return source / "local.zarr"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Start three workers like this process."""
    started = Cluster(tmp_path / "cluster")
    try:
        started.start("a", "b", "c")
        yield started
    finally:
        started.close()


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Cluster]:
    """Start a scheduler without workers."""
    started = Cluster(tmp_path / "cluster")
    yield started
    started.close()
