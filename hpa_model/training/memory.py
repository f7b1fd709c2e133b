"""What to do when a training step needs more memory than there is: find a batch size that fits, and say so."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np

from hpa_data.errors import InputError, is_out_of_memory
from hpa_model.backend import describe_device
from hpa_model.runs.folder import CHECKPOINT_FILE
from hpa_model.training.callback import Models
from hpa_model.training.job import FoldJob

# Halvings of the batch size that are tried: each may compile again.
MAX_TRIES = 8


@contextmanager
def explain_out_of_memory(models: Models, job: FoldJob) -> Iterator[None]:
    """Turn the error of a step that needs too much memory into one line with a batch size that fits: InputError."""
    is_short = False
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        is_short = True
        traceback.clear_frames(error.__traceback__)  # their arrays take memory, too
    if is_short:
        raise InputError(_describe_shortage(job, find_batch_size(models.compiled, job)))


def find_batch_size(compiled: keras.Model, job: FoldJob) -> int | None:
    """Return the first of half, a quarter … of the batch size of which a training step fits into memory.

    Parameters
    ----------
    compiled : keras.Model
        Its weights are of no use afterwards.
    job : FoldJob

    Returns
    -------
    int or None
        0 if even the smallest one does not fit; None if the backend cannot go on after its error.
    """
    devices = job.config.devices
    size = min(job.config.batch_size, job.n_images)
    for _ in range(MAX_TRIES):
        size = size // 2 // devices * devices
        if size == 0:
            return 0
        try:
            _try_step(compiled, job, size)
        except Exception as error:
            if not is_out_of_memory(error):
                return None
            traceback.clear_frames(error.__traceback__)
        else:
            return size
    return 0


def _try_step(compiled: keras.Model, job: FoldJob, size: int) -> None:
    """Train on a batch of black images."""
    images = np.zeros((size, *job.reader.image_shape), np.uint8)
    orientations = np.zeros(size, np.uint8)
    inputs = (images, orientations) if job.config.symmetries else images
    compiled.train_on_batch(inputs, np.zeros((size, len(job.classes)), np.uint8))


def _describe_shortage(job: FoldJob, size: int | None) -> str:
    config = job.config
    what = (
        f"Cannot train {job.fold.name}: a step of batch_size={config.batch_size} needs more memory than there "
        f"is on {describe_device(config.devices)}."
    )
    if size == 0:
        return f"{what} The smallest batches do not fit either. Lower image_size, or use a device with more memory."
    remedy = f"Pass --batch-size {size or config.batch_size // 2} --overwrite{', which fits' if size else ''}."
    if (job.fold.folder / CHECKPOINT_FILE).exists():
        return f"{what} Run the same command again when other programs use less, or start again: {remedy}"
    return f"{what} {remedy}"
