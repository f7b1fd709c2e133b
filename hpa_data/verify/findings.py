"""What a check finds about samples and parts."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """What a check finds about a sample, or about a part."""

    OK = "ok"
    FILLED = "filled"
    """A channel that its source lacks is black."""
    BLACK = "black"
    """Every pixel is 0, and the checksum confirms it."""
    MISSING = "missing"
    """Not converted yet, or lost."""
    FAILED = "failed"
    """Could not be read when it was converted."""
    CORRUPT = "corrupt"
    """Cannot be decoded, or disagrees with its checksum or other metadata."""
    UNREADABLE = "unreadable"
    """The system does not let it be read: permissions, or a disk that fails. Not repaired, since it may be good."""
    DIFFERS = "differs"
    """The source has other pixels."""
    UNREADABLE_SOURCE = "unreadable_source"
    """The store has it, but the source cannot be read, or lacks the sample."""

    @property
    def is_error(self) -> bool:
        """Whether something is wrong."""
        return self not in {State.OK, State.FILLED, State.BLACK}


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The state of one sample, or of a part as a whole."""

    part: str
    id: str = ""
    """Of the sample; empty for the part as a whole."""
    state: State
    reason: str = ""
