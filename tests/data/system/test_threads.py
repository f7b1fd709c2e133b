"""Threads share a job, raise its errors, and end in every way a process or an object ends."""

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
@given(n_threads=st.integers(1, 5), sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_each_item_of_each_job_is_processed_once(n_threads: int, sizes: list[int]) -> None:
    with ThreadTeam(n_threads) as threads:
        processed: list[list[int]] = [[] for _ in sizes]
        jobs = [threads.start(items.append, n_items) for items, n_items in zip(processed, sizes, strict=True)]
        for job, items, n_items in zip(jobs, processed, sizes, strict=True):
            job.result()
            job.result()
            assert sorted(items) == list(range(n_items))


@settings(deadline=None, max_examples=50)
@given(n_threads=st.integers(1, 5), items=st.lists(st.integers(), max_size=30))
def test_map_gives_results_in_order(n_threads: int, items: list[int]) -> None:
    with ThreadTeam(n_threads) as threads:
        assert list(threads.map(str, items)) == list(map(str, items))


def test_map_raises_the_first_error_and_skips_what_has_not_started() -> None:
    started: list[int] = []
    failed = threading.Event()

    def invert(number: int) -> float:
        started.append(number)
        if number > 1:
            failed.wait()
        return 1 / number

    with ThreadTeam(2) as threads:
        results = threads.map(invert, [1, 0, *range(2, 100)])
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)
        failed.set()
    assert len(started) <= 4  # each thread had one more at most


def test_an_error_of_an_item_is_raised_by_result() -> None:
    threads = ThreadTeam(2)
    others: list[int] = []

    def process(item: int) -> None:
        if item == 3:
            raise ValueError("item 3 failed")
        others.append(item)

    job = threads.start(process, 10)
    for _ in range(2):
        with pytest.raises(ValueError, match="item 3 failed"):
            job.result()
    threads.start(others.append, 1).result()  # the threads continue
    threads.close()


def test_closing_waits_for_started_jobs_and_ends_the_threads() -> None:
    before = threading.active_count()
    threads = ThreadTeam(3)
    done: list[int] = []

    def process(item: int) -> None:
        time.sleep(0.02)
        done.append(item)

    threads.start(process, 9)
    threads.close()
    threads.close()
    assert len(done) == 9
    assert threading.active_count() == before


def test_threads_start_again_after_a_fork() -> None:
    threads = ThreadTeam(2)
    held = threading.Event()
    threads.start(lambda _: held.wait(), 1)  # continues in the parent only
    with threads._lock:  # as another thread may at the moment of the fork
        child = os.fork()
    if child == 0:
        done: list[int] = []
        threads.start(done.append, 9).result()
        threads.close()
        os._exit(0 if sorted(done) == list(range(9)) else 1)
    assert os.waitpid(child, 0)[1] == 0
    held.set()
    threads.close()


def test_threads_end_when_their_team_is_collected() -> None:
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
    pytest.fail("the threads have not ended")


def test_python_exits_after_started_jobs_and_starts_no_others() -> None:
    # TensorFlow asks for batches until it releases its pipelines, last of all.
    script = """
        import atexit, time

        done, started = [], []

        def ask_late():
            started[0].result()
            print(len(done), "done")
            try:
                threads.start(done.append, 4).result()
            except ValueError as error:
                print(error)

        atexit.register(ask_late)
        from hpa_data.system.threads import ThreadTeam

        def process(item):
            time.sleep(0.02)
            done.append(item)

        threads = ThreadTeam(2)
        started.append(threads.start(process, 9))
        """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout.startswith("9 done\nCannot start a job: the threads are closed.")
    assert not ended.stderr


def test_threads_that_the_system_does_not_start_are_told_and_the_others_end() -> None:
    code = (
        "import resource\n"
        "from hpa_data.system.threads import ThreadTeam\n"
        "pages = int(open('/proc/self/statm').read().split()[0])\n"
        "resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 30 * 2**20,) * 2)\n"
        "ThreadTeam(100).start(print, 100)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.endswith("RuntimeError: can't start new thread\n")
    assert "atexit" not in ended.stderr
