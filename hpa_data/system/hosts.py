"""Processes on several hosts that work together: small messages between them, and what happens if one is lost.

The first process listens at an address; each of the others keeps a connection to it. What waits in a library for a
process that is gone would wait for long, or crash: so a thread per connection ends this process with one line as soon
as another one is lost, or ends before its work is done.
"""

import contextlib
import json
import math
import os
import queue
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

from hpa_data.errors import InputError, first_line
from hpa_data.system.complaints import escape
from hpa_data.system.interrupts import interrupted_by, is_interrupted, received_signal
from hpa_data.system.launch import Place

# Until all processes are there: a batch system may start them minutes apart.
JOIN_S = 600.0
# What is not a process of ours must not keep the others from joining.
HELLO_S, MAX_HELLO_BYTES = 10.0, 4096
# A frame: its kind, and how many bytes follow.
_HEAD = struct.Struct(">cQ")
_DATA, _STOP, _END = b"D", b"S", b"E"
# After a host or a network is silent for IDLE_S, this many questions, this many seconds apart, are not answered.
IDLE_S, INTERVAL_S, N_QUESTIONS = 15, 5, 4
# Before a stop is passed on: a batch system sends its signal to all processes, and the first one may have got it.
STOP_DELAY_S = 1.0
REFUSED = 2
REMEDY = "Start the same command on all hosts again: it goes on from the last checkpoint, with fewer hosts, too."


# The status with which a group has ended for this process, if not all its processes have ended well together.
_broken: list[int] = []


def is_broken() -> bool:
    """Return whether this process has left others that it worked with: libraries would wait for them as it exits."""
    return bool(_broken)


def find_free_port(host: str) -> int:
    """Find a port that nothing listens at, at an address of this host."""
    with socket.create_server((host, 0), family=_find_family(host, 0)) as server:
        return int(server.getsockname()[1])


class Hosts:
    """The processes that work together, seen from one of them."""

    def __init__(self, place: Place, connections: dict[int, socket.socket]) -> None:
        self.index = place.index
        self.n_hosts = place.n_hosts
        self.address = place.address
        self.before_exit: list[Callable[[], object]] = []
        """Called before another process ends this one, such as to remove temporary files."""
        self._connections = connections
        self._messages: dict[int, queue.SimpleQueue[bytes]] = {peer: queue.SimpleQueue() for peer in connections}
        self._is_ending = False
        for peer in connections:
            threading.Thread(target=self._listen, args=(peer,), daemon=True).start()

    @property
    def is_first(self) -> bool:
        """Whether this is the first process, which writes files."""
        return self.index == 0

    def share(self, content: bytes | None) -> bytes:
        """Send bytes of the first process to all; return them. The others pass None, and wait as long as it takes."""
        if content is None:
            return self._messages[0].get()
        for connection in self._connections.values():
            _send(connection, _DATA, content)
        return content

    def gather(self, content: bytes) -> list[bytes]:
        """Send bytes of each process to the first one; return all of them there, in order, and none elsewhere."""
        if self.is_first:
            return [content, *(self._messages[peer].get() for peer in range(1, self.n_hosts))]
        _send(self._connections[0], _DATA, content)
        return []

    def meet(self) -> None:
        """Wait until all processes are here. What waits in a library, such as JAX on CPUs, gives up after 30 s."""
        self.gather(b"")
        self.share(b"" if self.is_first else None)

    def pass_on_stop(self, number: int) -> None:
        """Ask the first process to stop, as if it had received this signal, in a moment."""

        def ask() -> None:
            with contextlib.suppress(OSError):
                _send(self._connections[0], _STOP, str(number).encode())

        timer = threading.Timer(STOP_DELAY_S, ask)
        timer.daemon = True
        timer.start()

    def end(self, status: int = 0, reason: str = "") -> None:
        """Say that this process has ended: with an exit status, and why, for others to show."""
        self._is_ending = True
        if status:
            _broken.append(status)
        for connection in self._connections.values():
            with contextlib.suppress(OSError):
                _send(connection, _END, json.dumps({"status": status, "reason": reason}).encode())

    def wait_for_the_end(self, seconds: float) -> None:
        """Wait for the end of this process, if the cause of an error may be that another process was lost."""
        time.sleep(seconds)

    def name(self, peer: int) -> str:
        """Return what messages call a process."""
        return "the first host" if peer == 0 else f"host {peer + 1} of {self.n_hosts}"

    def _listen(self, peer: int) -> None:
        """Take what another process sends, until it or this one ends."""
        connection = self._connections[peer]
        try:
            while True:
                kind, content = _receive(connection)
                if kind == _DATA:
                    self._messages[peer].put(content)
                elif kind == _STOP:
                    _stop_once(int(content))
                else:
                    said = json.loads(content)
                    if said["status"] == 0 or self._is_ending:
                        return
                    reason = f"{self.name(peer)} has ended: {said['reason'] or 'without a reason.'}"
                    # The first one has written a checkpoint; another one is missing in the middle of a step.
                    self._exit(said["status"] if peer == 0 else REFUSED, reason)
        except (OSError, EOFError, ValueError):
            if not self._is_ending:
                self._exit(REFUSED, f"{self.name(peer)} was lost.")

    def _exit(self, status: int, reason: str) -> None:
        """End this process, which may be waiting in a library, with one line; and tell the others."""
        self.end(REFUSED, reason)
        for clean_up in self.before_exit:
            with contextlib.suppress(OSError):
                clean_up()
        with contextlib.suppress(OSError, ValueError):
            print(escape(f"Error: Cannot go on: {reason} {REMEDY}"), file=sys.stderr, flush=True)
        os._exit(status)


