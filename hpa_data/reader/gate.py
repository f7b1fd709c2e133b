"""A gate between TensorStore and one server, which limits what the server can do to this process.

TensorStore keeps what a server sends until it ends, unpacks it if the server says that it is packed, and does not stop
a request that nobody waits for any longer. So it is given an address of this process, and its requests are forwarded
from there: with limits of time, and with no body larger than the metadata allow.

Every program of the machine can connect to that address, and a web page can make a browser do it. So the gate forwards
reading only, and only for those who know its password, which TensorStore gets with the address. Requests that are
signed for S3 have no room for it; their signature is checked by the server itself.
"""

import base64
import contextlib
import hmac
import math
import os
import re
import secrets
import socket
import threading
import time
import urllib.parse
import urllib.request
from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import BinaryIO

from hpa_data.reader.failures import (
    PACKED,
    ReadFailure,
    Refused,
    describe_excess,
    explain_connection,
    explain_status,
)
from hpa_data.reader.limits import get_limits
from hpa_data.reader.upstream import MAX_HEAD_BYTES, MIN_BYTES_PER_S, Answer, Upstream

# A body of which nobody said how large it may be: the metadata of a part, a page of a list.
MAX_METADATA_BYTES = 16 * 2**20
# Of 1,000 keys each: a part of 1e6 samples has 300.
MAX_LIST_PAGES = 3000
# TensorStore asks again within this time, users do not.
REFUSED_S = 5.0
# Kept, of all who read at the server.
MAX_FAILURES = 256
# Until another connection is accepted, if one could not be served.
PAUSE_S = 0.1
# What belongs to one connection; and what would let the server pack its answer.
DROPPED = {"connection", "keep-alive", "transfer-encoding", "content-length", "accept-encoding"}
# What TensorStore needs to read.
METHODS = {"GET", "HEAD"}
# Answers to TensorStore: it repeats the request within seconds, or not at all.
REPEAT, STOP = 503, 400


