"""Opening a part: by this package, zarr-python, xarray and TensorStore; damage is refused."""

import json
from pathlib import Path

import pytest
import tensorstore
import xarray
import zarr

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.format.codecs import CODECS
from hpa_data.store.store import Store, open_store
from tests.builders import convert, draw_image, write_table


def test_the_arrays_have_the_names_types_and_axes_of_the_format(store: Store) -> None:
    part = zarr.open_group(store.path, mode="r")["train"]
    found = {name: (str(array.dtype), array.metadata.dimension_names) for name, array in part.arrays()}
    assert found["images"] == ("uint8", ("sample", "y", "x", "channel"))
    assert found["labels"] == ("uint8", ("sample", "class"))
    assert found["status"] == ("uint8", ("sample",))
    assert found["checksum"] == ("uint32", ("sample",))
    assert "labels" not in zarr.open_group(store.path, mode="r")["test"]
    for name, array in part.arrays():
        codecs = json.loads((store.path / "train" / name / "zarr.json").read_text())["codecs"]
        assert {codec["name"] for codec in codecs} <= {"bytes", "blosc", "sharding_indexed", "vlen-utf8"}, array


def test_xarray_opens_a_part_with_the_names_of_channels_and_classes(store: Store) -> None:
    # Consolidated metadata are not part of the Zarr v3 standard; without this argument xarray warns that it has none.
    part = xarray.open_zarr(store.path, group="train", consolidated=False)
    assert part["images"].dims == ("sample", "y", "x", "channel")
    assert part["channel"].values.tolist() == list(HPA_2018.channel_names)
    assert part["labels"].sel({"class": "Nucleoli fibrillar center"}).values.all()
    assert part["class"].values.tolist() == list(HPA_2018.classes)


@pytest.mark.parametrize("codec", CODECS)
def test_tensorstore_reads_each_codec(kaggle: Path, tmp_path: Path, codec: str) -> None:
    convert(kaggle / "test", tmp_path / "a.zarr", part="test", codec=codec)
    path = str(tmp_path / "a.zarr" / "test" / "images")
    array = tensorstore.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}, read=True).result()
    assert (array[1].read().result() == draw_image(101)).all()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("zarr.json", "not JSON", r"Cannot open the store .*Check the path\."),
        ("train/zarr.json", "not JSON", "Cannot open part 'train' of .*--overwrite"),
        ("train/images/zarr.json", None, "Cannot open part 'train' of .*images.*--overwrite"),
        ("train/status/zarr.json", None, "Cannot open part 'train' of .*status is missing.*--overwrite"),
        ("train/id/c/0", "garbage", "Cannot read part 'train' of .*id/c/0 fails its checksum.*--overwrite"),
        ("train/id/c/0", None, "id/c/0 fails its checksum in the part's seal.*--overwrite"),
        ("train/labels/c/0/0", None, "labels/c/0/0 fails its checksum in the part's seal.*--overwrite"),
        ("train/labels/zarr.json", None, "Cannot open part 'train' of .*labels is missing.*--overwrite"),
    ],
)
def test_damaged_metadata_are_refused_in_one_line(
    kaggle: Path, tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    ids = [f"new-{index}" for index in range(3)]
    table = write_table(tmp_path / "labels.csv", dict.fromkeys(ids, "3"))
    convert(kaggle / "test", tmp_path / "a.zarr", labels=table)
    path = tmp_path / "a.zarr" / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        open_store(tmp_path / "a.zarr").part("train")
    assert "\n" not in str(caught.value)


def test_a_store_or_part_that_does_not_exist_is_refused_by_name(store: Store, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="part='extra'; .* has test, train"):
        store.part("extra")
    with pytest.raises(InputError, match="it is not a folder written by `hpa convert`"):
        open_store(tmp_path / "nowhere")
