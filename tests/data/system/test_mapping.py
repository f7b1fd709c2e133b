"""A file that is cut short under its map is an error that names it, or at least one line, and not a silent end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.system import mapping
from hpa_data.system.mapping import MappedFile
from tests.builders import build_store

SIZE = 2**20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "shard"
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    return path


@pytest.mark.parametrize("is_on_a_network", [True, False])
def test_bytes_that_a_file_no_longer_has_are_an_error_that_names_it(
    file: Path, is_on_a_network: bool, monkeypatch: pytest.MonkeyPatch
):
    if is_on_a_network and mapping.find_populate() is None:
        pytest.skip("this system cannot be asked for pages")
    monkeypatch.setattr(mapping, "is_remote", lambda _: is_on_a_network)
    mapped = MappedFile(file, max_bytes=SIZE)
    assert mapped.read(5000, 5003, is_first=True).tolist() == [136, 137, 138]
    os.truncate(file, 5000)
    mapped._check_at = time.monotonic() + 3600 if is_on_a_network else 0.0  # asking for the pages alone shows it
    with pytest.raises(InputError, match=r"Cannot read .*/shard: it was cut short .* from 1048576 to 5000 bytes"):
        mapped.read(SIZE // 2, SIZE // 2 + 1, is_first=True)


def test_the_disks_of_this_machine_are_told_from_networks():
    assert not mapping.is_remote(os.stat("/proc").st_dev)
    assert all(mapping._REMOTE.fullmatch(name) for name in ("nfs4", "cifs", "fuse.sshfs", "lustre", "9p"))
    assert not any(mapping._REMOTE.fullmatch(name) for name in ("ext4", "xfs", "btrfs", "overlay", "tmpfs", "zfs"))


TOUCH = """
import os, pathlib, sys
from hpa_data.system.bus_errors import explain_bus_errors
from hpa_data.system.mapping import MappedFile
explain_bus_errors()
path = pathlib.Path(sys.argv[1])
file = MappedFile(path, max_bytes=2**20)
os.truncate(path, 0)
print(file.content.sum())  # without asking
"""


def test_a_process_that_a_cut_file_ends_says_so_in_one_line(file: Path):
    done = subprocess.run([sys.executable, "-c", TOUCH, file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: Cannot read {file}: it was cut short while it was in use, from {SIZE} to 0 bytes. Change no store "
        "that is being read. Run `hpa verify` on it.\n"
    )


def test_a_shard_that_is_cut_while_batches_are_read_is_named(tmp_path: Path):
    store = build_store(tmp_path / "a.zarr", HPA_2018.resized(64, 64), np.eye(28, dtype=np.uint8)[:8])
    shard = next(path for path in (store.path / "train" / "images" / "c").rglob("*") if path.is_file())
    with store.reader(["train"]) as reader:
        before = reader.read([7])
        os.truncate(shard, 10)
        time.sleep(2 * mapping.CHECK_S)
        with pytest.raises(InputError, match=rf"Cannot read {shard}: it was cut short"):
            reader.read(range(8))
    assert before.any()
