"""The models of an ensemble: those of its members, each on its own channels of the same images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpa_model.baseline.model import BaselinePredictor
from hpa_model.runs.joining import Joiner

if TYPE_CHECKING:
    import keras

# Of a batch of images, uint8 (B, Y, X, C), the probabilities of each model, float (B, K): one array, or several to be
# averaged.
Predictor = Callable[[Any], list[list[npt.NDArray[Any]]]]


@dataclass(frozen=True, kw_only=True)
class JoinedMember:
    """The models of some folds of a member."""

    models: "Sequence[keras.Model] | BaselinePredictor"

    channels: tuple[int, ...]
    """Which of the channels of the images they take, in this order."""

    names: tuple[str, ...]
    """What messages call the models."""


@dataclass(frozen=True, kw_only=True)
class JoinedModels:
    """The models of some folds of an ensemble: of each fold, those of all members, joined."""

    members: tuple[JoinedMember, ...]

    joiner: Joiner
    """Of all rows, for new samples."""

    n_models: int
    """Of each member, one per fold."""


def join_predictors(
    models: JoinedModels, predictors: Sequence[Predictor], check: Callable[[npt.NDArray[Any], str], None]
) -> Predictor:
    """Make the predictor of an ensemble.

    Parameters
    ----------
    models : JoinedModels
    predictors : sequence of Predictor
        Of the models of each member, which take images with its channels alone.
    check : function of array and str
        Called with the probabilities of each model, float (B, K), and its name, before they are joined.
    """

    def predict(images: Any) -> list[list[npt.NDArray[Any]]]:
        whole = np.asarray(images)
        of_members = []
        for member, predictor in zip(models.members, predictors, strict=True):
            found = predictor(np.ascontiguousarray(whole[..., list(member.channels)]))
            for name, of_views in zip(member.names, found, strict=True):
                for probs in of_views:
                    check(probs, name)
            of_members.append(found)
        # Of each fold and each view of the images, what all members give.
        return [
            [models.joiner.join(np.stack(of_view)) for of_view in zip(*of_fold, strict=True)]
            for of_fold in zip(*of_members, strict=True)
        ]

    return predict
