"""The gate: whom it serves, what it survives, and what it forgets."""

import base64
import contextlib
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tensorstore as ts

from hpa_data.errors import InputError
from hpa_data.reader.remote import Server
from hpa_data.store.store import open_store
from tests.web_server import Handler, web_server


@contextlib.contextmanager
def without_descriptors() -> Iterator[None]:
    """Let no file be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@contextlib.contextmanager
def without_threads() -> Iterator[None]:
    """Let no thread be started: no memory is as large as its stack."""
    before = threading.stack_size(2**50)
    try:
        yield
    finally:
        threading.stack_size(before)


@pytest.mark.parametrize("without", [without_descriptors, without_threads])
def test_a_gate_that_could_not_serve_serves_later(
    without: "type[contextlib.AbstractContextManager[None]]", tmp_path: Path
) -> None:
    with web_server(tmp_path, lambda handler: handler.answer(200, b"x")) as (url, _):
        gate = Server(url).gate
        assert gate
        address = ("127.0.0.1", int(gate.address.rpartition(":")[2]))
        with socket.socket() as early, without():
            early.connect(address)
            time.sleep(0.05)  # until it has tried
        with socket.create_connection(address, timeout=10) as late:
            late.sendall(b"\r\n")
            assert late.recv(1) == b""


@pytest.mark.parametrize(
    ("url", "proxy"),
    [("http://host:abc/a.zarr", ""), ("http://[::1/a.zarr", ""), ("http://host/a.zarr", "http://[::1")],
)
def test_an_address_that_is_none_is_refused_at_once(url: str, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(
        InputError, match=r"Cannot read http://.*(Invalid IPv6 URL|Port could not be).*Check the address"
    ):
        Server(url)


def test_the_gate_of_another_server_does_not_name_this_machine_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid")
    monkeypatch.setenv("no_proxy", "localhost")
    for number in range(3):
        Server(f"http://host-{number}.invalid/a.zarr")
    assert os.environ["no_proxy"] == "localhost,127.0.0.1"


def ask(server: Server, request: str) -> bytes:
    """Send a request to the gate before a server, and return the beginning of its answer."""
    assert server.gate
    with socket.create_connection(("127.0.0.1", int(server.gate.address.rpartition(":")[2])), timeout=10) as client:
        client.sendall(request.encode())
        return client.recv(12)


SIGNED = "authorization: AWS4-HMAC-SHA256 Credential=key"


@pytest.mark.parametrize(
    "request_",
    [
        "GET /a/x HTTP/1.1\r\n\r\n",
        "GET /a/x HTTP/1.1\r\nAuthorization: Basic eDo=\r\n\r\n",
        "PUT /a/x HTTP/1.1\r\nAuthorization: {password}\r\n\r\n",
        "DELETE /a/x HTTP/1.1\r\nHost: {host}\r\n" + SIGNED + "\r\n\r\n",
        "GET /a/x HTTP/1.1\r\nHost: rebound.example\r\n" + SIGNED + "\r\n\r\n",
        "GET /a/x HTTP/1.1\r\nHost: {host}\r\n\r\n",
    ],
)
@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_what_is_not_of_this_process_does_not_pass_the_gate(
    scheme: str, request_: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server(tmp_path) as (url, paths):
        host = url.removeprefix("http://")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:secret@{host}")
        server = Server(f"http://me:secret@{host}/a" if scheme == "http" else "s3://hpa-bucket/a")
        assert server.gate
        password = "Basic " + base64.b64encode(server.gate.address[7:].partition("@")[0].encode() + b":").decode()
        assert ask(server, request_.format(host=host, password=password)) == b"HTTP/1.1 403"
        assert paths == []
        assert ask(server, f"GET /a/x HTTP/1.1\r\nAuthorization: {password}\r\n\r\n") == b"HTTP/1.1 404"


def test_a_store_on_s3_is_read_without_credentials_and_its_gate_forwards_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def answer(handler: Handler) -> bool:
        given.append(handler.headers.get_all("Authorization"))
        return False

    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    with web_server(tmp_path, answer) as (url, _):
        for user in ("", "me:secret@"):
            monkeypatch.setenv("AWS_ENDPOINT_URL", url.replace("//", f"//{user}"))
            with pytest.raises(InputError, match="it has no zarr.json"):
                open_store("s3://hpa-bucket/a.zarr")
            server = Server("s3://hpa-bucket/a.zarr")
            assert ask(server, f"GET /a HTTP/1.1\r\nHost: {url[7:]}\r\n{SIGNED}\r\n\r\n") == b"HTTP/1.1 403"
    assert given[0] is None
    assert given[-1] == ["Basic " + base64.b64encode(b"me:secret").decode()]


def test_a_message_names_the_server_and_not_its_gate(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text("{}")
    with web_server(tmp_path) as (url, _):
        server = Server(url)
        with pytest.raises(InputError, match=f"{url}/zarr.json") as error:
            server.read([lambda: ts.open({"driver": "zarr3", "kvstore": server.spec}, open=True)], "the array")
    assert "@" not in str(error.value)


@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_failure_is_told_to_whom_it_concerns(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    with web_server(tmp_path, lambda handler: handler.answer(403)) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        base = f"{url}/hpa-bucket" if scheme == "http" else "s3://hpa-bucket"
        whole, one, other = (Server(f"{base}/{path}") for path in ("a b.zarr", "a b.zarr/train", "a b.zarr/test"))
        assert whole.gate is one.gate is other.gate
        store = ts.KvStore.open(one.spec).result()
        with pytest.raises(InputError, match="it refuses access"):
            one.read([lambda: store.read("x")], "the part")
        assert [len(server.list_failures(0.0)) for server in (whole, one, other)] == [1, 1, 0]
        if scheme == "s3":
            with pytest.raises(InputError, match="it refuses access"):
                one.list(store)
            assert [len(server.list_failures(0.0)) for server in (whole, one, other)] == [2, 2, 0]


def test_a_bucket_without_a_path_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    with web_server(tmp_path) as (url, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(InputError, match="it has no zarr.json"):
            open_store("s3://hpa-bucket")
