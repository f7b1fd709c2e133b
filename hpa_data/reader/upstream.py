"""One connection to a web server, over which objects are asked for one after the other.

Why not `http.client` alone: it takes longer over the head of an answer than the machine does to move an image, and
copies bodies twice more. It still connects, through TLS and through proxies.
"""

import base64
import http.client
import math
import os
import re
import socket
import ssl
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from hpa_data.reader.failures import ReadFailure, Refused
from hpa_data.reader.limits import get_limits

# Received at once, and forwarded at once.
PIECE_BYTES = 256 * 1024
# Received with a head: what belongs to the body is copied once more.
HEAD_BYTES = 8 * 1024
# What an error tells is in its beginning.
ERROR_BYTES = 4096
# Slower bodies are given up: 256 requests over a line of 2 Mbit/s are as fast.
MIN_BYTES_PER_S = 1000
# Of an answer, and of the trailer of a chunked body. Servers send a few hundred bytes.
MAX_HEAD_BYTES = 64 * 1024
# Variables that name files of certificates to accept beside those of the system.
CERTIFICATES = ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "TENSORSTORE_CA_BUNDLE")
# Answers that say only that one will follow.
MAX_INTERIM = 8


@dataclass(frozen=True)
class Answer:
    """The head of an answer."""

    status: int

    headers: Mapping[str, str]
    """By names in lower case."""

    n_bytes: int | None
    """Of the body; None if it is not known before the end."""


