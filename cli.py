"""The program `hpa`: it starts fast, and ends quietly if it is interrupted at any moment of its start.

The commands are in `hpa_model.commands.app`, how they end is in `hpa_data.commands.endings`. Both are loaded once
signals have handlers, for loading takes long enough to be interrupted.
"""

import contextlib
import io
import os
import signal
import sys
from typing import Any

# Commands that run a network.
TRAINERS = ("train", "pretrain", "finetune", "sweep", "predict", "embed", "explain", "export", "demo", "bench")
# Settings of the C library for them. It uses huge pages, from one arena, and returns nothing between two steps: a
# training step allocates and frees gigabytes, and half of its time on a CPU would go into page faults. And it copies
# whole images past the processor's cache, which is faster: `raw` stores and caches are read by copying.
GLIBC_SETTINGS = {
    "malloc.hugetlb": 1,
    "malloc.arena_max": 1,
    "malloc.mmap_max": 0,
    "malloc.trim_threshold": 10**11,
    "cpu.x86_non_temporal_threshold": 2**19,
}
TUNABLES = ":".join(f"glibc.{name}={value}" for name, value in GLIBC_SETTINGS.items())
SIGNALS = (signal.SIGINT, signal.SIGTERM)
STOPPED = tuple(128 + number for number in SIGNALS)


def main() -> None:
    """Run the command that the command line names, and end with its exit status."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    _open_standard_streams()
    _set_up_glibc()
    import logging

    # TensorFlow logs at length about GPUs that are missing; its errors reach us as exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names that the terminal's encoding lacks
    from hpa_data.system.bus_errors import explain_bus_errors
    from hpa_data.system.stderr_guard import guard_stderr
    from hpa_model.commands.app import run

    explain_bus_errors()
    with guard_stderr():
        status = run()
    from hpa_data.system.hosts import is_broken

    if status in STOPPED or is_broken():
        from hpa_data.sources.unpacked import remove_unpacked

        remove_unpacked()
        sys.stdout.flush()
        # Python would wait for threads that a second Ctrl-C was meant to stop, or JAX for other hosts.
        os._exit(status)
    from hpa_data.system.garbage import leave

    leave()
    sys.exit(status)


def _stop(number: int, _: object) -> None:
    """End at once: while the program starts there is nothing to clean up, nor once a command has ended."""
    with contextlib.suppress(OSError):
        os.write(2, b"Interrupted.\n" if number == signal.SIGINT else b"Terminated.\n")
    os._exit(128 + number)


def _open_standard_streams() -> None:
    """Open the null device where the input, the output or the errors are closed: the next file would take their place.

    What libraries print would then be written into a file of the user.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w" if number else "r", closefd=False))  # noqa: SIM115 - as long as we run


def _set_up_glibc() -> None:
    """Start again with `GLIBC_SETTINGS` for a command that runs a network; GLIBC_TUNABLES= in front prevents that.

    The C library reads them once, when a process starts. Signals that arrive in between wait until there are handlers.
    """
    if os.environ.get("GLIBC_TUNABLES") == TUNABLES:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if sys.platform == "linux" and command in TRAINERS and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = TUNABLES
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def __getattr__(name: str) -> Any:
    """Return what was in this module before version 0.5.0: `app`, which takes a command line."""
    if name.startswith("_"):
        raise AttributeError(name)
    from hpa_model.commands import app

    return getattr(app, name)


if __name__ == "__main__":
    main()
