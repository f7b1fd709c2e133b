"""Where tasks run: threads of this process, processes of this machine, or a Dask cluster. One Dask task each."""

import contextlib
import logging
import multiprocessing
import os
import re
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from typing import Any, TypeVar

import cv2
import dask
from dask.callbacks import Callback
from dask.system import CPU_COUNT

from hpa_data.errors import InputError, first_line
from hpa_data.system.threads import ThreadTeam

Task = TypeVar("Task")


@dataclass(frozen=True, kw_only=True)
class Parallelism:
    """Who does the work. What is made does not depend on it.

    Attributes
    ----------
    threads : int, optional
        That a task may use for its samples; by default all cores, shared between the processes.
    processes : int, optional
        Worker processes; by default none, the tasks run in threads of this process. They are spawned: a script that
        asks for them must have its own work below ``if __name__ == "__main__":``.
    scheduler : str, optional
        Address of a Dask cluster, ``tcp://…``, whose workers see the same files under the same paths. Each of its
        threads takes a task, and `threads` says nothing.
    """

    threads: int | None = None
    processes: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        """Check that the numbers are ones, and that one place is named."""
        for name in ("threads", "processes"):
            number = getattr(self, name)
            if number is not None and number < 1:
                raise InputError(f"{name} must be at least 1. Received: {name}={number}. Leave it out for the default.")
        if self.processes and self.scheduler:
            raise InputError(
                "Work must go to worker processes or to a cluster. Received: both. Pass --workers or --scheduler."
            )

    @property
    def threads_per_task(self) -> int:
        """Threads that the tasks of a process share for their samples; 0 on a cluster, whose tasks use their own."""
        return 0 if self.scheduler else self.threads or max(CPU_COUNT // (self.processes or 1), 1)

    @property
    def max_concurrent_tasks(self) -> int:
        """Tasks that run at the same time on this machine; 0 if a cluster does the work.

        In one process two or more share the threads: while one writes its shard, the others' samples are decoded.
        """
        return 0 if self.scheduler else self.processes or 2 + self.threads_per_task // 4


def run_tasks(
    run: Callable[[Task], None], tasks: Sequence[Task], *, workers: Parallelism, on_done: Callable[[Task], None]
) -> None:
    """Run a function on each task.

    The first interrupt (Ctrl-C) lets the tasks that have begun come to their end and begins no other (on a cluster:
    none but those that it was given ahead, two for each of its threads); a second one does not wait.

    Parameters
    ----------
    run : function of a task
        It and the tasks must be picklable unless threads of this process do the work.
    tasks : sequence
        Begun in this order.
    workers : Parallelism
    on_done : function of a task
        Called after each, in the calling thread.

    Raises
    ------
    KeyboardInterrupt
        After an interrupt.
    InputError
        If the cluster cannot be reached, or a worker died.
    Exception
        Whatever `run` raised first; the tasks that had begun are over by then.
    """
    if not tasks:
        return
    # Dask takes the last name first: named so, tasks begin in order. A cluster must not take another run's tasks for
    # these. A partial keeps Dask from searching the arguments.
    mark, width = uuid.uuid4().hex, len(str(len(tasks)))
    delayed = [
        dask.delayed(partial(_catch, run, task), pure=False)(dask_key_name=f"{mark}-{len(tasks) - number:0{width}}")
        for number, task in enumerate(tasks)
    ]
    by_key = {graph.key: task for graph, task in zip(delayed, tasks, strict=True)}

    def finish(key: str, error: Exception | None) -> None:
        if error is not None:
            raise error
        on_done(by_key[key])

    with _catch_interrupts() as interrupts:
        if workers.scheduler:
            _run_on_cluster(workers.scheduler, delayed, finish, interrupts)
        else:
            _run_here(workers, delayed, finish, interrupts)


def _catch(run: Callable[[Task], None], task: Task) -> Exception | None:
    """Run a task and return what it raised: Dask would wrap it up with its traceback as text."""
    try:
        run(task)
    except Exception as error:
        return error
    return None


def _run_here(
    workers: Parallelism, delayed: Sequence[Any], finish: Callable[[str, Exception | None], None], interrupts: list[int]
) -> None:
    def finished(key: str, result: Any, *_: Any) -> None:
        finish(key, result)
        if interrupts:
            raise KeyboardInterrupt

    if not workers.processes:
        sample_threads(workers.threads_per_task)  # made once, before several tasks ask for it
    pool = _open_pool(workers)
    try:
        with Callback(posttask=finished):
            dask.compute(
                *delayed,
                scheduler="processes" if workers.processes else "threads",
                pool=pool,
                chunksize=1,
                optimize_graph=False,
            )
    except BrokenExecutor as error:
        if interrupts:  # a worker that was still starting had it, too
            raise KeyboardInterrupt from error
        raise _lost_worker() from error
    finally:
        # Waits for the tasks that have begun, unless somebody will not.
        with contextlib.suppress(KeyboardInterrupt):
            pool.shutdown(wait=len(interrupts) < 2, cancel_futures=True)


def _lost_worker() -> InputError:
    return InputError(
        "A worker process must live until its work is done. Received: one that is gone, perhaps killed for memory. Run "
        "the same command again, with fewer workers."
    )


@lru_cache
def sample_pool(threads: int) -> ThreadPoolExecutor:
    """Return a pool of threads for the samples of whatever is not written. Made at the first call."""
    cv2.setNumThreads(1)  # OpenCV would start a thread a core in each of them
    return ThreadPoolExecutor(threads, thread_name_prefix="hpa-samples")


@lru_cache
def sample_threads(threads: int) -> ThreadTeam:
    """Return the threads of this process that the samples of all tasks share. Made at the first call."""
    cv2.setNumThreads(1)  # as above
    return ThreadTeam(threads, name="hpa-samples")


def _open_pool(workers: Parallelism) -> Executor:
    if not workers.processes:
        return ThreadPoolExecutor(workers.max_concurrent_tasks, thread_name_prefix="hpa-tasks")
    # Not forked: after a thread pool has begun, a forked process may wait for ever.
    return ProcessPoolExecutor(
        workers.processes, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker
    )


def _begin_worker() -> None:
    """Leave interrupts to the main process, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def check_workers(workers: Parallelism, paths: Sequence[str] = ()) -> int:
    """Find out how many samples are worked on at a time, and refuse a cluster that cannot do it.

    Parameters
    ----------
    workers : Parallelism
    paths : sequence of str
        That every worker must see.

    Raises
    ------
    InputError
        If a cluster cannot be reached, has no worker, or one that lacks this package or does not see a path.
    """
    if not workers.scheduler:
        return workers.threads_per_task * (workers.processes or 1)
    with _connect(workers.scheduler) as client:
        if not client.nthreads():
            raise InputError(
                f"A Dask cluster must have workers. Received: {workers.scheduler} without any. Run `dask worker "
                f"{workers.scheduler}`."
            )
        try:
            seen = client.run(_list_unseen, list(paths))
        except ImportError as error:
            raise InputError(
                f"The workers of a Dask cluster must have hpa installed. Received: {workers.scheduler}, where {error}. "
                "Install it there."
            ) from error
        for worker, unseen in seen.items():
            if unseen:
                raise InputError(
                    f"The workers of a Dask cluster must see the same files. Received: {worker}, which does not see "
                    f"{unseen[0]}. Use a path on a shared disk."
                )
        return int(sum(client.nthreads().values()))


def _list_unseen(paths: Sequence[str]) -> list[str]:
    """Return the paths that are not there."""
    return [path for path in paths if not os.path.exists(path)]


def _connect(address: str) -> Any:
    """Return a client of a cluster."""
    if not re.fullmatch(r"\w+://.+", address):
        raise InputError(
            f"scheduler must be the address of a Dask cluster. Received: {address!r}. Pass one like tcp://host:8786."
        )
    try:
        from distributed import Client

        return Client(address, timeout="10s", set_as_default=False)
    except ImportError as error:
        raise InputError(
            "A Dask cluster must have distributed. Received: no such package. Run: pip install '.[cluster]'"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        reason = first_line(error)
        raise InputError(
            f"scheduler must be the address of a Dask cluster. Received: {address!r}: {reason}. Start one with `dask "
            "scheduler` and `dask worker`, or leave it out."
        ) from error


def _run_on_cluster(
    address: str, delayed: Sequence[Any], finish: Callable[[str, Exception | None], None], interrupts: list[int]
) -> None:
    """Keep a cluster busy with twice as many tasks as it has threads, so that an interrupt has not much to wait for."""
    from distributed import CancelledError, KilledWorker, as_completed
    from distributed.comm import CommClosedError

    with _connect(address) as client:
        window = 2 * max(sum(client.nthreads().values()), 1)
        waiting = iter(delayed)
        running = as_completed([client.compute(graph) for graph in islice(waiting, window)], loop=client.loop)
        fault: Exception | None = None
        for future in running:
            try:
                finish(future.key, future.result())
            except (KilledWorker, CancelledError, CommClosedError):
                fault = fault or _lost_worker()
            except Exception as error:
                fault = fault or error
            if fault is None and not interrupts and (graph := next(waiting, None)) is not None:
                running.add(client.compute(graph))
        if fault is not None:
            raise fault
        if interrupts:
            raise KeyboardInterrupt


@contextlib.contextmanager
def _catch_interrupts() -> Iterator[list[int]]:
    """Give a list that each interrupt is added to; from the second on, they are raised as ever."""
    interrupts: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield interrupts  # signals reach the main thread alone
        return

    def note(number: int, _: object) -> None:
        interrupts.append(number)
        if len(interrupts) > 1:
            raise KeyboardInterrupt
        logging.getLogger(__name__).warning("Interrupted: finishing what has begun. Once more to stop at once.")

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, before)
