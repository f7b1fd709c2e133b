"""Samples that are alike by their features: against a plain computation, and the command."""

import csv
import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from hpa_data.store.store import Store
from hpa_model.predict import similar
from hpa_model.predict.embeddings import Embeddings, read_embeddings, write_embeddings
from hpa_model.predict.similar import find_between, find_nearest
from tests.builders import Hpa, assert_refused


def make_embeddings(store: Store, *, seed: int = 0) -> Embeddings:
    """Make features of the samples of both parts; the first of the test part are nearly those of two others."""
    parts = [store.part(name) for name in ("train", "test")]
    ids = [(part.name, name) for part in parts for name in part.ids]
    n, n_train = len(ids), len(parts[0].ids)
    vectors = np.random.default_rng(seed).normal(size=(n, 30)).astype(np.float32)
    vectors[n_train] = 3 * vectors[2] + 0.01
    vectors[n_train + 1] = vectors[4]
    labels = np.zeros((n, len(parts[0].manifest.classes)), np.uint8)
    labels[:, 1] = 1
    return Embeddings(
        ids=tuple(name for _, name in ids),
        parts=tuple(part for part, _ in ids),
        vectors=vectors,
        classes=tuple(parts[0].manifest.classes),
        probs=labels.astype(np.float32),
        labels=labels,
        is_labeled=np.arange(n) < n_train,
        about={},
    )


def test_the_nearest_are_those_of_a_plain_computation() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    vectors[7] = vectors[9]  # as near as can be
    vectors[11] = 0  # like nothing
    found = find_nearest(vectors, 9, 60)
    assert len(found) == 49
    assert found[0].other == 7
    cosines = [each.cosine for each in found]
    assert cosines == sorted(cosines, reverse=True)
    for each in found:
        one, other = vectors[9].astype(float), vectors[each.other].astype(float)
        length = np.linalg.norm(one) * np.linalg.norm(other)
        assert each.cosine == pytest.approx(one @ other / length if length else 0, abs=1e-6)


@pytest.mark.parametrize("block", [1, 2, 1024])
def test_neighbors_between_parts_do_not_depend_on_the_size_of_a_block(
    store: Store, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similar, "BLOCK", block)
    found = make_embeddings(store)
    pairs = find_between(found, "test", min_cosine=0.95)
    names = {(found.ids[pair.row], found.ids[pair.other]) for pair in pairs}
    train, test = store.part("train").ids, store.part("test").ids
    assert names == {(test[0], train[2]), (test[1], train[4])}
    assert pairs[0].cosine >= pairs[1].cosine > 0.99
    assert len(find_between(found, "test", min_cosine=-1)) == len(test)


def test_the_command_lists_and_draws_the_nearest(store: Store, tmp_path: Path, hpa: Hpa) -> None:
    found = make_embeddings(store)
    write_embeddings(tmp_path / "a.npz", found)
    words = ("similar", store.path, tmp_path / "a.npz", "--id", store.part("test").ids[0], "-k", 3)
    ended = hpa(*words, "--out", tmp_path / "near.png", "--json")
    assert ended.status == 0, ended.err
    pairs = json.loads(ended.out)["pairs"]
    assert len(pairs) == 3
    assert (pairs[0]["neighbor"], pairs[0]["neighbor_part"]) == (store.part("train").ids[2], "train")
    assert pairs[0]["classes"] == found.classes[1]
    image = cv2.imread(str(tmp_path / "near.png"))
    assert image is not None
    assert image[:200, :200].any()
    assert store.part("train").ids[2] in hpa(*words).out


def test_the_command_lists_neighbors_between_parts(store: Store, tmp_path: Path, hpa: Hpa) -> None:
    write_embeddings(tmp_path / "a.npz", make_embeddings(store))
    words = ("similar", store.path, tmp_path / "a.npz", "--against", "test", "--out", tmp_path / "pairs.csv")
    ended = hpa(*words)
    assert ended.status == 0, ended.err
    assert "2 samples of test with a cosine of 0.95 or more" in ended.out
    with (tmp_path / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["id"] for row in rows} == set(store.part("test").ids[:2])
    assert {row["neighbor_part"] for row in rows} == {"train"}


def test_an_image_file_finds_its_own_sample_and_draws_it(
    run: Path, store: Store, kaggle: Path, tmp_path: Path, hpa: Hpa
) -> None:
    words = ("embed", run, store.path, "--part", "train", "--part", "test", "--fold", "1", "--out", tmp_path / "a.npz")
    assert hpa(*words).status == 0
    image = kaggle / "test" / f"{store.part('test').ids[1]}_green.png"
    query = ("similar", store.path, tmp_path / "a.npz", "--image", image)
    ended = hpa(*query, "--run", run, "-k", 2, "--out", tmp_path / "near.png", "--json")
    assert ended.status == 0, ended.err
    pairs = json.loads(ended.out)["pairs"]
    assert pairs[0]["id"] == pairs[0]["neighbor"] == store.part("test").ids[1]
    assert pairs[0]["cosine"] == pytest.approx(1, abs=1e-5)
    drawn = cv2.imread(str(tmp_path / "near.png"))
    assert drawn is not None
    assert (drawn[:250, :256] == drawn[:250, 260:516]).all()
    assert_refused(hpa(*query), "run must be given with --image")
    folder = ("similar", store.path, tmp_path / "a.npz", "--image", kaggle / "test", "--run", run)
    assert_refused(hpa(*folder), "image must be a file of one sample, or a folder of one")
    found = read_embeddings(tmp_path / "a.npz")
    others = np.random.default_rng(0).normal(size=found.vectors.shape).astype(np.float32)
    write_embeddings(tmp_path / "a.npz", dataclasses.replace(found, vectors=others))
    assert_refused(hpa(*query, "--run", run), "run must be the one that the embeddings were made with")


def test_what_cannot_be_found_is_refused_in_a_line(store: Store, tmp_path: Path, hpa: Hpa) -> None:
    write_embeddings(tmp_path / "a.npz", make_embeddings(store))
    words = ("similar", store.path, tmp_path / "a.npz")
    assert_refused(hpa(*words), "One of --id, --image and --against must be given")
    assert_refused(hpa(*words, "--id", "nobody"), "id must be one of the embeddings. Received: 'nobody'")
    assert_refused(hpa(*words, "--against", "other"), "against must be a part beside others. Received: 'other'")
    assert_refused(hpa(*words, "--against", "test", "--out", tmp_path / "a.png"), "out must be a .csv file")
    assert_refused(hpa(*words, "--against", "test", "-k", 3), "with --against")
    nearest = ("--id", store.part("test").ids[0])
    assert_refused(hpa("similar", tmp_path / "none.zarr", tmp_path / "a.npz", *nearest), "Cannot open the store")
    others = make_embeddings(store)
    write_embeddings(tmp_path / "b.npz", dataclasses.replace(others, parts=("external",) * len(others.ids)))
    assert_refused(hpa("similar", store.path, tmp_path / "b.npz", *nearest), "it has no part 'external'")
