"""When, where and by what a run was begun."""

import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

# The packages that the results depend on.
RECORDED_PACKAGES = ("hpa", "keras", "tensorflow", "jax", "numpy", "zarr", "numcodecs")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """When, where and how a run was begun."""

    started: str
    """Date and time in UTC, as in ISO 8601."""

    device: str
    """What it is computed on, and the backend, in words."""

    command: str = ""
    """The command line; empty for a run from Python."""


def read_versions() -> dict[str, str]:
    """Return the versions of the packages whose versions a run records."""
    versions = {}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


def read_origin(device: str) -> Origin:
    """Return when and how this process begins a run, on a device."""
    program, *words = sys.argv
    return Origin(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        device=device,
        command=shlex.join(["hpa", *words]) if Path(program).stem in {"hpa", "cli"} else "",
    )
