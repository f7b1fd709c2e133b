"""How a command ends: its exit status, and the line that says why.

Every command ends with one of these:

- 0: done.
- 1: done, and what failed is listed.
- 2: refused, or stopped by a known cause, which one line names with a remedy.
- 70: an unexpected fault, a mistake in this program: one line, and the traceback in a file.
- 130, 143: interrupted by Ctrl-C (SIGINT); terminated by SIGTERM.
- 141: whatever read the output has closed it, as `head` does. Nothing is printed.
"""

import contextlib
import os
import platform
import re
import select
import signal
import sys
import tempfile
import traceback
from importlib.metadata import PackageNotFoundError, version

from hpa_data.commands.console import escape
from hpa_data.errors import InputError, first_line, is_out_of_memory, list_causes
from hpa_data.system.interrupts import interrupted_by, received_signal
from hpa_data.system.os_errors import describe_os_error
from hpa_data.system.stderr_guard import show_notices

REFUSED, FAULT = 2, 70
# 128 and the number of the signal, as shells have it.
INTERRUPTED, TERMINATED = STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
CLOSED = 128 + signal.SIGPIPE

# Packages that not every command needs, and the extra that installs them.
EXTRAS = {
    **{"keras": "train", "tensorflow": "train", "jax": "jax", "imgaug": "augment"},
    **{"skimage": "baseline", "sklearn": "baseline", "threadpoolctl": "baseline"},
    **{"matplotlib": "figures", "jinja2": "figures", "tensorboardX": "tensorboard"},
    **{"wandb": "wandb", "mlflow": "mlflow"},
    **{"optuna": "sweep", "starlette": "browse", "uvicorn": "browse"},
}
# Characters of the message of an unexpected error that fit into its line.
MAX_MESSAGE = 300


def end(error: BaseException, *, debug: bool = False) -> int:
    """Print why a command ends, and return its exit status.

    Parameters
    ----------
    error : BaseException
        What ended it.
    debug : bool
        Print the traceback; that of an unexpected error is otherwise written to a file.
    """
    if isinstance(error, BrokenPipeError) and output_is_closed():
        return CLOSED
    status, line = explain(error) or (FAULT, "")
    if debug and status not in STOPPED:
        line = _format_traceback(error) + (line and escape(line))
    else:
        line = escape(line or report_fault(error))
    show_notices()
    with contextlib.suppress(OSError):  # nobody reads it
        print(line, file=sys.stderr)
    return status


def explain(error: BaseException) -> tuple[int, str] | None:
    """Return the exit status and the line for an error that ends a command; None for an unexpected one."""
    match error:
        case KeyboardInterrupt() if interrupted_by(error) == signal.SIGTERM:
            return TERMINATED, "Terminated."
        case KeyboardInterrupt():
            return INTERRUPTED, "Interrupted."
        case InputError():
            reason = str(error)
        case Exception() if any(map(is_out_of_memory, list_causes(error))):
            reason = "Cannot finish: there is not enough memory. Close other programs, or use a larger machine."
        case Exception() if any(str(cause) == "can't start new thread" for cause in list_causes(error)):
            reason = (
                "Cannot start a thread: the limit of processes and threads, or the memory, is used up. Raise it "
                "(ulimit -u), or close other programs."
            )
        case ImportError() if error.name in EXTRAS and not _find_interrupt(error):
            extra = EXTRAS[error.name]
            reason = f"Cannot run this command: {error.name} is not installed. Run: pip install '.[{extra}]'"
        case ImportError(name="torch" | "openvino"):  # a backend of Keras that is not installed
            reason = _name_backends()
        case ValueError() if str(error).startswith("Invalid `") and "` configuration" in str(error):  # Keras's words
            reason = f"Cannot start Keras: {first_line(error)}. Correct or remove ~/.keras/keras.json."
        case ValueError() if str(error).startswith("Unable to import backend"):  # Keras's words for an unknown one
            reason = _name_backends()
        case BrokenPipeError():
            reason = "Cannot go on: the other end of a connection was closed. Run the command again."
        case OSError():
            reason = describe_os_error(error)
        case _:
            interrupt = _find_interrupt(error)
            return None if interrupt is None else explain(interrupt)
    return REFUSED, f"Error: {reason}"


def _name_backends() -> str:
    received = os.environ.get("KERAS_BACKEND", "the one in ~/.keras/keras.json")
    return f"KERAS_BACKEND must be tensorflow or jax. Received: {received}. Set one of them."


def _find_interrupt(error: BaseException) -> KeyboardInterrupt | None:
    """Return the interrupt that caused an error: libraries that are being imported make others of it."""
    for cause in list_causes(error):
        if isinstance(cause, KeyboardInterrupt):
            return cause
    received = received_signal()
    return KeyboardInterrupt(received) if received is not None else None


def output_is_closed() -> bool:
    """Return whether what reads our output has closed it; other pipes, such as connections, may break, too."""
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        poll.register(stream.fileno(), 0)  # errors and the end are always told
        if any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0)):
            return True
    return False


def report_fault(error: BaseException) -> str:
    """Write the traceback of an unexpected error to a file, and return a line that names it.

    The file is new, in the folder for temporary files, and only its owner can read it. Passwords and keys are removed.
    """
    what = remove_secrets(f"{type(error).__name__}: {first_line(error)}")[:MAX_MESSAGE].rstrip(". ")
    text = f"hpa {_find_version()}, Python {platform.python_version()}, {platform.platform()}\n"
    text += f"Command: {_name_command()}\n\n{_format_traceback(error)}"
    try:
        file, path = tempfile.mkstemp(prefix="hpa-fault-", suffix=".txt")  # exclusive, 0600
        with open(file, "w", encoding="utf-8", errors="backslashreplace") as out:
            out.write(text)
    except OSError:  # no space: on the screen it is not lost
        with contextlib.suppress(OSError):
            print(text, file=sys.stderr)
        path = "above"
    where = path if path == "above" else f"in {path}"
    return (
        f"Error: Unexpected fault: {what}. This is a mistake in hpa. The traceback is {where}. Report it to where you "
        "have hpa from; `hpa --debug` in front of the command prints it."
    )


def _find_version() -> str:
    try:
        return version("hpa")
    except PackageNotFoundError:  # run from a folder of sources
        return "?"


def _name_command() -> str:
    """Return the name of the command alone: arguments may hold names of patients, options keys."""
    words = [word for word in sys.argv[1:3] if word.isalpha()]
    return " ".join(["hpa", *words[: 2 if words[:1] == ["bench"] else 1]])


def _format_traceback(error: BaseException) -> str:
    lines = remove_secrets("".join(traceback.format_exception(error))).split("\n")
    return "\n".join(map(escape, lines))


def remove_secrets(text: str) -> str:
    """Remove passwords and signatures of URLs, and values of environment variables that are named like keys.

    Examples
    --------
    >>> remove_secrets("Cannot open https://me:pass@host/a.zarr?X-Signature=0123: refused")
    'Cannot open https://…@host/a.zarr?…: refused'
    """
    text = re.sub(r"(\w://)[^/\s@'\"]+@", r"\1…@", text)
    text = re.sub(r"(\w://[^\s?'\"]*\?)[^\s'\":]+", r"\1…", text)
    for name, value in os.environ.items():
        if re.search("SECRET|TOKEN|PASSW|_KEY|CREDENTIAL", name.upper()) and len(value) >= 8:
            text = text.replace(value, "…")
    return text
