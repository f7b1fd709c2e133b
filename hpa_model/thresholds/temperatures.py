"""Temperatures: one number for each fold's model, so that its probabilities mean the same as those of others."""

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

# Probabilities are clipped to this distance from 0 and 1, as in Keras's cross-entropies.
EPSILON = 1e-7
# The temperatures that are tried. Few samples that are all right, or all wrong, would ask for any.
LOWEST, HIGHEST = 0.2, 5.0


def fit_temperatures(
    labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating], folds: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Fit the temperature of each fold: that of the lowest cross-entropy over its rows.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (N, K)
        Out-of-fold probabilities, in [0, 1].
    folds : array of int, shape (N,)
        From 0.

    Returns
    -------
    array of float64, shape (F,)
        One for each of the folds 0 to F - 1; 1 for a fold without rows. Above 1 if the model is too sure of itself.
    """
    from scipy.optimize import minimize_scalar  # takes a third of a second, and only who fits needs it

    temperatures = np.ones(int(folds.max()) + 1)
    for fold in np.unique(folds):
        rows = folds == fold
        # The sign of each logit is that of the truth: the loss of a label is log(1 + exp(-signed / temperature)).
        signed = logit(np.clip(np.asarray(probs[rows], np.float64), EPSILON, 1 - EPSILON))
        signed *= np.where(np.asarray(labels)[rows] != 0, 1, -1)

        def measure_loss(log_temperature: float, signed: npt.NDArray[np.float64] = signed) -> float:
            return float(np.logaddexp(0, -signed / np.exp(log_temperature)).mean())

        found = minimize_scalar(measure_loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
        temperatures[fold] = np.exp(found.x)
    return temperatures


def apply_temperatures(
    probs: npt.NDArray[np.floating], temperatures: npt.NDArray[np.float64] | float
) -> npt.NDArray[np.float64]:
    """Divide the logits of probabilities by a temperature.

    Parameters
    ----------
    probs : array of float, shape (N, K)
        In [0, 1].
    temperatures : float or array of float, shape (N,)
        Of all rows, or of each. 1 changes nothing.

    Returns
    -------
    array of float64, shape (N, K)
        In [0, 1]; the order of the probabilities of a class under one temperature stays.
    """
    exact = np.asarray(probs, np.float64)
    scale = np.broadcast_to(np.asarray(temperatures, np.float64), len(exact))[:, None]
    scaled: npt.NDArray[np.float64] = expit(logit(np.clip(exact, EPSILON, 1 - EPSILON)) / scale)
    return np.where(scale == 1, exact, scaled)
