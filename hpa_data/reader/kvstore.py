"""TensorStore key-value stores for folders and URLs: endpoints, credentials, retries."""

import os
import re
from pathlib import Path
from typing import Any

from hpa_data.errors import InputError, first_line

SCHEMES = ("s3", "gs", "http", "https")

# TensorStore repeats what failed for some seconds, each request for itself. `remote.Server` repeats for minutes.
RETRIES = {"max_retries": 4, "initial_delay": "100ms", "max_delay": "1s"}
# Of TensorStore's own connections, in seconds. Behind a gate, whose limits are shorter, they have no effect.
TIMEOUTS = {"TENSORSTORE_CURL_CONNECT_TIMEOUT_SECONDS": "15", "TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS": "60"}


def is_url(location: str | Path) -> bool:
    """Return whether a location is a URL, not a path."""
    return isinstance(location, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", location) is not None


def find_url(path: Path) -> str | None:
    """Return the URL that a path was made of, None if it was none: `Path` makes ``s3:/bucket`` of ``s3://bucket``.

    A local folder ``name:`` is still reached by its absolute path, or as ``./folder/name:``.

    Examples
    --------
    >>> find_url(Path("s3://bucket/hpa.zarr")), find_url(Path("/data/hpa.zarr"))
    ('s3://bucket/hpa.zarr', None)
    """
    first, *rest = path.parts or ("",)
    return f"{first}//{'/'.join(rest)}" if re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]+:", first) else None


def make_retries(driver: str) -> dict[str, Any]:
    """Make the part of a TensorStore context that limits the retries of a driver."""
    return {f"{name}_request_retries": RETRIES for name in ("s3", "gcs", "http") if name in driver}


def make_concurrency(driver: str, n_requests: int) -> dict[str, Any]:
    """Make the part of a TensorStore context that lets a driver have so many requests in flight; by default 32."""
    return {f"{name}_request_concurrency": {"limit": n_requests} for name in ("s3", "gcs", "http") if name in driver}


def import_tensorstore() -> Any:
    """Import TensorStore, with limits of time; InputError if it is not installed."""
    for name, value in TIMEOUTS.items():
        os.environ.setdefault(name, value)
    try:
        import tensorstore
    except ImportError as error:
        raise InputError(
            "Cannot read a store at a URL, or one that `hpa convert` did not write: TensorStore is not installed. Run: "
            "pip install '.[remote]'."
        ) from error
    return tensorstore


def make_kvstore(location: str | Path) -> dict[str, Any]:
    """Make the TensorStore specification of a folder or a URL.

    The endpoint, region and credentials of S3 come from the environment variables that the AWS tools use:
    AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and so on; AWS_SKIP_SIGNATURE=true for a public bucket without
    credentials.

    Raises
    ------
    InputError
        If the URL is malformed or its scheme is not supported.
    """
    if not is_url(location):
        return {"driver": "file", "path": f"{os.path.abspath(location)}/"}
    url = str(location)
    if url.split("://", maxsplit=1)[0].lower() not in SCHEMES:
        raise InputError(
            f"A URL must begin with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}. Received: {url}. Pass "
            "another URL, or a path."
        )
    try:
        spec: dict[str, Any] = import_tensorstore().KvStore.Spec(url.rstrip("/") + "/").to_json()
    except ValueError as error:
        raise InputError(
            f"A URL must name a bucket or host and a path. Received: {url}: {first_line(error)}. Correct the URL."
        ) from error
    if spec["driver"] == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if endpoint:
            # Servers other than Amazon's require a region too, but seldom check it.
            spec |= {"endpoint": endpoint, "aws_region": region or "us-east-1"}
        elif region:
            spec |= {"aws_region": region}
        if os.environ.get("AWS_SKIP_SIGNATURE", "").lower() in {"1", "true"}:
            spec |= {"aws_credentials": {"type": "anonymous"}}
    return spec
