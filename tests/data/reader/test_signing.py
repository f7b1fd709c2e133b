"""Signatures for S3, and the credentials that they are made with."""

import datetime
from pathlib import Path

import pytest
from botocore import credentials as boto
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.reader.signing import EMPTY_HASH, Credentials, find_credentials, quote_key, sign

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


@settings(max_examples=50, deadline=None)
@given(
    key=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1),
    token=st.sampled_from(["", "t/+="]),
)
def test_a_signature_is_that_of_the_aws_tools(key: str, token: str) -> None:
    target = quote_key(f"/bucket/{key}")
    headers = {"host": "host:8080", "range": "bytes=3-7"}
    added = sign(target, headers, Credentials(key_id="id", secret="secret", token=token), region="eu-west-3", now=NOW)
    request = AWSRequest("GET", f"http://host:8080{target}", headers | added)
    request.context["timestamp"] = "20260102T030405Z"
    auth = S3SigV4Auth(boto.Credentials("id", "secret", token or None), "s3", "eu-west-3")
    del request.headers["authorization"]
    canonical = auth.canonical_request(request)
    assert f"\n{EMPTY_HASH}" in canonical
    assert added["authorization"].endswith(
        f"Signature={auth.signature(auth.string_to_sign(request, canonical), request)}"
    )


def test_credentials_come_from_the_environment_and_then_from_the_file(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = a\naws_secret_access_key = b%c\n[other]\naws_access_key_id=d\n"
        "aws_secret_access_key=e\naws_session_token=f\n[role]\nrole_arn=arn\n"
    )
    named = {"AWS_SHARED_CREDENTIALS_FILE": str(file)}
    given_ = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_SESSION_TOKEN": "z"}
    assert find_credentials(named | given_) == Credentials(key_id="x", secret="y", token="z")
    assert find_credentials(named) == Credentials(key_id="a", secret="b%c")
    assert find_credentials(named | {"AWS_PROFILE": "other"}) == Credentials(key_id="d", secret="e", token="f")
    assert find_credentials(named | {"AWS_PROFILE": "role"}) is None
    assert "secret" not in repr(find_credentials(named | given_))


@pytest.mark.parametrize("content", [b"", b"[default", b"\xff\xfe[default]"])
def test_a_file_without_credentials_is_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "credentials").write_bytes(content)
    for name in ("credentials", "nothing"):
        assert find_credentials({"AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / name)}) is None
