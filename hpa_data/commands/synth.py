"""The command `hpa synth`: its options and its text."""

from pathlib import Path
from typing import Annotated

import typer

from hpa_data.commands.console import progress, show
from hpa_data.commands.options import AnySeed, Json, Threads


def synth(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    samples: Annotated[int, typer.Option(metavar="N", min=1, help="Number of labeled samples.")] = 100,
    test: Annotated[int, typer.Option(metavar="N", min=0, help="Number of unlabeled samples, in a test folder.")] = 0,
    seed: AnySeed = 0,
    uniform: Annotated[bool, typer.Option("--uniform", help="Make all classes equally frequent.")] = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Write synthetic samples in Kaggle's file format.

    That is a folder of planes, a label table, and a test folder with its sample submission.
    """
    from hpa_data.synth import write_samples

    with progress("samples") as shown:
        shown.start(samples + test)
        report = write_samples(
            folder,
            n_samples=samples,
            seed=seed,
            uniform=uniform,
            n_test=test,
            threads=threads,
            progress=shown,
        )
    mean_kb = report.n_bytes / (report.n_samples + report.n_test) / 1e3
    text = f"{folder}: {report.n_samples} labeled and {report.n_test} test samples, {mean_kb:.0f} kB per sample"
    show(report, as_json, text)
