"""Positions of samples on a map: features in two dimensions."""

import importlib.util
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError

Method = Literal["umap", "pca"]

# Neighbors that UMAP looks at by default; there have to be more samples than that.
N_NEIGHBORS = 15


def choose_method(method: Method | None) -> Method:
    """Return a method: the one that is asked for, by default UMAP, or PCA where umap-learn is not installed."""
    if method is not None and method not in get_args(Method):
        raise InputError(f"method must be one of {', '.join(get_args(Method))}. Received: {method=}. Choose one.")
    is_installed = importlib.util.find_spec("umap") is not None
    if method == "umap" and not is_installed:
        raise InputError(
            "Cannot draw a map by UMAP: umap-learn is not installed. Run: pip install '.[embed]', or pass --method pca."
        )
    return method or ("umap" if is_installed else "pca")


def project(vectors: npt.NDArray[np.float32], method: Method, *, seed: int = 0) -> npt.NDArray[np.float64]:
    """Place samples on a map.

    Parameters
    ----------
    vectors : array of float32, shape (N, D)
        Features; at least three samples and two features.
    method : {"umap", "pca"}
        UMAP (McInnes et al. 2018) of the cosines of the features: near samples are alike, and distances between groups
        say little. PCA: the two directions in which the features vary most.
    seed : int
        Of UMAP. The same seed, features and version of umap-learn give the same map.

    Returns
    -------
    array of float64, shape (N, 2)
        For PCA, the sign of each direction is such that its largest weight is positive.
    """
    if len(vectors) < 3 or vectors.shape[1] < 2:
        raise InputError(f"Cannot draw a map of {len(vectors)} samples with {vectors.shape[1]} features. Pass more.")
    if method == "pca":
        centered = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
        _, _, directions = np.linalg.svd(centered, full_matrices=False)
        largest = directions[np.arange(2), abs(directions[:2]).argmax(axis=1)]
        return centered @ (directions[:2] * np.sign(largest)[:, None]).T
    import umap

    model = umap.UMAP(
        n_neighbors=min(N_NEIGHBORS, len(vectors) - 1),
        metric="cosine",
        random_state=seed,
        n_jobs=1,  # more than one is not repeatable
        init="spectral" if len(vectors) > N_NEIGHBORS else "random",
    )
    return np.asarray(model.fit_transform(vectors), np.float64)
