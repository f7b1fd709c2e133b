"""Fit one model to one fold, from the start or from a checkpoint."""

import random
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import keras

from hpa_data.dataset import Channel
from hpa_data.errors import InputError
from hpa_data.reader.batches import BatchReader
from hpa_data.system.interrupts import defer_interrupt
from hpa_model.augment import Augmentation, plan_augmentation
from hpa_model.backend import feed, on_tensorflow, reraise_reader_errors
from hpa_model.config import TrainConfig
from hpa_model.losses import LossFunction
from hpa_model.nets.head import backbone_frozen
from hpa_model.nets.symmetry import find_size, with_row_input, with_symmetry_input
from hpa_model.runs.checkpoint import START, TrainingState, load_checkpoint, read_state
from hpa_model.runs.folder import CHECKPOINT_FILE, LAST_FILE
from hpa_model.runs.models import save_model
from hpa_model.training.callback import Models, NonBlockingCallbackList, TrainingCallback, rename_best, write_tables
from hpa_model.training.hosts import (
    count_shares,
    explain_lost_hosts,
    joined_hosts,
    meet_hosts,
    own_device_scope,
    training_scope,
)
from hpa_model.training.job import FoldJob
from hpa_model.training.memory import check_memory, explain_out_of_memory
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
        memory than there is, naming a batch size that fits; a step of all layers is tried before the head alone is
        trained.
    """
    path = job.fold.folder / CHECKPOINT_FILE
    state = read_state(path) if path.exists() else START
    meet_hosts()
    replica = _place(network, job.config)
    labels = None if job.reader.labels is None else job.reader.labels[job.fold.training]
    rates = None if job.strata is None else job.strata.rates(job.n_images)
    loss = job.objective.make_loss(job.config, labels, rates)
    channels = job.reader.dataset.channels
    is_restored = not path.exists()
    # The checkpoint of the end of a stage holds the optimizer of that stage.
    stages = [
        stage
        for stage in _list_stages(job.config)
        if (state.epoch, state.step) <= (stage.end, 0) or stage.end == job.config.epochs
    ]
    # All layers need more memory than the head alone, whose training would be in vain.
    if len(stages) > 1 and job.checks_memory and joined_hosts() is None:
        check_memory(
            _compile(network, replica, job.config, loss, channels=channels, epoch=stages[-1].begin),
            job,
        )
    for stage in stages:
        with nullcontext() if stage.trains_backbone else backbone_frozen(replica):
            models = _compile(
                network,
                replica,
                job.config,
                loss,
                channels=channels,
                epoch=stage.begin,
                n_steps=job.n_steps,
            )
            if not is_restored:
                state, is_restored = _restore(models, job), True
            if (state.epoch, state.step) == (stage.begin, 0):  # a plateau of the stage before is none of this one
                state = replace(state, epochs_since_best=0)
            state = _fit_stage(models, job, state, stage.end)
    with own_device_scope():
        models.update_network()
        if job.writes:
            save_model(network, job.fold.folder / LAST_FILE)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Epochs that are trained with one optimizer."""

    begin: int
    """The first epoch, from 0."""

    end: int
    """The epoch after the last one."""

    trains_backbone: bool
    """Whether all layers are trained, or only the classification head."""


def _list_stages(config: TrainConfig) -> list[Stage]:
    """List the stages of a training: the classification head alone, if for any epochs, then all layers."""
    middle = min(config.head_epochs, config.epochs)
    stages = [
        Stage(begin=0, end=middle, trains_backbone=False),
        Stage(begin=middle, end=config.epochs, trains_backbone=True),
    ]
    return [stage for stage in stages if stage.begin < stage.end]


def _fit_stage(models: Models, job: FoldJob, state: TrainingState, end: int) -> TrainingState:
    """Train from a state up to an epoch; return the state there."""
    if job.writes:
        rename_best(job.fold.folder, state)
        write_tables(job, state)
    with (
        explain_lost_hosts(),
        explain_out_of_memory(models, job),
        reraise_reader_errors(job.reader) as reader,
        defer_interrupt(STOPPING) as interrupts,
    ):
        callback = TrainingCallback(models, job, state, interrupts)
        first = state.epoch
        if state.step:  # the rest of the epoch that the checkpoint is from
            _fit_epochs(models, job, reader, callback, first, first + 1, state.step)
            first += 1
        if first < end and not callback.state.is_over(job.config):
            _fit_epochs(models, job, reader, callback, first, end)
    return callback.state


