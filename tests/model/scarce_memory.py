"""Trainings on JAX that need too much memory, for a step of all layers or for any; the errors go to a file as JSON.

Run as ``python -m tests.model.scarce_memory ANSWER STORE FOLDER``.
"""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from hpa_data.errors import InputError
from hpa_data.store.store import open_store
from hpa_data.system.progress import Progress
from hpa_model.config import TrainConfig
from hpa_model.training.fit import fit_fold
from hpa_model.training.job import Fold, FoldJob

LIMIT = 4


class Greedy(keras.layers.Layer):
    """Asks for 40 TB where a batch has more than `LIMIT` images: always, or for the gradients of the layers before."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when = when

    def call(self, x: Any) -> Any:
        is_large = isinstance(x.shape[0], int) and x.shape[0] > LIMIT

        def ask(value: Any) -> Any:
            return value + 0 * jax.lax.cumsum(jnp.broadcast_to(value.ravel()[0], (10**13,)))[-1]

        @jax.custom_vjp
        def pass_on(x: Any) -> Any:
            return x

        def forward(x: Any) -> Any:
            return x, None

        def backward(_: Any, gradient: Any) -> Any:
            return (ask(gradient) if is_large and self.when == "backward" else gradient,)

        pass_on.defvjp(forward, backward)
        return pass_on(ask(x) if is_large and self.when == "forward" else x)


def main() -> None:
    """Train until memory is short; write the steps that were taken, and the error."""
    answer, store, folder = sys.argv[1:]
    found = {}
    for when in ("backward", "forward"):
        inputs = keras.Input((24, 24, 4), dtype="uint8")
        x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
        x = Greedy(when)(keras.layers.Dense(3)(x))
        network = keras.Model(inputs, keras.layers.Dense(3, activation="sigmoid", name="head_outputs")(x))
        everything, steps = np.arange(12), list[int]()
        (Path(folder) / when).mkdir()
        with open_store(store).reader() as reader:
            job = FoldJob(
                config=TrainConfig(batch_size=12, epochs=2, head_epochs=1),
                reader=reader,
                fold=Fold(number=1, folder=Path(folder) / when, training=everything, validation=everything),
                classes=("a", "b", "c"),
                progress=Progress(advance=steps.append),
            )
            try:
                fit_fold(network, job)
            except InputError as error:
                found[when] = [steps, str(error)]
    Path(answer).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
