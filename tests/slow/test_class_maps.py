"""Class maps of networks that have learned something: on the right structures, and gone with the weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.stats import spearmanr

from hpa_data.store.store import Store, open_store
from hpa_data.synth import write_samples
from hpa_model import nets
from hpa_model.config import TrainConfig
from hpa_model.evaluation.class_maps import Mapper, find_pooled, make_mapper
from hpa_model.evaluation.scores import predict_headline
from hpa_model.runs.folder import BEST_FILE, fold_folder, read_run
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.network import build_network
from hpa_model.training.train import train
from tests.builders import convert

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
CONFIG = TrainConfig(
    **{"model": "gapnet-pl", "folds": 2, "epochs": 30, "batch_size": 16, "image_size": 128, "symmetries": True},
    **{"options": {"dropout": 0.1}, "clip_norm": 1.0, "schedule": "cosine", "keep": "last"},
)
# The brightest share of the green channel, which is the structure, and classes with fewer samples are left out.
STRUCTURE, MIN_SAMPLES = 0.1, 3
# Of the maps with those of random weights, by ranks; 0.18 was measured.
MAX_CORRELATION = 0.3
# Networks that average the last layer alone over rows and columns.
POOLED = {"densenet121", "resnet50v2", "inceptionv3", "efficientnetv2-b0"}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Path]:
    """Train on 336 synthetic samples, 12 of each class."""
    folder = tmp_path_factory.mktemp("learned")
    write_samples(folder / "samples", n_samples=336, seed=0, uniform=True)
    convert(folder / "samples" / "train", folder / "a.zarr", labels=folder / "samples" / "train.csv")
    store = open_store(folder / "a.zarr")
    train(store, CONFIG, folder / "run", cache_bytes=2**29)
    return store, folder / "run"


def list_maps(store: Store, run: Path, mappers: list[Mapper]) -> tuple[np.ndarray, ...]:
    """Return the maps of the classes that are found, by the model that did not see the sample.

    Returns
    -------
    classes : array of int, shape (M,)
    maps, others : array of float32, shape (M, y, x)
        Of that model, and of the last of `mappers`.
    structures : array of bool, shape (M, Y, X)
    """
    rows = read_out_of_fold(run)
    predicted = predict_headline(rows)
    found: list[tuple[int, np.ndarray, np.ndarray, np.ndarray]] = []
    with store.reader(["train"]) as reader:
        for row, fold in enumerate(rows.folds.tolist()):
            classes = np.flatnonzero(rows.labels[row] & predicted[row])
            if not len(classes):
                continue
            images = reader.read([reader.ids.index(rows.ids[row])])
            own, last = (mappers[n](images, classes)[0][0] for n in (fold, -1))
            green = images[0, ..., 1]
            structure = green > np.quantile(green, 1 - STRUCTURE)
            found += [(k, own[n], last[n], structure) for n, k in enumerate(classes.tolist())]
    return tuple(np.array(each) for each in zip(*found, strict=True))


def correlate(maps: np.ndarray, others: np.ndarray) -> float:
    """Return the rank correlation of pairs of maps over their cells, on average; those that are 0 are left out."""
    pairs = [(one.ravel(), other.ravel()) for one, other in zip(maps, others, strict=True) if one.any() and other.any()]
    return float(np.mean([abs(spearmanr(*pair)[0]) for pair in pairs]))


def test_maps_lie_on_the_structure_of_their_class_and_are_gone_with_the_weights(learned: tuple[Store, Path]) -> None:
    """The second half is the test by randomized parameters of Adebayo et al. 2018."""
    store, run = learned
    description = read_run(run)
    mappers = [make_mapper(load_model(fold_folder(run, fold) / BEST_FILE, description)) for fold in (0, 1)]
    keras.utils.set_random_seed(1)
    random = make_mapper(build_network(description, fold=0), layer=mappers[0].layer)
    classes, maps, randomized, structures = list_maps(store, run, [*mappers, random])

    def compare(cells: np.ndarray) -> np.ndarray:
        """Return how high each map is on the structure, and beside it, (M, 2)."""
        spread = (mappers[0].grid.spread(each, *structures.shape[1:]) for each in cells)
        return np.array([(each[on].mean(), each[~on].mean()) for each, on in zip(spread, structures, strict=True)])

    heights, of_random = compare(maps), compare(randomized)
    frequent = [k for k in np.unique(classes) if (classes == k).sum() >= MIN_SAMPLES]
    higher = [k for k in frequent if np.subtract(*heights[classes == k].mean(axis=0)) > 0]
    correlation = correlate(maps, randomized)
    on, beside = heights.mean(axis=0)
    print(
        f"{len(maps)} maps: {on:.2f} on the structure, {beside:.2f} beside it, higher for {len(higher)} of "
        f"{len(frequent)} classes; with random weights {of_random.mean(axis=0).round(2)}, rank correlation "
        f"{correlation:.2f}"
    )
    assert len(frequent) >= 5
    assert on > 1.25 * beside
    assert len(higher) >= 0.7 * len(frequent)
    assert np.divide(*of_random.mean(axis=0)) < np.divide(on, beside)
    assert correlation < MAX_CORRELATION


@pytest.mark.parametrize("name", nets.NETS)
def test_every_network_has_maps_of_all_classes_with_the_probabilities_that_it_predicts(name: str) -> None:
    keras.utils.set_random_seed(0)
    model = nets.build(name, (160, 192, 3), 5)
    images = np.random.default_rng(0).integers(0, 256, (3, 160, 192, 3), dtype=np.uint8)
    mapper = make_mapper(model)
    maps, probs = mapper(images, range(5))
    np.testing.assert_allclose(probs, model.predict_on_batch(images), atol=1e-5)
    assert maps.shape == (3, 5, *mapper.grid.size)
    means = maps.mean(axis=(2, 3))
    np.testing.assert_allclose(means[maps.any(axis=(2, 3))], 1, rtol=1e-4)
    assert (find_pooled(model) is not None) == (name in POOLED)
    if name in POOLED:
        scores, _ = make_mapper(model, method="score")(images, range(5))
        _, bias = model.get_layer("head_outputs").get_weights()
        logits = np.log(probs) - np.log1p(-probs)
        np.testing.assert_allclose(scores.mean(axis=(2, 3)) + bias, logits, atol=1e-3)


def test_tensorflow_and_jax_draw_the_same_maps(learned: tuple[Store, Path], tmp_path: Path) -> None:
    store, run = learned
    found = []
    for backend in ("tensorflow", "jax"):
        words = ["explain", run, store.path, "--out", tmp_path / backend]
        done = subprocess.run(
            [sys.executable, ROOT / "cli.py", *map(str, words)],
            env=os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        with np.load(tmp_path / backend / "maps.npz") as file:
            found.append(dict(file))
    tensorflow, jax = found
    assert (tensorflow["ids"] == jax["ids"]).all()
    assert (tensorflow["classes"] == jax["classes"]).all()
    np.testing.assert_allclose(tensorflow["probs"], jax["probs"], atol=1e-3)
    np.testing.assert_allclose(tensorflow["maps"], jax["maps"], rtol=1e-2, atol=1e-2)
    assert json.loads((tmp_path / "jax" / "index.json").read_text())["layer"]


SAME = """
import sys
import numpy as np
import keras
from hpa_model.backend import settle_keras
from hpa_model.evaluation.class_maps import make_mapper
settle_keras()
model, images, answer = sys.argv[1:]
mapper = make_mapper(keras.models.load_model(model))
np.save(answer, mapper(np.load(images), range(4))[0])
"""


def test_the_formulas_agree_on_both_backends_to_the_fourth_digit(tmp_path: Path) -> None:
    keras.utils.set_random_seed(2)
    inputs = keras.Input((13, 21, 2), dtype="uint8")
    x = keras.layers.Conv2D(5, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.Dense(6, activation="relu")(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, keras.layers.Dense(4, activation="sigmoid")(x)).save(tmp_path / "a.keras")
    images = np.random.default_rng(0).integers(0, 256, (3, 13, 21, 2), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    for backend in ("tensorflow", "jax"):
        words = [tmp_path / "a.keras", tmp_path / "images.npy", tmp_path / f"{backend}.npy"]
        environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
        subprocess.run([sys.executable, "-c", SAME, *map(str, words)], env=environment, timeout=300, check=True)
    one, other = (np.load(tmp_path / f"{backend}.npy") for backend in ("tensorflow", "jax"))
    assert one.any()
    np.testing.assert_allclose(one, other, atol=1e-4)
