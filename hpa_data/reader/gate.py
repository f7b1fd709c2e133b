"""A gate between TensorStore and one server, which limits what the server can do to this process.

TensorStore keeps what a server sends until it ends, unpacks it if the server says that it is packed, and does not stop
a request that nobody waits for any longer. So it is given an address of this process, and its requests are forwarded
from there: with limits of time, and with no body larger than the metadata allow.
"""

import contextlib
import http.client
import math
import os
import re
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO

from hpa_data.reader.failures import Failure, explain_connection, explain_status
from hpa_data.reader.limits import get_limits

# Forwarded at once.
PIECE_BYTES = 256 * 1024
# A body of which nobody said how large it may be: the metadata of a part, a page of a list.
MAX_METADATA_BYTES = 16 * 2**20
# What an error tells is in its beginning.
ERROR_BYTES = 4096
# Slower bodies are given up: 32 requests over a line of 1 Mbit/s are faster.
MIN_BYTES_PER_S = 1000
# Of 1,000 keys each: a part of 1e6 samples has 300.
MAX_LIST_PAGES = 3000
# TensorStore asks again within this time, users do not.
REFUSED_S = 5.0
# What belongs to one connection; and what would let the server pack its answer.
DROPPED = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "accept-encoding"}
# Answers to TensorStore: it repeats the request within seconds, or not at all.
REPEAT, STOP = 503, 400


class _Refused(Exception):  # noqa: N818 - no error of ours, but what ends a request
    """Ends a request for a reason."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.what)
        self.failure = failure


@dataclass(eq=False)
class _Request:
    """A request that is being forwarded."""

    upstream: http.client.HTTPConnection
    latest_s: float
    """When it must have ended."""

    is_late: bool = False
    is_begun: bool = False
    """Whether TensorStore has the head of the answer."""


class Gate:
    """Forwards requests to one server.

    Parameters
    ----------
    origin : str
        Scheme, host and port of the server: ``https://host:8080``.

    Attributes
    ----------
    address : str
        Where TensorStore finds the gate: ``http://127.0.0.1:…``.
    has_answered : bool
        Whether the server ever answered.
    heard_s : float
        When bytes arrived last, by `time.monotonic`.
    failures : deque of (float, Failure)
        The latest ones, and when they happened.
    """

    def __init__(self, origin: str) -> None:
        parsed = urllib.parse.urlsplit(origin)
        self.netloc = parsed.netloc.rpartition("@")[2]
        self.has_answered = False
        self.heard_s = time.monotonic()
        self.failures: deque[tuple[float, Failure]] = deque(maxlen=64)
        self._is_https = parsed.scheme == "https"
        self._host, self._port = parsed.hostname or "", parsed.port
        self._proxy = _find_proxy(parsed.scheme, self._host)
        self._allowed: dict[str, int] = {}
        # What was refused after its answer had begun, and when: TensorStore takes that for a break, and asks again.
        self._refused: dict[str, tuple[float, Failure]] = {}
        self._n_pages = 0
        self._requests: set[_Request] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(1.0)
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="hpa-gate", daemon=True).start()

    def allow(self, path: str, n_bytes: int) -> None:
        """Set how large an object at a path, or each below it, may be. Elsewhere, `MAX_METADATA_BYTES`.

        Parameters
        ----------
        path : str
            With a slash at its start, not quoted.
        n_bytes : int
        """
        self._allowed[path.rstrip("/")] = n_bytes

    def begin_list(self) -> None:
        """Count the pages of a list from now on."""
        self._n_pages = 0

    def _accept(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), name="hpa-gate", daemon=True).start()
            with self._lock:
                late = [request for request in self._requests if time.monotonic() > request.latest_s]
            for request in late:
                request.is_late = True
                with contextlib.suppress(OSError, AttributeError):  # its own thread has closed it
                    request.upstream.sock.shutdown(socket.SHUT_RDWR)

    def _serve(self, client: socket.socket) -> None:
        """Forward the requests of one connection of TensorStore, one after the other, over one of our own."""
        upstream = self._make_connection()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, client.makefile("rb") as lines, contextlib.closing(upstream), contextlib.suppress(OSError):
            while (head := _read_head(lines)) is not None and self._forward(client, upstream, *head):
                pass

    def _forward(
        self, client: socket.socket, upstream: http.client.HTTPConnection, method: str, target: str, headers: Any
    ) -> bool:
        """Forward one request; return False if TensorStore's connection has to be closed."""
        limits = get_limits()
        request = _Request(upstream, time.monotonic() + limits.connect_s + 2 * limits.stall_s)
        with self._lock:
            self._requests.add(request)
        try:
            n_allowed = self._count_allowed(target, headers.get("range", ""))
            response = self._ask(upstream, method, target, headers)
            request.latest_s = time.monotonic() + 2 * limits.stall_s + n_allowed / MIN_BYTES_PER_S
            self._answer(client, request, response, n_allowed)
        except Exception as error:  # whatever a hostile answer makes `http.client` raise
            upstream.close()
            failure = self._explain(TimeoutError() if request.is_late else error)
            self.failures.append((time.monotonic(), failure))
            if request.is_begun:
                if failure.kind == "final":
                    self._refused[target] = self.failures[-1]
                return False
            status = REPEAT if failure.kind == "brief" else STOP
            client.sendall(f"HTTP/1.1 {status} Gate\r\nContent-Length: 0\r\n\r\n".encode())
        finally:
            with self._lock:
                self._requests.discard(request)
        return True

    def _explain(self, error: Exception) -> Failure:
        return error.failure if isinstance(error, _Refused) else explain_connection(error, answered=self.has_answered)

    def _ask(self, upstream: http.client.HTTPConnection, method: str, target: str, headers: Mapping[str, str]) -> Any:
        """Send a request; return the response, its head read and its body not."""
        if self._proxy is not None and not self._is_https:
            target = f"http://{self.netloc}{target}"
        while True:
            is_fresh = upstream.sock is None
            try:
                if is_fresh:
                    upstream.timeout = get_limits().connect_s
                    upstream.connect()
                    upstream.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    upstream.sock.settimeout(get_limits().stall_s)
                upstream.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
                upstream.putheader("Host", self.netloc)
                for name, value in headers.items():
                    if name not in DROPPED:
                        upstream.putheader(name, value)
                upstream.endheaders()
                response = upstream.getresponse()
            except ConnectionError:
                upstream.close()
                if is_fresh:
                    raise
                continue  # the server has closed the connection since the request before
            self.has_answered = True
            self.heard_s = time.monotonic()
            return response

    def _answer(self, client: socket.socket, request: _Request, response: Any, n_allowed: int) -> None:
        """Forward a response to TensorStore piece by piece; raises _Refused if it is none that TensorStore may have."""
        if response.status >= 300:
            failure = explain_status(response.status, response.headers, response.read(ERROR_BYTES))
            if not response.isclosed():
                request.upstream.close()  # whatever else it sends
            if failure is not None:
                raise _Refused(failure)
            client.sendall(_encode_head(response, 0))
            return
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise _Refused(
                Failure(
                    what="it sends packed data, which were not asked for",
                    remedy="Store the objects without Content-Encoding.",
                    kind="final",
                )
            )
        n_bytes = response.length
        if n_bytes is not None and n_bytes > n_allowed:
            raise _Refused(_describe_excess(n_bytes, n_allowed))
        request.is_begun = True
        client.sendall(_encode_head(response, n_bytes))
        n_read = 0
        while piece := response.read1(PIECE_BYTES):
            self.heard_s = time.monotonic()
            n_read += len(piece)
            if n_read > n_allowed:
                raise _Refused(_describe_excess(None, n_allowed))
            client.sendall(piece if n_bytes is not None else b"%x\r\n%b\r\n" % (len(piece), piece))
        if n_bytes is None:
            client.sendall(b"0\r\n\r\n")
        elif n_read < n_bytes:
            raise ConnectionError(f"{n_read} of {n_bytes} bytes arrived")
        else:
            response.read()  # `read1` does not free the connection for the next request

    def _count_allowed(self, target: str, ranges: str) -> int:
        """Return how large the body of a request may be; raises _Refused if there must be no request."""
        refused_s, failure = self._refused.pop(target, (-math.inf, None))
        if failure is not None and time.monotonic() < refused_s + REFUSED_S:
            raise _Refused(failure)
        path, _, query = target.partition("?")
        if "list-type=" in query:
            self._n_pages += 1
            if self._n_pages > MAX_LIST_PAGES:
                what = f"it lists more than {MAX_LIST_PAGES} pages of objects"
                raise _Refused(Failure(what=what, remedy="Name the parts.", kind="final"))
        path = urllib.parse.unquote(path)
        while path and path not in self._allowed:
            path = path.rpartition("/")[0]
        n_allowed = self._allowed.get(path, MAX_METADATA_BYTES)
        if (match := re.fullmatch(r"bytes=(\d*)-(\d+)", ranges)) is not None:
            first, last = match.groups()
            n_allowed = min(n_allowed, int(last) - int(first) + 1 if first else int(last))
        return n_allowed

    def _make_connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._is_https else http.client.HTTPConnection
        if self._proxy is None:
            return kind(self._host, self._port)
        connection = kind(self._proxy.hostname or "", self._proxy.port)
        if self._is_https:
            connection.set_tunnel(self._host, self._port)
        return connection


