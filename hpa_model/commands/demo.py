"""The command `hpa demo`: its options and its text."""

import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import progress, quiet, show
from hpa_data.commands.options import Json, Seed

if TYPE_CHECKING:
    from hpa_model.demo import Demo
    from hpa_model.metrics import Interval
    from hpa_model.runs.history import EpochRecord

# Columns of the text, so that no terminal breaks its lines.
WIDTH = 80
# Of some dozens of epochs, one in ten is told.
TOLD_EPOCHS = 10


def demo(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")] = Path("demo"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Run the whole workflow on synthetic samples, in a few minutes.

    The steps are synth, convert, baseline, train, evaluate, predict, report, embed, map, explain and browse.

    At the end, the scores of the network stand beside those of the baseline.
    """
    with quiet():
        from hpa_model.demo import run_demo

    with progress("samples") as shown:
        wrapped = replace(shown, note=lambda line: shown.note(textwrap.fill(line, WIDTH, subsequent_indent="  ")))
        done = run_demo(folder, seed=seed, progress=wrapped, on_epoch=print_some_epochs)
    show(done, as_json, describe_demo(done))


def print_some_epochs(fold: int, record: "EpochRecord", is_best: bool) -> None:
    """Print a short line for the first and every tenth epoch."""
    if record.epoch == 1 or record.epoch % TOLD_EPOCHS == 0:
        print(
            f"fold {fold}  epoch {record.epoch:>3}  loss {record.loss:.3f}  val_loss {record.val_loss:.3f}  "
            f"{record.images_per_s:.0f} images/s",
            file=sys.stderr,
        )


def describe_demo(done: "Demo") -> str:
    """Describe what the demo did: its steps, what network and baseline score, and which of them scores more."""
    network, baseline = done.network, done.baseline
    lines = [f"{step.name:<9}{step.seconds:>6.0f} s   {step.output}" for step in done.steps]
    lines += [f"{'in all':<9}{sum(step.seconds for step in done.steps):>6.0f} s", ""]
    columns = f"{network.scores.n_samples} labeled samples", f"{done.n_test} test samples"
    lines.append(f"{'Macro-F1 (95 % interval)':<26}{columns[0]:<23}{columns[1]:<23}{'seconds':>8}")
    for label, of in ((f"network, {network.name}", network), (f"baseline, {baseline.name}", baseline)):
        headline = _format(of.scores.headline, of.scores.intervals[done.headline])
        test = _format(of.test.macro_f1, of.test.interval)
        lines.append(f"{label:<26}{headline:<23}{test:<23}{of.seconds:>8.0f}")
    highest = [
        max(of.scores.no_skill[done.headline].high for of in (network, baseline)),
        max(of.test.no_skill.high for of in (network, baseline)),
    ]
    lines.append(f"{'no skill':<26}{f'up to {highest[0]:.3f}':<23}{f'up to {highest[1]:.3f}':<23}".rstrip())
    explanation = (
        "Labeled samples are predicted by the model of the fold that they are not in, with thresholds fitted on other "
        "samples; test samples by the models of both folds. No skill: the same predictions for samples in a random "
        "order."
    )
    lines += ["", *textwrap.wrap(explanation, WIDTH), "", *textwrap.wrap(_tell_winner(done), WIDTH), ""]
    lines += [f"Look at: {done.report}", f"    and: {done.page}"]
    return "\n".join(lines)


def _format(score: float, interval: "Interval") -> str:
    return f"{score:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _tell_winner(done: "Demo") -> str:
    """Say whether network and baseline can be told apart, and where the training is shown that the network needs."""
    low, high = done.difference.low, done.difference.high
    difference = done.network.scores.headline - done.baseline.scores.headline
    numbers = f"difference {difference:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
    more = "The README says under What to expect what longer trainings reach."
    if low > 0:
        return f"On the labeled samples the network is higher than the baseline: {numbers}."
    if high < 0:
        return f"On the labeled samples the baseline is higher than the network: {numbers}. {more}"
    return f"On the labeled samples network and baseline cannot be told apart: {numbers}. {more}"
