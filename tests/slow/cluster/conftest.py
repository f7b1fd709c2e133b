"""A source of images, what a local conversion makes of it, and clusters."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import link_samples
from tests.slow.cluster.commands import N_SAMPLES, Cluster, convert


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 512 labeled samples with 12 different images, two of which cannot be read."""
    folder = tmp_path_factory.mktemp("cluster")
    link_samples(folder, N_SAMPLES)
    for index in (100, 300):
        file = folder / "train" / f"s{index:04}_green.png"
        file.unlink()
        file.write_bytes(b"not an image")
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
