"""Optimizers by name: the class of Keras, and what it takes of the settings. Imports nothing heavy."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class OptimizerKind:
    """An optimizer of Keras."""

    name: str
    """Of its class in `keras.optimizers`."""

    arguments: Mapping[str, str] = field(default_factory=dict)
    """What its class takes, and the setting that says it; without the learning rate, weight decay, clipping,
    accumulation and averages of weights, which all take."""

    needs_decay: bool = False
    """Whether it is the same as another one without `weight_decay`."""


# To add one, add a row.
OPTIMIZERS: dict[str, OptimizerKind] = {
    "adam": OptimizerKind(name="Adam"),
    "adamw": OptimizerKind(name="AdamW", needs_decay=True),
    "sgd": OptimizerKind(name="SGD", arguments={"momentum": "momentum"}),
    # It orthogonalizes the changes of matrices, here of dense layers. Keras leaves all other weights to Adam.
    "muon": OptimizerKind(name="Muon", arguments={"momentum": "momentum", "adam_weight_decay": "weight_decay"}),
}
