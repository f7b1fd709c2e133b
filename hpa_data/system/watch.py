"""Which workers of a Dask cluster can be given tasks now.

A thread asks the scheduler, and lets newcomers prove that they are like this process.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hpa_data.system.cluster import find_differences, list_workers

# Seconds between two questions to the scheduler.
_INTERVAL_S = 0.5

# Seconds to wait for the proof of a worker that joins late; without an answer it is asked again.
_PROOF_S = 5.0

# Seconds without a sign of life after which a worker, or the scheduler, is taken to be suspended. A worker gives one
# every half second, in a cluster of a thousand workers every six seconds.
SILENCE_S = 15.0

_UNPROVEN = "has not shown yet that it is like this machine"


@dataclass(frozen=True, kw_only=True)
class Worker:
    """What is known of a worker."""

    threads: int

    trouble: str = ""
    """Why it cannot be given tasks, the end of a sentence; empty if it can."""

    is_leaving: bool = False
    """Whether it was told to end: its tasks do not die of their own fault."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The workers by their addresses, as the scheduler saw them."""

    workers: Mapping[str, Worker]

    at: float
    """Of the monotonic clock, in seconds."""

    @property
    def usable(self) -> dict[str, Worker]:
        """Those that can be given tasks."""
        return {address: worker for address, worker in self.workers.items() if not worker.trouble}


class Watch:
    """Keeps a `Snapshot` of a cluster up to date, until it is closed."""

    def __init__(self, client: Any, paths: Sequence[str]) -> None:
        self._client = client
        self._paths = list(paths)
        self._proven: set[str] = set()
        self._refused: set[str] = set()
        self._signs: dict[str, tuple[Any, float]] = {}  # the last sign of life of each worker, and when it changed
        self._snapshot = Snapshot(workers={}, at=time.monotonic())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="hpa-watch", daemon=True)
        self._thread.start()

    @property
    def snapshot(self) -> Snapshot:
        """The newest one; its age tells whether the scheduler still answers."""
        return self._snapshot

    def distrust(self, address: str) -> None:
        """Let a worker prove again what it is; until then it gets no task."""
        self._proven.discard(address)
        before = self._snapshot
        if address in before.workers:
            doubted = replace(before.workers[address], trouble=_UNPROVEN)
            self._snapshot = replace(before, workers={**before.workers, address: doubted})

    def close(self) -> None:
        """Ask no more; without waiting, since the scheduler may not answer."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(Exception):  # the scheduler does not answer, which the snapshot's age tells
                known = list_workers(self._client, timeout=_PROOF_S)
                self._look(known)
                if self._prove([address for address in known if address not in self._proven | self._refused]):
                    self._look(known)
            self._ended.wait(_INTERVAL_S)

    def _prove(self, newcomers: Sequence[str]) -> bool:
        """Let workers prove what they are; tell whether some did."""
        if not newcomers:
            return False
        differences = find_differences(self._client, newcomers, self._paths, timeout=_PROOF_S)
        for address in newcomers:
            what = differences.get(address)
            if what is None:
                self._proven.add(address)
            elif not what.is_silent:
                self._refused.add(address)
                logging.getLogger(__name__).warning("Warning: worker %s is not used: it %s", address, what.text)
        return len(differences) < len(newcomers)

    def _look(self, known: Mapping[str, Mapping[str, Any]]) -> None:
        now = time.monotonic()
        for forgotten in (self._proven, self._refused):
            forgotten.intersection_update(known)
        self._signs = {
            address: (sign, before[1] if (before := self._signs.get(address)) and before[0] == sign else now)
            for address, sign in ((address, worker["last_seen"]) for address, worker in known.items())
        }
        self._snapshot = Snapshot(
            workers={address: self._judge(address, worker, now) for address, worker in known.items()}, at=now
        )

    def _judge(self, address: str, worker: Mapping[str, Any], now: float) -> Worker:
        trouble = ""
        if now - self._signs[address][1] > SILENCE_S:
            trouble = "does not answer"
        elif address in self._refused:
            trouble = "is not like this machine"
        elif worker["status"] == "paused":
            trouble = "is paused, because its memory is nearly full"
        elif worker["status"] != "running":
            trouble = "is ending"
        elif address not in self._proven:
            trouble = _UNPROVEN
        return Worker(
            threads=int(worker["nthreads"]),
            trouble=trouble,
            is_leaving=worker["status"] in {"closing", "closing_gracefully"},
        )
