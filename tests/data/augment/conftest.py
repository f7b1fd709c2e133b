"""A store to copy from."""

from pathlib import Path

import pytest

from tests.builders import convert


@pytest.fixture
def originals(kaggle: Path, tmp_path: Path) -> Path:
    """Make a store of 12 samples: classes 0 to 2 have four each, class 3 has twelve."""
    convert(kaggle / "train", tmp_path / "hpa.zarr", labels=kaggle / "train.csv", codec="lz4")
    return tmp_path / "hpa.zarr"
