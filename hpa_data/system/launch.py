"""Which of several processes this one is: from options, or from the environment that what launched it has made."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from hpa_data.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Place:
    """Which of several processes this is."""

    address: tuple[str, int]
    """Host and port where the first one listens."""

    index: int
    """From 0."""

    n_hosts: int
    """At least 2."""


# Of what launches processes: JAX's own variables, Slurm's srun, and Open MPI's mpirun.
INDEX_VARIABLES = ("JAX_PROCESS_ID", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK")
COUNT_VARIABLES = ("JAX_NUM_PROCESSES", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")


def find_place(
    coordinator: str | None, index: int | None, n_hosts: int | None, environ: Mapping[str, str] = os.environ
) -> Place | None:
    """Find which of several processes this is, from options and, where they are missing, from the environment.

    Returns
    -------
    Place or None
        None for a single process: without an address, or with one process. Without an address, variables that number
        processes mean nothing: batch systems set them for independent processes, too.

    Raises
    ------
    InputError
        If something is missing or cannot be.
    """
    coordinator = coordinator or environ.get("JAX_COORDINATOR_ADDRESS") or None
    if coordinator is None:
        if index is not None or n_hosts not in {None, 1}:
            raise InputError(
                "coordinator must be given for a training over hosts. Received: host_index or hosts alone. Pass "
                "--coordinator HOST:PORT: an address of the first host, the same on all."
            )
        return None
    index = _read_number(INDEX_VARIABLES, environ) if index is None else index
    n_hosts = _read_number(COUNT_VARIABLES, environ) if n_hosts is None else n_hosts
    if index is None or n_hosts is None:
        raise InputError(
            "host_index and hosts must be given beside coordinator. Received: neither options nor variables of JAX, "
            "Slurm or Open MPI. Pass --host-index I --hosts N, with I from 0 to N - 1."
        )
    if not 0 <= index < n_hosts:
        raise InputError(
            f"host_index must be from 0 to hosts - 1. Received: host_index={index}, hosts={n_hosts}. Pass others."
        )
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise InputError(f"coordinator must be HOST:PORT. Received: {coordinator}. Pass an address of the first host.")
    return None if n_hosts == 1 else Place(address=(host.strip("[]"), int(port)), index=index, n_hosts=n_hosts)


def _read_number(names: tuple[str, ...], environ: Mapping[str, str]) -> int | None:
    """Return the number in the first of some variables that is set."""
    found = next((environ[name] for name in names if environ.get(name)), None)
    return int(found) if found is not None and found.isdecimal() else None
