"""A training in the middle of its way, on disk: every number that decides how it goes on. No pickle."""

import json
import zipfile
import zlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from hpa_data.errors import InputError
from hpa_data.whole import open_whole
from hpa_model.nets import LAYERS


@dataclass(frozen=True, kw_only=True)
class State:
    """Where the training of a fold stands.

    Attributes
    ----------
    epoch, step : int
        The next step to do; both count from 0.
    loss_sum : float
        Of the epoch's images so far.
    n_images : int
        The epoch's images so far.
    trained_s : float
        The time that they took.
    best_epoch : int
        The epoch with the lowest validation loss; -1 before the first.
    best_loss : float
    since_lower : int
        Epochs since the validation loss was lower than ever, or since the learning rate was lowered for that.
    history : list of dict
        A record of each epoch that is done.
    class_f1 : list of list of float
        F1 of each class after each of them.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    n_images: int = 0
    trained_s: float = 0.0
    best_epoch: int = -1
    best_loss: float = float("inf")
    since_lower: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    class_f1: list[list[float]] = field(default_factory=list)

    def begin_epoch(self, epoch: int) -> "State":
        """Return the state at the beginning of an epoch."""
        return replace(self, epoch=epoch, step=0, loss_sum=0.0, n_images=0, trained_s=0.0)


def save_checkpoint(path: Path, state: State, network: keras.Model, optimizer: keras.Optimizer) -> None:
    """Write a state with all weights, averages, random states and the optimiser's memory, whole or not at all."""
    variables = {f"v{i}": ops.convert_to_numpy(v) for i, v in enumerate(_list_variables(network, optimizer))}
    with open_whole(path) as file:
        np.savez(file, state=np.array(json.dumps(asdict(state))), **variables)


def load_checkpoint(path: Path, network: keras.Model, optimizer: keras.Optimizer) -> State:
    """Bring a network and its optimiser to where a checkpoint was written.

    Raises
    ------
    InputError
        If the file is damaged, or of another network or optimiser.
    """
    variables = _list_variables(network, optimizer)
    try:
        with np.load(path, allow_pickle=False) as file:
            state = State(**json.loads(str(file["state"])))
            values = [file[f"v{i}"] for i in range(len(variables))]
        for variable, value in zip(variables, values, strict=True):
            if tuple(variable.shape) != value.shape:
                raise ValueError(f"{variable.path} of shape {value.shape}")
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"A checkpoint must be whole and of this run. Received: {path}: {error}. Pass --overwrite to begin anew."
        ) from error
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return state


def _list_variables(network: keras.Model, optimizer: keras.Optimizer) -> list[Any]:
    """List all that changes while a network is trained, the random states of dropout included."""
    return [*network.variables, *optimizer.variables]


def load_model(path: Path) -> keras.Model:
    """Load a model to predict with; runs no code from the file.

    Raises
    ------
    InputError
        If there is none, or it cannot be read.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"A model must be whole. Received: {path}, missing or cut short. Train the run again.")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True, custom_objects=LAYERS)
    except Exception as error:  # Keras and the formats below it raise a dozen kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"A model must be whole. Received: {path}: {reason}. Train the run again.") from error
    return model
