"""The formats of exported models: how each is written, by Keras, and where it keeps what is to be known of it."""

import errno
import importlib.util
import logging
import os
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import keras

from hpa_data.errors import InputError, first_line, is_out_of_memory
from hpa_model.backend import on_tensorflow
from hpa_model.predict.export.graph import INPUT, OUTPUT
from hpa_model.predict.export.metadata import ABOUT_FILE
from hpa_model.predict.export.options import Format

# Bytes that a message of Protocol Buffers, or a FlatBuffer, may have, with some left for all but the weights.
MAX_BYTES = 2**31 - 2**24


@dataclass(frozen=True, kw_only=True)
class Writer:
    """How a format is written."""

    file: str
    """What the model is called."""

    write: Callable[[keras.Model, Path, str], None]
    """Writes a network, with what is to be known of it as a text inside."""

    modules: tuple[str, ...]
    """What must be installed to write and to load it."""

    extra: str
    """The extra that brings these."""

    output: str = OUTPUT
    """The name of the output; that of the input is always the same."""

    max_bytes: int | None = None
    """Of the weights."""

    batch: int | None = None
    """Images at a time; None for any number."""

    needs_tensorflow: bool = True
    """Whether its converter takes TensorFlow's graphs alone."""


def _write_saved_model(network: keras.Model, path: Path, text: str) -> None:
    # By default, JAX's would run only on the kind of device that it was written on.
    kinds = {} if on_tensorflow() else {"jax2tf_kwargs": {"native_serialization_platforms": ("cpu", "cuda")}}
    network.export(path, format="tf_saved_model", verbose=False, input_signature=[_describe_input(network)], **kinds)
    folder = path / "assets.extra"  # where TensorFlow lets others put what it does not load
    folder.mkdir()
    (folder / ABOUT_FILE).write_text(text, "utf-8")


def _write_onnx(network: keras.Model, path: Path, text: str) -> None:
    from hpa_model.predict.export.onnx_model import write_onnx

    write_onnx(network, path, text)


def _write_litert(network: keras.Model, path: Path, text: str) -> None:
    """Write a LiteRT model, and append a text as its metadata has associated files: a zip archive behind the model."""
    network.export(path, format="litert", verbose=False, input_signature=[_describe_input(network, batch=1)])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(zipfile.ZipInfo(ABOUT_FILE), text)


def _write_openvino(network: keras.Model, path: Path, text: str) -> None:
    """Write an OpenVINO model by way of ONNX, with a text as its runtime information."""
    import openvino

    passed = path.with_suffix(".onnx")
    _write_onnx(network, passed, "")
    converted = openvino.convert_model(passed)
    converted.set_rt_info(text, ["hpa"])
    openvino.save_model(converted, path, compress_to_fp16=False)
    passed.unlink()


def _describe_input(network: keras.Model, batch: int | None = None) -> keras.InputSpec:
    return keras.InputSpec(shape=(batch, *network.input_shape[1:]), dtype="uint8", name=INPUT)


_ONNX = Writer(
    file="model.onnx",
    write=_write_onnx,
    modules=("tensorflow", "onnx", "onnxruntime", "tf2onnx"),
    extra="export",
    max_bytes=MAX_BYTES,
)
WRITERS: dict[Format, Writer] = {
    "saved-model": Writer(
        file="model",
        write=_write_saved_model,
        modules=("tensorflow",),
        extra="train",
        output="output_0",
        needs_tensorflow=False,
    ),
    "onnx": _ONNX,
    "litert": Writer(
        file="model.tflite",
        write=_write_litert,
        modules=("tensorflow", "ai_edge_litert"),
        extra="export",
        output="output_0",
        max_bytes=MAX_BYTES,
        batch=1,  # the runtime does not load a model for any number if the network reshapes
    ),
    "openvino": Writer(
        file="model.xml",
        write=_write_openvino,
        modules=("tensorflow", "onnx", "tf2onnx", "openvino"),
        extra="export",
        max_bytes=MAX_BYTES,
    ),
    "bioimageio": replace(_ONNX, modules=(*_ONNX.modules, "bioimageio.core"), extra="export,bioimageio"),
}


def check_format(kind: Format) -> None:
    """Refuse a format whose packages are not installed, or that the backend cannot write; InputError."""
    writer = WRITERS[kind]
    for module in writer.modules:
        if not _is_installed(module):
            name = module.replace("_", "-")
            raise InputError(f"Cannot export to {kind}: {name} is not installed. Run: pip install '.[{writer.extra}]'.")
    if writer.needs_tensorflow and not on_tensorflow():
        others = ", ".join(name for name, each in WRITERS.items() if not each.needs_tensorflow)
        raise InputError(
            f"Cannot export to {kind} with KERAS_BACKEND={keras.backend.backend()}: its converter takes TensorFlow's "
            f"graphs. Set KERAS_BACKEND=tensorflow, which computes the same from these weights, or choose {others}."
        )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of its parent
        return False


def check_bytes(kind: Format, n_bytes: int) -> None:
    """Refuse weights that are more than a format holds; InputError."""
    limit = WRITERS[kind].max_bytes
    if limit is not None and n_bytes > limit:
        others = " or ".join(name for name, writer in WRITERS.items() if writer.max_bytes is None)
        raise InputError(
            f"Cannot export to {kind}: the weights have {n_bytes / 1e9:.1f} GB, it holds 2 GB. Pass --fold K, for the "
            f"model of one fold, or choose {others}."
        )


def write_model(network: keras.Model, kind: Format, path: Path, text: str) -> None:
    """Write a network in a format, with what is to be known of it, as a text, inside; InputError if that fails."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    is_disk_full = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of converters about themselves; the result is compared
            WRITERS[kind].write(network, path, text)
    except Exception as error:  # converters raise anything
        is_disk_full = os.strerror(errno.ENOSPC) in str(error)
        if not is_disk_full:
            if is_out_of_memory(error) or isinstance(error, OSError):
                raise
            reason = first_line(error).rstrip(". ")
            raise InputError(f"Cannot export to {kind}: {reason}. Choose another format.") from error
    if is_disk_full:  # of TensorFlow's errors, the same as that for too little memory, which is no cause of this one
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
