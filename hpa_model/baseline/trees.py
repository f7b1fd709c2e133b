"""Extremely randomized trees: grown by scikit-learn, kept and applied as plain arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# Of this many samples a leaf holds one at least, which bounds the size of a forest of a large data set.
SAMPLES_PER_LEAF = 5000


@dataclass(frozen=True, kw_only=True)
class Forest:
    """T trees with M nodes and L leaves together, which predict K classes from D features.

    A node is a leaf where `features` is below 0; its number among the leaves is then in `left`.
    """

    roots: npt.NDArray[np.int32]
    """The first node of each tree, (T,)."""

    features: npt.NDArray[np.int32]
    """The feature that each node looks at, (M,); -1 in a leaf."""

    thresholds: npt.NDArray[np.float64]
    """(M,): samples whose feature is at most this go to the left."""

    left: npt.NDArray[np.int32]
    """(M,), the next node there."""

    right: npt.NDArray[np.int32]
    """(M,), the next node on the other side."""

    shares: npt.NDArray[np.float32]
    """Of the training samples in each leaf, those that show each class, (L, K)."""

    importances: npt.NDArray[np.float64]
    """How much of the impurity each feature takes away, (D,); they sum to 1, or all are 0."""

    def predict(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the probability of each class, float64 (N, K), for features, float32 (N, D)."""
        rows = np.arange(len(features))
        total = np.zeros((len(features), self.shares.shape[1]))
        for root in self.roots:
            nodes = np.full(len(features), root)
            active = np.flatnonzero(self.features[nodes] >= 0)
            while len(active):
                at = nodes[active]
                goes_left = features[rows[active], self.features[at]] <= self.thresholds[at]
                nodes[active] = np.where(goes_left, self.left[at], self.right[at])
                active = active[self.features[nodes[active]] >= 0]
            total += self.shares[self.left[nodes]]
        return total / len(self.roots)


def fit_forest(
    features: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8], *, n_trees: int, seed: int, threads: int
) -> Forest:
    """Grow a forest for all classes together.

    Parameters
    ----------
    features : array of float32, shape (N, D)
    labels : array of 0 and 1, shape (N, K)
    n_trees : int
    seed : int
    threads : int
        The forest does not depend on it.
    """
    from sklearn.ensemble import ExtraTreesClassifier

    fitted = ExtraTreesClassifier(
        n_trees,
        max_features="sqrt",
        min_samples_leaf=max(1, len(features) // SAMPLES_PER_LEAF),
        random_state=seed,
        n_jobs=threads,
    ).fit(features, labels[:, 0] if labels.shape[1] == 1 else labels)
    return make_forest(fitted)


def make_forest(fitted: Any) -> Forest:
    """Take the trees out of a fitted ``ExtraTreesClassifier`` of scikit-learn, of labels 0 and 1."""
    classes = [fitted.classes_] if fitted.n_outputs_ == 1 else fitted.classes_
    nodes, leaves = 0, 0
    pieces: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in ("features", "thresholds", "left", "right")}
    shares, roots = [], []
    for tree in (estimator.tree_ for estimator in fitted.estimators_):
        is_leaf = tree.children_left < 0
        roots.append(nodes)
        pieces["features"].append(np.where(is_leaf, -1, tree.feature))
        pieces["thresholds"].append(np.where(is_leaf, 0, tree.threshold))
        pieces["left"].append(np.where(is_leaf, leaves + is_leaf.cumsum() - 1, nodes + tree.children_left))
        pieces["right"].append(np.where(is_leaf, 0, nodes + tree.children_right))
        shares.append(_take_shares(tree.value[is_leaf], classes))
        nodes += len(is_leaf)
        leaves += int(is_leaf.sum())
    kinds = {"thresholds": np.float64}
    return Forest(
        roots=np.array(roots, np.int32),
        **{name: np.concatenate(arrays).astype(kinds.get(name, np.int32)) for name, arrays in pieces.items()},
        shares=np.concatenate(shares),
        importances=np.asarray(fitted.feature_importances_, np.float64),
    )


def _take_shares(values: npt.NDArray[np.float64], classes: list[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    """Return the share of samples that show each class from the values of leaves, float64 (L, K, 0 and 1)."""
    totals = values.sum(axis=2)
    shares = np.zeros(totals.shape, np.float32)
    for k, found in enumerate(classes):
        ones = np.flatnonzero(found == 1)  # none, for a class that no sample shows
        if len(ones):
            shares[:, k] = values[:, k, ones[0]] / totals[:, k]
    return shares
