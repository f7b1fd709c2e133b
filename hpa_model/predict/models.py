"""Probabilities: the mean over models, and over flips and rotations of each image.

A model is a network, or the classifiers of a baseline, which do without Keras: it is imported where it is needed.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hpa_data.dataset import FAILED
from hpa_data.errors import InputError, Notice
from hpa_data.reader.batches import BatchReader, count_symmetries, iter_batches
from hpa_data.reader.reader import Reader
from hpa_data.reader.sampler import BatchSampler
from hpa_data.sources.samples import FolderReader
from hpa_data.system.garbage import loading
from hpa_data.system.progress import SILENT, Progress
from hpa_model.baseline.model import BaselinePredictor
from hpa_model.metrics import find_wrong_row
from hpa_model.predict.joined import JoinedMember, JoinedModels, Predictor, join_predictors
from hpa_model.runs.baseline import BASELINE_FILE, read_baseline
from hpa_model.runs.folder import BEST_FILE, RunDescription, fold_folder, read_run
from hpa_model.runs.joining import read_joiners
from hpa_model.runs.members import check_member, find_member
from hpa_model.runs.membership import EnsembleSettings
from hpa_model.thresholds import ClassCalibration, apply_calibrations, apply_temperatures

if TYPE_CHECKING:
    import keras

    Models = Sequence[keras.Model] | BaselinePredictor | JoinedModels


def load_models(run: Path, description: RunDescription, folds: Sequence[int]) -> "Models":
    """Load the models of some folds of a run, of an ensemble those of its members.

    Raises
    ------
    InputError
        If one is missing or damaged, or a member is not the run that the ensemble was joined from.
    """
    if description.ensemble is not None:
        return _load_members(run, description, description.ensemble, folds)
    return _load_own(run, description, folds)


def _load_members(
    run: Path, description: RunDescription, settings: EnsembleSettings, folds: Sequence[int]
) -> JoinedModels:
    n_folds, n_classes = description.config.folds, len(description.classes)
    joiners = read_joiners(run, settings.method, n_folds=n_folds, n_members=len(settings.members), n_classes=n_classes)
    members = []
    for member in settings.members:
        folder = find_member(run, member)
        described = read_run(folder)
        check_member(run, member, folder, described, folds)
        members.append(
            JoinedMember(
                models=_load_own(folder, described, folds),
                channels=tuple(description.channels.index(name) for name in member.channels),
                names=tuple(name_models(folder, described, folds)),
            )
        )
    return JoinedModels(members=tuple(members), joiner=joiners[-1], n_models=len(folds))


def _load_own(
    run: Path, description: RunDescription, folds: Sequence[int]
) -> "Sequence[keras.Model] | BaselinePredictor":
    if description.baseline is not None:
        return BaselinePredictor(
            models=tuple(read_baseline(run, fold, description) for fold in folds),
            settings=description.baseline,
            channels=description.full_dataset.channels,
        )
    with loading():
        from hpa_model.runs.models import load_model

    return [load_model(fold_folder(run, fold) / BEST_FILE, description) for fold in folds]


def name_models(run: Path, description: RunDescription, folds: Sequence[int]) -> list[str]:
    """Return what messages call the models of some folds of a run: their files."""
    if description.ensemble is not None:
        return [f"the models of fold {fold} of {run}" for fold in folds]
    name = BEST_FILE if description.baseline is None else BASELINE_FILE
    return [f"model {fold_folder(run, fold) / name}" for fold in folds]


def _has_networks(models: "Models") -> bool:
    """Return whether some of the models are networks, which need Keras."""
    if isinstance(models, JoinedModels):
        return any(_has_networks(member.models) for member in models.members)
    return not isinstance(models, BaselinePredictor)


def list_overridden_settings(models: "Models") -> list[Notice]:
    """Tell which settings of Keras were not used to load models; a baseline does without Keras."""
    if not _has_networks(models):
        return []
    from hpa_model.backend import list_overridden

    return list_overridden()


def predict_probs(
    models: "Models",
    reader: Reader | FolderReader,
    indices: npt.NDArray[np.int64],
    batch_size: int,
    progress: Progress = SILENT,
    *,
    tta: bool = False,
    temperatures: Sequence[float] | npt.NDArray[np.float64] | None = None,
    names: Sequence[str] | None = None,
    remedy: str = "Train the model again.",
) -> npt.NDArray[np.float32]:
    """Predict samples and average over models.

    Parameters
    ----------
    models : sequence of keras.Model, at least one, or BaselinePredictor or JoinedModels
    reader : Reader
        Of parts of a store, or of a folder. Each sample is read once, whatever the number of models.
    indices : array of int64, shape (M,)
    batch_size : int
    progress : Progress, optional
        Of images. Its `start` is not called.
    tta : bool
        Test-time augmentation: also average over the eight flips and rotations of each image, four if it is not
        square.
    temperatures : sequence of float, optional
        Of each model, see `thresholds.apply_temperatures`. By default 1, which changes nothing.
    names : sequence of str, optional
        What to call each model in messages, and, in `remedy`, what to do about one whose probabilities are wrong.

    Returns
    -------
    array of float32, shape (M, K)
        Mean probabilities in [0, 1], in the order of `indices`.

    Raises
    ------
    InputError
        If a sample cannot be read, if `tta` is asked of a baseline, or if a model gives anything but probabilities,
        such as NaN, for a sample that could be read.
    """
    batches = _predict_batches(
        models,
        reader,
        indices,
        batch_size,
        progress=progress,
        tta=tta,
        temperatures=temperatures,
        names=names,
        remedy=remedy,
    )
    return np.concatenate([np.mean(of_models, axis=0) for of_models in batches]).astype(np.float32)


def predict_calibrated(
    models: "Models",
    reader: Reader | FolderReader,
    indices: npt.NDArray[np.int64],
    batch_size: int,
    progress: Progress = SILENT,
    *,
    calibrations: Sequence[ClassCalibration],
    tta: bool = False,
    temperatures: Sequence[float] | npt.NDArray[np.float64] | None = None,
    names: Sequence[str] | None = None,
    remedy: str = "Train the model again.",
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Predict samples and average over models, with the probabilities as they are and calibrated.

    Calibrations were fitted to single models, so the probabilities of each are corrected before they are averaged. The
    other way round, the cross-entropy of new samples is higher (benchmarks/RESULTS.md, "Calibration").

    Parameters
    ----------
    calibrations : sequence of ClassCalibration, length K
    models, reader, indices, batch_size, progress, tta, temperatures, names, remedy
        As for `predict_probs`, and so are the errors.

    Returns
    -------
    two arrays of float32, shape (M, K)
        Those of `predict_probs`, which thresholds apply to, and the calibrated ones.
    """
    rows, calibrated = [], []
    for of_models in _predict_batches(
        models,
        reader,
        indices,
        batch_size,
        progress=progress,
        tta=tta,
        temperatures=temperatures,
        names=names,
        remedy=remedy,
    ):
        rows.append(np.mean(of_models, axis=0))
        calibrated.append(average_calibrated(of_models, calibrations))
    return np.concatenate(rows).astype(np.float32), np.concatenate(calibrated).astype(np.float32)


