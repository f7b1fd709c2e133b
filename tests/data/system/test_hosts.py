"""Processes that work together: how they find each other, what they send, and how they end together."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from hpa_data.errors import InputError
from hpa_data.system import hosts as module
from hpa_data.system.hosts import Hosts, find_free_port, join_hosts
from hpa_data.system.launch import COUNT_VARIABLES, INDEX_VARIABLES, Place, find_place


def place(port: int, index: int, n_hosts: int) -> Place:
    return Place(address=("127.0.0.1", port), index=index, n_hosts=n_hosts)


@contextmanager
def joined(n_hosts: int) -> Iterator[list[Hosts]]:
    """Join processes, here threads, that end well."""
    port = find_free_port("127.0.0.1")
    with ExitStack() as stack, ThreadPoolExecutor(n_hosts) as pool:
        groups = [join_hosts(place(port, index, n_hosts)) for index in range(n_hosts)]
        yield list(pool.map(stack.enter_context, groups))


def test_bytes_of_the_first_reach_all_and_those_of_all_the_first() -> None:
    with joined(3) as hosts, ThreadPoolExecutor(3) as pool:
        content = os.urandom(3 << 20)
        assert list(pool.map(lambda each: each.share(content if each.is_first else None), hosts)) == [content] * 3
        found = list(pool.map(lambda each: each.gather(bytes([each.index])), hosts))
        assert found == [[b"\x00", b"\x01", b"\x02"], [], []]
        list(pool.map(Hosts.meet, hosts))


@contextmanager
def waiting_first() -> Iterator[int]:
    """Let the first of two processes, here a thread, wait for the other; yield its port, and join it in the end."""
    port = find_free_port("127.0.0.1")

    def wait() -> None:
        with join_hosts(place(port, 0, 2)) as hosts:
            hosts.meet()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(wait)
        try:
            yield port
        finally:
            with join_hosts(place(port, 1, 2)) as hosts:
                hosts.meet()
            waiting.result(timeout=60)


def test_what_is_not_a_process_of_ours_does_not_disturb_those_that_join() -> None:
    with waiting_first() as port, socket.socket() as stranger:
        while stranger.connect_ex(("127.0.0.1", port)):
            pass
        stranger.settimeout(60)
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with suppress(ConnectionResetError):
            assert stranger.recv(1) == b""


@pytest.mark.parametrize(
    ("index", "n_hosts", "reason"),
    [(1, 3, "the first host has hosts=2, this one hosts=3"), (2, 3, "the first host has hosts=2, this one hosts=3")],
)
def test_a_process_that_does_not_belong_is_refused_with_the_reason(index: int, n_hosts: int, reason: str) -> None:
    with waiting_first() as port, pytest.raises(InputError, match=f"Cannot join the first host: {reason}"):
        join_hosts(place(port, index, n_hosts)).__enter__()


def test_two_processes_with_one_index_are_refused() -> None:
    port = find_free_port("127.0.0.1")
    found = {1: socket.socket()}
    with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)) as other:
        connection, _ = server.accept()
        module._send(other, module._DATA, b'{"host_index": 1, "hosts": 2}')
        assert module._greet(connection, place(port, 0, 2), found) is None
        assert b"another host has host_index=1, too" in module._receive(other)[1]


def test_processes_that_do_not_come_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "JOIN_S", 0.2)
    port = find_free_port("127.0.0.1")
    with pytest.raises(InputError, match=r"of 3 hosts, 2 did not come within 0 minutes, with host_index 1, 2\."):
        join_hosts(place(port, 0, 3)).__enter__()
    with pytest.raises(InputError, match=rf"Cannot reach the first host at 127\.0\.0\.1:{port}: Connection refused\."):
        join_hosts(place(port, 1, 3)).__enter__()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(InputError, match=r"Cannot listen at .*in use"):
        join_hosts(place(port, 0, 3)).__enter__()


SCRIPT = """
    import signal, sys, time
    from hpa_data.errors import InputError
    from hpa_data.system.hosts import join_hosts
    from hpa_data.system.launch import Place

    index, port = map(int, sys.argv[1:3])
    with join_hosts(Place(address=("127.0.0.1", port), index=index, n_hosts=3)) as hosts:
        hosts.meet()
        print("met", flush=True)
        hosts.meet()  # nobody ends before all have printed it
        if index == int(sys.argv[3]):
            {end}
        while True:
            try:
                time.sleep(60)  # as a library waits for what never comes
            except KeyboardInterrupt:
                sys.exit("stopped")
    """


def run_three(end: str, index: int) -> list[tuple[int, str]]:
    """Run three processes of which one does something; return the statuses and the last lines of all."""
    port = str(find_free_port("127.0.0.1"))
    script = textwrap.dedent(SCRIPT).replace("{end}", end)
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(each), port, str(index)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for each in range(3)
    ]
    ended = [process.communicate(timeout=100) for process in started]
    assert [out for out, _ in ended] == ["met\n"] * 3
    lines = [(err.splitlines() or [""])[-1] for _, err in ended]
    return list(zip([process.returncode for process in started], lines, strict=True))


@pytest.mark.parametrize("index", [0, 1])
def test_a_process_that_is_killed_ends_the_others_with_a_line(index: int) -> None:
    ended = run_three("signal.raise_signal(signal.SIGKILL)", index)
    assert ended.pop(index) == (-signal.SIGKILL, "")
    name = "the first host" if index == 0 else "host 2 of 3"
    assert any(line.startswith(f"Error: Cannot go on: {name} was lost. Start the same") for _, line in ended)
    assert {status for status, _ in ended} == {2}
    assert all(name in line for _, line in ended)


def test_a_process_that_is_refused_ends_the_others_with_its_reason() -> None:
    ended = run_three('raise InputError("the disk is full.")', 0)
    for status, line in ended[1:]:
        assert status == 2
        assert line.startswith(
            "Error: Cannot go on: the first host has ended: the disk is full. Start the same command"
        )


def test_places_come_from_options_and_then_from_the_environment() -> None:
    expected = Place(address=("node1", 1234), index=1, n_hosts=4)
    assert find_place("node1:1234", 1, 4, {"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}) == expected
    for names in zip(INDEX_VARIABLES, COUNT_VARIABLES, strict=True):
        environ = dict(zip(names, ("1", "4"), strict=True))
        assert find_place("node1:1234", None, None, environ) == expected
        assert find_place(None, None, None, environ | {"JAX_COORDINATOR_ADDRESS": "node1:1234"}) == expected
        # Of independent processes, such as one for each fold.
        assert find_place(None, None, None, environ) is None
    assert find_place("node1:1234", 0, 1, {}) is None
    assert find_place("[::1]:80", 0, 2, {}) == Place(address=("::1", 80), index=0, n_hosts=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((None, 1, None), "coordinator must be given"),
        ((None, None, 2), "coordinator must be given"),
        (("a:1", None, 2), "host_index and hosts must be given beside coordinator"),
        (("a:1", 2, 2), "host_index must be from 0 to hosts - 1"),
        (("a", 0, 2), r"coordinator must be HOST:PORT\. Received: a\."),
        (("a:b", 0, 2), "coordinator must be HOST:PORT"),
    ],
)
def test_a_place_that_cannot_be_is_refused(options: tuple[str | None, int | None, int | None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_place(*options, {})
