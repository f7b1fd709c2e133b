"""Probabilities: the mean over models, and over flips and rotations of each image."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpa_data.reader.batches import BatchReader, count_symmetries
from hpa_data.system.progress import SILENT, Progress
from hpa_model.backend import feed, on_tensorflow, reraise_reader_errors
from hpa_model.nets.symmetry import with_symmetry_input
from hpa_model.thresholds import apply_temperatures


def predict_probs(
    models: Sequence[keras.Model],
    reader: BatchReader,
    indices: npt.NDArray[np.int64],
    batch_size: int,
    progress: Progress = SILENT,
    *,
    tta: bool = False,
    temperatures: Sequence[float] | npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float32]:
    """Predict samples and average over models.

    Parameters
    ----------
    models : sequence of keras.Model, at least one
    reader : Reader
        Of parts of a store, or of a folder. Each sample is read once, whatever the number of models.
    indices : array of int64, shape (M,)
    batch_size : int
    progress : Progress, optional
        Of images. Its `start` is not called.
    tta : bool
        Test-time augmentation: also average over the eight flips and rotations of each image, four if it is not
        square.
    temperatures : sequence of float, optional
        Of each model, see `thresholds.apply_temperatures`. By default 1, which changes nothing.

    Returns
    -------
    array of float32, shape (M, K)
        Mean probabilities in [0, 1], in the order of `indices`.
    """
    predictors = [with_symmetry_input(model) if tta else model for model in models]
    for model in predictors:
        model.jit_compile = not on_tensorflow()  # XLA compiles again for each batch size; JAX has nothing else
    rows = []
    with reraise_reader_errors(reader) as source:
        for batch in feed(source, indices, batch_size, shuffle=False, epochs=1):
            images = batch[0] if isinstance(batch, tuple) else batch
            n_images = len(images)
            views: list[Any] = [images]
            if tta:
                views = [
                    (images, np.full(n_images, code, np.uint8)) for code in range(count_symmetries(reader.image_shape))
                ]
            of_models = [np.mean([model.predict_on_batch(view) for view in views], axis=0) for model in predictors]
            if temperatures is not None:
                of_models = [
                    apply_temperatures(probs, temperature)
                    for probs, temperature in zip(of_models, temperatures, strict=True)
                ]
            rows.append(np.mean(of_models, axis=0))
            del batch, images, views
            progress.advance(n_images)
    return np.concatenate(rows).astype(np.float32)
