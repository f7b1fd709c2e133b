"""The first Ctrl-C waits for the end of a block, the second one does not."""

import logging
import signal
import threading

import pytest

from hpa_data.system.interrupts import defer_interrupt


def interrupt(reached: list[str], *, times: int, error: Exception | None = None) -> None:
    """Interrupt a block a number of times, and end it with an error if there is one."""
    with defer_interrupt("stopping") as interrupts:
        assert not interrupts.requested
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
            assert interrupts.requested
        reached.append("end")
        if error is not None:
            raise error


def test_the_first_interrupt_is_raised_when_the_block_ends(caplog: pytest.LogCaptureFixture) -> None:
    reached: list[str] = []
    before = signal.getsignal(signal.SIGINT)
    with caplog.at_level(logging.WARNING), pytest.raises(KeyboardInterrupt):
        interrupt(reached, times=1)
    assert reached == ["end"]
    assert caplog.messages == ["stopping"]
    assert signal.getsignal(signal.SIGINT) == before


def test_the_second_interrupt_is_raised_at_once() -> None:
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupt(reached, times=2)
    assert not reached


def test_a_block_without_an_interrupt_raises_nothing() -> None:
    reached: list[str] = []
    interrupt(reached, times=0)
    assert reached == ["end"]


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
