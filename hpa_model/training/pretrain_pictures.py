"""The pictures of a pre-training: originals beside reconstructions, and the losses over the epochs."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import numpy as np
import numpy.typing as npt

from hpa_data.dataset import Channel
from hpa_data.preview import Tile, montage, resize_to, to_rgb
from hpa_data.reader.reader import Reader
from hpa_data.system.atomic import write_atomic
from hpa_model.config import Keep
from hpa_model.nets.autoencoder import DAMAGED, ORIGINAL, RECONSTRUCTION
from hpa_model.runs.folder import BEST_FILE
from hpa_model.runs.history import read_reconstruction_epochs
from hpa_model.runs.models import load_model
from hpa_model.runs.pretraining import LOSS_FIGURE, RECONSTRUCTIONS_FIGURE, PretrainDescription

N_SHOWN, TILE_PIXELS = 8, 256


def draw_reconstructions(
    folder: Path, description: PretrainDescription, reader: Reader, indices: npt.NDArray[np.int64]
) -> Path:
    """Write a picture of some samples: as the network sees them, as it saw them in training, and reconstructed.

    Parameters
    ----------
    folder : Path
        Of a finished pre-training.
    description : PretrainDescription
    reader : Reader
    indices : array of int64
        Samples that were held out; the first eight are shown.

    Returns
    -------
    Path
        Of the PNG file.
    """
    autoencoder = load_model(folder / BEST_FILE)
    settings, channels = description.settings, description.dataset.channels
    is_damaged = bool(settings.mask or settings.noise)
    shown = indices[:N_SHOWN]
    images = reader.read(shown)
    # As many at a time as fit into memory in training.
    batches = np.split(images, range(description.config.batch_size, len(images), description.config.batch_size))
    originals, reconstructions = _compute(autoencoder, (ORIGINAL, RECONSTRUCTION), batches, training=False)
    columns = [("as it is", originals), ("reconstructed", reconstructions)]
    if is_damaged:
        # Up to here there is no layer but mask and noise that is another one in training.
        (damaged,) = _compute(autoencoder, (DAMAGED,), batches, training=True)
        columns.insert(
            1, ("with " + " and ".join(name for name in ("mask", "noise") if getattr(settings, name)), damaged)
        )
    scaling = next((layer for layer in autoencoder.layers if isinstance(layer, keras.layers.Rescaling)), None)
    tiles = []
    for row, index in enumerate(shown.tolist()):
        for title, values in columns:
            levels = _to_levels(values[row], originals[row], scaling)
            tiles.append(_make_tile(levels, channels, (reader.ids[index], title)))
    grid = montage(tiles, columns=2 * len(columns))
    path = folder / RECONSTRUCTIONS_FIGURE
    write_atomic(path, cv2.imencode(".png", grid[..., ::-1])[1].tobytes())  # OpenCV writes BGR
    return path


def draw_loss_figure(folder: Path, keep: Keep) -> Path:
    """Write the figure of the losses as a PNG file, and return its path; ImportError without Matplotlib."""
    from hpa_model.evaluation.figure_pretraining import draw_losses
    from hpa_model.evaluation.figure_style import render_file

    path = folder / LOSS_FIGURE
    write_atomic(path, render_file(draw_losses(read_reconstruction_epochs(folder), keep=keep), "png"))
    return path


def _compute(
    autoencoder: keras.Model, names: Sequence[str], batches: Sequence[npt.NDArray[np.uint8]], *, training: bool
) -> list[npt.NDArray[np.float32]]:
    """Compute what some layers put out for images, uint8 (B, Y, X, C) each; float32 (N, Y, X, C) for each layer."""
    part = keras.Model(autoencoder.input, {name: autoencoder.get_layer(name).output for name in names})
    found = [part(images, training=training) for images in batches]
    return [np.concatenate([keras.ops.convert_to_numpy(each[name]) for each in found]) for name in names]


def _to_levels(
    values: npt.NDArray[np.float32], original: npt.NDArray[np.float32], scaling: keras.layers.Rescaling | None
) -> npt.NDArray[np.uint8]:
    """Return a scaled image (Y, X, C) as gray levels; a standardized one by the range of its original per channel."""
    if scaling is not None:
        levels = (values - scaling.offset) / scaling.scale
    else:
        low, high = original.min(axis=(0, 1)), original.max(axis=(0, 1))
        levels = 255 * (values - low) / np.maximum(high - low, 1e-6)
    return levels.round().clip(0, 255).astype(np.uint8)


def _make_tile(image: npt.NDArray[np.uint8], channels: Sequence[Channel], lines: tuple[str, ...]) -> Tile:
    return Tile(image=resize_to(to_rgb(image, channels), TILE_PIXELS), lines=lines)
