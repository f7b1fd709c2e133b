"""The command `hpa synth`: its options and its text."""

from pathlib import Path
from typing import Annotated

import typer.core

from hpa_data.commands.console import Json, Workers, progress, show


def synth(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    samples: Annotated[int, typer.Option(min=1, help="Labelled samples.")] = 100,
    test: Annotated[int, typer.Option(min=0, help="Samples of an unlabelled test folder.")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    uniform: Annotated[bool, typer.Option("--uniform", help="Show each class equally often.")] = False,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Write made-up samples in Kaggle's file format: planes, label table, test folder."""
    from hpa_data.synth import write_samples

    with progress("samples") as shown:
        shown.start(samples + test)
        done = write_samples(
            folder,
            n_samples=samples,
            seed=seed,
            uniform=uniform,
            n_test=test,
            workers=workers,
            progress=shown,
        )
    mean_kb = done.n_bytes / (done.n_samples + done.n_test) / 1e3
    show(done, as_json, f"{folder}: {done.n_samples} samples and {done.n_test} for test, {mean_kb:.0f} kB each")
