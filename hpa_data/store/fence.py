"""What a task may still replace: late writers are kept out.

A worker of a cluster may be suspended for hours, by a laptop's lid or a paused virtual machine, and go on as if no time
had passed. Meanwhile its shard may have been written by another worker, and the store by another command. So right
before each rename, when the temporary file exists already, a task compares two things: who holds the lock, and what is
recorded of its shard. Whoever takes the lock next removes temporary files first: a task that is suspended even between
this check and its rename then has nothing to rename.
"""

from dataclasses import dataclass

from hpa_data.errors import InputError
from hpa_data.store.storage import Storage


class SupersededError(Exception):
    """Another worker has written the shard; what this one has made is the same, and is dropped."""


@dataclass(frozen=True, kw_only=True)
class Fence:
    """When the files of one shard may be replaced."""

    storage: Storage

    lock: str
    """Who held the store when the task was planned; see `Storage.read_lock`."""

    status_key: str
    """Of the shard's chunk of `status`, which is written last."""

    states: tuple[bytes | None, ...]
    """That chunk as it was when the task was planned, None if there was none; and as the task leaves it meanwhile."""

    def check(self) -> None:
        """Raise an error unless files of the shard may be replaced.

        Raises
        ------
        InputError
            If the lock is gone, or another command holds it.
        SupersededError
            If the shard has been written since the task was planned.
        """
        if self.storage.read_lock() != self.lock:
            raise InputError(
                f"Cannot write to {self.storage.location}: its lock is gone, or another process holds it now. "
                "Nothing more is written to it. Run the command again."
            )
        if read_state(self.storage, self.status_key) not in self.states:
            raise SupersededError


def read_state(storage: Storage, status_key: str) -> bytes | None:
    """Return what is recorded of a shard, as it is on disk; None if nothing is."""
    try:
        return storage.get(status_key)
    except FileNotFoundError:
        return None
