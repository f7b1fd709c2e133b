"""Ranges over our own connections: the bytes that were asked for, or a reason."""

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpa_data.reader import connections
from hpa_data.reader.connections import Connections, open_connections
from hpa_data.reader.failures import Refused
from hpa_data.reader.limits import RemoteLimits, set_limits
from tests.web_server import Handler, web_server

N_BYTES = 300


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    made = np.random.default_rng(0).bytes(N_BYTES)
    (tmp_path / "a b").write_bytes(made)
    return made


@pytest.fixture(autouse=True)
def short_limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(connections, "FIRST_PAUSE_S", 0.01)
    before = set_limits(RemoteLimits(connect_s=10.0, stall_s=20.0))
    yield
    set_limits(before)


def read(url: str, first: int, n_bytes: int) -> bytes:
    return Connections(url).start("/a%20b", first, n_bytes).result(20).tobytes()


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ranges=st.lists(st.tuples(st.integers(0, N_BYTES - 1), st.integers(1, N_BYTES)), min_size=1, max_size=9))
def test_ranges_hold_the_bytes_of_the_object(tmp_path: Path, content: bytes, ranges: list[tuple[int, int]]) -> None:
    with web_server(tmp_path) as (url, _):
        lines = Connections(url)
        chosen = [(first, min(n_bytes, N_BYTES - first)) for first, n_bytes in ranges]
        reads = [lines.start("/a%20b", first, n, is_urgent=n % 2 == 0) for first, n in chosen]
        last = lines.start("/a%20b", -7, 7)
        for (first, n), found in zip(chosen, reads, strict=True):
            assert found.result(20).tobytes() == content[first : first + n]
        assert last.result(20).tobytes() == content[-7:]


def chunk_it(handler: Handler) -> bool:
    handler.answer(206, b"", {"Content-Length": "", "Transfer-Encoding": "chunked", "Content-Range": "bytes 10-19/300"})
    handler.wfile.write(b"4\r\nabcd\r\n6\r\nefghij\r\n0\r\n\r\n")
    return True


def test_a_range_may_come_in_pieces(tmp_path: Path) -> None:
    with web_server(tmp_path, chunk_it) as (url, _):
        assert read(url, 10, 10) == b"abcdefghij"


def part(content_range: str, body: bytes = b"x" * 10, **more: str) -> "tuple[int, bytes, dict[str, str]]":
    return 206, body, {"Content-Range": content_range} | {name.replace("_", "-"): value for name, value in more.items()}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, b"", {}), "an object is missing"),
        ((416, b"", {}), "an object is missing"),
        ((304, b"", {}), "an object is missing"),
        ((200, b"x" * 10, {}), "all of an object"),
        ((200, b"x" * 99, {}), "it sends 99 bytes, where at most 10"),
        (part("bytes 9-18/300"), "another part of an object"),
        (part(""), "another part of an object"),
        (part("bytes 10-19/300", b"x" * 11), "it sends 11 bytes, where at most 10"),
        (part("bytes 10-19/300", Content_Encoding="gzip"), "packed data"),
        ((403, b"<Code>SlowDown</Code>", {}), "overloaded"),
        ((403, b"y" * 9999, {}), "it refuses access"),
    ],
)
def test_an_answer_that_is_not_the_range_is_refused(
    tmp_path: Path, answer: "tuple[int, bytes, dict[str, str]]", message: str
) -> None:
    with (
        web_server(tmp_path, lambda handler: handler.answer(*answer)) as (url, _),
        pytest.raises(Refused, match=message),
    ):
        read(url, 10, 10)


def test_a_range_without_end_is_refused(tmp_path: Path) -> None:
    def misbehave(handler: Handler) -> bool:
        headers = {"Content-Length": "", "Transfer-Encoding": "chunked", "Content-Range": "bytes 10-19/300"}
        handler.answer(206, b"", headers)
        return handler.send_for_ever(b"4\r\nabcd\r\n")

    with web_server(tmp_path, misbehave) as (url, _), pytest.raises(Refused, match="data without end"):
        read(url, 10, 10)


def test_bytes_that_trickle_are_given_up(tmp_path: Path) -> None:
    set_limits(RemoteLimits(connect_s=10.0, stall_s=0.5))

    def trickle(handler: Handler) -> bool:
        handler.answer(206, b"", {"Content-Length": "100", "Content-Range": "bytes 0-99/300"})
        while True:
            handler.wfile.write(b"x")
            time.sleep(0.1)

    with web_server(tmp_path, trickle) as (url, _), pytest.raises(Refused, match="its data stall"):
        read(url, 0, 100)


def test_what_fails_for_a_moment_is_repeated_and_an_overload_is_counted(tmp_path: Path, content: bytes) -> None:
    calls = itertools.count()
    with web_server(tmp_path, lambda handler: next(calls) < 2 and handler.answer(503)) as (url, paths):
        lines = Connections(url)
        assert lines.start("/a%20b", 1, 2).result(20).tobytes() == content[1:3]
        assert lines.n_overloads == 2
        assert len(paths) == 3


def test_a_connection_without_a_request_is_closed_and_made_again(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "IDLE_S", 0.05)
    with web_server(tmp_path) as (url, _):
        lines = Connections(url)
        for _ in range(2):
            assert lines.start("/a%20b", 0, 4).result(20).tobytes() == content[:4]
            ends_s = time.monotonic() + 20
            while lines._upstreams:
                assert time.monotonic() < ends_s
                time.sleep(0.01)


def test_a_server_has_the_same_connections_for_all() -> None:
    assert open_connections("http://a:1") is open_connections("http://a:1")
    assert open_connections("http://a:1") is not open_connections("http://a:2")
