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
from hpa_model.training.hosts import joined_hosts
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
        # Over hosts, the others would have to try, too.
        size = find_batch_size(models, job) if joined_hosts() is None else None
        raise InputError(_describe_shortage(job, size))


def check_memory(models: Models, job: FoldJob) -> None:
    """Check that a training step fits into memory: take one on black images, and undo what it changes.

    Parameters
    ----------
    models : Models
        Their optimizer is of no use afterwards.
    job : FoldJob

    Raises
    ------
    InputError
        If it does not fit, naming a batch size that does.
    """
    variables = models.replica.variables
    values = [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]
    with explain_out_of_memory(models, job):
        try_step(models, job, job.config.batch_size)
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def find_batch_size(models: Models, job: FoldJob) -> int | None:
    """Return the first of half, a quarter … of the batch size of which a training step fits into memory.

    Parameters
    ----------
    models : Models
        Their weights are of no use afterwards.
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
        _clear(models.compiled)
        try:
            try_step(models, job, size)
        except Exception as error:
            if not is_out_of_memory(error):
                return None
            traceback.clear_frames(error.__traceback__)
        else:
            return size
    return 0


def _clear(compiled: keras.Model) -> None:
    """Set all weights to 0. Those that a failed step of JAX leaves behind raise its error again."""
    for variable in [*compiled.variables, *compiled.optimizer.variables]:
        variable.assign(np.zeros(variable.shape, variable.dtype))


def try_step(models: Models, job: FoldJob, batch_size: int) -> None:
    """Train on black images, as many as the largest batch of an epoch has."""
    n_last = job.n_images % batch_size
    joins = 0 < n_last < job.config.min_last_batch * job.config.devices
    size = min(batch_size + n_last if joins else batch_size, job.n_images)
    # Each device takes all images of a batch that is passed so.
    n_images = max(size // job.config.devices, 1)
    images = np.zeros((n_images, *job.reader.image_shape), np.uint8)
    drawn = None if models.augmentation is None else models.augmentation.draw(np.zeros(n_images, np.int64), 0)[0]
    inputs = images if drawn is None else (images, drawn)
    n_labels = 0 if job.reader.labels is None else job.reader.labels.shape[1]
    loss = models.compiled.train_on_batch(inputs, np.zeros((n_images, n_labels), np.float32))
    np.asarray(loss)  # JAX does not wait for it, so that the error of a step would come later


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
