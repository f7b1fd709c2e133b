"""What reaches file descriptor 2 without us: lines of C libraries, made safe, and repeated ones counted.

libpng, TensorFlow or the AWS client write there past Python, with the text of files in it, once for every file. For
the time of a command the descriptor is a pipe into a small process, which escapes control characters and passes each
line on once. A process, not a thread: it shows the last words of a crash, and cannot wait for a lock of the one who
writes. Our own lines and bars do not take that way.
"""

import contextlib
import io
import os
import re
import select
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from hpa_data.errors import N_EXAMPLES, Notice
from hpa_data.system.complaints import MARK, Complaint, escape, send_complaints

# Set to "raw", it leaves everything as it comes, for a debugger.
VARIABLE = "HPA_STDERR"
# Bytes of a line without an end that is passed on all the same.
_MAX_LINE = 1 << 16
# Kinds of lines that are told apart; those of a library that never repeats itself are then all passed on.
_MAX_KINDS = 10_000
# Names of files that are told apart, of each kind.
_MAX_FILES = 100_000
# File descriptors that are closed in the guard: the usual limit, and most of a higher one.
_MAX_DESCRIPTORS = 1 << 16
# Seconds that a command waits at its end for the last lines. Worker processes that outlive it keep the pipe open.
_PATIENCE_S = 2.0
_NUMBERS = re.compile(r"\w*\d\w*")  # also hexadecimal ones
# Of tracebacks, which are passed on whole. Their other lines are indented.
_TRACEBACK = re.compile(r"\s|Traceback|Fatal |Current thread|Thread 0x|Extension modules|During handling|The above")
# Lines of the logs of C++ libraries, without what ends a process: of TensorFlow and AWS (Abseil's form and the older
# one), and of OpenCV. What they mean reaches us as exceptions.
_LOG = re.compile(
    r"[IWE]\d{4} [\d:.]{8,} +\d+ |\d{4}-\d\d-\d\d [\d:.]{8,}: [IWE] |\[ ?(?:WARN|ERROR|INFO):\d+@[\d.]+\] |"
    r"WARNING: All log messages before absl::InitializeLog"
)
# Of these, what says nothing about the results: how a library was built, and which device it uses.
_INFO = re.compile(r"I\d{4} |[\d-]+ [\d:.]+: I |\[ ?INFO:|WARNING: All log")
# Of such lines, the different ones that are kept for the case of a crash.
_MAX_KEPT = 50
# A line of a command that does not crash, once it has nothing more to do.
_END = MARK + b"end"
# Seconds that the last line of a command waits for what is said before it.
_ANSWER_S = 0.5
# What the guard of this process answers to; -1 where there is none.
_answers = [-1]


@contextlib.contextmanager
def guard_stderr() -> Iterator[None]:
    """Let what libraries print on stderr pass through a guard until the block ends.

    Nothing is changed where stderr is not file descriptor 2, such as in tests, or if no process can be started.
    """
    shown, guard = sys.stderr, -1
    if isinstance(shown, io.TextIOWrapper) and os.environ.get(VARIABLE) != "raw":
        with contextlib.suppress(OSError, ValueError):
            shown.flush()
            guard = _start(shown) if shown.fileno() == 2 else -1
    if guard < 0:
        yield
        return
    end = send_complaints()
    try:
        yield
    finally:
        end()
        own, answers, _answers[0] = sys.stderr, _answers[0], -1
        with contextlib.suppress(OSError, ValueError):
            own.flush()
            os.write(2, _END + b"\n")
            os.dup2(own.fileno(), 2)
        os.close(answers)
        sys.stderr = shown
        _wait_for(guard)


def show_notices() -> None:
    """Show what is to be said of the lines of libraries so far, before the last line of a command is printed."""
    if _answers[0] >= 0:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
            os.write(2, _END + b"\n")
            if select.select([_answers[0]], [], [], _ANSWER_S)[0]:
                os.read(_answers[0], 1)


def is_guarded() -> bool:
    """Return whether the file descriptor of our own lines is another than that of libraries."""
    try:
        return sys.stderr.fileno() != 2
    except (AttributeError, OSError, ValueError):
        return False


def _start(shown: io.TextIOWrapper) -> int:
    """Start a guard of file descriptor 2, and let `sys.stderr` write past it; return its process id."""
    reading, writing = os.pipe()
    answers, answering = os.pipe()
    true = os.dup(2)
    try:
        guard = os.fork()
    except OSError:
        for each in (reading, writing, answers, answering, true):
            os.close(each)
        raise
    if guard == 0:
        _run(reading, true, answering)
    os.dup2(writing, 2)
    for each in (reading, writing, answering):
        os.close(each)
    _answers[0] = answers
    own = open(true, "w", encoding=shown.encoding, errors=shown.errors, buffering=1)  # noqa: SIM115
    sys.stderr = own
    return guard


