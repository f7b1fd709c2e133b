"""The command `hpa demo`: its options and its text."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpa_data.commands.console import Json, late_progress, quiet, show
from hpa_model.commands.evaluate import describe_scores
from hpa_model.commands.train import report_training


def demo(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Do the whole job on made-up samples, in some minutes: synth, convert, train, evaluate, predict."""
    with quiet():
        from hpa_model.demo import Watcher, run_demo

    with late_progress("samples") as (plan, advance):
        watcher = Watcher(
            on_step=lambda name: print(name, file=sys.stderr),
            on_plan=plan,
            on_done=advance,
            training=report_training(plan, advance),
        )
        done = run_demo(folder, seed=seed, watcher=watcher)
    lines = [f"{step.name:<9}{step.seconds:>6.0f} s   {step.made}" for step in done.steps]
    lines += ["", describe_scores(done.scores), ""]
    lines.append(
        f"Submission against the truth that made-up samples have: macro-F1 {done.test_macro_f1:.3f}; "
        f"guessing would score {done.test_guessing:.3f}"
    )
    lines.append(f"Next: hpa evaluate {done.run}")
    show(done, as_json, "\n".join(lines))
