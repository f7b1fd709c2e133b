"""The commands `hpa evaluate` and `hpa compare`: their options and their text."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import escape, list_some, quiet, show
from hpa_data.commands.options import Json, RetryMinutes
from hpa_data.errors import InputError
from hpa_data.reader.limits import RETRY_MINUTES

if TYPE_CHECKING:
    from hpa_data.store.store import Store
    from hpa_model.evaluation.compare import Comparison
    from hpa_model.evaluation.difference import Difference
    from hpa_model.evaluation.records import Scores
    from hpa_model.metrics import CalibrationError


RANKING_LABELS = {"macro_average_precision": "average precision", "macro_roc_auc": "area under the ROC curve"}

# Of names of runs in a table; longer ones lose their middle.
NAME_WIDTH = 28

FIGURE_KINDS = ("png", "svg", "pdf")

# About what an evaluation writes: a page of 2.5 MB, and almost as much again for scores and figures.
REPORT_BYTES = 5 * 2**20


def describe_scores(scores: "Scores") -> str:
    """Describe the scores of a run, each with how its thresholds were obtained."""
    samples = "validation" if scores.is_of_one_fold else "out-of-fold"
    lines = [
        f"Macro-F1 over {len(scores.classes)} classes, {scores.n_samples} {samples} samples",
        f"  {'score':<7}{'95 % interval':<16}{'no skill':<15}thresholds",
    ]
    for kind in scores.thresholdings:
        lines.append(_describe_score(scores, f"macro_f1_{kind.name}", kind.description.removeprefix("threshold ")))
    for name, label in RANKING_LABELS.items():
        if getattr(scores, name) is not None:
            lines.append(_describe_score(scores, name, f"none: {label}"))
    if scores.calibration_error is not None and scores.calibrated_error is not None:
        lines.append(
            f"Calibration error: {_describe_error(scores.calibration_error)}, "
            f"{_describe_error(scores.calibrated_error)} with --calibrated"
        )
    if scores.no_better_than_no_skill:
        lines.append("† no better than no skill: probabilities in a random order score as much")
    if scores.legacy_leak:
        lines.append("All scores are inflated: copies of validation samples were trained on (--legacy-leak).")
    if scores.absent:
        lines.append(escape(f"No sample, never predicted, counted as 0: {list_some(scores.absent)}"))
    return "\n".join(lines)


def _describe_score(scores: "Scores", name: str, words: str) -> str:
    """Describe the score in a field: its interval, what no skill scores, and in words how it was obtained."""
    value, interval, band = getattr(scores, name), scores.intervals.get(name), scores.no_skill.get(name)
    mark = " " if scores.beats_no_skill(name) else "†"
    around = "" if interval is None else f"{interval.low:.3f} to {interval.high:.3f}"
    without = "" if band is None else f"{band.mean:.3f} ± {band.sd:.3f}"
    return f"  {value:.3f}{mark} {around:<16}{without:<15}{words}"


def _describe_error(error: "CalibrationError") -> str:
    return f"{error.value:.3f} ({error.interval.low:.3f} to {error.interval.high:.3f})"


def describe_classes(scores: "Scores") -> str:
    """Describe the scores of each class, and of each fold."""
    width, kinds = 12, scores.thresholdings
    labels = "".join(f"{kind.label:>{width}}" for kind in kinds)
    lines = [
        f"{'':<50}{kinds[0].label:>{width}}{kinds[0].label:>{width}}{labels}",
        f"{'class':<31}{'samples':>8}{'threshold':>11}{'precision':>{width}}{'recall':>{width}}"
        + f"{'F1':>{width}}" * len(kinds),
    ]
    for k in scores.shown:
        score = scores.classes[k]
        threshold = "never" if score.support == 0 else f"{score.threshold:.3f}" if score.threshold else "always"
        values = [score.precision, score.recall, *(getattr(score, f"f1_{kind.name}") for kind in kinds)]
        columns = "".join(f"{value:>{width}.3f}" for value in values)
        lines.append(f"{k:>2} {escape(score.name):<28}{score.support:>8}{threshold:>11}{columns}")
    if scores.choice:
        lines.append(f"{scores.choice} Pass --json for all.")
    lines.append("")
    for fold in scores.folds:
        columns = "".join(f"{getattr(fold, f'macro_f1_{kind.name}'):>{width}.3f}" for kind in kinds)
        lines.append(f"{f'macro-F1 of fold {fold.fold}':<31}{fold.n_samples:>8}{'':>{11 + 2 * width}}{columns}")
    return "\n".join(lines)


def describe_confusions(scores: "Scores") -> str:
    """Describe what the worst classes are confused with."""

    def name(pairs: Sequence[tuple[str, int]]) -> str:
        return ", ".join(f"{escape(other)} ({n})" for other, n in pairs)

    lines = ["The worst classes, at the thresholds of the first score:"]
    for confusion in scores.confusions:
        lines.append(
            f"  {escape(confusion.name)}: {confusion.n_false_negatives} false negatives, "
            f"{confusion.n_false_positives} false positives"
        )
        if confusion.predicted_instead:
            lines.append(f"    predicted instead: {name(confusion.predicted_instead)}")
        if confusion.was_actually:
            lines.append(f"    was actually: {name(confusion.was_actually)}")
    return "\n".join(lines)


def describe_comparison(comparison: "Comparison") -> str:
    """Describe runs side by side, and which of them differ."""
    from hpa_model.evaluation.records import HEADLINE, THRESHOLDINGS

    width = min(NAME_WIDTH, max(len("run"), *(len(row.run) for row in comparison.rows)))
    lines = [
        f"{'run':<{width}}  {'model':<12}{'macro-F1':>8}  {'95 % interval':<16}{'same rows':>10}{'mAP':>7}{'AUC':>7}"
        f"{'paper':>7}"
    ]
    for row in comparison.rows:
        name = row.run if len(row.run) <= width else f"{row.run[: width - 9]}…{row.run[-8:]}"
        interval = f"{row.interval_low:.3f} to {row.interval_high:.3f}"
        ranking = "".join(
            f"{'' if value is None else f'{value:.3f}':>7}"
            for value in (row.macro_average_precision, row.macro_roc_auc)
        )
        paper = "" if row.paper is None else f"{row.paper:.3f}{'=' if row.paper_kind == 'same rows' else ' '}"
        marks = ("  no better than no skill" if row.headline <= row.no_skill_high else "") + "  *" * row.legacy_leak
        lines.append(
            f"{escape(name):<{width}}  {row.model:<12}{row.headline:>8.3f}  {interval:<16}"
            f"{row.macro_f1_in_sample:>10.3f}{ranking}{paper:>8}{marks}"
        )
    lines += ["", f"macro-F1: {HEADLINE.description}", f"same rows: {THRESHOLDINGS[2].description}"]
    lines.append("mAP, AUC: average precision and area under the ROC curve, mean over the classes; no thresholds")
    if any(row.paper is not None for row in comparison.rows):
        lines.append(
            "paper: what the paper reports, on Kaggle's test set, by submission; with =, on the fold that its "
            "thresholds were fitted on"
        )
    if any(row.folds == 1 for row in comparison.rows):
        lines.append(
            "Of a run with one fold, only the validation samples are scored, with thresholds of the other half of them."
        )
    worst = max(comparison.rows, key=lambda row: row.no_skill_high)
    lines.append(
        f"Without skill, macro-F1 is {worst.no_skill_mean:.3f}, and 95 % of the time below {worst.no_skill_high:.3f}."
    )
    lines.append("--out-csv and --json have the other scores, and pixels, loss, epochs and speed.")
    if not comparison.same_classes:
        sets = ", ".join(f"{escape(row.run)} {escape(row.dataset)}" for row in comparison.rows)
        lines.append(f"The runs predict different classes, so that their scores cannot be compared. Data sets: {sets}.")
    elif not comparison.same_data:
        lines.append("The runs were trained on different data: their scores say little about the networks.")
    if any(row.legacy_leak for row in comparison.rows):
        lines.append("* inflated: copies of validation samples were trained on.")
    if comparison.differences:
        lines += ["", *(escape(describe_difference(each)) for each in comparison.differences)]
        n_pairs = len(comparison.rows) * (len(comparison.rows) - 1) // 2
        if n_pairs > 1:
            lines.append(
                f"The intervals of differences are wider than of a single pair: together, those of all {n_pairs} pairs "
                "are right 95 % of the time."
            )
    return "\n".join(lines)


def describe_difference(found: "Difference") -> str:
    """Say in words whether two runs differ."""
    pair = f"{found.run} and {found.other}"
    if found.difference is None or found.low is None or found.high is None:
        why = "the labels of all samples that both predict differ" if found.n_other_labels else "no sample is in both"
        return f"{pair} cannot be compared: {why}."
    low, high, difference = found.low, found.high, found.difference
    if found.differs and difference < 0:
        low, high, difference = -high, -low, -difference
    size = f"{difference:+.3f} ({low:+.3f} to {high:+.3f}) on {found.n_samples} samples"
    better, worse = (found.run, found.other) if found.difference > 0 else (found.other, found.run)
    text = f"{better} is better than {worse}: {size}" if found.differs else f"{pair}: no difference found, {size}"
    if found.n_left_out:
        text += f"; {found.n_left_out} samples that only one predicts are left out"
    if found.n_other_labels:
        text += f"; {found.n_other_labels} samples with other labels in the other run are left out"
    return f"{text}."


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    store: Annotated[
        str | None, typer.Option(help="The store, if it was moved. The report shows images from it.")
    ] = None,
    no_class_maps: Annotated[
        bool,
        typer.Option(
            "--no-class-maps", help="Leave out where the models see a class in the samples; saves some seconds."
        ),
    ] = False,
    retry_minutes: RetryMinutes = RETRY_MINUTES,
    as_json: Json = False,
) -> None:
    """Score a run's out-of-fold predictions and write its report.

    Scores are computed with each of four ways to choose thresholds, overall and per class.
    """
    from hpa_data.store.store import open_store
    from hpa_model.evaluation.scores import score_run

    _check_outputs(run)
    opened = None if store is None else open_store(store)
    scores = score_run(run)
    lines = [describe_classes(scores), "", describe_confusions(scores)]
    lines += [
        "",
        describe_scores(scores),
        "",
        write_report_file(run, opened, scores, files=True, class_maps=not no_class_maps),
    ]
    show(scores, as_json, "\n".join(lines))


def _check_outputs(run: Path) -> None:
    """Refuse a run in which an evaluation could not be written."""
    from hpa_data.system.files import refuse_links
    from hpa_data.system.outputs import check_output, check_output_folder
    from hpa_model.runs.folder import FIGURES_FOLDER, REPORT_FILE, SCORES_FILE, THRESHOLDS_FILE, read_run

    read_run(run)
    check_output_folder(run, option="run", n_bytes=REPORT_BYTES)
    refuse_links(run, run / FIGURES_FOLDER / "figure")
    check_output_folder(run / FIGURES_FOLDER, option="figures")
    for name in (REPORT_FILE, SCORES_FILE, THRESHOLDS_FILE):
        if not (run / name).is_symlink():  # a link is replaced
            check_output(run / name, option=name, is_of_run=True)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out_csv: Annotated[Path | None, typer.Option(help="A CSV file to write the table to.")] = None,
    out_figure: Annotated[Path | None, typer.Option(help="A file to draw the scores into: .png, .svg or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """Compare runs side by side, as in table 4.1 of the paper."""
    from hpa_data.system.atomic import write_output
    from hpa_data.system.outputs import check_distinct, check_output, check_output_folder
    from hpa_model.evaluation.compare import compare_runs, write_comparison
    from hpa_model.runs.folder import read_run

    check_distinct({"out-csv": out_csv, "out-figure": out_figure})
    if out_csv is not None:
        check_output(out_csv, option="out-csv", example="runs.csv")
    kind = "" if out_figure is None else out_figure.suffix.lower().removeprefix(".")
    if out_figure is not None and kind not in FIGURE_KINDS:
        raise InputError(
            f"out-figure must be a file of kind {', '.join(FIGURE_KINDS)}. Received: {out_figure}. Pass "
            f"{out_figure.with_suffix('.png')}."
        )
    if out_figure is not None:
        check_output(out_figure, option="out-figure")
        from hpa_model.evaluation.figure_runs import draw_comparison
        from hpa_model.evaluation.figure_style import render_file
    for run in runs:
        read_run(run)
        check_output_folder(run, option="RUN")  # scores are written beside what they are of
    comparison = compare_runs(runs)
    if out_csv is not None:
        write_comparison(comparison, out_csv)
    if out_figure is not None:
        write_output(out_figure, render_file(draw_comparison(comparison), kind))
    show(comparison, as_json, describe_comparison(comparison))


def write_final_file(run: Path) -> str:
    """Write the report of a run without scores, if jinja2 is installed; return a line with its path."""
    try:
        from hpa_model.evaluation.report import write_final_report
    except ImportError as error:
        return f"No report: {error.name} is missing. Run: pip install '.[figures]', and the same command again."
    return f"Report: {write_final_report(run)}"


def write_report_file(
    run: Path, store: "Store | None", scores: "Scores", *, files: bool = False, class_maps: bool = True
) -> str:
    """Write a run's report, if the packages that draw it are installed; return a line with its path.

    Figures are also written as files if `files`, or if the run has some, which would be those of earlier scores.
    """
    from hpa_model.runs.folder import FIGURES_FOLDER

    try:
        from hpa_model.evaluation.report import write_report
    except ImportError as error:
        return f"No report: {error.name} is missing. Run: pip install '.[figures]', then: hpa evaluate {run}"
    if class_maps:
        _load_keras(run)
    files = files or (run / FIGURES_FOLDER).exists()
    report = write_report(run, store, scores=scores, files=files, class_maps=class_maps)
    lacking = ""
    if report.missing_images_reason:
        lacking = f", without images. {report.missing_images_reason}"
    elif report.missing_maps_reason and class_maps:
        lacking = f", without class maps: {report.missing_maps_reason}"
    return f"Report: {report.path}{lacking}"


def _load_keras(run: Path) -> None:
    """Load what computes the class maps of a run, if it has networks; its libraries write lines when they start.

    If they cannot be loaded, the report says why.
    """
    from hpa_model.runs.folder import read_run

    description = read_run(run)
    if description.baseline is None and description.ensemble is None:
        with quiet(), contextlib.suppress(ImportError, ValueError):
            from hpa_model.backend import list_gpus

            list_gpus()
