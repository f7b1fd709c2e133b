"""The whole workflow on synthetic samples, at a size that two cores finish in minutes."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa_data.convert.execute import convert_files
from hpa_data.convert.plan import plan_conversion
from hpa_data.errors import InputError
from hpa_data.store.store import Store, open_store
from hpa_data.synth import write_samples
from hpa_data.system.progress import SILENT, Progress
from hpa_data.tables import encode_labels, read_columns, read_label_table
from hpa_model.baseline.settings import BaselineSettings
from hpa_model.browse.files import INDEX
from hpa_model.browse.opening import choose_parts, open_reader, read_catalog
from hpa_model.browse.query import Query, select, spread
from hpa_model.browse.static import write_static
from hpa_model.config import list_recipes, make_config
from hpa_model.evaluation.difference import compare_rows
from hpa_model.evaluation.explain import explain_samples
from hpa_model.evaluation.records import HEADLINE, Scores
from hpa_model.evaluation.report import write_report
from hpa_model.evaluation.sample_map import write_map
from hpa_model.evaluation.scores import score_run
from hpa_model.metrics import Interval, f1_per_class
from hpa_model.metrics.intervals import bootstrap_macro_f1, find_interval
from hpa_model.predict import embed_samples, predict_submission, read_embeddings
from hpa_model.runs.folder import SCORES_FILE
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.thresholds import NoSkill
from hpa_model.thresholds.no_skill import summarize_draws
from hpa_model.training.baseline import train_baseline
from hpa_model.training.job import EpochReport, ignore_epoch
from hpa_model.training.train import train

# 28 of each class to train on, three to test on.
N_SAMPLES, N_TEST = 784, 84
N_FOLDS = 2
# The training is that of a recipe.
RECIPE = "trial"
# More than the decoded samples take, 1 MiB each; unused, it costs nothing.
CACHE_BYTES = 2**30
# Of the page; it takes 18 MB, mostly class maps.
N_SHOWN = 60
# Orders of the test samples that the scores without skill come from.
N_DRAWS = 200


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of the demo."""

    name: str
    """The command that does the same."""

    seconds: float

    output: Path
    """What it wrote."""


@dataclass(frozen=True, kw_only=True)
class SubmissionScore:
    """Macro-F1 of predictions of the synthetic test samples, whose labels no step but this one reads."""

    macro_f1: float

    interval: Interval
    """95 %, from bootstrap samples."""

    no_skill: NoSkill
    """The score of the same predictions for the test samples in a random order."""


@dataclass(frozen=True, kw_only=True)
class Contender:
    """The network or the baseline: what it scores, and how long that takes."""

    name: str
    run: Path
    """Its run folder."""

    scores: Scores
    """Of the out-of-fold probabilities."""

    test: SubmissionScore

    seconds: float
    """Of training, scoring and predicting, without the report."""


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What the demo did."""

    steps: tuple[Step, ...]
    """In order."""

    network: Contender
    baseline: Contender

    difference: Interval
    """95 % interval of the network's headline score minus the baseline's, from bootstrap samples of both together."""

    report: Path
    """The report of the network."""

    page: Path
    """Some of the samples, with predictions, class maps and neighbors."""

    n_test: int = N_TEST

    headline: str = f"macro_f1_{HEADLINE.name}"
    """The field of the scores that is the one to quote."""


def run_demo(folder: Path, *, seed: int = 0, progress: Progress = SILENT, on_epoch: EpochReport = ignore_epoch) -> Demo:
    """Generate samples, convert, train a network and the baseline over the same folds, evaluate, predict and look.

    Parameters
    ----------
    folder : Path
        The folder to create for the samples, the store, the runs and the submissions.
    seed : int
        Of the samples, the folds and the weights.
    progress : Progress, optional
        Of samples or images; each step starts it again, after a note.
    on_epoch : function of (int, EpochRecord), optional
        As in `train`.

    Returns
    -------
    Demo

    Raises
    ------
    InputError
        If the folder exists and is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"folder must be new or empty. Received: {folder}. Remove it, or pass another folder.")
    samples, store = folder / "samples", folder / "hpa.zarr"
    steps: list[Step] = []
    started = time.perf_counter()

    def finish(name: str, output: Path) -> None:
        nonlocal started
        now = time.perf_counter()
        steps.append(Step(name=name, seconds=now - started, output=output))
        started = now

    def predict(run: Path, submission: Path) -> SubmissionScore:
        progress.note(f"Predicting the test part with the models of {run}")
        predict_submission(
            run, store, submission, sample_submission=samples / "sample_submission.csv", progress=progress
        )
        finish("predict", submission)
        return score_submission(submission, samples / "test_truth.csv")

    progress.note(f"Drawing {N_SAMPLES} labeled samples and {N_TEST} test samples")
    progress.start(N_SAMPLES + N_TEST)
    write_samples(samples, n_samples=N_SAMPLES, n_test=N_TEST, seed=seed, uniform=True, progress=progress.part())
    finish("synth", samples)

    progress.note("Converting both folders into one store")
    for part, labels in (("train", samples / "train.csv"), ("test", None)):
        plan = plan_conversion(samples / part, store, part=part, labels=labels)
        convert_files(plan, progress=progress)
    finish("convert", store)

    opened = open_store(store)
    recipe = next(recipe for recipe in list_recipes() if recipe.name == RECIPE)
    config = make_config(recipe.settings | {"folds": N_FOLDS, "seed": seed})
    fitted = train_baseline(opened, config, folder / "baseline", progress=progress)
    finish("baseline", fitted.run)
    baseline = Contender(
        name=BaselineSettings().model,
        run=fitted.run,
        scores=fitted.scores,
        test=predict(fitted.run, folder / "baseline.csv"),
        seconds=sum(step.seconds for step in steps[-2:]),
    )

    progress.note(f"Training {config.folds} folds of {config.model} at {config.image_size} pixels")
    run = folder / "run"
    train(opened, config, run, cache_bytes=CACHE_BYTES, progress=progress, on_epoch=on_epoch)
    finish("train", run)
    progress.note("Scoring the out-of-fold predictions")
    scores = score_run(run)
    finish("evaluate", run / SCORES_FILE)
    test = predict(run, folder / "submission.csv")
    network = Contender(
        name=config.model, run=run, scores=scores, test=test, seconds=sum(step.seconds for step in steps[-3:])
    )
    progress.note("Writing the report")
    report = write_report(run, scores=scores).path
    finish("report", report)
    page = show_samples(opened, run, folder, finish=finish, progress=progress)
    return Demo(
        steps=tuple(steps),
        network=network,
        baseline=baseline,
        difference=compare_headlines(run, fitted.run),
        report=report,
        page=page,
    )


