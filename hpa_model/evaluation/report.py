"""The report of a run: one HTML file with figures, tables, and images of correct and wrong predictions."""

import importlib.resources
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jinja2

from hpa_data.store.store import Store
from hpa_data.system.atomic import remove_abandoned, write_atomic
from hpa_data.system.files import read_text
from hpa_model.baseline.settings import IN_WORDS, SHARED_SETTINGS, BaselineSettings
from hpa_model.config import DEFAULTS, TrainConfig, list_unused
from hpa_model.evaluation.example_maps import OFF, add_maps
from hpa_model.evaluation.figure_classes import order_by_support
from hpa_model.evaluation.figures import draw_figures
from hpa_model.evaluation.images import MAX_NAMED, read_images
from hpa_model.evaluation.records import Scores
from hpa_model.evaluation.results import Results, find_finetuned, link_run, read_results
from hpa_model.runs.folder import FIGURES_FOLDER, REPORT_FILE, SCORES_FILE, read_folds, read_run
from hpa_model.runs.history import read_history
from hpa_model.runs.membership import EnsembleSettings

# Classes without a sample that are named.
MAX_ABSENT = 20
TEMPLATE, FINAL_TEMPLATE = "report.html.jinja", "report_final.html.jinja"
# Between these, the page of a run names the runs that fine-tuned it; they are written later.
LINKS = ("<!-- fine-tuned -->", "<!-- /fine-tuned -->")


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report that was written."""

    path: Path
    missing_images_reason: str
    """Why it has no images; empty if it has them."""

    missing_maps_reason: str = ""
    """Why it has images, but no class maps; empty if it has them, or the run has no networks."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A setting of a run."""

    name: str
    value: str
    default: str
    is_default: bool
    is_used: bool = True


def write_report(
    run: Path,
    store: Store | None = None,
    *,
    scores: Scores | None = None,
    files: bool = True,
    class_maps: bool = True,
) -> Report:
    """Draw the figures of a run, and write its report.

    Parameters
    ----------
    run : Path
        A finished run.
    store : Store, optional
        To read images from; by default the one that the run was trained on. If it has changed since, or is missing,
        the report says so instead of showing images.
    scores : Scores, optional
        What `score_run` returned; by default, the run is scored again.
    files : bool
        Whether to write the figures as SVG and PDF files, too, into the folder `figures` of the run.
    class_maps : bool
        Whether to show where the models see a class in the samples that the report shows. It takes some seconds, and
        Keras; without it, or without the models, the report says why they are missing.

    Raises
    ------
    InputError
        If the run is not finished.
    """
    results = read_results(run, scores)
    images = read_images(store, results)
    images = add_maps(images, store, results) if class_maps else replace(images, missing_maps_reason=OFF)
    environment = _make_environment()
    text = environment.get_template(TEMPLATE).render(
        results=results,
        description=results.description,
        scores=results.scores,
        n_epochs={fold: len(history) for fold, history in results.histories.items()},
        hours=sum(record.seconds for history in results.histories.values() for record in history) / 3600,
        class_order=order_by_support(results.scores),
        figures=draw_figures(results, files=files),
        figures_folder=FIGURES_FOLDER if files else "",
        scores_file=SCORES_FILE,
        settings=list_settings(
            results.description.config,
            results.description.baseline,
            results.description.ensemble,
            has_weights=bool(results.description.weights),
        ),
        thresholdings=results.scores.thresholdings,
        images=images,
        classifier=IN_WORDS[results.description.baseline.model] if results.description.baseline else "",
        max_absent=MAX_ABSENT,
        max_named=MAX_NAMED,
        links=LINKS,
    )
    write_atomic(run / REPORT_FILE, text.encode())
    _link_back(results, environment)
    for folder in (run, run / FIGURES_FOLDER):
        remove_abandoned(folder)
    return Report(
        path=run / REPORT_FILE,
        missing_images_reason=images.missing_reason,
        missing_maps_reason="" if images.missing_reason else images.missing_maps_reason,
    )


def write_final_report(run: Path) -> Path:
    """Write the report of a run without folds, which says that nothing was scored; return its path."""
    description = read_run(run)
    (history,) = read_history(run, 1)
    text = (
        _make_environment()
        .get_template(FINAL_TEMPLATE)
        .render(
            name=run.absolute().name,
            description=description,
            history=history,
            n_samples=len(read_folds(run)),
            n_epochs={0: len(history)},
            hours=sum(record.seconds for record in history) / 3600,
            settings=list_settings(description.config, has_weights=bool(description.weights)),
        )
    )
    write_atomic(run / REPORT_FILE, text.encode())
    remove_abandoned(run)
    return run / REPORT_FILE


def _make_environment() -> jinja2.Environment:
    """Return an environment that escapes values unless a template marks them as safe."""

    def load(name: str) -> str:
        return importlib.resources.files("hpa_model.evaluation").joinpath(name).read_text(encoding="utf-8")

    return jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FunctionLoader(load),
    )


def _link_back(results: Results, environment: jinja2.Environment) -> None:
    """Name this run on the page of the run that it was fine-tuned from, if that page is there."""
    if results.base is None or not results.base.href:
        return
    path = results.folder / results.base.href
    try:
        page = read_text(path)
    except (OSError, ValueError):
        return
    begin, end = map(re.escape, LINKS)
    runs = {each.resolve() for each in (*find_finetuned(path.parent), results.folder)}
    links = [link_run(path.parent, run) for run in sorted(runs)]
    macros: Any = environment.get_template("report_links.jinja").module
    text = str(macros.finetuned(links))
    changed = re.sub(f"{begin}.*?{end}", lambda _: LINKS[0] + text + LINKS[1], page, count=1, flags=re.DOTALL)
    if changed != page:
        write_atomic(path, changed.encode())


def list_settings(
    config: TrainConfig,
    baseline: BaselineSettings | None = None,
    ensemble: EnsembleSettings | None = None,
    *,
    has_weights: bool = False,
) -> list[Setting]:
    """List the settings of a run, with their defaults; of one without a training of its own, those that it has.

    `has_weights` says whether the training started from weights.
    """
    settings = [_setting(name, config, DEFAULTS) for name in TrainConfig.__dataclass_fields__]
    if baseline is not None:
        own = [_setting(name, baseline, BaselineSettings()) for name in BaselineSettings.__dataclass_fields__]
        settings = [each for each in settings if each.name in SHARED_SETTINGS] + own
    if ensemble is not None:
        method = Setting(name="method", value=ensemble.method, default="mean", is_default=ensemble.method == "mean")
        settings = [each for each in settings if each.name in SHARED_SETTINGS] + [method]
    unused = list_unused(config, has_weights=has_weights)
    return [replace(each, is_used=each.name not in unused) for each in settings]


def _setting(name: str, settings: object, defaults: object) -> Setting:
    value, default = getattr(settings, name), getattr(defaults, name)
    return Setting(name=name, value=_describe(value), default=_describe(default), is_default=value == default)


def _describe(value: object) -> str:
    if isinstance(value, dict):
        entries = {name: f"{{{_describe(each)}}}" if isinstance(each, dict) else each for name, each in value.items()}
        return ", ".join(f"{name} = {each}" for name, each in entries.items()) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
