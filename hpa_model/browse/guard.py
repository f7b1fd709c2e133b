"""Who may ask the server: requests to the right host, from its own page, with the token where one is needed."""

import secrets
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",  # for browsers that do not know frame-ancestors
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), interest-cohort=()",
    "cache-control": "no-store",  # another store may have the same address tomorrow
}


class Guard:
    """Refuses requests that the page did not make, and adds headers to every answer.

    Parameters
    ----------
    app : ASGI application
    hosts : collection of str
        Values of the header ``Host`` that are served, in small letters: all names of this server, and no other, so that
        a web page whose name an attacker lets point here (DNS rebinding) gets nothing.
    token : str or None
        What a browser has to show once, as ``/?token=…``, and then keeps in a cookie.
    cookie : str
        The name of that cookie; cookies are the same for all ports of a host.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], token: str | None, cookie: str) -> None:
        self._app = app
        self._hosts = frozenset(hosts)
        self._token = token
        self._cookie = cookie

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do it."""
        if scope["type"] != "http":  # no web sockets, and nothing to do at the start and the end
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        refused = self._refuse(scope)
        await (refused or self._app)(scope, receive, send_with_headers)

    def _refuse(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not served; None for others."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return _answer(421, "This server has another name. Open the address that `hpa browse` printed.")
        if scope["method"] not in {"GET", "HEAD"}:
            return _answer(405, "This server only shows.", allow="GET, HEAD")
        if _is_foreign(scope, headers):
            return _answer(403, "Another page may not ask this server.")
        return self._check_token(scope, headers) if self._token is not None else None

    def _check_token(self, scope: Scope, headers: Headers) -> Response | None:
        assert self._token is not None
        if scope["path"] == "/" and b"token=" in scope["query_string"]:
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if not _is_same(given, self._token):
                return _answer(401, "This token is not the one that `hpa browse` printed.")
            response = RedirectResponse("/", 303)  # so that the token is not in the address any more
            response.set_cookie(self._cookie, self._token, httponly=True, samesite="strict", path="/")
            return response
        if not any(_is_same(value, self._token) for value in _read_cookies(headers, self._cookie)):
            return _answer(401, "Open the address with the token that `hpa browse` printed.")
        return None


def _is_foreign(scope: Scope, headers: Headers) -> bool:
    """Return whether a browser says that another site made a request; a link to the page alone may be followed."""
    origin = headers.get("origin")
    if origin is not None and origin.lower() != f"http://{headers['host'].lower()}":
        return True
    site = headers.get("sec-fetch-site", "none")
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return site not in {"same-origin", "none"} and not (is_link and scope["path"] == "/")


def _read_cookies(headers: Headers, name: str) -> list[str]:
    """List the values of the cookies of a name; cookies of other servers of this host, before it, may be any text."""
    pairs = [pair.partition("=") for header in headers.getlist("cookie") for pair in header.split(";")]
    return [value.strip() for key, _, value in pairs if key.strip() == name]


def _is_same(one: str, other: str) -> bool:
    """Compare in a time that says nothing about where they differ."""
    return secrets.compare_digest(one.encode(), other.encode())


def _answer(status: int, text: str, **headers: Any) -> Response:
    return PlainTextResponse(text + "\n", status, headers=headers)
