"""Serving the page: the address, the socket, the connections, the browser."""

import asyncio
import ipaddress
import os
import secrets
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

import h11
import psutil
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from hpa_data.errors import InputError
from hpa_model.browse.app import make_app
from hpa_model.browse.catalog import Catalog
from hpa_model.browse.pictures import Pictures

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Requests that may wait; a browser sends six at a time.
BACKLOG = 128
# Thirty browsers; each connection takes a file of the process.
MAX_CONNECTIONS = 200
# Until the whole request is here.
REQUEST_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the page is."""

    url: str
    """With the token, if there is one."""

    hosts: tuple[str, ...]
    """What browsers may call the server, each with its port."""

    token: str | None
    is_loopback: bool


def open_socket(host: str, port: int) -> socket.socket:
    """Listen at an address; InputError if that is not possible."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = found[0]
        # With its protocol: asyncio lets only such sockets send at once, where others wait 40 ms for an acknowledgment.
        opened = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError, OverflowError) as error:
        raise InputError(
            f"host must be a name or an address of this machine. Received: {host!r}. Leave it out for 127.0.0.1."
        ) from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise InputError(
            f"Cannot listen at {host}, port {port}: {os.strerror(error.errno or 0)}. Leave out --port for a free one, "
            "and --host for 127.0.0.1."
        ) from error
    return opened


def name_address(opened: socket.socket, host: str) -> Address:
    """Name the address of a socket, and make a token if other machines can reach it."""
    number, port = opened.getsockname()[:2]
    address = ipaddress.ip_address(number.split("%")[0])
    token = None if address.is_loopback else secrets.token_urlsafe(32)
    names = {host.lower(), number}
    if address.is_loopback:
        names |= set(LOOPBACK)
    elif address.is_unspecified:  # reached by the names that this machine knows of itself
        found = [each.address.split("%")[0] for all_ in psutil.net_if_addrs().values() for each in all_]
        names = {
            *LOOPBACK,
            socket.gethostname().lower(),
            *(name for name in found if _is_address(name)),
        }
    hosts = [f"{_bracket(name)}:{port}" for name in sorted(names)]
    hosts += [_bracket(name) for name in sorted(names) if port == 80]  # browsers leave it out
    shown = socket.gethostname() if address.is_unspecified else number if host == "localhost" else host
    query = f"?token={token}" if token else ""
    return Address(
        url=f"http://{_bracket(shown)}:{port}/{query}", hosts=tuple(hosts), token=token, is_loopback=address.is_loopback
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _bracket(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def serve(
    catalog: Catalog,
    pictures: Pictures,
    opened: socket.socket,
    address: Address,
    *,
    on_start: Callable[[], None] = lambda: None,
) -> None:
    """Serve a page until an interrupt, which is raised again: KeyboardInterrupt.

    Parameters
    ----------
    catalog : Catalog
    pictures : Pictures
        Of its samples.
    opened : socket
        It listens; closed at the end.
    address : Address
        Its address.
    on_start : function
        Called before the first request is answered; those that come earlier wait.
    """
    port = opened.getsockname()[1]
    app = make_app(catalog, pictures, hosts=address.hosts, token=address.token, cookie=f"hpa_browse_{port}")
    with opened:
        on_start()
        uvicorn.Server(configure(app)).run(sockets=[opened])


def configure(
    app: ASGIApp, *, request_seconds: float = REQUEST_SECONDS, max_connections: int = MAX_CONNECTIONS
) -> uvicorn.Config:
    """Configure a server that nobody can keep busy with connections that ask for nothing.

    Parameters
    ----------
    app : ASGI application
    request_seconds : float
        A connection is closed if a request has not arrived as a whole by then.
    max_connections : int
        Further ones are closed at once.
    """

    class Limited(H11Protocol):
        """Closes connections that are too many or too slow."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            if len(self.connections) >= max_connections:
                self.transport = transport  # which `connection_lost` closes
                transport.abort()
                return
            super().connection_made(transport)
            self._set_deadline()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._set_deadline()

        def connection_lost(self, exc: Exception | None) -> None:
            self._drop_deadline()
            super().connection_lost(exc)

        def _set_deadline(self) -> None:
            """Let the time run while a request is on its way; each byte of it does not start it again."""
            if self.transport.is_closing() or self.conn.their_state not in {h11.IDLE, h11.SEND_BODY}:
                self._drop_deadline()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(request_seconds, self.transport.abort)

        def _drop_deadline(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        log_level="error",
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=16 * 1024,
        http=Limited,
    )


def can_open_browser() -> bool:
    """Return whether somebody looks at this terminal, and this machine has a screen."""
    has_screen = sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    return sys.stdout.isatty() and has_screen