def show_samples(
    store: Store, run: Path, folder: Path, *, finish: Callable[[str, Path], None], progress: Progress
) -> Path:
    """Write features, a map of the samples, class maps, and a page with all of it; return the path of the page.

    `finish` is called with the name and the output of each step.
    """
    embeddings, sample_map = folder / "embeddings.npz", folder / "map.html"
    progress.note("Computing the features of all samples, and a map of them")
    embed_samples(run, store.path, embeddings, parts=("train", "test"), progress=progress)
    finish("embed", embeddings)
    write_map(read_embeddings(embeddings), sample_map)
    finish("map", sample_map)
    progress.note("Drawing where the network sees a class, in the samples of the report")
    class_maps = explain_samples(run, store.path, folder / "class-maps", progress=progress).out
    finish("explain", class_maps)
    progress.note(f"Writing a page of {N_SHOWN} samples")
    parts = choose_parts(store, ())
    with open_reader(store, parts) as reader:
        catalog = read_catalog(store, parts, reader, run=run, embeddings=embeddings, explained=class_maps)
        others = spread(catalog, select(catalog, Query()), N_SHOWN - len(catalog.maps))
        shown = sorted({*catalog.maps, *others.tolist()})
        page = write_static(catalog, reader, shown, folder / "page", progress=progress).out / INDEX
    finish("browse", page)
    return page


def compare_headlines(run: Path, other: Path) -> Interval:
    """Return the 95 % interval of the headline score of a run minus that of another over the samples of both."""
    rows, other_rows = map(read_out_of_fold, (run, other))
    found = compare_rows(run.name, rows, other.name, other_rows)
    if found.low is None or found.high is None:
        raise ValueError("the runs of the demo predict different samples")
    return Interval(low=found.low, high=found.high)


def score_submission(submission: Path, truth: Path) -> SubmissionScore:
    """Score a submission with the true labels, a label table with the same ids in the same order."""
    labels = read_label_table(truth).labels
    predictions = encode_labels([row[1] for row in read_columns(submission, ("Id", "Predicted"))])
    rng = np.random.default_rng(0)
    shuffled = [f1_per_class(labels, rng.permutation(predictions)).mean() for _ in range(N_DRAWS)]
    macro_f1 = float(f1_per_class(labels, predictions).mean())
    return SubmissionScore(
        macro_f1=macro_f1,
        interval=find_interval(macro_f1, bootstrap_macro_f1(labels, predictions)),
        no_skill=summarize_draws(np.array(shuffled)),
    )
