"""What a stranger has put under a name is neither written to nor waited for; what the user has named is written to."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.store.storage import LocalStorage
from hpa_data.system.atomic import open_atomic, write_atomic, write_output
from hpa_data.system.files import is_unreadable, map_regular, read_regular, refuse_linked_folders, refuse_unreadable
from hpa_data.system.lock import LOCK_NAME, hold_store, read_lock

SECRET = "the user's own file"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text(SECRET)
    return path


def link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def dangling_link(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("absent"))


def pipe(path: Path, _: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, _: Path) -> None:
    path.mkdir()


def device(path: Path, _: Path) -> None:
    path.symlink_to("/dev/zero")


def foreign_file(path: Path, _: Path) -> None:
    path.write_text(SECRET)


def foreign_json(path: Path, _: Path) -> None:
    path.write_text('{"process": 1}')


def large_file(path: Path, _: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


@pytest.mark.parametrize(
    "make", [link, hard_link, dangling_link, pipe, folder, device, foreign_file, foreign_json, large_file]
)
def test_what_is_no_lock_file_of_ours_is_refused_and_left_as_it_is(
    tmp_path: Path, victim: Path, make: Callable[[Path, Path], None]
):
    store = tmp_path / "store"
    store.mkdir()
    make(store / LOCK_NAME, victim)
    before = os.lstat(store / LOCK_NAME)
    with (
        pytest.raises(InputError, match=r"Cannot lock the store .*\.lock is not a lock file of hpa"),
        hold_store(store),
    ):
        pass
    after = os.lstat(store / LOCK_NAME)
    assert (after.st_mode, after.st_size, after.st_mtime_ns) == (before.st_mode, before.st_size, before.st_mtime_ns)
    assert victim.read_text() == SECRET
    assert not (tmp_path / "absent").exists()


def test_what_a_killed_process_or_a_power_failure_left_of_a_lock_is_taken_over(tmp_path: Path):
    for left in (b"", bytes(100), b'{"process": 1, "host": "a", "token": "b"}', b'{"process": 1, "host": "a"}'):
        (tmp_path / LOCK_NAME).write_bytes(left)
        with hold_store(tmp_path):
            assert str(os.getpid()) in read_lock(tmp_path)


@pytest.mark.parametrize("page_cache", [True, False])
@pytest.mark.parametrize("make", [link, hard_link, dangling_link, pipe, device])
def test_a_file_whose_name_we_choose_takes_the_place_of_a_link(
    tmp_path: Path, victim: Path, make: Callable[[Path, Path], None], page_cache: bool
):
    path = tmp_path / "run" / "file"
    path.parent.mkdir()
    make(path, victim)
    with open_atomic(path, page_cache=page_cache) as file:
        file.write(b"ours")
    assert not path.is_symlink()
    assert path.read_bytes() == b"ours"
    assert os.listdir(path.parent) == ["file"]
    assert victim.read_text() == SECRET
    assert not (tmp_path / "absent").exists()


def test_nothing_is_written_or_deleted_through_a_link_to_a_folder_in_a_store(tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "0").write_text(SECRET)
    storage = LocalStorage(tmp_path / "store")
    (storage.folder / "train" / "status").mkdir(parents=True)
    (storage.folder / "train" / "status" / "c").symlink_to(other)
    attempts: list[Callable[[], object]] = [
        lambda: storage.put("train/status/c/0", b"ours"),
        lambda: storage.open_writer("train/status/c/0").__enter__(),
        lambda: storage.delete("train/status/c/0"),
    ]
    for attempt in attempts:
        with pytest.raises(InputError, match=r"Cannot write to .*/status/c: it is a link to another folder"):
            attempt()
    storage.delete("train/status/c")
    assert os.listdir(storage.folder / "train" / "status") == []
    assert (other / "0").read_text() == SECRET


def test_an_output_that_the_user_named_and_that_is_a_link_stays_one_and_its_target_is_replaced(
    tmp_path: Path, victim: Path
):
    (tmp_path / "one").symlink_to(victim)
    (tmp_path / "two").symlink_to("one")
    write_output(tmp_path / "two", b"table")
    assert (tmp_path / "two").is_symlink()
    assert victim.read_bytes() == b"table"
    (tmp_path / "three").symlink_to("absent")
    write_output(tmp_path / "three", b"table")
    assert (tmp_path / "absent").read_bytes() == b"table"


def test_an_output_that_is_a_pipe_or_a_device_is_written_to(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_output(tmp_path / "pipe", b"table")
    reader.join()
    assert read == [b"table"]
    assert (tmp_path / "pipe").is_fifo()
    write_output(Path(os.devnull), b"table")
    assert Path(os.devnull).is_char_device()
    with pytest.raises(OSError, match="No space left"):
        write_output(Path("/dev/full"), b"table")


WRITE = "import pathlib, sys; from hpa_data.system.atomic import write_output; print('before')\n" + (
    "write_output(pathlib.Path(sys.argv[1]), b'table\\n'); print('after')"
)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_can_be_named_whether_it_is_a_pipe_or_a_file(tmp_path: Path, name: str):
    command = [sys.executable, "-c", WRITE, name]
    piped = subprocess.run(command, check=True, capture_output=True)
    with (tmp_path / "file").open("wb") as file:
        subprocess.run(command, check=True, stdout=file)
    assert piped.stdout == (tmp_path / "file").read_bytes() == b"before\ntable\nafter\n"


def test_only_regular_files_of_a_possible_size_are_read(tmp_path: Path, victim: Path):
    for number, make in enumerate((pipe, device)):
        make(tmp_path / str(number), victim)
        for read in (read_regular, map_regular):
            with pytest.raises(ValueError, match="it is not a regular file"):
                read(tmp_path / str(number), max_bytes=10**9)
    large_file(tmp_path / "large", victim)
    for read in (read_regular, map_regular):
        with pytest.raises(ValueError, match="it has 1099511627776 bytes, more than 100"):
            read(tmp_path / "large", max_bytes=100)
    link(tmp_path / "link", victim)
    assert read_regular(tmp_path / "link", max_bytes=100).decode() == SECRET


def test_what_may_not_be_read_is_not_called_damaged():
    remedies = {13: "permissions", 1: "permissions", 5: "the disk or the network", 24: "ulimit -n", 12: "Close other"}
    for number, remedy in remedies.items():
        cause = OSError(number, os.strerror(number), "/store/train/status/c/0")
        with pytest.raises(InputError, match=f"Cannot read /store/train/status/c/0: .*may be good.*{remedy}"):
            refuse_unreadable(cause)
    refuse_unreadable(FileNotFoundError(2, "No such file or directory"))
    refuse_unreadable(ValueError("damaged"))
    wrapped = RuntimeError("zarr failed")
    wrapped.__cause__ = PermissionError(13, "Permission denied")
    with pytest.raises(InputError, match="Cannot read zarr.json: Permission denied"):
        refuse_unreadable(wrapped, "zarr.json")
    wrapped.__cause__ = MemoryError()
    with pytest.raises(MemoryError):
        refuse_unreadable(wrapped)


def test_an_error_that_is_among_its_own_causes_is_looked_at_once():
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert not is_unreadable(first)


def test_small_files_are_written_where_the_user_linked_their_folder(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "named").symlink_to("real")
    write_atomic(tmp_path / "named" / "fold0" / "file", b"ours", inside=tmp_path / "named")
    assert (tmp_path / "real" / "fold0" / "file").read_bytes() == b"ours"


@pytest.mark.parametrize(
    ("link", "target", "is_refused"),
    [
        ("wandb/latest-run", "offline-run-1", False),
        ("fold0/wandb/latest-run", "offline-run-1", False),
        ("wandb/latest-run", "../../elsewhere", True),
        ("wandb/latest", "offline-run-1", True),
        ("latest-run", "wandb", True),
        ("wandb/offline-run-2", "offline-run-1", True),
    ],
)
def test_of_all_links_to_folders_only_that_of_wandb_to_its_newest_log_is_no_reason_to_refuse(
    tmp_path: Path, link: str, target: str, is_refused: bool
) -> None:
    run = tmp_path / "run"
    for folder in ("run/wandb/offline-run-1", "run/fold0/wandb/offline-run-1", "elsewhere"):
        (tmp_path / folder).mkdir(parents=True)
    (run / link).symlink_to(target, target_is_directory=True)
    assert (run / link).is_dir()
    with pytest.raises(InputError, match="it is a link to another folder") if is_refused else nullcontext():
        refuse_linked_folders(run)
