"""How long work reports what it does, whoever listens."""

from collections.abc import Callable
from dataclasses import dataclass


def _ignore(_: object) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Functions that long work calls as it goes on, all in the thread that called it. By default nobody listens."""

    start: Callable[[int], None] = _ignore
    """Called with the number of units of work before any is done; again before each further pass."""

    advance: Callable[[int], None] = _ignore
    """Called with the number of units that were done since the last call."""

    note: Callable[[str], None] = _ignore
    """Called with a line that says what comes next."""

    def part(self) -> "Progress":
        """Return a progress for a part of work whose total is already known."""
        return Progress(advance=self.advance, note=self.note)


# Reports to nobody.
SILENT = Progress()
