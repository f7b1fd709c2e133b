"""Image files are read for a prediction as those that the run was trained on."""

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from hpa_data.dataset import HPA_2018
from hpa_data.errors import InputError
from hpa_data.sources.options import ImportOptions
from hpa_data.store.store import Store, open_store
from hpa_model.predict import Reading, find_reading, predict_submission
from hpa_model.runs.folder import RunDescription, read_run
from hpa_model.training.train import train
from tests.builders import Hpa, assert_refused, convert, draw_image, write_table
from tests.data.sources.encoded import write_hpav18
from tests.model.stopping import CONFIG

Retold = Callable[..., Path]


@pytest.fixture
def retold(run: Path, tmp_path: Path) -> Retold:
    """Copy the run, with other values in its description."""

    def copy(name: str = "retold", **changes: object) -> Path:
        shutil.copytree(run, tmp_path / name)
        dataclasses.replace(read_run(run), **changes).write(tmp_path / name)  # type: ignore[arg-type]
        return tmp_path / name

    return copy


def read_probs(run: Path, source: Path, **arguments: object) -> np.ndarray:
    out = run.parent / "read.npz"
    predict_submission(run, source, run.parent / "read.csv", probs=out, **arguments)  # type: ignore[arg-type]
    with np.load(out) as file:
        return file["probs"]


def encode(**options: object) -> dict[str, object]:
    return ImportOptions(**options).encode()  # type: ignore[arg-type]


def write_12_bits(folder: Path, names: list[str], first: int = 0) -> None:
    """Write samples of 12 bits in 16, which the full range makes black."""
    folder.mkdir(parents=True)
    for index, name in enumerate(names, first):
        for k, channel in enumerate(HPA_2018.channel_names):
            cv2.imwrite(str(folder / f"{name}_{channel}.tif"), draw_image(index)[..., k].astype(np.uint16) * 16)


def test_a_folder_is_read_with_the_settings_of_the_run_and_predicts_as_its_store(tmp_path: Path, hpa: Hpa) -> None:
    names = [f"s{index}" for index in range(6)]
    write_12_bits(tmp_path / "train", names)
    write_12_bits(tmp_path / "test", ["t0", "t1"], 100)
    table = write_table(tmp_path / "train.csv", {name: f"{index % 2}" for index, name in enumerate(names)})
    settings, store = ImportOptions(intensity="percentile"), tmp_path / "a.zarr"
    convert(tmp_path / "train", store, labels=table, settings=settings)
    convert(tmp_path / "test", store, part="test", settings=settings)
    convert(tmp_path / "test", store, part="full")
    run = tmp_path / "run"
    config = dataclasses.replace(CONFIG, model="gapnet-pl", image_size=32, epochs=1, batch_size=6, symmetries=False)
    train(open_store(store), config, run)
    recorded = json.loads((run / "config.json").read_text())
    assert recorded["imports"]["train"]["intensity"] == "percentile"
    assert read_run(run).full_dataset == HPA_2018
    from_files, from_store = (read_probs(run, source) for source in (tmp_path / "test", store))
    assert (from_files == from_store).all()
    # The same models see something else where that is asked for.
    words = ("predict", run, tmp_path / "test", "--intensity", "full", "--out", tmp_path / "a.csv")
    assert hpa(*words, "--probs", tmp_path / "full.npz").status == 0
    with np.load(tmp_path / "full.npz") as file:
        assert (file["probs"] == read_probs(run, store, parts=["full"])).all()
        assert (file["probs"] != from_files).any()
    # A part that was converted otherwise is told.
    ended = hpa("predict", run, store, "--part", "full", "--out", tmp_path / "a.csv")
    assert ended.status == 0
    assert (
        "Warning: part full was converted unlike the images that the run was trained on, with intensity red=full in "
        "place of intensity red=percentile, " in ended.out
    )
    assert "Warning" not in hpa("predict", run, store, "--out", tmp_path / "a.csv").out
    assert_refused(hpa("predict", run, store, "--part", "full", "--strict"), "Cannot use")


