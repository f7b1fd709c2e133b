"""What is wrong is found in real files."""

import json
import re
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpa_data.dataset import Channel, Dataset
from hpa_data.format.codecs import decode_shard_index
from hpa_data.store.store import Store, open_store
from hpa_model.bench.doctor.diagnosis import Diagnosis, diagnose, judge
from hpa_model.bench.doctor.disk import _list_blocks, measure_cached, measure_disk
from hpa_model.bench.doctor.facts import (
    Finding,
)
from hpa_model.bench.doctor.machine import EXTRAS, parse_gpus
from hpa_model.bench.doctor.run import examine_run
from hpa_model.bench.doctor.store import _list_shards
from tests.builders import Hpa, begin, build_store, convert_unreadable, list_files
from tests.model.bench.doctor.facts import MACHINE, check_findings

SMALL = Dataset(
    name="small",
    channels=(Channel(name="signal", role="signal"), Channel(name="other")),
    classes=("a", "b", "c"),
    height=32,
    width=32,
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Hold 40 samples, of which one is black, and two are equal with other labels. Not to be changed."""
    rng = np.random.default_rng(0)
    images = [rng.integers(1, 200, (32, 32, 2), np.uint8) for _ in range(40)]
    images[3] = np.zeros_like(images[3])
    images[20] = images[10]
    labels = np.eye(3, dtype=np.uint8)[np.arange(40) % 3]
    return build_store(tmp_path_factory.mktemp("small") / "a.zarr", SMALL, labels, images=images)


@pytest.fixture
def copied(small: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small.path, tmp_path / "a.zarr"))


def name_findings(diagnosis: Diagnosis) -> dict[str, Finding]:
    check_findings(diagnosis.findings)
    return {finding.name: finding for finding in diagnosis.findings}


def flip_byte(path: Path, rows: list[int]) -> None:
    """Change one byte in the chunks of some samples."""
    shard = next(file for file in (path / "train" / "images" / "c").rglob("*") if file.is_file())
    content = bytearray(shard.read_bytes())
    bounds = decode_shard_index(np.frombuffer(content, np.uint8), shard_samples=64)
    for row in rows:
        content[int(bounds[row, 0]) + 40] ^= 0x55
    shard.write_bytes(content)


def test_black_and_equal_samples_are_found(small: Store) -> None:
    before = list_files(small.path)
    diagnosis = diagnose([str(small.path)])
    found = name_findings(diagnosis)
    assert found["black-samples"].evidence["n_black"] == 1
    assert "s-003" in found["black-samples"].command
    assert "s-010 and s-020" in found["contradicting-labels"].text
    assert diagnosis.store is not None
    (part,) = diagnosis.store.parts
    assert (part.n_checked, part.n_damaged, part.class_counts) == (40, 0, (14, 13, 13))
    assert not diagnosis.is_broken
    assert list_files(small.path) == before  # not even a lock


def test_a_damaged_chunk_is_found_and_ends_with_1(copied: Path, hpa: Hpa) -> None:
    flip_byte(copied, [5, 7])
    ended = hpa("doctor", copied)
    assert ended.status == 1
    assert "BROKEN: Part train: of 40 samples that were read, 2 are damaged." in " ".join(ended.out.split())
    assert f"hpa verify {copied} --part train --source SOURCE --repair" in ended.out


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda path: (path / "train" / "zarr.json").write_bytes(b"{"), "unreadable-part"),
        (lambda path: shutil.rmtree(path / "train" / "id" / "c"), "unreadable-part"),
        (lambda path: shutil.rmtree(path / "train" / "images" / "c"), "unreadable-part"),
        (lambda path: (path / "train" / "status" / "seal.json").write_bytes(b"{"), "unreadable-part"),
        (lambda path: (path / "zarr.json").write_bytes(b"{"), "no-store"),
        (lambda path: shutil.rmtree(path / "train"), "empty-store"),
        (lambda path: (path / "train" / "status" / "seal.json").unlink(), "no-seal"),
    ],
)
def test_whatever_is_lost_or_cut_of_a_store_is_a_finding(
    damage: Callable[[Path], Any], name: str, copied: Path
) -> None:
    damage(copied)
    assert name in name_findings(diagnose([str(copied)]))


def test_samples_that_failed_and_a_conversion_that_was_interrupted_are_found(tmp_path: Path) -> None:
    failed = diagnose([str(convert_unreadable(tmp_path / "failed").path)])
    assert "failed-samples" in name_findings(failed)
    begin(tmp_path / "b.zarr", ["one", "two"])
    pending = diagnose([str(tmp_path / "b.zarr")])
    assert "2 of 2 samples are not yet written" in name_findings(pending)["unfinished-part"].text
    assert failed.is_broken
    assert pending.is_broken
    assert pending.store is not None
    assert pending.store.samples_per_s is None


def test_a_finished_run_and_its_store_are_examined_in_either_order(run: Path, store: Store, hpa: Hpa) -> None:
    before = list_files(run)
    diagnosis = diagnose([str(run)])
    assert diagnosis.run is not None
    assert diagnosis.store is not None
    assert (diagnosis.run.error, diagnosis.run.damaged, diagnosis.run.is_finished) == ("", (), True)
    assert diagnosis.run.n_compared > 5
    assert [len(fold.epochs) for fold in diagnosis.run.folds] == [2, 2]
    assert {"rare-classes", "absent-classes"} <= set(name_findings(diagnosis))
    assert list_files(run) == before
    ended = hpa("doctor", run, store.path, "--json")
    assert ended.status == 0
    told = json.loads(ended.out)
    assert told["run"]["scores"]["headline"] == diagnosis.run.scores.headline  # type: ignore[union-attr]
    assert {part["name"] for part in told["store"]["parts"]} == {"train", "test"}


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda run: (run / "fold0" / "best.keras").write_bytes(b""), "damaged-run"),
        (lambda run: (run / "scores.json").write_text("{}"), "damaged-run"),
        (lambda run: (run / "fold1" / "history.csv").write_text("epoch\n1\n"), "damaged-run"),
        (lambda run: (run / "fold1" / "probs.npz").unlink(), "unfinished-run"),
        (lambda run: (run / "seal.json").unlink(), "unsealed-run"),
        (lambda run: (run / "config.json").write_text("{"), "no-run"),
    ],
)
def test_whatever_is_lost_or_cut_of_a_run_is_a_finding(
    damage: Callable[[Path], Any], name: str, run: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    damage(copy)
    findings = judge(MACHINE, run=examine_run(copy))
    check_findings(findings)
    assert name in {finding.name for finding in findings}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "neither a store .* nor a run"),
        (["{store}", "{store}"], "Received: two stores"),
    ],
)
def test_what_is_neither_or_twice_is_refused(words: list[str], message: str, small: Store, hpa: Hpa) -> None:
    ended = hpa("doctor", *[word.format(store=small.path) for word in words])
    assert ended.status == 2
    assert re.search(message, ended.err)


def test_a_store_at_a_url_is_not_asked_for_anything(hpa: Hpa) -> None:
    ended = hpa("doctor", "https://nowhere.invalid/a.zarr")
    assert ended.status == 0
    assert "hpa bench io https://nowhere.invalid/a.zarr" in ended.out


def test_the_disk_is_read_or_said_to_be_unreadable(store: Store, tmp_path: Path) -> None:
    part = store.part("train")
    rate, cached = measure_disk([part.shard_path(0)]), measure_cached([part.shard_path(0)])
    assert rate is None or rate > 0
    assert cached is None or 0 <= cached <= 1
    assert (measure_disk([]), measure_cached([])) == (None, None)
    assert measure_disk([tmp_path / "missing"]) is None


def test_files_that_are_larger_than_any_shard_are_not_measured(store: Store, tmp_path: Path) -> None:
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(2**43)
    assert len(list(islice(_list_blocks([sparse, tmp_path / "missing"]), 64))) == 64
    copied = open_store(shutil.copytree(store.path, tmp_path / "copy.zarr"))
    part = copied.part("train")
    n_shards = len(_list_shards(part))
    with part.shard_path(0).open("r+b") as file:
        file.truncate(2**43)
    assert len(_list_shards(part)) == n_shards - 1


def test_extras_of_commands_are_known_by_modules_of_theirs() -> None:
    assert {"browse", "export", "bioimageio"} <= set(EXTRAS)


def test_gpus_are_read_from_what_the_driver_lists() -> None:
    listed = "GPU 0: NVIDIA H200 (UUID: GPU-1)\n  MIG 1g.18gb Device 0: (UUID: MIG-2)\nGPU 1: Tesla T4 (UUID: GPU-3)\n"
    assert parse_gpus(listed) == ("NVIDIA H200", "Tesla T4")
