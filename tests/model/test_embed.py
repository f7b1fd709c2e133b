"""Features of samples: what they are, and the files that they are written to."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import keras
import numpy as np
import pytest

from hpa_data.errors import InputError
from hpa_data.store.store import Store
from hpa_model.predict.embeddings import Embeddings, _list_arrays, read_embeddings, write_embeddings
from hpa_model.predict.features import _check_features, predict_features
from hpa_model.runs.baseline import read_baseline
from hpa_model.runs.folder import BEST_FILE, fold_folder, read_run
from hpa_model.runs.models import load_model
from hpa_model.training.baseline import train_baseline
from tests.builders import Hpa, assert_refused
from tests.model.stopping import CONFIG

FORMATS = [
    ".npz",
    ".parquet",
    pytest.param(
        ".h5ad", marks=pytest.mark.skipif(importlib.util.find_spec("anndata") is None, reason="needs anndata")
    ),
]


@pytest.fixture(scope="module")
def networks(run: Path) -> list[keras.Model]:
    description = read_run(run)
    return [load_model(fold_folder(run, fold) / BEST_FILE, description) for fold in (0, 1)]


@pytest.fixture(scope="module")
def example() -> Embeddings:
    rng = np.random.default_rng(0)
    return Embeddings(
        ids=("a", "b", "b"),
        parts=("train", "train", "test"),
        vectors=rng.normal(size=(3, 5)).astype(np.float32),
        classes=("Nucleus & co", "Cytosol"),
        probs=rng.random((3, 2)).astype(np.float32),
        labels=np.array([[1, 0], [0, 1], [0, 0]], np.uint8),
        is_labeled=np.array([True, True, False]),
        about={"run": "run", "folds": [0]},
        metadata={"cell line": ("HeLa", "", "U-2 OS"), "plate": ("1", "2", "3")},
    )


def assert_same(found: Embeddings, expected: Embeddings) -> None:
    for field in dataclasses.fields(Embeddings):
        one, other = getattr(found, field.name), getattr(expected, field.name)
        if isinstance(other, np.ndarray):
            assert one.dtype == other.dtype
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other


def test_features_are_what_the_output_layer_is_given(networks: list[keras.Model], store: Store) -> None:
    rows = np.arange(6)
    with store.reader(["test"]) as reader:
        rows = np.arange(len(reader))
        features, probs = predict_features(networks[:1], reader, rows, 2)
        again, _ = predict_features(networks[:1], reader, rows, 3)
    weights, biases = networks[0].get_layer("head_outputs").get_weights()
    np.testing.assert_allclose(1 / (1 + np.exp(-(features @ weights + biases))), probs, atol=1e-5)
    np.testing.assert_allclose(again, features, rtol=1e-4, atol=1e-5)


def test_features_that_are_not_finite_are_refused_by_their_sample(store: Store) -> None:
    rows = np.array([[1.0, 2.0], [np.inf, 0.0]], np.float32)
    with store.reader(["test"]) as reader:
        name = reader.ids[1]
        with pytest.raises(InputError, match=f"Cannot use model m: its features of sample '{name}' are not finite"):
            _check_features([rows], reader, np.array([0, 1]), ["model m"])
        _check_features([rows[:1]], reader, np.array([0]), ["model m"])


def test_the_cosine_of_several_folds_is_the_mean_of_theirs(networks: list[keras.Model], store: Store) -> None:
    def cosines(rows: np.ndarray) -> np.ndarray:
        scaled = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return scaled @ scaled.T

    with store.reader(["test"]) as reader:
        rows = np.arange(len(reader))
        joined, probs = predict_features(networks, reader, rows, 4)
        apart = [predict_features([network], reader, rows, 4) for network in networks]
    np.testing.assert_allclose(np.linalg.norm(joined, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(cosines(joined), np.mean([cosines(each) for each, _ in apart], axis=0), atol=1e-5)
    np.testing.assert_allclose(probs, np.mean([each for _, each in apart], axis=0), atol=1e-6)


def test_a_layer_with_rows_and_columns_is_averaged_over_them(networks: list[keras.Model], store: Store) -> None:
    with store.reader(["test"]) as reader:
        features, _ = predict_features(networks[:1], reader, np.arange(2), 2, layer="conv_1")
        images = reader.read([0, 1])
    network = networks[0]
    maps = keras.Model(network.inputs, network.get_layer("conv_1").output).predict_on_batch(images)
    assert maps.ndim == 4
    np.testing.assert_allclose(features, maps.mean(axis=(1, 2)), rtol=1e-4, atol=1e-5)


def test_the_command_writes_the_probabilities_of_a_prediction_in_each_format(
    run: Path, store: Store, tmp_path: Path, hpa: Hpa
) -> None:
    words = ("predict", run, store.path, "--part", "train", "--out", tmp_path / "a.csv", "--probs", tmp_path / "p.npz")
    assert hpa(*words).status == 0
    with np.load(tmp_path / "p.npz") as file:
        probs = file["probs"]
    ended = hpa("embed", run, store.path, "--out", tmp_path / "e.npz", "--json")
    assert ended.status == 0, ended.err
    part = store.part("train")
    report = json.loads(ended.out)
    assert (report["n_samples"], report["n_features"]) == (len(part.ids), 512)
    assert "trained on samples to predict" in report["notices"][0]["what"]
    found = read_embeddings(tmp_path / "e.npz")
    assert list(found.ids) == part.ids
    assert set(found.parts) == {"train"}
    np.testing.assert_allclose(found.probs, probs, atol=1e-6)
    np.testing.assert_array_equal(found.labels, part.labels)
    assert found.is_labeled.all()
    assert found.about["folds"] == [0, 1]
    assert found.about["network"] == "gapnet"


def test_probabilities_beside_features_are_calibrated_if_asked(
    run: Path, store: Store, tmp_path: Path, hpa: Hpa
) -> None:
    words = ("embed", run, store.path, "--part", "test", "--calibrated", "--out", tmp_path / "e.npz")
    assert hpa(*words).status == 0
    submission = ("predict", run, store.path, "--out", tmp_path / "s.csv", "--probs", tmp_path / "p.npz")
    assert hpa(*submission, "--calibrated").status == 0
    found = read_embeddings(tmp_path / "e.npz")
    with np.load(tmp_path / "p.npz") as arrays:
        np.testing.assert_allclose(found.probs, arrays["probs"], atol=1e-6)
    assert found.about["calibrated"] is True


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("has_labels", [True, False])
def test_what_is_written_is_read(example: Embeddings, suffix: str, has_labels: bool, tmp_path: Path) -> None:
    written = example
    if not has_labels:
        written = dataclasses.replace(example, labels=None, is_labeled=np.zeros(3, bool))
    path = tmp_path / f"a{suffix}"
    write_embeddings(path, written)
    assert_same(read_embeddings(path), written)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_that_holds_no_embeddings_is_refused(example: Embeddings, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    with pytest.raises(InputError, match="there is no such file. Make it with `hpa embed`"):
        read_embeddings(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="holds no embeddings"):
        read_embeddings(path)
    write_embeddings(path, example)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="holds no embeddings"):
        read_embeddings(path)
    write_embeddings(path, dataclasses.replace(example, vectors=np.full((3, 2), np.nan, np.float32)))
    with pytest.raises(InputError, match="no table of finite numbers"):
        read_embeddings(path)


def test_parts_with_and_without_labels_stand_in_one_file(run: Path, store: Store, tmp_path: Path, hpa: Hpa) -> None:
    words = ("embed", run, store.path, "--part", "test", "--part", "train", "--out", tmp_path / "a.npz")
    assert hpa(*words).status == 0
    found = read_embeddings(tmp_path / "a.npz")
    is_train = np.array(found.parts) == "train"
    assert found.labels is not None
    np.testing.assert_array_equal(found.is_labeled, is_train)
    np.testing.assert_array_equal(found.labels[is_train], store.part("train").labels)
    assert not found.labels[~is_train].any()


def test_columns_of_a_table_stand_beside_the_features(run: Path, store: Store, tmp_path: Path, hpa: Hpa) -> None:
    ids = store.part("train").ids
    table = tmp_path / "lines.csv"
    table.write_text("Id,cell_line,plate\n" + "".join(f"{name},HeLa {k},{k % 2}\n" for k, name in enumerate(ids[1:])))
    words = ("embed", run, store.path, "--out", tmp_path / "a.npz", "--metadata", table)
    ended = hpa(*words, "--json")
    assert ended.status == 0, ended.err
    assert any("samples have no row in" in notice["what"] for notice in json.loads(ended.out)["notices"])
    found = read_embeddings(tmp_path / "a.npz")
    assert found.metadata["cell_line"] == ("", *(f"HeLa {k}" for k in range(len(ids) - 1)))
    assert list(found.metadata) == ["cell_line", "plate"]
    table.write_text("Id,part\nx,1\n")
    assert_refused(hpa(*words), "of which one is called 'part'")
    table.write_text("Id,line\nx,1\n")
    assert_refused(hpa(*words), "metadata must have rows of the samples")
    table.write_text(f"Id,line\n{ids[0]},1\n{ids[0]},2\n")
    assert_refused(hpa(*words), "row 3 has the id")


@pytest.mark.skipif(importlib.util.find_spec("anndata") is None, reason="needs anndata")
def test_columns_that_scanpy_adds_are_metadata(example: Embeddings, tmp_path: Path) -> None:
    import h5py
    import pandas as pd
    from anndata.io import write_elem

    write_embeddings(tmp_path / "a.h5ad", example)
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        obs = file["obs"]
        write_elem(obs, "leiden", np.array(["0", "1", "1"], object))
        write_elem(obs, "score", np.array([0.5, np.nan, 2.0]))
        write_elem(obs, "alive", pd.array([True, None, False], "boolean"))
        obs.attrs["column-order"] = [*obs.attrs["column-order"], "leiden", "score", "alive"]
    found = read_embeddings(tmp_path / "a.h5ad")
    assert found.metadata == {
        **example.metadata,
        "leiden": ("0", "1", "1"),
        "score": ("0.5", "", "2.0"),
        "alive": ("True", "", "False"),
    }


def test_a_table_that_pandas_wrote_again_is_read(example: Embeddings, tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    write_embeddings(tmp_path / "a.parquet", example)
    table = pd.read_parquet(tmp_path / "a.parquet")
    table["id"], table["batch"] = [7, 8, 9], [1.0, None, 2.0]
    table.to_parquet(tmp_path / "b.parquet")
    found = read_embeddings(tmp_path / "b.parquet")
    np.testing.assert_array_equal(found.vectors, example.vectors)
    assert found.ids == ("7", "8", "9")
    assert found.metadata["batch"] == ("1.0", "", "2.0")


@pytest.mark.parametrize(
    "changed", [{"about": {"folds": "0"}}, {"about": {"layer": 3}}, {"probs": np.full((3, 2), 7.0)}]
)
def test_embeddings_of_other_kinds_of_values_are_refused(example: Embeddings, changed: dict, tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.npz", dataclasses.replace(example, **changed))
    with pytest.raises(InputError, match="holds no embeddings"):
        read_embeddings(tmp_path / "a.npz")


def test_one_long_cell_of_the_metadata_does_not_make_all_long(example: Embeddings, tmp_path: Path) -> None:
    long = dataclasses.replace(example, metadata={f"column {k}": ("x" * 10_000, "", "") for k in range(50)})
    assert sum(array.nbytes for array in _list_arrays(long).values()) < 4_000_000
    write_embeddings(tmp_path / "a.npz", long)
    assert read_embeddings(tmp_path / "a.npz").metadata == long.metadata


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", id=np.array([{"a": 1}], object))
    with pytest.raises(InputError, match="holds no embeddings"):
        read_embeddings(tmp_path / "a.npz")


def test_what_cannot_be_done_is_refused_in_a_line(run: Path, store: Store, tmp_path: Path, hpa: Hpa) -> None:
    words = ("embed", run, store.path, "--out")
    assert_refused(hpa(*words, tmp_path / "a.csv"), "out must be a file that ends in .npz, .parquet, .h5ad. Received: ")
    assert_refused(
        hpa(*words, tmp_path / "a.npz", "--layer", "conv1"),
        "layer must be one of gapnet. Received: layer='conv1'. Did you mean 'conv_1'?",
    )
    assert_refused(hpa(*words, tmp_path / "a.npz", "--fold", 2), "fold must be from 0 to 1")
    with pytest.MonkeyPatch.context() as patch:  # before hours are spent on it
        patch.setattr("hpa_model.predict.embed.predict_features", None)
        patch.setattr("hpa_model.predict.embed.estimate_embeddings", lambda *sizes: 2**60 if sizes[1] == 512 else 0)
        assert_refused(hpa(*words, tmp_path / "a.npz"), "free")
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_read_are_left_out(run: Path, kaggle: Path, tmp_path: Path, hpa: Hpa) -> None:
    source = tmp_path / "test"
    source.mkdir()
    for path in (kaggle / "test").iterdir():
        (source / path.name).write_bytes(b"" if path.name == "new-1_green.png" else path.read_bytes())
    ended = hpa("embed", run, source, "--out", tmp_path / "a.npz")
    assert ended.status == 1
    assert "Failed, left out: new-1: Cannot decode new-1_green.png" in ended.out
    found = read_embeddings(tmp_path / "a.npz")
    assert found.ids == ("new-0", "new-2")
    assert found.parts == ("", "")
    assert found.labels is None


def test_features_of_a_baseline_are_those_that_it_measures(store: Store, tmp_path: Path, hpa: Hpa) -> None:
    train_baseline(store, CONFIG, tmp_path / "base")
    assert hpa("embed", tmp_path / "base", store.path, "--out", tmp_path / "a.npz").status == 0
    found = read_embeddings(tmp_path / "a.npz")
    with np.load(tmp_path / "base" / "features.npz") as file:
        measured = next(file[name] for name in file if file[name].ndim == 2)  # (N, D)
    models = [read_baseline(tmp_path / "base", fold, read_run(tmp_path / "base")).logistic for fold in (0, 1)]
    expected = np.mean([(measured - model.means) / model.scales for model in models], axis=0)
    np.testing.assert_allclose(found.vectors, expected, rtol=1e-4, atol=1e-4)
    assert_refused(
        hpa("embed", tmp_path / "base", store.path, "--layer", "a", "--out", tmp_path / "b.npz"),
        "layer must be left out for a baseline",
    )
