"""Workers of a cluster are killed, suspended, unlike this process, or elsewhere.

The store has the bytes of a local conversion in the end, or the command ends with one clear line. It is never silent
for more than a minute.
"""

import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from hpa_data.dataset import HPA_2018
from hpa_data.sources.options import ImportOptions
from hpa_data.system.executor import Parallelism
from tests import builders
from tests.builders import assert_same_bytes, write_sample
from tests.slow.cluster.commands import (
    N_SHARDS,
    QUICKLY,
    Cluster,
    assert_done,
    assert_one_line,
    convert,
    count_shards,
    wait_for_shards,
)
from tests.workers import copy_code

pytestmark = pytest.mark.slow


def test_a_cluster_writes_what_one_process_writes(source: Path, local: Path, cluster: Cluster, tmp_path: Path) -> None:
    assert_done(convert(source, tmp_path / "a.zarr", "--scheduler", cluster.address), tmp_path / "a.zarr", local)


def test_twenty_killed_workers_change_nothing(source: Path, local: Path, cluster: Cluster, tmp_path: Path) -> None:
    """A worker is killed at random moments, and another one takes its place."""
    rng = random.Random(0)
    n_kills = 0
    for attempt in range(20):
        store = tmp_path / f"{attempt}.zarr"
        command = convert(source, store, "--scheduler", cluster.address)
        wait_for_shards(command, store, 1)
        while command.process.poll() is None and n_kills < 20:
            name = rng.choice(sorted(cluster.workers))
            cluster.kill(name)
            n_kills += 1
            cluster.start(name)
            time.sleep(rng.random())
        assert_done(command, store, local)
        if n_kills == 20:
            break
    assert n_kills == 20


def test_a_killed_command_is_resumed_and_the_tasks_that_it_left_write_nothing(
    source: Path, local: Path, cluster: Cluster, tmp_path: Path
) -> None:
    rng = random.Random(1)
    store = tmp_path / "a.zarr"
    for _ in range(5):
        command = convert(source, store, "--scheduler", cluster.address)
        wait_for_shards(command, store, min(count_shards(store) + 1, N_SHARDS - 2))
        time.sleep(rng.random() * 0.3)
        command.process.kill()
        command.end()
    assert_done(convert(source, store, "--scheduler", cluster.address), store, local)


@pytest.mark.parametrize("seed", range(4))
def test_a_worker_that_is_suspended_and_wakes_late_changes_nothing(
    source: Path, local: Path, cluster: Cluster, tmp_path: Path, seed: int
) -> None:
    """It is stopped at a random moment, and wakes during the command, after it, or during or after another one."""
    rng = random.Random(seed)
    store = tmp_path / "a.zarr"
    first = convert(source, store, "--scheduler", cluster.address, prelude=QUICKLY)
    wait_for_shards(first, store, rng.randrange(1, N_SHARDS - 3))
    time.sleep(rng.random())
    cluster.signal("a", signal.SIGSTOP)
    wakes = ("during", "after", "during another", "after another")[seed % 4]
    if wakes == "during":
        time.sleep(rng.random() * 8)
        cluster.signal("a", signal.SIGCONT)
        assert_done(first, store, local)
        return
    if wakes == "after":
        assert_done(first, store, local)
    else:
        first.process.kill()
        first.end()
        second = convert(source, store, "--scheduler", cluster.address, prelude=QUICKLY)
        # A worker that does not answer is refused at the beginning; the others go on without it.
        assert_one_line(second, "has not answered for 30 s. Stop it, or start it again.")
        second = convert(source, store)
        if wakes == "during another":
            time.sleep(rng.random() * 4)
            cluster.signal("a", signal.SIGCONT)
        assert_done(second, store, local)
    cluster.signal("a", signal.SIGCONT)
    time.sleep(3)
    assert_same_bytes(local, store)


