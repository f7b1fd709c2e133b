"""Versions of samples, as a training sees them, to look at."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hpa_data.errors import InputError
from hpa_data.reader.reader import Reader
from hpa_model.augment.plan import plan_augmentation

# Images that are changed at once: even, so that pairs stay together, and few, as each takes many times its size.
N_AT_ONCE = 4


def make_versions(
    augment: str | Mapping[str, Any], *, seed: int = 0
) -> Callable[[Reader, Sequence[int], int], tuple[npt.NDArray[np.uint8], list[str]]]:
    """Return what changes samples of a reader, by index, as in an epoch of a training, from 0.

    Parameters
    ----------
    augment : str or mapping
        See `policies.find_policy`.
    seed : int
        Of the training.

    Returns
    -------
    function
        Of a reader, indices and the epoch; to images, uint8 (N, Y, X, C), at their size in the store, and what was
        done to each, in words. Pairs are neighbors in the list of indices.

    Raises
    ------
    InputError
        If the setting cannot be used, or nothing is changed.
    """
    if plan_augmentation(augment, (), (1, 1, 1), (1, 1), seed=seed) is None:
        raise InputError("augment must change images. Received: augment=none. Pass symmetries, paper or strong.")

    def change(reader: Reader, indices: Sequence[int], epoch: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
        shape = reader.image_shape
        augmentation = plan_augmentation(augment, reader.dataset.channels, shape, shape[:2], seed=seed)
        assert augmentation is not None
        keys = np.array(indices, np.int64)
        changed = []
        for first in range(0, len(keys), N_AT_ONCE):
            chosen = keys[first : first + N_AT_ONCE]
            changed.append(augmentation.apply(reader.read(chosen), augmentation.draw(chosen, epoch)[0]))
        return np.concatenate(changed), augmentation.describe(keys, epoch)

    return change
