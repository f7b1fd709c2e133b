"""The processes that train together with this one, on JAX."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any

import keras

from hpa_data.errors import InputError
from hpa_data.system.hosts import Hosts, find_free_port, join_hosts
from hpa_data.system.launch import Place
from hpa_model.backend import device_scope

# Until the connection to a host that was lost is known to be closed.
LOST_S = 10.0

# The processes that train together with this one, if there are any. JAX knows one group per process, too.
_joined: list[Hosts] = []


def joined_hosts() -> Hosts | None:
    """Return the processes that this one trains with, or None."""
    return _joined[0] if _joined else None


@contextmanager
def over_hosts(place: Place | None, tell: Callable[[str], None]) -> Iterator[Hosts | None]:
    """Join the processes of a training over hosts; before JAX is asked for devices.

    Parameters
    ----------
    place : Place or None
        None for a single process; nothing is done then.
    tell : function of str
        Called with a line about what is waited for.

    Raises
    ------
    InputError
        If Keras runs on TensorFlow, or the others do not come.
    """
    if place is None:
        yield None
        return
    if keras.backend.backend() != "jax":
        raise InputError(
            "Cannot train over hosts on TensorFlow: Keras 3 fails in fit with its strategy for that "
            "(MultiWorkerMirroredStrategy). Set KERAS_BACKEND=jax on all hosts."
        )
    import jax

    with join_hosts(place, tell) as hosts:
        port = hosts.share(str(find_free_port(place.address[0])).encode() if hosts.is_first else None)
        host = f"[{place.address[0]}]" if ":" in place.address[0] else place.address[0]
        address = f"{host}:{port.decode()}"
        jax.distributed.initialize(address, hosts.n_hosts, hosts.index, coordinator_bind_address=address)
        _joined.append(hosts)
        try:
            yield hosts
        finally:
            _joined.clear()
        jax.distributed.shutdown()  # type: ignore[no-untyped-call]


def meet_hosts() -> None:
    """Wait until all processes of a training over hosts are here."""
    if _joined:
        _joined[0].meet()


def count_shares(devices: int) -> int:
    """Return among how many devices each batch is shared out: those of all hosts, or `devices` of this one."""
    if not _joined:
        return devices
    import jax

    return int(jax.device_count())


def check_hosts(batch_size: int) -> None:
    """Check that a batch can be shared out among the devices of all hosts; InputError if not."""
    n_shares = count_shares(1)
    if batch_size % n_shares:
        raise InputError(
            f"batch_size must be divisible by {n_shares}, the devices of all hosts. Received: batch_size={batch_size}. "
            "Pass another --batch-size."
        )


@lru_cache
def _distribute() -> Any:
    """Make the distribution of a training over hosts: each device takes its share of a batch, all have all weights."""
    return keras.distribution.DataParallel(auto_shard_dataset=False)


def training_scope(devices: int) -> AbstractContextManager[Any]:
    """Distribute the model that is built in this scope over the devices of all hosts, or some of this one."""
    if not _joined:
        return device_scope(devices)
    scope: AbstractContextManager[Any] = _distribute().scope()
    return scope


@contextmanager
def own_device_scope() -> Iterator[None]:
    """Compute on a device of this process, also within `training_scope`."""
    if not _joined:
        yield
        return
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


@contextmanager
def explain_lost_hosts() -> Iterator[None]:
    """Let this process end with a line about a lost host, rather than with an error of the library that misses it."""
    try:
        yield
    except Exception as error:
        if _joined and not isinstance(error, InputError):
            _joined[0].wait_for_the_end(LOST_S)
        raise
