"""What a training says before its first step: device, data and network, and where it goes on."""

import math
from collections.abc import Sequence

import keras
import numpy as np

from hpa_data.errors import N_EXAMPLES
from hpa_model.augment import describe_setting, mixes_labels, plan_augmentation
from hpa_model.backend import describe_device
from hpa_model.config import DEFAULTS, TrainConfig
from hpa_model.nets.catalog import list_layers
from hpa_model.nets.resize import AreaResize
from hpa_model.nets.symmetry import find_size
from hpa_model.runs.checkpoint import START, TrainingState
from hpa_model.runs.folder import fold_folder
from hpa_model.runs.history import read_epochs
from hpa_model.training.balance import describe_balance, write_span
from hpa_model.training.job import Fold, count_steps
from hpa_model.training.network import choose_stages
from hpa_model.training.optimizer import count_warmup
from hpa_model.training.run import OpenRun


def describe_start(run: OpenRun, folds: Sequence[Fold], states: Sequence[TrainingState]) -> str:
    """Say where a run goes on, if its folder is not new; else return no text.

    Parameters
    ----------
    run : OpenRun
    folds : sequence of Fold
        Those that are not finished.
    states : sequence of TrainingState
        Where each of them is.
    """
    if run.is_new:
        return ""
    if not folds:
        return f"Nothing to train: all folds of {run.folder} are finished{_describe_early(run)}."
    fold, state = folds[0], states[0]
    if state == START:
        place = f"at the start of fold {fold.number}"
    elif state.is_over(choose_stages(run.description)):
        place = f"at the predictions of fold {fold.number}"
    else:
        place = f"at fold {fold.number}, epoch {state.epoch + 1}, step {state.step + 1}"
    return f"Resuming {run.folder} {place}"


def _describe_early(run: OpenRun) -> str:
    """Say which folds of a finished run ended before their last epoch, and what lets them go on."""
    config = run.description.config
    lengths = {number: len(read_epochs(fold_folder(run.folder, number))) for number in run.description.trained_folds}
    early = [f"fold {number} after epoch {length}" for number, length in lengths.items() if length < config.epochs]
    if not config.stop_epochs or not early:
        return ""
    return f" (early: {', '.join(early)}; a higher stop_epochs trains them further)"


def describe_training(run: OpenRun, folds: Sequence[Fold], network: keras.Model) -> list[str]:
    """Describe device, data, network and augmentation in a line each, and how often classes are drawn if that differs.

    Parameters
    ----------
    run : OpenRun
    folds : sequence of Fold
        Those that are trained, at least one.
    network : keras.Model
        Of the first of them, with frozen layers frozen.
    """
    config = run.description.config
    return [
        f"Device: {describe_device(config.devices)}, {config.precision}",
        f"Data: {_describe_data(run, folds)}",
        f"Network: {config.model}, {describe_network(network)}; loss {config.loss}, {config.optimizer}, "
        f"learning rate {config.learning_rate:g}{describe_warmup(config)}{_describe_stages(run)}"
        f"{describe_idle(config, network, min(count_steps(config, fold) for fold in folds))}",
        *_describe_augmentation(run, network),
        *describe_balance(config, run.reader, run.plan, folds[0], run.description.classes),
    ]


def _describe_augmentation(run: OpenRun, network: keras.Model) -> list[str]:
    """Say how images are augmented, if they are, and which operations change nothing in them."""
    setting, reader = run.description.config.augmentation, run.reader
    augmentation = plan_augmentation(
        setting, reader.dataset.channels, reader.image_shape, find_size(network), seed=run.description.config.seed
    )
    if augmentation is None:
        return []
    idle = augmentation.list_idle()
    without = f"; without effect on images of this size and these channels: {', '.join(idle)}" if idle else ""
    return [f"Augmentation: {describe_setting(setting)}{without}{describe_mixing(run.description.config)}"]


