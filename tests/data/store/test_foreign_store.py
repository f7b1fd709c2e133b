"""Whatever stands in the place of a file of a store is met with one line: nothing waits, and no memory is filled."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.format.arrays import SEAL_KEY
from hpa_data.format.statistics import find_impossible_sums
from hpa_data.store.store import Store, open_store
from hpa_data.verify.check import verify_store
from tests.builders import build_store, rewrite_images
from tests.strangers import KINDS, assert_harmless, attack

SHARD = "train/images/c/0/0/0/0"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return build_store(tmp_path / "a.zarr", HPA_2018.resized(16, 16), np.eye(28, dtype=np.uint8)[:4])


def test_a_pipe_is_not_waited_for_and_a_file_that_may_not_be_read_is_not_called_damaged(store: Store):
    names = ("train/zarr.json", "train/status/c/0", SHARD)
    met = attack(store.path, "store", ("pipe", "large", "forbidden", "failing"), names)
    assert_harmless(met)
    assert all(met.values())
    assert any("it is not a regular file" in line for line in met[f"pipe {SHARD}"])
    assert any("it has 1099511627776 bytes, more than" in line for line in met[f"large {SHARD}"])
    assert any(line.startswith("unreadable: ") for line in met[f"forbidden {SHARD}"])
    assert verify_store(store.path).n_errors == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_a_store_may_be_something_else(store: Store, kind: str):
    met = attack(store.path, "store", [kind])
    assert len(met) > 20
    assert_harmless(met)
    # The file of the root says only that it is a store.
    assert {name for name, said in met.items() if not said} <= {f"{kind} zarr.json"}
    assert verify_store(store.path).n_errors == 0


def test_a_pipe_in_a_store_of_another_layout_is_not_waited_for(store: Store, tmp_path: Path):
    other = rewrite_images(store, tmp_path / "b.zarr", chunks=(1, 16, 16, 4))
    chunk = other.path / "train" / "images" / "c" / "1" / "0" / "0" / "0"
    chunk.unlink()
    KINDS["pipe"](chunk)
    with pytest.raises(InputError, match=r"Cannot read .*/c/1/0/0/0: it is not a regular file"):
        other.reader(["train"])


def test_sums_that_no_pixels_can_have_are_refused_in_one_line(store: Store):
    sums = store.part("train").read_sums()
    assert not find_impossible_sums(sums, pixels=256).any()
    for changed in ((0, 5), (2**63, 2**63), (256, 2**63), (256 * 255, 256 * 255), (256 * 100, 256 * 100 * 99)):
        wrong = sums.copy()
        wrong[2, 1] = changed
        assert find_impossible_sums(wrong, pixels=256).tolist() == [False, False, True, False]
    (store.path / "train" / SEAL_KEY).unlink()  # as a store of an earlier version
    zarr.open_array(store.path / "train" / "sums", mode="r+")[2, 1] = (256 * 100, 5)
    with pytest.raises(InputError, match=r"Cannot read sums of part 'train' .* 1 samples, for example 's-002'"):
        open_store(store.path).part("train").read_sums()
    report = verify_store(store.path)
    assert [(each.id, each.state) for each in report.findings if each.state.is_error] == [
        ("", "corrupt"), ("s-002", "corrupt")
    ]  # fmt: skip
