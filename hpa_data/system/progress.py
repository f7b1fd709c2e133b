"""Progress reports of long-running work."""

from collections.abc import Callable
from dataclasses import dataclass


def _ignore(_: object) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Callbacks of long-running work, called in the thread that started it; by default they do nothing."""

    start: Callable[[int], None] = _ignore
    """Called with the total number of units before the first is done; again before each further pass."""

    advance: Callable[[int], None] = _ignore
    """Called with the number of units done since the last call."""

    stage: Callable[[str], None] = _ignore
    """Called with what the next units belong to, such as ``fold 0, epoch 2/5``. A rate is measured from the first of
    them on, which may have to wait for a compilation."""

    note: Callable[[str], None] = _ignore
    """Called with one line of text about the next step."""

    def part(self) -> "Progress":
        """Return a progress for work inside this work: it advances, and starts nothing."""
        return Progress(advance=self.advance, stage=self.stage, note=self.note)


# Reports nothing.
SILENT = Progress()
