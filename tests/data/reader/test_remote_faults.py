"""Servers that stall, throttle, break off, send without end or refuse: each ends in the data or in one clear line."""

import base64
import datetime
import gzip
import ipaddress
import itertools
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tensorstore as ts
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from hpa_data.errors import InputError
from hpa_data.reader.limits import RemoteLimits, set_limits
from hpa_data.reader.remote import Server
from hpa_data.store.store import Store, open_store
from hpa_data.system.interrupts import defer_interrupt
from tests.web_server import Handler, web_server

SHORT = RemoteLimits(retry_s=0.5, connect_s=5.0, stall_s=10.0, notice_s=0.3, delay_s=0.1, max_delay_s=0.3)
PATIENT = replace(SHORT, retry_s=60.0)
IMPATIENT = replace(SHORT, retry_s=0.0, stall_s=1.0)
MIB = 2**20
Misbehave = Callable[[Handler], bool]


@pytest.fixture(autouse=True)
def short_limits() -> Iterator[None]:
    before = set_limits(SHORT)
    yield
    set_limits(before)


def read_all(url: str) -> np.ndarray:
    with open_store(url).reader() as reader:
        return reader.read(np.arange(len(reader)))


def of_images(misbehave: Misbehave) -> Misbehave:
    """Misbehave for shards of images only."""
    return lambda handler: "/images/c/" in handler.path and misbehave(handler)


def stall(_: Handler) -> bool:
    time.sleep(30)
    return True


def stall_in_body(handler: Handler) -> bool:
    if handler.headers["Range"]:
        handler.answer(206, b"x", handler.describe_range())
    else:
        handler.answer(200, b"x", {"Content-Length": "100"})
    return stall(handler)