def test_planes_of_stacks_in_an_archive_are_found_by_the_mapping_of_the_run(
    kaggle: Path, retold: Retold, tmp_path: Path
) -> None:
    order = ["yellow", "green", "red", "blue"]
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as archive:
        for index in range(3):
            planes = [cv2.imread(str(kaggle / "test" / f"new-{index}_{name}.png"), -1) for name in order]
            tifffile.imwrite(tmp_path / "a.tif", np.stack(planes), photometric="minisblack")
            archive.write(tmp_path / "a.tif", f"new-{index}.tif")
    mapping = {name: order.index(name) for name in HPA_2018.channel_names}
    run = retold(imports={"train": encode(source="stack", channels=mapping)})
    found = read_probs(run, tmp_path / "test.zip")
    assert (found == read_probs(retold("plain"), kaggle / "test")).all()


def test_planes_that_lie_otherwise_than_in_the_files_of_the_run_fail(retold: Retold, tmp_path: Path, hpa: Hpa) -> None:
    names = ["B", "A", "C", "D"]
    metadata = {"axes": "CYX", "Channel": {"Name": names}}
    (tmp_path / "test").mkdir()
    planes = np.moveaxis(draw_image(0), -1, 0)
    tifffile.imwrite(tmp_path / "test" / "a.ome.tif", planes, metadata=metadata, photometric="minisblack")
    mapping = {name: index for index, name in enumerate(HPA_2018.channel_names)}
    expected = dict(zip(mapping, "ABCD", strict=True))
    run = retold(imports={"train": encode(source="stack", channels=mapping, expected_names=expected)})
    words = ("predict", run, tmp_path / "test", "--out", tmp_path / "a.csv")
    ended = hpa(*words)
    assert ended.status != 0
    assert not (tmp_path / "a.csv").exists() or "Rows left empty: 1 of 1" in ended.out
    assert hpa(*words, "--channels", "red=A,green=B,blue=C,yellow=D").status == 0
    assert_refused(hpa(*words, "--channels", "red=A,green=B,blue=C,yellow=DD"), "DD")


def test_color_planes_in_numbered_folders_are_found_by_the_naming_of_the_run(retold: Retold, tmp_path: Path) -> None:
    for folder, name in ((1, "p_A1_1"), (2, "p_B2_1")):
        write_hpav18(tmp_path / "planes" / str(folder), name, draw_image(folder))
    settings = ImportOptions(source="hpav18")
    convert(tmp_path / "planes", tmp_path / "a.zarr", part="test", settings=settings)
    run = retold(imports={"train": settings.encode()})
    from_files, from_store = (read_probs(run, tmp_path / name) for name in ("planes", "a.zarr"))
    assert from_files.shape == (2, 28)
    assert (from_files == from_store).all()


def test_parts_that_were_read_differently_are_told_apart_by_name(retold: Retold) -> None:
    config = dataclasses.replace(CONFIG, parts=("train", "full"))
    imports = {"train": encode(), "full": encode(intensity="bits=12", intensities={"red": "minmax"})}
    description = read_run(retold(config=config, imports=imports, fingerprints=dict.fromkeys(config.parts, "")))
    with pytest.raises(InputError, match="full with intensity red=minmax and train with intensity red=full. Pass --li"):
        find_reading(description)
    assert find_reading(description, "full").options.intensity == "bits=12"
    with pytest.raises(InputError, match="like must be a part .* train, full. Received: like='test'"):
        find_reading(description, "test")
    alike = dataclasses.replace(description, imports={"train": encode(), "full": encode(missing="fill")})
    assert find_reading(alike).options == ImportOptions()


def test_a_run_that_leaves_samples_out_predicts_every_row(retold: Retold) -> None:
    assert find_reading(read_run(retold(imports={"train": encode(missing="skip")}))).options.missing == "fail"


def older(description: RunDescription, store: str) -> RunDescription:
    """Return a description as versions before 0.3.0 wrote it."""
    return dataclasses.replace(description, dataset=None, imports={}, store=store)


