"""A fold's model on disk: saved without an optimizer, loaded without running code."""

import os
import zipfile
from pathlib import Path

import keras

from hpa_data.errors import InputError, first_line
from hpa_model.nets import LAYERS
from hpa_model.runs.folder import RunDescription


def save_model(network: keras.Model, path: Path) -> None:
    """Save a network, whole or not at all, and wait until the disk has it."""
    unfinished = path.with_name(f"unfinished-{path.name}")  # Keras asks for the ending
    network.save(unfinished)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)


def load_model(path: Path, description: RunDescription | None = None) -> keras.Model:
    """Load a model to predict with; runs no code from the file.

    Parameters
    ----------
    path : Path
    description : RunDescription, optional
        The run that it must belong to, by its images and classes.

    Raises
    ------
    InputError
        If there is none, it cannot be read, or it takes other images or gives other classes.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"A model must be whole. Received: {path}, missing or cut short. Train the run again.")
    try:
        model = keras.models.load_model(path, compile=False, safe_mode=True, custom_objects=LAYERS)
    except Exception as error:  # Keras and the formats below it raise a dozen kinds
        reason = first_line(error)
        raise InputError(f"A model must be whole. Received: {path}: {reason}. Train the run again.") from error
    if description is not None:
        shapes = (None, *description.image_shape), (None, len(description.classes))
        if (getattr(model, "input_shape", None), getattr(model, "output_shape", None)) != shapes:
            raise InputError(
                f"A model must take the images of its run and give its classes, {shapes[0]} and {shapes[1]}. Received: "
                f"{path} with {model.input_shape} and {model.output_shape}. Train the run again."
            )
    return model
