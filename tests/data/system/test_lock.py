"""A store has one writer at a time, and the lock of a dead one is ignored."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.system.lock import LOCK_NAME, LockedError, hold_store

HOLDER = "import sys, time, pathlib; from hpa_data.system.lock import hold_store\n" + (
    "with hold_store(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def test_a_second_writer_is_refused_and_the_first_named_until_that_is_dead(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with (
            pytest.raises(InputError, match=f"Cannot write to the store .*: process {first.pid} on"),
            hold_store(tmp_path),
        ):
            pass
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert (tmp_path / LOCK_NAME).exists()  # left by the killed process
    with hold_store(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK_NAME).read_text()
    assert not (tmp_path / LOCK_NAME).exists()


def test_a_new_store_that_stays_empty_is_removed(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold_store(tmp_path / "a" / "b.zarr"):
        raise KeyError
    assert not (tmp_path / "a" / "b.zarr").exists()


def test_a_file_system_without_locks_is_refused_and_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / "old").mkdir()
    for store in (tmp_path / "new" / "b.zarr", tmp_path / "old"):
        with pytest.raises(InputError, match=r"Cannot lock the store .* Use a disk whose file system has locks\."):
            hold_store(store).__enter__()
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]


def test_a_file_is_refused_as_a_store(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match="Cannot write a store to .*: it is not a folder"), hold_store(tmp_path / "a"):
        pass


def test_a_writer_that_waits_is_told_for_whom_and_goes_on_when_the_other_one_has_ended(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, tmp_path], stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        told: list[str] = []

        def stop(holder: str) -> None:
            told.append(holder)
            first.kill()

        with hold_store(tmp_path, wait_s=60, on_wait=stop):
            assert [line.startswith(f"process {first.pid} on ") for line in told] == [True]
        with hold_store(tmp_path), pytest.raises(LockedError) as error, hold_store(tmp_path, wait_s=0.1):
            pass
        assert error.value.holder.startswith(f"process {os.getpid()} on ")
        with hold_store(tmp_path), hold_store(tmp_path, name=".other"):  # two uses, two locks
            pass
    assert not list(tmp_path.iterdir())
