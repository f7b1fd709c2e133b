"""The command `hpa demo`: its options and its text."""

from pathlib import Path
from typing import Annotated

import typer

from hpa_data.commands.console import Json, progress, quiet, show
from hpa_model.commands.evaluate import describe_scores
from hpa_model.commands.train import print_epoch


def demo(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Do the whole job on made-up samples, in some minutes: synth, convert, train, evaluate, predict."""
    with quiet():
        from hpa_model.demo import run_demo

    with progress("samples") as shown:
        done = run_demo(folder, seed=seed, progress=shown, on_epoch=print_epoch)
    lines = [f"{step.name:<9}{step.seconds:>6.0f} s   {step.made}" for step in done.steps]
    lines += ["", describe_scores(done.scores), ""]
    lines.append(
        f"Submission against the truth that made-up samples have: macro-F1 {done.test_macro_f1:.3f}; "
        f"guessing would score {done.test_chance:.3f}"
    )
    lines.append(f"Next: hpa evaluate {done.run}")
    show(done, as_json, "\n".join(lines))