def open_gate(origin: str) -> Gate:
    """Return the gate of this process before a server."""
    return _open_gate(origin, os.getpid())


@cache
def _open_gate(origin: str, process: int) -> Gate:
    """Open a gate. A forked process has none of the threads of its parent, and opens its own."""
    if urllib.request.getproxies():  # TensorStore must not ask a proxy for an address of this process
        for name in ("no_proxy", "NO_PROXY"):
            os.environ[name] = ",".join(filter(None, [os.environ.get(name), "127.0.0.1"]))
    return Gate(origin)


def _find_proxy(scheme: str, host: str) -> urllib.parse.SplitResult | None:
    """Return the proxy that the environment names for a server."""
    proxy = urllib.request.getproxies().get(scheme)
    if proxy is None or urllib.request.proxy_bypass(host):
        return None
    return urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")


def _read_head(lines: BinaryIO) -> tuple[str, str, dict[str, str]] | None:
    """Read the head of a request of TensorStore: method, target and headers; None at the end."""
    first = lines.readline(PIECE_BYTES).decode("latin-1").split()
    if len(first) != 3:
        return None
    headers = {}
    while (line := lines.readline(PIECE_BYTES).decode("latin-1").strip()) != "":
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return first[0], first[1], headers


def _encode_head(response: Any, n_bytes: int | None) -> bytes:
    """Return the head of a response for TensorStore; its body is chunked if its size is not known."""
    lines = [f"HTTP/1.1 {response.status} Gate"]
    for name, value in response.headers.items():
        if name.lower() not in DROPPED:
            lines.append(f"{name}: {' '.join(value.split())}")
    lines.append("Transfer-Encoding: chunked" if n_bytes is None else f"Content-Length: {n_bytes}")
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1", "replace")


def _describe_excess(n_bytes: int | None, n_allowed: int) -> Failure:
    sent = "without end" if n_bytes is None else f"{n_bytes} bytes"
    return Failure(
        what=f"it sends {sent}, where at most {n_allowed} bytes are expected",
        remedy="Use a server that supports range requests, and do not trust this store.",
        kind="final",
    )
