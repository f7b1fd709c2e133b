"""The connection to a Dask cluster (Dask.distributed, an optional package), and the proof that its workers are alike.

Workers of another version, or that see another disk, would write other pixels under checksums that fit them. So each
one proves what it is before it gets a task.
"""

import asyncio
import contextlib
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hpa_data.errors import InputError, first_line
from hpa_data.system.worker import Mark, count_running, describe_folder, describe_process, prove

# Seconds to wait for the answer of a worker: its Python may be busy in a library for some of them.
ANSWER_S = 30.0

# Seconds to wait for the scheduler, when connecting to it and when leaving it.
CONNECT_S = 10.0
CLOSE_S = 2.0

# Times to try to connect.
_MAX_TRIES = 5

# Differences that one line names.
_MAX_DIFFERENCES = 3


def connect(address: str) -> Any:
    """Return a client of a cluster, for `disconnect`; InputError if the cluster cannot be reached."""
    if not re.fullmatch(r"\w+://.+", address):
        raise InputError(
            f"scheduler must be the address of a Dask cluster. Received: scheduler={address!r}. Pass one like "
            "tcp://host:8786."
        )
    try:
        from distributed import Client
        from distributed.comm import resolve_address

        resolve_address(address)  # of a malformed address, the client would tell in a traceback, after 20 s
        for _ in range(_MAX_TRIES - 1):
            # The scheduler's greeting may come together with news of a worker, which Dask does not expect.
            with contextlib.suppress(AssertionError):
                return Client(address, timeout=CONNECT_S, set_as_default=False)
        return Client(address, timeout=CONNECT_S, set_as_default=False)
    except ImportError as error:
        raise InputError(
            "Cannot use a Dask cluster: the package distributed is not installed. Run: pip install '.[cluster]'"
        ) from error
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"Cannot reach the Dask cluster at {address}: {first_line(error)}. Start one with `dask scheduler` and "
            "`dask worker`, or leave out --scheduler."
        ) from error


def disconnect(client: Any) -> None:
    """Close a client, also of a scheduler that does not answer; what has not finished is canceled."""
    with contextlib.suppress(Exception):  # whatever a connection raises that is broken already
        client.close(timeout=CLOSE_S)


@contextlib.contextmanager
def open_client(address: str) -> Iterator[Any]:
    """Connect for the time of a with block."""
    client = connect(address)
    try:
        yield client
    finally:
        disconnect(client)


def list_workers(client: Any, *, timeout: float = CONNECT_S) -> dict[str, dict[str, Any]]:
    """Return what the scheduler knows of each worker, by address; an OSError such as TimeoutError without an answer."""
    # Not `Client.scheduler_info`, which waits without a limit for a scheduler that is suspended.
    return dict(client.sync(client.scheduler.identity, n_workers=-1, callback_timeout=timeout)["workers"])


def ask_for_worker(client: Any) -> Any:
    """Let an adaptive cluster start a worker, for which it wants a task; return that, to be kept until there is one."""
    return client.submit(int, pure=False)  # whichever worker computes it, it is 0


def count_threads(client: Any) -> int:
    """Count the threads of all workers of a cluster."""
    return sum(int(worker["nthreads"]) for worker in list_workers(client).values())


def check_workers(client: Any, address: str, paths: Sequence[str]) -> None:
    """Raise InputError if a cluster has no worker, or has one that is not like this process; see `find_differences`."""
    workers = list_workers(client)
    if not workers:
        raise InputError(
            f"Cannot use the Dask cluster at {address}: it has no workers. Start one with `dask worker {address}`."
        )
    different = find_differences(client, list(workers), paths)
    if different:
        worker, difference = next(iter(different.items()))
        others = len(different) - 1
        more = f" {others} more worker{'s are' if others > 1 else ' is'} refused, too." if others else ""
        raise InputError(f"Cannot use the Dask cluster at {address}: worker {worker} {difference.text}{more}")


class Difference(NamedTuple):
    """How a worker is not like this process."""

    text: str
    """What is different and what to do: the end of a sentence, and another."""

    is_silent: bool = False
    """Whether it only has not answered."""


