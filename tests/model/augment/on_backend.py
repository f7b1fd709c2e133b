"""Apply augmentation on Keras's backend: python -m tests.model.augment.on_backend OUT.npz SIDE NAME…."""

import sys
from collections.abc import Sequence

import keras
import numpy as np

from hpa_model.augment import OPERATIONS, POLICIES, plan_augmentation
from tests.model.augment.images import CHANNELS, make_images

BOTH = {"mixup": {"p": 0.5}, "cutmix": {"p": 0.5}}
# Each operation alone, each policy, and all at once.
SETTINGS: dict[str, str | dict] = {
    **{name: {name: {}} for name in OPERATIONS if name != "symmetry"},
    **{name: name for name in POLICIES if name not in {"none", "symmetries"}},
    "some": {"affine": {}, "noise": {}, "mixup": {}},
    "everything": {"policy": "strong", "crop": {}, "blur": {"sigma": [0, 2]}, **BOTH},
}


def apply_all(names: Sequence[str], side: int) -> dict[str, np.ndarray]:
    """Return the images that settings make, float32 (B, Y, X, C), compiled as in a training."""
    images = make_images(6, side)
    made = {}
    for name in names:
        augmentation = plan_augmentation(SETTINGS[name], CHANNELS, (2 * side, 2 * side, 4), (side, side), seed=1)
        assert augmentation is not None
        rows, _ = augmentation.draw(np.arange(6), 0)
        inputs = keras.Input(images.shape[1:], dtype="uint8"), keras.Input(rows.shape[1:], dtype=rows.dtype.name)
        model = keras.Model(inputs, augmentation.make_layer()(*inputs))
        made[name] = model.predict_on_batch((images, rows))
    return made


if __name__ == "__main__":
    np.savez(sys.argv[1], **apply_all(sys.argv[3:], int(sys.argv[2])))
