"""What a network is trained for: its loss, how it is validated after each epoch, and the record of an epoch."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import numpy.typing as npt

from hpa_data.reader.reader import Reader
from hpa_model.augment import mixes_labels
from hpa_model.config import TrainConfig
from hpa_model.losses import LossFunction, loss_of_set, make_loss, weigh_positives
from hpa_model.metrics import binary_accuracy, f1_per_class, macro_f1, predict_classes
from hpa_model.predict import predict_probs
from hpa_model.runs.history import EpochRecord, Record
from hpa_model.thresholds import search_thresholds
from hpa_model.thresholds.no_skill import measure_best_without_skill
from hpa_model.training.hosts import joined_hosts

# Of `weigh_positives`, by the setting `class_weights`, and of `stratify`, by the setting `sampling`.
BALANCE_POWERS = {"none": 0.0, "sqrt": 0.5, "balanced": 1.0}
REMEDY = "Lower the learning rate or clip gradients (--learning-rate, clip_norm), with --overwrite."


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What the validation after an epoch found."""

    metrics: Mapping[str, float]
    """By the fields of the record of an epoch; one is ``val_loss``."""

    class_f1: tuple[float, ...] = ()
    """Of each class, if there are classes, and samples that validate."""


Validate = Callable[[keras.Model, TrainConfig, Reader, npt.NDArray[np.int64], str], Validation]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What a network is trained for."""

    make_loss: Callable[[TrainConfig, npt.NDArray[np.uint8] | None, npt.NDArray[np.float64] | None], LossFunction]
    """Makes the loss of a batch, from the settings; the labels of the training samples, (N, K), if there are any; and
    how often each is drawn in an epoch, (N,), if not once."""

    validate: Validate
    """From the network, the settings, a reader, the indices of the validation samples and what messages call the
    network, to what the validation finds; InputError if the network puts out what is not finite."""

    record: Callable[..., Record]
    """Makes the record of an epoch."""


def _validate_classes(
    network: keras.Model, config: TrainConfig, reader: Reader, indices: npt.NDArray[np.int64], name: str
) -> Validation:
    """Score a network on its validation set, if there is one."""
    if not len(indices):
        return Validation(metrics=dict.fromkeys(EpochRecord.list_validated(), math.nan))
    probs = _predict(network, config, reader, indices, name)
    hosts = joined_hosts()
    if hosts is not None and not hosts.is_first:
        return _decode(hosts.share(None))
    found = _score(config, reader, indices, probs)
    if hosts is not None:
        hosts.share(_encode(found))
    return found


def _predict(
    network: keras.Model, config: TrainConfig, reader: Reader, indices: npt.NDArray[np.int64], name: str
) -> npt.NDArray[np.float32]:
    """Predict the validation set, float32 (N, K). Over hosts, each predicts its share, and the first one gets all."""

    def predict(mine: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return predict_probs([network], reader, mine, config.batch_size, names=[name], remedy=REMEDY)

    hosts = joined_hosts()
    if hosts is None:
        return predict(indices)
    mine = indices[hosts.index :: hosts.n_hosts]
    shares = hosts.gather(predict(mine).tobytes() if len(mine) else b"")
    probs = np.empty((len(indices), network.output_shape[-1]), np.float32)
    for index, share in enumerate(shares):
        probs[index :: hosts.n_hosts] = np.frombuffer(share, np.float32).reshape(-1, probs.shape[1])
    return probs


def _encode(found: Validation) -> bytes:
    return json.dumps({"metrics": dict(found.metrics), "class_f1": found.class_f1}).encode()


def _decode(content: bytes) -> Validation:
    raw = json.loads(content)
    return Validation(metrics=raw["metrics"], class_f1=tuple(raw["class_f1"]))


def _score(
    config: TrainConfig, reader: Reader, indices: npt.NDArray[np.int64], probs: npt.NDArray[np.float32]
) -> Validation:
    """Score the probabilities of a validation set."""
    labels = reader.labels[indices]  # type: ignore[index]
    class_f1 = f1_per_class(labels, predict_classes(probs, search_thresholds(labels, probs)))
    no_skill = measure_best_without_skill(labels, probs)
    return Validation(
        metrics={
            "val_loss": loss_of_set(config.loss, labels, probs, config.loss_over_classes),
            "val_macro_f1": macro_f1(labels, probs),
            "val_macro_f1_best": float(class_f1.mean()),
            "val_accuracy": binary_accuracy(labels, probs),
            "val_macro_f1_no_skill": no_skill.mean,
            "val_macro_f1_no_skill_high": no_skill.high,
        },
        class_f1=tuple(class_f1.tolist()),
    )


def _make_loss(
    config: TrainConfig, labels: npt.NDArray[np.uint8] | None, rates: npt.NDArray[np.float64] | None
) -> LossFunction:
    """Make the loss of a training from the labels of its samples, and how often each is drawn."""
    power = BALANCE_POWERS[config.class_weights]
    return make_loss(
        config.loss,
        config.loss_over_classes,
        label_smoothing=config.label_smoothing,
        mixes=mixes_labels(config.augment),
        positive_weights=None if not power or labels is None else weigh_positives(labels, power=power, rates=rates),
    )


# Which classes an image shows.
CLASSIFICATION = Objective(
    make_loss=_make_loss,
    validate=_validate_classes,
    record=EpochRecord,
)
