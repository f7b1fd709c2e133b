"""A thread pool whose jobs are split over its threads, with little overhead per job.

Why not `concurrent.futures`: it makes a future with a lock and a condition for each thread and each batch, which costs
0.1 ms of two cores on a batch that takes 3 ms. Here a job is one object with one lock, whatever the number of threads.
"""

import atexit
import contextlib
import itertools
import os
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Job:
    """Calls of `task` with 0 to `n_items` - 1, shared by the threads that pick the job up."""

    def __init__(self, task: Callable[[int], None], n_items: int, n_threads: int) -> None:
        self._task = task
        self._n_items = n_items
        # Counters whose next number is atomic: the item to process, and the threads that have finished.
        self._items = itertools.count()
        self._finished = itertools.count(1)
        self._n_threads = n_threads
        self._error: BaseException | None = None
        self._done = threading.Lock()
        if n_threads:
            self._done.acquire()

    def run(self) -> None:
        """Process items until none are left; called in each of the threads."""
        try:
            for item in self._items:
                if item >= self._n_items:
                    break
                self._task(item)
        except BaseException as error:  # raised by `result`
            self._error = error
        if next(self._finished) == self._n_threads:
            # Other threads may hold this job for some moments more; the memory of its batch must be free by then.
            del self._task
            self._done.release()

    def result(self) -> None:
        """Wait until all items are processed; raise the error of one that failed."""
        with self._done:
            error = self._error
        if error is not None:
            # Its traceback holds frames, and they hold this job and the memory of a batch: break the cycle.
            traceback.clear_frames(error.__traceback__)
            try:
                raise error
            finally:
                del error, self


class ThreadTeam:
    """A fixed number of threads that work on one job together; a context manager.

    The threads start with the first job, and again after a fork. They end when the team is closed or collected.
    """

    def __init__(self, n_threads: int, *, name: str = "hpa-reader") -> None:
        self._n_threads = n_threads
        self._name = name
        self._is_open = True
        self._reset()
        _OPEN.add(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _reset(self) -> None:
        """Have no threads: none were started yet, or a fork left them behind, with the locks they held."""
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._end: weakref.finalize[[SimpleQueue[Job | None], int], ThreadTeam] | None = None

    def _start(self) -> None:
        self._end = weakref.finalize(self, _stop_threads, self._queue, self._n_threads)
        self._end.atexit = False
        for number in range(self._n_threads):
            thread = threading.Thread(target=_run_jobs, args=(self._queue,), name=f"{self._name}-{number}", daemon=True)
            thread.start()  # may fail; the others can be closed even so
            self._threads.append(thread)

    def start(self, task: Callable[[int], None], n_items: int) -> Job:
        """Start calling `task` with 0 to `n_items` - 1, each once, after the jobs that were started before.

        After an error in one item, the thread that met it takes no other item of the job; the other threads continue.
        Raises ValueError if the team is closed.
        """
        n_threads = min(self._n_threads, n_items)
        job = Job(task, n_items, n_threads)
        with self._lock:  # a job queued behind the end of the threads would never run
            if not self._is_open:
                raise ValueError("Cannot start a job: the threads are closed. Make a new ThreadTeam.")
            if not self._threads:
                self._start()
            for _ in range(n_threads):
                self._queue.put(job)
        return job

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Yield `function(item)` for each item, in order; the first `next` starts them all.

        If one fails, or the iterator or the team is closed early, items that have not started are skipped.
        """
        inputs = list(items)
        results: dict[int, Result] = {}
        is_stopped = False

        def run(index: int, _: int) -> None:
            if not is_stopped and self._is_open:
                results[index] = function(inputs[index])

        jobs = [self.start(partial(run, index), 1) for index in range(len(inputs))]
        try:
            for index, job in enumerate(jobs):
                job.result()
                yield results.pop(index)
        finally:
            is_stopped = True

    def close(self) -> None:
        """Wait for the jobs that were started, and end the threads."""
        with self._lock:
            self._is_open = False
            if self._end is not None and self._end.detach():  # calling it no longer works while Python exits
                _stop_threads(self._queue, self._n_threads)
        for thread in self._threads:
            thread.join()


@contextlib.contextmanager
def sample_threads(n_threads: int) -> Iterator[ThreadTeam]:
    """Open a team of threads for samples; meanwhile OpenCV, which would start more in each, has a single one."""
    with single_threaded_opencv(), ThreadTeam(n_threads, name="hpa-samples") as team:
        yield team


@contextlib.contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """Set OpenCV to one thread, for the whole process, until the last block that asked for it ends."""
    import cv2  # here, because the reader's threads do without

    with _OPENCV.lock:
        if not _OPENCV.n_blocks:
            _OPENCV.n_threads_before = cv2.getNumThreads()
            cv2.setNumThreads(1)
        _OPENCV.n_blocks += 1
    try:
        yield
    finally:
        with _OPENCV.lock:
            _OPENCV.n_blocks -= 1
            if not _OPENCV.n_blocks:
                cv2.setNumThreads(_OPENCV.n_threads_before)


class _OpenCVThreads:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.n_blocks = 0
        self.n_threads_before = 0


_OPENCV = _OpenCVThreads()


# All open teams, closed before Python exits: it would freeze the threads in the middle of a job. TensorFlow, which
# releases its pipelines later still, would then wait for that job forever.
_OPEN: "weakref.WeakSet[ThreadTeam]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for team in list(_OPEN):
        team.close()


def _reset_all() -> None:
    for team in list(_OPEN):
        team._reset()


os.register_at_fork(after_in_child=_reset_all)


def _run_jobs(queue: "SimpleQueue[Job | None]") -> None:
    while (job := queue.get()) is not None:
        job.run()
        del job  # it holds the memory of a batch


def _stop_threads(queue: "SimpleQueue[Job | None]", n_threads: int) -> None:
    for _ in range(n_threads):
        queue.put(None)