def average_calibrated(
    of_models: Sequence[npt.NDArray[Any]], calibrations: Sequence[ClassCalibration]
) -> npt.NDArray[Any]:
    """Correct the probabilities of each model, float (B, K), by the calibrations of the classes, and average them."""
    return np.asarray(np.mean([apply_calibrations(calibrations, probs) for probs in of_models], axis=0))


def _predict_batches(
    models: "Models",
    reader: Reader | FolderReader,
    indices: npt.NDArray[np.int64],
    batch_size: int,
    *,
    progress: Progress,
    tta: bool,
    temperatures: Sequence[float] | npt.NDArray[np.float64] | None,
    names: Sequence[str] | None,
    remedy: str,
) -> Generator[list[npt.NDArray[Any]]]:
    """Yield what each model gives for each batch, (B, K), once its logits are divided by its temperature."""
    n_done = 0

    def check(probs: npt.NDArray[Any], name: str) -> None:
        check_rows(probs, reader, indices[n_done : n_done + len(probs)], name=name, remedy=remedy)

    predict = _make_predictor(models, reader.image_shape, check, tta=tta)
    feed_batches = feed_networks if _has_networks(models) else feed_baseline
    batches = feed_batches(reader, indices, batch_size)
    names = names or [f"model {number}" for number in range(_count_models(models))]
    with closing(batches):
        for images in batches:
            views = predict(images)
            for name, of_views in zip(names, views, strict=True):
                for probs in of_views:
                    check(probs, name)
            of_models = [of_views[0] if len(of_views) == 1 else np.mean(of_views, axis=0) for of_views in views]
            if temperatures is not None:
                of_models = [
                    apply_temperatures(probs, temperature)
                    for probs, temperature in zip(of_models, temperatures, strict=True)
                ]
            n_done += len(images)
            progress.advance(len(images))
            del images
            yield of_models


