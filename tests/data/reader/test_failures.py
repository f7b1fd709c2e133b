"""How failed reads are explained, and what is told of TensorStore's own errors, where no gate stands before it."""

import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import tensorstore as ts

from hpa_data.reader.failures import (
    CONVERT,
    CREDENTIALS,
    LATER,
    NETWORK,
    ReadFailure,
    explain_connection,
    explain_status,
    explain_text,
)
from hpa_data.reader.upstream import Upstream
from tests.web_server import Handler, web_server

RETRIES = {"max_retries": 1, "initial_delay": "1ms", "max_delay": "2ms"}


def fail_to_read(spec: dict[str, Any], **options: Any) -> ReadFailure:
    """Read some bytes by TensorStore alone, and explain why that failed."""
    context = ts.Context({"http_request_retries": RETRIES})
    store = ts.KvStore.open(spec, context=context).result()
    with pytest.raises(ValueError, match=".") as error:
        store.read("x", byte_range=slice(0, 10)).result(timeout=30)
    return explain_text(error.value, **options)


def element(code: str) -> bytes:
    return f"<Error><Code>{code}</Code></Error>".encode()


@pytest.mark.parametrize(
    ("answer", "remedy", "kind"),
    [
        (lambda handler: handler.answer(403), CREDENTIALS, "final"),
        (lambda handler: handler.answer(401), CREDENTIALS, "final"),
        (lambda handler: handler.answer(301, element("PermanentRedirect")), "Set AWS_REGION.", "final"),
        (lambda handler: handler.answer(400, element("AuthorizationHeaderMalformed")), "Set AWS_REGION.", "final"),
        (lambda handler: handler.answer(400, element("ExpiredToken")), CREDENTIALS, "final"),
        (lambda handler: handler.answer(400, element("InvalidToken")), CREDENTIALS, "final"),
        (lambda handler: handler.answer(503), LATER, "brief"),
        (lambda handler: handler.answer(500), LATER, "brief"),
        (Handler.reset, LATER, "brief"),
        (lambda handler: handler.answer(200, b"x" * 100), "Use a server that supports range requests.", "final"),
    ],
)
def test_an_answer_of_a_server_without_a_gate_is_understood(
    answer: Callable[[Handler], bool], remedy: str, kind: str, tmp_path: Path
) -> None:
    with web_server(tmp_path, answer) as (url, _):
        failure = fail_to_read({"driver": "http", "base_url": url, "path": "/a/"})
    assert (failure.remedy, failure.kind) == (remedy, kind)


def test_an_unknown_name_is_final_unless_the_server_has_answered_before() -> None:
    spec = {"driver": "http", "base_url": "https://no-such-host.invalid", "path": "/a/"}
    assert fail_to_read(spec) == fail_to_read(spec, answered=False)
    assert (fail_to_read(spec).remedy, fail_to_read(spec).kind) == (NETWORK, "final")
    assert fail_to_read(spec, answered=True).kind == "brief"


def test_certificates_that_cannot_be_read_are_final() -> None:
    text = "UNKNOWN: CURL error Problem with the SSL CA cert (path? access rights?): CAfile: /nope.pem CApath: none"
    failure = explain_text(ValueError(text))
    assert (failure.what, failure.kind) == (text, "final")
    assert "SSL_CERT_FILE" in failure.remedy


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken"])
def test_a_token_that_s3_does_not_accept_is_about_credentials(code: str) -> None:
    failure = explain_status(400, {}, element(code))
    assert failure == ReadFailure(what=f"it refuses access (400 {code})", remedy=CREDENTIALS, kind="final")


def test_tls_that_is_cut_off_may_pass_if_the_server_has_answered() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:

        def cut() -> None:
            with listener.accept()[0] as client:
                client.recv(9999)

        pool.submit(cut)
        upstream = Upstream(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(ssl.SSLEOFError) as error:
            upstream.ask("GET", "/", {})
    assert explain_connection(error.value, answered=True).kind == "brief"
    assert explain_connection(error.value, answered=False).kind == "final"


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("PERMISSION_DENIED: Error opening local file", "Check its permissions."),
        ("NOT_FOUND: chunk {3, 0, 0, 0} is missing", CONVERT),
        ("Error decoding blosc chunk of Timed out", CONVERT),
    ],
)
def test_a_local_file_has_no_credentials_and_no_network(text: str, remedy: str) -> None:
    assert explain_text(ValueError(text), is_local=True) == ReadFailure(what=text, remedy=remedy, kind="final")