def find_differences(
    client: Any, workers: Iterable[str], paths: Sequence[str], *, timeout: float = ANSWER_S
) -> dict[str, Difference]:
    """Let workers prove that they are like this process: the same versions and code, and the same folders.

    Parameters
    ----------
    client : Client
    workers : iterable of str
        Addresses.
    paths : sequence of str
        Files and folders that every worker must see. For a moment, a hidden file lies beside or in each.
    timeout : float
        Seconds to wait for a worker.

    Returns
    -------
    dict of str to Difference
        Of those that are not, by address.
    """
    addresses = list(workers)
    with _write_marks(paths) as marks:
        answers = client.sync(_ask, client, addresses, timeout, prove, marks)
    found = {address: _compare(answer, timeout) for address, answer in zip(addresses, answers, strict=True)}
    return {address: difference for address, difference in found.items() if difference is not None}


def count_running_tasks(client: Any, workers: Iterable[str], *, timeout: float) -> int:
    """Count the tasks that workers compute, given up ones included; those of a worker without an answer are none."""
    answers = client.sync(_ask, client, list(workers), timeout, count_running, callback_timeout=2 * timeout)
    return sum(answer for answer in answers if isinstance(answer, int))


async def _ask(
    client: Any, addresses: Sequence[str], timeout: float, function: Callable[..., Any], *arguments: Any
) -> list[Any]:
    """Call a function on workers; return what it returns on each, or the exception."""

    async def ask(address: str) -> Any:
        # The public `run` has no time limit.
        call = client._run(function, *arguments, workers=[address], on_error="return")
        return (await asyncio.wait_for(call, timeout))[address]

    return await asyncio.gather(*map(ask, addresses), return_exceptions=True)


def _compare(answer: Any, timeout: float) -> Difference | None:
    """Put into words how a worker differs from this process; None if it does not."""
    ours = describe_process()
    if isinstance(answer, TimeoutError):
        return Difference(f"has not answered for {timeout:.0f} s. Stop it, or start it again.", is_silent=True)
    if isinstance(answer, BaseException):
        reason = _unquote(answer)
        is_gone = isinstance(answer, OSError) or "Comm" in reason or "OSError" in reason  # it ended meanwhile
        remedy = f"Install hpa {ours['hpa']} in its environment, and start it again."
        return Difference(f"cannot run hpa: {reason}. {remedy}", is_silent=is_gone)
    theirs, missed = answer
    if missed:
        return Difference(f"{missed[0]}. Use a path on a shared disk.")
    differences = describe_differences(theirs, ours)
    return Difference(f"{differences}. Install the same there, and start it again.") if differences else None


def describe_differences(theirs: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """Put into words what a worker has, and this process in its stead; empty if both have the same."""
    names = [name for name in {**ours, **theirs} if theirs.get(name, "") != ours.get(name, "")]
    pairs = [
        f"{name} {theirs.get(name) or 'missing'}, here {ours.get(name) or 'missing'}"
        for name in names[:_MAX_DIFFERENCES]
    ]
    more = f"; {len(names) - _MAX_DIFFERENCES} more differences" if len(names) > _MAX_DIFFERENCES else ""
    return f"has {'; '.join(pairs)}{more}" if names else ""


def _unquote(error: BaseException) -> str:
    """Return the text of an error that reached us as the text of another one."""
    match = re.fullmatch(r"""(\w*Error)\((["'])(.*)\2\)""", first_line(error))
    return match[3].replace("\\'", "'") if match else first_line(error)


@contextlib.contextmanager
def _write_marks(paths: Sequence[str]) -> Iterator[list[Mark]]:
    """Write a file beside each path, or into each folder; where that is not allowed, describe what is there."""
    with contextlib.ExitStack() as written:
        yield [written.enter_context(_write_mark(path)) for path in dict.fromkeys(paths)]


@contextlib.contextmanager
def _write_mark(path: str) -> Iterator[Mark]:
    # Named as a temporary file of a store, so that it is removed with those if this process is killed meanwhile.
    content = uuid.uuid4().hex
    folder = Path(path) if os.path.isdir(path) else Path(path).parent
    file = folder / f".{content}.{os.getpid()}-{threading.get_ident()}.part"
    try:
        with file.open("x", encoding="utf-8") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
    except OSError:  # a source may be on a disk that can only be read
        with contextlib.suppress(OSError):
            file.unlink()
        yield Mark(path, "", describe_folder(path))
        return
    try:
        yield Mark(path, str(file), content)
    finally:
        with contextlib.suppress(OSError):
            file.unlink()
