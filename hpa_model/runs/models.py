"""Model files: saved without an optimizer, loaded without running code from them."""

import os
import zipfile
from pathlib import Path

import keras
import numpy as np

from hpa_data.errors import InputError, first_line, is_out_of_memory
from hpa_data.system.files import open_regular, refuse_unreadable
from hpa_data.system.os_errors import naming_file
from hpa_model.backend import settle_keras
from hpa_model.nets import LAYERS
from hpa_model.nets.autoencoder import AUTOENCODER_LAYERS
from hpa_model.nets.custom import is_custom, list_custom_layers
from hpa_model.runs.folder import RunDescription
from hpa_model.runs.seal import MAX_FILE_BYTES, check_file


def save_model(network: keras.Model, path: Path) -> None:
    """Save a network: atomic, and on the disk when it returns."""
    unfinished = path.with_name(f"unfinished-{path.name}")  # Keras requires the suffix
    unfinished.unlink(missing_ok=True)  # if it were a link, Keras would write to what it leads to
    with naming_file(path):
        network.save(unfinished)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
    unfinished.replace(path)


def is_complete(path: Path) -> bool:
    """Tell whether a model file exists and is a whole archive; InputError if it may not be read."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return os.fstat(file.fileno()).st_size <= MAX_FILE_BYTES and zipfile.is_zipfile(file)
    except (OSError, ValueError) as error:
        refuse_unreadable(error, path)
        return False


def load_model(
    path: Path,
    description: RunDescription | None = None,
    *,
    sha256: str = "",
    compares_seal: bool = True,
    remedy: str = "Train the run again.",
) -> keras.Model:
    """Load a model for predictions, without running code from the file.

    Parameters
    ----------
    path : Path
    description : RunDescription, optional
        The run whose image shape and classes it must have.
    sha256 : str
        Of the file, in hexadecimal, if it was just computed.
    compares_seal : bool
        Refuse a file that is not as it was sealed.
    remedy : str
        What to do about a file that cannot be used, one sentence.

    Raises
    ------
    InputError
        If it is missing, damaged or not as it was sealed, or has another input or output shape, or weights that are
        not finite.
    """
    settle_keras()
    if not is_complete(path):
        raise InputError(f"Cannot read model {path}: it is missing or incomplete. {remedy}")
    if compares_seal:
        check_file(path, sha256)
    try:
        layers = LAYERS | AUTOENCODER_LAYERS | list_custom_layers()
        model = keras.models.load_model(path, compile=False, safe_mode=True, custom_objects=layers)
    except Exception as error:  # Keras and the file formats raise a dozen types
        if is_out_of_memory(error):
            raise
        refuse_unreadable(error, path)
        if description is not None and is_custom(description.config.model):
            remedy = (
                f"Its network is {description.config.model}, whose module is imported only if it is named: pass "
                f"--model {description.config.model}, if you trust its code."
            )
        # Keras's advice for a layer that holds code, to let it run, is dangerous.
        holds_code = "safe_mode" in str(error)
        reason = "it holds a Lambda layer, whose code is not run" if holds_code else first_line(error).rstrip(".")
        raise InputError(f"Cannot read model {path}: {reason}. {remedy}") from error
    if description is not None:
        shapes = (None, *description.image_shape), (None, len(description.classes))
        if (getattr(model, "input_shape", None), getattr(model, "output_shape", None)) != shapes:
            raise InputError(
                f"Cannot use model {path}: its input and output shapes are {model.input_shape} and "
                f"{model.output_shape}, those of the run {shapes[0]} and {shapes[1]}. {remedy}"
            )
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise InputError(f"Cannot use model {path}: its weight {weight.path} has NaN or infinity. {remedy}")
    return model
