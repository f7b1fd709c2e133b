"""The network of a fold before training: newly initialized, or from an earlier run with its backbone frozen."""

import random
from pathlib import Path

import keras
import numpy as np

from hpa_model import nets
from hpa_model.backend import on_tensorflow
from hpa_model.config import TrainConfig
from hpa_model.nets.head import freeze_backbone
from hpa_model.runs.folder import BEST_FILE, RunDescription, fold_folder
from hpa_model.runs.models import load_model


def build_network(description: RunDescription, *, fold: int) -> keras.Model:
    """Build the network of a fold; its weights are a function of (seed, fold) and Keras's backend."""
    config = description.config
    seed_fold(config, fold)
    return nets.build(
        config.model,
        description.image_shape,
        len(description.classes),
        image_size=config.image_size or None,
        bn_momentum=config.bn_momentum,
        precision=config.precision,
        options=config.options,
    )


def load_frozen(run: Path, description: RunDescription, *, fold: int) -> keras.Model:
    """Load the best network of a fold of a run, with all layers but the classification head frozen."""
    seed_fold(description.config, fold)
    network = load_model(fold_folder(run, fold) / BEST_FILE, description)
    freeze_backbone(network)
    return network


def seed_fold(config: TrainConfig, fold: int) -> None:
    """Set Keras's seeds as a function of (seed, fold)."""
    seed = int(np.random.SeedSequence([config.seed, fold]).generate_state(1)[0])
    if on_tensorflow():
        keras.utils.set_random_seed(seed)
    else:
        # `set_random_seed` does this, too, and Keras draws from nothing else; but it imports TensorFlow if it is there.
        random.seed(seed)
