"""The classifiers of one fold, and the predictions of all folds together."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Channel
from hpa_model.baseline.features import measure_images
from hpa_model.baseline.linear import Linear, fit_linear
from hpa_model.baseline.settings import BaselineSettings, Classifier
from hpa_model.baseline.trees import Forest, fit_forest

Probs = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class BaselineModel:
    """The classifiers of one fold."""

    logistic: Linear
    trees: Forest

    def predict(self, features: npt.NDArray[np.float32], classifier: Classifier) -> Probs:
        """Return the probability of each class, float64 (N, K), for features, float32 (N, D)."""
        if classifier == "logistic":
            return self.logistic.predict(features)
        if classifier == "trees":
            return self.trees.predict(features)
        return (self.logistic.predict(features) + self.trees.predict(features)) / 2

    def encode(self) -> dict[str, npt.NDArray[Any]]:
        """Return the model as arrays by name; `decode` is the inverse."""
        return {
            f"{kind}_{name}": array
            for kind, part in (("logistic", self.logistic), ("trees", self.trees))
            for name, array in asdict(part).items()
        }

    @staticmethod
    def decode(arrays: Mapping[str, npt.NDArray[Any]], *, n_features: int, n_classes: int) -> "BaselineModel":
        """Make a model of arrays.

        Raises
        ------
        ValueError, LookupError or TypeError
            If they are not those of a model with this many features and classes.
        """
        kinds: dict[str, Any] = {"logistic": Linear, "trees": Forest}
        parts = {
            kind: made(**{name: arrays[f"{kind}_{name}"] for name in made.__dataclass_fields__})
            for kind, made in kinds.items()
        }
        model = BaselineModel(**parts)
        model.check(n_features, n_classes)
        return model

    def check(self, n_features: int, n_classes: int) -> None:
        """Check that predictions neither fail nor run forever; ValueError otherwise."""
        linear, forest = self.logistic, self.trees
        n_nodes, n_leaves = len(forest.features), len(forest.shares)
        shapes = {
            "means": (linear.means, (n_features,)),
            "scales": (linear.scales, (n_features,)),
            "weights": (linear.weights, (n_features, n_classes)),
            "biases": (linear.biases, (n_classes,)),
            "importances": (forest.importances, (n_features,)),
            "shares": (forest.shares, (n_leaves, n_classes)),
            **{name: (getattr(forest, name), (n_nodes,)) for name in ("features", "thresholds", "left", "right")},
            "roots": (forest.roots, (len(forest.roots),)),
        }
        for name, (array, shape) in shapes.items():
            kind = "i" if name in {"features", "left", "right", "roots"} else "f"
            if array.shape != shape or array.dtype.kind != kind or (name != "biases" and not np.isfinite(array).all()):
                raise ValueError(f"{name} has another shape or type, or a value that is not finite")
        if np.isnan(linear.biases).any() or (linear.scales <= 0).any() or not len(forest.roots):
            raise ValueError("a bias or a scale cannot be used, or there is no tree")
        inner = forest.features >= 0
        numbers = np.arange(n_nodes)
        # Children come after their node, so that every path ends.
        children = np.concatenate([forest.left[inner], forest.right[inner]])
        parents = np.concatenate([numbers[inner], numbers[inner]])
        is_valid = (
            (forest.features < n_features).all()
            and (children > parents).all()
            and (children < n_nodes).all()
            and ((forest.left[~inner] >= 0) & (forest.left[~inner] < n_leaves)).all()
            and ((forest.roots >= 0) & (forest.roots < n_nodes)).all()
            and ((forest.shares >= 0) & (forest.shares <= 1)).all()
        )
        if not is_valid:
            raise ValueError("its trees are damaged")


@dataclass(frozen=True, kw_only=True)
class BaselinePredictor:
    """The models of some folds, which share the features of an image."""

    models: tuple[BaselineModel, ...]
    settings: BaselineSettings
    channels: tuple[Channel, ...]

    def predict(self, images: npt.NDArray[np.uint8]) -> list[Probs]:
        """Return the probabilities of each model, float64 (B, K), for images, uint8 (B, Y, X, C)."""
        features = measure_images(images, self.channels, self.settings.image_size)
        return [model.predict(features, self.settings.model) for model in self.models]


def fit_model(
    features: npt.NDArray[np.float32],
    labels: npt.NDArray[np.uint8],
    settings: BaselineSettings,
    *,
    seed: int,
    threads: int,
) -> BaselineModel:
    """Fit both classifiers.

    Parameters
    ----------
    features : array of float32, shape (N, D)
    labels : array of 0 and 1, shape (N, K)
    settings : BaselineSettings
    seed : int
        Of the trees.
    threads : int
        The result does not depend on it.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):  # sums of BLAS round differently on another number of threads
        return BaselineModel(
            logistic=fit_linear(features, labels, inverse_penalty=settings.inverse_penalty),
            trees=fit_forest(features, labels, n_trees=settings.n_trees, seed=seed, threads=threads),
        )
