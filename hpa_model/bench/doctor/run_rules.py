"""What facts about a run as a whole mean. Pure."""

from collections.abc import Iterator

from hpa_model.bench.doctor.command_lines import make_again, quote, resume
from hpa_model.bench.doctor.facts import Finding, MachineFacts, RunFacts, Severity, StoreFacts
from hpa_model.bench.doctor.learning_rules import judge_learning
from hpa_model.bench.doctor.score_rules import judge_scores


def judge_run(run: RunFacts, store: StoreFacts | None, machine: MachineFacts) -> Iterator[Finding]:
    """Yield what should be done about a run."""
    if run.error:
        yield Finding(severity=Severity.BROKEN, name="no-run", text=run.error, command=quote("hpa", "verify", run.path))
        return
    yield from _judge_files(run)
    yield from _judge_store(run)
    yield from judge_scores(run)
    yield from judge_learning(run, store, machine)
    yield from _judge_extras(run, machine)


def _judge_files(run: RunFacts) -> Iterator[Finding]:
    if run.damaged:
        more = f" {len(run.damaged) - 1} more files are." if len(run.damaged) > 1 else ""
        yield Finding(
            severity=Severity.BROKEN,
            name="damaged-run",
            text=f"Files of the run are damaged: {run.damaged[0].removesuffix('.')}.{more} See all of them.",
            command=quote("hpa", "verify", run.path),
            evidence={"n_damaged": len(run.damaged)},
        )
    open_folds = [fold for fold in run.folds if not fold.is_finished]
    if open_folds:
        first = open_folds[0]
        n_done = len(run.folds) - len(open_folds)
        place = f"fold {first.number}, after epoch {len(first.epochs)} of {run.config.epochs}"
        yield Finding(
            severity=Severity.PROBLEM,
            name="unfinished-run",
            text=f"The run is not finished: {n_done} of {len(run.folds)} models are; it is in {place}. "
            "The command that began it resumes it.",
            command=resume(run),
            evidence={"n_finished": n_done, "n_folds": len(run.folds)},
        )
    elif not run.is_finished and not run.damaged:
        yield Finding(
            severity=Severity.PROBLEM,
            name="unscored-run",
            text="All models are trained, but the run has no scores. Score it.",
            command=quote("hpa", "evaluate", run.path),
        )


def _judge_store(run: RunFacts) -> Iterator[Finding]:
    if not run.is_store_there:
        yield Finding(
            severity=Severity.ADVICE,
            name="store-moved",
            text=f"The store of the run is not at {run.store}: the report shows no images. Say where it is.",
            command=quote("hpa", "evaluate", run.path, "--store", "STORE"),
        )
    elif run.changed_parts:
        yield Finding(
            severity=Severity.PROBLEM,
            name="store-changed",
            text=f"Part {', '.join(run.changed_parts)} of the store is not the one that the run was trained on: it "
            f"cannot be resumed, and its folds do not fit. Train{' its members' * (run.kind == 'ensemble')} again.",
            command=make_again(run, suffix="-new"),
            evidence={"n_changed": len(run.changed_parts)},
        )


def _judge_extras(run: RunFacts, machine: MachineFacts) -> Iterator[Finding]:
    if run.is_finished and not run.has_report and run.scores is not None and run.kind == "network":
        yield Finding(
            severity=Severity.ADVICE,
            name="no-report",
            text="The run has no report. Write one.",
            command=quote("hpa", "evaluate", run.path),
        )
    if run.is_finished and not run.is_sealed:
        yield Finding(
            severity=Severity.ADVICE,
            name="unsealed-run",
            text="The run has no seal, as before version 0.5.0: a changed byte would go unnoticed. Add one.",
            command=quote("hpa", "verify", run.path, "--seal"),
        )
    here = machine.versions.get("hpa", "")
    if run.is_finished and find_release(run.hpa_version) < find_release(here):
        yield Finding(
            severity=Severity.ADVICE,
            name="older-version",
            text=f"Version {run.hpa_version} of hpa made the run, this is {here}: scores may be computed otherwise by "
            "now. Score it again before comparing it with newer runs.",
            command=quote("hpa", "evaluate", run.path),
            evidence={"then": run.hpa_version, "now": here},
        )


def find_release(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version; those that are not known are never older.

    Examples
    --------
    >>> find_release("0.8.1"), find_release("")
    ((0, 8), (999,))
    """
    numbers = version.split(".")[:2]
    return tuple(map(int, numbers)) if version and all(number.isdecimal() for number in numbers) else (999,)
