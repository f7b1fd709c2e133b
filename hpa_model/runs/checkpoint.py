"""A training in the middle of its way, on disk: every number that decides how it goes on. No pickle."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from hpa_data.errors import InputError
from hpa_data.system.atomic import open_atomic
from hpa_model.runs.folder import CORRUPTION_ERRORS, EpochRecord, read_arrays


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
    history : tuple of EpochRecord
        One of each epoch that is done.
    class_f1 : tuple of tuple of float
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
    history: tuple[EpochRecord, ...] = ()
    class_f1: tuple[tuple[float, ...], ...] = ()

    def begin_epoch(self, epoch: int) -> "State":
        """Return the state at the beginning of an epoch."""
        return replace(self, epoch=epoch, step=0, loss_sum=0.0, n_images=0, trained_s=0.0)

    @staticmethod
    def decode(raw: Mapping[str, Any]) -> "State":
        """Read a state from JSON values; ValueError or another of `runs.CORRUPTION_ERRORS` if it is none."""
        state = State(
            epoch=int(raw["epoch"]),
            step=int(raw["step"]),
            loss_sum=float(raw["loss_sum"]),
            n_images=int(raw["n_images"]),
            trained_s=float(raw["trained_s"]),
            best_epoch=int(raw["best_epoch"]),
            best_loss=float(raw["best_loss"]),
            since_lower=int(raw["since_lower"]),
            history=tuple(EpochRecord.decode(record) for record in raw["history"]),
            class_f1=tuple(tuple(map(float, row)) for row in raw["class_f1"]),
        )
        counts = state.epoch, state.step, state.n_images, state.since_lower, state.best_epoch + 1
        if min(counts) < 0 or state.best_epoch >= state.epoch:
            raise ValueError("a count that is none")
        if not np.isfinite([state.loss_sum, state.trained_s]).all() or np.isnan(state.best_loss):
            raise ValueError("a number that is not finite")
        if not len(state.history) == len(state.class_f1) == state.epoch:
            raise ValueError("a history of another length")
        return state


def save_checkpoint(path: Path, state: State, network: keras.Model, optimizer: keras.Optimizer) -> None:
    """Write a state with all weights, averages, random states and the optimiser's memory, whole or not at all.

    Raises
    ------
    InputError
        If one of them is no finite number: nothing is written then, so that what was saved before can be gone on from.
    """
    values = {}
    for number, variable in enumerate(_list_variables(network, optimizer)):
        value = values[f"v{number}"] = ops.convert_to_numpy(variable)
        if not np.isfinite(value).all():
            raise InputError(
                f"Weights must stay finite. Received: NaN or infinity in {variable.path} of {path.parent.name}, before "
                f"epoch {state.epoch + 1}, step {state.step + 1}. Lower the learning rate, or clip gradients "
                "(clip_norm)."
            )
    with open_atomic(path) as file:
        np.savez(file, state=np.array(json.dumps(asdict(state))), **values)


def read_state(path: Path) -> State:
    """Read where a checkpoint was written; InputError if it is damaged."""
    try:
        return State.decode(json.loads(str(read_arrays(path)["state"])))
    except CORRUPTION_ERRORS as error:
        raise _refuse_checkpoint(path, error) from error


def load_checkpoint(path: Path, network: keras.Model, optimizer: keras.Optimizer) -> State:
    """Bring a network and its optimiser to where a checkpoint was written.

    Raises
    ------
    InputError
        If the file is damaged, or of another network or optimiser; both are then as they were.
    """
    variables = _list_variables(network, optimizer)
    try:
        arrays = read_arrays(path)
        state = State.decode(json.loads(str(arrays.pop("state"))))
        values = [arrays.pop(f"v{i}") for i in range(len(variables))]
        if arrays:
            raise ValueError(f"{len(arrays)} arrays too many")
        for variable, value in zip(variables, values, strict=True):
            if tuple(variable.shape) != value.shape or str(value.dtype) != variable.dtype:
                raise ValueError(f"{variable.path} of shape {value.shape} and type {value.dtype}")
            if not np.isfinite(value).all():
                raise ValueError(f"{variable.path} with NaN or infinity")
    except CORRUPTION_ERRORS as error:
        raise _refuse_checkpoint(path, error) from error
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return state


def _refuse_checkpoint(path: Path, reason: object) -> InputError:
    return InputError(
        f"A checkpoint must be whole and of this run. Received: {path}: {reason}. Pass --overwrite to begin anew."
    )


def _list_variables(network: keras.Model, optimizer: keras.Optimizer) -> list[Any]:
    """List all that changes while a network is trained, the random states of dropout included."""
    return [*network.variables, *optimizer.variables]
