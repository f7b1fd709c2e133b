"""The command `hpa verify`: its options and its text."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer.core

from hpa_data.commands.console import STORE, Json, Threads, progress, shorten, show

if TYPE_CHECKING:
    from hpa_data.verify import Verification


def verify(
    store: Annotated[str, typer.Argument(help=STORE + ".")],
    part: Annotated[str | None, typer.Option(help="Only this part.")] = None,
    source: Annotated[
        Path | None, typer.Option(help="The files that the part was made from; of copies, the store itself.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Make again what is wrong, from the source; copies from their parents.")
    ] = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Check each sample against its checksum, and against its source; make again what is wrong."""
    from hpa_data.verify import verify_store

    with progress("samples") as shown:
        done = verify_store(
            store,
            part=part,
            source=source,
            repair=repair,
            threads=threads,
            progress=shown,
        )
    show(done, as_json, describe_verification(done))
    if done.n_faults:
        raise typer.Exit(1)


def describe_verification(done: "Verification") -> str:
    """Say what a check found."""
    lines = [f"{done.store}: " + ", ".join(f"{number} {kind}" for kind, number in done.counts.items() if number)]
    if done.n_repaired:
        lines.append(f"Made again: {done.n_repaired} samples")
    told = [finding for finding in done.findings if finding.kind != "filled"]
    lines += shorten([f"{finding.kind}: {finding.part} {finding.id}: {finding.reason}" for finding in told])
    return "\n".join(lines)
