"""What `hpa train` and `hpa finetune` say of an epoch, and of a run."""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpa_model.commands.evaluate import describe_scores, write_final_file, write_report_file

if TYPE_CHECKING:
    from hpa_data.store.store import Store
    from hpa_model.evaluation.records import Scores
    from hpa_model.runs.history import EpochRecord
    from hpa_model.training.train import TrainedRun

NOT_SCORED = (
    "Nothing was scored: the model was trained on all samples. To predict with it, take the thresholds of a run of the "
    "same settings with folds, whose scores say what to expect: hpa predict RUN STORE --thresholds OTHER."
)


def encode_runs(runs: "list[TrainedRun]") -> dict[str, Any]:
    """Return the scores of the last run with its paths, and under ``earlier`` the same of those that it came from."""
    from hpa_model.runs.folder import REPORT_FILE

    results = []
    for run in runs:
        report = run.run / REPORT_FILE
        results.append(
            {
                "run": str(run.run),
                "report": str(report) if not run.missing and report.exists() else None,
                "finished": not run.missing,
                "missing": [dataclasses.asdict(each) for each in run.missing],
                **({} if run.scores is None else dataclasses.asdict(run.scores)),
            }
        )
    return results[-1] | {"earlier": results[:-1]}


def describe_unfinished(trained: "TrainedRun") -> str:
    """Say what is missing of a run that is not finished."""
    from hpa_model.training.train import describe_missing

    return f"Run folder: {trained.run}\nNot finished: {describe_missing(trained.missing)}"


def describe_run(run: Path, scores: "Scores | None", store: "Store") -> str:
    """Describe how a run scored, write its report, and name the paths of both."""
    from hpa_model.runs.folder import read_run

    lines = [NOT_SCORED if scores is None else describe_scores(scores), f"Run folder: {run}"]
    description = read_run(run)
    source = description.finetuned_from
    if source:
        lines.append(describe_finetuned(description.finetuned_folds, description.config.n_models, source))
    if description.weights:
        what = "models" if description.starts_from_run else "weights"
        lines.append(f"Started from the {what} of {description.weights}")
    if description.n_seen:
        lines.append(f"All scores are inflated: those models were trained on {description.n_seen} samples scored here.")
    if description.n_seen_unlabeled:
        lines.append(f"Seen in pre-training, without labels: {description.n_seen_unlabeled} of the samples scored here")
    if description.n_left_out:
        lines.append(f"Left out, could not be converted: {description.n_left_out} samples")
    report = write_final_file(run) if scores is None else write_report_file(run, store, scores)
    return "\n".join([*lines, report])


def describe_finetuned(folds: Sequence[int], n_models: int, source: str) -> str:
    """Say of which folds the models were fine-tuned, and where those of others are from.

    Examples
    --------
    >>> describe_finetuned([1], 3, "run"), describe_finetuned([0], 1, "run")
    ('Fine-tuned: fold 1; the models of other folds are those of run', 'Fine-tuned: the only model, of run')
    """
    if len(folds) == n_models:
        return f"Fine-tuned: {'the only model' if n_models == 1 else 'the models of all folds'}, of {source}"
    return f"Fine-tuned: fold {', '.join(map(str, folds))}; the models of other folds are those of {source}"


def print_epoch(fold: int, record: "EpochRecord", is_best: bool) -> None:
    """Print a line for an epoch, marked if its model is kept."""
    if not record.is_validated:
        print(f"epoch {record.epoch:>3}  loss {record.loss:.4f}  {record.images_per_s:.1f} images/s", file=sys.stderr)
        return
    metrics = "  ".join(f"{label} {getattr(record, name):.3f}" for name, label in record.labeled_metrics().items())
    skill = f"no skill {record.val_macro_f1_no_skill:.3f}" if record.shows_skill else "no better than no skill"
    # To stderr, which rich redirects: the line appears above the bar. Folds count from 0, as their folders do.
    print(
        f"fold {fold}  epoch {record.epoch:>3}  loss {record.loss:.4f}  val_loss {record.val_loss:.4f}  {metrics} "
        f"({skill})  "
        f"{record.images_per_s:.1f} images/s{'  kept' if is_best else ''}",
        file=sys.stderr,
    )
