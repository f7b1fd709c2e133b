"""Tasks on a cluster: errors that only workers know, deadly tasks, nobody to work."""

import os
import signal
import sys
import types
from collections.abc import Iterator

import dask
import pytest
from distributed import LocalCluster

from hpa_data.errors import InputError
from hpa_data.system.executor import Parallelism, run_tasks
from hpa_data.system.threads import ThreadTeam


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Run one worker; a task that it dies of twice is not tried again."""
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster,
    ):
        yield cluster


def test_an_error_of_a_class_that_is_missing_here_is_told_in_one_line(cluster: LocalCluster) -> None:
    with pytest.raises(
        InputError, match=r"^Cannot finish the work: worker tcp://\S+ raised Odd: what a day\. Run.*log\.$"
    ):
        run_tasks(raise_odd, [0], workers=Parallelism(scheduler=cluster.scheduler_address), on_done=lambda task: None)


def raise_odd(task: int, threads: ThreadTeam) -> None:
    """Raise an error of a class that can be imported in this process only."""
    module = types.ModuleType("only_there")
    odd = type("Odd", (Exception,), {"__module__": "only_there"})
    vars(module)["Odd"] = odd
    sys.modules["only_there"] = module
    raise odd("what a day\nand what a night")


def test_the_task_that_kills_its_workers_is_named_and_those_beside_it_are_done(cluster: LocalCluster) -> None:
    done: list[int] = []
    with pytest.raises(
        InputError, match=r"a worker process died, 1 in turn, with nothing else to do but task 1; the last"
    ):
        run_tasks(
            die_at_one,
            [0, 1, 2, 3],
            workers=Parallelism(scheduler=cluster.scheduler_address),
            on_done=done.append,
            describe=lambda task: f"task {task}",
        )
    assert done[0] == 0
    assert 1 not in done


def die_at_one(task: int, threads: ThreadTeam) -> None:
    if task == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_cluster_without_a_worker_is_given_up_after_the_time_that_was_set() -> None:
    with LocalCluster(n_workers=0, dashboard_address=None) as empty:
        workers = Parallelism(scheduler=empty.scheduler_address, worker_timeout_s=0.5)
        with pytest.raises(
            InputError, match=r"the Dask cluster at tcp://\S+ has no worker, for . s now.*--worker-timeout"
        ):
            run_tasks(die_at_one, [0], workers=workers, on_done=lambda task: None)
