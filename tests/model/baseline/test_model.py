"""The classifiers: equal to scikit-learn's, kept as plain arrays, checked when they are read."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression

from hpa_model.baseline.linear import fit_linear, scale_features
from hpa_model.baseline.model import BaselineModel, fit_model
from hpa_model.baseline.settings import CLASSIFIERS, BaselineSettings
from hpa_model.baseline.trees import make_forest

N, D, K = 120, 7, 4
SETTINGS = BaselineSettings(n_trees=20)
Rows = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]


def make_rows(seed: int = 0, n_classes: int = K) -> Rows:
    """Draw features, one of them constant, and labels that depend on them; no sample shows the last class but one."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(N, D)).astype(np.float32)
    features[:, 3] = 0.1
    labels = (features[:, :n_classes] + random.normal(size=(N, n_classes)) > 0.8).astype(np.uint8)
    if n_classes > 1:
        labels[:, n_classes - 2] = 0
    return features, labels


@pytest.mark.parametrize("n_classes", [1, 2, K])
def test_trees_in_arrays_predict_what_scikit_learn_predicts(n_classes: int) -> None:
    features, labels = make_rows(n_classes=n_classes)
    others, _ = make_rows(seed=1)
    fitted = ExtraTreesClassifier(30, random_state=0, min_samples_leaf=3)
    fitted.fit(features, labels[:, 0] if n_classes == 1 else labels)
    probs = make_forest(fitted).predict(others)
    expected = fitted.predict_proba(others)
    for k, of_class in enumerate([expected] if n_classes == 1 else expected):
        ones = of_class[:, 1] if of_class.shape[1] == 2 else np.zeros(N)
        assert np.abs(probs[:, k] - ones).max() < 1e-6


def test_the_linear_classifier_in_arrays_predicts_what_scikit_learn_predicts() -> None:
    features, labels = make_rows()
    others, _ = make_rows(seed=1)
    linear = fit_linear(features, labels, inverse_penalty=0.3)
    probs = linear.predict(others)
    for k in (0, 1, 3):
        fitted = LogisticRegression(C=0.3, max_iter=1000)
        fitted.fit(scale_features(features, linear.means, linear.scales), labels[:, k])
        expected = fitted.predict_proba(scale_features(others, linear.means, linear.scales))[:, 1]
        assert np.abs(probs[:, k] - expected).max() < 1e-6


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_class_that_no_training_sample_shows_has_probability_0_and_one_that_all_show_1(name: str) -> None:
    features, labels = make_rows()
    labels[:, 0] = 1
    probs = fit_model(features, labels, SETTINGS, seed=0, threads=1).predict(features, name)  # type: ignore[arg-type]
    assert (probs[:, 0] == 1).all()
    assert (probs[:, K - 2] == 0).all()
    assert np.isfinite(probs).all()


def test_the_model_does_not_depend_on_the_number_of_threads_and_survives_its_arrays() -> None:
    features, labels = make_rows()
    one, two = (fit_model(features, labels, SETTINGS, seed=5, threads=threads) for threads in (1, 2))
    again = BaselineModel.decode(two.encode(), n_features=D, n_classes=K)
    for name in CLASSIFIERS:
        assert np.array_equal(one.predict(features, name), again.predict(features, name))


def damage_children(arrays: dict[str, npt.NDArray[np.generic]]) -> None:
    arrays["trees_left"][:] = 0  # a tree that never ends


def damage_leaves(arrays: dict[str, npt.NDArray[np.generic]]) -> None:
    arrays["trees_left"][np.flatnonzero(arrays["trees_features"] < 0)] = 10**6  # type: ignore[operator]


def damage_weights(arrays: dict[str, npt.NDArray[np.generic]]) -> None:
    arrays["logistic_weights"][0, 0] = np.nan  # type: ignore[index]


def lose_importances(arrays: dict[str, npt.NDArray[np.generic]]) -> None:
    del arrays["trees_importances"]


@pytest.mark.parametrize("damage", [damage_children, damage_leaves, damage_weights, lose_importances])
def test_damaged_arrays_are_refused(damage: object) -> None:
    features, labels = make_rows()
    arrays = {
        name: array.copy() for name, array in fit_model(features, labels, SETTINGS, seed=0, threads=1).encode().items()
    }
    damage(arrays)  # type: ignore[operator]
    with pytest.raises((ValueError, LookupError)):
        BaselineModel.decode(arrays, n_features=D, n_classes=K)


def test_arrays_of_other_features_are_refused() -> None:
    features, labels = make_rows()
    arrays = fit_model(features, labels, SETTINGS, seed=0, threads=1).encode()
    with pytest.raises(ValueError, match="means has another shape"):
        BaselineModel.decode(arrays, n_features=D + 1, n_classes=K)
