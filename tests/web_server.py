"""A web server with range requests, which misbehaves as a test says."""

import contextlib
import http.server
import re
import socket
import ssl
import struct
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

# Of all files; clients of S3 ask for one.
ETAG = '"1"'


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves files of a folder, unless `misbehave` has answered; `paths` are those that were asked for."""

    protocol_version = "HTTP/1.1"
    folder: Path
    paths: list[str]
    misbehave: "Callable[[Handler], bool]"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.paths.append(self.path)
        with contextlib.suppress(OSError):
            if not type(self).misbehave(self):
                self.serve_file()

    def do_HEAD(self) -> None:
        self.answer(404)

    def serve_file(self) -> None:
        file = self.folder / urllib.parse.unquote(self.path).lstrip("/")
        if not file.is_file():
            self.answer(404)
            return
        content = file.read_bytes()
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if match is None:
            self.answer(200, content, {"ETag": ETAG})
            return
        first, last = match.groups()
        start = int(first) if first else len(content) - int(last)
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}", "ETag": ETAG}
        self.answer(206, content[start:stop], headers)

    def answer(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> bool:
        """Send a whole answer; unless `headers` say otherwise, with its length."""
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | (headers or {})).items():
            if value:
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        return True

    def describe_range(self) -> dict[str, str]:
        """Make the headers of the answer to a request for a range, as of an object of 9,999,999 bytes."""
        first, last = self.headers["Range"].removeprefix("bytes=").split("-")
        begin, stop = (int(first), int(last) + 1) if first else (9_999_999 - int(last), 9_999_999)
        return {"Content-Length": str(stop - begin), "Content-Range": f"bytes {begin}-{stop - 1}/9999999"}

    def reset(self) -> bool:
        """Break the connection off without a farewell."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True
        return True

    def send_for_ever(self, piece: bytes) -> bool:
        """Send the same bytes until the other side closes the connection."""
        while True:
            self.wfile.write(piece)


class _Server(http.server.ThreadingHTTPServer):
    request_queue_size = 256  # as web servers have; with Python's 5, many connections at once take a second


@contextlib.contextmanager
def web_server(
    folder: Path, misbehave: Callable[[Handler], bool] = lambda _: False, *, certificate: Path | None = None
) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder; yield the URL, and the list of the paths that were asked for.

    With a certificate, a file with its key, by https.
    """
    paths: list[str] = []
    kind = type("Served", (Handler,), {"folder": folder, "paths": paths, "misbehave": staticmethod(misbehave)})
    server = _Server(("127.0.0.1", 0), kind)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    server.block_on_close = False
    server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client that has gone
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"{'http' if certificate is None else 'https'}://127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        server.server_close()
