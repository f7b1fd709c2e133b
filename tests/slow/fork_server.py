"""Runs commands in forks of one process, which has imported everything they need: a second each, not ten.

Started by `tests.slow.faults`. Reads one JSON object per line, answers each with a line: the exit status.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

LIMIT_S = 900
"""Seconds after which a command hangs."""

HANGS = 1000
"""The exit status of one that does."""


def serve() -> None:
    """Answer requests until the input ends; in each fork, return to run the command of `sys.argv`."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            become(request)
            return
        print(wait(child, request["kill_after_s"]), file=answers, flush=True)
        if request["modules"]:
            import_all(Path(request["modules"]))
    sys.exit()


def import_all(names: Path) -> None:
    """Import what the last command imported."""
    for name in names.read_text().split():
        with contextlib.suppress(Exception):  # some exist only in one order
            importlib.import_module(name)
    gc.collect()
    gc.freeze()


def become(request: dict[str, Any]) -> None:
    """Turn this process into the one that runs a command, with its own output, folder and fault."""
    os.setpgid(0, 0)
    for number, mode, name in ((0, os.O_RDONLY, os.devnull), (1, os.O_WRONLY, "out"), (2, os.O_WRONLY, "err")):
        path = name if number == 0 else request[name]
        file = os.open(path, mode | (os.O_CREAT | os.O_TRUNC if number else 0), 0o600)
        os.dup2(file, number)
        os.close(file)
    if request["modules"]:
        atexit.register(lambda: Path(request["modules"]).write_text("\n".join(sys.modules)))
    os.chdir(request["folder"])
    sys.argv = ["hpa", *request["words"]]
    arm = ctypes.CDLL(None).faults_arm
    arm(*(request[name].encode() for name in ("roots", "site", "mode", "log")))


def wait(child: int, kill_after_s: float | None) -> int:
    """Wait for a child and return how it ended: its exit status, the negative number of a signal, or `HANGS`."""
    deadline = time.monotonic() + (LIMIT_S if kill_after_s is None else kill_after_s)
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return HANGS if kill_after_s is None else -9


if __name__ == "__main__":
    for module in sys.argv[1:]:
        importlib.import_module(module)
    import cli

    serve()
    cli.main()
