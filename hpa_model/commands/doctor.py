"""The command `hpa doctor`: its options and its text."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from hpa_data.commands.console import escape, quiet, show
from hpa_data.commands.options import Json

if TYPE_CHECKING:
    from hpa_model.bench.doctor import Diagnosis, Finding
    from hpa_model.bench.doctor.facts import MachineFacts, PartFacts, RunFacts, StoreFacts

# Of a screen.
WIDTH = 80
# Of the names of facts.
MARGIN = 10


def doctor(
    store: Annotated[str | None, typer.Argument(help="A store in a folder.")] = None,
    run: Annotated[
        str | None, typer.Argument(help="A run folder. Without a store, that of the run is looked at, too.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at machine, store and run, and say what to do, with commands.

    Nothing is written. Of the samples, some are read, drawn at random; `hpa verify` checks all.
    """
    with quiet():
        from hpa_model.bench.doctor import diagnose

    # A run alone takes the place of the store: they are told apart by what they are.
    diagnosis = diagnose([path for path in (store, run) if path is not None])
    show(diagnosis, as_json, describe_diagnosis(diagnosis))
    if diagnosis.is_broken:
        raise typer.Exit(1)


def describe_diagnosis(diagnosis: "Diagnosis") -> str:
    """Describe what was measured, in a table, and what to do, in at most ten points."""
    facts = [*_list_machine(diagnosis.machine)]
    if diagnosis.store is not None:
        facts += _list_store(diagnosis.store)
    if diagnosis.run is not None:
        facts += _list_run(diagnosis.run)
    lines = [line for name, text in facts for line in _wrap(f"{name:<{MARGIN}}", escape(text))]
    lines.append("")
    for number, finding in enumerate(diagnosis.shown, start=1):
        lines += _describe_finding(number, finding)
    n_more = len(diagnosis.findings) - len(diagnosis.shown)
    if n_more:
        lines.append(f"… and {n_more} more, which --json has")
    if not diagnosis.findings:
        lines.append("All is well: nothing was found that should be done.")
    return "\n".join(lines)


def _describe_finding(number: int, finding: "Finding") -> list[str]:
    # The command stays in one line, to be copied.
    start = f"{number:>2}. "
    mark = "" if finding.severity == "advice" else f"{finding.severity.upper()}: "
    return [*_wrap(start, escape(mark + finding.text)), " " * len(start) + escape(finding.command)]


def _wrap(start: str, text: str) -> list[str]:
    filled = textwrap.wrap(text, WIDTH - len(start), break_long_words=False, break_on_hyphens=False) or [""]
    return [(start if index == 0 else " " * len(start)) + line for index, line in enumerate(filled)]


def _list_machine(machine: "MachineFacts") -> Iterator[tuple[str, str]]:
    cores = f"{machine.usable_cores} cores"
    if machine.usable_cores < machine.n_cores:
        cores = f"{machine.usable_cores} of {machine.n_cores} cores may be used"
    load = "" if machine.load is None else f" (load {machine.load:.1f})"
    limit = ", limited by a control group" if machine.is_memory_limited else ""
    gpus = f"{len(machine.gpus)} GPU: {machine.gpus[0]}" if machine.gpus else "no GPU"
    yield (
        "Machine",
        f"{cores}{load}; {machine.free_bytes / 1e9:.1f} of {machine.memory_bytes / 1e9:.1f} GB of memory free{limit}; "
        f"{gpus}; {machine.system}",
    )
    versions = ", ".join(
        f"{name} {machine.versions.get(name, 'not installed')}"
        for name in ("hpa", "keras", "tensorflow", "jax", "zarr")
    )
    yield "Packages", f"Python {machine.python}, {versions}; Keras runs on {machine.backend}"
    if machine.missing_extras:
        yield "", f"extras that are not installed: {', '.join(machine.missing_extras)}"
    variables = ", ".join(f"{name}={value[:30]}" for name, value in machine.environment.items())
    yield "Variables", variables or "none that changes speed or numbers is set"


def _list_store(store: "StoreFacts") -> Iterator[tuple[str, str]]:
    if store.is_remote or store.error:
        yield "Store", f"{store.location}: {'at a URL, not looked at' if store.is_remote else 'cannot be opened'}"
        return
    yield "Store", f"{store.location}: {store.n_samples:,} samples, {store.n_bytes / 1e9:.2f} GB"
    # More than three are unusual: folds of augmented copies, or plates.
    for part in store.parts[:3]:
        yield "", _describe_part(part)
    if len(store.parts) > 3:
        yield "", f"and {len(store.parts) - 3} more parts"
    disk, cached = store.disk_bytes_per_s, store.cached_fraction
    rates = [f"{store.disk_free_bytes / 1e9:.0f} GB free"]
    if disk is not None and store.disk_samples_per_s is not None:
        rates.append(f"{disk / 1e6:,.0f} MB/s, which is {store.disk_samples_per_s:,.0f} samples/s")
    yield "Disk", "; ".join(rates)
    reading = [] if store.samples_per_s is None else [f"{store.samples_per_s:,.0f} samples/s in batches, from memory"]
    reading += [] if cached is None else [f"{cached:.0%} of the store were in the page cache"]
    if reading:
        yield "Reading", "; ".join(reading)


def _describe_part(part: "PartFacts") -> str:
    from hpa_model.bench.doctor.store_rules import bound_damage

    if part.error:
        return f"{part.name}: cannot be read"
    shape = " x ".join(map(str, part.image_shape))
    words = [f"{part.name}: {part.n_samples:,} of {shape}, {part.codec}"]
    words += ["copies"] if part.is_copies else ["no labels"] if part.class_counts is None else []
    if part.n_checked:
        most = "" if part.n_damaged or not bound_damage(part) else f" (at most {bound_damage(part):.1%} in all)"
        words.append(f"{part.n_damaged} of {part.n_checked} checked are damaged{most}")
    for name, n in (("filled", part.n_filled), ("black", part.n_black), ("duplicates", part.n_duplicates)):
        words += [f"{n} {name}"] if n else []
    return ", ".join(words)


def _list_run(run: "RunFacts") -> Iterator[tuple[str, str]]:
    if run.error:
        yield "Run", f"{run.path}: cannot be read"
        return
    n_finished = sum(fold.is_finished for fold in run.folds)
    what = run.config.model if run.kind == "network" else run.kind
    models = "model" if len(run.folds) == 1 else "models"
    device = f", on {run.device}" if run.device else ""
    yield "Run", f"{run.path}: {what}, {n_finished} of {len(run.folds)} {models} finished{device}"
    words = []
    if run.scores is not None:
        interval = "" if run.scores.low is None else f" ({run.scores.low:.3f} to {run.scores.high:.3f})"
        skill = "" if run.scores.no_skill_high is None else f"; without skill below {run.scores.no_skill_high:.3f}"
        words.append(f"macro-F1 {run.scores.headline:.3f}{interval}{skill}")
    if run.images_per_s is not None:
        words.append(f"trained at {run.images_per_s:,.0f} images/s")
    if run.is_sealed:
        left = f", {run.n_not_compared} large ones were not" if run.n_not_compared else ""
        words.append(f"{run.n_compared} files compared with the seal{left}")
    yield "", "; ".join(words)