def compile_models(
    network: keras.Model,
    config: TrainConfig,
    objective: Objective = CLASSIFICATION,
    *,
    channels: Sequence[Channel] = (),
) -> Models:
    """Prepare a network for training: on its devices, with augmentation, with its loss and optimizer.

    The channels are those of its images; they may be left out where only images are turned.
    """
    loss = objective.make_loss(config, None, None)
    return _compile(network, _place(network, config), config, loss, channels=channels, epoch=0)


def _place(network: keras.Model, config: TrainConfig) -> keras.Model:
    """Return the model that is trained, with penalties: the network, or a copy, for several devices or averages."""
    replica = network
    if config.devices > 1 or config.ema or joined_hosts() is not None:
        if joined_hosts() is not None:  # JAX compares first values, which are drawn, over all processes
            random.seed(config.seed)
        with training_scope(config.devices):
            replica = keras.models.clone_model(network)
            replica.set_weights(network.get_weights())
            if joined_hosts() is not None:  # random states, too, so that any number of hosts drops out the same
                for mine, theirs in zip(replica.variables, network.variables, strict=True):
                    mine.assign(keras.ops.convert_to_numpy(theirs))
    penalize_kernels(replica, config)
    return replica


def _compile(
    network: keras.Model,
    replica: keras.Model,
    config: TrainConfig,
    loss: LossFunction,
    *,
    channels: Sequence[Channel],
    epoch: int,
    n_steps: int = 1,
) -> Models:
    """Give what is trained an optimizer for its layers that are not frozen, with the learning rate of an epoch."""
    drawn = None
    if config.augmentation != "none":
        shape, size = replica.input_shape[1:], find_size(replica)
        drawn = plan_augmentation(config.augmentation, channels, shape, size, seed=config.seed, devices=config.devices)
    with training_scope(config.devices):
        # Always another model than the network, so that the network is saved without an optimizer.
        compiled = keras.Model(replica.inputs, replica.outputs) if drawn is None else _add_augmentation(replica, drawn)
        optimizer = make_optimizer(config, replica.trainable_variables, epoch=epoch, n_steps=n_steps)
        compiled.compile(optimizer, loss, jit_compile=use_xla(config))
        optimizer.build(replica.trainable_variables)
    return Models(network=network, replica=replica, compiled=compiled, augmentation=drawn)


def _add_augmentation(replica: keras.Model, augmentation: Augmentation) -> keras.Model:
    """Return a model that changes its images first, and shares all weights with another."""
    if augmentation.is_symmetry:
        return with_symmetry_input(replica)
    return with_row_input(replica, augmentation.make_layer(), augmentation.n_columns)


def _restore(models: Models, job: FoldJob) -> TrainingState:
    """Load the checkpoint of a fold; InputError if it does not fit the job."""
    path = job.fold.folder / CHECKPOINT_FILE
    state = load_checkpoint(path, models.replica, models.compiled.optimizer)
    if (
        state.epoch > job.config.epochs
        or state.step >= job.n_steps
        or any(len(row) != (len(job.classes) if len(job.fold.validation) else 0) for row in state.class_f1)
    ):
        raise InputError(
            f"Cannot resume from {path}: it is of another training, at epoch {state.epoch + 1}, step {state.step + 1}. "
            "Pass --overwrite to train again from the start."
        )
    return state


def _fit_epochs(  # noqa: PLR0917 - one call, with names beside it
    models: Models,
    job: FoldJob,
    reader: BatchReader,
    callback: TrainingCallback,
    first: int,
    last: int,
    step: int = 0,
) -> None:
    """Fit the epochs from `first` to before `last`, the first of them from `step` on."""
    config, hosts = job.config, joined_hosts()
    batches = feed(
        reader,
        job.fold.training,
        config.batch_size,
        seed=config.seed,
        resume_at=(first, step),
        divisible_by=count_shares(config.devices),
        min_last=config.min_last_batch * config.devices,
        strata=job.strata,
        draw=None if models.augmentation is None else models.augmentation.draw,
        rank=0 if hosts is None else hosts.index,
        world_size=1 if hosts is None else hosts.n_hosts,
    )
    # Over hosts, Keras shares the batches out, too. The scope for several devices of TensorFlow is not for fitting.
    with nullcontext() if hosts is None else training_scope(config.devices):
        models.compiled.fit(
            batches,
            initial_epoch=first,
            epochs=last,
            steps_per_epoch=job.n_steps - step,
            callbacks=NonBlockingCallbackList([callback], add_history=True, model=models.compiled),
            shuffle=False,
            verbose=0,
        )


def use_xla(config: TrainConfig) -> bool:
    """Return whether to compile with XLA. Under JAX always: nothing else is fast."""
    return config.xla or not on_tensorflow()