@pytest.mark.parametrize(
    ("misbehave", "when"),
    [
        (stall, "at once"),
        pytest.param(stall, "of images", marks=pytest.mark.slow),
        pytest.param(stall_in_body, "at once", marks=pytest.mark.slow),
        pytest.param(stall_in_body, "of images", marks=pytest.mark.slow),
    ],
)
def test_a_server_that_stalls_is_given_up_with_a_line(
    store: Store, misbehave: Misbehave, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    set_limits(IMPATIENT)
    with web_server(store.path, misbehave if when == "at once" else of_images(misbehave)) as (url, _):
        with pytest.raises(InputError, match=r"Cannot read .*it does not answer, or its data stall.*--retry-minutes"):
            read_all(url)
        assert f"Waiting for {url.removeprefix('http://')}" in caplog.text


@pytest.mark.parametrize("fault", ["503", "reset", pytest.param("stall", marks=pytest.mark.slow)])
def test_what_passes_is_repeated_until_it_has_passed(store: Store, oracle: np.ndarray, fault: str) -> None:
    set_limits(replace(PATIENT, stall_s=0.4) if fault == "stall" else PATIENT)
    calls = itertools.count()
    faults = {"503": lambda handler: handler.answer(503), "reset": Handler.reset, "stall": stall}
    with web_server(store.path, lambda handler: next(calls) % 5 == 0 and faults[fault](handler)) as (url, _):
        assert (read_all(url) == oracle[:12]).all()


def test_a_server_that_is_down_for_a_while_is_waited_for(store: Store, oracle: np.ndarray) -> None:
    set_limits(PATIENT)
    ends = time.monotonic() + 1
    busy = of_images(lambda handler: time.monotonic() < ends and handler.answer(503))
    with web_server(store.path, busy) as (url, _):
        assert (read_all(url) == oracle[:12]).all()


def test_a_batch_that_was_prefetched_long_ago_is_repeated_as_others_are() -> None:
    answers = iter([ValueError("UNAVAILABLE: for a moment"), None])

    def start() -> Any:
        promise, future = ts.Promise.new()
        error = next(answers)
        promise.set_result("read") if error is None else promise.set_exception(error)
        return future

    set_limits(PATIENT)
    server = Server("gs://hpa-bucket/hpa.zarr")
    assert server.read([start], "samples", since_s=time.monotonic() - 2 * PATIENT.retry_s) == ["read"]


@pytest.mark.slow  # a quick one is in tests/test_urls.py
def test_a_server_that_throttles_for_longer_is_given_up_and_named(store: Store) -> None:
    with web_server(store.path, of_images(lambda handler: handler.answer(503))) as (url, _):
        began = time.monotonic()
        with pytest.raises(InputError, match=r"it is overloaded or out of order \(503\).*later.*--retry-minutes"):
            read_all(url)
        assert time.monotonic() - began < 60


ENDLESS: dict[str, dict[str, str]] = {
    "chunked": {"Content-Length": "", "Transfer-Encoding": "chunked"},
    "until it is closed": {"Content-Length": "", "Connection": "close"},
    "with a length": {"Content-Length": str(2**40)},
    "as a range": {"Content-Length": str(2**40), "Content-Range": f"bytes 0-{2**40 - 1}/{2**40}"},
}


@pytest.mark.parametrize(
    ("form", "when"),
    [
        ("chunked", "of images"),
        ("until it is closed", "at once"),
        *(pytest.param(form, when, marks=pytest.mark.slow) for form in ENDLESS for when in ("at once", "of images")),
    ],
)
def test_a_body_without_end_is_refused_and_fills_no_memory(store: Store, form: str, when: str) -> None:
    def misbehave(handler: Handler) -> bool:
        piece = bytes(MIB)
        handler.answer(206 if "range" in form else 200, b"", ENDLESS[form])
        return handler.send_for_ever(b"100000\r\n" + piece + b"\r\n" if form == "chunked" else piece)

    before = psutil.Process().memory_info().rss
    with (
        web_server(store.path, misbehave if when == "at once" else of_images(misbehave)) as (url, _),
        pytest.raises(InputError, match=r"it sends .* where at most \d+ bytes are expected"),
    ):
        read_all(url)
    assert psutil.Process().memory_info().rss - before < 500 * MIB


def test_packed_data_that_were_not_asked_for_are_refused_before_they_are_unpacked(store: Store) -> None:
    bomb = gzip.compress(bytes(16 * MIB))
    with (
        web_server(store.path, lambda handler: handler.answer(200, bomb, {"Content-Encoding": "gzip"})) as (url, _),
        pytest.raises(InputError, match="packed data, which were not asked for.*without Content-Encoding"),
    ):
        open_store(url)


@pytest.mark.slow
@pytest.mark.parametrize("head", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X-More: 1\r\n", b"x"])
def test_a_head_without_end_is_refused(store: Store, head: bytes) -> None:
    set_limits(IMPATIENT)

    def misbehave(handler: Handler) -> bool:
        if not head.startswith(b"HTTP"):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        return handler.send_for_ever(head * 100)

    with web_server(store.path, misbehave) as (url, _), pytest.raises(InputError, match="Cannot read the store http"):
        open_store(url)


@pytest.mark.parametrize(
    ("status", "headers", "message"),
    [
        (403, {}, r"it refuses access \(403\).*credentials"),
        (401, {}, r"it refuses access \(401\)"),
        (301, {"Location": "https://elsewhere/a"}, r"it redirects to https://elsewhere/a.*Use that address"),
        (301, {"x-amz-bucket-region": "eu-west-1"}, r"another region.*AWS_REGION=eu-west-1"),
        (418, {}, r"it does not answer with data \(418\).*Check the address"),
        (404, {}, "it has no zarr.json, as `hpa convert` writes it"),
    ],
)
def test_an_answer_that_is_no_store_is_said_at_once(
    store: Store, status: int, headers: dict[str, str], message: str
) -> None:
    with (
        web_server(store.path, lambda handler: handler.answer(status, b"<p>", headers)) as (url, paths),
        pytest.raises(InputError, match=message),
    ):
        open_store(url)
    assert len(paths) == 1  # not repeated


def test_an_access_that_is_lost_later_does_not_advise_to_convert(store: Store) -> None:
    with (
        web_server(store.path, of_images(lambda handler: handler.answer(403))) as (url, _),
        pytest.raises(InputError, match="it refuses access") as error,
    ):
        read_all(url)
    assert "Convert" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:9/a.zarr", "it refuses connections.*Check the address and the port"),
        ("https://no-such-host.invalid/a.zarr", "its name is not known.*Check the address"),
    ],
)
def test_a_server_that_is_not_there_is_said_at_once(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_store(url)


def test_http_in_place_of_https_is_told(store: Store) -> None:
    with (
        web_server(store.path) as (url, _),
        pytest.raises(InputError, match="TLS fails.*https:// or http://"),
    ):
        open_store(url.replace("http://", "https://"))


def test_a_range_that_the_server_ignores_is_told_before_the_whole_shard_is_sent(store: Store) -> None:
    def ignore(handler: Handler) -> bool:
        return handler.answer(200, (handler.folder / handler.path.lstrip("/")).read_bytes())

    with (
        web_server(store.path, of_images(ignore)) as (url, _),
        pytest.raises(InputError, match="a server that supports range requests"),
    ):
        read_all(url)


def test_a_missing_shard_is_told_with_the_advice_to_convert(store: Store) -> None:
    with (
        web_server(store.path, of_images(lambda handler: handler.answer(404))) as (url, _),
        pytest.raises(InputError, match="Cannot read samples of part.*missing or damaged.*Convert the part again"),
    ):
        read_all(url)


def test_an_interrupt_ends_a_wait_in_any_thread_at_once(store: Store) -> None:
    set_limits(replace(PATIENT, stall_s=60.0))
    # As in training: the signal arrives while another thread waits for the batch.
    with web_server(store.path, of_images(stall)) as (url, _), ThreadPoolExecutor(1) as pool:
        reader = open_store(url).reader()
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt), defer_interrupt():
            pool.submit(reader.read, [0]).result(timeout=30)