def _run(reading: int, true: int, answering: int) -> None:
    """Be the guard: it ends when nobody can write to the pipe any more."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        # Also the locks and pipes of whoever started the command.
        kept = sorted((reading, true, answering))
        for before, after in zip([-1, *kept], [*kept, _MAX_DESCRIPTORS], strict=True):
            os.closerange(before + 1, after)
        lines = Lines()
        for text in lines.take(_read_lines(reading)):
            with contextlib.suppress(OSError):  # the terminal is gone: go on, or those who write would wait
                if text is None:
                    os.write(answering, b"\n")
                else:
                    os.write(true, f"{text}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(0)


def _read_lines(reading: int) -> Iterator[bytes]:
    """Yield the lines of a pipe as they come, one that never ends in pieces."""
    rest = b""
    while data := os.read(reading, _MAX_LINE):
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > _MAX_LINE:
            lines.append(rest)
            rest = b""
        yield from lines
    if rest:
        yield rest


def _wait_for(guard: int) -> None:
    """Wait until the guard has shown all and ended, but not for ever."""
    latest, pause = time.monotonic() + _PATIENCE_S, 0.0005
    with contextlib.suppress(OSError):  # somebody has waited for all children
        while os.waitpid(guard, os.WNOHANG) == (0, 0) and time.monotonic() < latest:
            time.sleep(pause)
            pause = min(2 * pause, 0.05)


@dataclass
class _Kind:
    """What is the same but for numbers, and how often it came."""

    example: str
    n: int = 0
    files: list[str] = field(default_factory=list)
    hashes: set[int] = field(default_factory=set)


class Lines:
    """Chooses what is shown of lines of libraries."""

    def __init__(self) -> None:
        self._complaints: dict[tuple[str, str], _Kind] = {}
        self._seen: set[str] = set()
        self._repeated: _Kind | None = None
        self._log: dict[str, str] = {}  # the first line of each kind
        self._logged: _Kind | None = None

    def take(self, lines: Iterable[bytes]) -> Iterator[str | None]:
        """Yield each line of text made safe, but not what was there before, and at their end a summary of the rest.

        Where the command ends, the summary comes at once, and None after it.
        """
        has_ended = False
        for line in lines:
            if line == _END:
                yield from self._summarize()
                yield None
                has_ended = True
                continue
            complaint = Complaint.decode(line)
            if complaint is not None:
                self._count(complaint)
                continue
            text = escape(line.replace(MARK, b"").decode(errors="backslashreplace").replace("\t", "    ").rstrip())
            if _LOG.match(text):
                if len(self._log) < _MAX_KEPT:
                    self._log.setdefault(_NUMBERS.sub("0", text), text)
                if not _INFO.match(text):
                    self._logged = self._logged or _Kind(text)
                    self._logged.n += 1
            elif text and (_TRACEBACK.match(text) or self._is_new(text)):
                yield text
        if not has_ended:  # it may be why
            yield from self._log.values()
            self._logged = None
        yield from self._summarize()

    def _summarize(self) -> Iterator[str]:
        """Yield the notices, and begin to count anew."""
        notices = self.list_notices()
        self._complaints, self._logged, self._repeated = {}, None, None
        yield from (escape(str(notice)) for notice in notices)

    def _is_new(self, text: str) -> bool:
        kind = _NUMBERS.sub("0", text)
        if kind in self._seen:
            self._repeated = self._repeated or _Kind(text)
            self._repeated.n += 1
            return False
        if len(self._seen) < _MAX_KINDS:
            self._seen.add(kind)
        return True

    def _count(self, complaint: Complaint) -> None:
        key = complaint.library, _NUMBERS.sub("0", complaint.text)
        if key not in self._complaints and len(self._complaints) >= _MAX_KINDS:
            return
        kind = self._complaints.setdefault(key, _Kind(complaint.text))
        name = hash(complaint.file)
        if not complaint.file or name not in kind.hashes:
            kind.n += 1
        if complaint.file and len(kind.hashes) < _MAX_FILES:
            is_new = name not in kind.hashes
            kind.hashes.add(name)
            if is_new:  # the first by name, whatever the order of threads
                kind.files = sorted([*kind.files, complaint.file])[:N_EXAMPLES]

    def list_notices(self) -> list[Notice]:
        """Tell what libraries complained about, each thing once, and how many lines were left out."""
        notices = [
            Notice(
                what=f"{library} says: {kind.example}",
                n=kind.n,
                unit="file" if kind.files else "time",
                examples=tuple(kind.files),
                remedy="Look at these files."
                if kind.files
                else "The command went on; report it if the result looks wrong.",
            )
            for (library, _), kind in self._complaints.items()
        ]
        remedy = f"Set {VARIABLE}=raw in the environment to see all."
        for what, kind in (
            ("lines of the logs of libraries are not shown", self._logged),
            ("lines of libraries are not shown again", self._repeated),
        ):
            if kind is not None:
                examples = (kind.example.rstrip("."),)
                notices.append(Notice(what=what, n=kind.n, unit="line", examples=examples, remedy=remedy))
        return notices
