"""Run tasks in threads of this process, in processes of this machine, or on a Dask cluster; one Dask task each.

A backend says where a task is computed; `run_tasks` is the only loop.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from dask.system import CPU_COUNT

from hpa_data.errors import InputError
from hpa_data.system.backends import Backend, ProcessBackend, ThreadBackend
from hpa_data.system.cluster import check_workers, count_threads, open_client
from hpa_data.system.interrupts import Interrupts, defer_interrupt
from hpa_data.system.patience import wait_for_first_worker
from hpa_data.system.placement import GRACE_S, ClusterBackend
from hpa_data.system.threads import ThreadTeam

Task = TypeVar("Task")


@dataclass(frozen=True, kw_only=True)
class Parallelism:
    """Where the work is done, and how much of it at a time. Results do not depend on it."""

    threads: int | None = None
    """Threads that the tasks of a process share for their samples; by default all cores, divided by the processes."""

    processes: int | None = None
    """Worker processes; by default none, tasks run in threads of this process. They are spawned: a script that asks
    for them must keep its own work below ``if __name__ == "__main__":``."""

    scheduler: str | None = None
    """Address of a Dask cluster, ``tcp://…``, whose workers see the same files under the same paths. Each of its
    threads takes one task; `threads` has no effect."""

    worker_timeout_s: float = 600.0
    """Seconds to wait for a cluster of which no worker can be given tasks, before giving up."""

    def __post_init__(self) -> None:
        """Check the numbers, and that only one backend is named."""
        for name in ("threads", "processes"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InputError(f"{name} must be at least 1. Received: {name}={number}. Leave it out for the default.")
        if self.processes and self.scheduler:
            raise InputError(
                f"processes must not be combined with scheduler. Received: processes={self.processes}, "
                f"scheduler={self.scheduler!r}. Pass --workers or --scheduler, not both."
            )

    @property
    def threads_per_task(self) -> int:
        """Threads that the tasks of one process share for their samples; 0 if a cluster does the work."""
        return 0 if self.scheduler else self.threads or max(CPU_COUNT // (self.processes or 1), 1)

    @property
    def max_concurrent_tasks(self) -> int:
        """Tasks that run at the same time on this machine; 0 if a cluster does the work.

        In one process two or more share the threads: while one writes its shard, samples of the others are decoded.
        """
        return 0 if self.scheduler else self.processes or 2 + self.threads_per_task // 4


def count_slots(workers: Parallelism) -> int:
    """Count the samples that are processed at the same time; asks the cluster, if one is named."""
    if not workers.scheduler:
        return workers.threads_per_task * (workers.processes or 1)
    with open_client(workers.scheduler) as client:
        return count_threads(client)


def check_cluster(workers: Parallelism, paths: Sequence[str] = ()) -> None:
    """Refuse a cluster that cannot do the work; without a cluster, do nothing.

    Parameters
    ----------
    workers : Parallelism
    paths : sequence of str
        Files and folders that every worker must see.

    Raises
    ------
    InputError
        If the cluster cannot be reached, has no worker for too long, or has one that is not like this process: another
        version of this package or of what it decodes and encodes with, or another disk.
    """
    if workers.scheduler:
        with open_client(workers.scheduler) as client:
            wait_for_first_worker(client, workers.scheduler, timeout_s=workers.worker_timeout_s)
            check_workers(client, workers.scheduler, paths)


def run_tasks(
    run: Callable[[Task, ThreadTeam], None],
    tasks: Sequence[Task],
    *,
    workers: Parallelism,
    on_done: Callable[[Task], None],
    paths: Sequence[str] = (),
    describe: Callable[[Task], str] = str,
) -> None:
    """Run a function on each task.

    The first interrupt (Ctrl-C or SIGTERM) lets running tasks finish, on a cluster for at most `placement.GRACE_S`
    seconds, and starts no other; the second one stops at once.

    Parameters
    ----------
    run : function of a task and a ThreadTeam
        The team has `Parallelism.threads_per_task` threads (on a cluster one) for what is inside a task; in one
        process, all tasks share it. Function and tasks must be picklable unless threads of this process do the work.
    tasks : sequence
        Started in this order.
    workers : Parallelism
    on_done : function of a task
        Called after each task, in the calling thread.
    paths : sequence of str
        Files and folders that every worker of a cluster must see, also one that joins late.
    describe : function of a task
        Names it in messages.

    Raises
    ------
    KeyboardInterrupt
        After an interrupt.
    InputError
        If the cluster cannot be reached or has no worker for too long, or a worker died.
    Exception
        Whatever `run` raised first; the tasks that were running have finished by then.
    """
    if not tasks:
        return
    running_tasks = (
        f"giving the running tasks {GRACE_S:.0f} s to finish" if workers.scheduler else "finishing the running tasks"
    )
    with defer_interrupt(f"Interrupted: {running_tasks}. Press Ctrl-C again to stop at once.") as interrupts:
        backend = _open_backend(workers, interrupts, paths, describe)
        try:
            _run_all(backend, run, tasks, on_done, interrupts, describe=describe)
        except _LostWorkerError as error:
            if interrupts.requested:  # worker processes received the signal, too
                raise KeyboardInterrupt(interrupts.received[0]) from error
            raise
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                backend.close(wait=interrupts.count < 2)


class _LostWorkerError(InputError):
    """A worker process of this machine died."""


def _open_backend(
    workers: Parallelism, interrupts: Interrupts, paths: Sequence[str], describe: Callable[[Any], str]
) -> Backend:
    if workers.scheduler:
        return ClusterBackend(
            workers.scheduler,
            paths=paths,
            timeout_s=workers.worker_timeout_s,
            interrupts=interrupts,
            describe=describe,
        )
    if workers.processes:
        return ProcessBackend(workers.processes, threads=workers.threads_per_task)
    return ThreadBackend(workers.max_concurrent_tasks, threads=workers.threads_per_task)


def _run_all(
    backend: Backend,
    run: Callable[[Task, ThreadTeam], None],
    tasks: Sequence[Task],
    on_done: Callable[[Task], None],
    interrupts: Interrupts,
    *,
    describe: Callable[[Task], str],
) -> None:
    """Submit tasks as others finish, until all are done, or one failed and the running ones are done."""
    waiting = iter(tasks)
    running: dict[Any, Task] = {}
    error: Exception | None = None
    while True:
        if error is None and not interrupts.requested:
            for task in islice(waiting, max(backend.max_submitted - len(running), 0)):
                running[backend.submit(run, task)] = task
        if not running:
            break
        future = backend.next_done()
        if future is None:
            continue
        task = running.pop(future)
        try:
            future.result()
        except backend.lost_worker as raised:
            error = error or _name_tasks(raised, [task, *running.values()], describe)
        except Exception as raised:
            error = error or raised
            for dropped in backend.drop_waiting():
                running.pop(dropped, None)
        else:
            on_done(task)
    if error is not None:
        raise error


def _name_tasks(error: Exception, tasks: Sequence[Task], describe: Callable[[Task], str]) -> Exception:
    """Return the error for a worker process that died; which task it computed is known only if there was one."""
    named = " or ".join(map(describe, tasks))
    lost = _LostWorkerError(
        f"Cannot finish the work: a worker process died, perhaps out of memory, at {named}. Run the same command again "
        "with fewer workers."
    )
    lost.__cause__ = error
    return lost