@dataclass(eq=False)
class _Request:
    """A request that is being forwarded."""

    upstream: Upstream
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
    is_signed : bool
        Whether requests with a signature of S3, for the server's own name, are forwarded.

    Raises
    ------
    ValueError
        If that is no address, or that of its proxy is none.

    Attributes
    ----------
    origin : str
        That of the server, with the user if there is one.
    address : str
        Where TensorStore finds the gate: ``http://PASSWORD@127.0.0.1:…``.
    public_address : str
        Of the server, without a user: for messages.
    has_answered : bool
        Whether the server ever answered.
    heard_s : float
        When bytes arrived last, by `time.monotonic`.
    """

    def __init__(self, origin: str, *, is_signed: bool = False) -> None:
        scheme, netloc, *_ = urllib.parse.urlsplit(origin)
        self.netloc = netloc.rpartition("@")[2]
        self.public_address = f"{scheme}://{self.netloc}"
        self.has_answered = False
        self.heard_s = time.monotonic()
        self._failures: deque[tuple[float, str, ReadFailure]] = deque(maxlen=MAX_FAILURES)
        self.origin = origin
        self._is_signed = is_signed
        password = secrets.token_urlsafe(32)
        self._authorization = b"Basic " + base64.b64encode(f"{password}:".encode())
        Upstream(origin)  # raises here what no thread of the gate could tell
        self._allowed: dict[str, int] = {}
        # What failed after its answer had begun, and when: TensorStore takes that for a break, and asks again at once.
        self._refused: dict[tuple[str, str], tuple[float, ReadFailure]] = {}
        self._n_pages = 0
        self._requests: set[_Request] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listener.settimeout(1.0)
        self.address = f"http://{password}@127.0.0.1:{self._listener.getsockname()[1]}"
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

    def list_failures(self, path: str, since_s: float) -> list[ReadFailure]:
        """List the latest failures of what is at a path, below it or above it.

        Parameters
        ----------
        path : str
            With a slash at its start, not quoted.
        since_s : float
            When the first of them happened, by `time.monotonic`.
        """
        with self._lock:
            known = list(self._failures)
        return [
            failure
            for failed_s, place, failure in known
            if failed_s >= since_s and (place.startswith(path) or path.startswith(f"{place.rstrip('/')}/"))
        ]

    def begin_list(self) -> None:
        """Count the pages of a list from now on."""
        self._n_pages = 0

    def _accept(self) -> None:
        while True:
            client = None
            try:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), name="hpa-gate", daemon=True).start()
            except TimeoutError:  # nobody has come
                pass
            except (OSError, RuntimeError):  # no file descriptor or no thread is free; TensorStore asks again
                if client is not None:
                    client.close()
                time.sleep(PAUSE_S)
            with self._lock:
                late = [request for request in self._requests if time.monotonic() > request.latest_s]
            for request in late:
                request.is_late = True
                with contextlib.suppress(OSError, AttributeError):  # its own thread has closed it
                    request.upstream.shut()

    def _serve(self, client: socket.socket) -> None:
        """Forward the requests of one connection of TensorStore, one after the other, over one of our own."""
        with client, contextlib.suppress(OSError):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with client.makefile("rb") as lines, Upstream(self.origin) as upstream:
                while (head := _read_head(lines)) is not None:
                    method, target, headers = head
                    if method not in METHODS or not self._admit(headers):
                        client.sendall(b"HTTP/1.1 403 Gate\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                        return
                    if not self._forward(client, upstream, method, target, headers):
                        return

    def _admit(self, headers: dict[str, str]) -> bool:
        """Return whether a request is TensorStore's, and take what shows it out of its headers."""
        host, given = headers.pop("host", ""), headers.get("authorization", "")
        if hmac.compare_digest(given.encode("latin-1"), self._authorization):
            del headers["authorization"]
            return True
        # The name shows that it is no web page, whose browser would send the gate's own or the page's.
        return self._is_signed and host == self.netloc and given.startswith("AWS4-")

    def _forward(
        self, client: socket.socket, upstream: Upstream, method: str, target: str, headers: dict[str, str]
    ) -> bool:
        """Forward one request; return False if TensorStore's connection has to be closed."""
        limits = get_limits()
        ranges = headers.get("range", "")
        request = _Request(upstream, time.monotonic() + limits.connect_s + 2 * limits.stall_s)
        with self._lock:
            self._requests.add(request)
        try:
            n_allowed = self._count_allowed(target, ranges)
            answer = upstream.ask(method, target, headers)
            self.has_answered = True
            self.heard_s = time.monotonic()
            request.latest_s = self.heard_s + 2 * limits.stall_s + n_allowed / MIN_BYTES_PER_S
            self._pass_on(client, request, answer, n_allowed)
        except Exception as error:  # whatever a hostile answer makes of it
            upstream.close()
            failure = self._explain(TimeoutError() if request.is_late else error)
            with self._lock:
                self._failures.append((time.monotonic(), _find_place(target), failure))
            if request.is_begun:
                if failure.kind != "brief":
                    self._refuse(target, ranges, failure)
                return False
            status = REPEAT if failure.kind == "brief" else STOP
            client.sendall(f"HTTP/1.1 {status} Gate\r\nContent-Length: 0\r\n\r\n".encode())
        finally:
            with self._lock:
                self._requests.discard(request)
        return True

    def _refuse(self, target: str, ranges: str, failure: ReadFailure) -> None:
        """Refuse a request when it comes again, and forget those that did not come again."""
        now_s = time.monotonic()
        with self._lock:
            known = {key: refused for key, refused in self._refused.items() if refused[0] > now_s - REFUSED_S}
            self._refused = known | {(target, ranges): (now_s, failure)}

    def _explain(self, error: Exception) -> ReadFailure:
        return error.failure if isinstance(error, Refused) else explain_connection(error, answered=self.has_answered)

    def _pass_on(self, client: socket.socket, request: _Request, answer: Answer, n_allowed: int) -> None:
        """Pass an answer on to TensorStore piece by piece; raises Refused if it is none that TensorStore may have."""
        if answer.status >= 300:
            body = request.upstream.read_error(answer)
            failure = explain_status(answer.status, answer.headers, body)
            if failure is not None:
                raise Refused(failure)
            client.sendall(_encode_head(answer, 0))
            return
        if answer.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(PACKED)
        if answer.n_bytes is not None and answer.n_bytes > n_allowed:
            raise Refused(describe_excess(f"{answer.n_bytes} bytes", n_allowed))
        request.is_begun = True
        client.sendall(_encode_head(answer, answer.n_bytes))
        n_read = 0
        for piece in request.upstream.read_body(answer):
            self.heard_s = time.monotonic()
            n_read += len(piece)
            if n_read > n_allowed:
                raise Refused(describe_excess("data without end", n_allowed))
            client.sendall(piece if answer.n_bytes is not None else b"%x\r\n%b\r\n" % (len(piece), bytes(piece)))
        if answer.n_bytes is None:
            client.sendall(b"0\r\n\r\n")

    def _count_allowed(self, target: str, ranges: str) -> int:
        """Return how large the body of a request may be; raises Refused if there must be no request."""
        with self._lock:
            refused_s, failure = self._refused.pop((target, ranges), (-math.inf, None))
        if failure is not None and time.monotonic() < refused_s + REFUSED_S:
            raise Refused(failure)
        path, _, query = target.partition("?")
        if "list-type=" in query:
            self._n_pages += 1
            if self._n_pages > MAX_LIST_PAGES:
                what = f"it lists more than {MAX_LIST_PAGES} pages of objects"
                raise Refused(ReadFailure(what=what, remedy="Name the parts.", kind="final"))
        path = urllib.parse.unquote(path)
        while path and path not in self._allowed:
            path = path.rpartition("/")[0]
        n_allowed = self._allowed.get(path, MAX_METADATA_BYTES)
        if (match := re.fullmatch(r"bytes=(\d*)-(\d+)", ranges)) is not None:
            first, last = match.groups()
            n_allowed = min(n_allowed, int(last) - int(first) + 1 if first else int(last))
        return n_allowed


