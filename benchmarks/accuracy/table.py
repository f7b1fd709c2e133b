"""The table of a comparison."""

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy.run import SEEDS, name_submission, seconds_file
from benchmarks.accuracy.steps import STORE, Comparison, Row
from hpa_data.store.store import open_store
from hpa_model.demo import score_submission
from hpa_model.evaluation.difference import compare_rows
from hpa_model.evaluation.records import HEADLINE
from hpa_model.evaluation.scores import score_run
from hpa_model.runs.folder import read_run
from hpa_model.runs.history import read_history, read_reconstruction_epochs
from hpa_model.runs.out_of_fold import read_out_of_fold
from hpa_model.runs.pretraining import TRAINING, is_pretraining, read_samples


def tabulate_rows(out: Path, comparison: Comparison, rows: Sequence[Row]) -> str:
    """Return the table of rows whose steps are finished, in Markdown."""
    head = ["", "images seen", "macro-F1 (95 %)", "difference (95 %)", "test (95 %)", "band", "AUC", "mAP", "seconds"]
    lines = [head, ["---"] * len(head), *(_describe(out, comparison, row) for row in rows)]
    if not comparison.scores_test:
        lines = [[*line[:4], *line[5:]] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _describe(out: Path, comparison: Comparison, row: Row) -> list[str]:
    """Return the cells of a row."""
    run = out / row.step
    test = _describe_test(out, row) if comparison.scores_test else ""
    if row.predict:
        return [row.title, "", "", "", test, "", "", "", ""]
    scores, name = score_run(run), f"macro_f1_{HEADLINE.name}"
    interval = scores.intervals[name]
    difference = ""
    if row.step != row.reference:
        reference = read_out_of_fold(out / row.reference)
        found = compare_rows(row.step, read_out_of_fold(run), row.reference, reference)
        difference = f"{found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f})"
    seconds = _sum_seconds(out, row.step, comparison)
    return [
        row.title,
        f"{_sum_images(out, row.step, comparison):,}",
        f"{scores.headline:.3f} ({interval.low:.3f} to {interval.high:.3f})",
        difference,
        test,
        f"{scores.no_skill[name].high:.3f}",
        f"{scores.macro_roc_auc or 0:.3f}",
        f"{scores.macro_average_precision or 0:.3f}",
        "" if seconds is None else f"{seconds:,.0f}",
    ]


def _describe_test(out: Path, row: Row) -> str:
    score = score_submission(out / name_submission(row), out / f"drawn-{SEEDS[STORE]}" / "test_truth.csv")
    return f"{score.macro_f1:.3f} ({score.interval.low:.3f} to {score.interval.high:.3f})"


def count_images(folder: Path) -> int:
    """Count the images that a run or a pre-training was trained on, with repetitions, over all folds."""
    if is_pretraining(folder):
        n_training = sum(sample.use == TRAINING for sample in read_samples(folder))
        return n_training * len(read_reconstruction_epochs(folder))
    description = read_run(folder)
    if description.baseline is not None or description.ensemble is not None:
        return 0
    store = open_store(folder.parent / Path(description.store).name)
    n_all = sum(len(store.part(name).ids) for name in description.config.parts)
    folds = read_out_of_fold(folder).folds
    histories = read_history(folder, description.config.folds)
    # Copies are trained on where their parents are.
    return round(sum(len(history) * float((folds != fold).mean()) * n_all for fold, history in enumerate(histories)))


def _sum_images(out: Path, name: str, comparison: Comparison) -> int:
    needed = comparison.step(name).needs
    return count_images(out / name) + sum(_sum_images(out, each, comparison) for each in needed)


def _sum_seconds(out: Path, name: str, comparison: Comparison) -> float | None:
    """Add up the processor seconds of a step and of those that it needs; None where they were not measured."""
    names = [name, *comparison.step(name).needs]
    files = [seconds_file(out, each) for each in names]
    if not all(file.exists() for file in files):
        return None
    return float(sum(json.loads(file.read_text())["processor_seconds"] for file in files))
