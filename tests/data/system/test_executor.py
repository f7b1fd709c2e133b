"""Threads, processes and a cluster give the same results; interrupts, errors and lost workers end a run cleanly."""

import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import cv2
import dask
import pytest
from distributed import LocalCluster

from hpa_data.dataset import Sample
from hpa_data.errors import InputError
from hpa_data.store.write import write_shards
from hpa_data.system.executor import Parallelism, check_cluster, count_slots, run_tasks
from hpa_data.system.threads import ThreadTeam
from tests.builders import assert_same_bytes, begin, draw_image

N_SAMPLES = 11
Task = tuple[Path, int, int]  # a folder, an index, and the process to interrupt


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Run two workers with one thread each; one that dies is not tried again."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
    ):
        yield cluster


@pytest.fixture(params=["threads", "processes", "cluster"])
def workers(request: pytest.FixtureRequest, cluster: LocalCluster) -> Parallelism:
    """Give each backend, with room for two tasks at a time."""
    return {
        "threads": Parallelism(threads=2),
        "processes": Parallelism(processes=2),
        "cluster": Parallelism(scheduler=cluster.scheduler_address),
    }[request.param]


def read(index: int) -> Sample:
    if index == 5:
        raise InputError("sample 5 cannot be read", file="five.png")
    return Sample(image=draw_image(index), note="seven" if index == 7 else "")


def write(path: Path, workers: Parallelism) -> Path:
    ids = [f"s{index}" for index in range(N_SAMPLES)]
    assert len(write_shards(begin(path, ids, shard_samples=2), range(N_SAMPLES), read, workers=workers)) == 1
    return path


@pytest.mark.parametrize("threads", [2, 9])
def test_the_number_of_threads_does_not_change_a_store(tmp_path: Path, threads: int) -> None:
    one = write(tmp_path / "one", Parallelism(threads=1))
    assert_same_bytes(one, write(tmp_path / "more", Parallelism(threads=threads)))


def test_the_backend_does_not_change_a_store(tmp_path: Path, workers: Parallelism) -> None:
    check_cluster(workers, [str(tmp_path)])
    one = write(tmp_path / "one", Parallelism(threads=1))
    assert_same_bytes(one, write(tmp_path / "other", workers))


def test_the_slots_of_a_cluster_are_its_threads(cluster: LocalCluster) -> None:
    assert count_slots(Parallelism(scheduler=cluster.scheduler_address)) == 2
    assert count_slots(Parallelism(processes=3, threads=2)) == 6


def test_a_cluster_that_does_not_see_a_path_is_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not see .*absent. Use a path on a shared disk"):
        check_cluster(Parallelism(scheduler=cluster.scheduler_address), [str(tmp_path), str(tmp_path / "absent")])


def test_a_cluster_without_workers_is_waited_for_with_a_word_and_not_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    with LocalCluster(n_workers=0, dashboard_address=":0", processes=False) as empty:
        workers = Parallelism(scheduler=empty.scheduler_address, worker_timeout_s=0.5)
        with pytest.raises(InputError, match="Cannot use the Dask cluster at .*it has no workers, for "):
            check_cluster(workers)
        assert "has no workers yet; waiting for the first" in caplog.text


def test_an_adaptive_cluster_starts_its_workers_when_there_is_work(tmp_path: Path) -> None:
    with (
        # Dask's default, which the fixture above lowers: such a cluster may end a worker as it is given a task.
        dask.config.set({"distributed.scheduler.allowed-failures": 3}),
        LocalCluster(n_workers=0, dashboard_address=":0", processes=False) as empty,
    ):
        empty.adapt(minimum=0, maximum=1, interval="100ms", wait_count=1)
        workers = Parallelism(scheduler=empty.scheduler_address)
        check_cluster(workers)
        while empty.workers:  # it has nothing to do any more
            time.sleep(0.05)
        run_tasks(write_line, [(tmp_path / "a", 0), (tmp_path / "a", 1)], workers=workers, on_done=lambda task: None)
    assert len((tmp_path / "a").read_text().splitlines()) == 2


def test_a_cluster_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(InputError, match="scheduler must be the address of a Dask cluster. Received: scheduler='host'"):
        check_cluster(Parallelism(scheduler="host"))
    for address in ("nothing://host:1", "tcp://127.0.0.1", "tcp://127.0.0.1:port"):
        with pytest.raises(InputError, match=f"Cannot reach the Dask cluster at {address}: "):
            check_cluster(Parallelism(scheduler=address))


