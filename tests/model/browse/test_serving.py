"""The server: its address and names, requests as bytes, and how it ends."""

import asyncio
import os
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
import uvicorn
from starlette.responses import PlainTextResponse

from hpa_data.errors import InputError
from hpa_model.browse.serve import configure, name_address, open_socket
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


@asynccontextmanager
async def limited(request_seconds: float, max_connections: int) -> AsyncIterator[int]:
    """Run a server with such limits; give its port."""
    with open_socket("127.0.0.1", 0) as opened:
        config = configure(PlainTextResponse("here"), request_seconds=request_seconds, max_connections=max_connections)
        server = uvicorn.Server(config)
        running = asyncio.create_task(server.serve(sockets=[opened]))
        yield opened.getsockname()[1]
        server.should_exit = True
        await running


async def read_rest(reader: asyncio.StreamReader) -> bytes:
    """Read until the server closes the connection."""
    try:
        return await asyncio.wait_for(reader.read(), timeout=10)
    except ConnectionError:
        return b""


WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("start", "drip", "answered"),
    [
        (b"", b"", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\n", b"a: b\r\n", False),
        (WHOLE + b"GET / HTTP/1.1\r\n", b"a: b\r\n", True),
        (WHOLE[:-2] + b"Content-Length: 1000\r\n\r\n", b"a", True),
    ],
)
def test_a_connection_whose_request_never_ends_is_closed(start: bytes, drip: bytes, answered: bool) -> None:
    async def ask() -> bytes:
        async with limited(request_seconds=0.2, max_connections=5) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(start)
            rest = asyncio.create_task(read_rest(reader))
            while drip and not rest.done():
                writer.write(drip)
                await asyncio.wait([rest], timeout=0.05)
            content = await rest
            writer.close()
            return content

    assert (b"200 OK" in asyncio.run(ask())) == answered


def test_a_connection_that_asks_again_later_is_answered() -> None:
    async def ask() -> list[bytes]:
        async with limited(request_seconds=0.2, max_connections=5) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            answers = []
            for _ in range(2):
                writer.write(WHOLE)
                answers.append(await asyncio.wait_for(reader.readuntil(b"here"), timeout=10))
                await asyncio.sleep(0.4)
            writer.close()
            return answers

    assert [answer[:15] for answer in asyncio.run(ask())] == [b"HTTP/1.1 200 OK"] * 2


def test_more_connections_than_the_limit_are_closed_at_once_and_earlier_ones_are_answered() -> None:
    async def ask() -> tuple[bytes, bytes, bytes]:
        async with limited(request_seconds=60, max_connections=2) as port:
            streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
            refused = await read_rest(streams[2][0])
            reader, writer = streams[0]
            writer.write(WHOLE[:-2] + b"Connection: close\r\n\r\n")
            served = await read_rest(reader)
            again, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(WHOLE)
            later = await again.readuntil(b"here")
            for _, each in streams:
                each.close()
            writer.close()
            return refused, served, later

    refused, served, later = asyncio.run(ask())
    assert refused == b""
    assert b"200 OK" in served
    assert b"200 OK" in later
