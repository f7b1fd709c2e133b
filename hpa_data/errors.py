"""The exception for errors that the user can correct."""


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


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type where it has no message."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
