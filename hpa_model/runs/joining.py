"""Joining the probabilities of several runs: their mean, a weighted mean, or a regression for each class.

What is fitted is fitted on labels: a fold is joined by a joiner that was fitted on the other folds.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from hpa_data.system.atomic import open_atomic
from hpa_model.baseline.linear import fit_linear
from hpa_model.config import JoinMethod
from hpa_model.runs.folder import read_arrays, refuse_damage
from hpa_model.runs.seal import REMEDIES, unseal_files

JOINERS_FILE = "joiners.npz"
# A probability of 0 for what is true does not make a mixture impossible.
EPSILON = 1e-7
# Weights are fitted until none moves by more, or for so many steps.
TOLERANCE, MAX_STEPS = 1e-7, 2000
# What logistic regression divides its penalty by: scikit-learn's own default.
INVERSE_PENALTY = 1.0
# Logits in units of their deviation are cut there, as features of a baseline are.
LARGEST = 10.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Joiner:
    """How the probabilities of M members become one, for each of K classes."""

    method: JoinMethod
    """``mean``, ``weighted``, one weight per member for all classes, or ``stacked``, a logistic regression for each
    class on the logits that the members give it."""

    weights: Floats
    """(M, K). Of means, they are positive, and their sum over the members is 1."""

    biases: Floats
    """(K,), of regressions; infinite for a class that all samples show, or none."""

    centers: Floats
    """(M, K), subtracted from the logits of a regression."""

    scales: Floats
    """(M, K), which they are divided by then."""

    n_rows: int
    """Rows that it was fitted on, see `_find_logits`."""

    def join(self, probs: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """Join probabilities, (M, N, K), to one array, float32 (N, K)."""
        exact = np.asarray(probs, np.float64)
        # Not BLAS, whose sums round differently on another number of threads.
        if self.method != "stacked":
            joined = np.einsum("mnk,mk->nk", exact, self.weights)
        else:
            logits = _find_logits(exact, self.n_rows)
            scaled = ((logits - self.centers[:, None]) / self.scales[:, None]).clip(-LARGEST, LARGEST)
            joined = expit(np.einsum("mnk,mk->nk", scaled, self.weights) + self.biases)
        # float32 takes the rounding of the sum away: equal members give what each of them does.
        return joined.astype(np.float32).clip(0, 1)


def fit_joiner(labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating], method: JoinMethod) -> Joiner:
    """Fit how probabilities are joined.

    Parameters
    ----------
    labels : array of 0 and 1, shape (N, K)
    probs : array of float, shape (M, N, K)
        Out-of-fold probabilities of M members.
    method : {"mean", "weighted", "stacked"}
        A mean is not fitted. Weights are those of the lowest cross-entropy over all labels.
    """
    n_members, n_rows, n_classes = probs.shape
    weights, biases = np.full((n_members, n_classes), 1 / n_members), np.zeros(n_classes)
    centers, scales = np.zeros((n_members, n_classes)), np.ones((n_members, n_classes))
    if method == "weighted":
        weights[:] = fit_weights(labels, probs)[:, None]
    elif method == "stacked":
        logits = _find_logits(np.asarray(probs, np.float64), n_rows)
        truth = (np.asarray(labels) != 0).astype(np.uint8)
        for k in range(n_classes):
            found = fit_linear(logits[:, :, k].T.astype(np.float32), truth[:, [k]], inverse_penalty=INVERSE_PENALTY)
            weights[:, k], biases[k] = found.weights[:, 0], found.biases[0]
            centers[:, k], scales[:, k] = found.means, found.scales
    return Joiner(method=method, weights=weights, biases=biases, centers=centers, scales=scales, n_rows=n_rows)


def fit_weights(labels: npt.NDArray[np.generic], probs: npt.NDArray[np.floating]) -> Floats:
    """Fit the weights of a mean, float64 (M,): positive, of sum 1, and of the lowest cross-entropy over all labels.

    As the weights add up to 1, the joined probability of what a label is, 0 or 1, is the same mean of what the members
    give it: a mixture of known distributions. Its weights are fitted by expectation maximization (Dempster, Laird and
    Rubin 1977), which ends at the only minimum, and leaves equal members equal weights.
    """
    truth = np.asarray(labels) != 0
    given = np.where(truth, probs, 1 - np.asarray(probs, np.float64)).reshape(len(probs), -1).clip(EPSILON)  # (M, N K)
    weights = np.full(len(given), 1 / len(given))
    for _ in range(MAX_STEPS):
        shares = given * weights[:, None]
        updated = (shares / shares.sum(axis=0)).mean(axis=1)
        updated /= updated.sum()
        is_done = np.abs(updated - weights).max() < TOLERANCE
        weights = updated
        if is_done:
            break
    return weights


def cross_fit(
    labels: npt.NDArray[np.generic],
    probs: npt.NDArray[np.floating],
    folds: npt.NDArray[np.int64],
    method: JoinMethod,
    *,
    n_folds: int,
) -> tuple[npt.NDArray[np.float32], list[Joiner]]:
    """Join each fold by what was fitted on the other folds.

    Parameters
    ----------
    labels, probs, method
        As for `fit_joiner`.
    folds : array of int, shape (N,)
        From 0 to `n_folds` - 1, at least two of them.

    Returns
    -------
    array of float32, shape (N, K), and list of Joiner
        The labels of a fold have no part in its probabilities. The joiners are those of the folds, and last the one of
        all rows, for new samples.
    """
    joined = np.zeros(probs.shape[1:], np.float32)
    joiners = []
    for fold in range(n_folds):
        in_fold = folds == fold
        joiners.append(fit_joiner(np.asarray(labels)[~in_fold], probs[:, ~in_fold], method))
        joined[in_fold] = joiners[-1].join(probs[:, in_fold])
    return joined, [*joiners, fit_joiner(labels, probs, method)]


def _find_logits(probs: Floats, n_rows: int) -> Floats:
    """Return logits of probabilities as `n_rows` rows can tell them apart: each is moved as half a label more moves it.

    Else the many zeros of trees, all below 1 in the number of trees, would lie farther from the other probabilities
    than these from each other, and the regression would see little else.
    """
    found: Floats = logit((probs * n_rows + 0.5) / (n_rows + 1))
    return found


def write_joiners(run: Path, joiners: list[Joiner]) -> None:
    """Write the joiners of an ensemble: those of its folds, and that of all rows."""
    unseal_files(run, [JOINERS_FILE])
    names = ("weights", "biases", "centers", "scales")
    arrays = {name: np.stack([getattr(joiner, name) for joiner in joiners]) for name in names}
    arrays["n_rows"] = np.array([joiner.n_rows for joiner in joiners], np.int64)
    with open_atomic(run / JOINERS_FILE) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_joiners(
    run: Path, method: JoinMethod, *, n_folds: int, n_members: int, n_classes: int, compares_seal: bool = True
) -> list[Joiner]:
    """Read the joiners of an ensemble; InputError if they are missing, damaged, or of another one."""
    path = run / JOINERS_FILE
    with refuse_damage(path, REMEDIES[JOINERS_FILE]):
        arrays = read_arrays(path, compares_seal=compares_seal)
        of_each, of_classes = (n_folds + 1, n_members, n_classes), (n_folds + 1, n_classes)
        expected = {"weights": of_each, "biases": of_classes, "centers": of_each, "scales": of_each}
        for name, shape in expected.items():
            if arrays[name].shape != shape or arrays[name].dtype != np.float64:
                raise ValueError(f"its {name} are not float64 of shape {shape}")
            if not (name == "biases" or np.isfinite(arrays[name]).all()) or np.isnan(arrays[name]).any():
                raise ValueError(f"its {name} are not finite")
        if not (arrays["scales"] > 0).all():
            raise ValueError("a scale is not above 0")
        if method != "stacked":
            sums = arrays["weights"].sum(axis=1)
            if (arrays["weights"] < 0).any() or not np.allclose(sums, 1, atol=1e-9):
                raise ValueError("its weights are not those of a mean")
        n_rows = arrays["n_rows"]
        if n_rows.shape != (n_folds + 1,) or n_rows.dtype != np.int64 or (n_rows < 1).any():
            raise ValueError(f"its n_rows are not {n_folds + 1} numbers above 0")
        return [
            Joiner(method=method, n_rows=int(n_rows[row]), **{name: arrays[name][row] for name in expected})
            for row in range(n_folds + 1)
        ]
