"""The command `hpa cache`: its options and its text."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import escape, show
from hpa_data.commands.options import Json

if TYPE_CHECKING:
    from hpa_data.reader.cache_folder import CachedPart


def cache(
    path: Annotated[Path, typer.Argument(help="The folder of a cache: the PATH of --cache disk:PATH.")],
    remove: Annotated[
        bool, typer.Option("--remove", help="Delete what is listed, but for parts that a process uses.")
    ] = False,
    parts: Annotated[
        list[str] | None, typer.Option("--part", metavar="NAME", help="List these parts only; repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List what a cache on disk holds of stores at URLs, or remove it."""
    from hpa_data.reader.cache_folder import delete_part, list_parts

    found = [part for part in list_parts(path) if parts is None or part.name in parts]
    kept = [part for part in found if not (remove and delete_part(part))]
    removed = [part for part in found if part not in kept]
    report = {"path": path, "parts": [asdict(part) for part in kept], "removed": [asdict(part) for part in removed]}
    show(report, as_json, describe_cache(path, kept, removed, remove=remove))
    if remove and kept:
        raise typer.Exit(1)


def describe_cache(path: Path, kept: "Sequence[CachedPart]", removed: "Sequence[CachedPart]", *, remove: bool) -> str:
    """Describe a cache, a part on each line, the one that was used longest ago first."""
    lines = []
    if removed:
        lines.append(
            f"Removed from {path}: {len(removed)} parts, {sum(part.n_bytes for part in removed) / 2**30:.2f} GiB"
        )
    if remove and kept:
        lines.append(f"Left, a process uses them: {len(kept)} parts. End it, and run the same command again.")
    if kept:
        lines.append(f"{'GiB':>9}  {'used last':<17} part of store")
    for part in kept:
        used = "now" if part.is_used else time.strftime("%Y-%m-%d %H:%M", time.localtime(part.used_s))
        lines.append(f"{part.n_bytes / 2**30:>9.2f}  {used:<17} {part.name or '?'} of {part.store or '?'}")
    if not lines:
        lines.append(f"{path}: empty")
    return "\n".join(escape(line) for line in lines)
