"""Creating a part, or finding the same one again."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import zarr

from hpa_data.errors import InputError
from hpa_data.format.manifest import Provenance
from hpa_data.sources.options import ImportOptions
from hpa_data.store.create import PartPlan
from hpa_data.store.store import open_store
from hpa_data.system.records import encode_record, list_absent
from tests.builders import assert_same_bytes, begin, convert


def test_a_part_whose_creation_was_killed_is_created_again(kaggle: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    left_over = zarr.open_group(path, mode="a").create_group(".test.new")
    left_over.create_array("id", shape=(99,), dtype="uint8")
    convert(kaggle / "test", path, part="test")
    assert open_store(path).part("test").ids == ["new-0", "new-1", "new-2"]
    assert sorted(entry.name for entry in path.iterdir()) == ["test", "zarr.json"]


def test_what_another_program_wrote_is_deleted_only_with_overwrite(kaggle: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="a")
    group.create_array("train", shape=(3,), dtype="uint8")[:] = 7
    with pytest.raises(InputError, match=r"an array or group has that name.*--overwrite"):
        convert(kaggle / "test", path)
    assert (group["train"][:] == 7).all()
    convert(kaggle / "test", path, overwrite=True)
    assert len(open_store(path).part("train").ids) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codec": "raw"}, "was created with codec='lz4', and this command has codec='raw'"),
        ({"shard_samples": 8}, "was created with shard_samples=64, and this command has shard_samples=8"),
        ({"ids": "ac"}, "was created with other samples or labels"),
    ],
)
def test_a_part_created_with_other_settings_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    begin(tmp_path / "a.zarr", "ab")
    with pytest.raises(InputError, match=message):
        begin(tmp_path / "a.zarr", **({"ids": "ab"} | change))


def test_overwriting_never_deletes_what_zarr_has_not_made(kaggle: Path, tmp_path: Path) -> None:
    """The store is the folder above the source, and the part's name that of the source."""
    shutil.copytree(kaggle / "test", tmp_path / "kaggle" / "train")
    with pytest.raises(InputError, match="Cannot write a store to .* holds something else"):
        convert(tmp_path / "kaggle" / "train", tmp_path / "kaggle", overwrite=True)
    zarr.open_group(tmp_path / "kaggle", mode="a")
    with pytest.raises(InputError, match="train was not created by Zarr"):
        convert(tmp_path / "kaggle" / "train", tmp_path / "kaggle", overwrite=True)
    assert len(list((tmp_path / "kaggle" / "train").iterdir())) == 12


def test_no_store_is_written_into_a_folder_with_other_files(kaggle: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").touch()
    with pytest.raises(InputError, match="Cannot write a store to .* holds something else"):
        convert(kaggle / "test", tmp_path / "letters")
    with pytest.raises(InputError, match="Cannot write a store to .*: it is not a folder"):  # from the lock
        convert(kaggle / "test", tmp_path / "letters" / "dear.txt")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b"])
def test_a_part_must_have_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="part must be up to 50 letters"):
        PartPlan(path=tmp_path / "a.zarr", name=name, ids=("a",), labels=None, settings={})


# Ageing: options that are added later.


@dataclass(frozen=True, kw_only=True)
class LaterOptions(ImportOptions):
    """The options of a later version, which has one more."""

    sharpen: bool = field(default=True, metadata={"absent": False})


def begin_later(path: Path, options: LaterOptions) -> None:
    begin(path, "ab", settings=encode_record(options), absent=list_absent(LaterOptions))


def test_one_more_option_of_convert_does_not_make_old_stores_refuse_to_resume(tmp_path: Path) -> None:
    begin(tmp_path / "a", "ab", settings=ImportOptions(missing="fill").encode())
    before = (tmp_path / "a" / "train" / "zarr.json").read_bytes()
    begin_later(tmp_path / "a", LaterOptions(missing="fill", sharpen=False))
    assert (tmp_path / "a" / "train" / "zarr.json").read_bytes() == before
    with pytest.raises(InputError, match=r"created with sharpen=False, and this command has sharpen=True"):
        begin_later(tmp_path / "a", LaterOptions(missing="fill"))


def test_an_option_added_later_is_compared_as_every_other(tmp_path: Path) -> None:
    begin_later(tmp_path / "a", LaterOptions())
    begin_later(tmp_path / "a", LaterOptions())
    with pytest.raises(InputError, match=r"created with sharpen=True, and this command has sharpen=False"):
        begin_later(tmp_path / "a", LaterOptions(sharpen=False))


def test_a_setting_of_a_newer_version_is_refused_by_name(tmp_path: Path) -> None:
    begin_later(tmp_path / "a", LaterOptions())
    with pytest.raises(InputError, match=r"the setting 'sharpen', which this version of hpa does not know\. Install"):
        begin(tmp_path / "a", "ab", settings=ImportOptions().encode())


def test_a_store_without_the_new_option_has_the_bytes_of_an_older_version(tmp_path: Path) -> None:
    begin(tmp_path / "old", "ab", settings=ImportOptions().encode())
    begin_later(tmp_path / "new", LaterOptions(sharpen=False))
    assert_same_bytes(tmp_path / "old", tmp_path / "new")


def test_a_part_of_copies_is_not_continued_by_a_conversion(tmp_path: Path) -> None:
    copies = Provenance(parents=("a", "a"), parts=("train", "train"), checksums=(1, 2), transforms=("[]", "[]"))
    begin(tmp_path / "a", "xy", copies=copies)
    with pytest.raises(InputError, match="it holds augmented copies.*--overwrite"):
        begin(tmp_path / "a", "xy")
