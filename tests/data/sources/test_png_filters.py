"""Compiled code is made where it is worth it, whatever is missing or damaged."""

import subprocess
import sys
from pathlib import Path

import numba
import pytest

from hpa_data.sources.png_filters import BREAK_EVEN_BYTES, Filters, compile_filters
from tests.slow.contents import digest_folder

ROOT = Path(__file__).parents[3]


def test_a_process_compiles_once_it_has_decoded_enough() -> None:
    filters = Filters()
    assert filters.find(BREAK_EVEN_BYTES) is None
    assert filters.find(1) is not None


def test_work_that_was_announced_is_compiled_for_at_once_or_not_at_all() -> None:
    filters = Filters()
    filters.expect(4 * BREAK_EVEN_BYTES - 1, n_threads=4)
    assert filters.find(4 * BREAK_EVEN_BYTES - 1) is None
    filters.expect(4 * BREAK_EVEN_BYTES, n_threads=4)
    assert filters.find(1) is not None


def test_without_numba_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", 1)
        assert compile_filters() is None
    monkeypatch.setitem(sys.modules, "numba", None)
    assert compile_filters() is None
    filters = Filters()
    filters.expect(BREAK_EVEN_BYTES, n_threads=1)
    assert filters.find(1) is None
    assert filters.find(1) is None


SLOW = [pytest.param(damage, marks=pytest.mark.slow) for damage in (b"", b"\x80\x04damaged")]


@pytest.mark.parametrize("damage", [None, *SLOW])
def test_what_was_kept_may_be_damaged(damage: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    assert compile_filters() is not None
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} == {".nbi", ".nbc"}
    for path in kept:
        path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    assert compile_filters() is not None


def test_there_may_be_no_folder_to_keep_it_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "file" / "folder"))
    assert compile_filters() is not None


# Converts a folder twice: as it is, and as if there were much to do.
CONVERT = """
import sys
from pathlib import Path
from hpa_data.convert.estimate import estimate_conversion
from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.sources import png_filters
source, target = map(Path, sys.argv[1:])
plan = plan_conversion(source, target / "a.zarr")
estimate_conversion(plan)
convert_files(plan)
assert "numba" not in sys.modules
png_filters.BREAK_EVEN_BYTES = 1
plan = plan_conversion(source, target / "b.zarr")
estimate_conversion(plan)
assert "numba" in sys.modules
convert_files(plan)
assert png_filters.FILTERS.find(1) is not None
"""


def test_a_small_conversion_does_without_numba_and_a_large_one_gives_the_same_bytes(
    kaggle: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", CONVERT, str(kaggle / "test"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert digest_folder(tmp_path / "a.zarr") == digest_folder(tmp_path / "b.zarr")
