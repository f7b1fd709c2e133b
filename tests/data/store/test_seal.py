"""The seal of a part: what is changed in a part is refused when it is read, and found by `hpa verify`."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr

from hpa_data.dataset import FILLED, HPA_2018, Sample
from hpa_data.errors import InputError
from hpa_data.format.arrays import SEAL_KEY
from hpa_data.store.build import build_part
from hpa_data.store.create import PartPlan
from hpa_data.store.seal import read_seal
from hpa_data.store.store import Store, open_store
from hpa_data.store.write import write_shards
from hpa_data.verify.check import verify_store
from tests.builders import Killed, assert_same_bytes, kill_at_rename, list_files, unseal
from tests.flips import flip_store, read_store

DATASET = HPA_2018.resized(16, 16)
N_SAMPLES, SHARD_SAMPLES = 10, 4


def read(index: int, *, failed: int | None = 2) -> Sample:
    if index == failed:
        raise InputError("it is damaged", file="b.png")
    image = np.random.default_rng(index).integers(0, 256, (16, 16, 4), np.uint8)
    if index == 5:
        image[..., 3] = 0
        return Sample(image=image, status=FILLED, filled=("yellow",), origin="PNG")
    return Sample(image=image, note="another color" if index == 7 else "", origin="PNG")


def build(path: Path, read: Callable[[int], Sample] = read, *, overwrite: bool = False) -> Store:
    labels = np.eye(N_SAMPLES, 28, dtype=np.uint8)
    plan = PartPlan(
        path=path,
        name="train",
        ids=tuple(f"s{index}" for index in range(N_SAMPLES)),
        labels=labels,
        settings={},
        dataset=DATASET,
        shard_samples=SHARD_SAMPLES,
    )
    build_part(plan, range(N_SAMPLES), read, expected_bytes=lambda n: n, overwrite=overwrite)
    return open_store(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("sealed") / "a.zarr").path


@pytest.fixture
def path(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "a.zarr"))


def test_a_finished_part_is_sealed_and_a_second_build_changes_no_byte(path: Path, whole: Path) -> None:
    seal = read_seal(open_store(path).storage, "train")
    assert seal is not None
    assert seal.is_complete
    assert verify_store(path).unsealed == ()
    build(path)
    assert_same_bytes(path, whole)


@pytest.mark.parametrize(
    ("array", "change"),
    [
        ("class", lambda names: names[::-1]),
        ("channel", lambda names: names[[1, 0, 2, 3]]),
        ("status", lambda status: np.where(status == 1, 3, status)),
        ("labels", lambda labels: labels[::-1]),
        ("id", lambda names: names[::-1]),
        ("note", lambda notes: notes[::-1]),
        ("sums", lambda sums: sums + 1),
        ("checksum", lambda numbers: numbers + 1),
        ("filled", lambda names: np.where(names == "yellow", "green", names)),
    ],
)
def test_a_changed_array_is_refused_where_it_is_read_and_found_by_verify(
    path: Path, array: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    opened = zarr.open_array(path / "train" / array, mode="r+")
    opened[:] = change(np.asarray(opened[:]))
    with pytest.raises(InputError, match=rf"{array}/c/.* fails its checksum in the part's seal.*--overwrite\."):
        read_store(path)
    found = [finding for finding in verify_store(path).findings if finding.state == "corrupt"]
    assert found[0].id == ""


@pytest.mark.parametrize("key", ["channels", "classes", "statistics", "settings"])
def test_a_changed_manifest_is_refused(path: Path, key: str) -> None:
    file = path / "train" / "zarr.json"
    content = json.loads(file.read_text())
    values = content["attributes"][key]
    content["attributes"][key] = values[::-1] if isinstance(values, list) else values | {"n_samples": 3}
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"part"):
        open_store(path).part("train")
    assert [finding.state for finding in verify_store(path).findings if not finding.id] == ["corrupt"]


def test_a_damaged_seal_is_refused_and_made_again_after_a_full_check(path: Path, whole: Path) -> None:
    file = path / "train" / SEAL_KEY
    file.write_bytes(file.read_bytes().replace(b'"metadata"', b'"netadata"'))
    with pytest.raises(InputError, match=r"Cannot read status/seal.json of part 'train'.*`hpa verify` with --seal"):
        open_store(path).part("train")
    assert verify_store(path).n_errors == 2  # and the failed sample
    assert verify_store(path, seal=True).n_sealed == 1
    assert_same_bytes(path, whole)


def test_a_part_of_an_earlier_version_has_no_seal_until_verify_adds_it(path: Path, whole: Path) -> None:
    unseal(path)
    assert verify_store(path).unsealed == ("train",)
    build(path)  # which tries the failed sample again
    assert verify_store(path).unsealed == ("train",)
    done = verify_store(path, seal=True)
    assert (done.n_sealed, done.unsealed) == (1, ())
    assert_same_bytes(path, whole)


def test_a_damaged_part_is_not_sealed(path: Path) -> None:
    sums = zarr.open_array(unseal(path) / "train" / "sums", mode="r+")
    sums[0] = 7
    assert verify_store(path, seal=True).unsealed == ("train",)
    assert not (path / "train" / SEAL_KEY).exists()


@pytest.mark.parametrize(
    ("array", "change", "message"),
    [
        ("class", lambda names: names[::-1], "the names in channel or class are not those of its manifest"),
        ("channel", lambda names: names[::-1], "the names in channel or class are not those of its manifest"),
        ("status", lambda status: np.where(status == 1, 3, status), "sample 's0' has the status of a filled channel"),
        ("status", lambda status: status + 8, "status has the unknown value 11"),
        ("sums", lambda sums: sums + 1, "sample 's5' has the status of a filled channel, and none that is black"),
        ("labels", lambda labels: labels * 2, "ids, labels or settings are not those"),
    ],
)
def test_what_disagrees_is_refused_without_a_seal_too(
    path: Path, array: str, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    opened = zarr.open_array(unseal(path) / "train" / array, mode="r+")
    opened[:] = change(np.asarray(opened[:]))
    with pytest.raises(InputError, match=f"Cannot open part 'train' of .*{message}"):
        open_store(path).part("train")


def test_a_repair_does_not_seal_what_was_damaged_before(path: Path, whole: Path) -> None:
    """The note of sample 7 is in the shard of sample 5, which is written again."""
    shutil.copy(path / "train" / "note" / "c" / "0", path / "train" / "note" / "c" / "1")
    found = verify_store(path)
    assert [finding.id for finding in found.findings if "note/c/1" in finding.reason] == ["", "s4", "s5", "s6", "s7"]
    for _ in range(2):
        with pytest.raises(InputError, match="note/c/1 fails its checksum"):
            build(path)  # which tries sample 2 again, in another shard
    shutil.copy(whole / "train" / "note" / "c" / "1", path / "train" / "note" / "c" / "1")
    build(path)
    assert_same_bytes(path, whole)


@pytest.mark.parametrize("array", ["note", "sums", "origin", "filled", "status"])
def test_damage_in_a_shard_of_which_a_sample_is_tried_again_is_refused(path: Path, array: str) -> None:
    """Sample 2 failed; its neighbors' rows would be written back as they are."""
    changed = zarr.open_array(path / "train" / array, mode="r+")
    changed[3] = changed[5] if array in {"filled", "status"} else changed[0] + changed[1]
    if array == "note":
        changed[3] = "changed"
    before = {name: (path / name).read_bytes() for name in list_files(path)}
    remedy = rf"`hpa verify {path} --part train --source FOLDER --repair`"
    with pytest.raises(InputError, match=rf"{array}/c/0.* fails its checksum"):
        build(path)
    part = open_store(path).part("train", compares_seal=False)
    with pytest.raises(InputError, match=rf"{array}/c/0.* fails its checksum in the part's seal\. Run {remedy}"):
        write_shards(part, range(N_SAMPLES), read, rewrite=np.arange(N_SAMPLES) == 2)
    assert {name: (path / name).read_bytes() for name in list_files(path)} == before


