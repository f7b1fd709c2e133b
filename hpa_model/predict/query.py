"""The features of a sample that is not in a file of embeddings, by the networks that made the file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED, Channel
from hpa_data.errors import InputError, Notice
from hpa_data.reader.reader import Reader
from hpa_data.sources.members import is_archive_name
from hpa_data.sources.samples import FolderReader
from hpa_data.store.store import open_store
from hpa_model.predict.chosen import choose_models
from hpa_model.predict.embeddings import Embeddings
from hpa_model.predict.features import predict_features
from hpa_model.predict.models import load_models
from hpa_model.predict.opening import open_samples
from hpa_model.predict.reading import Reading
from hpa_model.predict.similar import scale_vectors
from hpa_model.runs.folder import read_run

# Of the features of one image, computed twice: backends and batch sizes differ in the last digits. Those of another run
# are as good as at a right angle.
SAME = 0.999


@dataclass(frozen=True, kw_only=True)
class Query:
    """A sample to look for the like of."""

    id: str

    image: npt.NDArray[np.uint8]
    """Shape (Y, X, C), with the channels of the run."""

    channels: tuple[Channel, ...]

    vector: npt.NDArray[np.float32]
    """Its features, (D,)."""

    notices: tuple[Notice, ...]
    """What should be known of how it was read."""


def embed_file(run: Path, path: Path, found: Embeddings, store: Path | str, *, reading: Reading | None = None) -> Query:
    """Compute the features of the sample that an image file belongs to.

    Parameters
    ----------
    run : Path
        The run that the embeddings were made with.
    path : Path
        One of the files of the sample; the others are looked for beside it. Or a folder or an archive of one sample.
    found : Embeddings
    store : Path or str
        Where its samples are: one is embedded again, to see whether the run is the right one.
    reading : Reading, optional
        How image files are read; by default as those of the run.

    Raises
    ------
    InputError
        If there is no such sample, it cannot be read, or the embeddings are of other networks.
    """
    if not found.ids:
        raise InputError("Cannot compare with embeddings of no sample. Embed the samples of a store.")
    if not found.parts[0]:
        raise InputError("Cannot compare with embeddings of image files. Embed the samples of a store.")
    layer = found.about.get("layer")
    # A run without folds has one model, which is chosen by none.
    models = choose_models(run, found.about.get("folds") if read_run(run).config.folds else None, decides=False)
    description = models.description
    networks = load_models(run, description, models.folds)

    def embed(reader: Reader | FolderReader, index: int) -> npt.NDArray[np.float32]:
        vectors, _ = predict_features(networks, reader, np.array([index]), description.config.batch_size, layer=layer)
        return vectors[0]

    with open_store(store).reader([found.parts[0]], channels=description.channels) as stored:
        if found.ids[0] not in stored.ids:
            raise InputError(
                f"Cannot compare with {store}: its part {found.parts[0]} does not have {found.ids[0]!r}. Pass the "
                "store that was embedded."
            )
        again = embed(stored, stored.ids.index(found.ids[0]))
    if again.shape != found.vectors[0].shape or _compare(again, found.vectors[0]) < SAME:
        raise InputError(
            f"run must be the one that the embeddings were made with, {found.about.get('run', 'of another name')}. "
            f"Received: {run}, which gives other features for {found.ids[0]!r}. Pass that run, or embed the store "
            "again."
        )
    is_single = path.is_file() and not is_archive_name(path.name)
    opened = open_samples(models, path.parent if is_single else path, parts=(), reading=reading)
    reader = opened.source.reader
    assert isinstance(reader, FolderReader)
    with reader:
        indices = reader.find_file(path.name) if is_single else list(range(len(reader)))
        if len(indices) != 1:
            raise InputError(
                f"image must be a file of one sample, or a folder of one. Received: {path}, of {len(indices)} samples. "
                "Pass one of the files of a sample, whose name the run's naming scheme knows."
            )
        vector = embed(reader, indices[0])
        name = reader.ids[indices[0]]
        if reader.status[indices[0]] == FAILED:
            raise InputError(f"Cannot read {path}: {reader.failures[indices[0]]}")
        image = reader.read(indices)[0]
        notices = tuple(opened.list_after([name]))  # files beside it are not of interest
    channels = description.full_dataset.channels
    return Query(id=name, image=image, channels=channels, vector=vector, notices=notices)


def _compare(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Return the cosine of two samples, each (D,)."""
    scaled = scale_vectors(np.stack([one, other]))
    return float(scaled[0] @ scaled[1])
