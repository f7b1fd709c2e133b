"""How an error ends a command: its exit status, one line, and for an unexpected one a file with the traceback."""

import errno
import re
import signal
import stat
import tempfile
from pathlib import Path

import pytest

from hpa_data.commands.endings import end, explain, remove_secrets
from hpa_data.errors import InputError


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("x must be 1. Received: 2. Pass 1."), 2, "Error: x must be 1."),
        (ImportError(name="keras"), 2, "keras is not installed. Run: pip install '.[train]'"),
        (ValueError("Unable to import backend : torch"), 2, "Error: KERAS_BACKEND must be tensorflow or jax."),
        (ImportError(name="torch"), 2, "Error: KERAS_BACKEND must be tensorflow or jax."),
        (PermissionError(errno.EACCES, "", "a.zarr"), 2, "Error: Cannot read or write a.zarr: permission denied. "),
        (OSError(errno.ENOSPC, "", "a.csv"), 2, "Error: Cannot write a.csv: no space is left on its disk. Free space "),
        (OSError("no space"), 2, "Error: Cannot read or write a file: no space. Check the path"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), 2, "Error: Cannot read or write a file: reset. Check"),
        (BrokenPipeError(errno.EPIPE, ""), 2, "Error: Cannot go on: the other end of a connection was closed."),
        (MemoryError(), 2, "Error: Cannot finish: there is not enough memory. Close other programs"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 2, "Error: Cannot finish: there is not enough memory."),
        (ImportError("libtensorflow.so: failed to map segment from shared object"), 2, "there is not enough memory"),
        (ImportError("x.so: cannot allocate memory in static TLS block"), 2, "there is not enough memory"),
        (caused(RuntimeError("no binary"), ImportError("x.so: failed to map segment")), 2, "not enough memory."),
        (caused(RuntimeError("no join"), RuntimeError("can't start new thread")), 2, "Error: Cannot start a thread: "),
        (RuntimeError("can't start new thread"), 2, "Error: Cannot start a thread: the limit of processes and threads"),
        (KeyboardInterrupt(), 130, "Interrupted."),
        (KeyboardInterrupt(signal.SIGTERM), 143, "Terminated."),
        # As libraries that are being imported hide it.
        (caused(RuntimeError("Error calling __set_name__"), KeyboardInterrupt()), 130, "Interrupted."),
        (caused(ImportError(name="tensorflow"), KeyboardInterrupt(signal.SIGTERM)), 143, "Terminated."),
    ],
)
def test_a_known_cause_has_a_status_and_a_line(error: BaseException, status: int, message: str) -> None:
    explained = explain(error)
    assert explained is not None
    assert explained[0] == status
    assert message in explained[1]


@pytest.mark.parametrize("error", [ImportError(name="hpa_data"), ValueError("x"), RuntimeError("x"), KeyError(3)])
def test_any_other_error_is_unexpected(error: BaseException) -> None:
    assert explain(error) is None


def test_the_traceback_of_an_unexpected_error_is_in_a_private_file(
    temporary: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI")
    monkeypatch.setattr("sys.argv", ["hpa", "bench", "io", "patients/mueller.zarr", "--key=wJalrXUtnFEMI"])
    with pytest.raises(ValueError, match="no https") as raised:
        raise ValueError("no https://me:pw@h/a?sig=1 with wJalrXUtnFEMI\nin \x1b[31mtwo lines")
    assert end(raised.value) == 70
    (file,) = temporary.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text, line = file.read_text(), capsys.readouterr().err
    assert re.match(
        r"hpa \S+, Python 3\.\S+, .*\nCommand: hpa bench io\n\nTraceback \(most recent call last\):\n", text
    )
    assert text.endswith("ValueError: no https://…@h/a?… with …\nin \\x1b[31mtwo lines\n")
    assert line.count("\n") == 1
    assert line.startswith("Error: Unexpected fault: ValueError: no https://…@h/a?… with …. This is a mistake in hpa. ")
    assert f"The traceback is in {file}. Report it" in line
    assert "`hpa --debug`" in line


def test_a_traceback_that_fits_nowhere_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert end(ValueError("x")) == 70
    err = capsys.readouterr().err
    assert "\nValueError: x\n" in err
    assert "The traceback is above." in err


@pytest.mark.parametrize(("error", "status"), [(ValueError("x"), 70), (InputError("x"), 2)])
def test_tracebacks_are_printed_on_demand(
    error: Exception, status: int, temporary: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end(error, debug=True) == status
    assert f"{type(error).__name__}: x\n" in capsys.readouterr().err
    assert list(temporary.iterdir()) == []


def test_short_values_and_other_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_COUNT", "12")
    monkeypatch.setenv("HOME_FOLDER", "/home/someone")
    assert remove_secrets("12 in /home/someone, a?b c://d") == "12 in /home/someone, a?b c://d"