@pytest.mark.parametrize("kill_at", [1, 5, 10])
def test_damage_after_a_kill_is_not_sealed(
    path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, kill_at: int
) -> None:
    """What stays in a shard is compared until that is sealed again, whether it was written meanwhile or not."""
    kill_after = kill_at_rename(monkeypatch)
    kill_after(kill_at)
    with pytest.raises(Killed):
        build(path)
    kill_after(0)
    notes = zarr.open_array(path / "train" / "note", mode="r+")
    notes[3] = "changed"
    with pytest.raises(InputError, match=r"note/c/0.*(fails its checksum|has changed)"):
        build(path)
    assert "s3" in {finding.id for finding in verify_store(path).findings if finding.state == "corrupt"}
    assert verify_store(path, seal=True).n_sealed == 0
    notes[3] = ""
    build(path)
    assert_same_bytes(path, whole)


@pytest.mark.parametrize("retry", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_kill_after_any_write_leaves_a_part_that_opens_and_resumes_to_the_same_bytes(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retry: bool
) -> None:
    """First while the part is made; then while a sample that had failed is read again, now with success."""

    def make(path: Path) -> None:
        build(path, lambda index: read(index, failed=None)) if retry else build(path)

    def start(path: Path) -> Path:
        return Path(shutil.copytree(whole, path)) if retry else path

    undisturbed = start(tmp_path / "whole.zarr")
    make(undisturbed)
    kill_after = kill_at_rename(monkeypatch)
    n_kills = 0
    while True:
        path = start(tmp_path / f"{n_kills}.zarr")
        kill_after(n_kills + 1)
        try:
            make(path)
        except Killed:
            n_kills += 1
        else:
            break
        if (path / "train").exists():
            open_store(path).part("train").read_metadata()
            reasons = {finding.reason for finding in verify_store(path).findings if finding.state == "corrupt"}
            assert reasons <= {"its channel statistics are not those of its samples"}
        kill_after(0)
        make(path)
        assert_same_bytes(path, undisturbed)
        shutil.rmtree(path)
    assert n_kills > (8 if retry else 40)


def test_random_bits_are_found_refused_or_without_effect(whole: Path, tmp_path: Path) -> None:
    counts = flip_store(whole, tmp_path / "a.zarr", n_flips=30, rng=random.Random(5))
    assert sum(counts.values()) == 30
    assert counts["silent"] == 0


@pytest.mark.parametrize("sealed", [True, False])
def test_a_chunk_larger_than_its_metadata_allow_is_not_read(path: Path, sealed: bool) -> None:
    if not sealed:
        unseal(path)
    for shard in range(2):
        os.truncate(path / "train" / "checksum" / "c" / str(shard), 400_000_000)
    with pytest.raises(InputError, match=r"checksum.*it has 400000000 bytes, more than 1048592"):
        open_store(path).part("train").read_checksums()
    assert "corrupt" in {finding.state for finding in verify_store(path).findings}


def test_a_damaged_part_is_replaced_with_overwrite(path: Path, whole: Path) -> None:
    (path / "train" / "class" / "c" / "0").write_bytes(b"nothing")
    with pytest.raises(InputError, match="class/c/0 fails its checksum"):
        build(path)
    build(path, overwrite=True)
    assert_same_bytes(path, whole)


def test_a_seal_of_the_same_part_has_the_same_bytes(whole: Path, tmp_path: Path) -> None:
    assert_same_bytes(build(tmp_path / "b.zarr").path, whole)
    assert SEAL_KEY in list_files(whole / "train")