def test_a_request_to_s3_is_signed_for_the_server_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = []

    def check(handler: Handler) -> bool:
        names = re.search("SignedHeaders=([^,]*)", handler.headers["Authorization"])[1].split(";")  # type: ignore[index]
        request = AWSRequest("GET", f"http://{host}{handler.path}", {name: handler.headers[name] for name in names})
        request.context["timestamp"] = handler.headers["x-amz-date"]
        auth = S3SigV4Auth(Credentials("key", "secret"), "s3", "eu-west-3")
        canonical = auth.canonical_request(request)
        expected = auth.signature(auth.string_to_sign(request, canonical), request)
        signed.append(f"Signature={expected}" in handler.headers["Authorization"])
        return False

    settings = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-3"}
    for name, value in (settings | {"AWS_EC2_METADATA_DISABLED": "true"}).items():
        monkeypatch.setenv(name, value)
    with web_server(store.path, check) as (url, _):
        host = url.removeprefix("http://")
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        with pytest.raises(InputError, match="it has no zarr.json"):  # the server has no buckets
            open_store("s3://hpa-bucket/hpa.zarr")
    assert signed
    assert all(signed)


def test_a_user_in_the_url_and_a_proxy_in_the_environment_are_used(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = []

    def proxy(handler: Handler) -> bool:
        users.append(handler.headers["Authorization"])
        handler.path = handler.path.removeprefix("http://images.invalid:81")
        return False

    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    with web_server(store.path, proxy) as (url, paths):
        monkeypatch.setenv("http_proxy", url)
        with open_store("http://me:secret@images.invalid:81").reader() as reader:
            assert reader.read([0]).shape[0] == 1
    assert set(users) == {"Basic " + base64.b64encode(b"me:secret").decode()}
    assert all(path.startswith("http://images.invalid:81/") for path in paths)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Make a certificate for 127.0.0.1 that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hpa")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "server.pem").write_bytes(secret + made.public_bytes(encoding))
    return tmp_path / "server.pem"


def test_https_is_read_if_the_certificate_is_trusted_and_refused_else(
    store: Store, oracle: np.ndarray, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with web_server(store.path, certificate=certificate) as (url, _):
        with pytest.raises(InputError, match="its certificate is refused.*SSL_CERT_FILE"):
            open_store(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert (read_all(url) == oracle[:12]).all()


def test_a_file_of_certificates_that_cannot_be_read_is_named_at_once(
    tmp_path: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_limits(PATIENT)
    (tmp_path / "empty.pem").touch()
    with web_server(tmp_path, certificate=certificate) as (url, _):
        for name, reason in (("none.pem", "No such file or directory"), ("empty.pem", "it holds none")):
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / name))
            with pytest.raises(
                InputError, match=f"certificates in {tmp_path / name} cannot be read.*{reason}.*SSL_CERT_FILE"
            ):
                open_store(url)
