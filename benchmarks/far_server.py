"""A far server on this machine: files of a folder, behind a latency and a rate limit, by HTTP and by S3.

    python -m benchmarks.far_server FOLDER [--latency-ms 100] [--rate-mb 250] [--port 0]

It prints its port. Each request is answered after the latency; all answers together are sent at the rate. S3 is what a
reader needs of it: objects as ``/BUCKET/KEY``, where the bucket is a subfolder, whole or a range of them. Signatures
are not looked at. One thread serves all connections, with `sendfile`, so that it takes little of the machine that is
measured. ``GET /-/stats`` answers at once with JSON: requests, bytes and the most requests at once since the last time.
"""

import argparse
import heapq
import json
import os
import re
import select
import socket
import time
import urllib.parse
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

# Sent of one answer before the next has its turn.
PIECE_BYTES = 128 * 1024


@dataclass(eq=False)
class _Client:
    """A connection, and the answer that it is waiting for."""

    socket: socket.socket
    received: bytes = b""
    head: bytes = b""
    file: int = -1
    start: int = 0
    stop: int = 0
    is_blocked: bool = False
    is_busy: bool = False
    log: list[str] = field(default_factory=list)


class FarServer:
    """Serves the files of a folder until it is stopped from outside."""

    def __init__(self, folder: Path, *, latency_s: float, bytes_per_s: float, port: int = 0) -> None:
        self._folder = str(folder.resolve())
        self._latency_s = latency_s
        self._bytes_per_s = bytes_per_s
        self._listener = socket.create_server(("127.0.0.1", port), backlog=1024)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._clients: dict[int, _Client] = {}
        self._waiting: list[tuple[float, int, _Client]] = []  # for their latency to pass
        self._sending: deque[_Client] = deque()
        self._files: dict[str, tuple[int, int]] = {}
        self._next_s = 0.0  # when the rate lets the next piece go
        self._number = 0
        self._begin_stats()

    def _begin_stats(self) -> None:
        self._n_requests = self._n_bytes = 0
        self._n_at_once = self._n_busy = sum(client.is_busy for client in self._clients.values())

    def run(self) -> None:
        """Serve for ever."""
        while True:
            for number, events in self._poll.poll(self._pause_s()):
                if number == self._listener.fileno():
                    self._accept()
                    continue
                client = self._clients.get(number)
                if client is not None and events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                    self._receive(client)
                if client is not None and events & select.EPOLLOUT and client.is_blocked:
                    client.is_blocked = False
                    self._poll.modify(client.socket, select.EPOLLIN)
                    self._sending.append(client)
            now_s = time.monotonic()
            while self._waiting and self._waiting[0][0] <= now_s:
                self._sending.append(heapq.heappop(self._waiting)[2])
            self._send()

    def _pause_s(self) -> float:
        now_s = time.monotonic()
        pauses = [1.0]
        if self._waiting:
            pauses.append(self._waiting[0][0] - now_s)
        if self._sending:
            pauses.append(self._next_s - now_s)
        return max(0.0, min(pauses))

    def _accept(self) -> None:
        accepted, _ = self._listener.accept()
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clients[accepted.fileno()] = _Client(accepted)
        self._poll.register(accepted, select.EPOLLIN)

    def _drop(self, client: _Client) -> None:
        self._clients.pop(client.socket.fileno(), None)
        self._n_busy -= client.is_busy
        client.is_busy, client.start, client.stop, client.head = False, 0, 0, b""
        client.socket.close()

    def _receive(self, client: _Client) -> None:
        try:
            received = client.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._drop(client)
            return
        client.received += received
        head, end, rest = client.received.partition(b"\r\n\r\n")
        if end:
            client.received = rest
            self._answer(client, head.decode("latin-1"))

    def _answer(self, client: _Client, request: str) -> None:
        method, target, _ = request.split(maxsplit=2)
        path = urllib.parse.unquote(target.partition("?")[0])
        if path == "/-/stats":
            stats = {"requests": self._n_requests, "bytes": self._n_bytes, "at_once": self._n_at_once}
            self._begin_stats()
            self._respond(client, 200, json.dumps(stats).encode(), delay_s=0.0)
            return
        self._n_requests += 1
        file, size = self._open(path)
        if file < 0:
            self._respond(client, 404, b"", delay_s=self._latency_s)
            return
        found = re.search(r"(?i)^range: bytes=(\d*)-(\d*)", request, re.MULTILINE)
        start, stop, status = 0, size, 200
        if found is not None:
            first, last = found.groups()
            start = int(first) if first else max(0, size - int(last))
            stop = min(int(last) + 1, size) if first and last else size
            status = 206
        client.file, client.start, client.stop = file, start, stop
        more = f"Content-Range: bytes {start}-{stop - 1}/{size}\r\n" if status == 206 else ""
        more += 'ETag: "1"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n'
        if method == "HEAD":
            client.stop = client.start
        self._respond(client, status, b"", delay_s=self._latency_s, n_bytes=stop - start, more=more)

    def _respond(
        self, client: _Client, status: int, body: bytes, *, delay_s: float, n_bytes: int | None = None, more: str = ""
    ) -> None:
        if not client.is_busy:
            client.is_busy = True
            self._n_busy += 1
            self._n_at_once = max(self._n_at_once, self._n_busy)
        n_bytes = len(body) if n_bytes is None else n_bytes
        client.head = f"HTTP/1.1 {status} Far\r\nContent-Length: {n_bytes}\r\n{more}\r\n".encode() + body
        self._number += 1
        heapq.heappush(self._waiting, (time.monotonic() + delay_s, self._number, client))

    def _open(self, path: str) -> tuple[int, int]:
        if path not in self._files:
            whole = os.path.realpath(self._folder + path)
            if not (whole.startswith(self._folder + "/") and os.path.isfile(whole)):
                return -1, 0
            file = os.open(whole, os.O_RDONLY)
            self._files[path] = file, os.fstat(file).st_size
        return self._files[path]

    def _send(self) -> None:
        """Send pieces in turn, as many as the rate allows now."""
        while self._sending:
            now_s = time.monotonic()
            if self._bytes_per_s and now_s < self._next_s:
                return
            client = self._sending.popleft()
            if not client.is_busy:
                continue
            try:
                n_sent = self._send_piece(client)
            except BlockingIOError:
                client.is_blocked = True
                self._poll.modify(client.socket, select.EPOLLIN | select.EPOLLOUT)
                continue
            except OSError:
                self._drop(client)
                continue
            self._n_bytes += n_sent
            if self._bytes_per_s:
                # What was not used in the last 20 ms is lost, as on a line.
                self._next_s = max(self._next_s, now_s - 0.02) + n_sent / self._bytes_per_s
            if client.head or client.start < client.stop:
                self._sending.append(client)
            else:
                client.is_busy = False
                self._n_busy -= 1

    def _send_piece(self, client: _Client) -> int:
        if client.head:
            n_sent = client.socket.send(client.head)
            client.head = client.head[n_sent:]
            if client.head:
                raise BlockingIOError
            return n_sent
        n_sent = os.sendfile(
            client.socket.fileno(), client.file, client.start, min(PIECE_BYTES, client.stop - client.start)
        )
        client.start += n_sent
        return n_sent


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latency-ms", type=float, default=100.0)
    parser.add_argument("--rate-mb", type=float, default=0.0, help="million bytes per second; 0 for no limit")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    server = FarServer(
        options.folder, latency_s=options.latency_ms / 1e3, bytes_per_s=options.rate_mb * 1e6, port=options.port
    )
    print(server.port, flush=True)
    server.run()


if __name__ == "__main__":
    main()