def describe_mixing(config: TrainConfig) -> str:
    """Say so if images should be mixed with others of their batch, but there are none.

    Examples
    --------
    >>> describe_mixing(TrainConfig(augment={"mixup": {}}, batch_size=1))
    '; nothing is mixed, as there is one image in a batch'
    """
    is_alone = config.batch_size == config.devices and mixes_labels(config.augmentation)
    return "; nothing is mixed, as there is one image in a batch" if is_alone else ""


def describe_warmup(config: TrainConfig) -> str:
    """Say when the learning rate is reached, if it rises first.

    Examples
    --------
    >>> describe_warmup(TrainConfig(warmup_epochs=1)), describe_warmup(TrainConfig(warmup_epochs=3, epochs=2))
    (' after 1 epoch of warm-up', ' after 3 epochs of warm-up, which is not reached in 2')
    """
    n_epochs = config.warmup_epochs
    if not n_epochs:
        return ""
    short = f", which is not reached in {config.epochs}" if n_epochs > config.epochs else ""
    return f" after {n_epochs:g} epoch{'' if n_epochs == 1 else 's'} of warm-up{short}"


def _describe_stages(run: OpenRun) -> str:
    """Say which layers are trained when, if not all the same in all epochs."""
    wanted, used = run.description.config, choose_stages(run.description)
    if used != wanted:
        return "; head_epochs and backbone_rate_factor are not used, as without --weights nothing is to be kept"
    n_epochs = f"{used.head_epochs} epoch{'' if used.head_epochs == 1 else 's'}"
    head = f"; first the classification head alone, for {n_epochs}" if used.head_epochs else ""
    factor = used.backbone_rate_factor
    return head + (f"; all layers at {factor:g} of that rate" if factor != 1 and used.head_epochs < used.epochs else "")


def describe_idle(config: TrainConfig, network: keras.Model, n_steps: int) -> str:
    """Name the settings that have no effect on this network, with so many steps per epoch; empty if there are none."""
    idle = []
    has_norms = any(isinstance(layer, keras.layers.BatchNormalization) for layer in list_layers(network))
    if config.bn_momentum != DEFAULTS.bn_momentum and not has_norms:
        idle.append("bn_momentum (no batch normalization)")
    if config.warmup_epochs and not count_warmup(config, n_steps):
        idle.append("warmup_epochs (shorter than a change of the weights)")
    return f"; without effect: {', '.join(idle)}" if idle else ""


def _describe_data(run: OpenRun, folds: Sequence[Fold]) -> str:
    config, plan, classes = run.description.config, run.plan, run.description.classes
    n_samples, n_copies = len(plan.used), int((plan.parents >= 0).sum())
    labels = run.reader.labels[plan.used]  # type: ignore[index]
    absent = [classes[k] for k in np.flatnonzero(~labels.any(axis=0)).tolist()]
    copies = f" and {n_copies:,} copies" if n_copies else ""
    chosen = "" if len(folds) == plan.n_models else f", {len(folds)} to train"
    n_folds = f"{plan.n_folds} fold{'' if plan.n_folds == 1 else 's'}" if plan.n_folds else "no folds"
    steps = [count_steps(config, fold) for fold in folds]
    more = f" and {len(absent) - N_EXAMPLES} more" if len(absent) > N_EXAMPLES else ""
    without = f"{len(absent)} of {len(classes)} ({', '.join(absent[:N_EXAMPLES])}{more})" if absent else "none"
    validated = write_span(len(fold.validation) for fold in folds) if plan.n_folds else "none"
    return (
        f"{n_samples:,} samples{copies} of {', '.join(config.parts)}; {n_folds}{chosen}, "
        f"{write_span(len(fold.training) for fold in folds)} images to train on, "
        f"{validated} to validate on; {write_span(steps)} steps per epoch; "
        f"classes without samples: {without}"
    )


def describe_network(network: keras.Model) -> str:
    """Describe the size of a network and of its input in a few words."""
    n_trained = sum(math.prod(weight.shape) for weight in network.trainable_weights)
    shape = next((layer.output.shape for layer in network.layers if isinstance(layer, AreaResize)), network.input_shape)
    size = " x ".join(map(str, shape[1:]))
    return f"{network.count_params():,} parameters, {n_trained:,} of them trained; input {size}"
