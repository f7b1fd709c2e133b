"""What a training step costs with each optimizer, with averages and accumulation, and with several steps per call.

    python -m benchmarks.steps [--model gapnet --image-size 128 --batch-size 16 --steps 16 --rounds 7]

Random images stay in memory, so that nothing is read. The kinds of steps take turns. Time of the processor, all threads
together, is less disturbed by other work than time that passes: the median over the rounds, per step, and the excess
over Adam alone, with the quartiles of it over the rounds. With `KERAS_BACKEND=jax` on JAX.
"""

import argparse
import time
from typing import Any

import keras
import numpy as np

from hpa_model import nets
from hpa_model.backend import settle_keras
from hpa_model.config import make_config
from hpa_model.training.fit import compile_models

N_CLASSES = 28
# Settings beside the default ones, and steps per call.
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "adam": ({}, 1),
    "adam, 4 steps per call": ({}, 4),
    "adam, 16 steps per call": ({}, 16),
    "sgd": ({"optimizer": "sgd"}, 1),
    "adamw": ({"optimizer": "adamw", "weight_decay": 0.01}, 1),
    "muon": ({"optimizer": "muon"}, 1),
    "warm-up": ({"warmup_epochs": 1}, 1),
    "clip_norm": ({"clip_norm": 1.0}, 1),
    "ema": ({"ema": 0.99}, 1),
    "accumulate_batches=2": ({"accumulate_batches": 2}, 1),
    "accumulate_batches=4": ({"accumulate_batches": 4}, 1),
    "all, with muon": (
        {"optimizer": "muon", "warmup_epochs": 1, "clip_norm": 1.0, "ema": 0.99, "accumulate_batches": 2},
        1,
    ),
}


def _compile(arguments: argparse.Namespace, settings: dict[str, Any], per_call: int) -> keras.Model:
    """Make what is trained."""
    size = arguments.image_size
    config = make_config({"model": arguments.model, "image_size": size, "batch_size": arguments.batch_size} | settings)
    network = nets.build(config.model, (size, size, 4), N_CLASSES, image_size=size)
    compiled = compile_models(network, config).compiled
    if per_call > 1:
        compiled.compile(compiled.optimizer, compiled.loss, steps_per_execution=per_call)
    return compiled


def main() -> None:
    """Measure and print one row per kind of step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="gapnet")
    for name, default in (("image-size", 128), ("batch-size", 16), ("steps", 16), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    settle_keras()
    rng = np.random.default_rng(0)
    shape = (arguments.batch_size * arguments.steps, arguments.image_size, arguments.image_size, 4)
    images = rng.integers(0, 256, shape, dtype=np.uint8)
    labels = (rng.random((len(images), N_CLASSES)) < 0.1).astype(np.float32)
    models = {name: _compile(arguments, *kind) for name, kind in KINDS.items()}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for turn in range(arguments.rounds + 1):
        for name, model in models.items():
            begun, passed = time.process_time(), time.perf_counter()
            model.fit(images, labels, batch_size=arguments.batch_size, shuffle=False, verbose=0)
            if turn:  # the first one compiles
                seconds[name].append((time.process_time() - begun, time.perf_counter() - passed))
    print(f"{keras.backend.backend()}, {arguments.model}, {arguments.image_size} pixels, {arguments.batch_size} images")
    print(f"{'step':<26}{'ms CPU':>8}{'excess':>9}{'quartiles':>20}{'images/s':>10}")
    base = np.array(seconds["adam"])[:, 0]
    for name, pairs in seconds.items():
        cpu, wall = np.array(pairs).T
        low, middle, high = np.percentile(cpu / base - 1, [25, 50, 75])
        print(
            f"{name:<26}{np.median(cpu) / arguments.steps * 1e3:>8.1f}{middle:>9.1%}{f'{low:.1%} to {high:.1%}':>20}"
            f"{len(images) / np.median(wall):>10.1f}"
        )


if __name__ == "__main__":
    main()
