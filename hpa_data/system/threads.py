"""Threads that take from a queue what several of them do together.

Python's own pool spends 0.1 ms of two cores on a batch that takes them 3: it makes a future with a lock and a condition
for each thread and each batch. Here a job is one object and one lock, whatever the number of threads.
"""

import atexit
import itertools
import os
import threading
import traceback
import weakref
from collections.abc import Callable
from queue import SimpleQueue


class Job:
    """Calls of `work` with 0 to `n_turns` - 1, done by as many threads as take it up."""

    def __init__(self, work: Callable[[int], None], n_turns: int, n_threads: int) -> None:
        self._work = work
        self._n_turns = n_turns
        # Counters whose next number is atomic: the turn to do, and the threads that have ended.
        self._turns = itertools.count()
        self._ends = itertools.count(1)
        self._n_threads = n_threads
        self._fault: BaseException | None = None
        self._done = threading.Lock()
        if n_threads:
            self._done.acquire()

    def run(self) -> None:
        """Take turns until there are none left; called in each of the threads."""
        try:
            for turn in self._turns:
                if turn >= self._n_turns:
                    break
                self._work(turn)
        except BaseException as fault:  # raised where it is waited for
            self._fault = fault
        if next(self._ends) == self._n_threads:
            self._done.release()

    def result(self) -> None:
        """Wait until all turns are done; raise what went wrong in one of them."""
        with self._done:
            fault = self._fault
        if fault is not None:
            # Its traceback holds frames, and they hold this job and the memory of a batch: no cycle must stay.
            traceback.clear_frames(fault.__traceback__)
            try:
                raise fault
            finally:
                del fault, self


class ThreadTeam:
    """So many threads, which begin with the first job, anew after a fork, and end when this is closed or collected."""

    def __init__(self, n_threads: int, *, name: str = "hpa-reader") -> None:
        self._n_threads = n_threads
        self._name = name
        self._is_open = True
        self._forget()
        _OPEN.add(self)

    def _forget(self) -> None:
        """Have no threads: they have not begun, or a fork has left them behind, with whatever they held."""
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._end: weakref.finalize[[SimpleQueue[Job | None], int], ThreadTeam] | None = None

    def _begin(self) -> None:
        self._threads = [
            threading.Thread(target=_take_jobs, args=(self._queue,), name=f"{self._name}-{number}", daemon=True)
            for number in range(self._n_threads)
        ]
        for thread in self._threads:
            thread.start()
        self._end = weakref.finalize(self, _end_all, self._queue, self._n_threads)
        self._end.atexit = False

    def start(self, work: Callable[[int], None], n_turns: int) -> Job:
        """Begin to call `work` with 0 to `n_turns` - 1, each once; after what was begun before.

        Raises ValueError once this is closed.
        """
        n_threads = min(self._n_threads, n_turns)
        job = Job(work, n_turns, n_threads)
        with self._lock:  # what is queued behind the threads' end would never be done
            if not self._is_open:
                raise ValueError("Threads must be open. Received: threads that were closed. Make new ones.")
            if not self._threads:
                self._begin()
            for _ in range(n_threads):
                self._queue.put(job)
        return job

    def close(self) -> None:
        """Wait for what was begun, and end the threads."""
        with self._lock:
            self._is_open = False
            if self._end is not None and self._end.detach():  # calling it does nothing any more when Python ends
                _end_all(self._queue, self._n_threads)
        for thread in self._threads:
            thread.join()


# All that are open, to be closed before Python ends: threads that it stops in the middle would leave jobs undone that
# somebody waits for; and TensorFlow, which lets go of its pipelines later still, would wait for ever.
_OPEN: "weakref.WeakSet[ThreadTeam]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for threads in list(_OPEN):
        threads.close()


def _forget_all() -> None:
    for threads in list(_OPEN):
        threads._forget()


os.register_at_fork(after_in_child=_forget_all)


def _take_jobs(queue: "SimpleQueue[Job | None]") -> None:
    while (job := queue.get()) is not None:
        job.run()
        del job  # it holds the memory of a batch


def _end_all(queue: "SimpleQueue[Job | None]", n_threads: int) -> None:
    for _ in range(n_threads):
        queue.put(None)
