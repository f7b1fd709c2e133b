"""Tasks on the workers of a Dask cluster.

We choose the worker of each task ourselves, among those that have proven what they are. So the tasks in flight follow
the workers that are there, a task goes on elsewhere when its worker is gone, paused or suspended, and we know which
tasks a worker was computing when it died. A task that may have killed it gets a worker for itself, which tells.
"""

import logging
import math
import pickle
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cloudpickle
import dask

from hpa_data.errors import InputError, first_line
from hpa_data.system.cluster import ask_for_worker, connect, count_running_tasks, disconnect
from hpa_data.system.interrupts import Interrupts
from hpa_data.system.patience import Patience
from hpa_data.system.threads import ThreadTeam, sample_threads
from hpa_data.system.watch import Snapshot, Watch, Worker
from hpa_data.system.worker import TaskCall, TaskError

# Seconds of work that each worker has before it. Adaptive clusters grow when it takes more than 5 s.
_AHEAD_S = 15.0

# Tasks in flight for each thread: two, so that no worker waits for us, until more are known to take only `_AHEAD_S`.
_MIN_AHEAD, _MAX_AHEAD = 2, 16

# Seconds between two looks at the tasks in flight.
_LOOK_S = 0.05

# Seconds without a sign of life after which the tasks of a worker are given to others, if there are any.
_PATIENCE_S = 30.0

# Seconds that running tasks have to finish after Ctrl-C.
GRACE_S = 5.0


class Placed:
    """A task, and the worker that it was given to."""

    def __init__(self, task: Any, payload: bytes) -> None:
        self.task = task
        self.payload = payload
        self.worker = ""
        self.future: Any = None
        self.is_suspect = False
        """A worker died while it may have been computing this task; it gets a worker for itself."""
        self.n_deaths = 0
        """Workers that died while they computed this task alone, or could not begin it."""
        self.error: Exception | None = None

    def result(self) -> None:
        """Raise what the task raised."""
        if self.error is not None:
            raise self.error


