"""One model trained on one fold, from wherever it was stopped."""

import keras

from hpa_data.errors import InputError
from hpa_model.backend import device_scope, feed, on_tensorflow, reraise_reader_errors
from hpa_model.config import TrainConfig
from hpa_model.losses import LOSSES
from hpa_model.nets.symmetry import with_symmetry_input
from hpa_model.runs.checkpoint import START, load_checkpoint
from hpa_model.runs.folder import CHECKPOINT_FILE, LAST_FILE
from hpa_model.runs.models import save_model
from hpa_model.training.callback import (
    NonBlockingCallbackList,
    TrainingCallback,
    _ask_to_stop,
    _settle_best,
    _write_tables,
)
from hpa_model.training.job import FoldJob


def fit_fold(network: keras.Model, job: FoldJob) -> None:
    """Train a network on a fold until its last epoch; leave the best and the last model and the history in its folder.

    The same call after the process was stopped goes on from the last checkpoint, in mid-epoch.

    Parameters
    ----------
    network : keras.Model
        As at the very beginning; changed in place. What is not to learn is frozen.
    job : FoldJob

    Raises
    ------
    InputError
        If the loss is no number any more, naming the step; the checkpoint is from before it.
    """
    config, fold = job.config, job.fold
    # What learns: the network itself, or a copy that several devices share. The model that is trained has the same
    # weights; the network is saved without an optimiser.
    with device_scope(config.devices):
        learner = network
        if config.devices > 1:
            learner = keras.models.clone_model(network)
            learner.set_weights(network.get_weights())
        trained = with_symmetry_input(learner) if config.symmetries else keras.Model(learner.inputs, learner.outputs)
        optimizer = make_optimizer(config)
        trained.compile(optimizer, LOSSES[config.loss], jit_compile=use_xla(config))
        optimizer.build(learner.trainable_variables)

    # From the beginning, or from where it was stopped
    saved = fold.folder / CHECKPOINT_FILE
    state = load_checkpoint(saved, learner, optimizer) if saved.exists() else START
    if (
        state.epoch > config.epochs
        or state.step >= job.n_steps
        or any(len(row) != len(job.classes) for row in state.class_f1)
    ):
        raise InputError(
            f"A checkpoint must be of this run. Received: {saved} at epoch {state.epoch + 1}, step {state.step + 1}. "
            "Pass --overwrite to begin anew."
        )
    _settle_best(fold.folder, state)
    _write_tables(job, state)
    keeper = TrainingCallback(network, learner, trained, job, state)

    # What is left of an epoch that was begun, then whole epochs
    stretches = [(state.epoch, state.epoch + 1, state.step)] if state.step else []
    stretches.append((state.epoch + len(stretches), config.epochs, 0))
    with reraise_reader_errors(job.reader) as watched, _ask_to_stop(keeper):
        for first, last, step in stretches:
            if first < last:
                trained.fit(
                    feed(
                        watched,
                        fold.training,
                        config.batch_size,
                        seed=config.seed,
                        resume_at=(first, step),
                        divisible_by=config.devices,
                        symmetries=config.symmetries,
                    ),
                    initial_epoch=first,
                    epochs=last,
                    steps_per_epoch=job.n_steps - step,
                    callbacks=NonBlockingCallbackList([keeper], add_history=True, model=trained),
                    shuffle=False,
                    verbose=0,
                )
    if learner is not network:
        network.set_weights(learner.get_weights())
    save_model(network, fold.folder / LAST_FILE)


def make_optimizer(config: TrainConfig) -> keras.Optimizer:
    """Make the optimiser of a configuration."""
    common = {
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay or None,
        "global_clipnorm": config.clip_norm or None,
    }
    if config.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=config.momentum, **common)
    else:
        optimizer = keras.optimizers.Adam(**common)
    # Small gradients would be 0 in half precision.
    return keras.optimizers.LossScaleOptimizer(optimizer) if config.precision == "mixed_float16" else optimizer


def use_xla(config: TrainConfig) -> bool:
    """Tell whether Keras is to compile with XLA; under JAX there is no other way that is fast."""
    return config.xla or not on_tensorflow()
