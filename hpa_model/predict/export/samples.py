"""Images on which an exported model is compared with the run."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import is_readable
from hpa_data.errors import InputError, Notice
from hpa_data.reader.kvstore import is_url
from hpa_data.store.store import open_store
from hpa_model.predict.source import open_source
from hpa_model.runs.folder import RunDescription
from hpa_model.thresholds import apply_temperatures

if TYPE_CHECKING:
    import keras

# Images at a time, whatever the run had: at full size each takes hundreds of megabytes in some networks.
BATCH = 4


@dataclass(frozen=True, kw_only=True)
class CheckedImages:
    """Images to compare models on."""

    images: npt.NDArray[np.uint8]
    """(N, Y, X, C)."""

    origin: str
    """What they are, in words."""

    notices: tuple[Notice, ...] = ()


def choose_images(description: RunDescription, n_samples: int, store: Path | str | None) -> CheckedImages:
    """Choose images for a comparison.

    Parameters
    ----------
    description : RunDescription
    n_samples : int
        N, at least 1; fewer if there are fewer.
    store : Path or str, optional
        A store, or its URL. By default that of the run if it is a folder that can still be read; without one, images
        are made up, and a notice says so.

    Raises
    ------
    InputError
        If `store` is given and has no such samples.
    """
    if store is not None:
        return _read_images(description, n_samples, store)
    if not is_url(description.store) and os.path.exists(description.store):
        # It may have been converted anew since, or be another user's.
        with contextlib.suppress(InputError, OSError):
            return _read_images(description, n_samples, description.store)
    return CheckedImages(
        images=make_images(description.image_shape, n_samples),
        origin="made-up images",
        notices=(
            Notice(
                what="the store of the run cannot be read, so the model was compared on made-up images",
                n=n_samples,
                unit="image",
                remedy="Pass --store with samples of the same channels and size.",
            ),
        ),
    )


def _read_images(description: RunDescription, n_samples: int, store: Path | str) -> CheckedImages:
    """Read readable samples, evenly spaced, of the parts that the run was trained on, else of the first one."""
    names = open_store(store).parts()
    parts = [name for name in description.config.parts if name in names] or names[:1]
    source = open_source(store, description, parts=parts, reading=None)
    with source.reader as reader:
        rows = np.flatnonzero(is_readable(reader.status))
        if not len(rows):
            raise InputError(f"Cannot compare on {store}: none of its samples is readable. Pass another --store.")
        chosen = rows[np.unique(np.linspace(0, len(rows) - 1, n_samples).round().astype(int))]
        images = np.stack([np.array(reader.read([row])[0]) for row in chosen.tolist()])
    return CheckedImages(images=images, origin=f"samples of part {', '.join(parts)}")


def make_images(shape: tuple[int, int, int], n_images: int) -> npt.NDArray[np.uint8]:
    """Make up images of all levels of brightness, uint8 (N, Y, X, C): a black one, a white one, then noise."""
    rng = np.random.default_rng(0)
    images = np.zeros((n_images, *shape), np.uint8)
    images[1:2] = 255
    for image in images[2:]:
        coarse = rng.random((-(-shape[0] // 16), -(-shape[1] // 16), shape[2])) * rng.random(shape[2])
        smooth = coarse.repeat(16, axis=0).repeat(16, axis=1)[: shape[0], : shape[1]]
        image[:] = smooth * rng.integers(128, 256, shape)
    return images


def predict_images(
    networks: "Sequence[keras.Model]", temperatures: npt.NDArray[np.float64], images: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    """Predict images, (N, Y, X, C), as `predict_probs` does the samples of a reader: float32 (N, K)."""
    from hpa_model.backend import on_tensorflow

    rows = []
    for network in networks:
        network.jit_compile = not on_tensorflow()
    for first in range(0, len(images), BATCH):
        batch = images[first : first + BATCH]
        of_models = [
            apply_temperatures(network.predict_on_batch(batch), temperature)
            for network, temperature in zip(networks, temperatures.tolist(), strict=True)
        ]
        rows.append(np.mean(of_models, axis=0))
    return np.concatenate(rows).astype(np.float32)
