"""The command `hpa demo`: its options and its text."""

from pathlib import Path
from typing import Annotated

import typer

from hpa_data.commands.console import progress, quiet, show
from hpa_data.commands.options import Json, Seed
from hpa_model.commands.evaluate import describe_scores
from hpa_model.commands.train import print_epoch


def demo(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")] = Path("demo"),
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Run the whole workflow on synthetic samples, in a few minutes.

    The steps are synth, convert, train, evaluate and predict.
    """
    with quiet():
        from hpa_model.demo import run_demo

    with progress("samples") as shown:
        report = run_demo(folder, seed=seed, progress=shown, on_epoch=print_epoch)
    lines = [f"{step.name:<9}{step.seconds:>6.0f} s   {step.output}" for step in report.steps]
    lines += ["", describe_scores(report.scores), ""]
    lines.append(
        f"Submission, scored with the labels of the synthetic test samples: macro-F1 {report.test_macro_f1:.3f}; "
        f"chance level {report.test_chance:.3f}"
    )
    lines.append(f"Next: hpa evaluate {report.run}")
    show(report, as_json, "\n".join(lines))
