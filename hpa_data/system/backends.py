"""Where a task is computed: in a thread of this process, or in a worker process. For clusters see `placement`."""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import resource_tracker
from queue import SimpleQueue
from typing import Any, Protocol

import cloudpickle
import dask

from hpa_data.system.complaints import send_complaints
from hpa_data.system.interrupts import block_interrupts
from hpa_data.system.stderr_guard import is_guarded
from hpa_data.system.threads import ThreadTeam, sample_threads, single_threaded_opencv

Run = Callable[[Any, ThreadTeam], None]


class Backend(Protocol):
    """What `executor.run_tasks` needs of the place where tasks are computed."""

    lost_worker: tuple[type[Exception], ...]
    """What the future of a task raises if its worker died."""

    @property
    def max_submitted(self) -> int:
        """Tasks to submit at a time, counting the running ones."""

    def submit(self, run: Run, task: Any) -> Any:
        """Start a task and return its future, hashable; its `result` raises what the task raised."""

    def next_done(self) -> Any:
        """Wait for a submitted future that is done; each is returned once. None if more tasks can be submitted."""

    def drop_waiting(self) -> Sequence[Any]:
        """Give up submitted tasks that have not begun; return their futures."""

    def close(self, *, wait: bool) -> None:
        """Release the workers, after their running tasks if asked to wait."""


class _PoolBackend:
    """A pool of this machine, and the futures of it that are done."""

    lost_worker: tuple[type[Exception], ...] = (BrokenExecutor,)

    def __init__(self, pool: Executor, max_submitted: int) -> None:
        self.max_submitted = max_submitted
        self._pool = pool
        self._done: SimpleQueue[Future[None]] = SimpleQueue()

    def _submit(self, compute: Callable[[Any], None], graph: Any) -> Future[None]:
        future = self._pool.submit(compute, graph)
        future.add_done_callback(self._done.put)
        return future

    def next_done(self) -> Future[None]:
        """Take the next one from the queue."""
        return self._done.get()

    def drop_waiting(self) -> Sequence[Future[None]]:
        """Give up none: there are no more tasks than workers."""
        return ()

    def close(self, *, wait: bool) -> None:
        """Shut the pool down."""
        self._pool.shutdown(wait=wait, cancel_futures=True)


class ThreadBackend(_PoolBackend):
    """Threads of this process. All tasks share one team of threads for their samples."""

    def __init__(self, n_tasks: int, *, threads: int) -> None:
        super().__init__(ThreadPoolExecutor(n_tasks, thread_name_prefix="hpa-tasks"), n_tasks)
        self._opencv = contextlib.ExitStack()
        self._opencv.enter_context(single_threaded_opencv())
        self._team = ThreadTeam(threads, name="hpa-samples")

    def submit(self, run: Run, task: Any) -> Future[None]:
        """Give the task to the pool, as it is."""
        return self._submit(_compute, _to_graph(partial(run, task, self._team)))

    def close(self, *, wait: bool) -> None:
        """End the threads for samples, too, if no task uses them any longer."""
        super().close(wait=wait)
        if wait:
            self._team.close()
        self._opencv.close()


class ProcessBackend(_PoolBackend):
    """Worker processes of this machine. Each task has threads of its own for its samples."""

    def __init__(self, n_processes: int, *, threads: int) -> None:
        _start_tracker()
        # Spawned, not forked: a fork of a process with threads may wait forever for a lock that one of them held.
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(n_processes, mp_context=spawn, initializer=_start_worker, initargs=(is_guarded(),))
        super().__init__(pool, n_processes)
        self._threads = threads

    def submit(self, run: Run, task: Any) -> Future[None]:
        """Send the task to a process."""
        graph = _to_graph(partial(_run_alone, run, task, self._threads))
        with block_interrupts():  # a new process inherits it, and would be interrupted while it loads libraries
            # As on a cluster; pickle itself does not take functions that were defined in a notebook.
            return self._submit(_compute_pickled, cloudpickle.dumps(graph))


def _start_tracker() -> None:
    """Start Python's process that removes semaphores, without its warning when a command was interrupted at once."""
    before = os.environ.get("PYTHONWARNINGS")
    quiet = "ignore:resource_tracker:UserWarning"
    os.environ["PYTHONWARNINGS"] = f"{before},{quiet}" if before else quiet
    try:
        resource_tracker.ensure_running()
    finally:
        os.environ.pop("PYTHONWARNINGS")
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before


def _to_graph(call: Callable[[], None]) -> Any:
    """Return a Dask graph of one task. Dask does not search the arguments of a partial for other graphs."""
    return dask.delayed(call, pure=False)()


def _compute(graph: Any) -> None:
    # In this thread. By its name, "synchronous", Dask would import distributed first: 0.2 s in each worker process.
    dask.compute(graph, scheduler=dask.get, optimize_graph=False)


def _compute_pickled(graph: bytes) -> None:
    try:
        _compute(cloudpickle.loads(graph))
        return
    except Exception as error:
        if _is_portable(error):
            raise
        told = RuntimeError(f"{type(error).__name__}: {error}")
        told.add_note("".join(traceback.format_exception(error)))
    raise told  # here, where the other error is not its context, which may travel with it


def _is_portable(error: Exception) -> bool:
    """Return whether another process can read an error; one that it cannot read looks like a worker that died."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return False
    return True


def _run_alone(run: Run, task: Any, threads: int) -> None:
    """Run a task that shares its threads with no other."""
    with sample_threads(threads) as team:
        run(task, team)


def _start_worker(guarded: bool) -> None:
    """Leave interrupts to the main process, as well as what libraries complain of, and end with it if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if guarded:
        send_complaints()
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