def test_an_older_run_is_read_by_the_settings_of_its_store_or_by_defaults_with_a_warning(  # noqa: PLR0917 - fixtures
    run: Path, store: Store, kaggle: Path, retold: Retold, tmp_path: Path, hpa: Hpa
) -> None:
    description = read_run(run)
    found = find_reading(older(description, str(store.path)))
    assert (found.options, found.notices) == (ImportOptions(), ())
    gone = find_reading(older(description, str(tmp_path / "gone.zarr")))
    assert gone.options == ImportOptions(rules=1)
    old = retold(dataset=None, imports={}, store=str(tmp_path / "gone.zarr"))
    assert "dataset" not in json.loads((old / "config.json").read_text())
    words = ("predict", old, kaggle / "test", "--out", tmp_path / "a.csv")
    assert "Warning: the run does not record how its images were read, and its store is gone" in hpa(*words).out
    assert hpa(*words, "--strict").status == 2


def test_files_of_another_data_set_or_size_are_refused(run: Path, kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    words = ("predict", run, kaggle / "test", "--out", tmp_path / "a.csv")
    assert_refused(hpa(*words, "--dataset", "hpa2021"), "dataset must be that of the run, hpa2018. Received: hpa2021")
    assert_refused(hpa(*words, "--image-size", "256"), "must be that of the run, 512x512. Received: 256x256.")
    assert hpa(*words, "--dataset", "hpa2018", "--image-size", "512").status == 0


def test_a_part_of_another_data_set_is_refused_by_the_names_of_both(run: Path, kaggle: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(HPA_2018, name="mine", classes=("a", "b"), synonyms={}, numbering=None)
    from hpa_data.convert.execute import convert_files
    from hpa_data.convert.plan import plan_conversion

    convert_files(plan_conversion(kaggle / "test", tmp_path / "a.zarr", part="test", dataset=other))
    with pytest.raises(InputError, match=r"classes must be .*, of hpa2018. Received: a, b in part test, of mine\."):
        predict_submission(run, tmp_path / "a.zarr", tmp_path / "a.csv")


def test_reading_given_by_a_caller_wins(run: Path, kaggle: Path, tmp_path: Path) -> None:
    reading = Reading(options=ImportOptions(source="stack"), dataset=HPA_2018)
    with pytest.raises(InputError, match=r"Cannot|source must hold files"):
        predict_submission(run, kaggle / "test", tmp_path / "a.csv", reading=reading)


def test_images_that_are_far_too_dim_as_they_are_read_are_told(run: Path, tmp_path: Path) -> None:
    write_12_bits(tmp_path / "dim", ["a", "b"])
    reading = Reading(options=ImportOptions(), dataset=read_run(run).full_dataset)
    told = "channels red, green, blue, yellow have less than 1/8 of the range"
    done = predict_submission(run, tmp_path / "dim", tmp_path / "o.csv", reading=reading)
    assert [told in str(notice) for notice in done.notices] == [True]
    assert done.notices[0].remedy == "Unless the images of the run were like that, pass --intensity bits=12."
    with pytest.raises(InputError, match=f"with --strict: {told}"):
        predict_submission(run, tmp_path / "dim", tmp_path / "o.csv", reading=reading, strict=True)
    right = Reading(options=ImportOptions(intensity="bits=12"), dataset=reading.dataset)
    assert not predict_submission(run, tmp_path / "dim", tmp_path / "o.csv", reading=right, strict=True).notices


def test_remedies_have_no_option_that_a_prediction_lacks(run: Path, tmp_path: Path) -> None:
    write_12_bits(tmp_path / "in", ["a", "b", "c"])
    (tmp_path / "in" / "a_red.tif").unlink()
    for channel in HPA_2018.channel_names:
        cv2.imwrite(str(tmp_path / "in" / f"b_{channel}.tif"), np.full((20, 20), 200, np.uint8))
    done = predict_submission(run, tmp_path / "in", tmp_path / "o.csv")
    reasons = {failure.id: failure.reason for failure in done.failures}
    assert reasons["a"].endswith("Add the files, or pass --missing fill to fill the channels with zeros.")
    assert reasons["b"].endswith("Pass --upscale to enlarge it, --fit pad to surround it with black.")
