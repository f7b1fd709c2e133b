"""Threads that do a job together."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpa_data.system.threads import ThreadTeam


@settings(deadline=None, max_examples=50)
@given(n_threads=st.integers(1, 5), turns=st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_each_turn_of_each_job_is_done_once(n_threads: int, turns: list[int]) -> None:
    threads = ThreadTeam(n_threads)
    done: list[list[int]] = [[] for _ in turns]
    jobs = [threads.start(own.append, n_turns) for own, n_turns in zip(done, turns, strict=True)]
    for job, own, n_turns in zip(jobs, done, turns, strict=True):
        job.result()
        job.result()
        assert sorted(own) == list(range(n_turns))
    threads.close()


def test_what_goes_wrong_is_raised_where_it_is_waited_for() -> None:
    threads = ThreadTeam(2)
    others: list[int] = []

    def work(turn: int) -> None:
        if turn == 3:
            raise ValueError("no such luck")
        others.append(turn)

    job = threads.start(work, 10)
    for _ in range(2):
        with pytest.raises(ValueError, match="no such luck"):
            job.result()
    threads.start(others.append, 1).result()  # the threads live on
    threads.close()


def test_closing_waits_for_what_was_begun_and_ends_the_threads() -> None:
    before = threading.active_count()
    threads = ThreadTeam(3)
    done: list[int] = []

    def work(turn: int) -> None:
        time.sleep(0.02)
        done.append(turn)

    threads.start(work, 9)
    threads.close()
    threads.close()
    assert len(done) == 9
    assert threading.active_count() == before


def test_threads_begin_anew_after_a_fork() -> None:
    threads = ThreadTeam(2)
    held = threading.Event()
    threads.start(lambda _: held.wait(), 1)  # goes on in the parent alone
    with threads._lock:  # as another thread may at that moment
        child = os.fork()
    if child == 0:
        done: list[int] = []
        threads.start(done.append, 9).result()
        threads.close()
        os._exit(0 if sorted(done) == list(range(9)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    held.set()
    threads.close()


def test_threads_end_when_nobody_has_them_any_more() -> None:
    def count() -> int:
        return sum(thread.name.startswith("forgotten-") for thread in threading.enumerate())

    threads = ThreadTeam(3, name="forgotten")
    assert count() == 0
    threads.start(lambda _: None, 3).result()
    assert count() == 3
    del threads
    gc.collect()
    for _ in range(100):
        if not count():
            return
        time.sleep(0.02)
    pytest.fail("threads are still there")


def test_python_ends_after_what_was_begun_and_begins_nothing_more() -> None:
    # As TensorFlow does, which asks for batches until it lets go of its pipelines, the last of all.
    script = """
        import atexit, time

        done, begun = [], []

        def ask_late():
            begun[0].result()
            print(len(done), "done")
            try:
                threads.start(done.append, 4).result()
            except ValueError as error:
                print(error)

        atexit.register(ask_late)
        from hpa_data.system.threads import ThreadTeam

        def work(turn):
            time.sleep(0.02)
            done.append(turn)

        threads = ThreadTeam(2)
        begun.append(threads.start(work, 9))
        """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.startswith("9 done\nCannot start a job: the threads are closed.")
    assert not ended.stderr