class ClusterBackend:
    """The workers of a Dask cluster; see `backends.Backend`. Each task has one further thread for its samples."""

    lost_worker: tuple[type[Exception], ...] = ()

    def __init__(
        self,
        address: str,
        *,
        paths: Sequence[str],
        timeout_s: float,
        interrupts: Interrupts,
        describe: Callable[[Any], str],
    ) -> None:
        self._interrupts = interrupts
        self._describe = describe
        self._client = connect(address)
        self._address = address
        self._watch = Watch(self._client, paths)
        self._patience = Patience(address, timeout_s)
        self._waiting: deque[Placed] = deque()
        self._in_flight: list[Placed] = []  # in the order in which they were placed
        self._finished: deque[Placed] = deque()
        self._wish: Any = None  # a task for which an adaptive cluster starts a worker
        self._known: dict[str, Worker] = {}  # as of the last look
        self._busy_s, self._n_done, self._looked = 0.0, 0, time.monotonic()
        self._max_deaths = int(dask.config.get("distributed.scheduler.allowed-failures", 3))

    @property
    def max_submitted(self) -> int:
        """Tasks to submit at a time; follows the workers that are there."""
        room = sum(map(self._count_ahead, self._watch.snapshot.usable.values()))
        return max(room, len(self._in_flight) + len(self._waiting), 1)

    def submit(self, run: Callable[[Any, ThreadTeam], None], task: Any) -> Placed:
        """Have a task computed as soon as a worker has room for it."""
        # By cloudpickle: pickle itself does not take functions that were defined in a notebook.
        placed = Placed(task, cloudpickle.dumps(partial(_run_alone, run, task)))
        self._waiting.append(placed)
        return placed

    def next_done(self) -> Placed | None:
        """Return a task that is done, or after a moment None; says now and then what is waited for.

        Raises
        ------
        InputError
            If the scheduler ends, no worker can be given tasks for too long, or a task kills its workers.
        KeyboardInterrupt
            Soon after an interrupt, whatever the workers do.
        """
        if self._interrupts.requested:
            self._wind_down()
        if not self._finished:
            self._look()
        if self._finished:
            return self._finished.popleft()
        time.sleep(_LOOK_S)
        return None

    def _look(self) -> None:
        snapshot = self._watch.snapshot
        self._collect()
        self._leave_lost_workers(snapshot)
        snapshot = self._watch.snapshot  # without those that are lost
        self._place(snapshot)
        now = time.monotonic()
        self._busy_s += (now - self._looked) * len(self._list_running(snapshot))
        self._looked = now
        oldest = next(iter(self._in_flight), None)
        doing = "" if oldest is None else f"{self._describe(oldest.task)} on worker {oldest.worker}"
        self._patience.check(snapshot, self._client.status, doing=doing, has_finished=bool(self._finished))

    def drop_waiting(self) -> list[Placed]:
        """Give up the tasks that no worker computes yet, and return them."""
        running = self._list_running(self._watch.snapshot)
        dropped = [*self._waiting, *(placed for placed in self._in_flight if placed not in running)]
        self._cancel([placed for placed in self._in_flight if placed not in running])
        self._waiting.clear()
        return dropped

    def close(self, *, wait: bool) -> None:
        """Disconnect; the scheduler cancels what has not finished."""
        self._watch.close()
        disconnect(self._client)

    def _count_ahead(self, worker: Worker) -> int:
        """Return how many tasks a worker may have, running ones included."""
        ahead = _MIN_AHEAD
        if self._n_done and self._busy_s:
            ahead = math.ceil(_AHEAD_S * self._n_done / self._busy_s)
        return worker.threads * min(max(ahead, _MIN_AHEAD), _MAX_AHEAD)

    def _list_running(self, snapshot: Snapshot) -> list[Placed]:
        """List the tasks that workers compute now: a worker takes them in their order."""
        free = {address: worker.threads for address, worker in snapshot.workers.items()}
        running = []
        for placed in self._in_flight:
            if free.get(placed.worker, 0) > 0:
                free[placed.worker] -= 1
                running.append(placed)
        return running

    def _place(self, snapshot: Snapshot) -> None:
        """Give waiting tasks to workers with room, the least loaded first."""
        if self._client.status != "running":
            return
        if snapshot.workers:
            self._wish = None
        elif self._waiting and self._wish is None:
            self._wish = ask_for_worker(self._client)
        usable = snapshot.usable
        load = Counter(placed.worker for placed in self._in_flight)
        kept_free = {placed.worker for placed in self._in_flight if placed.is_suspect}
        suspects = [placed for placed in self._waiting if placed.is_suspect]
        for suspect in suspects:
            others = [address for address in usable if address not in kept_free]
            if not others:
                break
            chosen = min(others, key=lambda address: load[address])
            kept_free.add(chosen)  # it gets no other task, and the suspect once it has none
            if not load[chosen]:
                self._waiting.remove(suspect)
                self._send(suspect, chosen)
        room = {
            address: self._count_ahead(worker) - load[address]
            for address, worker in usable.items()
            if address not in kept_free
        }
        while room and not all(placed.is_suspect for placed in self._waiting):
            address = max(room, key=lambda address: room[address] / usable[address].threads)
            if room[address] <= 0:
                break
            room[address] -= 1
            placed = next(placed for placed in self._waiting if not placed.is_suspect)
            self._waiting.remove(placed)
            self._send(placed, address)

    def _send(self, placed: Placed, address: str) -> None:
        placed.worker = address
        placed.future = self._client.submit(
            pickle.loads,
            pickle.dumps(TaskCall(placed.payload)),
            key=f"hpa-{uuid.uuid4().hex}",  # a key of an earlier one would bring back its result
            workers=[address],
            pure=False,
        )
        self._in_flight.append(placed)

    def _collect(self) -> None:
        """Sort out the tasks that have ended."""
        for placed in list(self._in_flight):
            if placed not in self._in_flight:
                continue  # its worker was left meanwhile
            match placed.future.status:
                case "finished" | "lost":  # lost is its result, which is nothing; what it has written is there
                    self._finish(placed)
                case "error":
                    self._sort_out(placed, placed.future.exception(timeout=_PATIENCE_S))
                case "cancelled":  # the connection to the scheduler was lost, or somebody restarted the workers
                    self._in_flight.remove(placed)
                    self._waiting.appendleft(placed)

    def _finish(self, placed: Placed, error: Exception | None = None) -> None:
        self._in_flight.remove(placed)
        self._n_done += 1
        placed.error = error
        placed.future = None  # the scheduler may forget it
        self._finished.append(placed)

    def _sort_out(self, placed: Placed, error: object) -> None:
        """Decide what becomes of a task that ended with an error."""
        if type(error).__name__ == "KilledWorker":  # the scheduler's word for a worker that died
            self._bury(placed.worker, self._watch.snapshot.workers.get(placed.worker, Worker(threads=1)))
        elif isinstance(error, TaskError) and not error.differs:
            self._finish(placed, _open_error(error, placed.worker))
        else:
            # Another process has taken the worker's place, one that is not like this one; or its packages are broken.
            self._watch.distrust(placed.worker)
            self._in_flight.remove(placed)
            self._waiting.appendleft(placed)
            reason = first_line(error) if isinstance(error, BaseException) else "an error that cannot be read here"
            self._count_death(placed, f"could not begin it: {reason}")

    def _leave_lost_workers(self, snapshot: Snapshot) -> None:
        """Take back the tasks of workers that are gone, and of those that others can replace."""
        silent_since = self._patience.troubled_since(snapshot)
        for address in {placed.worker for placed in self._in_flight}:
            worker = snapshot.workers.get(address)
            if worker is None:
                self._bury(address, self._known.get(address, Worker(threads=1)))
            elif worker.is_leaving:
                continue
            elif silent_since.get(address, 0.0) > _PATIENCE_S and snapshot.usable:
                taken = self._take_back(address)
                logging.getLogger(__name__).warning(
                    "Warning: worker %s %s; its tasks go to others, %d task%s",
                    *(address, worker.trouble, len(taken), "" if len(taken) == 1 else "s"),
                )
        self._known = dict(snapshot.workers)

    def _bury(self, address: str, worker: Worker) -> None:
        """Take back the tasks of a worker that is gone; those that it was computing may have killed it."""
        self._watch.distrust(address)  # the snapshot may be older than its end
        for placed in [placed for placed in self._in_flight if placed.worker == address]:
            if placed.future.status in {"finished", "lost"}:
                self._finish(placed)
        taken = self._take_back(address)
        if worker.is_leaving:
            return
        for placed in taken[: worker.threads]:
            if placed.is_suspect:
                self._count_death(placed, "died")
            placed.is_suspect = True

    def _count_death(self, placed: Placed, what: str) -> None:
        placed.n_deaths += 1
        if placed.n_deaths > self._max_deaths:
            times = "a worker process died" if what == "died" else f"a worker process {what}"
            raise InputError(
                f"Cannot finish the work: {times}, {placed.n_deaths} in turn, with nothing else to do but "
                f"{self._describe(placed.task)}; the last was {placed.worker}. Look at its log. If it had too little "
                "memory, give each worker more, or start fewer workers, and run the same command again."
            )

    def _take_back(self, address: str) -> list[Placed]:
        taken = [placed for placed in self._in_flight if placed.worker == address]
        self._cancel(taken)
        self._waiting.extendleft(reversed(taken))
        return taken

    def _cancel(self, tasks: Sequence[Placed]) -> None:
        futures = [placed.future for placed in tasks]
        self._in_flight = [placed for placed in self._in_flight if placed not in tasks]
        for placed in tasks:
            placed.future = None
        if futures and self._client.status == "running":
            self._client.cancel(futures)

    def _wind_down(self) -> None:
        """Give running tasks a short time to finish, and end: KeyboardInterrupt."""
        self.drop_waiting()
        until = time.monotonic() + GRACE_S
        usable = self._watch.snapshot.usable
        while time.monotonic() < until and usable and self._client.status == "running":
            try:
                if not count_running_tasks(self._client, usable, timeout=1.0):
                    break
            except OSError:  # the scheduler does not answer
                break
            time.sleep(_LOOK_S)
        raise KeyboardInterrupt(self._interrupts.received[0])


def _run_alone(run: Callable[[Any, ThreadTeam], None], task: Any) -> None:
    """Run a task that shares its thread with no other."""
    with sample_threads(1) as team:
        run(task, team)


def _open_error(error: TaskError, worker: str) -> Exception:
    """Return the error of a task as it was raised there, if this process can read it."""
    opened: Any = None
    try:
        opened = pickle.loads(error.pickled)  # made by a worker of the user's own cluster, as the tasks are
    except Exception:  # a class of a package that is missing here, for example
        opened = None
    if not isinstance(opened, Exception):
        return InputError(
            f"Cannot finish the work: worker {worker} raised {error.text}. Run the same command again; if it happens "
            "again, look at the worker's log."
        )
    if isinstance(opened, OSError) and opened.strerror:
        opened.strerror = f"{opened.strerror} (on worker {worker})"
    opened.add_note(f"On worker {worker}:\n{error.where}")
    opened.__cause__ = error
    return opened
