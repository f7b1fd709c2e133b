"""What the scores of a run mean. Pure."""

import math
from collections.abc import Iterator
from dataclasses import replace
from statistics import NormalDist

from hpa_model.bench.doctor.command_lines import list_parts, make_again, quote, train_again
from hpa_model.bench.doctor.facts import Finding, RunFacts, ScoreFacts, Severity

# Where a threshold says that every sample, or none, has the class: steps of the search are 0.001, and within ten of
# them of an end lies hardly a calibrated probability.
EDGE = 0.01
# Macro-F1 with thresholds of the same rows flatters by 0.05 to 0.1, as far as was measured. More means that thresholds
# follow few samples.
MAX_GAP = 0.1
# The spread of folds that chance exceeds once in a hundred.
CONFIDENCE = 0.99
# Normal deviates from one end of a 95 % interval to the other.
_WIDTH = 2 * 1.96


def judge_scores(run: RunFacts) -> Iterator[Finding]:
    """Yield what should be known of the scores of a run."""
    scores = run.scores
    if scores is None:
        return
    if scores.no_skill_high is not None and scores.headline <= scores.no_skill_high:
        yield Finding(
            severity=Severity.PROBLEM,
            name="no-skill",
            text=f"Macro-F1 is {scores.headline:.3f}; without skill it reaches {scores.no_skill_high:.3f}: the run has "
            "learned nothing that shows. See what simple features reach.",
            command=quote("hpa", "baseline", run.store, *list_parts(run.config.parts), "--out", f"{run.path}-baseline"),
            evidence={"macro_f1": scores.headline, "no_skill_high": scores.no_skill_high},
        )
    yield from _judge_leaks(run)
    yield from _judge_folds(run, scores)
    yield from _judge_thresholds(run, scores)
    gap = scores.in_sample - scores.headline
    if gap > MAX_GAP:
        yield Finding(
            severity=Severity.ADVICE,
            name="optimistic-thresholds",
            text=f"Macro-F1 is {scores.in_sample:.3f} with thresholds of the rows it is scored on, "
            f"{scores.headline:.3f} with those of other samples. Quote the second; few samples decide the thresholds.",
            command=quote("hpa", "evaluate", run.path),
            evidence={"gap": gap},
        )


def _judge_leaks(run: RunFacts) -> Iterator[Finding]:
    if run.config.legacy_leak:
        yield Finding(
            severity=Severity.PROBLEM,
            name="legacy-leak",
            text="Copies of validation samples were trained on (--legacy-leak): scores are inflated. Train without.",
            command=make_again(run, suffix="-clean", legacy_leak=False),
        )
    elif run.n_seen:
        yield Finding(
            severity=Severity.PROBLEM,
            name="seen-samples",
            text=f"{run.n_seen} validated samples were trained on by the models that the run started from: scores are "
            "inflated. Start from random weights, or from a run with the same folds.",
            command=make_again(replace(run, weights=""), suffix="-clean"),
            evidence={"n_seen": run.n_seen},
        )
    elif run.searched == "nothing":
        yield Finding(
            severity=Severity.ADVICE,
            name="no-leak-check",
            text="Duplicates were not looked for before samples got their folds: some may be in both training and "
            "validation. Look for them.",
            command=quote("hpa", "folds", run.store, "--duplicates", "near"),
        )


def _judge_folds(run: RunFacts, scores: ScoreFacts) -> Iterator[Finding]:
    """Compare the spread of the folds with what chance makes of folds of this size."""
    if len(scores.folds) < 2 or scores.low is None or scores.high is None or scores.high <= scores.low:
        return
    if scores.high >= 1:  # the interval ends there, so it tells nothing of the spread
        return
    # The interval is of all rows; a fold has 1 / F of them.
    sd = (scores.high - scores.low) / _WIDTH * math.sqrt(len(scores.folds))
    mean = sum(scores.folds) / len(scores.folds)
    chi2 = sum((score - mean) ** 2 for score in scores.folds) / sd**2
    if chi2 <= chi2_quantile(CONFIDENCE, len(scores.folds) - 1):
        return
    worst = min(range(len(scores.folds)), key=scores.folds.__getitem__)
    yield Finding(
        severity=Severity.PROBLEM,
        name="folds-differ",
        text=f"Folds score from {min(scores.folds):.3f} to {max(scores.folds):.3f}, more apart than the choice of "
        f"samples makes them (± {1.96 * sd:.3f} each). Look at fold {worst} in the report, and at how samples "
        "are assigned.",
        command=quote("hpa", "folds", run.store, "--folds", str(run.config.folds), "--duplicates", "near"),
        evidence={"lowest": min(scores.folds), "highest": max(scores.folds), "sd": sd, "worst": worst},
    )


def chi2_quantile(p: float, n: int) -> float:
    """Return a quantile of the chi-squared distribution, by Wilson and Hilferty's approximation (1931).

    For few degrees of freedom and p = 0.99 it is right within 3 %; the exact one would load SciPy.

    Examples
    --------
    >>> round(chi2_quantile(0.99, 1), 1), round(chi2_quantile(0.99, 4), 1)
    (6.6, 13.3)
    """
    return n * (1 - 2 / (9 * n) + NormalDist().inv_cdf(p) * math.sqrt(2 / (9 * n))) ** 3


def _judge_thresholds(run: RunFacts, scores: ScoreFacts) -> Iterator[Finding]:
    shown = [score for score in scores.classes if score.support]
    edges = [score for score in shown if not EDGE < score.threshold < 1 - EDGE]
    if edges:
        listed = ", ".join(f"{score.name} {score.threshold:.3f} (n={score.support})" for score in edges[:3])
        rest = f" and {len(edges) - 3} more" if len(edges) > 3 else ""
        yield Finding(
            severity=Severity.ADVICE,
            name="thresholds-at-edges",
            text=f"The thresholds of {len(edges)} classes are at an end of 0 to 1: {listed}{rest}. The network does "
            "not tell their samples from others. Draw rare classes more often.",
            command=train_again(run, suffix="-balanced", sampling="balanced")
            if run.config.sampling == "none" and run.kind == "network" and not run.is_finetuned
            else quote("hpa", "evaluate", run.path),
            evidence={"n_edges": len(edges)},
        )
    missed = [score for score in shown if not score.f1 and score not in edges]
    if missed:
        yield Finding(
            severity=Severity.ADVICE,
            name="missed-classes",
            text=f"{len(missed)} classes with samples have an F1 of 0: "
            f"{', '.join(f'{score.name} ({score.support})' for score in missed[:3])}. See what is predicted instead.",
            command=quote("hpa", "evaluate", run.path),
            evidence={"n_missed": len(missed)},
        )
