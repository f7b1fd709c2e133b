"""What the page is told of the store and its samples, and the pictures that it is given."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from hpa_data.dataset import Channel, Dataset
from hpa_data.errors import InputError
from hpa_data.preview.tiles import find_gain, to_rgb
from hpa_data.reader.reader import Reader
from hpa_model.browse.catalog import Catalog
from hpa_model.browse.maps import read_maps
from hpa_model.browse.opening import choose_parts, open_reader, read_catalog
from hpa_model.browse.pictures import Pictures, View
from hpa_model.browse.query import Query, select
from hpa_model.predict.embeddings import read_embeddings, write_embeddings
from tests.builders import make_rows, make_run
from tests.model.browse.pages import CLASSES, DATASET, Browser, Pages, open_pages, write_part


def decode(content: bytes) -> npt.NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image[..., ::-1] if image.ndim == 3 else image  # type: ignore[return-value]


def test_the_page_is_told_channels_classes_thresholds_and_folds(browser: Browser) -> None:
    told = browser.get("/api/catalog").json
    assert told["classes"] == list(CLASSES)
    assert told["channels"][1] == {"name": "green", "color": "#00ff00"}
    assert told["predicted"]["thresholds"] == [0.5, 0.5, 0.6, 1.0]
    assert (told["predicted"]["folds"], told["predicted"]["judged"]) == ([0, 1, 2], 59)
    assert (told["n"], told["parts"], told["unreadable"]) == (66, ["train", "test", "augmented"], 1)


def test_a_sample_comes_with_probabilities_neighbors_and_its_place(browser: Browser, catalog: Catalog) -> None:
    told = browser.get("/api/sample/0", "fold=0").json
    assert (told["fold"], told["position"], told["total"]) == (0, 0, 20)
    assert told["probs"] == [round(float(p), 6) for p in catalog.predictions.probs[0]]  # type: ignore[union-attr]
    assert (told["neighbors"][0]["i"], len(told["neighbors"])) == (1, 12)
    assert len(told["gains"]) == 3
    assert browser.get("/api/sample/0", "fold=1").json["position"] is None


def test_a_copy_names_its_parent_and_a_parent_its_copies(browser: Browser, catalog: Catalog) -> None:
    copy = browser.get("/api/sample/63").json
    assert (copy["parent"]["id"], copy["transform"]) == (catalog.ids[9], "unchanged")
    assert [each["id"] for each in copy["copies"]] == ["copy-1"]
    parent = browser.get("/api/sample/9").json
    assert ([each["id"] for each in parent["copies"]], parent["n_copies"]) == (["copy-0", "copy-1"], 2)
    assert "probs" not in copy or copy["probs"] is None


def test_a_sample_that_failed_says_why_and_has_no_picture(browser: Browser) -> None:
    told = browser.get("/api/sample/59").json
    assert told["status"] == "failed"
    assert "<b>damaged</b>" in told["note"]
    refused = browser.get("/image/59")
    assert refused.status == 400
    assert b"its conversion failed" in refused.content


def test_predictions_of_unlabeled_samples_are_those_of_the_features_file(browser: Browser) -> None:
    told = browser.get("/api/sample/60").json
    assert (told["id"], told["embedded"], told["probs"], told["labels"]) == ("new-0", True, [0.7] * 4, None)
    assert told["predicted"] == [0, 1, 2]
    assert "right" not in told


@pytest.mark.parametrize("changed", [{"decision": "0" * 64}, {"decision": None}, {"folds": [0, 1]}])
def test_probabilities_of_other_models_or_thresholds_are_shown_without_predictions(
    pages: Pages, tmp_path: Path, changed: dict[str, object]
) -> None:
    found = read_embeddings(pages.embeddings)
    write_embeddings(tmp_path / "emb.npz", replace(found, about={**found.about, **changed}))
    catalog, reader = open_pages(replace(pages, embeddings=tmp_path / "emb.npz"))
    with reader:
        browser = Browser(catalog, reader)
        told = browser.get("/api/sample/60").json
        assert browser.get("/api/catalog").json["predicted"]["apart"] is True
    assert (told["probs"], told["predicted"], told["embedded"]) == ([0.7] * 4, [], True)
    nearest = select(catalog, Query(label=0, relation="any", order="threshold")).tolist()
    assert min(map(nearest.index, (60, 61))) >= 59  # after all that are held against a threshold


def test_calibrated_probabilities_of_the_features_file_are_not_held_against_thresholds(
    pages: Pages, tmp_path: Path
) -> None:
    found = read_embeddings(pages.embeddings)
    write_embeddings(tmp_path / "emb.npz", replace(found, about={"run": "run", "calibrated": True}))
    catalog, reader = open_pages(replace(pages, embeddings=tmp_path / "emb.npz"))
    with reader:
        told = Browser(catalog, reader).get("/api/sample/60").json
    assert told["probs"] is None
    assert len(told["neighbors"]) == 12


def test_pictures_of_the_size_in_the_store_are_its_pixels(browser: Browser, reader: Reader) -> None:
    image = reader.read_one(3)
    channels = reader.dataset.channels
    whole = browser.get("/image/3", "size=0")
    assert whole.headers["content-type"] == "image/png"
    assert (decode(whole.content) == to_rgb(image, channels)).all()
    some = browser.get("/image/3", "size=0&channels=0,2")
    assert (decode(some.content) == to_rgb(image[..., [0, 2]], [channels[0], channels[2]])).all()
    for c in range(3):
        plane = decode(browser.get("/image/3", f"size=0&channels={c}&gray=1").content)
        assert (plane == image[..., c]).all()
    assert not decode(browser.get("/image/3", "size=0&channels=").content).any()


def test_contrast_is_multiplied_as_the_page_says(browser: Browser, reader: Reader) -> None:
    image = reader.read_one(3).astype(float)
    gains = browser.get("/api/sample/3").json["gains"]
    assert gains == [round(find_gain(reader.read_one(3)[..., c]), 6) for c in range(3)]
    for gain, factor in (("2", 2.0), ("0", gains[1])):
        plane = decode(browser.get("/image/3", f"size=0&channels=1&gray=1&gain={gain}").content)
        assert np.abs(plane - (image[..., 1] * factor).clip(0, 255)).max() <= 1


def test_small_pictures_keep_the_ratio_of_sides_and_are_kept(tmp_path: Path) -> None:
    dataset = Dataset(name="wide", channels=(Channel(name="only"),), classes=("a",), height=100, width=400)
    store = write_part(tmp_path / "a.zarr", "train", ["a"], np.ones((1, 1), np.uint8), dataset=dataset)
    parts = choose_parts(store, ())
    with open_reader(store, parts) as reader:
        pictures = Pictures(reader, cache_bytes=20_000)
        content, kind = pictures.render(0, View(channels=(0,), size=192))
        assert (kind, decode(content).shape) == ("image/jpeg", (48, 192, 3))
        assert pictures.render(0, View(channels=(0,), size=192))[0] is content
        for gain in np.arange(1, 8, 0.25).tolist():
            pictures.render(0, View(channels=(0,), size=384, gain=gain))
        assert pictures.render(0, View(channels=(0,), size=192))[0] is not content


@pytest.mark.parametrize(
    "query",
    [
        *("channels=3", "channels=-1", "channels=a", "size=100", "size=100000", "size=-1", "gain=9", "gain=-1"),
        *("gain=nan", "gain=inf", "gain=1.1", "gray=1", "path=/etc/passwd", "channels=0,0,,", "size=1e3"),
        "channels=" + "0," * 9 + "9" * 5000,
    ],
)
def test_what_is_no_view_is_refused_with_a_line(browser: Browser, query: str) -> None:
    answer = browser.get("/image/0", query)
    assert answer.status == 400
    assert answer.content.count(b"\n") == 1


@pytest.mark.parametrize("n_classes", [1, 500])
def test_any_number_of_classes_and_channels_can_be_browsed(tmp_path: Path, n_classes: int) -> None:
    channels = tuple(Channel(name=f"c{number}") for number in range(n_classes % 9 + 1))
    classes = tuple(f"class {number}" for number in range(n_classes))
    dataset = Dataset(name="any", channels=channels, classes=classes, height=16, width=24)
    labels = np.eye(n_classes, dtype=np.uint8)[np.arange(5) % n_classes]
    store = write_part(tmp_path / "a.zarr", "train", list("abcde"), labels, dataset=dataset)
    parts = choose_parts(store, ())
    with open_reader(store, parts) as reader:
        browser = Browser(read_catalog(store, parts, reader), reader)
        assert len(browser.get("/api/catalog").json["classes"]) == n_classes
        assert browser.get("/api/samples", f"label={n_classes - 1}").json["total"] == (5 if n_classes == 1 else 0)
        assert browser.get("/api/sample/4").json["neighbors"] is None
        assert browser.get("/image/4").status == 200


def test_parts_of_another_size_are_left_out_unless_they_are_named(tmp_path: Path) -> None:
    store = write_part(tmp_path / "a.zarr", "train", ["a"], np.eye(1, 4, dtype=np.uint8))
    write_part(tmp_path / "a.zarr", "large", ["b"], None, dataset=DATASET.resized(64, 64))
    assert [part.name for part in choose_parts(store, ())] == ["train"]
    assert [part.name for part in choose_parts(store, ["large"])] == ["large"]


def test_a_run_or_features_of_other_samples_are_refused(pages: Pages, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", make_rows())
    store = write_part(tmp_path / "b.zarr", "train", ["a"], np.eye(1, 4, dtype=np.uint8))
    parts = choose_parts(store, ())
    with open_reader(store, parts) as reader:
        for run, message in ((other, "part 'train' is not the one"), (pages.run, "part 'train' is not the one")):
            with pytest.raises(InputError, match=message):
                read_catalog(store, parts, reader, run=run)
        with pytest.raises(InputError, match="with none of the samples that are shown"):
            read_catalog(store, parts, reader, embeddings=pages.embeddings)


def test_a_run_in_which_parts_have_the_same_ids_is_joined_by_part(pages: Pages) -> None:
    catalog, reader = open_pages(pages, "test", "train", embeddings=False)
    with reader:
        assert catalog.predictions is not None
        same = [index for index, name in enumerate(catalog.ids) if name == "sample-0009"]
        assert (catalog.predictions.origins[same] > 0).tolist() == [False, True]
        assert select(catalog, Query(verdict="right", part="test")).tolist() == []


PNG = b"\x89PNG\r\n\x1a\n rest"


def write_index(folder: Path, *samples: dict[str, str]) -> Path:
    folder.mkdir()
    (folder / "index.json").write_text(json.dumps({"samples": samples}))
    (folder / "001-a.png").write_bytes(PNG)
    return folder


def test_class_maps_of_a_folder_are_shown_with_their_samples(pages: Pages, catalog: Catalog, tmp_path: Path) -> None:
    folder = write_index(tmp_path / "maps", {"id": catalog.ids[9], "part": "train", "file": "001-a.png"})
    mapped, reader = open_pages(pages, explained=folder)
    with reader:
        browser = Browser(mapped, reader)
        assert (browser.get("/api/sample/9").json["map"], browser.get("/api/sample/8").json["map"]) == (True, False)
        assert browser.get("/map/9")[::2] == (200, PNG)
        assert browser.get("/map/8").status == browser.get("/map/../maps/index.json").status == 404
        (folder / "001-a.png").write_bytes(b"root:x:0:0")
        assert browser.get("/map/9").status == 400
        (folder / "001-a.png").unlink()
        (tmp_path / "secret.png").write_bytes(PNG)
        (folder / "001-a.png").symlink_to(tmp_path / "secret.png")
        refused = browser.get("/map/9")
        assert refused.status == 400
        assert b"it is a link" in refused.content


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("../secret.png", "files of its folder alone"),
        ("/etc/passwd", "files of its folder alone"),
        ("", "its folder"),
        ("..", "its folder"),
    ],
)
def test_names_that_lead_out_of_a_folder_of_maps_are_refused(
    catalog: Catalog, tmp_path: Path, file: str, message: str
) -> None:
    folder = write_index(tmp_path / "maps", {"id": catalog.ids[9], "part": "train", "file": file})
    with pytest.raises(InputError, match=message):
        read_maps(folder, catalog)


def test_a_name_of_class_maps_that_is_no_unicode_is_refused_with_a_line(
    pages: Pages, catalog: Catalog, tmp_path: Path
) -> None:
    folder = write_index(tmp_path / "maps", {"id": catalog.ids[9], "part": "train", "file": "\ud800.png"})
    mapped, reader = open_pages(pages, explained=folder)
    with reader:
        answer = Browser(mapped, reader).get("/map/9")
    assert answer.status == 400
    assert b"\\ud800.png" in answer.content


def test_a_folder_without_maps_of_these_samples_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    folder = write_index(tmp_path / "maps", {"id": "nobody", "part": "train", "file": "001-a.png"})
    with pytest.raises(InputError, match="none of the samples that are shown"):
        read_maps(folder, catalog)
    for text in ("{", "[]", '{"samples": [1]}', '{"samples": 3}', "[" * 100_000):
        (folder / "index.json").write_text(text)
        with pytest.raises(InputError, match="explain must be a folder"):
            read_maps(folder, catalog)
