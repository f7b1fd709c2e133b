"""Joining the probabilities of runs: what is fitted on which rows."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from hpa_data.errors import InputError
from hpa_model.config import JoinMethod
from hpa_model.runs.joining import JOINERS_FILE, cross_fit, fit_joiner, fit_weights, read_joiners, write_joiners

METHODS: tuple[JoinMethod, ...] = ("mean", "weighted", "stacked")


def draw(
    seed: int, *, n: int = 60, n_members: int = 3, n_classes: int = 4
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels (N, 4), probabilities (M, N, 4) of members, each better than the one before, and folds (N,)."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 4)) < 0.3).astype(np.uint8)
    skill = np.linspace(0.1, 0.8, n_members)[:, None, None]
    probs = (skill * labels + (1 - skill) * rng.random((n_members, n, 4))).astype(np.float32)
    return labels, probs, rng.permutation(np.arange(n) % 3)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6), fold=st.integers(0, 2))
def test_the_labels_of_a_fold_do_not_change_what_is_predicted_for_it(method: JoinMethod, seed: int, fold: int) -> None:
    labels, probs, folds = draw(seed)
    joined, _ = cross_fit(labels, probs, folds, method, n_folds=3)
    in_fold = np.flatnonzero(folds == fold)
    shuffled = labels.copy()
    shuffled[in_fold] = 1 - labels[np.random.default_rng(seed).permutation(in_fold)]
    again, _ = cross_fit(shuffled, probs, folds, method, n_folds=3)
    assert (again[in_fold] == joined[in_fold]).all()
    if method != "mean":  # it is fitted on the labels of the others
        assert (again[folds != fold] != joined[folds != fold]).any()


@pytest.mark.parametrize("method", ["mean", "weighted"])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), copies=st.integers(2, 7))
def test_copies_of_one_member_give_exactly_what_it_gives(method: JoinMethod, seed: int, copies: int) -> None:
    labels, probs, folds = draw(seed, n_members=2)
    joined, _ = cross_fit(labels, np.stack([probs[1]] * copies), folds, method, n_folds=3)
    assert joined.dtype == np.float32
    assert (joined == probs[1]).all()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), method=st.sampled_from(METHODS))
def test_joined_values_are_probabilities_whatever_is_joined(seed: int, method: JoinMethod) -> None:
    labels, probs, folds = draw(seed)
    rng = np.random.default_rng(seed)
    probs = np.where(rng.random(probs.shape) < 0.5, probs, (probs > 0.5).astype(np.float32))  # many are 0 or 1
    labels[:, 0], labels[:, 1] = 0, 1
    labels[folds == 1, 2] = 0
    joined, joiners = cross_fit(labels, probs, folds, method, n_folds=3)
    assert ((joined >= 0) & (joined <= 1)).all()
    assert len(joiners) == 4
    if method == "stacked":  # the only label that was seen
        assert (joined[:, :2] == [0, 1]).all()


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_those_of_the_lowest_cross_entropy(seed: int) -> None:
    labels, probs, _ = draw(seed, n=200)

    def measure_loss(free: np.ndarray) -> float:
        weights = np.exp(free) / np.exp(free).sum()
        joined = np.einsum("mnk,m->nk", probs.astype(float), weights)
        return float(-np.log(np.where(labels, joined, 1 - joined)).mean())

    found = fit_weights(labels, probs)
    assert found.sum() == pytest.approx(1)
    best = minimize(measure_loss, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12})
    assert measure_loss(np.log(found)) == pytest.approx(best.fun, abs=1e-6)
    assert found.argmax() == 2  # the best member


def test_a_stacker_is_the_logistic_regression_of_each_class() -> None:
    labels, probs, _ = draw(3, n=300)
    joined = fit_joiner(labels, probs, "stacked").join(probs)
    moved = (probs * 300 + 0.5) / 301
    logits = np.log(moved / (1 - moved)).astype(float)
    for k in range(4):
        features = logits[:, :, k].T
        scaled = ((features - features.mean(axis=0)) / features.std(axis=0)).clip(-10, 10)
        expected = LogisticRegression(max_iter=1000).fit(scaled, labels[:, k]).predict_proba(scaled)[:, 1]
        assert joined[:, k] == pytest.approx(expected, abs=1e-3)


def test_a_stacker_keeps_what_a_member_knows_whose_probabilities_are_often_0() -> None:
    # Trees of whose leaves many show no sample of a class, beside a network that knows little.
    lost = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        labels = (rng.random((500, 6)) < 0.045).astype(np.uint8)
        trees = rng.binomial(300, np.where(labels, rng.beta(2, 2, (500, 6)), rng.beta(0.5, 12, (500, 6)))) / 300
        assert (trees == 0).mean() > 0.1
        network = np.where(labels, rng.beta(1, 10, (500, 6)), rng.beta(1, 25, (500, 6)))
        probs = np.stack([trees, network]).astype(np.float32)
        joined, _ = cross_fit(labels, probs, np.arange(500) % 2, "stacked", n_folds=2)
        scores = [average_precision_score(labels, each, average="macro") for each in (trees, joined)]
        lost.append(scores[0] - scores[1])
    assert np.mean(lost) < 0.02


@pytest.mark.parametrize("method", METHODS)
def test_joiners_are_read_as_they_were_written(method: JoinMethod, tmp_path: Path) -> None:
    labels, probs, folds = draw(1)
    _, joiners = cross_fit(labels, probs, folds, method, n_folds=3)
    write_joiners(tmp_path, joiners)
    found = read_joiners(tmp_path, method, n_folds=3, n_members=3, n_classes=4)
    assert len(found) == 4
    for one, other in zip(found, joiners, strict=True):
        assert (one.join(probs) == other.join(probs)).all()
    with pytest.raises(InputError, match=r"joiners.npz: its weights are not float64 of shape \(4, 2, 4\)"):
        read_joiners(tmp_path, method, n_folds=3, n_members=2, n_classes=4)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", np.nan, "its weights are not finite"),
        ("weights", 2.0, "its weights are not those of a mean"),
        ("scales", 0.0, "a scale is not above 0"),
        ("n_rows", 0, "its n_rows are not 4 numbers above 0"),
    ],
)
def test_damaged_joiners_are_refused(name: str, value: float, message: str, tmp_path: Path) -> None:
    labels, probs, folds = draw(1)
    write_joiners(tmp_path, cross_fit(labels, probs, folds, "weighted", n_folds=3)[1])
    with np.load(tmp_path / JOINERS_FILE) as file:
        arrays = dict(file)
    arrays[name][1] = value
    np.savez(tmp_path / JOINERS_FILE, **arrays)
    with pytest.raises(InputError, match=message):
        read_joiners(tmp_path, "weighted", n_folds=3, n_members=3, n_classes=4)
