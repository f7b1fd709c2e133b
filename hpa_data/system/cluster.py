"""The connection to a Dask cluster (Dask.distributed, an optional package)."""

import os
import re
from collections.abc import Sequence
from typing import Any

from hpa_data.errors import InputError, first_line


def connect(address: str) -> Any:
    """Return a client of a cluster, a context manager; InputError if the cluster cannot be reached."""
    if not re.fullmatch(r"\w+://.+", address):
        raise InputError(
            f"scheduler must be the address of a Dask cluster. Received: scheduler={address!r}. Pass one like "
            "tcp://host:8786."
        )
    try:
        from distributed import Client
        from distributed.comm import resolve_address

        resolve_address(address)  # of a malformed address, the client would tell in a traceback, after 20 s
        return Client(address, timeout="10s", set_as_default=False)
    except ImportError as error:
        raise InputError(
            "Cannot use a Dask cluster: the package distributed is not installed. Run: pip install '.[cluster]'"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"Cannot reach the Dask cluster at {address}: {first_line(error)}. Start one with `dask scheduler` and "
            "`dask worker`, or leave out --scheduler."
        ) from error


def count_threads(client: Any) -> int:
    """Count the threads of all workers of a cluster."""
    return int(sum(client.nthreads().values()))


def check_workers(client: Any, address: str, paths: Sequence[str]) -> None:
    """Raise InputError if a cluster has no worker, or has one that lacks this package or does not see a path."""
    if not client.nthreads():
        raise InputError(
            f"Cannot use the Dask cluster at {address}: it has no workers. Start one with `dask worker {address}`."
        )
    try:
        unseen = client.run(_list_unseen, list(paths))
    except ImportError as error:
        raise InputError(
            f"Cannot use the Dask cluster at {address}: its workers lack hpa ({first_line(error)}). Install it there."
        ) from error
    for worker, missing in unseen.items():
        if missing:
            raise InputError(
                f"Cannot use the Dask cluster at {address}: worker {worker} does not see {missing[0]}. Use a path on a "
                "shared disk."
            )


def _list_unseen(paths: Sequence[str]) -> list[str]:
    """Return the paths that do not exist."""
    return [path for path in paths if not os.path.exists(path)]
