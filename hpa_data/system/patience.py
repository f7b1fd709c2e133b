"""Waiting for a Dask cluster is never silent, and never without end."""

import logging
import time
from collections import Counter
from typing import Any

from hpa_data.errors import InputError
from hpa_data.system.cluster import ask_for_worker, list_workers
from hpa_data.system.interrupts import is_interrupted
from hpa_data.system.watch import SILENCE_S, Snapshot

# Seconds after which waiting is said for the first time, and that are never exceeded without a word: under a minute.
FIRST_S, AGAIN_S = 30.0, 55.0

# What a client is once it has tried in vain, for ten seconds, to connect again.
_CLOSED = {"closed", "closing"}


# Seconds between two looks for the first worker.
_LOOK_S = 0.2


def wait_for_first_worker(client: Any, address: str, *, timeout_s: float) -> None:
    """Wait until a cluster has a worker, and say so at once; InputError if that takes too long.

    A cluster whose workers a batch system starts may have none yet, an adaptive one has none before it has work.
    """
    if list_workers(client):
        return
    wish = ask_for_worker(client)
    began = said = time.monotonic()
    remedy = f"Start one with `dask worker {address}`"
    logging.getLogger(__name__).warning(
        f"Warning: the Dask cluster at {address} has no workers yet; waiting for the first. {remedy}, or press Ctrl-C; "
        f"the command ends after {timeout_s:.0f} s (--worker-timeout)."
    )
    while not list_workers(client):
        now = time.monotonic()
        if now - began >= timeout_s or is_interrupted():
            raise InputError(
                f"Cannot use the Dask cluster at {address}: it has no workers, for {now - began:.0f} s now. {remedy}, "
                "and run the same command again; --worker-timeout waits longer."
            )
        if now - said >= AGAIN_S:
            said = now
            logging.getLogger(__name__).warning(
                f"Warning: the Dask cluster at {address} has no workers, for {now - began:.0f} s now. {remedy}."
            )
        time.sleep(_LOOK_S)
    wish.release()


class Patience:
    """Says for what a cluster is waited for, and when that takes too long."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._unusable_since: float | None = None
        self._is_said = False  # that no worker can be given tasks, since then
        self._finished_at = self._last_word = time.monotonic()
        self._troubled: dict[str, float] = {}

    def troubled_since(self, snapshot: Snapshot) -> dict[str, float]:
        """Return the seconds since when each worker cannot be given tasks, by address."""
        now = time.monotonic()
        self._troubled = {
            address: self._troubled.get(address, now) for address, worker in snapshot.workers.items() if worker.trouble
        }
        return {address: now - since for address, since in self._troubled.items()}

    def check(self, snapshot: Snapshot, status: str, *, doing: str, has_finished: bool) -> None:
        """Say what is waited for, if it is time; InputError if it has lasted too long.

        Parameters
        ----------
        snapshot : Snapshot
        status : str
            Of the client.
        doing : str
            The oldest task in flight and its worker, in words; empty if there is none.
        has_finished : bool
            Whether a task has ended since the last call.
        """
        if status in _CLOSED:
            raise InputError(
                f"Cannot finish the work: the connection to the scheduler at {self._address} is lost; it ended, or "
                "cannot be reached any more. Start it again, and run the same command again."
            )
        now = time.monotonic()
        if has_finished:  # which the progress shows
            self._finished_at = self._last_word = now
        trouble = self._describe_trouble(snapshot, now)
        if trouble:
            self._wait(trouble, now)
            return
        self._unusable_since = None
        if doing and now - self._last_word >= AGAIN_S:
            self._say(f"Warning: no task has ended for {now - self._finished_at:.0f} s; the oldest is {doing}.", now)

    def _wait(self, trouble: str, now: float) -> None:
        if self._unusable_since is None:
            self._unusable_since, self._is_said = now, False
        waited_s = now - self._unusable_since
        if waited_s >= self._timeout_s:
            raise InputError(
                f"Cannot finish the work: {trouble}, for {waited_s:.0f} s now. Start workers that can go on with "
                f"`dask worker {self._address}`, and run the same command again; --worker-timeout waits longer."
            )
        if (waited_s >= FIRST_S and not self._is_said) or now - self._last_word >= AGAIN_S:
            self._is_said = True
            self._say(
                f"Warning: {trouble}, for {waited_s:.0f} s now. Start one with `dask worker {self._address}`, or press "
                f"Ctrl-C; the command ends after {self._timeout_s:.0f} s (--worker-timeout).",
                now,
            )

    def _say(self, line: str, now: float) -> None:
        self._last_word = now
        logging.getLogger(__name__).warning(line)

    def _describe_trouble(self, snapshot: Snapshot, now: float) -> str:
        """Say why no worker of a cluster can be given tasks; empty if one can."""
        if now - snapshot.at > SILENCE_S:
            return f"the scheduler at {self._address} does not answer"
        if snapshot.usable:
            return ""
        if not snapshot.workers:
            return f"the Dask cluster at {self._address} has no worker"
        reasons = Counter(worker.trouble for worker in snapshot.workers.values())
        listed = ", ".join(f"{number} {reason}" for reason, number in reasons.items())
        return f"the Dask cluster at {self._address} has no worker that can be given tasks ({listed})"
