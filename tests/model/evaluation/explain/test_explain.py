"""`hpa explain`: which samples and classes it shows, by which models, and the folder that it writes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.baseline.settings import BaselineSettings
from hpa_model.evaluation.class_maps import Mapper, make_mapper
from hpa_model.evaluation.explain.files import begin_folder, check_folder, name_picture, write_maps, write_picture
from hpa_model.evaluation.explain.samples import MAX_CLASSES, pick_classes
from hpa_model.evaluation.images import pick_examples
from hpa_model.evaluation.scores import predict_headline
from hpa_model.runs.folder import BEST_FILE, fold_folder, read_run
from hpa_model.runs.membership import EnsembleSettings, Member
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import read_out_of_fold
from tests.builders import Hpa, assert_refused

INDEX = {"hpa": "0.9.0", "method": "grad-cam++", "samples": [{"file": "001-a.png"}, {"file": "../b.png"}]}


def read(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read the index, and the arrays without pickle."""
    with np.load(folder / "maps.npz", allow_pickle=False) as file:
        return json.loads((folder / "index.json").read_text()), dict(file)


@pytest.fixture(scope="module")
def mappers(run: Path) -> list[Mapper]:
    return [make_mapper(load_model(fold_folder(run, fold) / BEST_FILE, read_run(run))) for fold in (0, 1)]


def test_the_samples_of_the_report_are_explained_by_the_models_that_did_not_see_them(
    run: Path, store: Store, mappers: list[Mapper], tmp_path: Path, hpa: Hpa
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpa_model.evaluation.images.N_EXAMPLES", 2)  # fewer pictures
        ended = hpa("explain", run, store.path, "--out", tmp_path / "maps", "--json")
    assert ended.status == 0, ended.err
    report = json.loads(ended.out)
    index, arrays = read(tmp_path / "maps")
    rows = read_out_of_fold(run)
    correct, wrong = pick_examples(rows, predict_headline(rows))
    shown = [*correct[:2], *wrong[:2]]
    assert [sample["id"] for sample in index["samples"]] == [rows.ids[row] for row in shown]
    assert [sample["folds"] for sample in index["samples"]] == [[rows.folds[row]] for row in shown]
    assert all(sample["unseen"] for sample in index["samples"])
    assert not report["notices"]
    assert (report["n_samples"], report["n_maps"]) == (len(shown), len(arrays["maps"]))
    assert arrays["maps"].shape[1:] == tuple(index["map_size"]) == tuple(report["map_size"])
    names = {path.name for path in (tmp_path / "maps").iterdir()}
    assert names == {"maps.npz", "index.json", *(sample["file"] for sample in index["samples"])}
    part = store.part("train")
    classes = read_run(run).classes
    for sample, row in zip(index["samples"], shown, strict=True):
        position = part.ids.index(sample["id"])
        numbers = [each["number"] for each in sample["classes"]]
        assert {k for k in range(len(classes)) if part.labels[position, k]} <= set(numbers)
        with store.reader(["train"]) as reader:
            ((maps,), _) = mappers[int(rows.folds[row])](reader.read([position]), numbers)
        own = [each["map"] for each in sample["classes"]]
        np.testing.assert_allclose(arrays["maps"][own], maps, atol=1e-3)
        assert set(arrays["ids"][own]) == {sample["id"]}
        assert arrays["classes"][own].tolist() == [classes[k] for k in numbers]
        image = cv2.imread(str(tmp_path / "maps" / sample["file"]))
        assert image.shape[1] == round(7.4 * 200)


def test_folds_that_are_named_are_averaged_and_classes_go_by_name_or_number(
    run: Path, store: Store, mappers: list[Mapper], tmp_path: Path, hpa: Hpa
) -> None:
    classes = read_run(run).classes
    name = store.part("test").ids[1]
    words = ("explain", run, store.path, "--part", "test", "--id", name, "--class", classes[5], "--class", 2)
    assert hpa(*words, "--out", tmp_path / "both").status == 0
    assert hpa(*words, "--fold", 1, "--out", tmp_path / "one").status == 0
    with store.reader(["test"]) as reader:
        each = [mapper(reader.read([1]), [5, 2])[0][0] for mapper in mappers]
    (index, both), (_, one) = read(tmp_path / "both"), read(tmp_path / "one")
    np.testing.assert_allclose(both["maps"], np.mean(each, axis=0), atol=1e-3)
    np.testing.assert_allclose(one["maps"], each[1], atol=1e-3)
    (sample,) = index["samples"]
    assert (sample["id"], sample["folds"], sample["unseen"]) == (name, [0, 1], False)
    assert [(found["class"], found["true"]) for found in sample["classes"]] == [(classes[5], None), (classes[2], None)]


def test_image_files_are_explained_and_those_that_cannot_be_read_left_out(
    run: Path, kaggle: Path, tmp_path: Path, hpa: Hpa
) -> None:
    source = tmp_path / "test"
    source.mkdir()
    for path in (kaggle / "test").iterdir():
        (source / path.name).write_bytes(b"" if path.name == "new-1_green.png" else path.read_bytes())
    ended = hpa("explain", run, source, "--out", tmp_path / "maps", "--ids", "new-2,new-1", "--classes", "0,1")
    assert ended.status == 1
    assert "Failed, left out: new-1: Cannot decode new-1_green.png" in ended.out
    index, arrays = read(tmp_path / "maps")
    assert [sample["id"] for sample in index["samples"]] == ["new-2"]
    assert arrays["ids"].tolist() == ["new-2"] * 2
    assert hpa("explain", run, source, "--out", tmp_path / "maps").status == 1  # what was written is replaced
    index, arrays = read(tmp_path / "maps")
    assert [sample["file"] for sample in index["samples"]] == ["001-new-0.png", "002-new-2.png"]
    assert len(list((tmp_path / "maps").iterdir())) == 4


def test_what_cannot_be_explained_is_refused_in_a_line_and_nothing_is_left(
    run: Path, store: Store, tmp_path: Path, hpa: Hpa
) -> None:
    words = ("explain", run, store.path, "--out", tmp_path / "maps")
    assert_refused(hpa(*words, "--id", "nobody"), "id must be that of a sample of")
    assert_refused(hpa(*words, "--class", "Nucleolli"), "Did you mean 'Nucleoli'?")
    assert_refused(hpa(*words, "--class", 28), "class must be a name, or a number from 0 to 27. Received: '28'.")
    assert_refused(hpa(*words, "--layer", "conv9"), "layer must be one of gapnet with rows and columns; the last ones")
    assert_refused(hpa(*words, "--method", "score"), "method must be grad-cam++ for gapnet")
    assert_refused(hpa(*words, "--fold", 2), "fold must be from 0 to 1")
    (tmp_path / "base").mkdir()
    replace(read_run(run), baseline=BaselineSettings()).write(tmp_path / "base")
    assert_refused(hpa("explain", tmp_path / "base", *words[2:]), "it is a baseline, whose features have no place")
    member = Member(run="a", relative="a", model="gapnet", channels=(), models=("b",), probs="c")
    (tmp_path / "joined").mkdir()
    replace(read_run(run), ensemble=EnsembleSettings(method="mean", members=(member, member))).write(
        tmp_path / "joined"
    )
    assert_refused(hpa("explain", tmp_path / "joined", *words[2:]), "Pass one of its members, such as a.")
    assert not (tmp_path / "maps").exists()
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "thesis.txt").touch()
    assert_refused(hpa(*words), "out must be a new or empty folder, or one that `hpa explain` wrote.")
    assert [path.name for path in (tmp_path / "maps").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a\nb\0c", "..", "", "x" * 300, "核 ~$(rm)", "-rf"]
)
def test_a_picture_has_a_name_that_no_id_can_lead_astray(name: str, tmp_path: Path) -> None:
    path = tmp_path / name_picture(7, name)
    path.touch()
    assert path.parent == tmp_path
    assert path.resolve().parent == tmp_path.resolve()
    assert path.name.startswith("007-")
    (tmp_path / "index.json").write_text(json.dumps({**INDEX, "samples": [{"file": path.name}]}))
    check_folder(tmp_path)  # it is known as ours