def open_gate(origin: str, *, is_signed: bool = False) -> Gate:
    """Return the gate of this process before a server; see `Gate`."""
    return _open_gate(origin, is_signed, os.getpid())


@cache
def _open_gate(origin: str, is_signed: bool, process: int) -> Gate:
    """Open a gate. A forked process has none of the threads of its parent, and opens its own."""
    if urllib.request.getproxies():  # TensorStore must not ask a proxy for an address of this process
        for name in ("no_proxy", "NO_PROXY"):
            hosts = [host.strip() for host in os.environ.get(name, "").split(",") if host.strip()]
            os.environ[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1"]))
    return Gate(origin, is_signed=is_signed)


def _find_place(target: str) -> str:
    """Return the path that a request is about; of a list, where its objects are."""
    path, _, query = target.partition("?")
    prefix = urllib.parse.parse_qs(query).get("prefix", [""])[0] if "list-type=" in query else ""
    return urllib.parse.unquote(path) + prefix


def _read_head(lines: BinaryIO) -> tuple[str, str, dict[str, str]] | None:
    """Read the head of a request of TensorStore: method, target and headers; None at the end."""
    first = lines.readline(MAX_HEAD_BYTES).decode("latin-1").split()
    if len(first) != 3:
        return None
    headers = {}
    while (line := lines.readline(MAX_HEAD_BYTES).decode("latin-1").strip()) != "":
        name, _, value = line.partition(":")
        if name.lower() not in DROPPED:
            headers[name.lower()] = value.strip()
    return first[0], first[1], headers


def _encode_head(answer: Answer, n_bytes: int | None) -> bytes:
    """Return the head of an answer for TensorStore; its body is chunked if its size is not known."""
    lines = [f"HTTP/1.1 {answer.status} Gate"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items() if name not in DROPPED]
    lines.append("Transfer-Encoding: chunked" if n_bytes is None else f"Content-Length: {n_bytes}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
