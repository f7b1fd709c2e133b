"""`hpa verify`: what it prints, and its exit status."""

import shutil
from pathlib import Path

import pytest

from hpa_data.store.store import Store
from tests.builders import Hpa, assert_refused


def test_a_sound_store_is_counted_and_ends_with_status_0(store: Store, hpa: Hpa) -> None:
    ended = hpa("verify", store.path, "--part", "train", "--part", "test")
    assert (ended.status, ended.out) == (0, f"{store.path}: 15 ok\n")


def test_a_damaged_sample_is_listed_and_then_repaired(store: Store, kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    damaged = tmp_path / "hpa.zarr"
    shutil.copytree(store.path, damaged)
    shard = next(path for path in (damaged / "test" / "images" / "c").rglob("*") if path.is_file())
    content = bytearray(shard.read_bytes())
    content[100] ^= 255
    shard.write_bytes(content)
    ended = hpa("verify", damaged, "--part", "test")
    assert ended.status == 1
    assert "corrupt: test new-" in ended.out
    ended = hpa("verify", damaged, "--part", "test", "--source", kaggle / "test", "--repair")
    assert ended.status == 0, ended.out
    assert "Repaired: " in ended.out


@pytest.mark.parametrize(
    ("words", "message"),
    [("--repair", "must have a source"), ("--source {kaggle}/train", "source must be given for one part alone")],
)
def test_what_cannot_be_verified_gets_one_line_and_status_2(
    words: str, message: str, store: Store, kaggle: Path, hpa: Hpa
) -> None:
    assert_refused(hpa("verify", store.path, *words.format(kaggle=kaggle).split()), message)
