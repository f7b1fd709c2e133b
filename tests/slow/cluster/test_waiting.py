"""A cluster that nobody works on any longer: it is said, it ends, and Ctrl-C ends it at once."""

import signal
import time
from pathlib import Path

import pytest
from distributed import LocalCluster

from hpa_data.system.executor import Parallelism, run_tasks
from hpa_data.system.threads import ThreadTeam
from tests.slow.cluster.commands import Cluster, assert_done, assert_one_line, convert, wait_for_shards

pytestmark = pytest.mark.slow


def test_workers_that_are_all_gone_are_waited_for_with_words_and_not_for_ever(
    source: Path, local: Path, cluster: Cluster, tmp_path: Path
) -> None:
    store = tmp_path / "a.zarr"
    command = convert(source, store, "--scheduler", cluster.address, "--worker-timeout", "100")
    wait_for_shards(command, store, 3)
    for name in ("a", "b", "c"):
        cluster.kill(name)
    assert_one_line(command, f"the Dask cluster at {cluster.address} has no worker, for 10")
    assert sum("has no worker" in line for _, line in command.lines) == 3  # after 30 and 85 s, and at the end
    command = convert(source, store, "--scheduler", cluster.address, "--worker-timeout", "20")
    assert_one_line(command, "it has no workers, for 20 s now. Start one with")
    cluster.start("d", "e")
    assert_done(convert(source, store, "--scheduler", cluster.address), store, local)


def test_workers_that_come_back_are_used(source: Path, local: Path, cluster: Cluster, tmp_path: Path) -> None:
    store = tmp_path / "a.zarr"
    command = convert(source, store, "--scheduler", cluster.address)
    wait_for_shards(command, store, 3)
    for name in ("a", "b", "c"):
        cluster.kill(name)
    time.sleep(35)
    cluster.start("d")
    assert_done(command, store, local)
    assert any("has no worker, for 30 s now. Start one with `dask worker" in line for _, line in command.lines)


@pytest.mark.parametrize("how", ["stopped", "gone", "working", "scheduler stopped"])
def test_ctrl_c_ends_a_command_at_once_whatever_the_workers_do(
    source: Path, local: Path, cluster: Cluster, tmp_path: Path, how: str
) -> None:
    store = tmp_path / "a.zarr"
    command = convert(source, store, "--scheduler", cluster.address)
    wait_for_shards(command, store, 2)
    for name in ("a", "b", "c"):
        if how == "stopped":
            cluster.signal(name, signal.SIGSTOP)
        elif how == "gone":
            cluster.kill(name)
    if how == "scheduler stopped":
        cluster.scheduler.send_signal(signal.SIGSTOP)
    if how != "working":  # which would be done by then
        time.sleep(2)
    pressed = time.monotonic()
    command.process.send_signal(signal.SIGINT)
    assert command.end(60) == 130, command.errors
    print(f"{how}: ended {time.monotonic() - pressed:.1f} s after Ctrl-C")
    assert "Traceback" not in command.errors
    for name in cluster.workers:
        cluster.signal(name, signal.SIGCONT)
    assert_done(convert(source, store), store, local)


def test_workers_that_are_all_paused_are_named_with_the_reason(source: Path, lonely: Cluster, tmp_path: Path) -> None:
    """Their memory limit is below what they take already."""
    lonely.start("a", options=("--memory-limit", "100MB"))
    time.sleep(2)
    command = convert(source, tmp_path / "a.zarr", "--scheduler", lonely.address, "--worker-timeout", "40")
    assert_one_line(command, "(1 is paused, because its memory is nearly full), for 4")
    assert any(line.startswith("Warning: ") and "for 30 s now" in line for _, line in command.lines)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_scheduler_that_ends_is_named_in_one_line(
    source: Path, local: Path, cluster: Cluster, tmp_path: Path, number: int
) -> None:
    store = tmp_path / "a.zarr"
    command = convert(source, store, "--scheduler", cluster.address)
    wait_for_shards(command, store, 2)
    cluster.scheduler.send_signal(number)
    assert_one_line(command, f"the connection to the scheduler at {cluster.address} is lost")
    assert_done(convert(source, store), store, local)


def test_a_scheduler_that_does_not_answer_is_given_up(source: Path, cluster: Cluster, tmp_path: Path) -> None:
    store = tmp_path / "a.zarr"
    command = convert(source, store, "--scheduler", cluster.address, "--worker-timeout", "40")
    wait_for_shards(command, store, 2)
    cluster.scheduler.send_signal(signal.SIGSTOP)
    assert_one_line(command, f"the scheduler at {cluster.address} does not answer, for 4")


def test_a_suspended_worker_is_left_for_others_within_a_minute(
    source: Path, local: Path, cluster: Cluster, tmp_path: Path
) -> None:
    store = tmp_path / "a.zarr"
    command = convert(source, store, "--scheduler", cluster.address)
    wait_for_shards(command, store, 2)
    cluster.signal("b", signal.SIGSTOP)
    assert_done(command, store, local)
    assert any("does not answer; its tasks go to others, " in line for _, line in command.lines)
    cluster.signal("b", signal.SIGCONT)


def test_tasks_follow_an_adaptive_cluster_as_it_grows_and_shrinks() -> None:
    seen: list[int] = []
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as adaptive:
        adaptive.adapt(minimum=1, maximum=3, interval="200ms", wait_count=2)
        run_tasks(
            work,
            list(range(30)),
            workers=Parallelism(scheduler=adaptive.scheduler_address),
            on_done=lambda task: seen.append(len(adaptive.scheduler.workers)),
        )
        assert len(seen) == 30
        assert max(seen) == 3
        deadline = time.monotonic() + 60
        while len(adaptive.scheduler.workers) > 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(adaptive.scheduler.workers) == 1
    print(f"workers at the end of each task: {seen}")


def work(task: int, threads: ThreadTeam) -> None:
    time.sleep(1)
