"""Keras models over a store: training at full resolution, honest scores, submissions."""

import importlib
from types import ModuleType

_MODULES = (
    *("bench", "checkpoint", "config", "demo", "evaluate", "feed", "finetune", "fit", "losses", "metrics", "nets"),
    *("pipeline", "predict", "runs", "submit", "thresholds", "train"),
)


def __getattr__(name: str) -> ModuleType:
    """Import on first use, so that `import hpa_model` does not load TensorFlow."""
    if name in _MODULES:
        return importlib.import_module(f"hpa_model.{name}")
    raise AttributeError(f"module 'hpa_model' has no attribute {name!r}")