def test_true_classes_go_before_predicted_ones_where_there_are_too_many() -> None:
    probs = np.linspace(0.9, 0.1, 10)
    labels, predicted = np.zeros(10, np.uint8), np.zeros(10, np.uint8)
    assert pick_classes(probs, predicted, None) == (0,)
    predicted[:] = 1
    labels[[8, 9]] = 1
    assert pick_classes(probs, predicted, labels) == (0, 1, 2, 3, 8, 9)
    assert len(pick_classes(probs, predicted, None)) == MAX_CLASSES


FOREIGN = "out must be a new or empty folder, or one that `hpa explain` wrote"


def test_pictures_that_are_only_named_like_ours_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "maps"
    out.mkdir()
    picture = out / "001-green.png"
    picture.write_bytes(b"foreign")
    part = out / ".a.4194305-1.part"
    part.touch()
    with pytest.raises(InputError, match=FOREIGN):
        check_folder(out)
    (out / "index.json").write_text('{"samples": [{"file": "001-green.png"}]}')  # of another program
    with pytest.raises(InputError, match=FOREIGN):
        check_folder(out)
    (out / "index.json").write_text(json.dumps(INDEX))
    with pytest.raises(InputError, match="001-green.png"):
        check_folder(out)
    assert picture.read_bytes() == b"foreign"
    assert part.exists()


def test_only_what_an_earlier_index_lists_is_removed_once_the_new_one_is_written(tmp_path: Path) -> None:
    out = tmp_path / "maps"
    out.mkdir()
    (tmp_path / "b.png").write_bytes(b"outside")
    (out / "001-a.png").write_bytes(b"old")
    (out / "index.json").write_text(json.dumps(INDEX))
    (out / ".002-b.png.4194305-1.part").write_bytes(b"of a killed process")
    check_folder(out)
    about = {"hpa": "0.9.0", "method": "score", "map_size": [2, 2]}
    begun = begin_folder(out, about)
    write_picture(out, "001-c.png", b"new", begun)
    check_folder(out)  # as after an interruption, with an index that says nothing of pictures that may be replaced
    assert json.loads((out / "index.json").read_text())["samples"] == []
    assert (out / "001-a.png").read_bytes() == b"old"
    write_maps(out, [{"id": "c", "part": "", "file": "001-c.png", "classes": []}], [], about)
    assert sorted(path.name for path in out.iterdir()) == ["001-c.png", "index.json", "maps.npz"]
    assert "unfinished" not in read(out)[0]
    assert (tmp_path / "b.png").read_bytes() == b"outside"


@pytest.mark.parametrize(("out", "source"), [("a", "a"), ("a/maps", "a"), ("a", "a/images"), ("link/maps", "a")])
def test_maps_do_not_go_where_their_images_are(out: str, source: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    with pytest.raises(InputError, match="out must lie outside of SOURCE"):
        check_folder(tmp_path / out, source=tmp_path / source)
