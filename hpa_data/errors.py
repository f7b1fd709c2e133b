"""The exception for errors that the user can correct, and the record for what was done but should be known."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass

# Examples of each finding; a store must not grow with what it does not hold.
N_EXAMPLES = 3


class InputError(ValueError):
    """Something the user gave cannot be used. The message is one line: what is wrong, and what to do.

    The command line shows it and exits with status 2. Any other exception is a bug.

    Parameters
    ----------
    message : str
    file : str
        The image file that caused it, as the source names it; empty if it is not a single file.
    """

    def __init__(self, message: str, *, file: str = "") -> None:
        super().__init__(message)
        self.file = file


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something that a command did, or would do, and that the user should know.

    All commands print it in the same form, and ``--json`` has its fields, which are also keys in stores.
    """

    what: str
    """What was found, without a full stop: ``a channel is nearly black``."""

    n: int
    """How many `unit` it is about."""

    unit: str = "sample"
    """Of what: a noun in the singular."""

    examples: tuple[str, ...] = ()
    """Some of them, the first `N_EXAMPLES`."""

    remedy: str
    """What can be done, one sentence with a full stop."""

    def __str__(self) -> str:
        """Return it as the line that commands print."""
        example = f", for example {self.examples[0]}" if self.examples else ""
        plural = "" if self.n == 1 else "es" if self.unit.endswith("s") else "s"
        return f"Warning: {self.what}, {self.n} {self.unit}{plural}{example}. {self.remedy}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type where it has no message."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def list_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it, each once: an error may be among its own causes."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that a device, or the host, has too little memory, whatever raised it."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    if isinstance(error, ImportError):  # the loader of shared libraries tells it in words alone
        return "failed to map segment" in str(error) or "cannot allocate memory" in str(error).lower()
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if "ResourceExhaustedError" in kinds:  # TensorFlow's
        return True
    of_backend = bool(kinds & {"OpError", "JaxRuntimeError", "XlaRuntimeError"})
    return of_backend and ("RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower())
