"""The same bytes, whoever does the work; an interrupt ends it between two tasks."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from distributed import LocalCluster

from hpa_data.dataset import Sample
from hpa_data.errors import InputError
from hpa_data.store.write import write_shards
from hpa_data.system.executor import Parallelism, check_cluster, count_slots, run_tasks
from hpa_data.system.threads import ThreadTeam
from tests.builders import assert_same_bytes, begin, draw_image

N_SAMPLES = 11


def read(index: int) -> Sample:
    if index == 5:
        raise InputError("no such luck", file="five.png")
    return Sample(image=draw_image(index), note="seven" if index == 7 else "")


def write(path: Path, workers: Parallelism) -> Path:
    ids = [f"s{index}" for index in range(N_SAMPLES)]
    assert len(write_shards(begin(path, ids, shard_samples=2), range(N_SAMPLES), read, workers=workers)) == 1
    return path


def test_threads_processes_and_a_cluster_write_the_same_store(tmp_path: Path) -> None:
    one = write(tmp_path / "one", Parallelism(threads=1))
    assert_same_bytes(one, write(tmp_path / "two", Parallelism(threads=2)))
    assert_same_bytes(one, write(tmp_path / "many", Parallelism(threads=9)))
    assert_same_bytes(one, write(tmp_path / "processes", Parallelism(processes=2)))
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        workers = Parallelism(scheduler=cluster.scheduler_address)
        check_cluster(workers, [str(tmp_path)])
        assert count_slots(workers) == 2
        assert_same_bytes(one, write(tmp_path / "cluster", workers))


def test_a_cluster_without_workers_is_refused() -> None:
    with (
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        pytest.raises(InputError, match="Cannot use the Dask cluster at tcp.*it has no workers"),
    ):
        check_cluster(Parallelism(scheduler=cluster.scheduler_address))


@pytest.mark.parametrize("workers", [Parallelism(threads=1), Parallelism(processes=2)])
def test_a_task_s_error_reaches_the_caller(workers: Parallelism) -> None:
    with pytest.raises(ZeroDivisionError):
        run_tasks(divide, [1, 0, 1], workers=workers, on_done=lambda task: None)


def divide(number: int, threads: ThreadTeam) -> None:
    1 / number


def test_an_interrupt_lets_tasks_end_and_begins_no_other() -> None:
    begun: list[int] = []
    ended: list[int] = []

    def run(task: int, threads: ThreadTeam) -> None:
        begun.append(task)
        if task == 2:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(0.3)
        ended.append(task)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(run, range(50), workers=Parallelism(threads=1), on_done=lambda task: None)
    assert sorted(begun) == sorted(ended)
    assert len(begun) < 10
    assert signal.getsignal(signal.SIGINT) == before


def test_a_second_interrupt_does_not_wait() -> None:
    ended: list[int] = []

    def run(task: int, threads: ThreadTeam) -> None:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        threading.Timer(0.4, os.kill, (os.getpid(), signal.SIGINT)).start()
        time.sleep(3)
        ended.append(task)

    with pytest.raises(KeyboardInterrupt):
        run_tasks(run, [0], workers=Parallelism(threads=1), on_done=lambda task: None)
    assert not ended


def test_a_worker_that_is_killed_is_told_in_one_line() -> None:
    with pytest.raises(InputError, match="Cannot finish the work: a worker process died.*fewer workers"):
        run_tasks(die, [0, 1], workers=Parallelism(processes=1), on_done=lambda task: None)


def die(task: int, threads: ThreadTeam) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


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
    workers = Parallelism(threads=1)
    n_ahead: list[int] = []

    def run(task: int, threads: ThreadTeam) -> None:
        started.append(task)
        n_ahead.append(len(started) - len(done))

    run_tasks(run, range(120), workers=workers, on_done=done.append)
    assert sorted(started) == sorted(done) == list(range(120))
    assert max(n_ahead) <= workers.max_concurrent_tasks


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"threads": 0}, "threads must be at least 1"),
        ({"processes": -1}, "processes must be at least 1"),
        ({"processes": 2, "scheduler": "tcp://x:1"}, "must not be combined with scheduler"),
    ],
)
def test_workers_that_are_none_are_refused(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Parallelism(**given)  # type: ignore[arg-type]
