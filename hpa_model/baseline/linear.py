"""Logistic regression, one class against all others: fitted by scikit-learn, kept and applied as plain arrays."""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Scaled features beyond are cut: one image unlike all others must not decide.
LARGEST = 10.0
MAX_ITERATIONS = 1000


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A linear classifier of D features into K classes."""

    means: npt.NDArray[np.float64]
    """(D,), subtracted from the features."""

    scales: npt.NDArray[np.float64]
    """(D,), which features are divided by."""

    weights: npt.NDArray[np.float64]
    """(D, K)."""

    biases: npt.NDArray[np.float64]
    """(K,); infinite for a class that all samples show, or none."""

    def predict(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the probability of each class, float64 (N, K), for features, float32 (N, D)."""
        # An infinite bias gives a probability of exactly 0 or 1.
        scaled = scale_features(features, self.means, self.scales)
        # Not BLAS, whose sums round differently on another number of threads.
        scores = np.einsum("nd,dk->nk", scaled, self.weights) + self.biases
        return np.exp(-np.logaddexp(0, -scores))


def scale_features(
    features: npt.NDArray[np.float32], means: npt.NDArray[np.float64], scales: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Scale features, float32 (N, D), to a mean of 0 and a deviation of 1."""
    return ((features - means) / scales).clip(-LARGEST, LARGEST)


def fit_linear(features: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8], *, inverse_penalty: float) -> Linear:
    """Fit a logistic regression to each class.

    Parameters
    ----------
    features : array of float32, shape (N, D)
    labels : array of 0 and 1, shape (N, K)
    inverse_penalty : float
        ``C`` of scikit-learn.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    means, scales = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scales[scales <= 1e-6 * np.abs(means)] = 1  # a constant feature, up to rounding
    scales[scales == 0] = 1
    scaled = scale_features(features, means, scales)
    n_classes = labels.shape[1]
    weights, biases = np.zeros((features.shape[1], n_classes)), np.zeros(n_classes)
    for k in range(n_classes):
        column = labels[:, k]
        if column.min() == column.max():
            biases[k] = np.inf if column[0] else -np.inf
            continue
        with warnings.catch_warnings():
            # What it has reached by then is good enough for a floor.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = LogisticRegression(C=inverse_penalty, max_iter=MAX_ITERATIONS).fit(scaled, column)
        weights[:, k], biases[k] = fitted.coef_[0], fitted.intercept_[0]
    return Linear(means=means, scales=scales, weights=weights, biases=biases)
