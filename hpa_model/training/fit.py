"""Fit one model to one fold, from the start or from a checkpoint."""

import keras

from hpa_data.errors import InputError
from hpa_data.reader.batches import BatchReader
from hpa_data.system.interrupts import defer_interrupt
from hpa_model.backend import device_scope, feed, on_tensorflow, reraise_reader_errors
from hpa_model.config import TrainConfig
from hpa_model.nets.symmetry import with_symmetry_input
from hpa_model.runs.checkpoint import START, TrainingState, load_checkpoint
from hpa_model.runs.folder import CHECKPOINT_FILE, LAST_FILE
from hpa_model.runs.models import save_model
from hpa_model.training.callback import Models, NonBlockingCallbackList, TrainingCallback, rename_best, write_tables
from hpa_model.training.job import FoldJob
from hpa_model.training.memory import explain_out_of_memory
from hpa_model.training.objective import CLASSIFICATION, Objective
from hpa_model.training.optimizer import make_optimizer, penalize_kernels

STOPPING = "Interrupted: writing a checkpoint after this step. Press Ctrl-C again to stop at once."


def fit_fold(network: keras.Model, job: FoldJob) -> None:
    """Train a network on a fold up to its last epoch; write its best and last model and its history to its folder.

    The same call resumes a stopped training from its last checkpoint, also within an epoch. The first Ctrl-C or
    SIGTERM ends the current step and writes a checkpoint.

    Parameters
    ----------
    network : keras.Model
        With its initial weights, frozen layers frozen; changed in place.
    job : FoldJob

    Raises
    ------
    InputError
        If the loss becomes NaN or infinite, naming the step; the checkpoint is from before it. If a step needs more
        memory than there is, naming a batch size that fits.
    """
    models = compile_models(network, job.config, job.objective)
    state = _restore(models, job)
    rename_best(job.fold.folder, state)
    write_tables(job, state)
    with (
        explain_out_of_memory(models, job),
        reraise_reader_errors(job.reader) as reader,
        defer_interrupt(STOPPING) as interrupts,
    ):
        callback = TrainingCallback(models, job, state, interrupts)
        first = state.epoch
        if state.step:  # the rest of the epoch that the checkpoint is from
            _fit_epochs(models.compiled, job, reader, callback, first, first + 1, state.step)
            first += 1
        if first < job.config.epochs:
            _fit_epochs(models.compiled, job, reader, callback, first, job.config.epochs)
    models.update_network()
    save_model(network, job.fold.folder / LAST_FILE)


def compile_models(network: keras.Model, config: TrainConfig, objective: Objective = CLASSIFICATION) -> Models:
    """Prepare a network for training: on its devices, with symmetries, with its loss and optimizer."""
    with device_scope(config.devices):
        replica = network
        if config.devices > 1:
            replica = keras.models.clone_model(network)
            replica.set_weights(network.get_weights())
        # Always another model than the network, so that the network is saved without an optimizer.
        compiled = with_symmetry_input(replica) if config.symmetries else keras.Model(replica.inputs, replica.outputs)
        penalize_kernels(replica, config)
        optimizer = make_optimizer(config, replica.trainable_variables)
        compiled.compile(optimizer, objective.make_loss(config), jit_compile=use_xla(config))
        optimizer.build(replica.trainable_variables)
    return Models(network=network, replica=replica, compiled=compiled)


def _restore(models: Models, job: FoldJob) -> TrainingState:
    """Load the checkpoint of a fold, if there is one; InputError if it does not fit the job."""
    path = job.fold.folder / CHECKPOINT_FILE
    if not path.exists():
        return START
    state = load_checkpoint(path, models.replica, models.compiled.optimizer)
    if (
        state.epoch > job.config.epochs
        or state.step >= job.n_steps
        or any(len(row) != len(job.classes) for row in state.class_f1)
    ):
        raise InputError(
            f"Cannot resume from {path}: it is of another training, at epoch {state.epoch + 1}, step {state.step + 1}. "
            "Pass --overwrite to train again from the start."
        )
    return state


def _fit_epochs(  # noqa: PLR0917 - one call, with names beside it
    compiled: keras.Model,
    job: FoldJob,
    reader: BatchReader,
    callback: TrainingCallback,
    first: int,
    last: int,
    step: int = 0,
) -> None:
    """Fit the epochs from `first` to before `last`, the first of them from `step` on."""
    config = job.config
    batches = feed(
        reader,
        job.fold.training,
        config.batch_size,
        seed=config.seed,
        resume_at=(first, step),
        divisible_by=config.devices,
        min_last=config.min_last_batch * config.devices,
        symmetries=config.symmetries,
    )
    compiled.fit(
        batches,
        initial_epoch=first,
        epochs=last,
        steps_per_epoch=job.n_steps - step,
        callbacks=NonBlockingCallbackList([callback], add_history=True, model=compiled),
        shuffle=False,
        verbose=0,
    )


def use_xla(config: TrainConfig) -> bool:
    """Return whether to compile with XLA. Under JAX always: nothing else is fast."""
    return config.xla or not on_tensorflow()
