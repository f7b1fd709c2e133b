"""What flips and rotations cost on the device, before and after the images are resized.

    python -m benchmarks.symmetries [--model gapnet] [--pixels 512] [--image-size 128] [--batch 16] [--steps 4]

Trains on random images in alternation: without symmetries, with images turned at their full size, and with images
turned after the resize, as `hpa train --symmetries` does. Prints images per second of CPU time, which other programs on
the machine disturb less.
"""

import argparse
import statistics
import time

import keras
import numpy as np

from hpa_model import nets
from hpa_model.augment.symmetry import ApplySymmetry
from hpa_model.nets.symmetry import with_symmetry_input


def make_ways(model: keras.Model) -> dict[str, keras.Model]:
    """Return models that share the weights of a network, by how they turn its images."""
    images = keras.Input(model.input_shape[1:], dtype="uint8")
    codes = keras.Input((), dtype="uint8")
    return {
        "not turned": keras.Model([images, codes], model(images)),
        "turned, then resized": keras.Model([images, codes], model(ApplySymmetry()(images, codes))),
        "resized, then turned": with_symmetry_input(model),
    }


def main() -> None:
    """Print a line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gapnet")
    for name, default in (("pixels", 512), ("image-size", 128), ("batch", 16), ("steps", 4), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (arguments.pixels, arguments.pixels, 4)
    images = rng.integers(0, 256, (arguments.batch, *shape), np.uint8)
    codes, labels = rng.integers(0, 8, len(images), np.uint8), np.zeros((len(images), 28), np.float32)
    ways = make_ways(nets.build(arguments.model, shape, image_size=arguments.image_size))
    for model in ways.values():
        model.compile("sgd", "binary_crossentropy")
        model.train_on_batch([images, codes], labels)
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.rounds):
        for name, model in ways.items():
            started = time.process_time()
            for _ in range(arguments.steps):
                model.train_on_batch([images, codes], labels)
            rates[name].append(arguments.steps * len(images) / (time.process_time() - started))
    for name, found in rates.items():
        print(f"{name:<24}{statistics.median(found):>8.1f} images per second of CPU time")


if __name__ == "__main__":
    main()
