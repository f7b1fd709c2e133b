"""One writer at a time, and no dead one in the way."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.system.lock import LOCK_NAME, hold_store

HOLDER = "import sys, time, pathlib; from hpa_data.system.lock import hold_store\n" + (
    "with hold_store(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def test_a_second_writer_is_refused_by_name_until_the_first_is_dead(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"one writer at a time.*process {first.pid} on"), hold_store(tmp_path):
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (tmp_path / LOCK_NAME).exists()  # what is left of it
    with hold_store(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK_NAME).read_text()
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_store_that_was_not_there_is_not_left_behind_empty(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold_store(tmp_path / "a" / "b.zarr"):
        raise KeyError
    assert not (tmp_path / "a" / "b.zarr").exists()


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match="must be a new folder or a store"), hold_store(tmp_path / "a"):
        pass
