"""How long a server is waited for: one setting of the process, for all stores at a URL."""

from dataclasses import dataclass

# Servers throttle, restart and lose their network for minutes; a typing error in an address is told apart from that.
RETRY_MINUTES = 5.0


@dataclass(frozen=True, kw_only=True)
class RemoteLimits:
    """Limits of time for reading at a URL, in seconds."""

    retry_s: float = RETRY_MINUTES * 60
    """How long a read is repeated after it first failed for a reason that may pass."""

    connect_s: float = 10.0
    """To connect."""

    stall_s: float = 30.0
    """Without a byte, before the first one and between any two."""

    notice_s: float = 10.0
    """Without a byte, until the screen says what is waited for."""

    delay_s: float = 1.0
    """Before the first repetition; doubled each time."""

    max_delay_s: float = 30.0
    """The longest pause between two repetitions."""


_CURRENT = [RemoteLimits()]


def get_limits() -> RemoteLimits:
    """Return the limits of this process."""
    return _CURRENT[0]


def set_limits(limits: RemoteLimits) -> RemoteLimits:
    """Set the limits of this process, for stores that are open, too; return those before."""
    before, _CURRENT[0] = _CURRENT[0], limits
    return before