def test_twenty_suspended_workers_that_wake_at_random_moments_change_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Small images: the moments fall into every step of writing a shard, not only into decoding."""
    monkeypatch.setattr("hpa_data.system.watch.SILENCE_S", 1.5)
    monkeypatch.setattr("hpa_data.system.placement._PATIENCE_S", 1.0)
    rng = random.Random(5)
    images = [rng.randbytes(64 * 64 * 4) for _ in range(5)]
    for index, image in enumerate(images):
        write_sample(tmp_path / "first", f"a{index}", np.frombuffer(image, np.uint8).reshape(64, 64, 4))
    small = tmp_path / "small"
    small.mkdir()
    for index in range(30 * 64):
        for channel in HPA_2018.channel_names:
            os.link(tmp_path / "first" / f"a{index % 5}_{channel}.png", small / f"s{index:04}_{channel}.png")
    settings = ImportOptions(native=True)
    builders.convert(small, tmp_path / "local.zarr", settings=settings)
    slept: list[float] = []
    for number in range(20):
        store = tmp_path / f"{number}.zarr"

        def suspend(store: Path = store) -> None:
            while count_shards(store) < rng.randrange(1, 25):
                time.sleep(0.002)
            time.sleep(rng.random() * 0.2)
            cluster.signal("a", signal.SIGSTOP)
            slept.append(rng.choice([0.5, 2.0, 4.0, 8.0]))
            time.sleep(slept[-1])
            cluster.signal("a", signal.SIGCONT)

        sleeping = threading.Thread(target=suspend)
        sleeping.start()
        builders.convert(small, store, settings=settings, workers=Parallelism(scheduler=cluster.address))
        assert_same_bytes(tmp_path / "local.zarr", store)
        sleeping.join()
        time.sleep(1)
        assert_same_bytes(tmp_path / "local.zarr", store)
    print(f"slept {slept} s; {caplog.text.count('its tasks go to others')} times left for others")


def test_workers_unlike_this_process_are_refused_before_anything_is_written(
    source: Path, cluster: Cluster, tmp_path: Path
) -> None:
    merge = "cv2.merge(channels, merged)\n"
    other = copy_code(tmp_path / "code", "sources/samples.py", merge, f"{merge}    merged += 1\n")
    for name, options, message in (
        ("other version", {"code": other}, " has code of hpa_data "),
        ("without hpa", {"code": None}, " cannot run hpa: No module named 'hpa_data'. Install hpa "),
    ):
        cluster.start(name, **options)
        command = convert(source, tmp_path / "a.zarr", "--scheduler", cluster.address)
        assert_one_line(command, message)
        assert not (tmp_path / "a.zarr").exists()
        cluster.kill(name)


def test_a_worker_on_another_disk_is_refused(source: Path, lonely: Cluster, tmp_path: Path) -> None:
    """Each process sees its own folder under /proc/self/cwd, as each machine does under /data."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    lonely.start("a", "b", cwd=tmp_path / "here")
    store = "/proc/self/cwd/a.zarr"
    good = convert(source, store, "--scheduler", lonely.address, cwd=tmp_path / "here")
    assert good.end() == 1, good.errors
    lonely.start("c", cwd=tmp_path / "there")
    command = convert(source, store, "--overwrite", "--scheduler", lonely.address, cwd=tmp_path / "here")
    assert_one_line(command, " does not see /proc/self/cwd/a.zarr. Use a path on a shared disk.")
    (tmp_path / "there" / "a.zarr").mkdir()
    command = convert(source, store, "--overwrite", "--scheduler", lonely.address, cwd=tmp_path / "here")
    assert_one_line(command, " sees another disk at /proc/self/cwd/a.zarr. Use a path on a shared disk.")
    assert os.listdir(tmp_path / "there" / "a.zarr") == []


def test_a_worker_that_joins_late_proves_what_it_is(source: Path, local: Path, lonely: Cluster, tmp_path: Path) -> None:
    """One that is alike gets tasks; others are told about in a line, and get none."""
    merge = "cv2.merge(channels, merged)\n"
    other = copy_code(tmp_path / "code", "sources/samples.py", merge, f"{merge}    merged += 1\n")
    store = tmp_path / "a.zarr"
    lonely.start("first")
    command = convert(source, store, "--scheduler", lonely.address)
    wait_for_shards(command, store, 1)
    lonely.start("other version", code=other)
    lonely.start("without hpa", code=None)
    lonely.start("alike")
    lonely.kill("first")
    assert_done(command, store, local)
    warned = [line for _, line in command.lines if " is not used: it " in line]
    assert len(warned) == 2, command.errors
    assert any("has code of hpa_data" in line for line in warned)
    assert any("No module named 'hpa_data'" in line for line in warned)
