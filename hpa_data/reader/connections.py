"""Many connections to one server at once, over which ranges of its objects are read.

A range takes a third of the processor's time that TensorStore's driver for Zarr needs for a sample, and half of what a
range needs through TensorStore and the gate: its bytes are received into the memory that they are decoded from, and
nowhere else. The limits are those of the gate: of time, and no more bytes than were asked for.
"""

import os
import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt

from hpa_data.reader.failures import (
    CONVERT,
    PACKED,
    ReadFailure,
    Refused,
    describe_excess,
    explain_connection,
    explain_status,
)
from hpa_data.reader.limits import get_limits
from hpa_data.reader.upstream import HEAD_BYTES, MAX_HEAD_BYTES, MIN_BYTES_PER_S, Upstream
from hpa_data.system.memory import BufferPool

# Requests in flight, at most: with 300 ms each they bring 850 ranges a second. Servers limit their connections.
MAX_IN_FLIGHT = 256
# Of a connection: bodies are received elsewhere.
BUFFER_BYTES = MAX_HEAD_BYTES + HEAD_BYTES
# From this size on, memory of chunks is reused: what C's allocator keeps for each thread would double it.
MIN_REUSED_BYTES = 2**16
# Without a request, a connection is closed after this time.
IDLE_S = 5.0
# A request that fails for a brief reason is repeated, with growing pauses; `remote.Server` repeats for minutes.
ATTEMPTS, FIRST_PAUSE_S = 5, 0.1
# The shortest time of so many answers is the latency: others waited for the line.
N_LATENCIES = 64
MISSING = ReadFailure(what="an object is missing", remedy=CONVERT, kind="final")
OTHER_RANGE = ReadFailure(
    what="it answers with another part of an object than was asked for",
    remedy="Use a server that supports range requests.",
    kind="final",
)

# Called with the path of an object, quoted, and the headers of the request; returns further headers.
Sign = Callable[[str, Mapping[str, str]], Mapping[str, str]]


@dataclass(frozen=True, kw_only=True)
class _Request:
    """A range to read: of an object, by its quoted path; `first` is negative for the last bytes."""

    target: str
    first: int
    n_bytes: int
    sign: Sign | None
    done: "Future[npt.NDArray[np.uint8]]" = field(default_factory=Future)

    @property
    def range(self) -> str:
        return f"bytes={self.first}" if self.first < 0 else f"bytes={self.first}-{self.first + self.n_bytes - 1}"