def test_an_error_of_a_task_reaches_the_caller_as_it_was_raised(workers: Parallelism) -> None:
    with pytest.raises(InputError, match="task 1 failed") as caught:
        run_tasks(fail, [0, 1, 2], workers=workers, on_done=lambda task: None)
    assert caught.value.file == "one.png"


def fail(task: int, threads: ThreadTeam) -> None:
    if task == 1:
        raise InputError("task 1 failed", file="one.png")


def test_an_interrupt_finishes_running_tasks_and_starts_no_other(tmp_path: Path, workers: Parallelism) -> None:
    tasks = [(tmp_path, index, os.getpid()) for index in range(50)]
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(interrupt, tasks, workers=workers, on_done=lambda task: None)
    started, finished = (len(list(tmp_path.glob(f"{state}-*"))) for state in ("started", "finished"))
    assert started == finished
    assert 3 <= started < 10
    assert signal.getsignal(signal.SIGINT) == before


def interrupt(task: Task, threads: ThreadTeam) -> None:
    folder, index, process = task
    (folder / f"started-{index}").touch()
    if index == 2:
        os.kill(process, signal.SIGINT)
    time.sleep(0.3)
    (folder / f"finished-{index}").touch()


def test_a_second_interrupt_does_not_wait() -> None:
    finished: list[int] = []

    def run(task: int, threads: ThreadTeam) -> None:
        for delay in (0.1, 0.4):
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(3)
        finished.append(task)

    with pytest.raises(KeyboardInterrupt):
        run_tasks(run, [0], workers=Parallelism(threads=1), on_done=lambda task: None)
    assert not finished


def test_tasks_start_in_their_order(tmp_path: Path) -> None:
    tasks = [(tmp_path / "started", index) for index in range(120)]
    run_tasks(write_line, tasks, workers=Parallelism(processes=1), on_done=lambda task: None)
    assert (tmp_path / "started").read_text().split() == [str(index) for index in range(120)]


def write_line(task: tuple[Path, int], threads: ThreadTeam) -> None:
    with task[0].open("a") as file:
        file.write(f"{task[1]}\n")


def test_no_task_starts_before_there_is_room_for_it() -> None:
    started: list[int] = []
    done: list[int] = []
    n_ahead: list[int] = []
    workers = Parallelism(threads=1)

    def run(task: int, threads: ThreadTeam) -> None:
        started.append(task)
        n_ahead.append(len(started) - len(done))

    run_tasks(run, range(120), workers=workers, on_done=done.append)
    assert sorted(started) == sorted(done) == list(range(120))
    assert max(n_ahead) <= workers.max_concurrent_tasks


def test_opencv_has_one_thread_while_tasks_run_and_its_own_number_afterwards() -> None:
    seen: list[int] = []
    before = cv2.getNumThreads()
    cv2.setNumThreads(3)
    try:
        run_tasks(
            lambda task, threads: seen.append(cv2.getNumThreads()),
            range(3),
            workers=Parallelism(threads=1),
            on_done=lambda task: None,
        )
        assert seen == [1, 1, 1]
        assert cv2.getNumThreads() == 3
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be at least 1"),
        ({"processes": -1}, "processes must be at least 1"),
        ({"processes": 2, "scheduler": "tcp://x:1"}, "must not be combined with scheduler"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Parallelism(**options)  # type: ignore[arg-type]


def test_a_worker_that_is_killed_is_reported_in_one_line(cluster: LocalCluster) -> None:
    for workers in (Parallelism(processes=1), Parallelism(scheduler=cluster.scheduler_address)):
        with pytest.raises(InputError, match="Cannot finish the work: a worker process died.*fewer workers"):
            run_tasks(die, [0, 1], workers=workers, on_done=lambda task: None)


def die(task: int, threads: ThreadTeam) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class OddError(Exception):
    """An error that can be pickled, and not be read again, as those of some libraries."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def raise_oddly(path: Path, team: ThreadTeam) -> None:
    raise OddError("this", "that")


def test_an_error_that_no_process_can_read_is_not_taken_for_a_dead_worker(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="OddError: this and that") as raised:
        run_tasks(raise_oddly, [tmp_path], workers=Parallelism(processes=1), on_done=print)
    assert "in raise_oddly" in "".join(traceback.format_exception(raised.value))
