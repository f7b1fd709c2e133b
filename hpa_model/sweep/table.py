"""What a search has found, in words: the table of its trials, and the best recipe."""

import io
from pathlib import Path

from hpa_data.system.atomic import write_atomic
from hpa_model.config.recipes import encode_recipe
from hpa_model.sweep.options import HEADLINE_METRIC
from hpa_model.sweep.space import format_value
from hpa_model.sweep.study import BEST_RECIPE, Study, Trial, trial_folder

# Characters of a line of the table; it is wider where a setting needs more, and never wrapped.
MAX_WIDTH = 400
MAX_ROWS = 50


def order_trials(study: Study) -> list[Trial]:
    """List the trials: finished ones, the best first, then pruned, running and failed ones."""
    order = {"finished": 0, "pruned": 1, "running": 2, "failed": 3}
    return sorted(study.trials, key=lambda trial: (order[trial.state], study.rank(trial), trial.number))


def describe_metric(study: Study) -> str:
    """Say what a score is."""
    better = "the lower the better" if study.minimizes else "the higher the better"
    if study.metric == HEADLINE_METRIC:
        return f"Score: macro-F1 of the run, with thresholds fitted on other samples; {better}."
    return f"Score: {study.metric} of the epoch that is kept, mean over the folds; {better}."


def describe_skill(study: Study) -> str:
    """Say it if the best score shows no skill; empty if it does, or that is not known."""
    best = study.best
    if best is None or best.score is None or best.no_skill is None or best.score > best.no_skill:
        return ""
    chance = ", and the order of the trials is chance" if len(study.list_finished()) > 1 else ""
    return (
        f"No trial shows skill: scores without it reach {best.no_skill:.4f}{chance}. Train for more epochs, or on more "
        "samples."
    )


def describe_caution(study: Study, out: Path) -> str:
    """Say how much the best score is worth, and how to confirm it; empty if nothing was chosen."""
    n = len(study.list_finished())
    if n < 2:
        return ""
    seed = int(study.settings.get("seed", 0)) + 1
    return (
        f"The best of {n} scores is optimistic: it was chosen for being the best, on the samples that it is of. "
        "Confirm it on samples that no trial has seen, or at least over other folds: hpa train STORE --recipe "
        f"{out / BEST_RECIPE} --set seed={seed} --out RUN"
    )


def list_failures(study: Study) -> list[str]:
    """List the trials that failed, each with its reason."""
    return [f"Trial {trial.number} failed: {trial.reason}" for trial in study.trials if trial.state == "failed"]


def draw_table(study: Study, *, limit: int = MAX_ROWS) -> str:
    """Draw the table of the trials, of many the first ones and how many more there are."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    names = [varied.name for varied in study.space]
    for name in ("trial", "status", study.metric, *names, "epochs", "seconds"):
        is_number = name in {"trial", study.metric, "epochs", "seconds"}
        table.add_column(Text(name), justify="right" if is_number else "left", no_wrap=True)
    best = study.best
    trials = order_trials(study)
    for trial in trials[:limit]:
        score = "" if trial.score is None else f"{trial.score:.4f}"
        cells = [
            *(str(trial.number), "best" if trial == best else trial.state),
            f"({score})" if trial.state == "pruned" else score,
            *(format_value(trial.settings[name]) for name in names),
            *(str(trial.epochs), f"{trial.seconds:.0f}"),
        ]
        table.add_row(*map(Text, cells))
    screen = io.StringIO()
    Console(file=screen, width=MAX_WIDTH, color_system=None, emoji=False, highlight=False).print(table)
    lines = [line.rstrip() for line in screen.getvalue().rstrip().splitlines()]
    rest = len(trials) - limit
    return "\n".join([*lines, f"… and {rest} more, see --json"] if rest > 0 else lines)


def write_best(out: Path, study: Study) -> Path | None:
    """Write the recipe of the best trial, with a comment on how it was found; None if no trial is finished."""
    best = study.best
    if best is None:
        return None
    searched = "; ".join(varied.describe() for varied in study.space)
    score = format_value(best.score)
    lines = [
        f"Found by `hpa sweep`: trial {best.number}, {study.metric} {score}, the best of {len(study.list_finished())} "
        f"finished trials of {study.n_trials}.",
        describe_metric(study),
        f"Searched by {study.method}, seed {study.seed}: {searched}.",
        f"Its run: {trial_folder(out, best.number).relative_to(out)} beside this file.",
        *([f"Trained with --weights {study.weights}."] if study.weights else []),
        *([describe_caution(study, out)] if len(study.list_finished()) > 1 else []),
    ]
    path = out / BEST_RECIPE
    write_atomic(path, encode_recipe(study.merge_settings(best), comments=lines).encode())
    return path
