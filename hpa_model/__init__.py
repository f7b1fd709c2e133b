"""Keras models of the images of a store: training at full resolution, out-of-fold scores, submissions."""

import lazy_loader

# On first use, so that `import hpa_model` does not load TensorFlow.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=(
        *(
            "augment",
            "backend",
            "baseline",
            "bench",
            "browse",
            "commands",
            "config",
            "demo",
            "evaluation",
            "losses",
            "metrics",
            "nets",
            "pipeline",
        ),
        *("predict", "runs", "sweep", "thresholds", "training"),
    ),
)
