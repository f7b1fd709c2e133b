"""Ranges of the objects at a URL, read over connections of our own where we can, and else by TensorStore."""

import time
import urllib.parse
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.reader.connections import MAX_IN_FLIGHT, MISSING, N_LATENCIES, Connections, open_connections
from hpa_data.reader.failures import Refused
from hpa_data.reader.kvstore import import_tensorstore, make_concurrency, make_retries
from hpa_data.reader.remote import Server
from hpa_data.reader.signing import Credentials, find_credentials, quote_key, sign

Range = Future[npt.NDArray[np.uint8]]


class Ranges:
    """Reads ranges of the objects below a URL.

    Web servers, and S3 servers named in the environment, are asked over connections of our own, whose limits are those
    of the gate; but not where credentials have to be fetched somewhere, or where the address has a query. Those, and
    Amazon and Google, are asked by TensorStore.

    Parameters
    ----------
    url : str

    Attributes
    ----------
    server : Server
        What waits for reads, and repeats them.
    """

    def __init__(self, url: str) -> None:
        self.server = Server(url)
        self._connections: Connections | None = None
        self._credentials: Credentials | None = None
        self._latencies_s: deque[float] = deque(maxlen=N_LATENCIES)
        self._store: Any = None
        spec = self.server.spec
        if self.server.gate is not None and not urllib.parse.urlsplit(url).query:
            is_signed = spec["driver"] == "s3" and "aws_credentials" not in spec
            self._credentials = find_credentials() if is_signed else None
            if self._credentials is not None or not is_signed:
                self._connections = open_connections(self.server.gate.origin)
                self.server.watch(self._connections)
        if self._connections is None:
            tensorstore = import_tensorstore()
            settings = make_retries(spec["driver"]) | make_concurrency(spec["driver"], MAX_IN_FLIGHT)
            opened = tensorstore.KvStore.open(spec, context=tensorstore.Context(settings))
            (self._store,) = self.server.read([lambda: opened], f"the store {url}")

    @property
    def latency_s(self) -> float:
        """Time from a request to its answer; 0 as long as it is not known."""
        if self._connections is not None:
            return self._connections.latency_s
        return min(list(self._latencies_s), default=0.0)

    @property
    def n_overloads(self) -> int:
        """How often the server has answered that it has too much to do."""
        return self._connections.n_overloads if self._connections is not None else 0

    def release_memory(self) -> None:
        """Return memory that was kept for further ranges to the system."""
        if self._connections is not None:
            self._connections.release_memory()

    def start(self, key: str, first: int, n_bytes: int, *, is_urgent: bool = False) -> Range:
        """Start to read a range; see `Connections.start`."""
        if self._connections is None:
            return self._start_tensorstore(key, first, n_bytes)
        target = quote_key(self.server.key + key)
        signs = None if self._credentials is None else self._sign
        return self._connections.start(target, first, n_bytes, sign=signs, is_urgent=is_urgent)

    def _sign(self, target: str, headers: Any) -> dict[str, str]:
        assert self._credentials is not None
        return sign(target, headers, self._credentials, region=self.server.spec["aws_region"])

    def _start_tensorstore(self, key: str, first: int, n_bytes: int) -> Range:
        done: Range = Future()
        stop = None if first < 0 else first + n_bytes
        read = self._store.read(key, byte_range=slice(first, stop))
        read.add_done_callback(partial(self._finish, done, n_bytes, time.monotonic()))
        return done

    def _finish(self, done: Range, n_bytes: int, began_s: float, read: Any) -> None:
        """Pass what TensorStore has read on; called in one of its threads."""
        try:
            result = read.result()
            if result.state != "value" or len(result.value) != n_bytes:
                raise Refused(MISSING)
        except Exception as error:  # explained by the server, see `Server.read`
            done.set_exception(error)
            return
        self._latencies_s.append(time.monotonic() - began_s)
        done.set_result(np.frombuffer(result.value, np.uint8))