def check_rows(
    probs: npt.NDArray[Any], reader: Reader | FolderReader, indices: npt.NDArray[np.int64], *, name: str, remedy: str
) -> None:
    """Refuse what a model gives for samples, (B, K), if it is not probabilities; a failed sample has none."""
    wrong = find_wrong_row(probs)
    if wrong is None:
        return
    is_read = reader.status[indices] != FAILED
    wrong = find_wrong_row(probs[is_read])
    if wrong is not None:
        sample = reader.ids[int(indices[is_read][wrong.row])]
        raise InputError(f"Cannot predict sample {sample!r}: {name} gives {wrong}. {remedy}")


def _count_models(models: "Models") -> int:
    if isinstance(models, JoinedModels):
        return models.n_models
    return len(models.models) if isinstance(models, BaselinePredictor) else len(models)


def _make_predictor(
    models: "Models",
    image_shape: tuple[int, int, int],
    check: Callable[[npt.NDArray[Any], str], None],
    *,
    tta: bool,
) -> Predictor:
    """Make what predicts batches of images of a shape, (Y, X, C); InputError if it cannot with `tta`."""
    if isinstance(models, JoinedModels):
        height, width, _ = image_shape
        predictors = [
            _make_predictor(member.models, (height, width, len(member.channels)), check, tta=tta)
            for member in models.members
        ]
        return join_predictors(models, predictors, check)
    if isinstance(models, BaselinePredictor):
        if tta:
            raise InputError(
                "tta must be off for a baseline, whose features are those of a turned image, too. Received: tta=True. "
                "Leave it out."
            )
        return _use_baseline(models)
    return _use_networks(models, image_shape, tta=tta)


def _use_baseline(models: BaselinePredictor) -> Predictor:
    return lambda images: [[probs] for probs in models.predict(images)]


def _use_networks(models: "Sequence[keras.Model]", image_shape: tuple[int, int, int], *, tta: bool) -> Predictor:
    """Make the predictor of networks; with `tta`, it averages over the symmetries of images of this shape."""
    from hpa_model.backend import on_tensorflow
    from hpa_model.nets.symmetry import with_symmetry_input

    networks = [with_symmetry_input(model) if tta else model for model in models]
    for model in networks:
        model.jit_compile = not on_tensorflow()  # XLA compiles again for each batch size; JAX has nothing else

    def predict(images: Any) -> list[list[npt.NDArray[Any]]]:
        views: list[Any] = [images]
        if tta:
            views = [(images, np.full(len(images), code, np.uint8)) for code in range(count_symmetries(image_shape))]
        return [[model.predict_on_batch(view) for view in views] for model in networks]

    return predict


def feed_networks(reader: BatchReader, indices: npt.NDArray[np.int64], batch_size: int) -> Generator[Any]:
    """Yield batches of images in a form that the backend accepts."""
    from hpa_model.backend import feed, reraise_reader_errors

    with reraise_reader_errors(reader) as source:
        batches = feed(source, indices, batch_size, shuffle=False, epochs=1)
        # `map`, as a loop would keep the memory of a batch from being reused for the next.
        yield from map(_take_images, batches)


def _take_images(batch: Any) -> Any:
    """Return the images of a batch, which may come with labels."""
    return batch[0] if isinstance(batch, tuple) else batch


def feed_baseline(reader: BatchReader, indices: npt.NDArray[np.int64], batch_size: int) -> Generator[Any]:
    """Yield batches of images as arrays."""
    batches = iter_batches(reader, BatchSampler(indices, batch_size, shuffle=False), epochs=1)
    yield from map(attrgetter("images"), batches)
