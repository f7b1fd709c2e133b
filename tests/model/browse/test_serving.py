"""The server: its address and names, requests as bytes, and how it ends."""

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hpa_data.errors import InputError
from hpa_model.browse.serve import name_address, open_socket
from tests.builders import HPA, Hpa, assert_refused
from tests.model.browse.pages import Pages


@contextmanager
def served(pages: Pages, *words: str) -> Iterator[tuple[subprocess.Popen[str], str, int]]:
    """Start the command; give the process, the line that it prints, and the port."""
    command = [str(HPA), "browse", str(pages.store), "--run", str(pages.run), "--no-open", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            yield process, line, int(re.findall(r":(\d+)/", line)[0])
        finally:
            process.kill()


def send(port: int, request: bytes) -> bytes:
    """Send bytes, and return the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(2**16), b""))


def test_the_command_serves_its_samples_alone_and_ends_by_ctrl_c(pages: Pages) -> None:
    with served(pages) as (process, line, port):
        assert line == f"http://127.0.0.1:{port}/  66 samples of a.zarr; Ctrl-C ends it\n"
        host = f"Host: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
        shown = send(port, b"GET / HTTP/1.1\r\n" + host)
        assert shown.startswith(b"HTTP/1.1 200")
        assert b"\r\nserver:" not in shown.lower()
        for path in (
            b"/../../../../etc/passwd",
            b"/page/../../app.py",
            b"/page/%2e%2e%2f%2e%2e%2fapp.py",
            b"/%00",
            b"//x",
        ):
            answer = send(port, b"GET " + path + b" HTTP/1.1\r\n" + host)
            assert answer.startswith(b"HTTP/1.1 404"), path
        assert send(port, b"GET http://evil.example/api/catalog HTTP/1.1\r\nHost: evil.example\r\n\r\n").startswith(
            b"HTTP/1.1 421"
        )
        assert b"200 OK" not in send(port, b"GET /api/catalog HTTP/1.1\r\n\r\n")
        assert b"200 OK" not in send(port, b"\x16\x03\x01 not HTTP at all\r\n\r\n")
        upgrade = b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\nOrigin: http://evil.example\r\n"
        assert b"101" not in send(port, upgrade + host)[:40]
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (130, "", "Interrupted.\n")


def test_the_names_of_a_server_are_those_of_this_machine_and_its_port() -> None:
    with open_socket("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        address = name_address(opened, "127.0.0.1")
    assert (address.url, address.token) == (f"http://127.0.0.1:{port}/", None)
    assert set(address.hosts) == {f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"}


def test_whoever_listens_for_other_machines_gets_a_token_that_differs_each_time() -> None:
    tokens = set()
    for _ in range(2):
        with open_socket("0.0.0.0", 0) as opened:
            port = opened.getsockname()[1]
            address = name_address(opened, "0.0.0.0")
        assert address.token is not None
        assert len(address.token) >= 43  # 256 bits
        assert address.url == f"http://{socket.gethostname()}:{port}/?token={address.token}"
        assert {f"127.0.0.1:{port}", f"{socket.gethostname().lower()}:{port}"} <= set(address.hosts)
        assert not [host for host in address.hosts if host.startswith(("0.0.0.0", "evil"))]
        tokens.add(address.token)
    assert len(tokens) == 2


def test_an_address_that_cannot_be_listened_at_is_refused(pages: Pages, hpa: Hpa) -> None:
    with open_socket("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(InputError, match=f"Cannot listen at 127.0.0.1, port {port}: Address already in use"):
            open_socket("127.0.0.1", port)
        assert_refused(hpa("browse", pages.store, "--port", port), "Leave out --port for a free one")
    assert_refused(hpa("browse", pages.store, "--host", "no such host"), "host must be a name or an address")
    assert_refused(hpa("browse", pages.store, "--host", "192.0.2.1"), "Cannot listen at 192.0.2.1, port 0")


def test_a_missing_package_is_named_with_its_extra(pages: Pages) -> None:
    code = (
        "import sys, cli; sys.modules['uvicorn'] = None\n"
        f"sys.argv = ['hpa', 'browse', {str(pages.store)!r}]\n"
        "cli.main()"
    )
    done = subprocess.run(
        [HPA.with_name("python"), "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"GLIBC_TUNABLES": ""},
    )
    assert done.returncode == 2
    assert done.stderr == "Error: Cannot run this command: uvicorn is not installed. Run: pip install '.[browse]'\n"
