"""The first Ctrl-C or SIGTERM waits for the end of a block, the second one does not."""

import io
import logging
import signal
import sys
import threading
import time
from typing import Any

import pytest

from hpa_data.system.interrupts import SIGNALS, defer_interrupt, interrupted_by, interrupts_as_exceptions


def interrupt(reached: list[str], *, times: int, error: Exception | None = None, number: int = signal.SIGINT) -> None:
    """Interrupt a block a number of times, and end it with an error if there is one."""
    with defer_interrupt("stopping") as interrupts:
        assert not interrupts.requested
        for _ in range(times):
            signal.raise_signal(number)
            assert interrupts.requested
        reached.append("end")
        if error is not None:
            raise error


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_interrupt_is_raised_when_the_block_ends_with_its_signal(
    number: int, caplog: pytest.LogCaptureFixture
) -> None:
    reached: list[str] = []
    before = list(map(signal.getsignal, SIGNALS))
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt) as raised:
        interrupt(reached, times=1, number=number)
    assert interrupted_by(raised.value) == number
    assert reached == ["end"]
    assert caplog.messages == ["stopping"]
    assert list(map(signal.getsignal, SIGNALS)) == before


def test_sigterm_raises_what_ctrl_c_raises() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt) as raised, interrupts_as_exceptions():
        signal.raise_signal(signal.SIGTERM)
    assert interrupted_by(raised.value) == signal.SIGTERM
    assert interrupted_by(KeyboardInterrupt()) == signal.SIGINT
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", SIGNALS)
def test_an_interrupt_that_python_drops_comes_again(number: int) -> None:
    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(number)

    def finalize() -> None:
        Finalized()
        time.sleep(60)

    with pytest.raises(KeyboardInterrupt) as raised, interrupts_as_exceptions():
        finalize()
    assert interrupted_by(raised.value) == number


def test_the_second_interrupt_is_raised_at_once() -> None:
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupt(reached, times=2)
    assert not reached


def test_a_block_without_an_interrupt_raises_nothing() -> None:
    reached: list[str] = []
    interrupt(reached, times=0)
    assert reached == ["end"]


def test_an_interrupt_while_a_line_is_written_ends_nothing_and_its_message_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Interrupted(io.RawIOBase):
        """A file that Ctrl-C is pressed at, while it is written to."""

        written = b""

        def writable(self) -> bool:
            return True

        def write(self, content: Any) -> int:
            first = not self.written
            self.written += bytes(content)
            if first:
                signal.raise_signal(signal.SIGINT)
            return len(content)

    file = Interrupted()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(io.BufferedWriter(file), write_through=True))
    handler = logging.StreamHandler(sys.stderr)
    handler.handleError = lambda _: reraise()  # type: ignore[method-assign]
    logger = logging.getLogger("hpa_data.system.interrupts")
    monkeypatch.setattr(logger, "handlers", [handler])
    with pytest.raises(KeyboardInterrupt), defer_interrupt("Stopping."):  # noqa: PT012
        print("a line", file=sys.stderr, flush=True)
        deadline = time.monotonic() + 60
        while b"Stopping." not in file.written and time.monotonic() < deadline:
            time.sleep(0.01)
            sys.stderr.flush()
    assert file.written.split() == [b"a", b"line", b"Stopping."]


def reraise() -> None:
    """Raise what a handler of log lines would print."""
    raise  # noqa: PLE0704 - called while it is handled


def test_another_error_takes_precedence() -> None:
    with pytest.raises(ZeroDivisionError):
        interrupt([], times=1, error=ZeroDivisionError())


def test_other_threads_receive_no_interrupts() -> None:
    handlers: list[object] = []

    def run() -> None:
        with defer_interrupt() as interrupts:
            handlers.append(signal.getsignal(signal.SIGINT))
            assert not interrupts.requested

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [before]
