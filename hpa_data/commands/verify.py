"""The command `hpa verify`: its options and its text."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import abbreviate, progress, show
from hpa_data.commands.options import Json, Threads
from hpa_data.errors import N_EXAMPLES, Notice

if TYPE_CHECKING:
    from hpa_data.verify.check import Verification


def verify(
    store: Annotated[str, typer.Argument(help="A store in a folder, or a run folder.")],
    parts: Annotated[
        list[str] | None, typer.Option("--part", metavar="NAME", help="A part to check; repeatable. By default all.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(help="The files that the part was converted from; for augmented copies, the store itself."),
    ] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Write missing and wrong samples again: those of --part from --source, copies from their parents.",
        ),
    ] = False,
    seal: Annotated[
        bool,
        typer.Option("--seal", help="Add a seal to what versions before 0.5.0 wrote, if nothing is wrong."),
    ] = False,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Check each sample by checksum and source, or a run by its seal."""
    from hpa_data.verify.check import verify_store

    with progress("samples") as shown:
        report = verify_store(
            store, parts=parts or (), source=source, repair=repair, seal=seal, threads=threads, progress=shown
        )
    show(report, as_json, describe_verification(report))
    if report.n_errors:
        raise typer.Exit(1)


def describe_verification(report: "Verification") -> str:
    """Describe what a check found."""
    lines = [f"{report.store}: " + ", ".join(f"{number} {state}" for state, number in report.counts.items() if number)]
    if report.n_repaired:
        lines.append(f"Repaired: {report.n_repaired} samples")
    if report.n_sealed:
        lines.append(f"Sealed: {report.n_sealed} part{'s' * (report.n_sealed > 1)}")
    if report.unsealed:
        lines.append(str(notice_unsealed(report.unsealed)))
    found = [finding for finding in report.findings if finding.state != "filled"]
    lines += abbreviate([f"{finding.state}: {finding.part} {finding.id}: {finding.reason}" for finding in found])
    return "\n".join(lines)


def notice_unsealed(parts: Sequence[str]) -> Notice:
    """Tell that parts have no seal."""
    return Notice(
        what="no seal: names, labels and settings are compared with no checksum of their own",
        n=len(parts),
        unit="part",
        examples=tuple(parts[:N_EXAMPLES]),
        remedy="Pass --seal to add one where the check finds nothing else; finish an unfinished conversion first.",
    )
