"""The part that holds the copies: written, resumed, refused, verified and repaired."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from distributed import LocalCluster

from hpa_data.augment.execute import augment_store
from hpa_data.augment.plan import plan_augmentation
from hpa_data.augment.transform import replay
from hpa_data.errors import InputError
from hpa_data.format.manifest import fingerprint
from hpa_data.reader.reader import ABSENT, ORIGINAL
from hpa_data.store.store import open_store
from hpa_data.system.executor import Parallelism
from hpa_data.system.lock import hold_store
from hpa_data.verify.check import verify_store
from tests.builders import assert_same_bytes, convert, list_files, unseal, write_table


def test_each_copy_is_its_transform_applied_to_its_parent(originals: Path) -> None:
    plan = plan_augmentation(open_store(originals), min_count=9)
    done = augment_store(plan)
    assert (done.n_samples, done.n_ok, done.failures) == (15, 15, ())
    group = zarr.open_group(originals, mode="r")
    train, copies = group["train"], group["augmented"]
    ids = list(train["id"][:])
    for row in range(15):
        parent = ids.index(copies["parent"][row])
        image = train["images"][parent]
        assert (copies["images"][row] == replay(image, str(copies["recipe"][row]))).all()
        assert (copies["labels"][row] == train["labels"][parent]).all()
        assert copies["parent_part"][row] == "train"
    assert len(set(copies["id"][:])) == 15


def test_the_workers_do_not_change_a_byte(originals: Path, tmp_path: Path) -> None:
    plan = plan_augmentation(open_store(originals), min_count=9, policy="strong")
    augment_store(plan)
    for name, workers in {"one": Parallelism(threads=1), "two": Parallelism(processes=2)}.items():
        shutil.copytree(originals, tmp_path / name)
        shutil.rmtree(tmp_path / name / "augmented")
        other = plan_augmentation(open_store(tmp_path / name), min_count=9, policy="strong")
        augment_store(other, workers=workers)
        assert_same_bytes(originals, tmp_path / name)


def test_the_order_of_the_other_samples_does_not_change_the_copies_of_one(kaggle: Path, tmp_path: Path) -> None:
    rows = {f"sample-{index:02}": "5" for index in range(12)}
    for name, table in {"one": rows, "other": dict(reversed(rows.items()))}.items():
        labels = write_table(tmp_path / f"{name}.csv", table)
        convert(kaggle / "train", tmp_path / name, labels=labels, codec="lz4")
        augment_store(plan_augmentation(open_store(tmp_path / name), min_count=24))
    found = []
    for name in ("one", "other"):
        part = open_store(tmp_path / name).part("augmented")
        found.append(dict(zip(part.ids, part.read_checksums().tolist(), strict=True)))
    assert found[0] == found[1]


def test_the_same_command_again_changes_nothing_and_other_settings_are_refused(originals: Path) -> None:
    store = open_store(originals)
    augment_store(plan_augmentation(store, min_count=9))
    before = {name: (originals / name).stat().st_mtime_ns for name in list_files(originals)}
    augment_store(plan_augmentation(store, min_count=9))
    assert before == {name: (originals / name).stat().st_mtime_ns for name in list_files(originals)}
    with pytest.raises(InputError, match="was created with min_count=9, and this command has min_count=8"):
        augment_store(plan_augmentation(store, min_count=8))
    assert augment_store(plan_augmentation(store, min_count=8), overwrite=True).n_samples == 12


def test_a_copy_of_a_damaged_parent_fails_and_is_listed(originals: Path) -> None:
    plan = plan_augmentation(open_store(originals), min_count=9)
    first = plan.tasks[0].row
    shard = originals / "train" / "images" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    index = np.frombuffer(content[-64 * 16 - 4 : -4], "<u8").reshape(64, 2)
    middle = int(index[first, 0] + index[first, 1] // 2)
    content[middle : middle + 64] = bytes(64)
    shard.write_bytes(content)
    done = augment_store(plan)
    assert done.failures
    assert {plan.tasks[plan.part.ids.index(failure.id)].row for failure in done.failures} == {first}
    assert "augmented" in (originals / "failures.csv").read_text()


def test_two_writers_are_kept_apart(originals: Path) -> None:
    plan = plan_augmentation(open_store(originals), min_count=9)
    with hold_store(originals), pytest.raises(InputError, match="is writing to it"):
        augment_store(plan)
    assert not (originals / "augmented").exists()


def test_a_plan_without_copies_writes_nothing(originals: Path) -> None:
    plan = plan_augmentation(open_store(originals), min_count=1)
    assert plan.summary.n_copies == 0
    assert augment_store(plan).n_samples == 0
    assert not (originals / "augmented").exists()


def test_copies_know_their_parents_in_a_reader(kaggle: Path, originals: Path) -> None:
    store = open_store(originals)
    augment_store(plan_augmentation(store, min_count=5))
    with store.reader(["augmented", "train"]) as reader:
        n_copies = len(reader) - 12
        assert (reader.parents[n_copies:] == ORIGINAL).all()
        copies = store.part("augmented").copies
        assert copies is not None
        assert [reader.ids[row] for row in reader.parents[:n_copies]] == list(copies.parents)
    with store.reader(["augmented"]) as reader:
        assert (reader.parents == ABSENT).all()


def test_copies_of_another_part_than_the_store_has_now_are_refused(kaggle: Path, originals: Path) -> None:
    store = open_store(originals)
    augment_store(plan_augmentation(store, min_count=5))
    convert(kaggle / "test", originals, overwrite=True)
    with pytest.raises(InputError, match="Run `hpa augment` again with --overwrite"):
        store.reader(["train", "augmented"])


def test_copies_are_checked_and_made_again_from_their_parents(originals: Path, tmp_path: Path) -> None:
    augment_store(plan_augmentation(open_store(originals), min_count=9))
    shutil.copytree(originals, tmp_path / "whole")
    shard = originals / "augmented" / "images" / "c" / "0" / "0" / "0" / "0"
    shard.write_bytes(b"")
    assert verify_store(originals, parts=["augmented"]).counts["corrupt"] == 15
    done = verify_store(originals, parts=["augmented"], repair=True)
    assert (done.n_repaired, done.n_errors) == (15, 0)
    assert_same_bytes(originals, tmp_path / "whole")
    assert verify_store(originals, parts=["augmented"], source=originals).counts["ok"] == 15
    with pytest.raises(InputError, match="source must be the store itself for a part of augmented copies"):
        verify_store(originals, parts=["augmented"], source=tmp_path)


def test_a_repair_leaves_good_copies_of_a_damaged_parent_alone(originals: Path, tmp_path: Path) -> None:
    augment_store(plan_augmentation(open_store(originals), min_count=9))
    shutil.copytree(originals / "augmented", tmp_path / "whole")
    shard = originals / "train" / "images" / "c" / "0" / "0" / "0" / "0"
    shard.write_bytes(bytes(1000) + shard.read_bytes()[1000:])
    done = verify_store(originals, parts=["augmented"], repair=True)
    assert done.n_repaired == 0
    assert done.counts["unreadable_source"] > 0
    assert_same_bytes(originals / "augmented", tmp_path / "whole")


def test_a_repair_of_a_whole_store_without_a_source_is_refused_before_anything_is_done(originals: Path) -> None:
    augment_store(plan_augmentation(open_store(originals), min_count=9))
    shard = originals / "augmented" / "images" / "c" / "0" / "0" / "0" / "0"
    shard.write_bytes(b"")
    with pytest.raises(InputError, match="repair must have a source"):
        verify_store(originals, repair=True)
    assert shard.read_bytes() == b""


def test_copies_of_other_pixels_than_the_parents_have_now_are_refused(kaggle: Path, originals: Path) -> None:
    store = open_store(originals)
    augment_store(plan_augmentation(store, min_count=9))
    source = originals.parent / "other"
    shutil.copytree(kaggle / "train", source)
    for index in range(12):
        shutil.copy(source / f"sample-{index:02}_red.png", source / f"sample-{index:02}_green.png")
    convert(source, originals, labels=kaggle / "train.csv", codec="lz4", overwrite=True)
    with pytest.raises(InputError, match="is another one, or is missing. Run `hpa augment` again"):
        store.reader(["train", "augmented"])
    with pytest.raises(InputError, match="was created with other samples"):
        augment_store(plan_augmentation(store, min_count=9))
    assert verify_store(originals).n_errors == 0
    with pytest.raises(InputError, match="is another one, or is missing"):
        verify_store(originals, parts=["augmented"], repair=True)


def test_a_part_given_twice_is_refused(originals: Path) -> None:
    with pytest.raises(InputError, match="parts must each be named once"):
        open_store(originals).reader(["train", "train"])


def test_a_lost_array_of_transforms_is_found(originals: Path) -> None:
    augment_store(plan_augmentation(open_store(originals), min_count=9))
    shutil.rmtree(unseal(originals, "augmented") / "augmented" / "recipe" / "c")
    with pytest.raises(InputError, match="ids, labels or settings are not those"):
        open_store(originals).part("augmented")


@pytest.mark.slow  # test_the_workers_do_not_change_a_byte is of drawn samples
@pytest.mark.realdata
def test_real_copies_do_not_depend_on_the_workers(real_data: Path, tmp_path: Path) -> None:
    source, table = real_data / "kaggle" / "train", real_data / "kaggle" / "train.csv"
    convert(source, tmp_path / "one", labels=table, codec="lz4")
    for name in ("two", "cluster"):
        shutil.copytree(tmp_path / "one", tmp_path / name)

    def augment(name: str, workers: Parallelism) -> None:
        done = augment_store(plan_augmentation(open_store(tmp_path / name), min_count=20), workers=workers)
        assert (done.n_samples, done.n_ok) == (168, 168)

    augment("one", Parallelism(threads=1))
    augment("two", Parallelism(processes=2))
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        augment("cluster", Parallelism(scheduler=cluster.scheduler_address))
    assert_same_bytes(tmp_path / "one", tmp_path / "two")
    assert_same_bytes(tmp_path / "one", tmp_path / "cluster")
    assert verify_store(tmp_path / "one", parts=["augmented"], source=tmp_path / "one").counts["ok"] == 168


@pytest.mark.parametrize("parents", [[], None, 5, {}, ["train"], {"train": 3}])
def test_copies_whose_settings_do_not_name_their_parents_are_refused(originals: Path, parents: object) -> None:
    augment_store(plan_augmentation(open_store(originals), min_count=9))
    part = open_store(originals).part("augmented")
    settings = part.manifest.settings | {"parents": parents}
    changed = fingerprint(settings, part.ids, part.labels, part.copies)
    manifest = replace(part.manifest, settings=settings, fingerprint=changed)
    unseal(originals, "augmented")
    zarr.open_group(part.path, mode="r+").attrs.put(manifest.encode())
    with pytest.raises(InputError, match="whose copies are out of date"):
        open_store(originals).reader(["train", "augmented"])


@pytest.mark.parametrize("name", ["sums", "checksum", "status", "note"])
def test_an_array_of_another_length_is_refused(originals: Path, name: str) -> None:
    path = originals / "train" / name / "zarr.json"
    metadata = json.loads(path.read_text())
    metadata["shape"][0] = 5
    path.write_text(json.dumps(metadata))
    with pytest.raises(InputError, match=f"Cannot open part 'train' of .*: {name} does not have the type, shape"):
        open_store(originals).part("train")