class Upstream:
    """A connection to one server; a context manager.

    Parameters
    ----------
    origin : str
    buffer_bytes : int
        For what is received and not yet used; more than `MAX_HEAD_BYTES` and `HEAD_BYTES` together.

    Attributes
    ----------
    latest_s : float
        When bytes may arrive last, by `time.monotonic`; later ones are a TimeoutError.
    heard_s : float
        When bytes arrived last.
    """

    def __init__(self, origin: str, *, buffer_bytes: int = PIECE_BYTES) -> None:
        parsed = urllib.parse.urlsplit(origin)
        self.netloc = parsed.netloc.rpartition("@")[2]
        self._is_https = parsed.scheme == "https"
        self._headers = {"host": self.netloc} | _name_user(parsed, "authorization")
        self._proxy = _find_proxy(parsed.scheme, parsed.hostname or "")
        self._host, self._port = parsed.hostname or "", parsed.port
        if self._proxy is not None and not self._is_https:
            self._headers |= _name_user(self._proxy, "proxy-authorization")
        self._connection: http.client.HTTPConnection | None = None
        self._buffer = memoryview(bytearray(buffer_bytes))
        self._start = self._stop = 0  # what was received and not yet used
        self._is_chunked = self._is_last = False
        self.latest_s = math.inf
        self.heard_s = -math.inf

    def __enter__(self) -> "Upstream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def _socket(self) -> socket.socket:
        if self._connection is None:
            raise ConnectionError("it is not connected")
        return self._connection.sock

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._start = self._stop = 0

    def shut(self) -> None:
        """End a wait of another thread for the server."""
        self._socket.shutdown(socket.SHUT_RDWR)

    def ask(self, method: str, target: str, headers: Mapping[str, str]) -> Answer:
        """Send a request and read the head of the answer; OSError or ValueError if there is none."""
        if self._proxy is not None and not self._is_https:
            target = f"http://{self.netloc}{target}"
        fields = (f"{name}: {value}" for name, value in (self._headers | dict(headers)).items())
        request = "\r\n".join([f"{method} {target} HTTP/1.1", *fields, "", ""]).encode("latin-1")
        while True:
            is_fresh = not self.is_open
            try:
                if is_fresh:
                    self._connect()
                self._socket.sendall(request)
                return self._read_answer(method)
            except (ConnectionError, ssl.SSLEOFError):
                self.close()
                if is_fresh:
                    raise
                # The server has closed the connection since the request before.

    def read_body(self, answer: Answer) -> Iterator[memoryview]:
        """Yield the body piece by piece; each is valid until the next. ConnectionError if it is cut short."""
        if self._is_chunked:
            while (n_bytes := int(self._read_line().partition(b";")[0], 16)) > 0:
                yield from self._read_bytes(n_bytes)
                self._read_line()
            while self._read_line():
                pass
        elif answer.n_bytes is None:
            while piece := self._receive(PIECE_BYTES):
                yield piece
        else:
            yield from self._read_bytes(answer.n_bytes)
        if self._is_last or self._start < self._stop:
            self.close()

    def read_into(self, memory: memoryview) -> None:
        """Receive a body of as many bytes as `memory` has, straight into it; ConnectionError if it is cut short."""
        n_read = min(len(memory), self._stop - self._start)
        memory[:n_read] = self._buffer[self._start : self._start + n_read]
        self._start += n_read
        while n_read < len(memory):
            n_bytes = self._receive_into(memory[n_read:])
            if not n_bytes:
                raise ConnectionError("its data were cut short")
            n_read += n_bytes
        if self._is_last or self._start < self._stop:
            self.close()

    def read_error(self, answer: Answer) -> bytes:
        """Receive the beginning of a body; if there is more, close the connection."""
        body = b""
        pieces = self.read_body(answer)
        while len(body) < ERROR_BYTES and (piece := next(pieces, None)) is not None:
            body += piece
        if len(body) >= ERROR_BYTES:
            self.close()  # whatever else it sends
        return body

    def _connect(self) -> None:
        limits = get_limits()
        place = (self._host, self._port) if self._proxy is None else (self._proxy.hostname or "", self._proxy.port)
        connection = http.client.HTTPConnection(*place, timeout=limits.connect_s)
        if self._is_https:
            context = _trust(*((name, os.environ.get(name)) for name in CERTIFICATES))
            connection = http.client.HTTPSConnection(*place, timeout=limits.connect_s, context=context)
            if self._proxy is not None:
                connection.set_tunnel(self._host, self._port, _name_user(self._proxy, "Proxy-Authorization"))
        connection.connect()
        self._connection = connection
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(limits.stall_s)

    def _read_answer(self, method: str) -> Answer:
        for _ in range(MAX_INTERIM):
            status_line, *lines = self._read_head()
            match = re.fullmatch(r"HTTP/1\.([01]) (\d{3})( .*)?", status_line)
            if match is None:
                raise ValueError("its answer is not HTTP")
            if match[2] >= "200":
                break
        else:
            raise ValueError("it never begins its answer")
        fields = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        status = int(match[2])
        self._is_last = match[1] == "0" or headers.get("connection", "").lower() == "close"
        self._is_chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length", "")
        if method == "HEAD" or status in {204, 304}:
            self._is_chunked, length = False, "0"
        if self._is_chunked or not length:
            self._is_last |= not self._is_chunked
            return Answer(status, headers, None)
        if not re.fullmatch("[0-9]{1,18}", length):
            raise ValueError("its Content-Length is no number")
        return Answer(status, headers, int(length))

    def _read_head(self) -> list[str]:
        end = -1
        while end < 0:
            if self._stop - self._start > MAX_HEAD_BYTES:
                raise ValueError("the head of its answer does not end")
            self._fill()
            received = bytes(self._buffer[self._start : self._stop])
            end = received.find(b"\r\n\r\n")
        self._start += end + 4
        return received[:end].decode("latin-1").split("\r\n")

    def _read_line(self) -> bytes:
        """Read a line between the pieces of a chunked body."""
        while (end := bytes(self._buffer[self._start : min(self._stop, self._start + 1024)]).find(b"\r\n")) < 0:
            if self._stop - self._start > 1024:
                raise ValueError("a line of its chunked answer does not end")
            self._fill()
        line = bytes(self._buffer[self._start : self._start + end])
        self._start += end + 2
        return line

    def _read_bytes(self, n_bytes: int) -> Iterator[memoryview]:
        while n_bytes:
            piece = self._receive(n_bytes)
            if not piece:
                raise ConnectionError("its data were cut short")
            n_bytes -= len(piece)
            yield piece

    def _receive(self, n_bytes: int) -> memoryview:
        """Return some bytes, at most so many; none at the end."""
        if self._start == self._stop:
            self._start, self._stop = 0, self._receive_into(self._buffer[:n_bytes])
        piece = self._buffer[self._start : min(self._stop, self._start + n_bytes)]
        self._start += len(piece)
        return piece

    def _fill(self) -> None:
        """Receive more behind what is not yet used; ConnectionError at the end."""
        n_left = self._stop - self._start
        self._buffer[:n_left] = self._buffer[self._start : self._stop]
        self._start, self._stop = 0, n_left
        n_bytes = self._receive_into(self._buffer[n_left : n_left + HEAD_BYTES])
        if not n_bytes:
            raise ConnectionError("it closed the connection")
        self._stop += n_bytes

    def _receive_into(self, memory: memoryview) -> int:
        """Receive some bytes; return how many, 0 at the end. TimeoutError if they do not come, or too late."""
        n_bytes = self._socket.recv_into(memory)
        self.heard_s = time.monotonic()
        if self.heard_s > self.latest_s:
            raise TimeoutError
        return n_bytes


@lru_cache
def _trust(*files: tuple[str, str | None]) -> ssl.SSLContext:
    """Return what decides which certificates are accepted: those of the system, and of the files of these variables."""
    context = ssl.create_default_context()
    for name, file in files:
        try:
            if file:
                context.load_verify_locations(file)
        except OSError as error:
            reason = "it holds none" if isinstance(error, ssl.SSLError) else error.strerror
            what = f"the certificates in {file} cannot be read: {reason}"
            raise Refused(ReadFailure(what=what, remedy=f"Correct {name}.", kind="final")) from error
    return context


def _name_user(url: urllib.parse.SplitResult, header: str) -> dict[str, str]:
    """Return the header with the user and password of a URL, if it has some."""
    if url.username is None:
        return {}
    user = f"{urllib.parse.unquote(url.username)}:{urllib.parse.unquote(url.password or '')}"
    return {header: f"Basic {base64.b64encode(user.encode()).decode()}"}


def _find_proxy(scheme: str, host: str) -> urllib.parse.SplitResult | None:
    """Return the proxy that the environment names for a server."""
    proxy = urllib.request.getproxies().get(scheme)
    if proxy is None or urllib.request.proxy_bypass(host):
        return None
    return urllib.parse.urlsplit(proxy if "://" in proxy else f"http://{proxy}")
