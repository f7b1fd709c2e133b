"""Workers of a cluster prove that they are like the client before they get a task."""

import os
from pathlib import Path

import pytest
from distributed import LocalCluster

from hpa_data.errors import InputError
from hpa_data.system.cluster import check_workers, describe_differences, find_differences, open_client
from hpa_data.system.worker import Mark, describe_folder, describe_process, prove
from tests.workers import copy_code, ended_afterwards, start_worker, wait_for_workers


def test_workers_of_another_version_without_hpa_or_on_another_disk_are_named_with_what_differs(tmp_path: Path) -> None:
    merge = "cv2.merge(channels, merged)\n"
    other = copy_code(tmp_path / "code", "sources/samples.py", merge, f"{merge}    merged += 1\n")
    # Each process sees its own folder under this path.
    place = "/proc/self/cwd"
    with (
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        ended_afterwards(
            start_worker(cluster.scheduler_address, "alike", tmp_path),
            start_worker(cluster.scheduler_address, "altered", tmp_path, code=other),
            start_worker(cluster.scheduler_address, "bare", tmp_path, code=None),
            start_worker(cluster.scheduler_address, "elsewhere", tmp_path, cwd=tmp_path),
        ),
        open_client(cluster.scheduler_address) as client,
    ):
        workers = wait_for_workers(client, 4)
        found = find_differences(client, workers.values(), [place])
        assert workers["alike"] not in found
        ours = describe_process()["code of hpa_data"]
        assert f", here {ours}. Install the same there" in found[workers["altered"]].text
        assert found[workers["altered"]].text.startswith("has code of hpa_data ")
        assert found[workers["bare"]].text.startswith("cannot run hpa: No module named 'hpa_data'. Install hpa ")
        assert found[workers["elsewhere"]].text == f"sees another disk at {place}. Use a path on a shared disk."
        with pytest.raises(InputError, match=r"^Cannot use the Dask cluster at tcp://\S+: worker tcp://\S+ .*refused"):
            check_workers(client, cluster.scheduler_address, [place])
    assert not [name for name in os.listdir() if name.endswith(".part")]


def test_a_folder_that_can_only_be_read_is_compared_by_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"1")
    mark = Mark(str(tmp_path), "", describe_folder(str(tmp_path)))
    assert prove([mark])[1] == []
    (tmp_path / "a.png").write_bytes(b"22")
    assert prove([mark])[1] == [f"sees another disk at {tmp_path}"]


def test_differences_are_listed_in_one_line() -> None:
    ours = {"hpa": "1", "numpy": "2.2", "zarr": "3", "pillow": "1", "scipy": "1"}
    assert describe_differences(ours, ours) == ""
    assert describe_differences(ours | {"numpy": "2.1"}, ours) == "has numpy 2.1, here 2.2"
    assert describe_differences({"hpa": "1"}, ours) == (
        "has numpy missing, here 2.2; zarr missing, here 3; pillow missing, here 1; 1 more differences"
    )