class Connections:
    """Reads ranges of the objects of one server; each connection has a thread, which ends when nothing is to do.

    Parameters
    ----------
    origin : str
        Scheme, host and port of the server, and perhaps a user: ``https://host:8080``.

    Attributes
    ----------
    n_overloads : int
        How often the server has answered that it has too much to do.
    """

    def __init__(self, origin: str) -> None:
        self.n_overloads = 0
        self._origin = origin
        self._has_answered = False
        self._queue: deque[_Request] = deque()
        self._upstreams: set[Upstream] = set()
        self._n_idle = 0
        self._changed = threading.Condition()
        self._latencies_s: deque[float] = deque(maxlen=N_LATENCIES)
        self._random = random.Random()
        self._memory: dict[int, BufferPool] = {}

    @property
    def latency_s(self) -> float:
        """Time from a request to its answer, without the waiting for other answers; 0 as long as nothing came."""
        return min(list(self._latencies_s), default=0.0)

    @property
    def heard_s(self) -> float:
        """When bytes arrived last, by `time.monotonic`."""
        with self._changed:
            return max((upstream.heard_s for upstream in self._upstreams), default=0.0)

    def start(
        self, target: str, first: int, n_bytes: int, *, sign: Sign | None = None, is_urgent: bool = False
    ) -> "Future[npt.NDArray[np.uint8]]":
        """Start to read a range.

        Parameters
        ----------
        target : str
            Path of the object, quoted.
        first : int
            Its first byte; minus the number of bytes for the last ones of the object.
        n_bytes : int
        sign : callable, optional
        is_urgent : bool
            Whether it comes before all that wait.

        Returns
        -------
        Future
            Of the bytes, uint8 (n_bytes,); raises Refused.
        """
        request = _Request(target=target, first=first, n_bytes=n_bytes, sign=sign)
        with self._changed:
            self._queue.appendleft(request) if is_urgent else self._queue.append(request)
            if self._n_idle >= len(self._queue):
                self._changed.notify()
                return request.done
            if len(self._upstreams) >= MAX_IN_FLIGHT:
                return request.done
            upstream = Upstream(self._origin, buffer_bytes=BUFFER_BYTES)
            self._upstreams.add(upstream)
        try:
            threading.Thread(target=self._serve, args=(upstream,), name="hpa-connection", daemon=True).start()
        except RuntimeError as error:  # no thread is free: the others do it, if there are others
            with self._changed:
                self._upstreams.discard(upstream)
                if not self._upstreams:
                    self._queue.clear()
                    failure = ReadFailure(what=f"the system gives no thread ({error})", remedy=CONVERT, kind="brief")
                    request.done.set_exception(Refused(failure))
        return request.done

    def _serve(self, upstream: Upstream) -> None:
        """Answer requests, one after the other, over one connection."""
        with upstream:
            while (request := self._take(upstream)) is not None:
                if request.done.set_running_or_notify_cancel():
                    try:
                        request.done.set_result(self._repeat(upstream, request))
                    except Refused as refused:
                        request.done.set_exception(refused)
                del request  # it holds the memory of its bytes

    def _take(self, upstream: Upstream) -> _Request | None:
        """Return the next request; None, and forget the connection, if none comes."""
        with self._changed:
            self._n_idle += 1
            self._changed.wait_for(lambda: self._queue, IDLE_S)
            self._n_idle -= 1
            if self._queue:
                return self._queue.popleft()
            self._upstreams.discard(upstream)
            return None

    def _repeat(self, upstream: Upstream, request: _Request) -> npt.NDArray[np.uint8]:
        """Read a range, again if it fails for a brief reason; raises Refused."""
        pause_s = FIRST_PAUSE_S
        for attempt in range(ATTEMPTS):
            try:
                return self._read(upstream, request)
            except Exception as error:  # whatever a hostile answer makes of it
                upstream.close()
                failure = self._explain(error)
                if failure.kind != "brief" or attempt + 1 == ATTEMPTS:
                    raise Refused(failure) from error
            time.sleep(self._random.uniform(0.5, 1.5) * pause_s)
            pause_s *= 2
        raise AssertionError

    def release_memory(self) -> None:
        """Return memory that was kept for further ranges to the system."""
        self._memory.clear()

    def _allocate(self, n_bytes: int) -> npt.NDArray[np.uint8]:
        if n_bytes < MIN_REUSED_BYTES:
            return np.empty(n_bytes, np.uint8)
        step = 2 ** (n_bytes.bit_length() - 4)  # at most an eighth more than is needed
        size = -(-n_bytes // step) * step
        pool = self._memory.get(size) or self._memory.setdefault(size, BufferPool())
        return pool.acquire((size,))[:n_bytes]

    def _explain(self, error: Exception) -> ReadFailure:
        return error.failure if isinstance(error, Refused) else explain_connection(error, answered=self._has_answered)

    def _read(self, upstream: Upstream, request: _Request) -> npt.NDArray[np.uint8]:
        limits = get_limits()
        headers = {"host": upstream.netloc, "range": request.range}
        if request.sign is not None:
            headers |= request.sign(request.target, headers)
        began_s = time.monotonic()
        is_fresh = not upstream.is_open
        upstream.latest_s = began_s + limits.connect_s + 2 * limits.stall_s
        answer = upstream.ask("GET", request.target, headers)
        self._has_answered = True
        now_s = time.monotonic()
        if not is_fresh:  # without the time to connect
            self._latencies_s.append(now_s - began_s)
        upstream.latest_s = now_s + 2 * limits.stall_s + request.n_bytes / MIN_BYTES_PER_S
        if answer.status >= 300:
            failure = explain_status(answer.status, answer.headers, upstream.read_error(answer))
            if failure is not None and failure.kind == "brief":
                self.n_overloads += 1
            raise Refused(failure or MISSING)
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(PACKED)
        if answer.n_bytes is not None and answer.n_bytes > request.n_bytes:
            raise Refused(describe_excess(f"{answer.n_bytes} bytes", request.n_bytes))
        if answer.status != 206:
            raise Refused(describe_excess("all of an object", request.n_bytes))
        if not _is_range(answer.headers.get("content-range", ""), request):
            raise Refused(OTHER_RANGE)
        memory = self._allocate(request.n_bytes)
        if answer.n_bytes == request.n_bytes:
            upstream.read_into(memory.data)
            return memory
        n_read = 0
        for piece in upstream.read_body(answer):
            if n_read + len(piece) > request.n_bytes:
                raise Refused(describe_excess("data without end", request.n_bytes))
            memory.data[n_read : n_read + len(piece)] = piece
            n_read += len(piece)
        if n_read < request.n_bytes:
            raise Refused(MISSING)
        return memory


def _is_range(content_range: str, request: _Request) -> bool:
    """Return whether an answer is about the range that was asked for."""
    match = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", content_range)
    if match is None:
        return False
    first, last = int(match[1]), int(match[2])
    return request.first in {first, first - last - 1}


def open_connections(origin: str) -> Connections:
    """Return the connections of this process to a server."""
    return _open_connections(origin, os.getpid())


@cache
def _open_connections(origin: str, process: int) -> Connections:
    """Make them; a forked process has none of the threads of its parent."""
    return Connections(origin)
