"""What the command `hpa` says of results. Text alone: nothing is computed here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import escape, show
from hpa_data.commands.options import Json
from hpa_data.errors import InputError

if TYPE_CHECKING:
    from hpa_data.store.store import Store
    from hpa_model.evaluation.compare import Comparison
    from hpa_model.evaluation.scores import Scores


def describe_scores(scores: "Scores") -> str:
    """Say three scores, each with how it was obtained."""
    lines = [
        f"Macro-F1 over {len(scores.classes)} classes, {scores.n_samples} out-of-fold samples",
        f"  {scores.macro_f1_at_half:.3f}  threshold 0.5 for every class",
        f"  {scores.macro_f1_in_sample:.3f}  thresholds fitted on the rows they are scored on (optimistic)",
        f"  {scores.macro_f1_cross_fitted:.3f}  thresholds fitted on the other folds (honest)",
        f"  {scores.macro_f1_chance:.3f}  expected of guessing each class as often as it occurs",
    ]
    if scores.legacy_leak:
        lines.append("Every score flatters: copies of samples that validate were trained on (--legacy-leak).")
    if scores.absent:
        lines.append(f"No sample, never predicted, counted as 0: {', '.join(scores.absent)}")
    return "\n".join(lines)


def describe_classes(scores: "Scores") -> str:
    """Say the scores of each class, and of each fold."""
    lines = [
        f"{'':<31}{'':>8}{'':>11}{'honest':>11}{'':>8}{'':>8}{'same rows':>11}{'0.5':>8}",
        f"{'class':<31}{'samples':>8}{'threshold':>11}{'precision':>11}{'recall':>8}{'F1':>8}{'F1':>11}{'F1':>8}",
    ]
    for k, score in enumerate(scores.classes):
        threshold = "never" if score.support == 0 else f"{score.threshold:.3f}" if score.threshold else "always"
        lines.append(
            f"{k:>2} {escape(score.name):<28}{score.support:>8}{threshold:>11}{score.precision:>11.3f}"
            f"{score.recall:>8.3f}{score.f1_cross_fitted:>8.3f}{score.f1_in_sample:>11.3f}{score.f1_at_half:>8.3f}"
        )
    lines.append("")
    for fold in scores.folds:
        lines.append(
            f"{f'macro-F1 of fold {fold.fold}':<31}{fold.n_samples:>8}{'':>30}{fold.macro_f1_cross_fitted:>8.3f}"
            f"{fold.macro_f1_in_sample:>11.3f}{fold.macro_f1_at_half:>8.3f}"
        )
    return "\n".join(lines)


def describe_confusions(scores: "Scores") -> str:
    """Say what the worst classes are taken for."""

    def name(pairs: Sequence[tuple[str, int]]) -> str:
        return ", ".join(f"{escape(other)} ({n})" for other, n in pairs)

    lines = ["The worst classes, at honest thresholds:"]
    for confusion in scores.confusions:
        lines.append(
            f"  {escape(confusion.name)}: missed {confusion.n_false_negatives}, "
            f"false positives {confusion.n_false_positives}"
        )
        if confusion.predicted_instead:
            lines.append(f"    instead of it: {name(confusion.predicted_instead)}")
        if confusion.was_actually:
            lines.append(f"    it instead of: {name(confusion.was_actually)}")
    return "\n".join(lines)


def describe_comparison(done: "Comparison") -> str:
    """Put runs side by side."""
    width = max(len("run"), *(len(row.run) for row in done.rows)) + 2
    lines = [
        f"{'':<{width}}{'':<13}{'':>7}{'':>7}{'':>7}   {'macro-F1':<8}{'':>33}{'':>12}{'the':>8}",
        f"{'run':<{width}}{'model':<13}{'pixels':>7}{'loss':>7}{'epochs':>7}{'honest':>9}{'same rows':>11}{'0.5':>8}"
        f"{'best fold':>11}{'images/s':>12}{'paper':>8}",
    ]
    for row in done.rows:
        paper = "" if row.paper is None else f"{row.paper:.3f}"
        marks = " *" if row.legacy_leak else ""
        lines.append(
            f"{escape(row.run):<{width}}{row.model:<13}{row.image_size or 'own':>7}{row.loss:>7}{row.epochs:>7}"
            f"{row.macro_f1_cross_fitted:>9.3f}{row.macro_f1_in_sample:>11.3f}{row.macro_f1_at_half:>8.3f}{row.best_fold_in_sample:>11.3f}"
            f"{row.images_per_s:>12.1f}{paper:>8}{marks}"
        )
    guessing = max(row.macro_f1_chance for row in done.rows)
    lines += [
        "",
        "honest: thresholds fitted on the other folds; same rows, and best fold (the paper's number): fitted on the",
        f"rows that are scored, which flatters. Guessing frequencies would score {guessing:.3f}.",
    ]
    if not done.same_data:
        lines.append("The runs were trained on different data: their scores say little about the networks.")
    if any(row.legacy_leak for row in done.rows):
        lines.append("* flatters: copies of samples that validate were trained on.")
    return "\n".join(lines)


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    store: Annotated[str | None, typer.Option(help="The store, for the images of the report, if it was moved.")] = None,
    as_json: Json = False,
) -> None:
    """Score a run's out-of-fold predictions and write its report.

    Scores are computed with three kinds of thresholds, overall and per class.
    """
    from hpa_data.store.store import open_store
    from hpa_model.evaluation.scores import score_run

    scores = score_run(run)
    opened = None if store is None else open_store(store)
    lines = [describe_classes(scores), "", describe_confusions(scores)]
    lines += ["", describe_scores(scores), "", write_report_file(run, opened)]
    show(scores, as_json, "\n".join(lines))


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.")],
    out_csv: Annotated[Path | None, typer.Option(help="A CSV file to write the table to.")] = None,
    out_figure: Annotated[Path | None, typer.Option(help="A PNG file to draw the scores into.")] = None,
    as_json: Json = False,
) -> None:
    """Compare runs side by side, as in table 4.1 of the paper."""
    from hpa_data.system.atomic import write_atomic
    from hpa_model.evaluation.compare import compare_runs, write_comparison

    if out_csv is not None and out_csv.is_dir():
        raise InputError(f"out-csv must be a file. Received: {out_csv}, a folder. Pass {out_csv / 'runs.csv'}.")
    if out_figure is not None and out_figure.suffix.lower() != ".png":
        raise InputError(
            f"out-figure must be a PNG file. Received: {out_figure}. Pass {out_figure.with_suffix('.png')}."
        )
    comparison = compare_runs(runs)
    if out_csv is not None:
        write_comparison(comparison, out_csv)
    if out_figure is not None:
        from hpa_model.evaluation.figures import draw_comparison, render_png

        write_atomic(out_figure, render_png(draw_comparison(comparison)))
    show(comparison, as_json, describe_comparison(comparison))


def write_report_file(run: Path, store: "Store | None") -> str:
    """Write a run's report, if the packages that draw it are installed; return a line with its path."""
    try:
        from hpa_model.evaluation.report import write_report
    except ImportError as error:
        return f"No report: {error.name} is missing. Run: pip install '.[figures]', then: hpa evaluate {run}"
    report = write_report(run, store)
    return f"Report: {report.page}" + (
        f", without images. {report.missing_images_reason}" if report.missing_images_reason else ""
    )
