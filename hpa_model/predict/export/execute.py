"""The networks of a run, written as one model that other programs load."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras

from hpa_data.errors import InputError, Notice
from hpa_data.system.outputs import check_output_folder
from hpa_data.system.progress import SILENT, Progress
from hpa_model.predict.chosen import ChosenModels, choose_models
from hpa_model.predict.export.check import Probs, compare, measure, run_script
from hpa_model.predict.export.folder import check_folder, restore_folder, write_folder
from hpa_model.predict.export.formats import WRITERS, check_bytes, check_format, write_model
from hpa_model.predict.export.graph import INPUT, count_bytes, join_networks, to_float32
from hpa_model.predict.export.metadata import ABOUT_FILE, describe_models, encode
from hpa_model.predict.export.options import N_CHECKED, TOLERANCE, Format
from hpa_model.predict.export.samples import choose_images, predict_images
from hpa_model.predict.export.scripts import SCRIPT_FILE, make_script
from hpa_model.predict.models import list_overridden_settings, load_models


@dataclass(frozen=True, kw_only=True)
class ExportedModel:
    """What `export_run` wrote."""

    out: Path

    format: Format

    file: str
    """The model, in `out`."""

    folds: tuple[int, ...]
    """Empty for a run without."""

    n_bytes: int
    """Of all files."""

    n_checked: int
    """Images on which it was compared with the run."""

    checked_on: str
    """What these are, in words."""

    max_difference: float
    """Of a probability from that of the run."""

    tolerance: float

    notices: tuple[Notice, ...] = ()


def export_run(
    run: Path,
    kind: Format,
    out: Path,
    *,
    folds: Sequence[int] | None = None,
    thresholds: Path | None = None,
    store: Path | str | None = None,
    n_checked: int = N_CHECKED,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ExportedModel:
    """Write the networks of a run as one model, from uint8 images to probabilities, and compare it with the run.

    Parameters
    ----------
    run : Path
        The run folder, of networks.
    kind : str
        The format.
    out : Path
        The folder to make: the model, what is to be known of it, and a script that loads it.
    folds : sequence of int, optional
        Whose networks are averaged, by default all; thresholds are then fitted to their rows alone.
    thresholds : Path, optional
        For a run without folds: another run, whose thresholds are used.
    store : Path or str, optional
        With the samples to compare on, see `samples.choose_images`.
    n_checked : int
        How many.
    overwrite : bool
        Replace a folder of an earlier export.
    progress : Progress, optional
        Only its `note` is called, with what is done.

    Raises
    ------
    InputError
        If the run has no networks, or the format cannot be written here. If a probability differs by more than
        `TOLERANCE`; `out` is then as it was.
    """
    restore_folder(out)
    check_folder(out, overwrite=overwrite)
    check_output_folder(out)
    models = choose_models(run, folds, thresholds)
    _check_kind(models)
    check_format(kind)
    writer = WRITERS[kind]
    chosen = choose_images(models.description, n_checked, store)
    with keras.device("cpu:0"):  # where float32 is float32
        networks: Any = load_models(run, models.description, models.folds)
        notices = [*models.notices, *list_overridden_settings(networks), *chosen.notices]
        check_bytes(kind, count_bytes(networks))
        check_output_folder(out, n_bytes=2 * count_bytes(networks))
        plain = [to_float32(network) for network in networks]
        progress.note(f"Predicting {len(chosen.images)} {chosen.origin}")
        expected = of_run = predict_images(networks, models.temperatures, chosen.images)
        if models.description.config.precision != "float32":
            expected = predict_images(plain, models.temperatures, chosen.images)
            notices.append(_notice_precision(models, of_run, expected))
    about = describe_models(
        models, file=writer.file, kind=kind, input_name=INPUT, output_name=writer.output, batch=writer.batch
    )
    with write_folder(out, overwrite=overwrite) as folder:
        progress.note(f"Converting to {kind}")
        # Not on a device of our choice, which a SavedModel would keep.
        write_model(join_networks(plain, models.temperatures), kind, folder / writer.file, encode(about))
        (folder / ABOUT_FILE).write_text(encode(about), "utf-8")
        (folder / SCRIPT_FILE).write_text(make_script(kind, writer.file), "utf-8")
        progress.note("Loading the files, and comparing")
        found = run_script(folder, chosen.images, kind)
        difference = compare(found, expected, tolerance=TOLERANCE, kind=kind)
        about["check"] = {
            "n_images": len(chosen.images),
            "images": chosen.origin,
            "max_difference": difference,
            "tolerance": TOLERANCE,
            "compared_with": f"{keras.backend.backend()} {version(keras.backend.backend())}",
        }
        (folder / ABOUT_FILE).write_text(encode(about), "utf-8")
        if kind == "bioimageio":
            from hpa_model.predict.export.package import write_package

            write_package(folder, about, chosen.images[:1], found[:1])
        n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return ExportedModel(
        out=out,
        format=kind,
        file=writer.file,
        folds=models.folds if models.description.config.folds else (),
        n_bytes=n_bytes,
        n_checked=len(chosen.images),
        checked_on=chosen.origin,
        max_difference=difference,
        tolerance=TOLERANCE,
        notices=tuple(notices),
    )


def _check_kind(models: ChosenModels) -> None:
    """Refuse a run that is no network."""
    if models.description.ensemble is not None:
        raise InputError(
            f"Cannot export {models.run}: an ensemble of runs is not one network. Export each of its members, and "
            "average their probabilities."
        )
    if models.description.baseline is not None:
        raise InputError(
            f"Cannot export {models.run}: a baseline measures features outside of a network. Export a run of "
            "`hpa train`."
        )


def _notice_precision(models: ChosenModels, of_run: Probs, expected: Probs) -> Notice:
    """Tell by how much the probabilities of a run of mixed precision, (N, K), differ from those of float32."""
    return Notice(
        what=f"the run computes in {models.description.config.precision}, the exported model in float32, and was "
        f"compared in float32: its probabilities differ from those of the run by up to {measure(of_run, expected):.1e}",
        n=len(expected),
        unit="image",
        remedy="For thresholds that fit exactly, train with --precision float32.",
    )
