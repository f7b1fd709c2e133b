"""Commands against servers that misbehave for minutes, with the limits that users have; for `make test-slow`."""

import itertools
import json
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from hpa_data.store.store import Store
from tests.builders import HPA, hpa_process
from tests.web_server import Handler, web_server

pytestmark = pytest.mark.slow

MIB = 2**20
# Words on the screen must not be farther apart, in seconds.
SILENCE_S = 60.0


@dataclass
class Watched:
    """A command in a process of its own, its words with their times, and its largest memory."""

    words: tuple[str, ...]
    after: Callable[[subprocess.Popen[str]], None] = lambda _: None
    said: list[tuple[float, str]] = field(default_factory=list)
    peak_bytes: int = 0
    status: int = 0
    out: str = ""
    seconds: float = 0.0

    def run(self) -> "Watched":
        began = time.monotonic()
        with subprocess.Popen([HPA, *self.words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            listener = threading.Thread(target=self._listen, args=(process,))
            watcher = threading.Thread(target=self._watch, args=(process,))
            listener.start()
            watcher.start()
            self.after(process)
            assert process.stdout
            self.out = process.stdout.read()
            self.status = process.wait(timeout=900)
            listener.join()
            watcher.join()
        self.seconds = time.monotonic() - began
        return self

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr
        for line in process.stderr:
            self.said.append((time.monotonic(), line.rstrip()))

    def _watch(self, process: "subprocess.Popen[str]") -> None:
        while process.poll() is None:
            try:
                self.peak_bytes = max(self.peak_bytes, psutil.Process(process.pid).memory_info().rss)
            except psutil.Error:
                return
            time.sleep(0.02)

    @property
    def last(self) -> str:
        """The last line."""
        return self.said[-1][1]

    def longest_silence(self) -> float:
        """Return the seconds between the first word and the last that were the longest without one."""
        times = [when for when, _ in self.said]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)


def of_images(handler: Handler) -> bool:
    return "/images/c/" in handler.path


def stall(_: Handler) -> bool:
    time.sleep(1000)
    return True


def stats(url: str, *options: str) -> Watched:
    return Watched(("stats", url, "--part", "train", "--json", *options))


def test_a_server_that_throttles_for_two_minutes_is_waited_for_with_words(store: Store) -> None:
    _, expected, _ = hpa_process("stats", store.path, "--part", "train", "--json")
    ends = time.monotonic() + 120

    def throttle(handler: Handler) -> bool:
        return of_images(handler) and time.monotonic() < ends and handler.answer(503)

    with web_server(store.path, throttle) as (url, _):
        watched = stats(url).run()
    assert watched.status == 0
    assert json.loads(watched.out) == json.loads(expected) | {"store": url}
    assert watched.longest_silence() < SILENCE_S
    assert any("overloaded" in line for _, line in watched.said)


@pytest.mark.parametrize("when", ["at once", "of images", "in the body"])
def test_a_server_that_stalls_is_named_while_it_is_waited_for_and_given_up(store: Store, when: str) -> None:
    def misbehave(handler: Handler) -> bool:
        if when != "at once" and not of_images(handler):
            return False
        if when == "in the body":
            handler.answer(206, b"x", handler.describe_range())
        return stall(handler)

    with web_server(store.path, misbehave) as (url, _):
        watched = stats(url, "--retry-minutes", "1.5").run()
    assert watched.status == 2
    assert "it does not answer, or its data stall (limit 30 s)" in watched.last
    assert watched.longest_silence() < SILENCE_S
    assert any(f"Waiting for {url.removeprefix('http://')}, " in line for _, line in watched.said)
    assert watched.seconds < 240


def test_resets_are_repeated_until_all_is_read(store: Store) -> None:
    _, expected, _ = hpa_process("stats", store.path, "--part", "train", "--json")
    calls = iter(range(10**6))
    with web_server(store.path, lambda handler: next(calls) % 3 == 0 and handler.reset()) as (url, _):
        watched = stats(url).run()
    assert watched.status == 0
    assert json.loads(watched.out) == json.loads(expected) | {"store": url}


@pytest.mark.parametrize("when", ["at once", "of images"])
@pytest.mark.parametrize("form", ["chunked", "until it is closed", "with a length"])
def test_data_without_end_leave_the_memory_as_it_is(store: Store, form: str, when: str) -> None:
    headers = {
        "chunked": {"Content-Length": "", "Transfer-Encoding": "chunked"},
        "until it is closed": {"Content-Length": "", "Connection": "close"},
        "with a length": {"Content-Length": str(2**40)},
    }[form]

    def misbehave(handler: Handler) -> bool:
        if when != "at once" and not of_images(handler):
            return False
        handler.answer(200, b"", headers)
        piece = bytes(MIB)
        return handler.send_for_ever(b"100000\r\n" + piece + b"\r\n" if form == "chunked" else piece)

    with web_server(store.path) as (url, _):
        usual = stats(url).run()
    with web_server(store.path, misbehave) as (url, _):
        watched = stats(url).run()
    assert watched.status == 2
    assert "bytes are expected" in watched.last
    print(f"{form}, {when}: {watched.peak_bytes / MIB:.0f} MiB, usually {usual.peak_bytes / MIB:.0f} MiB")
    assert watched.peak_bytes < usual.peak_bytes + 100 * MIB


@pytest.mark.parametrize("command", ["stats", "preview", "train"])
def test_an_interrupt_ends_a_wait_at_once(store: Store, command: str, tmp_path: Path) -> None:
    asked = threading.Event()

    def misbehave(handler: Handler) -> bool:
        return of_images(handler) and (asked.set() or stall(handler))

    def interrupt(process: "subprocess.Popen[str]") -> None:
        assert asked.wait(120)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        interrupted.append(time.monotonic())

    interrupted: list[float] = []
    out = {"preview": tmp_path / "a.png", "train": tmp_path / "run"}
    more = ["--out", str(out[command])] if command in out else []
    more += ["--folds", "2", "--epochs", "1"] if command == "train" else []
    with web_server(store.path, misbehave) as (url, _):
        watched = Watched((command, url, "--part", "train", *more), interrupt).run()
    assert watched.status == 130
    assert time.monotonic() - interrupted[0] < 15  # not the 30 s of the limit, nor the minutes of the attempts
