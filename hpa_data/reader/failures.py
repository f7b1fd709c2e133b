"""Why a read at a URL failed, in words: what happened, whether it may pass, and what can be done."""

import re
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hpa_data.errors import first_line
from hpa_data.reader.limits import get_limits

CREDENTIALS = (
    "Check the rights and the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE; for a public bucket, "
    "AWS_SKIP_SIGNATURE=true; of Google, GOOGLE_APPLICATION_CREDENTIALS)."
)
LATER = "Run the same command again later, or wait longer with --retry-minutes."
NETWORK = "Check the address and the network."
CONVERT = "Convert the part again."
# What servers answer when they have too much to do, or when a part of them is down.
BUSY = {408, 425, 429, 500, 502, 503, 504, 509}
# What S3 answers with 400, as if the request were wrong.
BAD_TOKENS = {"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}
# What TensorStore understands itself: done, absent, unchanged, beyond the end.
UNDERSTOOD = {200, 204, 206, 304, 404, 410, 412, 416}


@dataclass(frozen=True, kw_only=True)
class ReadFailure:
    """Why a read failed."""

    what: str
    """What happened; the server is its subject."""

    remedy: str

    kind: Literal["brief", "slow", "final"]
    """Whether a repetition may help: at once or in seconds; only later, since the attempt took long; never."""


class Refused(Exception):  # noqa: N818 - no error of ours, but what ends a request
    """Ends a request for a reason."""

    def __init__(self, failure: ReadFailure) -> None:
        super().__init__(failure.what)
        self.failure = failure


PACKED = ReadFailure(
    what="it sends packed data, which were not asked for",
    remedy="Store the objects without Content-Encoding.",
    kind="final",
)


def describe_excess(sent: str, n_allowed: int) -> ReadFailure:
    """Describe that a server sends more than the metadata allow."""
    return ReadFailure(
        what=f"it sends {sent}, where at most {n_allowed} bytes are expected",
        remedy="Use a server that supports range requests, and do not trust this store.",
        kind="final",
    )


def explain_status(status: int, headers: Mapping[str, str], body: bytes) -> ReadFailure | None:
    """Explain an answer of a server; None if there is nothing to explain.

    Parameters
    ----------
    status : int
    headers : mapping of str to str
        Of any case; lower case is asked for.
    body : bytes
        Its beginning. S3 tells more there.
    """
    if status in UNDERSTOOD:
        return None
    code, region = (_find_element(name, body) for name in ("Code", "Region"))
    name = f"{status} {code}".strip()
    region = headers.get("x-amz-bucket-region", "")[:64] or region
    kind: Literal["brief", "final"] = "final"
    if status in BUSY or code == "SlowDown":
        what, remedy, kind = "it is overloaded or out of order", LATER, "brief"
    elif region and (300 <= status < 400 or "Malformed" in code):
        what, remedy = "the bucket is in another region", f"Set AWS_REGION={region}."
    elif code == "RequestTimeTooSkewed":
        what, remedy = "its clock and that of this machine differ", "Set this machine's clock."
    elif status in {401, 403, 407} or code in BAD_TOKENS:
        what, remedy = "it refuses access", CREDENTIALS
    elif 300 <= status < 400:
        what, remedy = f"it redirects to {headers.get('location', 'another address')[:200]}", "Use that address."
    else:
        what, remedy = "it does not answer with data", "Check the address."
    return ReadFailure(what=f"{what} ({name})", remedy=remedy, kind=kind)


def explain_connection(error: Exception, *, answered: bool) -> ReadFailure:
    """Explain an error of a connection.

    Parameters
    ----------
    error : Exception
        Of `http.client` or a socket.
    answered : bool
        Whether the server has answered before. One that never did is not waited for if its name is unknown, or if
        nothing listens there.
    """
    kind: Literal["brief", "slow", "final"] = "final"
    match error:
        case socket.gaierror():
            what, remedy = f"its name is not known ({error.strerror})", NETWORK
            kind = "brief" if answered else "final"
        case ssl.SSLCertVerificationError():
            what = f"its certificate is refused ({error.verify_message})"
            remedy = "Check the address and this machine's clock; name a certificate of your own in SSL_CERT_FILE."
        case TimeoutError():
            what = f"it does not answer, or its data stall (limit {get_limits().stall_s:g} s)"
            remedy, kind = LATER, "slow"
        case ConnectionRefusedError():
            what, remedy = "it refuses connections", "Check the address and the port, and whether the server runs."
            kind = "brief" if answered else "final"
        case ssl.SSLEOFError() if answered:
            what, remedy, kind = "the connection broke off before TLS was ready", LATER, "brief"
        case ssl.SSLError():
            what, remedy = f"TLS fails ({error.reason})", "Check whether it is https:// or http://."
        case OSError():
            what, remedy, kind = f"the connection broke off ({first_line(error)})", LATER, "brief"
        case _:
            what, remedy = first_line(error), "Check the address and the port."
    return ReadFailure(what=what, remedy=remedy, kind=kind)


# What TensorStore says where no gate stands before it, and what it means. The first that is found counts.
_WORDS: tuple[tuple[str, ReadFailure], ...] = (
    ("byte range", ReadFailure(what="", remedy="Use a server that supports range requests.", kind="final")),
    ("AuthorizationHeaderMalformed|PermanentRedirect", ReadFailure(what="", remedy="Set AWS_REGION.", kind="final")),
    (
        f"PERMISSION_DENIED|UNAUTHENTICATED|AccessDenied|[Cc]redential|{'|'.join(sorted(BAD_TOKENS))}",
        ReadFailure(what="", remedy=CREDENTIALS, kind="final"),
    ),
    ("Could ?n.t resolve|Could not resolve", ReadFailure(what="", remedy=NETWORK, kind="final")),
    ("SSL CA cert", ReadFailure(what="", remedy="Correct SSL_CERT_FILE or TENSORSTORE_CA_BUNDLE.", kind="final")),
    ("certificate", ReadFailure(what="", remedy="Check the address and this machine's clock.", kind="final")),
    ("DEADLINE_EXCEEDED|[Tt]imed? ?out", ReadFailure(what="", remedy=LATER, kind="slow")),
    ("retry attempts failed|UNAVAILABLE|ABORTED|CURL error", ReadFailure(what="", remedy=LATER, kind="brief")),
)


def explain_text(error: Exception, *, is_local: bool = False, answered: bool = False) -> ReadFailure:
    """Explain an error of TensorStore by its text; the remedy is `CONVERT` if the data are to blame.

    Parameters
    ----------
    error : Exception
    is_local : bool
        Whether it is about files.
    answered : bool
        Whether the server has answered before: then its name is known, and the network may come back.
    """
    reason = first_line(error)
    if is_local and "PERMISSION_DENIED" in reason:
        return ReadFailure(what=reason, remedy="Check its permissions.", kind="final")
    for pattern, failure in _WORDS if not is_local else ():
        if re.search(pattern, reason):
            kind = "brief" if answered and failure.remedy == NETWORK else failure.kind
            return ReadFailure(what=reason, remedy=failure.remedy, kind=kind)
    return ReadFailure(what=reason, remedy=CONVERT, kind="final")


def _find_element(name: str, body: bytes) -> str:
    """Return the text of an element of an error of S3; empty if there is none."""
    match = re.search(rb"<%b>([A-Za-z0-9-]{1,64})</%b>" % (name.encode(), name.encode()), body)
    return match[1].decode() if match else ""