def _stop_once(number: int) -> None:
    """Send this process a signal, unless one has already asked it to stop: the second would end it at once."""
    if not is_interrupted() and received_signal() is None:
        os.kill(os.getpid(), number)


@contextlib.contextmanager
def join_hosts(place: Place, tell: Callable[[str], None] = lambda line: None) -> Iterator[Hosts]:
    """Wait until all processes are there; at the end, tell them how this one ended.

    Parameters
    ----------
    place : Place
    tell : function of str, optional
        Called with a line about what is waited for.

    Raises
    ------
    InputError
        If the others do not come, or disagree about how many there are.
    """
    connections = _accept(place, tell) if place.index == 0 else {0: _connect(place, tell)}
    hosts = Hosts(place, connections)
    try:
        yield hosts
    except KeyboardInterrupt as error:
        number = interrupted_by(error)
        hosts.end(128 + number, "Terminated." if number == signal.SIGTERM else "Interrupted.")
        raise
    except BaseException as error:
        hosts.end(REFUSED, first_line(error))
        raise
    else:
        hosts.end()


def _accept(place: Place, tell: Callable[[str], None]) -> dict[int, socket.socket]:
    """Wait for all other processes."""
    host, port = place.address
    try:
        server = socket.create_server(place.address, family=_find_family(host, port), backlog=place.n_hosts)
    except OSError as error:
        raise InputError(
            f"Cannot listen at {host}:{port}: {error.strerror or error}. Pass an address of this host, and a free "
            "port, as --coordinator."
        ) from None
    found: dict[int, socket.socket] = {}
    last_s = time.monotonic() + JOIN_S
    with server:
        tell(f"Waiting at {host}:{port} for {place.n_hosts - 1} more of {place.n_hosts} hosts")
        while len(found) < place.n_hosts - 1:
            server.settimeout(max(last_s - time.monotonic(), 0.001))
            try:
                connection, _ = server.accept()
            except TimeoutError:
                missing = sorted(set(range(1, place.n_hosts)) - set(found))
                raise InputError(
                    f"Cannot start: of {place.n_hosts} hosts, {len(missing)} did not come within {JOIN_S / 60:.0f} "
                    f"minutes, with host_index {', '.join(map(str, missing))}. Start the command on all hosts."
                ) from None
            index = _greet(connection, place, found)
            if index is not None:
                found[index] = connection
    for connection in found.values():
        _send(connection, _DATA, b"welcome")
    return found


def _greet(connection: socket.socket, place: Place, found: dict[int, socket.socket]) -> int | None:
    """Return the index of a process that wants to join; None if it is none of ours."""
    try:
        connection.settimeout(HELLO_S)
        _, content = _receive(connection, MAX_HELLO_BYTES)
        hello = json.loads(content)
        index, n_hosts = int(hello["host_index"]), int(hello["hosts"])
        if n_hosts != place.n_hosts or not 0 < index < n_hosts or index in found:
            reason = f"the first host has hosts={place.n_hosts}, this one hosts={n_hosts}"
            if n_hosts == place.n_hosts:
                reason = f"another host has host_index={index}, too"
            _send(connection, _END, json.dumps({"status": REFUSED, "reason": reason}).encode())
            connection.close()
            return None
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        connection.close()
        return None
    _keep_alive(connection)
    return index


def _connect(place: Place, tell: Callable[[str], None]) -> socket.socket:
    """Connect to the first process, and wait until all are there."""
    host, port = place.address
    tell(f"Waiting for the first host at {host}:{port}")
    last_s = time.monotonic() + JOIN_S
    while True:
        try:
            connection = socket.create_connection(place.address, timeout=HELLO_S)
            break
        except OSError as error:
            if time.monotonic() > last_s:
                raise InputError(
                    f"Cannot reach the first host at {host}:{port}: {error.strerror or error}. Start the command on "
                    "it, too, with --host-index 0; a firewall must let its ports through."
                ) from None
            time.sleep(0.2)
    _keep_alive(connection)
    try:
        _send(connection, _DATA, json.dumps({"host_index": place.index, "hosts": place.n_hosts}).encode())
        connection.settimeout(max(last_s - time.monotonic(), 1.0))
        kind, content = _receive(connection)
    except (OSError, EOFError, ValueError):
        raise InputError(f"Cannot start: the first host at {host}:{port} has ended. See what it says.") from None
    if kind == _END:
        raise InputError(f"Cannot join the first host: {json.loads(content)['reason']}. Correct the options.")
    connection.settimeout(None)
    return connection


def _find_family(host: str, port: int) -> socket.AddressFamily:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]


def _keep_alive(connection: socket.socket) -> None:
    """Let a connection end when the other host, or the network, is silent for long."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", IDLE_S), ("TCP_KEEPINTVL", INTERVAL_S), ("TCP_KEEPCNT", N_QUESTIONS)):
        if hasattr(socket, name):  # Linux has all of them
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _send(connection: socket.socket, kind: bytes, content: bytes) -> None:
    connection.sendall(_HEAD.pack(kind, len(content)) + content)


def _receive(connection: socket.socket, max_bytes: float = math.inf) -> tuple[bytes, bytes]:
    """Receive a frame: its kind and its bytes; EOFError if the connection ends."""
    kind, n_bytes = _HEAD.unpack(_read(connection, _HEAD.size))
    if kind not in {_DATA, _STOP, _END} or n_bytes > max_bytes:
        raise ValueError("not a message of ours")
    return kind, _read(connection, n_bytes)


def _read(connection: socket.socket, n_bytes: int) -> bytes:
    content = bytearray()
    while len(content) < n_bytes:
        got = connection.recv(min(n_bytes - len(content), 1 << 20))
        if not got:
            raise EOFError
        content += got
    return bytes(content)
