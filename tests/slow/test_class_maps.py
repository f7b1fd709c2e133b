"""Class maps of all networks, and of the demo's: on the right structures, and gone with the weights."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.stats import spearmanr

from hpa_data.store.store import open_store
from hpa_model import nets
from hpa_model.demo import Demo
from hpa_model.evaluation.class_maps import Mapper, find_pooled, make_mapper
from hpa_model.runs.folder import BEST_FILE, fold_folder, read_run
from hpa_model.runs.models import load_model
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.training.network import build_network

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
# The brightest share of the green channel, which is the structure; samples that are looked at; classes with fewer maps
# are left out.
STRUCTURE, N_SAMPLES, MIN_MAPS = 0.1, 150, 3
# Measured: maps are 1.9 times as high on the structure as beside it, and higher for 21 of 22 classes; their rank
# correlation with those of random weights is 0.20, with those of the other fold's model 0.45.
MIN_RATIO, MIN_HIGHER, MAX_RANDOM, MIN_MORE = 1.4, 0.7, 0.3, 0.1
# Networks that average the last layer alone over rows and columns.
POOLED = {"densenet121", "resnet50v2", "inceptionv3", "efficientnetv2-b0"}


def list_maps(demo: Demo, mappers: list[Mapper]) -> tuple[np.ndarray, ...]:
    """Return the maps of true classes that are more probable than not, of some samples.

    Returns
    -------
    classes : array of int, shape (M,)
    maps : array of float32, shape (M, 3, y, x)
        By the model that did not see the sample, by that of the other fold, and by the last of `mappers`.
    structures : array of bool, shape (M, Y, X)
    """
    rows = read_out_of_fold(demo.network.run)
    found: list[tuple[int, np.ndarray, np.ndarray]] = []
    with open_store(read_run(demo.network.run).store).reader(["train"]) as reader:
        shown = np.flatnonzero((rows.labels & (rows.probs > 0.5)).any(axis=1))[:N_SAMPLES]
        for row in shown.tolist():
            fold, classes = int(rows.folds[row]), np.flatnonzero(rows.labels[row] & (rows.probs[row] > 0.5))
            images = reader.read([reader.ids.index(rows.ids[row])])
            maps = np.stack([mappers[n](images, classes)[0][0] for n in (fold, 1 - fold, -1)], axis=1)
            green = images[0, ..., 1]
            structure = green > np.quantile(green, 1 - STRUCTURE)
            found += [(k, each, structure) for k, each in zip(classes.tolist(), maps, strict=True)]
    return tuple(np.array(each) for each in zip(*found, strict=True))


def correlate(maps: np.ndarray, others: np.ndarray) -> float:
    """Return the rank correlation of pairs of maps over their cells, on average; those that are 0 are left out."""
    pairs = [(one.ravel(), other.ravel()) for one, other in zip(maps, others, strict=True) if one.any() and other.any()]
    return float(np.mean([abs(spearmanr(*pair)[0]) for pair in pairs]))


def test_maps_lie_on_the_structure_of_their_class_and_are_gone_with_the_weights(demo: Demo) -> None:
    """The second half is the test by randomized parameters of Adebayo et al. 2018."""
    run = demo.network.run
    description = read_run(run)
    mappers = [make_mapper(load_model(fold_folder(run, fold) / BEST_FILE, description)) for fold in (0, 1)]
    keras.utils.set_random_seed(1)
    random = make_mapper(build_network(description, fold=0), layer=mappers[0].layer)
    classes, maps, structures = list_maps(demo, [*mappers, random])
    spread = [mappers[0].grid.spread(each[0], *structures.shape[1:]) for each in maps]
    heights = np.array([(each[on].mean(), each[~on].mean()) for each, on in zip(spread, structures, strict=True)])
    is_higher = heights[:, 0] > heights[:, 1]
    frequent = [k for k in np.unique(classes) if (classes == k).sum() >= MIN_MAPS]
    higher = [k for k in frequent if np.subtract(*heights[classes == k].mean(axis=0)) > 0]
    (on, beside), with_other, with_random = heights.mean(axis=0), *(correlate(maps[:, 0], maps[:, n]) for n in (1, 2))
    print(
        f"{len(maps)} maps: {on:.2f} on the structure, {beside:.2f} beside it, higher for {is_higher.mean():.2f} of "
        f"them, and {len(higher)} of {len(frequent)} classes; rank correlation with the other fold {with_other:.2f}, "
        f"with random weights {with_random:.2f}"
    )
    assert len(frequent) >= 10
    assert on > MIN_RATIO * beside
    assert len(higher) >= MIN_HIGHER * len(frequent)
    assert with_random < MAX_RANDOM
    assert with_other > with_random + MIN_MORE


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


def test_tensorflow_and_jax_draw_the_same_maps(demo: Demo, tmp_path: Path) -> None:
    run = demo.network.run
    found = []
    for backend in ("tensorflow", "jax"):
        words = ["explain", run, read_run(run).store, "--out", tmp_path / backend]
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
from hpa_model.demo import Demo
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
