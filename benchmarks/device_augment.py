"""What augmentation on the device costs, beside the training step that it is a part of.

    python -m benchmarks.device_augment [--model gapnet] [--pixels 512] [--image-size 128] [--batch 16] [--steps 4]

Trains on random images in alternation, without augmentation and with each policy, then applies each operation alone.
Prints milliseconds of CPU time per image, which other programs on the machine disturb less: of a whole step, of what
augmentation adds to it, of the layer alone, and of drawing the numbers on the host.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import HPA_2018
from hpa_model import nets
from hpa_model.augment import OPERATIONS, Augmentation, plan_augmentation
from hpa_model.config import make_config
from hpa_model.nets.symmetry import find_size
from hpa_model.training.fit import compile_models

POLICIES: dict[str, Any] = {
    **{"none": "none", "symmetries": "symmetries", "paper": "paper", "strong": "strong"},
    "symmetries, MixUp": {"policy": "symmetries", "mixup": {}},
}


def measure(calls: dict[str, Callable[[], Any]], n_images: int, *, steps: int, rounds: int) -> dict[str, float]:
    """Return milliseconds of CPU time per image of each call: the median over rounds in which they alternate."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():  # traces the graph
        call()
    for _ in range(rounds):
        for name, call in calls.items():
            started = time.process_time()
            for _ in range(steps):
                call()
            found[name].append((time.process_time() - started) / (steps * n_images) * 1000)
    return {name: statistics.median(values) for name, values in found.items()}


def time_steps(arguments: argparse.Namespace, images: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Measure training steps, by policy."""
    labels = np.zeros((len(images), 28), np.float32)
    shape = (images.shape[1], images.shape[2], images.shape[3])
    calls = {}
    for name, setting in POLICIES.items():
        network = nets.build(arguments.model, shape, image_size=arguments.image_size)
        models = compile_models(network, make_config({"augment": setting}), channels=HPA_2018.channels)
        inputs: Any = images
        if models.augmentation is not None:
            inputs = (images, models.augmentation.draw(np.arange(len(images)), 0)[0])
        calls[name] = _call(models.compiled.train_on_batch, inputs, labels)
    return measure(calls, len(images), steps=arguments.steps, rounds=arguments.rounds)


def _call(function: Callable[..., Any], *given: Any) -> Callable[[], Any]:
    return lambda: np.asarray(function(*given))


def _draw(augmentation: Augmentation, keys: npt.NDArray[np.int64]) -> Callable[[], Any]:
    return lambda: augmentation.draw(keys, 0)


def time_layers(
    size: tuple[int, int], image_shape: tuple[int, int, int], arguments: argparse.Namespace
) -> dict[str, tuple[float, float]]:
    """Measure layers alone, by policy and by operation, on images as the network sees them; and drawing their rows."""
    settings: dict[str, Any] = {name: policy for name, policy in POLICIES.items() if policy != "none"}
    settings |= {name: {name: {}} for name in OPERATIONS if name != "symmetry"}
    images = np.random.default_rng(0).uniform(0, 255, (arguments.batch, *size, image_shape[2])).astype(np.float32)
    keys = np.arange(len(images))
    layers: dict[str, Callable[[], Any]] = {}
    draws: dict[str, Callable[[], Any]] = {}
    for name, setting in settings.items():
        augmentation = plan_augmentation(setting, HPA_2018.channels, image_shape, size, seed=0)
        assert augmentation is not None
        rows, _ = augmentation.draw(keys, 0)
        if not augmentation.is_symmetry:
            inputs = keras.Input(images.shape[1:]), keras.Input(rows.shape[1:])
            model = keras.Model(inputs, keras.ops.mean(augmentation.make_layer()(*inputs), axis=(1, 2, 3)))
            layers[name] = _call(model.predict_on_batch, (images, rows))
        draws[name] = _draw(augmentation, keys)
    inputs = keras.Input(images.shape[1:])
    idle = keras.Model(inputs, keras.ops.mean(inputs, axis=(1, 2, 3)))
    layers["none"] = _call(idle.predict_on_batch, images)
    applied = measure(layers, len(images), steps=arguments.steps, rounds=arguments.rounds)
    drawn = measure(draws, len(images), steps=20, rounds=arguments.rounds)
    return {name: (applied.get(name, applied["none"]) - applied["none"], drawn[name]) for name in draws}


def main() -> None:
    """Print a line for each policy and each operation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gapnet")
    for name, default in (("pixels", 512), ("image-size", 128), ("batch", 16), ("steps", 4), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    shape = (arguments.pixels, arguments.pixels, 4)
    images = np.random.default_rng(0).integers(0, 256, (arguments.batch, *shape), np.uint8)
    size = find_size(nets.build(arguments.model, shape, image_size=arguments.image_size))
    print(f"{arguments.model} at {size[0]} x {size[1]} on {keras.backend.backend()}; ms of CPU time per image")
    steps = time_steps(arguments, images)
    for name, value in steps.items():
        print(f"step, {name:<24}{value:>8.2f}{value - steps['none']:>+8.2f}{value / steps['none'] - 1:>+8.1%}")
    for name, (applied, drawn) in time_layers(size, shape, arguments).items():
        print(f"alone, {name:<23}{applied:>8.2f}  drawn on the host {drawn:>7.3f}")


if __name__ == "__main__":
    main()
