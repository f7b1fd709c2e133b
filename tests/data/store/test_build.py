"""Building a part: refused before anything is written, resumed, and counted."""

import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpa_data.dataset import FILLED, Sample
from hpa_data.errors import InputError
from hpa_data.store.build import PartReport, build_part
from hpa_data.store.create import PartPlan
from hpa_data.store.failures import Failure
from hpa_data.store.store import open_store
from hpa_data.system.progress import Progress
from tests.builders import draw_image


def plan_part(path: Path, **options: Any) -> PartPlan:
    return PartPlan(path=path, name="train", ids=tuple("abcd"), labels=None, settings={}, shard_samples=2, **options)


def read(index: int) -> Sample:
    if index == 1:
        raise InputError("it is damaged", file="b.png")
    if index == 3:
        return Sample(image=draw_image(index) * np.uint8([1, 1, 1, 0]), status=FILLED, filled=("yellow",))
    return Sample(image=draw_image(index), note="another color" if index == 2 else "")


def build(plan: PartPlan, **options: Any) -> PartReport:
    return build_part(plan, range(4), read, **{"expected_bytes": lambda n: n * 2**20} | options)


def test_a_report_counts_what_the_part_holds(tmp_path: Path) -> None:
    started: list[int] = []
    advanced: list[int] = []
    report = build(plan_part(tmp_path / "a"), progress=Progress(start=started.append, advance=advanced.append))
    assert (started, sum(advanced)) == ([4], 4)
    assert (report.store, report.part) == (tmp_path / "a", "train")
    assert (report.n_samples, report.n_ok, report.n_filled) == (4, 3, 1)
    assert report.failures == (Failure(id="b", file="b.png", reason="it is damaged"),)
    assert report.warnings == ("another color",)
    part = open_store(tmp_path / "a").part("train")
    assert report.n_bytes == sum(part.shard_path(shard).stat().st_size for shard in range(2))
    assert report.statistics == part.manifest.statistics


def test_building_again_writes_only_what_is_pending_or_failed(tmp_path: Path) -> None:
    first = build(plan_part(tmp_path / "a"))
    started: list[int] = []
    assert build(plan_part(tmp_path / "a"), progress=Progress(start=started.append)) == first
    assert started == [1]


def test_the_first_failure_ends_the_work_if_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it is damaged"):
        build(plan_part(tmp_path / "a"), stop_at_failure=True)
    assert open_store(tmp_path / "a").part("train").read_status()[:2].tolist() == [0, 0]


def test_a_check_that_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    def refuse() -> None:
        assert (tmp_path / "a" / ".lock").exists()  # nobody else can change the store meanwhile
        raise InputError("no")

    with pytest.raises(InputError, match="^no$"):
        build(plan_part(tmp_path / "a"), check=refuse)
    assert not (tmp_path / "a").exists()


def test_the_size_is_estimated_only_for_pending_samples_that_may_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system is asked for the free space: no small disk exists here."""
    estimated: list[int] = []

    def estimate(n_samples: int) -> int:
        estimated.append(n_samples)
        return 10**6

    usage = namedtuple("usage", ["free"])
    build(plan_part(tmp_path / "a"), expected_bytes=estimate)
    assert estimated == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=2 * 10**6))
    build(plan_part(tmp_path / "b"), expected_bytes=estimate)
    assert estimated == [4]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free=10**6 - 1))
    build(plan_part(tmp_path / "a"), expected_bytes=lambda n: 0)  # one sample of 1 MiB is pending
    with pytest.raises(InputError, match="Cannot write part 'train': it takes about 1 MB, and .* has 1 MB free"):
        build(plan_part(tmp_path / "c"), expected_bytes=estimate)
    assert not (tmp_path / "c").exists()


def test_a_part_of_the_same_name_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    build(plan_part(tmp_path / "a"))
    with pytest.raises(InputError, match="created with codec='lz4hc', and this command has codec='raw'"):
        build(plan_part(tmp_path / "a", codec="raw"))
    build(plan_part(tmp_path / "a", codec="raw"), overwrite=True)
    with open_store(tmp_path / "a").reader() as reader:
        assert np.array_equal(reader.read([0])[0], draw_image(0))
