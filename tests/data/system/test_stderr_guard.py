"""What libraries print on stderr is made safe, attributed and counted, whatever becomes of the process."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hpa_data.system.complaints import MAX_BYTES, Complaint
from hpa_data.system.stderr_guard import Lines
from tests.builders import HPA, hpa_process
from tests.data.sources.encoded import write_png_by_hand

SCRIPT = """
import ctypes, logging, os, sys, time, warnings
from hpa_data.system.stderr_guard import guard_stderr
with guard_stderr():
    {}
"""
# Calls into C that hold Python's lock, as a decoder may.
FLOOD = r"text = b'libpng warning: \x1b[31m\n' * 20000; ctypes.PyDLL(None).write(2, text, len(text))"


def run_guarded(code: str, **variables: str) -> tuple[int, str]:
    """Run Python code under a guard in a process of its own; return its status and what it left on stderr."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(code)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | variables,
    )
    return done.returncode, done.stderr


def write_hostile(folder: Path, n_samples: int) -> None:
    """Write samples whose files have escapes in a profile's name and a chunk that libpng complains about."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    for index in range(n_samples):
        for channel in ("red", "green", "blue", "yellow"):
            chunks = [(b"iCCP", b"\x1b[31mPWN\x07\0\0x")] + ([(b"PLTE", b"\0\1\2")] if channel == "red" else [])
            (folder / f"s{index}_{channel}.png").write_bytes(
                write_png_by_hand(pixels, 0, *chunks, interlaced=index == 1)
            )


def test_a_flood_of_one_line_is_shown_once_and_counted_and_nobody_waits_for_it() -> None:
    status, text = run_guarded(FLOOD)
    first, rest = text.splitlines()
    assert (status, first) == (0, r"libpng warning: \x1b[31m")
    assert rest.startswith("Warning: lines of libraries are not shown again, 19999 lines")


@pytest.mark.parametrize(
    ("end", "status"),
    [("os.abort()", -signal.SIGABRT), ("os.kill(os.getpid(), 9)", -signal.SIGKILL), ("raise OSError('x')", 1)],
)
def test_the_last_words_before_a_crash_are_shown(end: str, status: int) -> None:
    ended, text = run_guarded(rf"os.write(2, b'F000 check failed \x1b[5m'); {end}")
    assert ended == status
    assert r"F000 check failed \x1b[5m" in text
    assert text.endswith("OSError: x\n") == (status == 1)


def test_a_fault_handler_tells_where_a_process_crashed() -> None:
    status, text = run_guarded("ctypes.string_at(0)", PYTHONFAULTHANDLER="1")
    assert status == -signal.SIGSEGV
    assert "Segmentation fault" in text
    assert "in string_at" in text


def test_an_interrupt_reaches_the_command_and_not_the_guard() -> None:
    code = "os.write(2, b'ready\\n'); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(code)], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr.read().endswith("KeyboardInterrupt\n")
    assert process.returncode == -signal.SIGINT


def test_warnings_and_log_lines_of_python_are_one_line_each_and_counted() -> None:
    code = (
        r"[warnings.warn(f'glyph {i}\nis missing') for i in range(3)]; logging.getLogger('a.b').error('bad \x1b'); "
        r"logging.getLogger('hpa_data.x').warning('own \x1b')"
    )
    remedy = "The command went on; report it if the result looks wrong."
    assert run_guarded(code)[1].splitlines() == [
        r"own \x1b",
        f"Warning: a library says: UserWarning: glyph 0, 3 times. {remedy}",
        rf"Warning: a says: bad \x1b, 1 time. {remedy}",
    ]


def test_a_table_that_is_written_to_the_standard_error_comes_as_it_is() -> None:
    write = (
        "from hpa_data.system.atomic import write_output; import pathlib; write_output(pathlib.Path('/dev/stderr'), "
    )
    assert run_guarded(rf"{write} b'a\x1b\n' * 2)") == (0, "a\x1b\n" * 2)


def test_the_guard_is_left_out_when_it_is_asked_for() -> None:
    assert run_guarded(r"os.write(2, b'\x1b[5m\n' * 2)", HPA_STDERR="raw") == (0, "\x1b[5m\n" * 2)


def test_a_complaint_is_one_short_line_that_is_read_as_it_was_written() -> None:
    complaint = Complaint(library="png", text='a\n\x1b"é\udc80', file="b_red.png")
    assert complaint.encode().count(b"\n") == 1
    assert Complaint.decode(complaint.encode().removesuffix(b"\n")) == complaint
    long = Complaint(library="x" * 999, text="\x1b" * 9999, file="\x1b" * 9999).encode()
    assert len(long) <= MAX_BYTES
    assert Complaint.decode(long) is not None
    assert Complaint.decode(b"libpng warning") is None


def test_logs_of_libraries_are_one_line_unless_the_process_crashes() -> None:
    log = [f"E1127 09:25:22.20397{i} 2108{i} aws.cc:6146] cannot \\x1b parse {i}" for i in range(3)]
    log += ["2026-11-27 09:25:22.203979: W tensorflow/core/a.cc:1] slow", "[ WARN:0@0.013] global grfmt.cpp:1 bad"]
    harmless = ["WARNING: All log messages before absl::InitializeLog() is called are written to STDERR"]
    harmless += ["I0000 00:00:1795784287.535552   18901 port.cc:153] custom operations are on."]
    write = f"os.write(2, {chr(10).join([*harmless, *log])!r}.encode() + b'\\n')"
    (line,) = run_guarded(write)[1].splitlines()
    assert line.startswith(f"Warning: lines of the logs of libraries are not shown, 5 lines, for example {log[0]}.")
    assert run_guarded(f"{write}; os.abort()")[1].splitlines() == [*harmless, log[0], *log[3:]]
    assert run_guarded(f"os.write(2, {chr(10).join(harmless)!r}.encode() + b'\\n')") == (0, "")


def test_what_libraries_said_comes_before_the_last_line_of_a_command() -> None:
    code = (
        "from hpa_data.system.stderr_guard import show_notices; warnings.warn('first'); show_notices(); "
        "print('Error: second', file=sys.stderr); warnings.warn('third')"
    )
    first, second, third = run_guarded(code)[1].splitlines()
    assert first.startswith("Warning: a library says: UserWarning: first, 1 time.")
    assert second == "Error: second"
    assert third.startswith("Warning: a library says: UserWarning: third, 1 time.")


def test_tracebacks_are_passed_on_whole() -> None:
    trace = [b"Traceback (most recent call last):", b'  File "a", line 3', b"ValueError: 3"]
    shown = [line for line in Lines().take(trace * 2) if line is not None]
    assert shown[:5] == [line.decode() for line in trace] + [line.decode() for line in trace[:2]]
    assert "1 line, for example ValueError: 3." in shown[5]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_complaints_of_decoders_are_safe_attributed_and_counted_once(workers: int, tmp_path: Path) -> None:
    write_hostile(tmp_path / "files", 3)
    options = ["--workers", workers] if workers else []
    ended = hpa_process("convert", tmp_path / "files", tmp_path / "a.zarr", "--image-size", "64x64", *options)
    assert ended.status == 0
    lines = ended.err.splitlines()
    assert [line for line in lines if " samples" not in line] == [  # progress, on a machine that is busy
        "Warning: imagecodecs says: PNG warning: PLTE: ignored in grayscale PNG, 3 files, for example s0_red.png. "
        "Look at these files."
    ]
    assert "\x1b" not in ended.out


def test_a_progress_bar_still_acts_on_a_terminal(tmp_path: Path) -> None:
    write_hostile(tmp_path / "files", 2)
    ours, theirs = pty.openpty()
    words = [HPA, "convert", tmp_path / "files", tmp_path / "a.zarr", "--image-size", "64x64"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs, stdin=theirs)
    os.close(theirs)
    shown, latest = b"", time.monotonic() + 60
    while time.monotonic() < latest:
        try:
            shown += os.read(ours, 4096)
        except OSError:  # the end of a terminal
            break
    os.close(ours)
    assert process.wait() == 0
    assert b"\x1b[" in shown
    assert b"PWN" not in shown
    assert b"Warning: imagecodecs says" in shown
