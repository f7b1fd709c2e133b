"""Where the networks of a run see a class in samples of a store or in image files: pictures, and the maps as arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpa_data.dataset import FAILED
from hpa_data.errors import InputError, Notice
from hpa_data.store.failures import Failure
from hpa_data.system.progress import SILENT, Progress
from hpa_model.evaluation.explain.files import begin_folder, check_folder, name_picture, write_maps, write_picture
from hpa_model.evaluation.explain.samples import choose_samples, find_classes
from hpa_model.predict.chosen import choose_models
from hpa_model.predict.models import list_overridden_settings, load_models, name_models
from hpa_model.predict.opening import open_samples
from hpa_model.predict.reading import Reading
from hpa_model.predict.source import Source
from hpa_model.runs.folder import RunDescription, read_run
from hpa_model.runs.membership import refuse_ensemble

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from hpa_model.evaluation.class_maps import Mapper, Method
    from hpa_model.evaluation.explain.maps import Row


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What `explain_samples` wrote."""

    out: Path

    n_samples: int

    n_maps: int
    """Of classes, of all samples together."""

    n_empty: int
    """Maps that are 0 everywhere."""

    method: str
    layer: str

    map_size: tuple[int, int]
    """Rows and columns of cells."""

    failures: tuple[Failure, ...] = ()
    """Samples that could not be read, with file and reason; they are left out."""

    notices: tuple[Notice, ...] = ()


def explain_samples(
    run: Path,
    source: Path | str,
    out: Path,
    *,
    ids: Sequence[str] = (),
    classes: Sequence[str] = (),
    parts: Sequence[str] = (),
    folds: Sequence[int] | None = None,
    thresholds: Path | None = None,
    layer: str | None = None,
    method: "Method" = "grad-cam++",
    reading: Reading | None = None,
    strict: bool = False,
    progress: Progress = SILENT,
) -> Explained:
    """Draw where the networks of a run see classes in samples, and write the maps.

    Parameters
    ----------
    run : Path
        The run folder, of networks.
    source : Path or str
        A store, its URL, or image files, as for `predict.predict_submission`.
    out : Path
        The folder to write: a picture of each sample, ``maps.npz`` and ``index.json``. What this function wrote there
        before is replaced, from the first picture on.
    ids : sequence of str
        The samples. By default those that the report of the run shows, if they are among them: the correct predictions
        of highest confidence and the wrong ones of largest loss. Otherwise the first `samples.N_SAMPLES`.
    classes : sequence of str
        Names or numbers. By default the true ones of each sample and those that are predicted.
    parts : sequence of str
        Of the store; by default those that the run was trained on.
    folds : sequence of int, optional
        Whose models explain. By default, of a sample that the run scored, the model that was not trained on it. Of any
        other sample all models: the mean of their maps, see `class_maps.to_shares`.
    thresholds : Path, optional
        For a run without folds: another run, whose thresholds are used.
    layer, method : optional
        See `class_maps.make_mapper`.
    reading : Reading, optional
        How image files are read; by default as those of the run.
    strict : bool
        Refuse if there is a notice before anything is read.
    progress : Progress, optional
        Of samples.

    Raises
    ------
    InputError
        If the run has no networks, if there is no such sample, class, fold or layer, or if the folder could not be
        written or holds other files: before the first image is read.
    """
    check_folder(out, source=source)
    description = read_run(run)
    _check_kind(run, description)
    wanted = find_classes(classes, description.full_dataset.classes)
    models = choose_models(run, folds, thresholds)
    located = open_samples(models, source, parts=parts or description.config.parts, reading=reading)
    opened = located.source
    with opened.reader as reader:
        chosen = choose_samples(models, opened, source, ids, own_folds=folds is None)
        seen = [reader.ids[each.index] for each in chosen if not each.is_unseen]
        before = located.list_before(seen, strict=strict)
        check_folder(out, source=source, n_samples=len(chosen))
        from hpa_model.evaluation.class_maps import make_mapper
        from hpa_model.evaluation.explain.maps import explain_rows

        networks: Any = load_models(run, description, models.folds)
        before += list_overridden_settings(networks)
        mappers = {
            fold: make_mapper(network, layer=layer, method=method)
            for fold, network in zip(models.folds, networks, strict=True)
        }
        mapper = mappers[models.folds[0]]
        names = dict(zip(models.folds, name_models(run, description, models.folds), strict=True))
        grid = mapper.grid
        about = {
            "hpa": version("hpa"),
            "run": run.absolute().name,
            "method": method,
            "unit": UNITS[method],
            "layer": mapper.layer,
            "map_size": list(grid.size),
            "image_size": [grid.height, grid.width],
            "first_cell": [grid.rows.first, grid.columns.first],
            "cell_step": [grid.rows.step, grid.columns.step],
        }
        begun = begin_folder(out, about)
        progress.start(len(chosen))
        shown = progress.part()
        samples: list[dict[str, Any]] = []
        cells: list[npt.NDArray[np.float32]] = []
        for row in explain_rows(models, opened, chosen, mappers, classes=wanted, names=names):
            samples.append(_describe(row, opened, number=len(samples) + 1, first=len(cells)))
            picture = _draw(row, description, mapper, samples[-1])
            write_picture(out, samples[-1]["file"], picture, begun)
            cells += [each.cells for each in row.maps]
            shown.advance(1)
        ended = [reader.ids[each.index] for each in chosen if reader.status[each.index] != FAILED]
        failures = opened.list_failures()
        notices = [*before, *located.list_after(ended)]
        lacking = [failures[reader.ids[each.index]] for each in chosen if reader.ids[each.index] in failures]
    write_maps(out, samples, cells, about)
    return Explained(
        out=out,
        n_samples=len(samples),
        n_maps=len(cells),
        n_empty=sum(not each.any() for each in cells),
        method=method,
        layer=mapper.layer,
        map_size=grid.size,
        failures=tuple(lacking),
        notices=tuple(notices),
    )


