"""The network of a fold before training: newly initialized, or from an earlier run with its backbone frozen."""

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from hpa_data.errors import InputError
from hpa_model import nets
from hpa_model.backend import on_tensorflow
from hpa_model.config import TrainConfig
from hpa_model.nets.head import freeze_backbone
from hpa_model.runs.folder import BEST_FILE, RunDescription, find_last_file, fold_folder
from hpa_model.runs.membership import refuse_ensemble
from hpa_model.runs.models import is_complete, load_model
from hpa_model.runs.seal import hash_file


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


def load_frozen(run: Path, description: RunDescription, *, fold: int, sha256: str = "") -> keras.Model:
    """Load the best network of a fold of a run, with all layers but the classification head frozen.

    `sha256` is that of its file, as for `load_model`.
    """
    seed_fold(description.config, fold)
    network = load_model(fold_folder(run, fold) / BEST_FILE, description, sha256=sha256)
    freeze_backbone(network)
    return network


def hash_models(run: Path, description: RunDescription, *, purpose: str) -> tuple[str, ...]:
    """Return the SHA-256 of the best models of a finished run, in hexadecimal, one per fold.

    Parameters
    ----------
    run : Path
    description : RunDescription
    purpose : str
        What they are for, for messages: ``fine-tune``.

    Raises
    ------
    InputError
        If a model cannot be loaded, or a fold is not finished, or the run has no networks.
    """
    if description.baseline is not None:
        raise InputError(f"Cannot {purpose} {run}: it is a baseline, without a network. Pass a run of `hpa train`.")
    refuse_ensemble(description.ensemble, run, purpose=purpose)
    hashes = []
    for number in range(description.config.n_models):
        model = fold_folder(run, number) / BEST_FILE
        sha256 = hash_file(model) if is_complete(model) else ""
        load_model(model, description, sha256=sha256)
        if not model.with_name(find_last_file(description.config)).exists():
            raise InputError(
                f"Cannot {purpose} {run}: fold {number} is not finished. Run the same `hpa train` command again; it "
                "resumes."
            )
        hashes.append(sha256)
    return tuple(hashes)


def check_model(run: Path, fold: int, sha256: str, *, purpose: str, content: bytes | None = None) -> None:
    """Refuse the best model of a fold if it is not the one that was found when `hash_models` looked at it: InputError.

    The other folds may have taken days since, and a model that was trained again may know what this one is scored on.
    `content` is that of the file, if it was read.
    """
    model = fold_folder(run, fold) / BEST_FILE
    if content is not None:
        is_same = hashlib.sha256(content).hexdigest() == sha256
    else:
        is_same = is_complete(model) and hash_file(model) == sha256
    if not is_same:
        raise InputError(
            f"Cannot {purpose} {model}: it is another file than when this run was begun. Put it back from a copy, or "
            "begin again with --overwrite."
        )


def choose_stages(description: RunDescription) -> TrainConfig:
    """Return the settings of a run with one stage alone, of all layers, unless it starts from weights."""
    return description.config if description.weights else one_stage(description.config)


def one_stage(config: TrainConfig) -> TrainConfig:
    """Return settings with one stage, of all layers, for what has no trained backbone to keep."""
    return replace(config, head_epochs=0, backbone_rate_factor=1.0)


def seed_fold(config: TrainConfig, fold: int) -> None:
    """Set Keras's seeds as a function of (seed, fold)."""
    seed = int(np.random.SeedSequence([config.seed, fold]).generate_state(1)[0])
    if on_tensorflow():
        keras.utils.set_random_seed(seed)
    else:
        # `set_random_seed` does this, too, and Keras draws from nothing else; but it imports TensorFlow if it is there.
        random.seed(seed)
