"""Which samples become which part."""

from pathlib import Path

import pytest

from hpa_data.convert.plan import plan_conversion
from hpa_data.errors import InputError
from tests.builders import convert, write_table


def test_a_store_at_a_url_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot write to s3://bucket/a.zarr: only stores in a folder can be written"):
        plan_conversion(tmp_path / "nowhere", "s3://bucket/a.zarr")


def test_rows_without_files_are_refused_before_anything_is_written(kaggle: Path, tmp_path: Path) -> None:
    table = write_table(tmp_path / "more.csv", {"sample-03": "0", "ghost": "1", "spook": "1"})
    with pytest.raises(InputError, match="no files for 'ghost' and 1 more ids of"):
        convert(kaggle / "train", tmp_path / "a.zarr", labels=table)
    assert not (tmp_path / "a.zarr").exists()
