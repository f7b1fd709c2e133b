"""Networks as ONNX models.

The weights are inputs of the graph that is converted, and are put in afterwards. As constants, which is what Keras's
own export does, the converter copies them so often that a network of 300 MB takes more than 20 GB.
"""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from hpa_model.predict.export.graph import INPUT, OUTPUT

# The oldest that has all that networks here need, so that older programs read it, too.
OPSET = 17
_WEIGHT = "weight_"
# In the metadata of the model.
KEY = "hpa"


def write_onnx(network: keras.Model, path: Path, text: str) -> None:
    """Write a network of TensorFlow, uint8 (B, Y, X, C) to (B, K), as an ONNX model.

    Input, output and the axis of the batch have names, and `text` is in the metadata under `KEY` if it is not empty.
    """
    import onnx
    import tf2onnx

    n_trainable = len(network.trainable_variables)
    variables = [*network.trainable_variables, *network.non_trainable_variables]
    names = [f"{_WEIGHT}{number}" for number in range(len(variables))]

    def call(images: Any, *weights: Any) -> Any:
        trainable, others = list(weights[:n_trainable]), list(weights[n_trainable:])
        return tf.identity(network.stateless_call(trainable, others, images, training=False)[0], name=OUTPUT)

    shapes = [(None, *network.input_shape[1:]), *(variable.shape for variable in variables)]
    dtypes = ["uint8", *(variable.dtype for variable in variables)]
    signature = [
        tf.TensorSpec(shape, dtype, name=name)
        for shape, dtype, name in zip(shapes, dtypes, [INPUT, *names], strict=True)
    ]
    model, _ = tf2onnx.convert.from_function(
        tf.function(call, input_signature=signature, autograph=False),
        signature,
        opset=OPSET,
        custom_op_handlers={"Erfc": (_replace_erfc, [])},
    )
    values = {name: np.asarray(variable) for name, variable in zip(names, variables, strict=True)}
    _put_in(model.graph, values)
    output = model.graph.output[0]
    for node in model.graph.node:
        node.input[:] = [OUTPUT if name == output.name else name for name in node.input]
        node.output[:] = [OUTPUT if name == output.name else name for name in node.output]
    output.name = OUTPUT
    for each in (model.graph.input[0], output):
        each.type.tensor_type.shape.dim[0].dim_param = "batch"
    if text:
        onnx.helper.set_model_props(model, {KEY: text})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _replace_erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """Write 1 - erf for the complementary error function of GELU, which ONNX does not have."""
    one = graph.make_const(f"{name}_one", np.ones((), np.float32)).output[0]
    erf = graph.make_node("Erf", node.input).output[0]
    graph.remove_node(name)
    graph.make_node("Sub", [one, erf], outputs=node.output, name=name)


def _put_in(graph: Any, values: dict[str, npt.NDArray[Any]]) -> None:
    """Make inputs of a graph constants, and transpose those that are only used transposed."""
    from onnx import numpy_helper

    kept = [each for each in graph.input if each.name not in values]
    del graph.input[:]
    graph.input.extend(kept)
    users: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for node in list(graph.node):
        name = node.input[0] if node.op_type == "Transpose" else ""
        if name in values and len(users[name]) == 1:
            order = next(list(each.ints) for each in node.attribute if each.name == "perm")
            values[node.output[0]] = values.pop(name).transpose(order)
            graph.node.remove(node)
    used = {name for node in graph.node for name in node.input}
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in values.items() if name in used
    )