UNITS = {
    "grad-cam++": "times what each cell has if the evidence for the class lies evenly over the image",
    "score": "what a cell adds to the logit of the class; their mean is the logit less the bias",
}


def _check_kind(run: Path, description: RunDescription) -> None:
    """Refuse runs without networks of their own; InputError."""
    if description.baseline is not None:
        raise InputError(
            f"Cannot explain {run}: it is a baseline, whose features have no place in the image. Pass a run of "
            "`hpa train`."
        )
    refuse_ensemble(description.ensemble, run, purpose="explain")


def _describe(row: "Row", opened: Source, *, number: int, first: int) -> dict[str, Any]:
    """Describe a sample and its maps, of which `first` is the number of the first one, for the index."""
    index, reader = row.sample.index, opened.reader
    return {
        "id": reader.ids[index],
        "part": getattr(reader, "parts", [""] * len(reader))[index],
        "file": name_picture(number, reader.ids[index]),
        "folds": list(row.sample.folds),
        "unseen": row.sample.is_unseen,
        "classes": [
            {
                "class": each.name,
                "number": k,
                "prob": each.prob,
                "threshold": each.threshold,
                "predicted": each.is_predicted,
                "true": each.is_true,
                "map": first + n,
                "highest": float(each.cells.max()),
                "mean": float(each.cells.mean()),
            }
            for n, (k, each) in enumerate(zip(row.classes, row.maps, strict=True))
        ],
    }


def _draw(row: "Row", description: RunDescription, mapper: "Mapper", described: dict[str, Any]) -> bytes:
    """Draw a sample with its maps as a PNG file."""
    from hpa_model.evaluation.figure_class_maps import draw_class_maps
    from hpa_model.evaluation.figure_style import render_file

    folds, grid = ", ".join(map(str, row.sample.folds)), mapper.grid
    models = f"Mean of the models of folds {folds}" if len(row.sample.folds) > 1 else f"Model of fold {folds}"
    if not description.config.folds:
        models = "Model of all samples"
    models += ", which was not trained on this sample" if row.sample.is_unseen else ""
    method = "Grad-CAM++" if mapper.method == "grad-cam++" else "Score maps"
    cells = f"{grid.rows.n} x {grid.columns.n} cells, {grid.rows.step:g} x {grid.columns.step:g} pixels apart"
    figure = draw_class_maps(
        row.image,
        description.full_dataset.channels,
        grid,
        row.maps,
        name=f"{described['part']}: {described['id']}" if described["part"] else described["id"],
        caption=(f"{method} at layer {mapper.layer}: {cells}", models),
        signed=mapper.method == "score",
    )
    return render_file(figure, "png")
