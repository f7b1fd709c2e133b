"""The formats of exported models: how each is written, by Keras, and where it keeps what is to be known of it."""

import importlib.util
import logging
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from hpa_data.errors import InputError, first_line, is_out_of_memory
from hpa_model.backend import on_tensorflow
from hpa_model.predict.export.graph import INPUT, OUTPUT
from hpa_model.predict.export.metadata import ABOUT_FILE
from hpa_model.predict.export.options import Format

# Of the key in the metadata of a model: the text is that of the file beside it.
KEY = "hpa"
# Bytes that a message of Protocol Buffers, or a FlatBuffer, may have, with some left for all but the weights.
MAX_BYTES = 2**31 - 2**24


@dataclass(frozen=True, kw_only=True)
class Writer:
    """How a format is written."""

    file: str
    """The model; its name ends as Keras wants it."""

    keras_name: str
    """What Keras calls the format."""

    modules: tuple[str, ...]
    """What must be installed to write and to load it."""

    extra: str
    """The extra that brings these."""

    embed: Callable[[Path, str], None]
    """Writes a text into the model."""

    output: str = OUTPUT
    """The name of the output; that of the input is always the same."""

    max_bytes: int | None = None
    """Of the weights."""

    batch: int | None = None
    """Images at a time; None for any number."""

    needs_tensorflow: bool = True
    """Whether its converter takes TensorFlow's graphs alone."""


def _embed_saved_model(model: Path, text: str) -> None:
    folder = model / "assets.extra"  # where TensorFlow lets others put what it does not load
    folder.mkdir()
    (folder / ABOUT_FILE).write_text(text, "utf-8")


def _embed_onnx(model: Path, text: str) -> None:
    """Write a text into an ONNX model, and give its axes and its output names in place of generated ones."""
    import onnx

    loaded = onnx.load(model)
    entry = loaded.metadata_props.add()
    entry.key, entry.value = KEY, text
    output = loaded.graph.output[0]
    for node in loaded.graph.node:
        node.output[:] = [OUTPUT if name == output.name else name for name in node.output]
        node.input[:] = [OUTPUT if name == output.name else name for name in node.input]
    output.name = OUTPUT
    for each in (loaded.graph.input[0], output):
        each.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.checker.check_model(loaded)
    onnx.save(loaded, model)


def _embed_litert(model: Path, text: str) -> None:
    """Append a text to a LiteRT model, as its metadata has associated files: a zip archive behind the model."""
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr(zipfile.ZipInfo(ABOUT_FILE), text)


def _embed_openvino(model: Path, text: str) -> None:
    import openvino

    bare = model.with_name("bare.xml")
    for suffix in (".xml", ".bin"):
        model.with_suffix(suffix).replace(bare.with_suffix(suffix))
    loaded = openvino.Core().read_model(bare)
    loaded.set_rt_info(text, [KEY])
    loaded.outputs[0].tensor.set_names({OUTPUT})
    openvino.save_model(loaded, model, compress_to_fp16=False)
    del loaded  # it maps the file of the weights
    for suffix in (".xml", ".bin"):
        bare.with_suffix(suffix).unlink()


_ONNX = Writer(
    file="model.onnx",
    keras_name="onnx",
    modules=("tensorflow", "onnx", "onnxruntime", "tf2onnx"),
    extra="export",
    embed=_embed_onnx,
    max_bytes=MAX_BYTES,
)
WRITERS: dict[Format, Writer] = {
    "saved-model": Writer(
        file="model",
        keras_name="tf_saved_model",
        modules=("tensorflow",),
        extra="train",
        embed=_embed_saved_model,
        output="output_0",
        needs_tensorflow=False,
    ),
    "onnx": _ONNX,
    "litert": Writer(
        file="model.tflite",
        keras_name="litert",
        modules=("tensorflow", "ai_edge_litert"),
        extra="export",
        embed=_embed_litert,
        output="output_0",
        max_bytes=MAX_BYTES,
        batch=1,  # a model for any number loads, but not with the sizes that reshapes in a network then have
    ),
    "openvino": Writer(
        file="model.xml",
        keras_name="openvino",
        modules=("tensorflow", "openvino"),
        extra="export",
        embed=_embed_openvino,
    ),
    "bioimageio": Writer(
        file=_ONNX.file,
        keras_name=_ONNX.keras_name,
        modules=(*_ONNX.modules, "bioimageio.core"),
        extra="export,bioimageio",
        embed=_embed_onnx,
        max_bytes=MAX_BYTES,
    ),
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


def write_model(network: keras.Model, kind: Format, path: Path) -> None:
    """Write a network in a format; InputError if it cannot be converted."""
    writer = WRITERS[kind]
    shape = (writer.batch, *network.input_shape[1:])
    more: dict[str, Any] = {"input_signature": [keras.InputSpec(shape=shape, dtype="uint8", name=INPUT)]}
    if not on_tensorflow():
        # By default, it would run only on what it was written on.
        more["jax2tf_kwargs"] = {"native_serialization_platforms": ("cpu", "cuda")}
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of converters about themselves; the result is compared
            network.export(str(path), format=writer.keras_name, verbose=False, **more)
    except Exception as error:  # converters raise anything
        if is_out_of_memory(error) or isinstance(error, OSError):
            raise
        reason = first_line(error).rstrip(".")
        raise InputError(f"Cannot export to {kind}: {reason}. Choose another format.") from error
