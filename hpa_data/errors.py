"""The one exception of our own."""


class InputError(ValueError):
    """Say that what the user gave cannot be used: the rule, what arrived, the remedy.

    The command line shows its message as one line and ends with status 2; any other exception is a fault of ours.

    Attributes
    ----------
    file : str
        The file of a source that is at fault, as the source names it; empty if it is none or not one alone.
    """

    def __init__(self, message: str, *, file: str = "") -> None:
        super().__init__(message)
        self.file = file


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type where it has no message."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
