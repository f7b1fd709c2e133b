"""The gate: whom it serves, what it survives, and what it forgets."""

import contextlib
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpa_data.errors import InputError
from hpa_data.reader.remote import Server
from tests.web_server import web_server


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
