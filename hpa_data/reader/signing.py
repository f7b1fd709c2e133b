"""Signatures of requests to S3: AWS Signature Version 4, as Amazon documents it, for reading alone."""

import configparser
import datetime
import hashlib
import hmac
import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

# Of a request without a body.
EMPTY_HASH = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """Who reads."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def find_credentials(environment: Mapping[str, str] = os.environ) -> Credentials | None:
    """Find credentials that do not change, as the AWS tools do; None if they must be asked for somewhere.

    Those in the variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN count before those of
    AWS_PROFILE in the file ~/.aws/credentials, or AWS_SHARED_CREDENTIALS_FILE.
    """
    if environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY"):
        return Credentials(
            key_id=environment["AWS_ACCESS_KEY_ID"],
            secret=environment["AWS_SECRET_ACCESS_KEY"],
            token=environment.get("AWS_SESSION_TOKEN", ""),
        )
    file = environment.get("AWS_SHARED_CREDENTIALS_FILE") or Path("~/.aws/credentials").expanduser()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(file)
        section = parser[environment.get("AWS_PROFILE") or "default"]
        return Credentials(
            key_id=section["aws_access_key_id"],
            secret=section["aws_secret_access_key"],
            token=section.get("aws_session_token", ""),
        )
    except (configparser.Error, KeyError, OSError, UnicodeError):
        return None


def sign(
    target: str,
    headers: Mapping[str, str],
    credentials: Credentials,
    *,
    region: str,
    now: datetime.datetime | None = None,
) -> dict[str, str]:
    """Return the headers that sign a GET request.

    Parameters
    ----------
    target : str
        Path of the object, quoted, without a query.
    headers : mapping of str to str
        Those to sign, ``host`` among them, by names in lower case.
    credentials : Credentials
    region : str
    now : datetime, optional
        In UTC; by default the time now.
    """
    when = now or datetime.datetime.now(datetime.UTC)
    stamp, day = when.strftime("%Y%m%dT%H%M%SZ"), when.strftime("%Y%m%d")
    added = {"x-amz-content-sha256": EMPTY_HASH, "x-amz-date": stamp}
    if credentials.token:
        added["x-amz-security-token"] = credentials.token
    signed = dict(sorted((dict(headers) | added).items()))
    names = ";".join(signed)
    lines = [f"{name}:{' '.join(value.split())}" for name, value in signed.items()]
    request = "\n".join(["GET", target, "", *lines, "", names, EMPTY_HASH])
    scope = f"{day}/{region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}".encode(), "sha256").hexdigest()
    added["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return added


def quote_key(path: str) -> str:
    """Quote the path of an object as a signature needs it.

    Examples
    --------
    >>> quote_key("/bucket/a b+c.zarr/c/0")
    '/bucket/a%20b%2Bc.zarr/c/0'
    """
    return urllib.parse.quote(path, safe="/-_.~")
