"""Weight files of any training: read without running code from them, and no larger than they are on the disk."""

import contextlib
import hashlib
import math
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import keras
import numpy as np

from hpa_data.errors import InputError, is_out_of_memory
from hpa_data.system.files import open_regular, refuse_unreadable
from hpa_model.nets.backbones import Backbone
from hpa_model.runs.models import load_model

ARRAY_SUFFIXES = (".weights.h5", ".h5")
MODEL_SUFFIX = ".keras"
# The arrays of a file may take this many times its size: Keras does not compress them, others may.
MAX_RATIO = 16
# Groups and arrays of a file; the largest networks of `keras.applications` have some thousand.
MAX_OBJECTS = 10**5
# Characters of what Keras says about a file.
MAX_REASON = 200
# Of an MD5, in hexadecimal.
MD5_DIGITS = 32
# A server that is silent for that long is taken for none.
TIMEOUT_S = 60


def load_source(path: Path, build: Callable[[], keras.Model], backbone: Backbone | None, *, name: str) -> keras.Model:
    """Load a file of weights, or a saved model, as a model with these weights.

    Parameters
    ----------
    path : Path
        ``.keras``, ``.weights.h5`` or Keras's older ``.h5``.
    build : function
        Builds the network that is to start from it.
    backbone : Backbone, optional
        What the network is built on, whose published form a file of weights may be of.
    name : str
        Of the network, for messages.

    Raises
    ------
    InputError
        If the file is missing, damaged or of another network, would run code, or has weights that are not finite.
    """
    if path.name.endswith(MODEL_SUFFIX):
        return load_model(path, remedy="Copy or save it again.")
    if not path.name.endswith(ARRAY_SUFFIXES):
        raise InputError(
            f"Cannot start from {path}: it is no file of weights. Pass one of Keras: .keras, .weights.h5 or .h5."
        )
    with refuse_file(path):
        check_arrays(path)
    reasons = []
    for make in [build] if backbone is None else [backbone.build_published, build]:
        model = make()
        for weight in model.weights:  # what Keras leaves as it was, with or without a word, does not stay unnoticed
            weight.assign(np.full(weight.shape, np.nan, np.float32))
        try:
            with warnings.catch_warnings(action="ignore"):
                model.load_weights(path)
        except Exception as error:  # Keras and h5py raise a dozen types
            if is_out_of_memory(error):
                raise
            reasons.append(" ".join(str(error).split())[:MAX_REASON])
        else:
            check_finite(model, path)
            return model
    raise InputError(
        f"Cannot start from {path}: its arrays are not those of {name}; {reasons[0]}. Pass weights of the same "
        "network, or another --model."
    )


def check_arrays(path: Path) -> None:
    """Refuse an HDF5 file that refers to other files, or promises more than it holds.

    Raises
    ------
    OSError, ValueError
        If it is missing, damaged, or such a file.
    """
    with os.fdopen(open_regular(path), "rb") as opened, h5py.File(opened, "r") as file:
        n_bytes, n_objects, seen, groups = 0, 0, set(), [file["/"]]
        while groups:
            group = groups.pop()
            for name in group:
                n_objects += 1
                if n_objects > MAX_OBJECTS:
                    raise ValueError(f"it has more than {MAX_OBJECTS} groups and arrays")
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise ValueError(f"{name} leads elsewhere")
                found = group[name]
                if isinstance(found, h5py.Group):
                    address = h5py.h5o.get_info(found.id).addr
                    groups += [] if address in seen else [found]
                    seen.add(address)
                else:
                    if not isinstance(found, h5py.Dataset) or found.is_virtual or found.external:
                        raise ValueError(f"the content of {name} is elsewhere")
                    n_bytes += math.prod(found.shape or ()) * found.dtype.itemsize
        if n_bytes > MAX_RATIO * os.fstat(opened.fileno()).st_size:
            raise ValueError(f"it promises arrays of {n_bytes} bytes")


@contextlib.contextmanager
def refuse_file(path: Path) -> Iterator[None]:
    """Raise InputError for what opening a damaged file of weights raises."""
    try:
        yield
    except (OSError, ValueError, LookupError, RuntimeError, TypeError) as error:
        refuse_unreadable(error, path)
        reason = " ".join(str(error).split())[:MAX_REASON]
        raise InputError(
            f"Cannot start from {path}: it cannot be read as HDF5, {reason}. Copy or save it again."
        ) from error


def check_finite(network: keras.Model, path: Path) -> None:
    """Refuse weights that are NaN or infinite: InputError."""
    for weight in network.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            raise InputError(
                f"Cannot start from {path}: {weight.path} is not in it, or has NaN or infinity. Save it again."
            )


def find_published(name: str, backbone: Backbone) -> Path:
    """Return the file of the published weights of a backbone in Keras's cache, downloaded if it is not there.

    A file that is there is never changed or removed.

    Raises
    ------
    InputError
        If it cannot be downloaded, or the file that is there is another one.
    """
    file_name = backbone.file_name
    home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    place = home / "models" / file_name
    by_hand = f"Download {backbone.url} where there is a network, and put it at {place}."
    if os.path.lexists(place):
        with refuse_file(place), os.fdopen(open_regular(place), "rb") as file:
            kind = "md5" if len(backbone.file_hash) == MD5_DIGITS else "sha256"
            is_published = hashlib.file_digest(file, kind).hexdigest() == backbone.file_hash
        if not is_published:
            raise InputError(
                f"Cannot start from {place}: it is damaged, or not the file of {backbone.url}, as its checksum shows. "
                "Remove it, to download it again; or pass it as --weights FILE, if you mean it."
            )
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        # Keras would save it elsewhere, where all users of the machine may write.
        if not os.access(home, os.W_OK):
            raise PermissionError(f"{home} may not be written to")
        # By another name until it is whole, since Keras removes what it could not replace.
        unfinished = f"unfinished-{os.getpid()}-{file_name}"
        with contextlib.redirect_stdout(sys.stderr), _socket_timeout(TIMEOUT_S):  # Keras prints a bar
            got = keras.utils.get_file(
                unfinished, backbone.url, cache_dir=str(home), cache_subdir="models", file_hash=backbone.file_hash
            )
        Path(got).replace(place)
    except Exception as error:  # a dozen types, of sockets, files and Keras
        text = " ".join(str(error).split()).removeprefix(f"URL fetch failure on {backbone.url}: ")
        reason = text.removeprefix("None -- ")[:MAX_REASON]
        raise InputError(f"Cannot download the ImageNet weights of {name}: {reason}. {by_hand}") from error
    return place


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """Let a connection without an answer end, for a while."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
